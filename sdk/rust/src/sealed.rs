//! Sealed values: strings that stand for what a driver may not see, or can't see yet.
//!
//! A [`Sealable`] may be put into longer text and passed on, never parsed. The functions of this
//! module do what honest drivers would need plain text for; the host does it when the plan is applied.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

const TOKEN_OPEN: char = '\u{FDD0}';
const TOKEN_SECRET: &str = "\u{FDD0}s";

/// Text that may hold sealed tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealable(String);

impl Sealable {
    /// Wraps text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, tokens included: for putting into longer text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text if it holds no token.
    pub fn known(&self) -> Option<&str> {
        (!self.is_sealed()).then_some(self.0.as_str())
    }

    /// Tells whether it holds a token.
    pub fn is_sealed(&self) -> bool {
        self.0.contains(TOKEN_OPEN)
    }

    /// Tells whether it holds a secret.
    pub fn is_secret(&self) -> bool {
        self.0.contains(TOKEN_SECRET)
    }

    /// Writes a typed value as text, to stand inside a longer string.
    #[must_use]
    pub fn to_text(&self) -> Self {
        Self(host::to_text(&self.0))
    }

    /// Writes it in base64.
    #[must_use]
    pub fn to_base64(&self) -> Self {
        Self(host::to_base64(&self.0))
    }

    /// Percent-encodes it for use in one component of a URL.
    #[must_use]
    pub fn to_url_component(&self) -> Self {
        Self(host::to_url_component(&self.0))
    }

    /// Writes it as a JSON string, quotes included.
    #[must_use]
    pub fn to_json_string(&self) -> Self {
        Self(host::to_json_string(&self.0))
    }

    /// Writes it as a YAML double-quoted string, quotes included.
    #[must_use]
    pub fn to_yaml_string(&self) -> Self {
        Self(host::to_yaml_string(&self.0))
    }

    /// Hashes it with bcrypt; `cost` is 4 to 12. All hashes of one call together may cost 2^17 rounds: 128 of cost 10, or 32 of cost 12.
    #[must_use]
    pub fn bcrypt(&self, cost: u8) -> Self {
        Self(host::bcrypt(&self.0, cost))
    }

    /// Makes a SCRAM-SHA-256 verifier.
    #[must_use]
    pub fn scram_sha256(&self) -> Self {
        Self(host::scram_sha256(&self.0))
    }
}

/// Yields text that is not secret and changes when, and only when, one of the values does.
pub fn fingerprint(values: &[Sealable]) -> Sealable {
    let values: Vec<String> = values.iter().map(|value| value.0.clone()).collect();
    Sealable(host::fingerprint(&values))
}

impl From<String> for Sealable {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Sealable {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Sealable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Sealable {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Sealable".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "x-windlass-sealed": true })
    }
}

/// A typed value, or the token that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealableValue<T> {
    /// The value.
    Known(T),
    /// A token.
    Sealed(Sealable),
}

impl<T> SealableValue<T> {
    /// Returns the value if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Sealed(_) => None,
        }
    }
}

impl<T> From<T> for SealableValue<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: Serialize> Serialize for SealableValue<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(value) => value.serialize(serializer),
            Self::Sealed(token) => token.serialize(serializer),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for SealableValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) if text.contains(TOKEN_OPEN) => Ok(Self::Sealed(Sealable(text))),
            value => serde_json::from_value(value).map(Self::Known).map_err(serde::de::Error::custom),
        }
    }
}

impl<T: JsonSchema> JsonSchema for SealableValue<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Sealable{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        schema.insert("x-windlass-sealed".to_owned(), Value::Bool(true));
        schema
    }
}

/// Any JSON, with tokens anywhere in its values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealableJson(pub Value);

impl JsonSchema for SealableJson {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SealableJson".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-windlass-sealed": true })
    }
}

#[cfg(target_arch = "wasm32")]
mod host {
    pub(super) use crate::bindings::imports::windlass::driver::sealed::{
        bcrypt, fingerprint, scram_sha256, to_base64, to_json_string, to_text, to_url_component, to_yaml_string,
    };
}

#[cfg(not(target_arch = "wasm32"))]
mod host {
    use crate::recorder::with;

    macro_rules! forward {
        ($($rust:ident = $wit:literal),*) => {$(
            pub(super) fn $rust(value: &str) -> String {
                with(|recorder| recorder.sealed($wit, &[value], None))
            }
        )*};
    }

    forward!(
        to_text = "to-text",
        to_base64 = "to-base64",
        to_url_component = "to-url-component",
        to_json_string = "to-json-string",
        to_yaml_string = "to-yaml-string",
        scram_sha256 = "scram-sha256"
    );

    pub(super) fn bcrypt(value: &str, cost: u8) -> String {
        with(|recorder| recorder.sealed("bcrypt", &[value], Some(cost)))
    }

    pub(super) fn fingerprint(values: &[String]) -> String {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        with(|recorder| recorder.sealed("fingerprint", &values, None))
    }
}
