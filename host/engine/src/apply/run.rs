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
    limits,
    name::DocumentName,
    plan::{Change, PlannedAction},
    platform::ConnectionSettings,
    state::{EnvironmentKey, RecordedAction, Status},
};

use super::{
    ApplyError, Engine, Outcome, Request, order,
    values::{self, Values},
};
use crate::{
    session::{
        ActionRef, Cancel, CapabilityError, CapabilityErrorKind as Kind, Checkpoint, Depth, EffectCx, Observed, OpenConnection, Owner,
        Ownership, Phase, Progress, ResolvedAction, Session, Step, Ticket,
    },
    store::{EnvironmentState, Fence},
};

/// Shortest pause between two questions about the same wait.
const POLL_MIN: Duration = Duration::from_millis(50);

/// A deployment under way.
pub(crate) struct Run<'a> {
    pub engine: &'a Engine,
    pub environment: EnvironmentKey,
    pub request: &'a Request,
    pub recorded: BTreeMap<ActionId, RecordedAction>,
    pub owner: Owner,
    sessions: BTreeMap<(String, String), Arc<dyn Session>>,
    needs: BTreeMap<ActionId, BTreeSet<ActionId>>,
    waiting: BTreeMap<ActionId, Ticket>,
    pub fence: Fence,
    pub number: DeploymentNumber,
}

/// Why a run stops before its end.
pub(crate) enum Stop {
    Failed { reason: String, hint: Option<String> },
    Cancelled,
    TimedOut,
    Error(ApplyError),
}

impl From<ApplyError> for Stop {
    fn from(error: ApplyError) -> Self {
        Self::Error(error)
    }
}

impl From<crate::store::StoreError> for Stop {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Error(error.into())
    }
}

struct Notes<'a>(&'a Engine);

impl Progress for Notes<'_> {
    fn note(&self, id: &ActionId, text: &str) {
        self.0.observer.note(id, text);
    }
}

struct Journal<'a> {
    engine: &'a Engine,
    environment: &'a EnvironmentKey,
    fence: Fence,
    number: DeploymentNumber,
}

#[async_trait]
impl Checkpoint for Journal<'_> {
    async fn save(&self, ticket: &Ticket) -> Result<(), CapabilityError> {
        let event = Event::Waiting { id: ticket.id.clone(), ticket: ticket.state.clone(), note: "checkpoint".to_owned() };
        self.engine
            .store
            .append(self.environment, self.fence, self.number, &[event])
            .await
            .map(drop)
            .map_err(|error| CapabilityError::new(Kind::Unavailable, error.to_string()))
    }
}

impl<'a> Run<'a> {
    pub(crate) fn new(engine: &'a Engine, environment: EnvironmentKey, request: &'a Request, state: EnvironmentState) -> Self {
        Self {
            owner: Owner { installation: engine.store.installation().to_owned(), environment: environment.clone() },
            needs: order::needs(&request.plan),
            engine,
            environment,
            request,
            recorded: state.recorded.actions,
            sessions: BTreeMap::new(),
            waiting: BTreeMap::new(),
            fence: Fence(0),
            number: DeploymentNumber(0),
        }
    }

    /// Records of what is about to be made or changed; what is replaced keeps its record until it is gone.
    pub(crate) fn intended(&self) -> Vec<RecordedAction> {
        self.request
            .plan
            .actions()
            .filter(|action| matches!(action.change, Change::Create | Change::Update | Change::Pending { .. }))
            .map(|action| {
                // What a deployment that was cut off may have sent is uncertain: `ensure` looks before it acts.
                let cut_off =
                    self.recorded.get(&action.id).is_some_and(|before| matches!(before.status, Status::Intended | Status::Uncertain));
                self.record(action, if cut_off { Status::Uncertain } else { Status::Intended })
            })
            .collect()
    }

    /// Takes the records of an event into account.
    pub(crate) fn adopt(&mut self, event: &Event) {
        if let Event::Started { intended: actions } | Event::Sending { actions } | Event::Unchanged { actions } | Event::Done { actions } =
            event
        {
            for action in actions {
                self.recorded.insert(action.id.clone(), action.clone());
            }
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

    fn record(&self, action: &PlannedAction, status: Status) -> RecordedAction {
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
            status,
            depends_on: self.needs.get(&action.id).into_iter().flatten().cloned().collect(),
            rank: action.rank,
            on_remove: action.on_remove,
            holds_data: action.holds_data,
        }
    }

    fn settings(&self, connection: &DocumentName) -> ConnectionSettings {
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
        let fail = |error| ApplyError::Connection { connection: connection.clone(), error };
        let executor = self
            .engine
            .executors
            .iter()
            .find(|executor| executor.interface() == interface && executor.connection_kind() == settings.kind())
            .ok_or_else(|| {
                fail(CapabilityError::new(
                    Kind::Invalid,
                    format!("this build can't apply `{interface}` through a connection of kind `{}`", settings.kind()),
                ))
            })?;
        let open = OpenConnection { name: connection.clone(), settings: settings.clone(), environment: self.environment.clone() };
        let session = executor.open(&open).await.map_err(fail)?;
        self.sessions.insert(key, Arc::clone(&session));
        Ok(session)
    }

    /// Writes events; what they say holds from here on.
    pub(crate) async fn append(&mut self, events: &[Event]) -> Result<(), Stop> {
        self.engine.observer.point("before event");
        self.engine.store.append(&self.environment, self.fence, self.number, events).await?;
        for event in events {
            self.adopt(event);
            self.engine.observer.event(event);
        }
        self.engine.observer.point("after event");
        Ok(())
    }

    /// Tells whether everything that should not change is as it was left; reads only.
    pub(crate) async fn all_intact(&mut self) -> Result<bool, ApplyError> {
        Ok(self.changed_in_the_world().await?.is_empty())
    }

    /// Looks at everything that the plan leaves alone.
    async fn changed_in_the_world(&mut self) -> Result<BTreeMap<ActionId, Phase>, ApplyError> {
        let plan = Arc::clone(&self.request.plan);
        let mut groups: BTreeMap<(String, DocumentName), Vec<RecordedAction>> = BTreeMap::new();
        for action in plan.actions().filter(|action| matches!(action.change, Change::None)) {
            if let Some(record) = self.recorded.get(&action.id).filter(|record| record.status == Status::Live) {
                groups.entry((record.interface.clone(), record.connection.clone())).or_default().push(record.clone());
            }
        }
        let mut changed = BTreeMap::new();
        for ((interface, connection), records) in groups {
            let settings = self.settings(&connection);
            let session = self.session(&interface, &connection, &settings).await?;
            let refs: Vec<ActionRef<'_>> = records
                .iter()
                .map(|record| ActionRef { id: &record.id, identity: &record.identity, handle: &record.handle, spec: Some(&record.spec) })
                .collect();
            let seen = session.observe(&self.owner, &refs, Depth::Presence).await;
            for (record, seen) in records.iter().zip(seen) {
                match seen {
                    Ok(seen) if seen.intact && seen.owner == Ownership::Ours => {}
                    Ok(seen) => {
                        changed.insert(record.id.clone(), seen.phase);
                    }
                    Err(error) => return Err(ApplyError::Connection { connection: connection.clone(), error }),
                }
            }
        }
        Ok(changed)
    }

    /// Runs to an end.
    pub(crate) async fn go(&mut self, fence: Fence, number: DeploymentNumber, cancel: &Cancel) -> Result<Outcome, ApplyError> {
        (self.fence, self.number) = (fence, number);
        let deadline = Instant::now() + self.request.timeout;
        let result = match self.make(deadline, cancel).await {
            Ok(()) => self.take_away(deadline, cancel).await,
            Err(stop) => Err(stop),
        };
        let (status, outcome) = match result {
            Ok(()) => (DeploymentStatus::Succeeded, Outcome::Succeeded(number)),
            Err(Stop::Cancelled) => (DeploymentStatus::Cancelled, Outcome::Cancelled(number)),
            Err(Stop::Failed { reason, hint }) => {
                (DeploymentStatus::Failed { reason: reason.clone() }, Outcome::Failed { number, reason, hint })
            }
            Err(Stop::TimedOut) => return Ok(Outcome::TimedOut(number)),
            Err(Stop::Error(error)) => return Err(error),
        };
        match self.append(&[Event::Ended { status }]).await {
            Ok(()) => Ok(outcome),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Cancelled | Stop::TimedOut | Stop::Failed { .. }) => Ok(outcome),
        }
    }

    /// Makes everything that the plan wants.
    async fn make(&mut self, deadline: Instant, cancel: &Cancel) -> Result<(), Stop> {
        let plan = Arc::clone(&self.request.plan);
        let planned: BTreeMap<&ActionId, &PlannedAction> = plan.actions().map(|action| (&action.id, action)).collect();
        let healed = self.changed_in_the_world().await?;
        let mut pending: BTreeMap<ActionId, u16> = BTreeMap::new();
        for action in planned.values() {
            if self.is_done(action) && !healed.contains_key(&action.id) {
                continue;
            }
            if healed.get(&action.id) == Some(&Phase::Absent) && action.holds_data && !self.may_take(action) {
                return Err(Stop::Failed {
                    reason: format!("`{}` held data and is gone; it is not made again silently", action.identity),
                    hint: Some(format!("restore it, or let it be made anew: `--take-ownership {}`", action.identity)),
                });
            }
            pending.insert(action.id.clone(), action.rank);
        }
        if !healed.is_empty() {
            self.append(&[Event::Healed { ids: healed.keys().cloned().collect() }]).await?;
        }
        while !pending.is_empty() || !self.waiting.is_empty() {
            if cancel.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            let ready: Vec<ActionId> =
                order::ready(&pending, &self.needs).into_iter().filter(|id| !self.waiting.contains_key(id)).collect();
            if ready.is_empty() {
                self.wait(&mut pending, deadline, cancel).await?;
                continue;
            }
            let mut groups: BTreeMap<(String, DocumentName), Vec<&PlannedAction>> = BTreeMap::new();
            for action in ready.iter().filter_map(|id| planned.get(id)) {
                groups.entry((action.capability.clone(), action.connection.clone())).or_default().push(action);
            }
            for ((interface, connection), actions) in groups {
                for batch in actions.chunks(limits::EFFECT_BATCH_MAX) {
                    if cancel.is_cancelled() {
                        return Err(Stop::Cancelled);
                    }
                    self.batch(&interface, &connection, batch, &mut pending, deadline, cancel).await?;
                }
            }
        }
        Ok(())
    }

    /// Tells whether an action needs no look at all: nothing changes, or an earlier process did it.
    fn is_done(&self, action: &PlannedAction) -> bool {
        self.recorded.get(&action.id).is_some_and(|record| {
            record.status == Status::Live
                && record.spec == action.spec
                && record.identity == action.identity
                && record.connection == action.connection
        }) && !matches!(action.change, Change::Pending { .. })
    }

    fn may_take(&self, action: &PlannedAction) -> bool {
        self.request.take_ownership.contains(&action.identity) || self.request.take_ownership.contains(action.id.as_str())
    }

    async fn batch(
        &mut self,
        interface: &str,
        connection: &DocumentName,
        batch: &[&PlannedAction],
        pending: &mut BTreeMap<ActionId, u16>,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<(), Stop> {
        let settings = self.settings(connection);
        let session = self.session(interface, connection, &settings).await?;
        let replaced: Vec<RecordedAction> = batch
            .iter()
            .filter(|action| matches!(action.change, Change::Replace { .. }))
            .filter_map(|action| self.recorded.get(&action.id))
            .filter(|record| record.spec != Value::Null)
            .cloned()
            .collect();
        let mut really_replaced = Vec::new();
        for record in replaced {
            if batch.iter().any(|action| action.id == record.id && !(record.status == Status::Intended && record.spec == action.spec)) {
                really_replaced.push(record);
            }
        }
        if !really_replaced.is_empty() {
            self.remove(really_replaced, deadline, cancel).await?;
        }
        let mut resolved = Vec::with_capacity(batch.len());
        let mut sending = Vec::with_capacity(batch.len());
        for action in batch {
            let values = Values { environment: &self.environment, secrets: self.engine.secrets.as_ref(), recorded: &self.recorded };
            let spec = values.resolve(&action.spec).await.map_err(|error| failed(action, &error))?;
            let bytes = windlass_model::canonical::to_vec(&spec)
                .map_err(|error| Stop::Failed { reason: format!("`{}`: {error}", action.id), hint: None })?;
            let mac = self.engine.secrets.mac(&bytes);
            let before = self.recorded.get(&action.id).cloned();
            if matches!(action.change, Change::Pending { .. })
                && before.as_ref().is_some_and(|before| before.mac.as_ref() == Some(&mac) && before.status == Status::Live)
            {
                pending.remove(&action.id);
                continue;
            }
            let sealed = self
                .engine
                .secrets
                .seal(&resolved_purpose(&self.environment, &action.id), &bytes)
                .map_err(|error| failed(action, &error))?;
            sending.push(RecordedAction { resolved: Some(sealed), mac: Some(mac), ..self.record(action, Status::Intended) });
            resolved.push(ResolvedAction {
                id: action.id.clone(),
                identity: action.identity.clone(),
                spec,
                recorded: before,
                take_ownership: self.may_take(action),
                replace: matches!(action.change, Change::Replace { .. }),
            });
        }
        if resolved.is_empty() {
            return Ok(());
        }
        self.append(&[Event::Sending { actions: sending.clone() }]).await?;
        let steps = {
            let notes = Notes(self.engine);
            let journal = Journal { engine: self.engine, environment: &self.environment, fence: self.fence, number: self.number };
            let cx = EffectCx { owner: &self.owner, fence: self.fence, deadline, cancel, journal: &journal, events: &notes };
            self.engine.observer.point("before effect");
            let steps = session.ensure(&cx, &resolved).await;
            self.engine.observer.point("after effect");
            steps
        };
        self.take_steps(sending, steps, pending).await
    }

    /// Records what came of a batch; the first failure stops the deployment.
    async fn take_steps(
        &mut self,
        records: Vec<RecordedAction>,
        steps: Vec<Result<Step, CapabilityError>>,
        pending: &mut BTreeMap<ActionId, u16>,
    ) -> Result<(), Stop> {
        let mut done = Vec::new();
        let mut events = Vec::new();
        let mut failure: Option<(RecordedAction, CapabilityError)> = None;
        for (record, step) in records.into_iter().zip(steps) {
            match step {
                Ok(Step::Done(observed)) => {
                    self.keep_secret_outputs(&record.id, &observed).await?;
                    pending.remove(&record.id);
                    self.waiting.remove(&record.id);
                    done.push(RecordedAction { status: Status::Live, handle: observed.handle, outputs: observed.outputs, ..record });
                }
                Ok(Step::Waiting { ticket, note, .. }) => {
                    self.waiting.insert(record.id.clone(), Ticket { id: record.id.clone(), state: ticket.clone() });
                    events.push(Event::Waiting { id: record.id, ticket, note });
                }
                Err(error) => {
                    events.push(Event::ActionFailed { id: record.id.clone(), message: error.message.clone() });
                    failure.get_or_insert((record, error));
                }
            }
        }
        if !done.is_empty() {
            events.insert(0, Event::Done { actions: done });
        }
        if !events.is_empty() {
            self.append(&events).await?;
        }
        match failure {
            Some((record, error)) => Err(Stop::Failed { reason: format!("`{}`: {}", record.identity, error.message), hint: error.hint }),
            None => Ok(()),
        }
    }

    async fn keep_secret_outputs(&self, id: &ActionId, observed: &Observed) -> Result<(), Stop> {
        for (output, secret) in &observed.secret_outputs {
            self.engine
                .secrets
                .write(&self.environment, &values::output_name(id, output), secret)
                .await
                .map_err(|error| Stop::Failed { reason: error.message, hint: error.hint })?;
        }
        Ok(())
    }

    /// Asks about everything that is under way, until something is done.
    async fn wait(&mut self, pending: &mut BTreeMap<ActionId, u16>, deadline: Instant, cancel: &Cancel) -> Result<(), Stop> {
        if self.waiting.is_empty() {
            return Err(Stop::Failed { reason: "the plan's actions wait for each other".to_owned(), hint: None });
        }
        if Instant::now() >= deadline {
            return Err(Stop::TimedOut);
        }
        let mut groups: BTreeMap<(String, DocumentName), Vec<(RecordedAction, Ticket)>> = BTreeMap::new();
        for (id, ticket) in &self.waiting {
            if let Some(record) = self.recorded.get(id) {
                groups.entry((record.interface.clone(), record.connection.clone())).or_default().push((record.clone(), ticket.clone()));
            }
        }
        let mut pause = Duration::from_secs(5);
        let mut progressed = false;
        for ((interface, connection), entries) in groups {
            let settings = self.settings(&connection);
            let session = self.session(&interface, &connection, &settings).await?;
            let tickets: Vec<Ticket> = entries.iter().map(|(_, ticket)| ticket.clone()).collect();
            let steps = {
                let notes = Notes(self.engine);
                let journal = Journal { engine: self.engine, environment: &self.environment, fence: self.fence, number: self.number };
                let cx = EffectCx { owner: &self.owner, fence: self.fence, deadline, cancel, journal: &journal, events: &notes };
                self.engine.observer.point("before poll");
                session.poll(&cx, &tickets).await
            };
            let mut moved = (Vec::new(), Vec::new());
            for ((record, ticket), step) in entries.into_iter().zip(steps) {
                match step {
                    // The same ticket again is no news.
                    Ok(Step::Waiting { ticket: same, retry_after_ms, .. }) if same == ticket.state => {
                        pause = pause.min(Duration::from_millis(retry_after_ms))
                    }
                    step => {
                        progressed = true;
                        moved.0.push(record);
                        moved.1.push(step);
                    }
                }
            }
            if !moved.0.is_empty() {
                self.take_steps(moved.0, moved.1, pending).await?;
            }
        }
        if !progressed {
            tokio::time::sleep(pause.max(POLL_MIN).min(deadline.saturating_duration_since(Instant::now()))).await;
        }
        Ok(())
    }
}

/// Ties a resolved spec to its action.
fn resolved_purpose(environment: &EnvironmentKey, id: &ActionId) -> String {
    format!("resolved {environment} {id}")
}

fn failed(action: &PlannedAction, error: &CapabilityError) -> Stop {
    Stop::Failed { reason: format!("`{}`: {}", action.id, error.message), hint: error.hint.clone() }
}
