//! Intents: what will be sent is on disk, whole, before it is sent.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use windlass_model::{
    ActionId, canonical,
    event::Event,
    plan::{Change, Plan, PlannedAction},
    state::{RecordedAction, Status},
};

use super::{
    ApplyError,
    make::grouped,
    run::Run,
    stop::Stop,
    unwritten::UNWRITTEN_MAX,
    values::{self, FIRST_VERSION},
};
use crate::session::{CapabilityError, CapabilityErrorKind as Kind, generated_name};

/// The interface of values that the store itself makes.
const GENERATED: &str = "windlass:secrets/generated";

/// Intents of one commit: some tens of milliseconds of work.
const INTENTS_MAX: usize = 250;

/// A spec with every value in its place.
pub(crate) struct Resolved {
    pub spec: Value,
    pub bytes: Vec<u8>,
    pub mac: String,
}

/// Lists what can be intended. What is pending is no intent yet: it may turn out that there is nothing to do; what is replaced keeps
/// its record until it is gone.
fn known_changes(plan: &Plan) -> impl Iterator<Item = &PlannedAction> {
    plan.actions().filter(|action| matches!(action.change, Change::Create | Change::Update))
}

impl Run<'_> {
    /// Records of what is about to be made or changed, complete where every value is known by now. Of thousands the first are returned, in the order in which they are sent: nothing waits for the intents of
    /// what comes much later.
    pub(crate) async fn intended(&mut self) -> Result<Vec<RecordedAction>, ApplyError> {
        let plan = Arc::clone(&self.request.plan);
        self.draw(&plan).await?;
        let mut actions: Vec<&PlannedAction> = known_changes(&plan).collect();
        actions.sort_by_key(|action| (action.rank, &action.id));
        let mut intended = Vec::with_capacity(actions.len().min(INTENTS_MAX));
        for action in actions {
            // What a deployment that was cut off may have sent is uncertain: `ensure` looks before it acts.
            let cut_off = self.recorded.get(&action.id).is_some_and(|before| before.status.is_unanswered());
            let resolved = if cut_off || intended.len() < INTENTS_MAX {
                let (record, resolved) = self.intent(action, if cut_off { Status::Uncertain } else { Status::Intended }).await?;
                intended.push(record);
                resolved
            } else {
                self.unintended.insert((action.rank, action.id.clone()));
                self.values().resolve(&action.id, &action.spec).await.ok()
            };
            self.resolved.extend(resolved.map(|spec| (action.id.clone(), spec)));
        }
        Ok(intended)
    }

    /// Lists what an earlier process did not come to intend.
    pub(crate) fn go_on_intending(&mut self) {
        let lacks = |action: &&PlannedAction| self.recorded.get(&action.id).is_none_or(|record| record.spec != action.spec);
        self.unintended = known_changes(&self.request.plan).filter(lacks).map(|action| (action.rank, action.id.clone())).collect();
    }

    /// Tells whether there are intents that are not on disk yet.
    pub(crate) fn has_unintended(&self) -> bool {
        !self.unintended.is_empty()
    }

    /// Writes the next intents, beside what is under way.
    pub(crate) async fn intend(&mut self, planned: &BTreeMap<&ActionId, &PlannedAction>) -> Result<(), Stop> {
        let mut intended = Vec::with_capacity(self.unintended.len().min(INTENTS_MAX));
        while intended.len() < INTENTS_MAX
            && let Some((_, id)) = self.unintended.pop_first()
        {
            if let Some(action) = planned.get(&id) {
                intended.push(self.intent(action, Status::Intended).await?.0);
            }
        }
        self.append(Event::Intended { actions: intended }).await
    }

    /// Makes the record of what is about to be made or changed, and returns what will be sent; where something that comes before it
    /// has to be made first, nothing is known of that yet.
    async fn intent(&self, action: &PlannedAction, status: Status) -> Result<(RecordedAction, Option<Value>), ApplyError> {
        let record = self.record(action, status);
        let Ok(resolved) = self.resolve(action).await else { return Ok((record, None)) };
        let record = self.complete(record, &resolved).map_err(|error| ApplyError::of(&action.connection, error))?;
        Ok((record, Some(resolved.spec)))
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

    /// Puts values in the place of an action's sealed ones, as far as they are known.
    pub(crate) async fn resolve(&self, action: &PlannedAction) -> Result<Resolved, CapabilityError> {
        let spec = self.values().resolve(&action.id, &action.spec).await?;
        let bytes = if action.spec.may_be_sealed() {
            canonical::to_vec(&spec).map_err(|error| CapabilityError::new(Kind::Invalid, error.to_string()))?
        } else {
            action.spec.as_str().as_bytes().to_vec()
        };
        Ok(Resolved { mac: self.engine.secrets.mac(&bytes), spec, bytes })
    }

    /// Completes an intent with what will be sent.
    pub(crate) fn complete(&self, record: RecordedAction, resolved: &Resolved) -> Result<RecordedAction, CapabilityError> {
        let purpose = || values::sent_purpose(&self.environment, &record.id);
        let seal = || self.engine.secrets.seal(&purpose(), &resolved.bytes);
        let sealed = record.spec.may_be_sealed().then(seal).transpose()?;
        Ok(RecordedAction { resolved: sealed, mac: Some(resolved.mac.clone()), ..record })
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
            earlier: before.map(|before| before.held_before(&action.spec)).unwrap_or_default(),
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

    /// Notes what is about to be sent, where that is not on disk already: intents that were complete when they were noted are.
    pub(crate) async fn sending(&mut self, actions: &[RecordedAction], is_on_disk: bool) -> Result<(), Stop> {
        if self.has_unintended() {
            for action in actions {
                self.unintended.remove(&(action.rank, action.id.clone()));
            }
        }
        if !is_on_disk {
            return self.append(Event::Sending { actions: actions.to_vec() }).await;
        }
        let is_late = self.unwritten_since.is_some_and(|since| since.elapsed() > UNWRITTEN_MAX);
        if is_late { self.flush().await } else { Ok(()) }
    }
}
