//! Secrets: values that are never printed, the store that keeps ours, and what other systems hold.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use serde_json::Value;
use windlass_model::{ActionId, state::EnvironmentKey};
use zeroize::Zeroizing;

use super::{CapabilityError, CapabilityErrorKind};
use crate::store::NewSecret;

/// A value that is never printed; its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Hands the value out; adapters alone have a reason to.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The secrets of environments, and what only the holder of the key can do.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// Reads a value; the newest if no version is said.
    async fn read(&self, environment: &EnvironmentKey, name: &str, version: Option<u64>) -> Result<Option<(u64, Secret)>, CapabilityError>;
    /// Writes a new version and returns its number.
    async fn write(&self, environment: &EnvironmentKey, name: &str, value: &Secret) -> Result<u64, CapabilityError>;
    /// Writes the first version, or leaves what is there; returns the version that is there.
    async fn write_first(&self, environment: &EnvironmentKey, name: &str, value: &Secret) -> Result<u64, CapabilityError>;
    /// Seals a value as a version that is not taken, for the store to write it in one commit with events.
    fn draft(&self, environment: &EnvironmentKey, name: &str, version: u64, value: &Secret) -> Result<NewSecret, CapabilityError>;
    /// Lists names and newest versions.
    async fn list(&self, environment: &EnvironmentKey) -> Result<BTreeMap<String, u64>, CapabilityError>;
    /// Forgets all versions; tells whether there was one.
    async fn remove(&self, environment: &EnvironmentKey, name: &str) -> Result<bool, CapabilityError>;
    /// Hashes bytes under the key, in hexadecimal.
    fn mac(&self, bytes: &[u8]) -> String;
    /// Encrypts bytes; they can be read only with the same purpose.
    fn seal(&self, purpose: &str, bytes: &[u8]) -> Result<String, CapabilityError>;
    /// Decrypts.
    fn open(&self, purpose: &str, text: &str) -> Result<Vec<u8>, CapabilityError>;
    /// Derives a value: `bcrypt:COST`, `scram-sha256`, `fingerprint`; the salt follows from the label.
    fn derive(&self, op: &str, label: &str, values: &[Secret]) -> Result<Secret, CapabilityError>;
}

/// The name under which a generated value is stored.
#[must_use]
pub fn generated_name(action: &ActionId) -> String {
    format!("action/{action}")
}

/// The name under which a given value is stored.
#[must_use]
pub fn given_name(name: &str) -> String {
    format!("env/{name}")
}

/// What a secret of another system holds: fields with their text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Takes fields; what is no text stands as JSON.
    #[must_use]
    pub fn new(fields: impl IntoIterator<Item = (String, Value)>) -> Self {
        let text = |value: Value| if let Value::String(text) = value { text } else { value.to_string() };
        Self(fields.into_iter().map(|(name, value)| (name, text(value))).collect())
    }

    /// Tells whether they are exactly these.
    #[must_use]
    pub fn are(&self, wanted: &BTreeMap<String, String>) -> bool {
        self.0 == *wanted
    }

    /// Finds a field; `path` says where it was looked for.
    pub fn get(&self, path: &str, field: &str) -> Result<Secret, CapabilityError> {
        let Some(text) = self.0.get(field) else {
            let known = self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let error = CapabilityError::new(CapabilityErrorKind::Invalid, format!("`{path}` has no field `{field}`"));
            return Err(error.hint(format!("it has {known}")));
        };
        Ok(Secret::new(text.clone()))
    }
}
