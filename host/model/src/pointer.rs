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
            Self::Field(around, key) => {
                around.fmt(f)?;
                f.write_str("/")?;
                if is_plain(key) { f.write_str(key) } else { f.write_str(&escape(key)) }
            }
            Self::Element(around, index) => {
                around.fmt(f)?;
                write!(f, "/{index}")
            }
        }
    }
}

/// Finds what a pointer points to; unlike [`Value::pointer`] it takes no memory for steps without escapes, which are nearly all.
#[must_use]
pub fn find<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    if !pointer.starts_with('/') || pointer.bytes().any(|byte| byte == b'~') {
        return value.pointer(pointer);
    }
    raw_steps(pointer).try_fold(value, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => items.get(index(step)?),
        _ => None,
    })
}

/// Splits off the first step, as it is written; what is left is a pointer again. Nothing of the pointer to the whole.
#[must_use]
pub fn first_step(pointer: &str) -> Option<(&str, &str)> {
    let below = pointer.strip_prefix('/')?;
    // Steps are too short for a search that prepares itself.
    Some(below.split_at(below.bytes().position(|byte| byte == b'/').unwrap_or(below.len())))
}

/// Splits a pointer into its steps, as they are written.
pub fn raw_steps(pointer: &str) -> impl Iterator<Item = &str> {
    let mut rest = pointer;
    std::iter::from_fn(move || {
        let (step, below) = first_step(rest)?;
        rest = below;
        Some(step)
    })
}

/// Reads the step into an array: digits without a leading zero.
fn index(step: &str) -> Option<usize> {
    (step == "0" || !step.starts_with(['0', '+'])).then(|| step.parse().ok())?
}

/// Splits a pointer into its unescaped steps.
#[must_use]
pub fn steps(pointer: &str) -> Vec<String> {
    raw_steps(pointer).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// Returns whether a step stands in a pointer as it is.
fn is_plain(step: &str) -> bool {
    !step.bytes().any(|byte| matches!(byte, b'~' | b'/'))
}

/// Escapes one step.
#[must_use]
pub fn escape(step: &str) -> String {
    if is_plain(step) {
        return step.to_owned();
    }
    step.replace('~', "~0").replace('/', "~1")
}

/// Tells whether a pointer matches a pattern in which `*` stands for any one step and a last `**` for any rest.
#[must_use]
pub fn matches(pattern: &str, pointer: &str) -> bool {
    let (mut pattern, mut steps) = (raw_steps(pattern), raw_steps(pointer));
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
