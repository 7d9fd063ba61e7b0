//! Specs of actions as canonical JSON text: hashed, compared and written as they are, a tree only where one is read.
//!
//! A plan of ten thousand objects is ten megabytes of text and would be a hundred of trees.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    canonical::{self, CanonicalError},
    digest::Digest,
    sealed::SEALED_KEY,
};

/// Plan JSON of one spec, canonical.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Spec(Arc<RawValue>);

impl Spec {
    /// Writes a value canonically.
    pub fn new(value: &Value) -> Result<Self, CanonicalError> {
        let bytes = canonical::to_vec(value)?;
        let text = String::from_utf8(bytes).map_err(|error| CanonicalError::Serialize(error.to_string()))?;
        RawValue::from_string(text).map(|raw| Self(raw.into())).map_err(|error| CanonicalError::Serialize(error.to_string()))
    }

    /// Returns `null`: what the log holds in the place of a spec.
    #[must_use]
    pub fn null() -> Self {
        Self::default()
    }

    /// Tells whether there is nothing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.as_str() == "null"
    }

    /// Returns the canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Builds the tree. What was written by [`Spec::new`] always can be.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::from_str(self.as_str()).unwrap_or(Value::Null)
    }

    /// Hashes it: equal to the digest of its value.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_bytes(self.as_str().as_bytes())
    }

    /// Tells whether a sealed value may stand in it; false is certain.
    #[must_use]
    pub fn may_be_sealed(&self) -> bool {
        self.as_str().contains(SEALED_KEY)
    }
}

impl Default for Spec {
    fn default() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }
}

impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Spec {}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(raw.into()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_canonical_and_passes_through_json_untouched() {
        let value = json!({ "b": [1, "é\n"], "a": { "$sealed": ["x"] } });
        let spec = Spec::new(&value).unwrap();
        assert_eq!(spec.as_str(), r#"{"a":{"$sealed":["x"]},"b":[1,"é\n"]}"#);
        assert_eq!(spec.digest(), Digest::of(&value).unwrap());
        assert_eq!(spec.to_value(), value);
        assert!(spec.may_be_sealed());
        let text = serde_json::to_string(&[&spec]).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Spec>>(&text).unwrap(), [spec]);
        assert!(Spec::null().is_null() && Spec::default() == Spec::new(&Value::Null).unwrap());
    }
}
