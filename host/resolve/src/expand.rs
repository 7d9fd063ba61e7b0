//! Puts values in the place of placeholders.

use serde_json::{Map, Value};
use windlass_model::{
    placeholder::{self, Segment},
    pointer::Pointer,
    sealed::{self, Part, Sealed},
};

/// Says what is wrong with a placeholder: a code, a sentence, a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpandError {
    /// Stable, for machines.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl ExpandError {
    /// Makes an error.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Says how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Expands a text; the result is always text, sealed where a value is.
pub fn text(text: &str, lookup: &mut impl FnMut(&[String]) -> Result<Value, ExpandError>) -> Result<Value, ExpandError> {
    if placeholder::is_plain(text) {
        return Ok(Value::String(text.to_owned()));
    }
    let segments = placeholder::parse(text);
    join(&segments, lookup)
}

/// Expands a value: a string that is one placeholder takes the value's own type; keys stay as they are.
pub fn typed(
    value: &Value,
    lookup: &mut impl FnMut(&[String]) -> Result<Value, ExpandError>,
    at: &Pointer<'_>,
    errors: &mut Vec<(String, ExpandError)>,
) -> Value {
    match value {
        Value::String(text) if placeholder::is_plain(text) => value.clone(),
        Value::String(text) => {
            let segments = placeholder::parse(text);
            let result = match segments.as_slice() {
                [Segment::Reference(reference)] => lookup(&placeholder::path(reference)),
                segments => join(segments, lookup),
            };
            result.unwrap_or_else(|error| {
                errors.push((at.to_string(), error));
                Value::Null
            })
        }
        Value::Array(items) => {
            Value::Array(items.iter().enumerate().map(|(index, item)| typed(item, lookup, &at.element(index), errors)).collect())
        }
        Value::Object(fields) => {
            let mut out = Map::new();
            for (key, item) in fields {
                out.insert(sealed::escape_key(key), typed(item, lookup, &at.field(key), errors));
            }
            Value::Object(out)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn join(segments: &[Segment<'_>], lookup: &mut impl FnMut(&[String]) -> Result<Value, ExpandError>) -> Result<Value, ExpandError> {
    let mut parts = Vec::new();
    for segment in segments {
        match segment {
            Segment::Text(text) => parts.push(Part::Text(text.to_string())),
            Segment::Reference(reference) => {
                let value = lookup(&placeholder::path(reference))?;
                if let Some(sealed) = Sealed::from_json(&value) {
                    parts.extend(sealed.into_text().parts().iter().cloned());
                    continue;
                }
                parts.push(Part::Text(match value {
                    Value::String(text) => text,
                    other => sealed::open_json(&other).ok_or_else(|| {
                        let message =
                            format!("`${{{reference}}}` is a list or a map that holds a value known only when the plan is applied");
                        ExpandError::new("not-open", message).hint("inside text, use its fields one by one")
                    })?,
                }));
            }
        }
    }
    let joined = Sealed::new(parts);
    joined.size().check().map_err(|limit| ExpandError::new("expansion", format!("the text {limit} when its placeholders are put in")))?;
    Ok(joined.to_json())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_model::sealed::{Encoding, Origin};

    use super::*;

    fn expanded(template: &str, value: &Value) -> Result<Value, ExpandError> {
        text(template, &mut |_| Ok(value.clone()))
    }

    #[test]
    fn lists_and_maps_inside_text_are_compact_json() {
        let owner = json!({ "team": "core", "on-call": ["ann", 1, null] });
        assert_eq!(expanded("${metadata.owner}", &owner), Ok(json!(r#"{"on-call":["ann",1,null],"team":"core"}"#)));
        assert_eq!(expanded("a ${metadata.list}!", &json!([1, "x"])), Ok(json!(r#"a [1,"x"]!"#)));
        // A key that looks like ours is the author's text.
        let forged = sealed::escape(json!({ "$sealed": [{ "origin": "x" }] }));
        assert_eq!(expanded("${metadata.forged}", &forged), Ok(json!(r#"{"$sealed":[{"origin":"x"}]}"#)));
    }

    #[test]
    fn lists_and_maps_that_hold_sealed_values_are_refused_inside_text() {
        let origin = Origin::External { connection: "secrets".to_owned(), reference: "x".to_owned(), version: Some(1) };
        let sealed = Sealed::of(origin, true, Encoding::Json).to_json();
        let problem = expanded("${resources.db.all}", &json!({ "password": sealed })).unwrap_err();
        assert_eq!(problem.code, "not-open");
    }
}
