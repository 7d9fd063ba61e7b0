//! JSON Pointers (RFC 6901): where something stands inside a document.

use std::fmt;

use serde_json::Value;

/// A place on the way down a JSON value. It takes no memory: its text is written only where there is something to say.
#[derive(Clone, Copy, Debug)]
pub enum Pointer<'a> {
    /// The whole.
    Root,
    /// A field of what stands around it.
    Field(&'a Pointer<'a>, &'a str),
    /// An element of what stands around it.
    Element(&'a Pointer<'a>, usize),
}

impl Pointer<'_> {
    /// Descends into a field.
    #[must_use]
    pub fn field<'a>(&'a self, key: &'a str) -> Pointer<'a> {
        Pointer::Field(self, key)
    }

    /// Descends into an element.
    #[must_use]
    pub fn element(&self, index: usize) -> Pointer<'_> {
        Pointer::Element(self, index)
    }
}

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(around, key) => write!(f, "{around}/{}", escape(key)),
            Self::Element(around, index) => write!(f, "{around}/{index}"),
        }
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

/// Visits every text of a value.
pub fn visit_texts<'v>(value: &'v Value, visit: &mut impl FnMut(&'v str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| visit_texts(item, visit)),
        Value::Object(fields) => fields.values().for_each(|item| visit_texts(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_it_went_through() {
        let (root, field);
        root = Pointer::Root;
        field = root.field("a/b~c");
        assert_eq!(root.to_string(), "");
        assert_eq!(field.element(3).field("").to_string(), "/a~1b~0c/3/");
    }

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
