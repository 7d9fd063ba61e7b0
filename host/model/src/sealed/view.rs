//! What the host looks at of a value without making anything else of it: a field, or the same in another type.

use serde_json::Value;

use super::{Encoding, Origin, Sealed, SealedPart};

/// The function that takes a field out of a value; its JSON Pointer stands behind it.
const FIELD: &str = "field:";
/// The function that turns a scalar into another type of JSON; the type stands behind it.
const AS: &str = "as:";
/// Scalar types of JSON Schema.
const TYPES: [&str; 4] = ["boolean", "integer", "number", "string"];

impl Sealed {
    /// Names a field of what it stands for; nothing if it is a text with more in it.
    #[must_use]
    pub fn field(self, pointer: &str) -> Option<Self> {
        let secret = self.single().filter(|part| part.encoding == Encoding::Json)?.secret;
        Some(Self::of(Origin::Derived { op: format!("{FIELD}{pointer}"), of: [self].into() }, secret, Encoding::Json))
    }

    /// Stands for the same as a type of JSON has it: `5432` where the type is `integer` and somebody yields `"5432"`.
    #[must_use]
    pub fn into_type(self, kind: &str) -> Self {
        let is_text = || self.single().is_none_or(SealedPart::is_text);
        if !TYPES.contains(&kind) || kind == "string" && is_text() {
            return self;
        }
        let secret = self.is_secret();
        Self::of(Origin::Derived { op: format!("{AS}{kind}"), of: [self].into() }, secret, Encoding::Json)
    }
}

/// What the host looks at of a value without making anything else of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View<'o> {
    /// A field, by its JSON Pointer.
    Field(&'o str),
    /// The same as a type of JSON has it.
    As(&'o str),
}

impl<'o> View<'o> {
    /// Reads the function of a derived value; nothing if it is one of `windlass:driver/sealed`.
    #[must_use]
    pub fn of(op: &'o str) -> Option<Self> {
        op.strip_prefix(FIELD).map(Self::Field).or_else(|| op.strip_prefix(AS).map(Self::As))
    }

    /// Looks at a value.
    ///
    /// # Errors
    ///
    /// If there is nothing of the kind, with what is wrong; `label` says what the value is.
    pub fn look(self, value: Value, label: &str) -> Result<Value, String> {
        match self {
            Self::Field(pointer) => {
                // What is secret is kept as text and read as JSON.
                let field = match &value {
                    Value::String(text) => serde_json::from_str::<Value>(text).ok().and_then(|value| value.pointer(pointer).cloned()),
                    value => value.pointer(pointer).cloned(),
                };
                field.ok_or_else(|| format!("`{label}` has no field `{pointer}`"))
            }
            Self::As(kind) => {
                let value = coerce(kind, value);
                let fits = match kind {
                    // A module may yield nothing, whatever type it is said to yield.
                    _ if value.is_null() => true,
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
                    "number" => value.is_number(),
                    _ => value.is_string(),
                };
                if fits { Ok(value) } else { Err(format!("`{label}` is no {kind}, and the type of its resource says that it is")) }
            }
        }
    }
}

/// Turns a scalar into a type of JSON where it says the same: `"5432"` into `5432`, `5432` into `"5432"`.
#[must_use]
pub fn coerce(kind: &str, value: Value) -> Value {
    match (kind, &value) {
        ("integer" | "number", Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_number).unwrap_or(value),
        ("boolean", Value::String(text)) => text.parse().map_or(value, Value::Bool),
        ("string", Value::Number(number)) => Value::String(number.to_string()),
        ("string", Value::Bool(boolean)) => Value::String(boolean.to_string()),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_as_sealed_as_the_whole() {
        let given = |encoding| {
            Sealed::of(Origin::External { connection: "secrets".into(), reference: "x".into(), version: Some(1) }, true, encoding)
        };
        let field = given(Encoding::Json).field("/a/0").unwrap();
        assert_eq!((field.is_secret(), field.display().as_str()), (true, "«secret x/a/0»"));
        assert_eq!(Sealed::from_json(&field.to_json()), Some(field.clone()));
        assert_eq!(field.field("/b").unwrap().label(), "x/a/0/b");
        assert!(given(Encoding::Text).field("/a").is_none(), "a text has no fields");
        let value = serde_json::json!({ "a": [{ "b": 1 }] });
        for whole in [value.clone(), Value::String(value.to_string())] {
            assert_eq!(View::Field("/a/0/b").look(whole.clone(), "x"), Ok(1.into()));
            assert_eq!(View::Field("/a/1").look(whole, "x"), Err("`x` has no field `/a/1`".to_owned()));
        }
        assert!(View::Field("/a").look("no JSON".into(), "x").is_err());
    }

    #[test]
    fn what_is_known_later_gets_its_type_then() {
        let later = |encoding| Sealed::of(Origin::Output { node: "s3#web.files".into(), name: "port".into() }, false, encoding);
        let port = later(Encoding::Json).into_type("integer");
        assert_eq!(port.display(), "«deferred s3#web.files.port»", "people see what it is of");
        assert!(!port.single().unwrap().is_text() && later(Encoding::Json).into_type("string").single().unwrap().is_text());
        let stored =
            Sealed::of(Origin::External { connection: "secrets".into(), reference: "x".into(), version: None }, true, Encoding::Json);
        assert_eq!(stored.clone().into_type("string"), stored, "what stores keep is text");
        assert!(stored.into_type("integer").is_secret());
        for (kind, yielded, expected) in [
            ("integer", json!("5432"), Some(json!(5432))),
            ("integer", json!(5432), Some(json!(5432))),
            ("integer", json!("54.5"), None),
            ("integer", json!("many"), None),
            ("integer", json!([5432]), None),
            ("number", json!("0.5"), Some(json!(0.5))),
            ("boolean", json!("true"), Some(json!(true))),
            ("boolean", json!("yes"), None),
            ("string", json!(5432), Some(json!("5432"))),
            ("string", json!(false), Some(json!("false"))),
            ("string", json!({}), None),
            ("string", json!(null), Some(json!(null))),
            ("integer", json!(null), Some(json!(null))),
        ] {
            let looked = View::As(kind).look(yielded.clone(), "x");
            assert_eq!(looked.clone().ok(), expected, "{yielded} as {kind}");
            assert!(looked.err().is_none_or(|why| why.contains(&format!("is no {kind}"))));
        }
        let list = later(Encoding::Json);
        assert_eq!(list.clone().into_type("array"), list, "only scalars have several forms");
    }
}
