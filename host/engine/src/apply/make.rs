//! Makes what a plan wants: looked at first, then batch by batch, each intent on disk before its effect.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use futures_util::future::join_all;
use serde_json::Value;
use windlass_model::{
    ActionId,
    event::{Event, HealedAction},
    identity::shown,
    limits,
    name::DocumentName,
    nesting,
    plan::{Change, PlannedAction},
    state::{RecordedAction, Status},
};

use super::{
    discretion::SecretsOf,
    effects::{Effect, Effects, Scope, System},
    reading::reading,
    run::{Notes, Run},
    spending::is_final,
    stop::{Stop, broken_off, failures, first},
    values::{self, FIRST_VERSION},
};
use crate::plan::kept;
use crate::session::{
    Cancel, CapabilityError, CapabilityErrorKind, Depth, Insistence, Phase, Preflight, PriorState, ResolvedAction, Secret, Session, Step,
    Ticket, WantedOutput,
};

/// What is still to be made.
pub(crate) struct Pending {
    /// Ranks by action.
    pub ranks: BTreeMap<ActionId, u16>,
    /// Actions that are wanted as they are, and were changed by others.
    restored: BTreeSet<ActionId>,
    /// What was sent, and was not answered yet.
    pub under_way: BTreeSet<ActionId>,
    /// What went wrong: what needs it is not made, everything else is.
    pub failed: BTreeMap<ActionId, (String, CapabilityError)>,
}

/// The interface of stores that others keep secrets in.
const EXTERNAL: &str = "windlass:secrets/external";

impl Pending {
    /// Says what failed and what was not made because of it.
    fn into_stop(self, planned: &BTreeMap<&ActionId, &PlannedAction>, deadline: Instant, cancel: &Cancel) -> Result<(), Stop> {
        let Some((_, error)) = self.failed.values().next() else { return Ok(()) };
        let failed = self.failed.values().map(|(identity, error)| (identity.as_str(), error));
        broken_off(failed.clone(), deadline, cancel)?;
        let hint = error.hint.clone();
        let mut lines = failures(failed);
        if !self.ranks.is_empty() {
            let name = |id: &ActionId| planned.get(id).map_or_else(|| id.to_string(), |action| shown(&action.identity));
            let left = first(self.ranks.keys().map(|id| format!("`{}`", name(id))).collect());
            lines.push(format!("not made, because they need what failed: {}; everything else is done", left.join(", ")));
        }
        Err(Stop::Failed { reason: lines.join("\n"), hint })
    }
}

impl Run<'_> {
    /// Makes everything that the plan wants.
    pub(crate) async fn make(&mut self, deadline: Instant, cancel: &Cancel) -> Result<(), Stop> {
        let plan = Arc::clone(&self.request.plan);
        let planned: BTreeMap<&ActionId, &PlannedAction> = plan.actions().map(|action| (&action.id, action)).collect();
        let mut pending = self.pending(&planned, deadline, cancel).await?;
        reading("secrets that other systems keep", deadline, cancel, self.read_kept()).await??;
        self.preflight(&planned, &pending, deadline, cancel).await?;
        let scope = Scope::new(self, deadline, cancel);
        let mut effects = Effects::new(&scope);
        let mut result = self.drive(&planned, &mut pending, &mut effects, deadline, cancel).await;
        // What is under way when a run stops is not cut off: it comes to its end, which is noted.
        while !effects.is_empty() {
            effects.next().await;
            result = result.and(self.take_answers(&mut effects, &mut pending).await);
        }
        result?;
        pending.into_stop(&planned, deadline, cancel)
    }

    /// Finds out what is to be made: what the plan changes, and what others changed that it leaves alone.
    async fn pending(
        &mut self,
        planned: &BTreeMap<&ActionId, &PlannedAction>,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<Pending, Stop> {
        const LOOK: &str = "a look at what exists";
        let depth = self.depth();
        let mut changed = reading(LOOK, deadline, cancel, self.changed_in_the_world(depth)).await??;
        if depth == Depth::Presence && changed.values().any(|found| found.phase == Phase::Present) {
            changed = reading(LOOK, deadline, cancel, self.changed_in_the_world(Depth::Full)).await??;
        }
        let restored = changed.keys().cloned().collect();
        let mut pending = Pending { ranks: BTreeMap::new(), restored, under_way: BTreeSet::new(), failed: BTreeMap::new() };
        for action in planned.values() {
            let found = changed.get(&action.id);
            if let Some(phase) = found.map(|found| found.phase)
                && action.holds_data
                && self.insistence(action) != Insistence::TakeOver
            {
                data_is_kept(action, phase)?;
            }
            if found.is_some() || !self.is_done(action) || self.lacks_output(action).await? {
                pending.ranks.insert(action.id.clone(), action.rank);
            }
        }
        if !changed.is_empty() {
            let actions = changed.into_values().map(|found| HealedAction { id: found.id, fields: found.fields }).collect();
            self.append(Event::Healed { actions }).await?;
        }
        Ok(pending)
    }

    /// Reads what other systems keep and the plan's values need; all that can't be read is told at once.
    async fn read_kept(&mut self) -> Result<(), Stop> {
        let plan = Arc::clone(&self.request.plan);
        let mut wanted: BTreeMap<DocumentName, BTreeSet<String>> = BTreeMap::new();
        for (connection, reference) in plan.actions().flat_map(|action| kept(&action.spec)) {
            wanted.entry(connection).or_default().insert(reference);
        }
        let mut refused = Vec::new();
        for (connection, references) in wanted {
            let settings = self.settings(&connection);
            let session = self.session(EXTERNAL, &connection, &settings).await?;
            let asked: Vec<&str> = references.iter().map(String::as_str).collect();
            for (reference, answer) in references.iter().zip(session.read(&asked).await) {
                match answer {
                    Ok(secret) => {
                        self.kept.insert((connection.clone(), reference.clone()), secret);
                    }
                    Err(error) => refused.push((format!("`{connection}` {reference}: {}", error.message), error.hint)),
                }
            }
        }
        let Some((_, hint)) = refused.first() else { return Ok(()) };
        let hint = hint.clone();
        Err(Stop::Failed { reason: refused.into_iter().map(|(line, _)| line).collect::<Vec<_>>().join("\n"), hint })
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

    /// Tells whether somebody new needs an output that was not asked for when the action was done.
    async fn lacks_output(&self, action: &PlannedAction) -> Result<bool, Stop> {
        let Some(record) = self.recorded.get(&action.id) else { return Ok(false) };
        for WantedOutput { name, secret } in self.wanted.get(&action.id).into_iter().flatten() {
            let known = if *secret {
                let stored = values::output_name(&action.id, name);
                self.values().read(&stored, None).await.map_err(|error| failed(action, &error))?.is_some()
            } else {
                record.outputs.contains_key(name)
            };
            if !known {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns what the system holds of an action before this deployment acts on it; the record may be this deployment's intent by now.
    fn prior(&self, action: &PlannedAction) -> Option<PriorState> {
        self.recorded.get(&action.id).and_then(|record| PriorState::before(record, &action.spec))
    }

    fn insistence(&self, action: &PlannedAction) -> Insistence {
        let taken = &self.request.take_ownership;
        if taken.contains(&action.identity) || taken.contains(action.id.as_str()) { Insistence::TakeOver } else { Insistence::Refuse }
    }

    fn insistence_in(&self, action: &PlannedAction, pending: &Pending) -> Insistence {
        let restored = if pending.restored.contains(&action.id) { Insistence::Restore } else { Insistence::Refuse };
        self.insistence(action).max(restored)
    }

    /// Asks every system what it would refuse, before anything is changed; all refusals at once.
    async fn preflight(
        &mut self,
        planned: &BTreeMap<&ActionId, &PlannedAction>,
        pending: &Pending,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<(), Stop> {
        let (mut asked, mut refused) = (Vec::new(), Vec::new());
        for ((interface, connection), actions) in grouped(pending.ranks.keys().filter_map(|id| planned.get(id).copied())) {
            let mut preflights = Vec::with_capacity(actions.len());
            for action in actions {
                let drawn = self.resolved.remove(&action.id);
                let resolved = if self.follows_a_change(action, pending) {
                    // What is known of it is what it was.
                    None
                } else if let Err(error) = self.fits(action).await {
                    refused.push((action.identity.clone(), error));
                    continue;
                } else if drawn.is_some() {
                    drawn
                } else {
                    match self.resolve(action).await {
                        Ok(resolved) => Some(resolved.spec),
                        Err(error) if is_final(&error) => {
                            refused.push((action.identity.clone(), error));
                            continue;
                        }
                        Err(_) => None,
                    }
                };
                preflights.push(Preflight {
                    id: action.id.clone(),
                    identity: action.identity.clone(),
                    is_resolved: resolved.is_some(),
                    spec: resolved.unwrap_or_else(|| action.spec.to_value()),
                    prior: self.prior(action),
                    insistence: self.insistence_in(action, pending),
                    replace: matches!(action.change, Change::Replace { .. }),
                });
            }
            let settings = self.settings(&connection);
            asked.push((self.session(&interface, &connection, &settings).await?, preflights));
        }
        let (notes, journal) = (Notes(self.engine), self.journal());
        let cx = self.effect_cx(deadline, cancel, &journal, &notes);
        let answers = join_all(asked.iter().map(|(session, preflights)| session.preflight(&cx, preflights)));
        let answers = reading("what systems would refuse", deadline, cancel, answers).await?;
        let answers = asked.into_iter().zip(answers).flat_map(|((_, preflights), answers)| preflights.into_iter().zip(answers));
        refused.extend(answers.filter_map(|(asked, answer)| {
            let secrets = SecretsOf::spec(&planned.get(&asked.id)?.spec, &asked.spec);
            Some((asked.identity, secrets.guard(answer.err()?)))
        }));
        // No system refused what it had no time to look at.
        broken_off(refused.iter().map(|(identity, error)| (identity.as_str(), error)), deadline, cancel)?;
        let Some((_, first)) = refused.first() else { return Ok(()) };
        let hint = first.hint.clone();
        let reason =
            refused.iter().map(|(identity, error)| format!("`{}`: {}", shown(identity), error.message)).collect::<Vec<_>>().join("\n");
        Err(Stop::Failed { reason, hint })
    }

    /// Takes away what is replaced, and writes the intents of a batch; nothing if there is nothing to send.
    pub(super) async fn prepare(
        &mut self,
        system: &System,
        session: Arc<dyn Session>,
        batch: Vec<&PlannedAction>,
        pending: &mut Pending,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<Option<Effect>, Stop> {
        let replaced = self.replaced(&batch);
        if !replaced.is_empty() {
            for (record, error) in self.remove(replaced, deadline, cancel).await? {
                pending.ranks.remove(&record.id);
                let error = CapabilityError { message: format!("can't be deleted, which its change needs: {}", error.message), ..error };
                pending.failed.insert(record.id, (record.identity, error));
            }
        }
        let batch: Vec<&PlannedAction> = batch.iter().copied().filter(|action| !pending.failed.contains_key(&action.id)).collect();
        let mut resolved = Vec::with_capacity(batch.len());
        let mut sending = Vec::with_capacity(batch.len());
        let mut is_on_disk = true;
        for action in batch {
            self.fits(action).await.map_err(|error| unsent(action, &error, deadline, cancel))?;
            let found = self.resolve(action).await.map_err(|error| unsent(action, &error, deadline, cancel))?;
            let before = self.recorded.get(&action.id).cloned();
            let prior = self.prior(action);
            // What is pending on itself is read, equal or not; what others changed is set back.
            if !pending.restored.contains(&action.id)
                && matches!(&action.change, Change::Pending { on } if !on.iter().any(|on| *on == action.id.as_str()))
                && before.as_ref().is_some_and(|before| before.mac.as_ref() == Some(&found.mac) && before.status == Status::Live)
            {
                pending.ranks.remove(&action.id);
                continue;
            }
            let intent = before.as_ref().filter(|before| is_intent(before, action, &found.mac));
            is_on_disk &= intent.is_some();
            sending.push(match intent {
                Some(before) => RecordedAction { status: Status::Intended, ..before.clone() },
                None => self.complete(self.record(action, Status::Intended), &found).map_err(|error| failed(action, &error))?,
            });
            resolved.push(ResolvedAction {
                id: action.id.clone(),
                identity: action.identity.clone(),
                spec: found.spec,
                planned: action.spec.clone(),
                prior,
                insistence: self.insistence_in(action, pending),
                outputs: self.wanted.get(&action.id).into_iter().flatten().cloned().collect(),
            });
        }
        if resolved.is_empty() {
            return Ok(None);
        }
        self.sending(&sending, is_on_disk).await?;
        Ok(Some(Effect { system: system.clone(), session, records: sending, actions: resolved }))
    }

    /// Lists what must go before it can be made again; what an earlier process made again already stays.
    fn replaced(&self, batch: &[&PlannedAction]) -> Vec<RecordedAction> {
        batch
            .iter()
            .filter(|action| matches!(action.change, Change::Replace { .. }))
            .filter_map(|action| Some((action, self.recorded.get(&action.id)?)))
            .filter(|(action, record)| {
                let is_made_again = record.status == Status::Intended && record.spec == action.spec;
                !(is_made_again || record.spec.is_null())
            })
            .map(|(_, record)| record.clone())
            .collect()
    }

    /// Records what came of a batch; what failed stops what needs it.
    pub(crate) async fn take_steps(
        &mut self,
        records: Vec<RecordedAction>,
        steps: Vec<Result<Step, CapabilityError>>,
        pending: &mut Pending,
    ) -> Result<(), Stop> {
        let mut done = Vec::with_capacity(records.len());
        let mut events = Vec::new();
        for (record, step) in records.into_iter().zip(steps) {
            match step.and_then(storable) {
                Ok(Step::Done(observed)) => {
                    self.keep_secret_outputs(&record.id, observed.secret_outputs).await?;
                    pending.ranks.remove(&record.id);
                    self.waiting.remove(&record.id);
                    done.push(RecordedAction {
                        status: Status::Live,
                        earlier: Vec::new(),
                        handle: observed.handle,
                        outputs: observed.outputs,
                        unsettled: observed.unsettled,
                        ..record
                    });
                }
                Ok(Step::Waiting { ticket, note, .. }) => {
                    self.waiting.insert(record.id.clone(), Ticket { id: record.id.clone(), state: ticket.clone() });
                    self.notes.insert(record.id.clone(), note.clone());
                    events.push(Event::Waiting { id: record.id, ticket, note });
                }
                Err(error) => {
                    events.push(Event::ActionFailed { id: record.id.clone(), message: error.message.clone() });
                    pending.ranks.remove(&record.id);
                    self.waiting.remove(&record.id);
                    pending.failed.insert(record.id, (record.identity, error));
                }
            }
        }
        if !done.is_empty() {
            self.defer(Event::Done { actions: done });
        }
        events.into_iter().for_each(|event| self.defer(event));
        Ok(())
    }

    /// Takes note of secrets that an effect yielded; they are written with what came of it.
    async fn keep_secret_outputs(&mut self, id: &ActionId, outputs: BTreeMap<String, Secret>) -> Result<(), Stop> {
        let fail = |error: CapabilityError| Stop::Failed { reason: error.message, hint: error.hint };
        for (output, secret) in outputs {
            let name = values::output_name(id, &output);
            // The same value is no new version: whatever counts versions would change.
            let known = self.values().read(&name, None).await.map_err(fail)?;
            if known.as_ref().is_none_or(|(_, known)| *known != secret) {
                // One that is not on disk yet is no version either.
                let version = match self.fresh.get(&name) {
                    Some((version, _)) => *version,
                    None => known.map_or(FIRST_VERSION, |(version, _)| version + 1),
                };
                self.fresh.insert(name, (version, secret));
            }
        }
        Ok(())
    }
}

/// Refuses to make anew what held data and is gone, or is going away.
fn data_is_kept(action: &PlannedAction, phase: Phase) -> Result<(), Stop> {
    let identity = shown(&action.identity);
    let (what, mend) = match phase {
        Phase::Present => return Ok(()),
        Phase::Absent => ("held data and is gone", "restore it"),
        Phase::Deleting => ("holds data and is being deleted", "save the data while it is there (`windlass drift` shows what holds it)"),
    };
    Err(Stop::Failed {
        reason: format!("`{identity}` {what}; it is not made again silently"),
        hint: Some(format!("{mend}, or let it be made anew: `--take-ownership {identity}`")),
    })
}

/// Groups actions by interface and connection.
pub(crate) fn grouped<'p>(actions: impl Iterator<Item = &'p PlannedAction>) -> BTreeMap<(String, DocumentName), Vec<&'p PlannedAction>> {
    let mut groups: BTreeMap<(String, DocumentName), Vec<&PlannedAction>> = BTreeMap::new();
    for action in actions {
        groups.entry((action.capability.clone(), action.connection.clone())).or_default().push(action);
    }
    groups
}

/// Tells whether a record already says exactly what is about to be sent.
fn is_intent(record: &RecordedAction, action: &PlannedAction, mac: &str) -> bool {
    record.status.is_unanswered()
        && record.mac.as_deref() == Some(mac)
        && record.identity == action.identity
        && record.connection == action.connection
        && record.spec == action.spec
}

/// Stops at an action whose values can't be sent: because of them, or because the deployment is to stop.
fn unsent(action: &PlannedAction, error: &CapabilityError, deadline: Instant, cancel: &Cancel) -> Stop {
    match broken_off(std::iter::once((action.identity.as_str(), error)), deadline, cancel) {
        Err(stop) => stop,
        Ok(()) => failed(action, error),
    }
}

fn failed(action: &PlannedAction, error: &CapabilityError) -> Stop {
    Stop::Failed { reason: format!("`{}`: {}", shown(&action.identity), error.message), hint: error.hint.clone() }
}

/// Refuses what a system answered where the record of it could not be read back.
fn storable(step: Step) -> Result<Step, CapabilityError> {
    let is_deep = |value: &Value| nesting::is_value_deeper(value, limits::JSON_DEPTH_MAX);
    let is_refused = match &step {
        Step::Done(observed) => is_deep(&observed.handle) || observed.outputs.values().any(is_deep),
        Step::Waiting { ticket, .. } => is_deep(ticket),
    };
    if is_refused {
        let message = format!("the system answered with a value that is nested deeper than {} levels", limits::JSON_DEPTH_MAX);
        return Err(
            CapabilityError::new(CapabilityErrorKind::Invalid, message).hint("the object exists; change what it yields, and deploy again")
        );
    }
    Ok(step)
}
