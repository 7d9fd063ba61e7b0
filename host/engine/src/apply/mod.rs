//! Applying: a plan becomes so, exactly; killed at any instant, the next process goes on where it stood.

mod ask;
mod discretion;
mod drive;
mod effects;
mod fit;
mod intents;
mod look;
mod make;
mod order;
mod reading;
mod release;
mod remove;
mod run;
mod settle;
mod spending;
mod stop;
mod unwritten;
mod values;
mod wait;

pub use ask::Foreign;
pub use look::{Drift, Found, Unseen};
pub use values::sent;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join;
use windlass_model::{
    ActionId, Digest,
    canonical::CanonicalError,
    event::{Actor, Cause, DeploymentNumber, DeploymentStatus, Event, Verb},
    identity::shown,
    name::DocumentName,
    plan::{Change, Destroy, Plan},
    platform::{ConnectionSettings, OnRemove},
    state::{EnvironmentKey, Status},
};

use crate::{
    authorize::{Authorize, Refused, Target},
    host_access::HostAccess,
    session::{Cancel, CapabilityError, CapabilityErrorKind, Executor, OpenConnection, SecretStore, Session},
    store::{EnvironmentState, NewDeployment, Store, StoreError},
};

use reading::reading;
use run::Run;

/// Everything that applying needs from outside.
#[derive(Clone)]
pub struct Engine {
    /// State.
    pub store: Arc<dyn Store>,
    /// Secrets.
    pub secrets: Arc<dyn SecretStore>,
    /// Executors.
    pub executors: Vec<Arc<dyn Executor>>,
    /// Who may do what.
    pub authorize: Arc<dyn Authorize>,
    /// Tells people, and tests where to kill.
    pub observer: Arc<dyn Observer>,
    /// What of this machine connections may name.
    pub access: HostAccess,
}

/// Sees what goes on.
pub trait Observer: Send + Sync {
    /// From here on it is about this plan.
    fn begin(&self, plan: &Plan);
    /// An event was written.
    fn event(&self, event: &Event);
    /// One line about one action.
    fn note(&self, id: &ActionId, text: &str);
    /// A point between two steps: everything before it has happened, nothing after it has.
    fn point(&self, name: &'static str);
}

/// What is to be applied, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The connections that it names.
    pub connections: BTreeMap<DocumentName, Arc<ConnectionSettings>>,
    /// What was asked for.
    pub verb: Verb,
    /// Who asks.
    pub actor: Actor,
    /// Data may be destroyed.
    pub allow_destroy: bool,
    /// Objects that may be taken over, by identity or action.
    pub take_ownership: BTreeSet<String>,
    /// How long to wait.
    pub timeout: Duration,
    /// Everything that the plan leaves alone is looked at in full, also where that takes a process.
    pub refresh: bool,
    /// Made with `--platform DIR`.
    pub given_platform: bool,
    /// The deployment that is brought back.
    pub rollback_to: Option<DeploymentNumber>,
}

/// What a deployment is made of, as it is kept beside its plan.
#[derive(Clone, Debug)]
pub struct Documents {
    /// Digest of the layers.
    pub layers: Digest,
    /// Digest of the provenance.
    pub provenance: Digest,
    /// Every document and component that the deployment refers to.
    pub all: BTreeMap<Digest, Bytes>,
}

/// How applying ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was so already: nothing was written.
    NothingToDo,
    /// Everything is so.
    Succeeded(DeploymentNumber),
    /// It stopped.
    Failed {
        /// Which deployment.
        number: DeploymentNumber,
        /// Why.
        reason: String,
        /// How to mend it.
        hint: Option<String>,
    },
    /// Somebody stopped it.
    Cancelled(DeploymentNumber),
    /// A stage is ready; what it yielded decides the next one, which has to be planned.
    Staged(DeploymentNumber),
    /// The time was up; the deployment goes on with `resume`.
    TimedOut {
        /// Which deployment.
        number: DeploymentNumber,
        /// What it waits for, and how far that is, a line each.
        awaited: Vec<String>,
    },
}

/// Why applying did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Not allowed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Something changed since the plan was made.
    #[error("the plan is stale: {0}")]
    Stale(String),
    /// Data would be lost.
    #[error("the plan destroys data: {}", list(.0))]
    Guarded(Vec<Destroy>),
    /// A connection can't be used.
    #[error("connection `{connection}`: {error}")]
    Connection {
        /// Which.
        connection: DocumentName,
        /// Why.
        error: CapabilityError,
    },
    /// It killed the process too often.
    #[error("deployment {number} is held: {reason}")]
    Held {
        /// Which.
        number: DeploymentNumber,
        /// Why.
        reason: String,
    },
    /// Our own secrets can't be sealed.
    #[error("secrets can't be sealed: {0}")]
    Secrets(CapabilityError),
    /// There is nothing to go on with.
    #[error("nothing is under way in `{0}`")]
    NothingUnderWay(EnvironmentKey),
    /// A document that was stored can't be read.
    #[error("{what} can't be read: {reason}")]
    Document {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
}

impl ApplyError {
    /// Says through which connection something failed.
    fn of(connection: &DocumentName, error: CapabilityError) -> Self {
        Self::Connection { connection: connection.clone(), error }
    }
}

fn list(destroys: &[Destroy]) -> String {
    destroys.iter().map(|destroy| format!("`{}`", shown(&destroy.identity))).collect::<Vec<_>>().join(", ")
}

impl Engine {
    /// Applies a plan to its environment. What it was made of is written down only where there is something to do.
    pub async fn apply(
        &self,
        request: &Request,
        documents: impl FnOnce() -> Result<Documents, CanonicalError>,
        cancel: &Cancel,
    ) -> Result<Outcome, ApplyError> {
        let plan = &request.plan;
        let environment = plan.environment_key();
        let target = Target::new(&environment, &plan.environment_type);
        self.authorize.authorize(&request.actor, request.verb, &target)?;
        check_guarded(request)?;
        let state = self.state(&environment).await?;
        check_basis(plan, &state)?;
        let under_way = state.last.as_ref().filter(|last| last.status == DeploymentStatus::Running);
        if !plan.has_changes() && under_way.is_none() && !settle::is_due(&state.recorded) {
            let mut run = Run::new(self, environment.clone(), request, state.clone(), cancel);
            if run.all_intact().await? {
                return Ok(Outcome::NothingToDo);
            }
        }
        let lease = self.store.lock(&environment).await?;
        let state = self.state(&environment).await?;
        check_basis(plan, &state)?;
        let supersedes = state.last.as_ref().filter(|last| last.status == DeploymentStatus::Running).map(|last| last.number);
        let mut run = Run::new(self, environment.clone(), request, state, cancel);
        let started = Event::Started { intended: run.intended().await?, allow_destroy: request.allow_destroy };
        let unwritable =
            |error: CanonicalError| ApplyError::Document { what: "what the plan was made of".into(), reason: error.to_string() };
        let Documents { layers, provenance, all: mut documents } = documents().map_err(unwritable)?;
        let (digest, bytes) = stored(plan)?;
        documents.insert(digest, bytes);
        let deployment = NewDeployment {
            plan: digest,
            model: plan.model,
            layers,
            provenance,
            verb: request.verb,
            actor: request.actor.clone(),
            cause: Cause::Command { verb: request.verb },
            given_platform: request.given_platform,
            rollback_to: request.rollback_to,
            supersedes,
            documents,
            secrets: run.drafts()?,
        };
        self.observer.begin(plan);
        self.observer.point("before begin");
        let ahead = reading("a look ahead", Instant::now() + request.timeout, cancel, run.look_ahead());
        // A look that is left is asked for again by what needs it.
        let (number, _) = join(self.store.begin(&environment, lease.fence(), deployment, &started), ahead).await;
        let number = number?;
        self.observer.event(&started);
        self.observer.point("after begin");
        run.began(&started);
        run.go(lease.fence(), number, cancel).await
    }

    /// Goes on with a deployment that a process left.
    pub async fn resume(&self, request: &Request, number: DeploymentNumber, cancel: &Cancel) -> Result<Outcome, ApplyError> {
        let plan = &request.plan;
        let environment = plan.environment_key();
        let target = Target::new(&environment, &plan.environment_type);
        self.authorize.authorize(&request.actor, Verb::Resume, &target)?;
        let lease = self.store.lock(&environment).await?;
        let state = self.state(&environment).await?;
        if !state.last.as_ref().is_some_and(|last| last.number == number && last.status == DeploymentStatus::Running) {
            return Err(ApplyError::NothingUnderWay(environment));
        }
        let events = self.store.events(&environment, number, 0).await?;
        let deaths = events.iter().rev().take_while(|logged| matches!(logged.event, Event::Resumed { .. })).count();
        let deaths = u32::try_from(deaths).unwrap_or(u32::MAX) + 1;
        if deaths > windlass_model::limits::DEPLOYMENT_DEATHS_MAX {
            let reason = format!("the process died {} times without getting on", deaths - 1);
            let ended = Event::Ended { status: DeploymentStatus::Held { reason: reason.clone() } };
            self.store.append(&environment, lease.fence(), number, &[ended], &[]).await?;
            return Err(ApplyError::Held { number, reason });
        }
        let resumed = Event::Resumed { deaths };
        self.observer.begin(plan);
        self.observer.point("before resume");
        self.store.append(&environment, lease.fence(), number, std::slice::from_ref(&resumed), &[]).await?;
        self.observer.event(&resumed);
        let mut run = Run::new(self, environment, request, state, cancel);
        run.allow_destroy |= events.iter().any(|logged| matches!(logged.event, Event::Started { allow_destroy: true, .. }));
        run.tickets_of(&events);
        run.go_on_intending();
        run.go(lease.fence(), number, cancel).await
    }

    /// Goes on with the next stage of a deployment: its plan becomes the deployment's.
    pub async fn advance(&self, request: &Request, number: DeploymentNumber, cancel: &Cancel) -> Result<Outcome, ApplyError> {
        let plan = &request.plan;
        let environment = plan.environment_key();
        self.authorize.authorize(&request.actor, request.verb, &Target::new(&environment, &plan.environment_type))?;
        check_guarded(request)?;
        let lease = self.store.lock(&environment).await?;
        let state = self.state(&environment).await?;
        if !state.last.as_ref().is_some_and(|last| last.number == number && last.status == DeploymentStatus::Running) {
            return Err(ApplyError::NothingUnderWay(environment));
        }
        check_basis(plan, &state)?;
        let (digest, bytes) = stored(plan)?;
        self.store.put_documents(BTreeMap::from([(digest, bytes)])).await?;
        let mut run = Run::new(self, environment.clone(), request, state, cancel);
        let planned = Event::Planned { plan: digest, intended: run.intended().await? };
        self.observer.begin(plan);
        self.observer.point("before next stage");
        self.store.append(&environment, lease.fence(), number, std::slice::from_ref(&planned), &run.drafts()?).await?;
        self.observer.event(&planned);
        self.observer.point("after next stage");
        run.began(&planned);
        run.go(lease.fence(), number, cancel).await
    }

    /// Ends a deployment whose next stage can't be planned.
    pub async fn give_up(&self, request: &Request, number: DeploymentNumber, reason: &str) -> Result<(), ApplyError> {
        let plan = &request.plan;
        let environment = plan.environment_key();
        self.authorize.authorize(&request.actor, request.verb, &Target::new(&environment, &plan.environment_type))?;
        let lease = self.store.lock(&environment).await?;
        let ended = Event::Ended { status: DeploymentStatus::Failed { reason: reason.to_owned() } };
        self.store.append(&environment, lease.fence(), number, std::slice::from_ref(&ended), &[]).await?;
        self.observer.event(&ended);
        Ok(())
    }

    /// Finds who executes an interface through a connection of a kind.
    fn executor(&self, interface: &str, connection: &OpenConnection) -> Result<&dyn Executor, ApplyError> {
        let kind = connection.settings.kind();
        let found = self.executors.iter().find(|executor| executor.interface() == interface && executor.connection_kind() == kind);
        found.map(AsRef::as_ref).ok_or_else(|| ApplyError::Connection {
            connection: connection.name.clone(),
            error: CapabilityError::new(
                CapabilityErrorKind::Invalid,
                format!("this build can't apply `{interface}` through a connection of kind `{kind}`"),
            ),
        })
    }

    /// Opens a connection for an interface.
    async fn open(
        &self,
        interface: &str,
        connection: &DocumentName,
        settings: &ConnectionSettings,
        environment: &EnvironmentKey,
    ) -> Result<Arc<dyn Session>, ApplyError> {
        let open = OpenConnection {
            name: connection.clone(),
            settings: settings.clone(),
            environment: environment.clone(),
            access: self.access.clone(),
        };
        self.executor(interface, &open)?.open(&open).await.map_err(|error| ApplyError::of(connection, error))
    }

    async fn state(&self, environment: &EnvironmentKey) -> Result<EnvironmentState, ApplyError> {
        self.store.load(environment).await?.ok_or_else(|| StoreError::Missing(format!("the environment `{environment}`")).into())
    }
}

/// Data goes only if somebody said so.
fn check_guarded(request: &Request) -> Result<(), ApplyError> {
    let guarded: Vec<Destroy> = request.plan.destroys.iter().filter(|destroy| destroy.guarded).cloned().collect();
    if guarded.is_empty() || request.allow_destroy { Ok(()) } else { Err(ApplyError::Guarded(guarded)) }
}

/// Writes a plan as it is kept, and reads it back: no later command could go on from a plan that it cannot read.
fn stored(plan: &Plan) -> Result<(Digest, Bytes), ApplyError> {
    let unusable = |reason: String| ApplyError::Document { what: "the plan".into(), reason };
    let bytes = plan.to_canonical().map_err(|error| unusable(error.to_string()))?;
    serde_json::from_slice::<Plan>(&bytes).map_err(|error| unusable(error.to_string()))?;
    Ok((Digest::of_bytes(&bytes), Bytes::from(bytes)))
}

/// A plan whose basis is no longer the recorded state is stale.
fn check_basis(plan: &Plan, state: &EnvironmentState) -> Result<(), ApplyError> {
    let basis =
        state.recorded.basis().map_err(|error| ApplyError::Document { what: "the recorded state".into(), reason: error.to_string() })?;
    if basis == plan.basis {
        return Ok(());
    }
    let planned: BTreeSet<&ActionId> = plan
        .actions()
        .filter(|action| action.change != Change::Create)
        .map(|action| &action.id)
        .chain(plan.destroys.iter().map(|destroy| &destroy.id))
        .collect();
    let recorded: BTreeSet<&ActionId> =
        state.recorded.actions.values().filter(|action| action.status != Status::Retained).map(|action| &action.id).collect();
    let moved: Vec<String> = planned.symmetric_difference(&recorded).take(5).map(ToString::to_string).collect();
    let last = state.last.as_ref().map_or_else(
        || "nothing was ever deployed here".to_owned(),
        |last| format!("the newest deployment is {} ({})", last.number, last.status.word()),
    );
    Err(ApplyError::Stale(if moved.is_empty() {
        format!("the environment changed since it was made; {last}")
    } else {
        format!("it does not know {}; {last}", moved.join(", "))
    }))
}

/// What is taken away at the end: everything but what is replaced on the way.
fn is_late(destroy: &Destroy, act: OnRemove) -> bool {
    destroy.why != windlass_model::plan::DestroyReason::Replaced && destroy.act == act
}
