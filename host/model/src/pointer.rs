//! JSON Pointers (RFC 6901): where something stands inside a document.

use std::fmt;

use serde_json::Value;

/// A path into a JSON value that grows and shrinks while walking.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    text: String,
    ends: Vec<usize>,
}

impl Pointer {
    /// Points to the whole.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Descends into a field.
    pub fn push(&mut self, key: &str) {
        self.ends.push(self.text.len());
        self.text.push('/');
        for c in key.chars() {
            match c {
                '~' => self.text.push_str("~0"),
                '/' => self.text.push_str("~1"),
                other => self.text.push(other),
            }
        }
    }

    /// Descends into an element.
    pub fn push_index(&mut self, index: usize) {
        self.push(&index.to_string());
    }

    /// Ascends by one step.
    pub fn pop(&mut self) {
        if let Some(end) = self.ends.pop() {
            self.text.truncate(end);
        }
    }

    /// Returns the text of RFC 6901.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Finds what a pointer points to; unlike [`Value::pointer`] it takes no memory for steps without escapes, which are nearly all.
#[must_use]
pub fn find<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    if pointer.contains('~') || !pointer.starts_with('/') {
        return value.pointer(pointer);
    }
    pointer.split('/').skip(1).try_fold(value, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => items.get(index(step)?),
        _ => None,
    })
}

/// Reads the step into an array: digits without a leading zero.
fn index(step: &str) -> Option<usize> {
    (step == "0" || !step.starts_with(['0', '+'])).then(|| step.parse().ok())?
}

/// Splits a pointer into its unescaped steps.
#[must_use]
pub fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// Escapes one step.
#[must_use]
pub fn escape(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

/// Tells whether a pointer matches a pattern in which `*` stands for any one step and a last `**` for any rest.
#[must_use]
pub fn matches(pattern: &str, pointer: &str) -> bool {
    let mut pattern = pattern.split('/').skip(1);
    let mut steps = pointer.split('/').skip(1);
    loop {
        match (pattern.next(), steps.next()) {
            (Some("**"), _) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(want), Some(step)) if want == step => {}
            _ => return false,
        }
    }
}

/// Visits every string of a value, keys included, with its place.
pub fn visit_strings<'v>(value: &'v Value, visit: &mut impl FnMut(&Pointer, StringRole, &'v str)) {
    fn walk<'v>(value: &'v Value, at: &mut Pointer, visit: &mut impl FnMut(&Pointer, StringRole, &'v str)) {
        match value {
            Value::String(text) => visit(at, StringRole::Value, text),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    at.push_index(index);
                    walk(item, at, visit);
                    at.pop();
                }
            }
            Value::Object(fields) => {
                for (key, item) in fields {
                    at.push(key);
                    visit(at, StringRole::Key, key);
                    walk(item, at, visit);
                    at.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    walk(value, &mut Pointer::root(), visit);
}

/// Whether a visited string is a key or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringRole {
    /// The name of a field.
    Key,
    /// A value.
    Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(matches("/data/*", "/data/x"));
        assert!(!matches("/data/*", "/data/x/y"));
        assert!(matches("/data/**", "/data/x/y"));
        assert!(!matches("/data/*", "/metadata"));
        assert_eq!(steps("/a~1b/c~0d"), ["a/b", "c~d"]);
    }

    #[test]
    fn finds_what_serde_json_finds() {
        let value = serde_json::json!({"a": [{"b/c": 1, "": 2}, [3, 4]], "0": {"1": 5}});
        for pointer in ["", "/", "a", "/a", "/a/0", "/a/0/b~1c", "/a/0/", "/a/1/1", "/a/01", "/a/+1", "/a/2", "/0/1", "/a/-", "/a/0/x/y"] {
            assert_eq!(find(&value, pointer), value.pointer(pointer), "{pointer}");
        }
    }
}
