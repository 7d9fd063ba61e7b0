//! Specs of actions as canonical JSON text: hashed, compared and written as they are, a tree only where one is read.
//!
//! A plan of ten thousand objects is ten megabytes of text and would be a hundred of trees.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    canonical::{self, CanonicalError},
    digest::Digest,
    limits, nesting,
    sealed::SEALED_KEY,
};

/// Plan JSON of one spec, canonical.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Spec(Arc<RawValue>);

impl Spec {
    /// Writes a value canonically.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::Depth`] if readers could not build its tree again: see [`limits::SPEC_DEPTH_MAX`].
    pub fn new(value: &Value) -> Result<Self, CanonicalError> {
        let bytes = canonical::to_vec(value)?;
        let text = String::from_utf8(bytes).map_err(|error| CanonicalError::Serialize(error.to_string()))?;
        if nesting::is_deeper(&text, limits::SPEC_DEPTH_MAX) {
            return Err(CanonicalError::Depth { pointer: String::new(), max: limits::SPEC_DEPTH_MAX });
        }
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

    /// Builds the tree. Every spec that was made by [`Spec::new`], or read, has one: neither takes a text that is nested too deep for it.
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
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if nesting::is_deeper(raw.get(), limits::SPEC_DEPTH_MAX) {
            let max = limits::SPEC_DEPTH_MAX;
            return Err(serde::de::Error::custom(CanonicalError::Depth { pointer: String::new(), max }));
        }
        Ok(Self(raw.into()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_spec_has_a_tree() {
        let nested = |levels: usize| (0..levels).fold(json!("x"), |inner, _| json!([inner]));
        let deepest = nested(limits::SPEC_DEPTH_MAX);
        let spec = Spec::new(&deepest).unwrap();
        assert_eq!(spec.to_value(), deepest);
        assert_eq!(serde_json::from_str::<Spec>(spec.as_str()).unwrap().to_value(), deepest);
        let above = nested(limits::SPEC_DEPTH_MAX + 1);
        assert!(matches!(Spec::new(&above), Err(CanonicalError::Depth { .. })));
        assert!(serde_json::from_str::<Spec>(&above.to_string()).is_err(), "what could not be written is not read either");
    }

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
