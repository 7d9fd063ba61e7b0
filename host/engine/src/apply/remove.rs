//! The one way by which anything is taken away: prune, destroy and replace.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use windlass_model::{
    ActionId,
    event::Event,
    identity::shown,
    platform::OnRemove,
    state::{RecordedAction, Status},
};

use super::{
    is_late, look,
    order::{self, Group},
    run::{Notes, Run},
    stop::{Stop, broken_off, first},
    values::sent,
};
use crate::session::{
    Cancel, CapabilityError, CapabilityErrorKind as Kind, Depth, LazySpec, Observation, Ownership, Phase, Progress as _, Session, Step,
};

/// Longest pause between two looks at what is going away.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What one system was asked to delete.
struct Leaving {
    session: Arc<dyn Session>,
    records: Vec<RecordedAction>,
    /// When to look how far that is.
    ask_at: Instant,
}

impl Run<'_> {
    /// Takes away what the plan says, in the reverse of the order in which it was made.
    pub(crate) async fn take_away(&mut self, deadline: Instant, cancel: &Cancel) -> Result<(), Stop> {
        let plan = Arc::clone(&self.request.plan);
        let ids = |act: OnRemove| -> BTreeSet<ActionId> {
            plan.destroys.iter().filter(|destroy| is_late(destroy, act)).map(|destroy| destroy.id.clone()).collect()
        };
        let retained: Vec<ActionId> = ids(OnRemove::Retain)
            .into_iter()
            .filter(|id| self.recorded.get(id).is_some_and(|record| record.status != Status::Retained))
            .collect();
        let deleted: Vec<RecordedAction> = ids(OnRemove::Delete).iter().filter_map(|id| self.recorded.get(id)).cloned().collect();
        let stayed = self.remove(deleted, deadline, cancel).await?;
        if !retained.is_empty() {
            self.append(Event::Removed { ids: retained.clone(), act: OnRemove::Retain }).await?;
            for id in retained {
                if let Some(record) = self.recorded.get_mut(&id) {
                    record.status = Status::Retained;
                }
            }
        }
        let Some((_, error)) = stayed.first() else { return Ok(()) };
        broken_off(stayed.iter().map(|(record, error)| (record.identity.as_str(), error)), deadline, cancel)?;
        let hint = error.hint.clone();
        let line = |(record, error): &(RecordedAction, CapabilityError)| {
            format!("`{}` can't be deleted: {}", shown(&record.identity), error.message)
        };
        Err(Stop::Failed { reason: first(stayed.iter().map(line).collect()).join("\n"), hint })
    }

    /// Deletes recorded actions through the connections that they were made with. What can't be deleted is returned with the reason:
    /// it stays with everything that it needs, and the rest goes.
    pub(crate) async fn remove(
        &mut self,
        records: Vec<RecordedAction>,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<Vec<(RecordedAction, CapabilityError)>, Stop> {
        let records = self.forget_unmade(records).await?;
        let mut left: BTreeMap<ActionId, RecordedAction> = records.into_iter().map(|record| (record.id.clone(), record)).collect();
        let mut stayed: Vec<(RecordedAction, CapabilityError)> = Vec::new();
        loop {
            let needing: Vec<&RecordedAction> = stayed.iter().map(|(record, _)| record).collect();
            let batch: Vec<RecordedAction> = order::removable(&left, &needing).iter().filter_map(|id| left.remove(id)).collect();
            if batch.is_empty() {
                break;
            }
            if cancel.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            let failed = self.remove_batch(batch, deadline, cancel).await?;
            for (record, error) in &failed {
                self.defer(Event::ActionFailed { id: record.id.clone(), message: error.message.clone() });
            }
            stayed.extend(failed);
        }
        Ok(stayed)
    }

    /// Forgets what was decided and never made, and returns the rest. Something may stand there all the same: somebody was faster, and
    /// it is theirs. Marks are set before anything or with it, so that what was cut off counts as ours.
    async fn forget_unmade(&mut self, records: Vec<RecordedAction>) -> Result<Vec<RecordedAction>, Stop> {
        let (open, mut left): (Vec<_>, Vec<_>) = records.into_iter().partition(RecordedAction::was_never_made);
        // What was never complete was never sent.
        let (asked, mut unmade): (Vec<_>, Vec<_>) = open.into_iter().partition(RecordedAction::is_complete);
        for Group { interface, connection, settings, records } in order::by_connection(asked) {
            let session = self.session(&interface, &connection, &settings).await?;
            let sent = |record| sent(self.engine.secrets.as_ref(), &self.environment, record).unwrap_or_else(|| record.spec.to_value());
            let specs: Vec<LazySpec<'_>> = records.iter().map(|record| LazySpec::new(move || sent(record))).collect();
            let seen = session.observe(&self.owner, &look::refs(&records, &specs), Depth::Presence).await;
            drop(specs);
            for (record, seen) in records.into_iter().zip(seen) {
                let whose = match seen {
                    Ok(Observation { phase: Phase::Absent, .. }) => None,
                    Ok(Observation { owner: Ownership::Other(owner), .. }) => Some(format!("it belongs to {owner}")),
                    Ok(Observation { owner: Ownership::None, .. }) => Some("it exists".to_owned()),
                    // Whoever takes it away says what is wrong.
                    Ok(Observation { owner: Ownership::Ours, .. }) | Err(_) => {
                        left.push(record);
                        continue;
                    }
                };
                if let Some(whose) = whose {
                    Notes(self.engine).note(&record.id, &format!("stays: {whose}, and this environment never made it"));
                }
                unmade.push(record);
            }
        }
        if !unmade.is_empty() {
            for record in &unmade {
                self.recorded.remove(&record.id);
            }
            self.defer(Event::Released { ids: unmade.into_iter().map(|record| record.id).collect() });
        }
        Ok(left)
    }

    /// Deletes what stands in no order. Every system is asked before any is waited for.
    async fn remove_batch(
        &mut self,
        batch: Vec<RecordedAction>,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<Vec<(RecordedAction, CapabilityError)>, Stop> {
        let ids: Vec<ActionId> = batch.iter().map(|record| record.id.clone()).collect();
        let mut groups = Vec::new();
        for Group { interface, connection, settings, records } in order::by_connection(batch) {
            let session = self.session(&interface, &connection, &settings).await?;
            groups.push(Leaving { session, records, ask_at: Instant::now() });
        }
        self.append(Event::Removing { ids }).await?;
        let mut failed = Vec::new();
        loop {
            for Leaving { session, records, ask_at } in groups.iter_mut().filter(|group| group.ask_at <= Instant::now()) {
                if cancel.is_cancelled() {
                    return Err(Stop::Cancelled);
                }
                let steps = {
                    let (notes, journal) = (Notes(self.engine), self.journal());
                    let cx = self.effect_cx(deadline, cancel, &journal, &notes);
                    self.engine.observer.point("before effect");
                    let steps = session.delete(&cx, records).await;
                    self.engine.observer.point("after effect");
                    steps
                };
                let mut gone = Vec::new();
                let mut pause = PAUSE_MAX;
                for (record, step) in std::mem::take(records).into_iter().zip(steps) {
                    match step {
                        Ok(Step::Done(_)) => gone.push(record.id),
                        Ok(Step::Waiting { retry_after_ms, note, .. }) => {
                            pause = pause.min(Duration::from_millis(retry_after_ms));
                            self.notes.insert(record.id.clone(), note);
                            records.push(record);
                        }
                        Err(error) => failed.push((record, changed_by_hand(error))),
                    }
                }
                if !gone.is_empty() {
                    gone.iter().for_each(|id| {
                        self.recorded.remove(id);
                    });
                    self.defer(Event::Removed { ids: gone, act: OnRemove::Delete });
                }
                *ask_at = Instant::now() + pause;
            }
            groups.retain(|group| !group.records.is_empty());
            let Some(next) = groups.iter().map(|group| group.ask_at).min() else { return Ok(failed) };
            if cancel.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            if Instant::now() >= deadline {
                let note = |id| self.notes.get(id).map_or("being deleted", String::as_str);
                let left = groups.iter().flat_map(|group| &group.records);
                return Err(Stop::TimedOut(first(
                    left.map(|record| format!("`{}`: {}", shown(&record.identity), note(&record.id))).collect(),
                )));
            }
            self.flush().await?;
            tokio::time::sleep_until(next.into()).await;
        }
    }
}

/// Says what to do about what is no longer as we left it.
fn changed_by_hand(error: CapabilityError) -> CapabilityError {
    if error.hint.is_none() && error.kind == Kind::Conflict {
        return error.hint("what was changed by hand is not deleted: put it back, or delete it by hand");
    }
    error
}
