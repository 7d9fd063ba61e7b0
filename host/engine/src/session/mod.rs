//! The ports of capabilities: executors open sessions, sessions act in batches. The engine owns all waiting.

mod entries;
mod error;
mod observation;
mod secret;

pub use entries::{Entries, EntrySpec, EntryStore, LookupSpec};
pub use error::{CapabilityError, CapabilityErrorKind};
pub use observation::{ActionRef, Depth, LazySpec, Observation, Owner, Ownership, Phase, UnseenField};
pub use secret::{Fields, Secret, SecretStore, generated_name, given_name};

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroUsize,
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
    ActionId, Spec,
    name::DocumentName,
    platform::{ConnectionSettings, EksSettings},
    sealed::{Origin, visit_origins},
    state::{EnvironmentKey, RecordedAction},
};

use crate::host_access::HostAccess;

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
    /// What of this machine the settings may name.
    pub access: HostAccess,
}

/// An open connection. All calls are idempotent by the actions' identities.
#[async_trait]
pub trait Session: Send + Sync {
    /// Looks at what exists; changes nothing.
    async fn observe(&self, owner: &Owner, actions: &[ActionRef<'_>], depth: Depth) -> Vec<Result<Observation, CapabilityError>>;
    /// Says before the first effect what would be refused: whose something is, what the system would not take. Changes nothing.
    async fn preflight(&self, cx: &EffectCx<'_>, actions: &[Preflight]) -> Vec<Result<(), CapabilityError>>;
    /// Looks at what `preflight` of these specs will ask about, while their intents are being written. What can't be known yet, or is
    /// refused, is said by `preflight`. Changes nothing.
    async fn look_ahead(&self, _specs: &[&Value]) {}
    /// Makes specs so: absent is created, ours converges, someone else's is refused.
    async fn ensure(&self, cx: &EffectCx<'_>, actions: &[ResolvedAction]) -> Vec<Result<Step, CapabilityError>>;
    /// Says for how many actions `ensure` may be under way at once, called for each by itself: none waits for the slowest, and what
    /// came of each is known at once. `None`: everything that is ready goes in one call, and the next comes when it has answered.
    fn at_once(&self) -> Option<NonZeroUsize> {
        None
    }
    /// Asks how far things are. A system in which nothing takes long hands no tickets out and is never asked.
    async fn poll(&self, _cx: &EffectCx<'_>, tickets: &[Ticket]) -> Vec<Result<Step, CapabilityError>> {
        CapabilityError::new(CapabilityErrorKind::Invalid, "this system hands no tickets out").of_each(tickets.len())
    }
    /// Takes things away that are ours; what is gone already is fine.
    async fn delete(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>>;
    /// Draws the values that actions make and that are not there yet: the store writes them in the commit that begins a deployment,
    /// under [`generated_name`], and what needs them is known before the first effect.
    async fn draw(&self, actions: &[(&ActionId, Value)]) -> Vec<Result<Option<Secret>, CapabilityError>> {
        actions.iter().map(|_| Ok(None)).collect()
    }
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

/// An action whose values are all known.
#[derive(Clone, PartialEq)]
pub struct ResolvedAction {
    /// Its id.
    pub id: ActionId,
    /// What the system calls it.
    pub identity: String,
    /// What must be.
    pub spec: Value,
    /// The spec as it is planned, with its sealed values.
    pub planned: Spec,
    /// What the system holds of it before this deployment; nothing where it was never made.
    pub prior: Option<PriorState>,
    /// What happens where somebody else stands in the way.
    pub insistence: Insistence,
    /// What others need of it: it is done only when all of these are known.
    pub outputs: Vec<WantedOutput>,
}

/// What a system holds of an action before a deployment acts on it. It is a type of its own because the record of the action is the
/// intent of this deployment as soon as the deployment begins.
#[derive(Clone, Debug, PartialEq)]
pub struct PriorState {
    /// The handle that the capability kept; `null` where no system ever confirmed the action.
    pub handle: Value,
    /// Every spec that the system may hold, oldest first: more than one where deployments were cut off or failed.
    pub specs: Vec<Spec>,
}

impl PriorState {
    /// Reads what a record says of the time before `next` is sent; nothing if it is the intent of something new.
    #[must_use]
    pub fn before(record: &RecordedAction, next: &Spec) -> Option<Self> {
        let specs = record.held_before(next);
        let is_new = specs.is_empty() && record.handle.is_null();
        (!is_new).then(|| Self { handle: record.handle.clone(), specs })
    }

    /// Tells whether the system surely holds a field (`pointer`) as it is planned: every spec agrees on it, and its secrets name their
    /// versions. A value that is read from elsewhere may be another each time.
    #[must_use]
    pub fn holds(&self, planned: &Spec, pointer: &str) -> bool {
        let planned = planned.to_value();
        let wanted = planned.pointer(pointer);
        let mut is_decided = true;
        visit_origins(wanted.unwrap_or(&Value::Null), &mut |origin| {
            is_decided &= matches!(origin, Origin::Generated { .. } | Origin::External { version: Some(_), .. } | Origin::Derived { .. });
        });
        is_decided && !self.specs.is_empty() && self.specs.iter().all(|sent| sent.to_value().pointer(pointer) == wanted)
    }
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
    /// What the system holds of it before this deployment; nothing where it was never made.
    pub prior: Option<PriorState>,
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
    async fn cluster(&self, eks: &EksSettings, connection: &OpenConnection) -> Result<CloudCluster, CapabilityError>;
    /// Signs a token; it is good for some minutes.
    async fn token(&self, eks: &EksSettings, connection: &OpenConnection) -> Result<Secret, CapabilityError>;
}
