//! The ports of capabilities: executors open sessions, sessions act in batches. The engine owns all waiting.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use windlass_model::{
    ActionId,
    event::DriftedField,
    name::DocumentName,
    platform::{ConnectionSettings, EksSettings},
    state::{EnvironmentKey, RecordedAction},
};

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
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

/// Opens sessions on connections of one kind, for one interface.
#[async_trait]
pub trait Executor: Send + Sync {
    /// The interface that it executes.
    fn interface(&self) -> &'static str;
    /// The kind of connection that it opens.
    fn connection_kind(&self) -> &'static str;
    /// Opens a connection; nothing is changed by it.
    async fn open(&self, connection: &OpenConnection) -> Result<Arc<dyn Session>, CapabilityError>;
}

/// A connection to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenConnection {
    /// Its name.
    pub name: DocumentName,
    /// Its settings; credentials are references.
    pub settings: ConnectionSettings,
    /// For which environment.
    pub environment: EnvironmentKey,
}

/// An open connection. All calls are idempotent by the actions' identities.
#[async_trait]
pub trait Session: Send + Sync {
    /// Looks at what exists; changes nothing.
    async fn observe(&self, owner: &Owner, actions: &[ActionRef<'_>], depth: Depth) -> Vec<Result<Observation, CapabilityError>>;
    /// Says before the first effect what would be refused: whose something is, what the system would not take. Changes nothing.
    async fn preflight(&self, cx: &EffectCx<'_>, actions: &[Preflight]) -> Vec<Result<(), CapabilityError>>;
    /// Makes specs so: absent is created, ours converges, someone else's is refused.
    async fn ensure(&self, cx: &EffectCx<'_>, actions: &[ResolvedAction]) -> Vec<Result<Step, CapabilityError>>;
    /// Asks how far things are. A system in which nothing takes long hands no tickets out and is never asked.
    async fn poll(&self, _cx: &EffectCx<'_>, tickets: &[Ticket]) -> Vec<Result<Step, CapabilityError>> {
        CapabilityError::new(CapabilityErrorKind::Invalid, "this system hands no tickets out").of_each(tickets.len())
    }
    /// Takes things away that are ours; what is gone already is fine.
    async fn delete(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>>;
    /// Ends what had to stay until everything else was ready; asked of what was observed as `unsettled`.
    async fn settle(&self, _cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Observed, CapabilityError>> {
        let known = |action: &RecordedAction| {
            Ok(Observed { handle: action.handle.clone(), outputs: action.outputs.clone(), ..Observed::default() })
        };
        actions.iter().map(known).collect()
    }
    /// Takes our mark from things and leaves them as they are; what is gone already is fine.
    async fn release(&self, _cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<(), CapabilityError>> {
        CapabilityError::new(CapabilityErrorKind::Invalid, "this system can't let go of what it made").of_each(actions.len())
    }
    /// Goes on with what stands behind an action and has no name, as a person gives it: the state of a module.
    async fn adopt(&self, _id: &ActionId, _given: &Secret) -> Result<(), CapabilityError> {
        Err(CapabilityError::new(CapabilityErrorKind::Invalid, "what this system holds is taken over by its name"))
    }
    /// Says in lines what the system itself would do for an action, reading only; nothing if it plans nothing itself.
    async fn preview(&self, _id: &ActionId, _spec: &Value) -> Result<Option<Vec<String>>, CapabilityError> {
        Ok(None)
    }
    /// Reads secrets that the system keeps, `PATH#FIELD` each; nothing of it is kept here.
    async fn read(&self, references: &[&str]) -> Vec<Result<Secret, CapabilityError>> {
        CapabilityError::new(CapabilityErrorKind::Invalid, "this system keeps no secrets for others").of_each(references.len())
    }
    /// Lists everything with our mark.
    async fn list_ours(&self, owner: &Owner) -> Result<Vec<Observation>, CapabilityError>;
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

    /// Reads `PATH#FIELD` references, each path once.
    pub async fn read<R>(references: &[&str], read: impl Fn(String) -> R + Send + Sync) -> Vec<Result<Secret, CapabilityError>>
    where
        R: Future<Output = Result<Self, CapabilityError>> + Send,
    {
        let mut known: BTreeMap<&str, Result<Self, CapabilityError>> = BTreeMap::new();
        let mut out = Vec::with_capacity(references.len());
        for reference in references {
            let (path, field) = reference.split_once('#').unwrap_or((reference, ""));
            if !known.contains_key(path) {
                known.insert(path, read(path.to_owned()).await);
            }
            let found = known.get(path).ok_or_else(|| CapabilityError::new(CapabilityErrorKind::Failed, "nothing was read"));
            out.push(found.and_then(|fields| fields.as_ref().map_err(Clone::clone)).and_then(|fields| fields.get(path, field)));
        }
        out
    }
}

/// The mark of an environment: `INSTALLATION/APPLICATION/ENVIRONMENT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The installation's uuid.
    pub installation: String,
    /// The environment.
    pub environment: EnvironmentKey,
}

impl Owner {
    /// Reads whose something is by the mark on it.
    #[must_use]
    pub fn judge(&self, mark: Option<&str>) -> Ownership {
        match mark {
            Some(mark) if mark == self.to_string() => Ownership::Ours,
            Some(mark) => Ownership::Other(mark.to_owned()),
            None => Ownership::None,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.installation, self.environment)
    }
}

/// An action to look at.
#[derive(Clone, Copy, Debug)]
pub struct ActionRef<'a> {
    /// Its id.
    pub id: &'a ActionId,
    /// What the system calls it.
    pub identity: &'a str,
    /// What the capability kept to find it again.
    pub handle: &'a Value,
    /// What was sent, where a full comparison needs it; else what is recorded.
    pub spec: &'a Value,
}

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Is it there, is it ours, is it as we left it?
    Presence,
    /// Also: which fields differ.
    Full,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What the system calls it.
    pub identity: String,
    /// Whose it is.
    pub owner: Ownership,
    /// Whether it is as we left it.
    pub intact: bool,
    /// How far it is.
    pub phase: Phase,
    /// What it yields.
    pub outputs: Map<String, Value>,
    /// Which fields differ from what was recorded.
    pub drift: Vec<DriftedField>,
}

impl Observation {
    /// Makes one of something that yields nothing: it is as it was left if it exists and nothing differs.
    #[must_use]
    pub fn new(identity: impl Into<String>, owner: Ownership, phase: Phase, drift: Vec<DriftedField>) -> Self {
        let intact = phase == Phase::Present && drift.is_empty();
        Self { identity: identity.into(), owner, intact, phase, outputs: Map::new(), drift }
    }

    /// Makes one of something that carries our mark: what lists hold.
    #[must_use]
    pub fn ours(identity: impl Into<String>) -> Self {
        Self::new(identity, Ownership::Ours, Phase::Present, Vec::new())
    }
}

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// This environment's.
    Ours,
    /// Another's, with its mark or a description.
    Other(String),
    /// Nobody's mark is on it, or it does not exist.
    None,
}

/// How far something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It does not exist.
    Absent,
    /// It exists.
    Present,
    /// It is going away.
    Deleting,
}

/// An action whose values are all known.
#[derive(Clone, PartialEq)]
pub struct ResolvedAction {
    /// Its id.
    pub id: ActionId,
    /// What the system calls it.
    pub identity: String,
    /// What must be.
    pub spec: Value,
    /// Versions of the secrets that are in it, by label.
    pub versions: BTreeMap<String, u64>,
    /// What is recorded of it.
    pub recorded: Option<RecordedAction>,
    /// What happens where somebody else stands in the way.
    pub insistence: Insistence,
    /// What others need of it: it is done only when all of these are known.
    pub outputs: Vec<WantedOutput>,
}

/// What happens where somebody else stands in the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Insistence {
    /// It is refused, with whose it is.
    #[default]
    Refuse,
    /// Fields of ours that others changed are set back; what is not ours is refused.
    Restore,
    /// It is taken over from whoever owns it: somebody said so.
    TakeOver,
}

/// An output that other actions of the plan refer to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WantedOutput {
    /// Its name.
    pub name: String,
    /// Whether it is a secret.
    pub secret: bool,
}

/// An action as far as it is known before the first effect.
#[derive(Clone)]
pub struct Preflight {
    /// Its id.
    pub id: ActionId,
    /// What the system calls it.
    pub identity: String,
    /// What must be, sealed where values are not known yet.
    pub spec: Value,
    /// Whether `spec` is resolved: only then the system can be asked whether it would take it.
    pub is_resolved: bool,
    /// What is recorded of it.
    pub recorded: Option<RecordedAction>,
    /// What happens where somebody else stands in the way.
    pub insistence: Insistence,
    /// It is deleted first: it can't be changed in place.
    pub replace: bool,
}

impl fmt::Debug for ResolvedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolvedAction").field("id", &self.id).field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// What is asked about again later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// The action.
    pub id: ActionId,
    /// What the capability needs.
    pub state: Value,
}

/// How far an effect is.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It is done.
    Done(Observed),
    /// It is under way.
    Waiting {
        /// What is needed to ask again.
        ticket: Value,
        /// When to ask again at the earliest.
        retry_after_ms: u64,
        /// For people.
        note: String,
    },
}

/// What an effect left behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// What the capability needs to find it again.
    pub handle: Value,
    /// What it yields and is no secret.
    pub outputs: Map<String, Value>,
    /// What it yields and is secret.
    pub secret_outputs: BTreeMap<String, Secret>,
    /// Whether something was sent at all.
    pub changed: bool,
    /// Something of it ends only when everything else is ready: `settle` is to be called then.
    pub unsettled: bool,
}

/// What an effect may know and use.
#[derive(Clone, Copy)]
pub struct EffectCx<'a> {
    /// Whose.
    pub owner: &'a Owner,
    /// The lease's number.
    pub fence: crate::store::Fence,
    /// When to give up.
    pub deadline: Instant,
    /// Somebody said that data may be destroyed.
    pub allow_destroy: bool,
    /// Stop between actions.
    pub cancel: &'a Cancel,
    /// Keeps what must be durable before an effect goes on.
    pub journal: &'a dyn Checkpoint,
    /// Tells people.
    pub events: &'a dyn Progress,
}

/// Keeps what must be durable before an effect goes on.
#[async_trait]
pub trait Checkpoint: Send + Sync {
    /// Writes a ticket before the capability goes on.
    async fn save(&self, ticket: &Ticket) -> Result<(), CapabilityError>;
}

/// Tells people what goes on.
pub trait Progress: Send + Sync {
    /// One line about one action.
    fn note(&self, id: &ActionId, text: &str);
    /// A point between two steps inside an effect; tests kill the process here.
    fn point(&self, name: &'static str);
}

/// Set once, seen everywhere: stop between actions.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Tells whether somebody asked.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What went wrong in a system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CapabilityError {
    /// What kind of failure.
    pub kind: CapabilityErrorKind,
    /// What the system said.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapabilityErrorKind {
    /// The spec is wrong.
    Invalid,
    /// We may not.
    Denied,
    /// It is someone else's.
    Conflict,
    /// It ran out.
    Quota,
    /// It can't be reached now.
    Unavailable,
    /// The answer was lost: it may have happened.
    Uncertain,
    /// It did not become ready.
    Failed,
}

impl CapabilityError {
    /// Makes an error.
    #[must_use]
    pub fn new(kind: CapabilityErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// Says the same of every action of a batch.
    #[must_use]
    pub fn of_each<T>(&self, count: usize) -> Vec<Result<T, Self>> {
        (0..count).map(|_| Err(self.clone())).collect()
    }

    /// Says how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
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

/// A cluster that a cloud account knows by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudCluster {
    /// `https://…`.
    pub server: String,
    /// The authority of its certificate, PEM in base64.
    pub authority: String,
}

/// Finds clusters of a cloud account, and signs tokens for them in this process.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// Finds a cluster.
    async fn cluster(&self, eks: &EksSettings, environment: &EnvironmentKey) -> Result<CloudCluster, CapabilityError>;
    /// Signs a token; it is good for some minutes.
    async fn token(&self, eks: &EksSettings, environment: &EnvironmentKey) -> Result<Secret, CapabilityError>;
}
