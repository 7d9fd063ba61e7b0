//! Documents that arrive as JSON values, without a file: in plan files. They are held to the rules of documents that people write.

use serde_json::Value;
use windlass_model::{
    canonical::{self, CanonicalError},
    limits,
    pointer::Pointer,
    sealed,
};

use crate::schema;

/// Why a value is not an acceptable document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClosedError {
    /// A level or an integer that documents cannot hold.
    #[error(transparent)]
    Shape(#[from] CanonicalError),
    /// A marker of sealed values.
    #[error("the text at `{0}` holds U+FDD0 or U+FDD1, which are reserved for sealed values")]
    Reserved(String),
    /// A text longer than a document.
    #[error("the text at `{pointer}` has {bytes} bytes; a document has at most {max}")]
    Length {
        /// JSON Pointer of the text.
        pointer: String,
        /// Length of the text.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A value that the schema of the kind refuses.
    #[error("`{pointer}` {reason}")]
    Schema {
        /// JSON Pointer of the value.
        pointer: String,
        /// The rule that it breaks.
        reason: String,
    },
}

/// Checks a document of a kind: depth, integers, reserved characters, length of texts, and the kind's schema.
///
/// # Errors
///
/// The first rule that the value breaks.
pub fn check_closed(kind: &str, value: &Value) -> Result<(), ClosedError> {
    check_closed_value(value)?;
    match schema::first_error(kind, value) {
        None => Ok(()),
        Some((pointer, reason)) => Err(ClosedError::Schema { pointer, reason }),
    }
}

/// Checks a part of a document: depth, integers, reserved characters and length of texts.
///
/// # Errors
///
/// The first rule that the value breaks.
pub fn check_closed_value(value: &Value) -> Result<(), ClosedError> {
    canonical::check(value)?;
    texts(value, &Pointer::Root)
}

fn texts(value: &Value, at: &Pointer<'_>) -> Result<(), ClosedError> {
    match value {
        Value::String(text) => check_text(text, at),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| texts(item, &at.element(index))),
        Value::Object(fields) => fields.iter().try_for_each(|(key, item)| {
            let at = &at.field(key);
            check_text(key, at)?;
            texts(item, at)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn check_text(text: &str, at: &Pointer<'_>) -> Result<(), ClosedError> {
    if text.contains([sealed::TOKEN_OPEN, sealed::TOKEN_CLOSE]) {
        return Err(ClosedError::Reserved(at.to_string()));
    }
    if text.len() > limits::DOCUMENT_BYTES_MAX {
        return Err(ClosedError::Length { pointer: at.to_string(), bytes: text.len(), max: limits::DOCUMENT_BYTES_MAX });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!([inner]))
    }

    #[test]
    fn values_are_held_to_the_rules_of_documents() {
        assert!(check_closed_value(&nested(limits::JSON_DEPTH_MAX)).is_ok());
        assert!(matches!(check_closed_value(&nested(limits::JSON_DEPTH_MAX + 1)), Err(ClosedError::Shape(_))));
        for value in [json!({ "a": ["x\u{FDD0}st0\u{FDD1}"] }), json!({ "a\u{FDD1}": 1 })] {
            assert!(matches!(check_closed_value(&value), Err(ClosedError::Reserved(_))), "{value}");
        }
        let text = |bytes: usize| Value::String("x".repeat(bytes));
        assert!(check_closed_value(&text(limits::DOCUMENT_BYTES_MAX)).is_ok());
        assert!(matches!(check_closed_value(&text(limits::DOCUMENT_BYTES_MAX + 1)), Err(ClosedError::Length { .. })));
    }

    #[test]
    fn the_schema_of_the_kind_decides() {
        let document = |spec: Value| json!({ "apiVersion": "windlass.dev/v1alpha1", "kind": "EnvironmentType", "metadata": { "name": "x" }, "spec": spec });
        assert_eq!(check_closed("EnvironmentType", &document(json!({ "protected": true }))), Ok(()));
        let refused = check_closed("EnvironmentType", &document(json!({ "protected": "yes" }))).unwrap_err();
        assert!(refused.to_string().starts_with("`/spec/protected` "), "{refused}");
    }
}
