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
    plan::{Change, Plan, PlannedAction},
    platform::ConnectionSettings,
    state::{EnvironmentKey, RecordedAction, Status},
};

use super::{
    ApplyError, Engine, Outcome, Request,
    fit::{Constraints, constraints},
    make::grouped,
    order::Order,
    stop::Stop,
    values::{self, FIRST_VERSION, Fresh, Values},
};
use crate::{
    plan::{Kept, Moves},
    session::{
        Cancel, CapabilityError, CapabilityErrorKind as Kind, Checkpoint, EffectCx, Owner, Progress, Secret, Session, Ticket, WantedOutput,
        generated_name,
    },
    store::{EnvironmentState, Fence, NewSecret},
};

/// The interface of values that the store itself makes.
const GENERATED: &str = "windlass:secrets/generated";

/// How long what came of effects may wait to be written: what a killed process did is done again, if only looked at.
const UNWRITTEN_MAX: Duration = Duration::from_secs(5);

/// How long a look ahead may take: a system that does not answer holds up nothing before its turn.
const LOOK_AHEAD_MAX: Duration = Duration::from_secs(1);

/// How much of what came of effects may wait: it is written beside those that are still under way, not behind the last.
const UNWRITTEN_ACTIONS_MAX: usize = 250;

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
    pub waiting: BTreeMap<ActionId, Ticket>,
    /// How far that is, in words.
    pub notes: BTreeMap<ActionId, String>,
    /// What other systems keep and this run needs.
    pub kept: BTreeMap<Kept, Secret>,
    /// Secrets that the next commit writes: see [`Run::write`].
    pub fresh: Fresh,
    /// Specs whose values were known when the deployment began.
    pub resolved: BTreeMap<ActionId, Value>,
    /// What happened and is not on disk yet, and since when: see [`Run::defer`].
    unwritten: Vec<Event>,
    unwritten_since: Option<Instant>,
    /// Data may be destroyed: said now, or when the deployment began.
    pub allow_destroy: bool,
    pub fence: Fence,
    pub number: DeploymentNumber,
}

/// A spec with every value in its place.
pub(crate) struct Resolved {
    pub spec: Value,
    pub bytes: Vec<u8>,
    pub mac: String,
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
    pub(crate) fn new(engine: &'a Engine, environment: EnvironmentKey, request: &'a Request, state: EnvironmentState) -> Self {
        Self {
            owner: Owner { installation: engine.store.installation().to_owned(), environment: environment.clone() },
            order: Order::of(&request.plan),
            wanted: values::wanted(&request.plan),
            constraints: constraints(&request.plan),
            engine,
            environment,
            request,
            recorded: moved(state.recorded.actions, &request.plan),
            sessions: BTreeMap::new(),
            waiting: BTreeMap::new(),
            notes: BTreeMap::new(),
            kept: BTreeMap::new(),
            fresh: Fresh::new(),
            resolved: BTreeMap::new(),
            unwritten: Vec::new(),
            unwritten_since: None,
            allow_destroy: request.allow_destroy,
            fence: Fence(0),
            number: DeploymentNumber(0),
        }
    }

    /// Records of what is about to be made or changed, complete where every value is known by now; what is replaced keeps its
    /// record until it is gone.
    pub(crate) async fn intended(&mut self) -> Result<Vec<RecordedAction>, ApplyError> {
        let plan = Arc::clone(&self.request.plan);
        self.draw(&plan).await?;
        let mut intended = Vec::new();
        // What is pending is no intent yet: it may turn out that there is nothing to do.
        for action in plan.actions().filter(|action| matches!(action.change, Change::Create | Change::Update)) {
            // What a deployment that was cut off may have sent is uncertain: `ensure` looks before it acts.
            let cut_off = self.recorded.get(&action.id).is_some_and(|before| before.status.is_unanswered());
            let status = if cut_off { Status::Uncertain } else { Status::Intended };
            let record = self.record(action, status);
            intended.push(match self.resolve(action).await {
                Ok(resolved) => {
                    let record = self.complete(record, &resolved).map_err(|error| ApplyError::of(&action.connection, error))?;
                    self.resolved.insert(action.id.clone(), resolved.spec);
                    record
                }
                // Something that comes before it has to be made first.
                Err(_) => record,
            });
        }
        Ok(intended)
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

    /// Draws the values that the plan generates, so that what needs them is known before the first effect.
    async fn draw(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        // What was made once and is gone is a loss, told elsewhere.
        let new = plan.actions().filter(|action| action.capability == GENERATED && action.change == Change::Create);
        for ((interface, connection), actions) in grouped(new) {
            let settings = self.settings(&connection);
            let session = self.session(&interface, &connection, &settings).await?;
            let asked: Vec<(&ActionId, Value)> = actions.iter().map(|action| (&action.id, action.spec.to_value())).collect();
            for ((id, _), drawn) in asked.iter().zip(session.draw(&asked).await) {
                if let Some(secret) = drawn.map_err(|error| ApplyError::of(&connection, error))? {
                    self.fresh.insert(generated_name(id), (FIRST_VERSION, secret));
                }
            }
        }
        Ok(())
    }

    /// Seals the secrets that are not on disk yet, for the next commit.
    pub(crate) fn drafts(&self) -> Result<Vec<NewSecret>, ApplyError> {
        let draft =
            |(name, (version, secret)): (&String, &(u64, Secret))| self.engine.secrets.draft(&self.environment, name, *version, secret);
        self.fresh.iter().map(draft).collect::<Result<_, _>>().map_err(ApplyError::Secrets)
    }

    /// Returns what values are made of.
    pub(crate) fn values(&self) -> Values<'_> {
        Values {
            environment: &self.environment,
            secrets: self.engine.secrets.as_ref(),
            recorded: &self.recorded,
            kept: &self.kept,
            fresh: &self.fresh,
        }
    }

    /// Puts values in the place of an action's sealed ones, as far as they are known.
    pub(crate) async fn resolve(&self, action: &PlannedAction) -> Result<Resolved, CapabilityError> {
        let spec = self.values().resolve(&action.spec).await?;
        let bytes = windlass_model::canonical::to_vec(&spec).map_err(|error| CapabilityError::new(Kind::Invalid, error.to_string()))?;
        Ok(Resolved { mac: self.engine.secrets.mac(&bytes), spec, bytes })
    }

    /// Completes an intent with what will be sent.
    pub(crate) fn complete(&self, record: RecordedAction, resolved: &Resolved) -> Result<RecordedAction, CapabilityError> {
        let sealed = self.engine.secrets.seal(&values::sent_purpose(&self.environment, &record.id), &resolved.bytes)?;
        Ok(RecordedAction { resolved: Some(sealed), mac: Some(resolved.mac.clone()), ..record })
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

    pub(crate) fn record(&self, action: &PlannedAction, status: Status) -> RecordedAction {
        let before = self.recorded.get(&action.id);
        RecordedAction {
            id: action.id.clone(),
            interface: action.capability.clone(),
            connection: action.connection.clone(),
            settings: self.settings(&action.connection),
            identity: action.identity.clone(),
            spec: action.spec.clone(),
            versions: values::versions(&action.spec),
            resolved: None,
            mac: None,
            handle: before.map_or(Value::Null, |before| before.handle.clone()),
            outputs: before.map(|before| before.outputs.clone()).unwrap_or_default(),
            unsettled: before.is_some_and(|before| before.unsettled),
            status,
            depends_on: self.order.needs(&action.id).cloned().collect(),
            rank: action.rank,
            on_remove: action.on_remove,
            holds_data: action.holds_data,
        }
    }

    pub(crate) fn settings(&self, connection: &DocumentName) -> ConnectionSettings {
        self.request
            .connections
            .get(connection)
            .cloned()
            .or_else(|| self.recorded.values().find(|record| record.connection == *connection).map(|record| record.settings.clone()))
            .unwrap_or(ConnectionSettings::Secrets {})
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

    /// Writes an event, and what was deferred before it, in one commit; what it says holds from here on.
    pub(crate) async fn append(&mut self, event: Event) -> Result<(), Stop> {
        self.unwritten.push(event);
        if let Some(event) = self.write().await?.last() {
            self.adopt(event);
            self.engine.observer.event(event);
        }
        Ok(())
    }

    /// Takes note of what came of an effect. It is written with the next intent that is not on disk yet, before anything is waited
    /// for, and soon: a process that is killed in between leaves what one leaves that was killed before the answer came.
    pub(crate) fn defer(&mut self, event: Event) {
        self.adopt(&event);
        self.engine.observer.event(&event);
        let interface = |actions: &[RecordedAction]| actions.last().map(|action| action.interface.clone());
        // What is sent is an intent that is on disk; only what came of it can be late.
        if !matches!(event, Event::Sending { .. }) {
            self.unwritten_since.get_or_insert_with(Instant::now);
        }
        match (self.unwritten.last_mut(), event) {
            // One line of the log for all that came of a system, one after the other.
            (Some(Event::Done { actions }), Event::Done { actions: more }) if interface(actions) == interface(&more) => {
                actions.extend(more)
            }
            (_, event) => self.unwritten.push(event),
        }
    }

    /// Says for how long what came of effects may still stay unwritten.
    pub(crate) fn may_stay_unwritten(&self) -> Duration {
        self.unwritten_since.map_or(Duration::MAX, |since| UNWRITTEN_MAX.saturating_sub(since.elapsed()))
    }

    /// Tells whether so much was done since the last commit that the next one is due.
    pub(crate) fn has_much_unwritten(&self) -> bool {
        let done = |event: &Event| if let Event::Done { actions } = event { actions.len() } else { 0 };
        self.unwritten.iter().map(done).sum::<usize>() >= UNWRITTEN_ACTIONS_MAX
    }

    /// Tells of what is sent. Intents that were complete when the deployment began are on disk already.
    pub(crate) async fn sending(&mut self, actions: Vec<RecordedAction>, is_on_disk: bool) -> Result<(), Stop> {
        let event = Event::Sending { actions };
        let is_late = self.unwritten_since.is_some_and(|since| since.elapsed() > UNWRITTEN_MAX);
        if is_on_disk && !is_late {
            self.defer(event);
            return Ok(());
        }
        self.append(event).await
    }

    /// Writes what was deferred.
    pub(crate) async fn flush(&mut self) -> Result<(), Stop> {
        if !self.unwritten.is_empty() {
            self.write().await?;
        }
        Ok(())
    }

    /// Commits everything that is not on disk yet, and returns it.
    async fn write(&mut self) -> Result<Vec<Event>, Stop> {
        let secrets = self.drafts()?;
        let events = std::mem::take(&mut self.unwritten);
        self.unwritten_since = None;
        self.engine.observer.point("before event");
        self.engine.store.append(&self.environment, self.fence, self.number, &events, &secrets).await?;
        self.fresh.clear();
        self.engine.observer.point("after event");
        Ok(events)
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
        let deadline = Instant::now() + self.request.timeout;
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
