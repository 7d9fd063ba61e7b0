//! The embedded store of secrets: ciphertexts in the store, the key beside it.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use windlass_engine::{
    session::{CapabilityError, CapabilityErrorKind as Kind, Secret, SecretStore},
    store::{NewSecret, Store, StoreError},
};
use windlass_model::state::EnvironmentKey;

use crate::{derive, keyring::Keyring};

/// Secrets in the embedded store.
#[derive(Clone)]
pub struct EmbeddedSecrets {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
}

impl EmbeddedSecrets {
    /// Takes a store and its key.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, keyring: Arc<Keyring>) -> Self {
        Self { store, keyring }
    }

    /// Ties a ciphertext to its row: rows can't be swapped or put back.
    fn purpose(environment: &EnvironmentKey, name: &str, version: u64) -> String {
        format!("secret {environment} {name} {version}")
    }

    async fn put(&self, environment: &EnvironmentKey, name: &str, version: u64, value: &Secret) -> Result<bool, CapabilityError> {
        self.store.put_secret(environment, &self.draft(environment, name, version, value)?).await.map_err(unavailable)
    }
}

fn failed(error: impl std::fmt::Display) -> CapabilityError {
    CapabilityError::new(Kind::Failed, error.to_string())
}

fn unavailable(error: StoreError) -> CapabilityError {
    CapabilityError::new(Kind::Unavailable, error.to_string())
}

#[async_trait]
impl SecretStore for EmbeddedSecrets {
    async fn read(&self, environment: &EnvironmentKey, name: &str, version: Option<u64>) -> Result<Option<(u64, Secret)>, CapabilityError> {
        let Some((version, ciphertext)) = self.store.secret(environment, name, version).await.map_err(unavailable)? else {
            return Ok(None);
        };
        let bytes = self
            .keyring
            .open(&Self::purpose(environment, name, version), &ciphertext)
            .map_err(|error| failed(format!("the secret `{name}` of {environment} {error}")).hint("was the key file replaced?"))?;
        let text = String::from_utf8(bytes).map_err(|_| failed(format!("the secret `{name}` is not text")))?;
        Ok(Some((version, Secret::new(text))))
    }

    async fn write(&self, environment: &EnvironmentKey, name: &str, value: &Secret) -> Result<u64, CapabilityError> {
        loop {
            let newest = self.store.secret(environment, name, None).await.map_err(unavailable)?.map_or(0, |(version, _)| version);
            if self.put(environment, name, newest + 1, value).await? {
                return Ok(newest + 1);
            }
        }
    }

    async fn write_first(&self, environment: &EnvironmentKey, name: &str, value: &Secret) -> Result<u64, CapabilityError> {
        if let Some((version, _)) = self.store.secret(environment, name, None).await.map_err(unavailable)? {
            return Ok(version);
        }
        self.put(environment, name, 1, value).await?;
        Ok(1)
    }

    fn draft(&self, environment: &EnvironmentKey, name: &str, version: u64, value: &Secret) -> Result<NewSecret, CapabilityError> {
        let ciphertext = self.keyring.seal(&Self::purpose(environment, name, version), value.expose().as_bytes()).map_err(failed)?;
        Ok(NewSecret { name: name.to_owned(), version, ciphertext })
    }

    async fn list(&self, environment: &EnvironmentKey) -> Result<BTreeMap<String, u64>, CapabilityError> {
        self.store.secrets(environment).await.map_err(unavailable)
    }

    async fn remove(&self, environment: &EnvironmentKey, name: &str) -> Result<bool, CapabilityError> {
        self.store.remove_secret(environment, name).await.map_err(unavailable)
    }

    fn mac(&self, bytes: &[u8]) -> String {
        hex(&self.keyring.mac(bytes))
    }

    fn seal(&self, purpose: &str, bytes: &[u8]) -> Result<String, CapabilityError> {
        self.keyring.seal(purpose, bytes).map_err(failed)
    }

    fn open(&self, purpose: &str, text: &str) -> Result<Vec<u8>, CapabilityError> {
        self.keyring.open(purpose, text).map_err(failed)
    }

    fn derive(&self, op: &str, label: &str, values: &[Secret]) -> Result<Secret, CapabilityError> {
        let first = values.first().map(Secret::expose).unwrap_or_default();
        let salt_label = format!("{op} {label}");
        let text = match op.split_once(':') {
            Some(("bcrypt", cost)) => {
                derive::bcrypt(&self.keyring, &salt_label, cost.parse().map_err(|_| failed(format!("`{op}` has no cost")))?, first)
                    .map_err(failed)?
            }
            None if op == "scram-sha256" => derive::scram_sha256(&self.keyring, &salt_label, first),
            None if op == "fingerprint" => {
                // Of origin and version where a value is secret (they are the label), of the value where it is open.
                let mut hash = Sha256::new();
                hash.update(label.as_bytes());
                hex(&self.keyring.mac(&hash.finalize())).chars().take(32).collect()
            }
            _ => return Err(failed(format!("`{op}` is not known to this build"))),
        };
        Ok(Secret::new(text))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
