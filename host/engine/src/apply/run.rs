//! One run of a deployment: batches of what is ready, each intent on disk before its effect.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde_json::Value;
use windlass_model::{
    ActionId,
    event::{DeploymentNumber, DeploymentStatus, Event, LoggedEvent},
    name::DocumentName,
    plan::Plan,
    platform::ConnectionSettings,
    state::{EnvironmentKey, RecordedAction},
};

use super::{
    ApplyError, Engine, Outcome, Request,
    fit::{Constraints, constraints},
    make::grouped,
    order::Order,
    spending::{Expansion, Spending},
    stop::Stop,
    values::{self, Fresh, Values},
};
use crate::{
    plan::{Kept, Moves},
    session::{
        Cancel, CapabilityError, CapabilityErrorKind as Kind, Checkpoint, EffectCx, Owner, Progress, Secret, Session, Ticket, WantedOutput,
    },
    store::{EnvironmentState, Fence},
};

/// How long a look ahead may take: a system that does not answer holds up nothing before its turn.
const LOOK_AHEAD_MAX: Duration = Duration::from_secs(1);

/// A deployment under way.
pub(crate) struct Run<'a> {
    pub engine: &'a Engine,
    pub environment: EnvironmentKey,
    pub request: &'a Request,
    pub recorded: BTreeMap<ActionId, RecordedAction>,
    pub owner: Owner,
    sessions: BTreeMap<(String, String), Arc<dyn Session>>,
    pub order: Order,
    pub wanted: BTreeMap<ActionId, BTreeSet<WantedOutput>>,
    pub constraints: Constraints<'a>,
    /// What its values cost; the deadline begins with the run.
    pub spending: Spending,
    pub waiting: BTreeMap<ActionId, Ticket>,
    /// How far that is, in words.
    pub notes: BTreeMap<ActionId, String>,
    /// What other systems keep and this run needs.
    pub kept: BTreeMap<Kept, Secret>,
    /// Secrets that the next commit writes: see [`Run::write`].
    pub fresh: Fresh,
    /// What has no intent on disk yet, in the order in which it is sent.
    pub(super) unintended: BTreeSet<(u16, ActionId)>,
    /// Specs whose values were known when the deployment began.
    pub resolved: BTreeMap<ActionId, Value>,
    /// What happened and is not on disk yet, and since when: see [`Run::defer`].
    pub(super) unwritten: Vec<Event>,
    pub(super) unwritten_since: Option<Instant>,
    /// Data may be destroyed: said now, or when the deployment began.
    pub allow_destroy: bool,
    pub fence: Fence,
    pub number: DeploymentNumber,
}

/// How far a run has come.
enum Stage {
    /// The next one has to be planned.
    Ready,
    /// There is no other.
    Last,
}

/// Tells people what an effect says.
pub(crate) struct Notes<'a>(pub &'a Engine);

impl Progress for Notes<'_> {
    fn note(&self, id: &ActionId, text: &str) {
        self.0.observer.note(id, text);
    }

    fn point(&self, name: &'static str) {
        self.0.observer.point(name);
    }
}

/// Keeps tickets in the environment's log.
pub(crate) struct Journal<'a> {
    pub engine: &'a Engine,
    pub environment: &'a EnvironmentKey,
    pub fence: Fence,
    pub number: DeploymentNumber,
}

#[async_trait]
impl Checkpoint for Journal<'_> {
    async fn save(&self, ticket: &Ticket) -> Result<(), CapabilityError> {
        let event = Event::Waiting { id: ticket.id.clone(), ticket: ticket.state.clone(), note: "checkpoint".to_owned() };
        self.engine
            .store
            .append(self.environment, self.fence, self.number, &[event], &[])
            .await
            .map(drop)
            .map_err(|error| CapabilityError::new(Kind::Unavailable, error.to_string()))
    }
}

/// Puts records under the addresses that the plan knows them by.
fn moved(mut recorded: BTreeMap<ActionId, RecordedAction>, plan: &Plan) -> BTreeMap<ActionId, RecordedAction> {
    for (to, from) in Moves::of(&recorded, &plan.stages).moves {
        if let Some(record) = recorded.remove(&from) {
            // What was sent is sealed for the old one.
            recorded.insert(to.clone(), RecordedAction { id: to, resolved: None, mac: None, ..record });
        }
    }
    recorded
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        environment: EnvironmentKey,
        request: &'a Request,
        state: EnvironmentState,
        cancel: &Cancel,
    ) -> Self {
        Self {
            owner: Owner { installation: engine.store.installation().to_owned(), environment: environment.clone() },
            order: Order::of(&request.plan),
            wanted: values::wanted(&request.plan),
            constraints: constraints(&request.plan),
            spending: Spending::new(Instant::now() + request.timeout, cancel),
            engine,
            environment,
            request,
            recorded: moved(state.recorded.actions, &request.plan),
            sessions: BTreeMap::new(),
            waiting: BTreeMap::new(),
            notes: BTreeMap::new(),
            kept: BTreeMap::new(),
            fresh: Fresh::new(),
            unintended: BTreeSet::new(),
            resolved: BTreeMap::new(),
            unwritten: Vec::new(),
            unwritten_since: None,
            allow_destroy: request.allow_destroy,
            fence: Fence(0),
            number: DeploymentNumber(0),
        }
    }

    /// Opens what is about to be acted on and looks at what is there, beside the commit of the intents. What fails, or takes too long,
    /// fails again where it is asked about.
    pub(crate) async fn look_ahead(&mut self) {
        let plan = Arc::clone(&self.request.plan);
        let groups = grouped(plan.actions().filter(|action| self.resolved.contains_key(&action.id)));
        let look = async {
            for ((interface, connection), actions) in groups {
                let Ok(session) = self.session(&interface, &connection, &self.settings(&connection)).await else { continue };
                let specs: Vec<&Value> = actions.iter().filter_map(|action| self.resolved.get(&action.id)).collect();
                session.look_ahead(&specs).await;
            }
        };
        let _ = tokio::time::timeout(LOOK_AHEAD_MAX, look).await;
    }

    /// Returns what values are made of.
    pub(crate) fn values(&self) -> Values<'_> {
        Values {
            environment: &self.environment,
            secrets: &self.engine.secrets,
            recorded: &self.recorded,
            kept: &self.kept,
            fresh: &self.fresh,
            spending: &self.spending,
            expanded: Expansion::default(),
        }
    }

    /// Takes the event into account that begins a deployment or a stage, and is on disk with every secret that was drawn.
    pub(crate) fn began(&mut self, event: &Event) {
        self.fresh.clear();
        self.adopt(event);
    }

    /// Takes the records of an event into account.
    pub(crate) fn adopt(&mut self, event: &Event) {
        for action in event.records().unwrap_or_default() {
            self.recorded.insert(action.id.clone(), action.clone());
        }
    }

    /// Takes over what earlier processes were waiting for.
    pub(crate) fn tickets_of(&mut self, events: &[LoggedEvent]) {
        for logged in events {
            match &logged.event {
                Event::Waiting { id, ticket, .. } => {
                    self.waiting.insert(id.clone(), Ticket { id: id.clone(), state: ticket.clone() });
                }
                Event::Done { actions } => actions.iter().for_each(|action| {
                    self.waiting.remove(&action.id);
                }),
                _ => {}
            }
        }
    }

    pub(crate) fn settings(&self, connection: &DocumentName) -> Arc<ConnectionSettings> {
        self.request
            .connections
            .get(connection)
            .cloned()
            .or_else(|| self.recorded.values().find(|record| record.connection == *connection).map(|record| Arc::clone(&record.settings)))
            .unwrap_or_else(|| Arc::new(ConnectionSettings::Secrets {}))
    }

    /// Opens a connection, once.
    pub(crate) async fn session(
        &mut self,
        interface: &str,
        connection: &DocumentName,
        settings: &ConnectionSettings,
    ) -> Result<Arc<dyn Session>, ApplyError> {
        let key = (interface.to_owned(), serde_json::to_string(&(connection, settings)).unwrap_or_default());
        if let Some(session) = self.sessions.get(&key) {
            return Ok(Arc::clone(session));
        }
        let session = self.engine.open(interface, connection, settings, &self.environment).await?;
        self.sessions.insert(key, Arc::clone(&session));
        Ok(session)
    }

    /// Returns what keeps tickets while an effect runs.
    pub(crate) fn journal(&self) -> Journal<'_> {
        Journal { engine: self.engine, environment: &self.environment, fence: self.fence, number: self.number }
    }

    /// Returns what an effect may know and use.
    pub(crate) fn effect_cx<'c>(
        &'c self,
        deadline: Instant,
        cancel: &'c Cancel,
        journal: &'c dyn Checkpoint,
        events: &'c dyn Progress,
    ) -> EffectCx<'c> {
        EffectCx { owner: &self.owner, fence: self.fence, deadline, allow_destroy: self.allow_destroy, cancel, journal, events }
    }

    /// Makes a stage; behind the last one, what is left behind is settled and taken away.
    async fn steps(&mut self, deadline: Instant, cancel: &Cancel) -> Result<Stage, Stop> {
        self.make(deadline, cancel).await?;
        if self.request.plan.staged().next().is_some() || self.has_moved() {
            return Ok(Stage::Ready);
        }
        self.settle(deadline, cancel).await?;
        self.take_away(deadline, cancel).await?;
        Ok(Stage::Last)
    }

    /// Tells whether a value that a driver looked at is another by now: what was decided with it has to be decided again.
    fn has_moved(&self) -> bool {
        self.request
            .plan
            .values
            .iter()
            .any(|known| self.recorded.get(&known.action).and_then(|record| record.outputs.get(&known.output)) != Some(&known.value))
    }

    /// Runs to an end.
    pub(crate) async fn go(&mut self, fence: Fence, number: DeploymentNumber, cancel: &Cancel) -> Result<Outcome, ApplyError> {
        (self.fence, self.number) = (fence, number);
        let deadline = self.spending.deadline();
        let mut result = self.steps(deadline, cancel).await;
        if matches!(result, Ok(Stage::Ready) | Err(Stop::TimedOut(_) | Stop::Error(_))) {
            // No end is written behind it. What stopped the run is told before what a flush says.
            let flushed = self.flush().await;
            result = result.and_then(|stage| flushed.map(|()| stage));
        }
        let (status, outcome) = match result {
            Ok(Stage::Ready) => return Ok(Outcome::Staged(number)),
            Ok(Stage::Last) => (DeploymentStatus::Succeeded, Outcome::Succeeded(number)),
            Err(Stop::Cancelled) => (DeploymentStatus::Cancelled, Outcome::Cancelled(number)),
            Err(Stop::Failed { reason, hint }) => {
                (DeploymentStatus::Failed { reason: reason.clone() }, Outcome::Failed { number, reason, hint })
            }
            Err(Stop::TimedOut(awaited)) => return Ok(Outcome::TimedOut { number, awaited }),
            Err(Stop::Error(error)) => return Err(error),
        };
        match self.append(Event::Ended { status }).await {
            Ok(()) => Ok(outcome),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Cancelled | Stop::TimedOut(_) | Stop::Failed { .. }) => Ok(outcome),
        }
    }
}
