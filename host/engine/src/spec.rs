//! Reads specs of handles into the types that their schemas are made from.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::Value;
use windlass_model::{
    Diagnostic,
    sealed::{self, Sealed},
};

use crate::session::{CapabilityError, CapabilityErrorKind};

/// The field that a planner puts into a spec so that it says itself what it is.
pub const KIND: &str = "kind";

/// Puts the resource's name into a spec.
#[must_use]
pub fn with_kind(resource: &str, mut spec: Value) -> Value {
    if let Value::Object(fields) = &mut spec {
        fields.insert(KIND.to_owned(), Value::String(resource.to_owned()));
    }
    spec
}

/// Returns the resource's name.
#[must_use]
pub fn kind(spec: &Value) -> &str {
    spec.get(KIND).and_then(Value::as_str).unwrap_or_default()
}

/// Returns a field's text, if it is known.
#[must_use]
pub fn text<'s>(spec: &'s Value, field: &str) -> &'s str {
    spec.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Reads a spec whose values may be sealed: those read as text, which positions that want something else refuse.
pub fn typed<T: DeserializeOwned>(spec: &Value) -> Result<T, Diagnostic> {
    let shown: Result<Value, std::convert::Infallible> = sealed::map(
        spec,
        &mut |value: &Sealed| Ok(Value::String(value.display())),
        &mut |text| Ok(Value::String(text.to_owned())),
        &sealed::unescape_key,
    );
    let Ok(mut shown) = shown;
    if let Value::Object(fields) = &mut shown {
        fields.remove(KIND);
    }
    serde_path_to_error::deserialize(shown).map_err(|error| {
        let pointer: String = error
            .path()
            .iter()
            .filter_map(|step| match step {
                serde_path_to_error::Segment::Seq { index } => Some(format!("/{index}")),
                serde_path_to_error::Segment::Map { key } => Some(format!("/{}", windlass_model::pointer::escape(key))),
                _ => None,
            })
            .collect();
        Diagnostic::error("spec", format!("the spec does not fit: {}", error.inner())).at(pointer)
    })
}

/// Reads a spec where it is applied: there a wrong one is the system's refusal.
pub fn read<T: DeserializeOwned>(spec: &Value) -> Result<T, CapabilityError> {
    typed(spec).map_err(|problem| CapabilityError::new(CapabilityErrorKind::Invalid, problem.message))
}

/// Returns the schema of a spec.
#[must_use]
pub fn schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}
