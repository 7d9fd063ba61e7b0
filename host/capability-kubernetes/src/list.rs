//! Lists that come in pages: as many as an honest server needs, and of each object only what matters.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use windlass_model::limits;

use crate::{
    answer,
    seen::{Names, Seen},
    session::items,
};

/// Where a list goes on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    First,
    /// By the server's token.
    At(String),
    Done,
}

/// A list that is being read.
pub(crate) struct Pages<'s> {
    names: Names,
    next: Next,
    /// Tokens of all pages so far: a list that turns in a circle has no end.
    tokens: HashSet<String>,
    /// What the lists of a session keep together.
    kept_bytes: &'s AtomicUsize,
}

impl<'s> Pages<'s> {
    pub(crate) fn new(kept_bytes: &'s AtomicUsize) -> Self {
        Self { names: Names::new(), next: Next::First, tokens: HashSet::new(), kept_bytes }
    }

    /// Returns what the query of the next page ends with; nothing behind the last.
    pub(crate) fn next(&self) -> Option<String> {
        match &self.next {
            Next::First => Some(String::new()),
            Next::At(token) => Some(format!("&continue={}", answer::encode(token))),
            Next::Done => None,
        }
    }

    /// Takes a page in.
    ///
    /// # Errors
    ///
    /// The limit that the list passes.
    pub(crate) fn add(&mut self, page: &Value) -> Result<(), String> {
        for metadata in items(page).filter_map(|item| item.get("metadata")) {
            let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
            let seen = Seen::of(metadata);
            let bytes = name.len() + seen.bytes();
            if self.kept_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > limits::CLUSTER_LISTS_BYTES_MAX {
                return Err(format!("names and marks have more than {} bytes", limits::CLUSTER_LISTS_BYTES_MAX));
            }
            self.names.insert(name.to_owned(), Arc::new(seen));
        }
        if self.names.len() > limits::CLUSTER_LIST_OBJECTS_MAX {
            return Err(format!("it has more than {} objects", limits::CLUSTER_LIST_OBJECTS_MAX));
        }

        let token = page.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default();
        self.next = if token.is_empty() { Next::Done } else { Next::At(token.to_owned()) };
        if token.is_empty() {
            return Ok(());
        }
        if token.len() > limits::PAGE_TOKEN_BYTES_MAX {
            return Err(format!("the token of its next page has more than {} bytes", limits::PAGE_TOKEN_BYTES_MAX));
        }
        if !self.tokens.insert(token.to_owned()) {
            return Err("its next page is the same once more".to_owned());
        }
        if self.tokens.len() >= limits::CLUSTER_LIST_PAGES_MAX {
            return Err(format!("it has more than {} pages", limits::CLUSTER_LIST_PAGES_MAX));
        }
        Ok(())
    }

    pub(crate) fn into_names(self) -> Names {
        self.names
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(names: impl Iterator<Item = usize>, token: &str) -> Value {
        let items: Vec<Value> = names.map(|name| json!({ "metadata": { "name": name.to_string() } })).collect();
        json!({ "metadata": { "continue": token }, "items": items })
    }

    #[test]
    fn a_list_goes_on_by_the_servers_token() {
        let kept = AtomicUsize::default();
        let mut pages = Pages::new(&kept);
        assert_eq!(pages.next().as_deref(), Some(""));
        pages.add(&page(0..2, "a&b")).unwrap();
        assert_eq!(pages.next().as_deref(), Some("&continue=a%26b"));
        pages.add(&page(2..3, "")).unwrap();
        assert_eq!(pages.next(), None);
        assert_eq!(pages.into_names().len(), 3);
    }

    #[test]
    fn pages_and_their_tokens_are_bounded() {
        let kept = AtomicUsize::default();
        let mut pages = Pages::new(&kept);
        (1..limits::CLUSTER_LIST_PAGES_MAX).for_each(|turn| pages.add(&page(0..0, &turn.to_string())).unwrap());
        assert!(pages.add(&page(0..0, "one more")).unwrap_err().contains("pages"));
        let mut last = Pages::new(&kept);
        (1..limits::CLUSTER_LIST_PAGES_MAX).for_each(|turn| last.add(&page(0..0, &turn.to_string())).unwrap());
        last.add(&page(0..0, "")).unwrap();

        let mut again = Pages::new(&kept);
        again.add(&page(0..0, "x")).unwrap();
        again.add(&page(0..0, "y")).unwrap();
        assert!(again.add(&page(0..0, "x")).unwrap_err().contains("the same once more"), "a circle of two is one, too");
        let token = "x".repeat(limits::PAGE_TOKEN_BYTES_MAX);
        Pages::new(&kept).add(&page(0..0, &token)).unwrap();
        assert!(Pages::new(&kept).add(&page(0..0, &format!("{token}x"))).unwrap_err().contains("token"));
    }

    #[test]
    fn objects_and_what_is_kept_of_them_are_bounded() {
        let kept = AtomicUsize::default();
        let most = limits::CLUSTER_LIST_OBJECTS_MAX;
        Pages::new(&kept).add(&page(0..most, "")).unwrap();
        let mut pages = Pages::new(&kept);
        pages.add(&page(0..most, "more")).unwrap();
        assert!(pages.add(&page(most..=most, "")).unwrap_err().contains("objects"));

        let one = |bytes: usize| json!({ "items": [{ "metadata": { "name": "n", "uid": "u".repeat(bytes - 1) } }] });
        let bytes = limits::CLUSTER_LISTS_BYTES_MAX - Seen::of(&Value::Null).bytes();
        let kept = AtomicUsize::default();
        Pages::new(&kept).add(&one(bytes)).unwrap();
        assert!(Pages::new(&kept).add(&one(1)).unwrap_err().contains("bytes"), "lists of a session count together");
    }
}
