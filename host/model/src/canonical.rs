//! Canonical JSON (RFC 8785): the bytes that digests are taken of.

use serde::Serialize;
use serde_json::Value;

use crate::{limits, pointer::Pointer};

/// Says why a value has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// An integer that JSON readers would round.
    #[error("integer {value} at `{pointer}` is beyond 2^53 - 1 and would be rounded by readers; write it as a string")]
    Integer {
        /// Where it stands.
        pointer: String,
        /// The integer as written.
        value: String,
    },
    /// Nesting that a reader would refuse.
    #[error("the value is nested deeper than {max} levels at `{pointer}`")]
    Depth {
        /// Where the limit was passed.
        pointer: String,
        /// The limit.
        max: usize,
    },
    /// A type that serde can't write as JSON.
    #[error("can't be written as JSON: {0}")]
    Serialize(String),
}

/// Writes a value canonically.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    serde_json_canonicalizer::to_vec(value).map_err(|error| CanonicalError::Serialize(error.to_string()))
}

/// Refuses what has no exact canonical form: large integers and deep nesting.
pub fn check(value: &Value) -> Result<(), CanonicalError> {
    walk(value, 0).map_err(|found| {
        let mut at = Pointer::root();
        found.steps.iter().rev().for_each(|step| at.push(step));
        match found.integer {
            Some(value) => CanonicalError::Integer { pointer: at.to_string(), value },
            None => CanonicalError::Depth { pointer: at.to_string(), max: limits::JSON_DEPTH_MAX },
        }
    })
}

/// A finding, with the steps to it from the inside out: the place is put together only if there is one.
struct Found {
    steps: Vec<String>,
    integer: Option<String>,
}

fn walk(value: &Value, depth: usize) -> Result<(), Found> {
    if depth > limits::JSON_DEPTH_MAX {
        return Err(Found { steps: Vec::new(), integer: None });
    }
    let inside = |mut found: Found, step: String| {
        found.steps.push(step);
        found
    };
    match value {
        Value::Number(number) => {
            let exact = match (number.as_u64(), number.as_i64()) {
                (Some(n), _) => n <= limits::INTEGER_MAX,
                (None, Some(n)) => n.unsigned_abs() <= limits::INTEGER_MAX,
                (None, None) => true,
            };
            if exact { Ok(()) } else { Err(Found { steps: Vec::new(), integer: Some(number.to_string()) }) }
        }
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| walk(item, depth + 1).map_err(|found| inside(found, index.to_string())))
        }
        Value::Object(fields) => {
            fields.iter().try_for_each(|(key, item)| walk(item, depth + 1).map_err(|found| inside(found, key.clone())))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refuses_integers_that_readers_round_and_names_the_place() {
        assert!(check(&json!({"a": 9_007_199_254_740_991_u64, "b": -9_007_199_254_740_991_i64, "c": 1.5})).is_ok());
        let error = check(&json!({"a": {"b/c": [0, 9_007_199_254_740_992_u64]}})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "integer 9007199254740992 at `/a/b~1c/1` is beyond 2^53 - 1 and would be rounded by readers; write it as a string"
        );
    }

    #[test]
    fn sorts_keys_and_drops_spaces() {
        assert_eq!(to_vec(&json!({"b": 1, "a": [1.0, "é"]})).unwrap(), r#"{"a":[1,"é"],"b":1}"#.as_bytes());
    }
}
