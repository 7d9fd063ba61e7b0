//! The port of the store: documents by digest, the log of each environment, leases.

use std::{collections::BTreeMap, num::NonZeroU32};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use windlass_model::{
    Digest,
    application::Provenance,
    event::{Actor, Cause, Deployment, DeploymentNumber, Event, LoggedEvent, Verb},
    platform::Platform,
    state::{EnvironmentKey, EnvironmentRecord, RecordedState},
};

/// The number of a lease; each new holder gets a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence(pub u64);

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process acts on the environment.
    #[error("environment `{environment}` is being changed by another process{}", holder.as_ref().map(|holder| format!(" ({holder})")).unwrap_or_default())]
    Locked {
        /// Which.
        environment: EnvironmentKey,
        /// Who, if known.
        holder: Option<String>,
    },
    /// The lease was taken over.
    #[error("the lease {} on `{environment}` was taken over; nothing was written", fence.0)]
    StaleFence {
        /// Which environment.
        environment: EnvironmentKey,
        /// The number that is no longer good.
        fence: Fence,
    },
    /// Somebody else wrote a secret meanwhile.
    #[error("the secret `{secret}` was written by someone else meanwhile (version {version}); nothing was written")]
    Taken {
        /// Its name.
        secret: String,
        /// The version that was to be written.
        version: u64,
    },
    /// A document that should be there is not.
    #[error("the store does not hold {0}")]
    Missing(String),
    /// What is stored can't be read.
    #[error("the stored {what} can't be read: {reason}")]
    Corrupt {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// The data folder could have been written by another user.
    #[error("the data folder is not trusted: {path}: {reason}")]
    Unsafe {
        /// The folder or file that is refused.
        path: String,
        /// The test that it fails.
        reason: String,
        /// How it becomes acceptable.
        remedy: String,
    },
    /// A value is not stored, because no later command could read it.
    #[error("the {what} is not stored: it could not be read back: {reason}")]
    Unreadable {
        /// The value.
        what: String,
        /// The reader's message.
        reason: String,
    },
    /// A row was changed outside of this program, or was not written under this installation's key.
    #[error("the stored {0} does not verify under the key of this installation")]
    Unauthentic(String),
    /// The database failed.
    #[error("the store failed while {doing}: {reason}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        reason: String,
    },
}

/// Computes authentication codes of rows under the key of the installation.
///
/// A message is a list of parts; two different lists never share a code, wherever the bytes of one part end and those of the next begin.
pub trait Authenticator: Send + Sync + std::fmt::Debug {
    /// Returns the code of a message.
    fn code(&self, parts: &[&[u8]]) -> [u8; AUTHENTICATION_CODE_BYTES];
    /// Returns whether a code belongs to a message, in a time that does not depend on where they differ.
    fn verifies(&self, parts: &[&[u8]], code: &[u8]) -> bool;
}

/// Length of an authentication code: HMAC-SHA-256.
pub const AUTHENTICATION_CODE_BYTES: usize = 32;

/// A held lease; dropping it frees the environment.
pub trait Lease: Send + Sync {
    /// Returns its number.
    fn fence(&self) -> Fence;
}

/// Everything known of an environment.
#[derive(Clone, Debug)]
pub struct EnvironmentState {
    /// The environment itself.
    pub record: EnvironmentRecord,
    /// What exists by our doing.
    pub recorded: RecordedState,
    /// The newest deployment.
    pub last: Option<Deployment>,
    /// The newest deployment that succeeded.
    pub last_succeeded: Option<Deployment>,
}

/// A version of a secret that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSecret {
    /// Its name.
    pub name: String,
    /// Its version, which must not be taken.
    pub version: u64,
    /// What it says, encrypted.
    pub ciphertext: String,
}

/// A deployment that begins.
#[derive(Clone, Debug)]
pub struct NewDeployment {
    /// The plan.
    pub plan: Digest,
    /// The model.
    pub model: Digest,
    /// The platform's layers as they were.
    pub layers: Digest,
    /// Where documents stood.
    pub provenance: Digest,
    /// What was asked for.
    pub verb: Verb,
    /// Who asked.
    pub actor: Actor,
    /// Why.
    pub cause: Cause,
    /// Made with `--platform DIR`.
    pub given_platform: bool,
    /// The deployment that it brings back.
    pub rollback_to: Option<DeploymentNumber>,
    /// The deployment that it takes over from.
    pub supersedes: Option<DeploymentNumber>,
    /// Every document and component that it refers to.
    pub documents: BTreeMap<Digest, Bytes>,
    /// Secrets that were drawn for it.
    pub secrets: Vec<NewSecret>,
}

/// Digests of the documents that a deployment was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeploymentDocuments {
    /// The plan.
    pub plan: Digest,
    /// The model.
    pub model: Digest,
    /// The layers.
    pub layers: Digest,
    /// Where documents stood.
    pub provenance: Digest,
}

/// Keeps everything. Reading never waits for writers.
///
/// Whatever is returned and may be acted on was written under the installation's key ([`Authenticator`]), in the row that it is read from; anything
/// else is [`StoreError::Unauthentic`]. Two lists are exceptions, because one environment that can't be read must not affect another:
/// `environments` names environments (their types are verified by `load`), and `claims` counts every row as a claim.
#[async_trait]
pub trait Store: Send + Sync {
    /// The installation's uuid, made with the store.
    fn installation(&self) -> &str;

    /// Lists environments.
    async fn environments(&self) -> Result<Vec<EnvironmentRecord>, StoreError>;
    /// Makes an environment; one that exists keeps its type.
    async fn create_environment(&self, record: &EnvironmentRecord) -> Result<bool, StoreError>;
    /// Forgets an environment in which nothing exists by our doing, with its history and secrets; false if something does.
    async fn remove_environment(&self, environment: &EnvironmentKey, fence: Fence) -> Result<bool, StoreError>;
    /// Loads an environment.
    async fn load(&self, environment: &EnvironmentKey) -> Result<Option<EnvironmentState>, StoreError>;
    /// Lists who owns which identity: `CONNECTION IDENTITY` to `APPLICATION/ENVIRONMENT`.
    async fn claims(&self) -> Result<BTreeMap<String, String>, StoreError>;

    /// Takes the environment's lease; a dead holder is taken over at once.
    async fn lock(&self, environment: &EnvironmentKey) -> Result<Box<dyn Lease>, StoreError>;
    /// Begins a deployment: documents, secrets, record and first event in one commit.
    async fn begin(
        &self,
        environment: &EnvironmentKey,
        fence: Fence,
        deployment: NewDeployment,
        started: &Event,
    ) -> Result<DeploymentNumber, StoreError>;
    /// Appends events and folds them into the recorded state, and writes the secrets that they speak of, in one commit.
    async fn append(
        &self,
        environment: &EnvironmentKey,
        fence: Fence,
        deployment: DeploymentNumber,
        events: &[Event],
        secrets: &[NewSecret],
    ) -> Result<u64, StoreError>;

    /// Forgets all but the newest deployments and what only they refer to; never the last one that succeeded. Returns how many.
    async fn forget(&self, environment: &EnvironmentKey, keep: NonZeroU32) -> Result<u64, StoreError>;

    /// Lists deployments, newest first.
    async fn deployments(&self, environment: &EnvironmentKey) -> Result<Vec<Deployment>, StoreError>;
    /// Returns what a deployment was made of.
    async fn documents_of(&self, environment: &EnvironmentKey, deployment: DeploymentNumber) -> Result<DeploymentDocuments, StoreError>;
    /// Lists a deployment's events behind a sequence number.
    async fn events(&self, environment: &EnvironmentKey, deployment: DeploymentNumber, after: u64) -> Result<Vec<LoggedEvent>, StoreError>;

    /// Keeps documents by their digests.
    async fn put_documents(&self, documents: BTreeMap<Digest, Bytes>) -> Result<(), StoreError>;
    /// Returns a document.
    async fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns the stored platform, and where its documents stood.
    async fn platform(&self) -> Result<(Platform, Provenance), StoreError>;
    /// Replaces the stored platform.
    async fn put_platform(&self, platform: &Platform, provenance: &Provenance) -> Result<(), StoreError>;

    /// Reads a ciphertext; the newest if no version is said.
    async fn secret(&self, environment: &EnvironmentKey, name: &str, version: Option<u64>) -> Result<Option<(u64, String)>, StoreError>;
    /// Writes a ciphertext under a version that is not taken; false if it is.
    async fn put_secret(&self, environment: &EnvironmentKey, secret: &NewSecret) -> Result<bool, StoreError>;
    /// Lists names and newest versions.
    async fn secrets(&self, environment: &EnvironmentKey) -> Result<BTreeMap<String, u64>, StoreError>;
    /// Forgets all versions.
    async fn remove_secret(&self, environment: &EnvironmentKey, name: &str) -> Result<bool, StoreError>;
}
