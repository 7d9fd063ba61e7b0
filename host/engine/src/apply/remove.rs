//! The one way by which anything is taken away: prune, destroy and replace.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use windlass_model::{
    ActionId,
    event::Event,
    name::DocumentName,
    platform::{ConnectionSettings, OnRemove},
    state::{RecordedAction, Status},
};

use super::{
    is_late,
    order::{self, Group},
    run::{Notes, Run, Stop},
};
use crate::session::{Cancel, CapabilityErrorKind as Kind, Step};

impl Run<'_> {
    /// Takes away what the plan says, in the reverse of the order in which it was made.
    pub(crate) async fn take_away(&mut self, deadline: Instant, cancel: &Cancel) -> Result<(), Stop> {
        let plan = std::sync::Arc::clone(&self.request.plan);
        let ids = |act: OnRemove| -> BTreeSet<ActionId> {
            plan.destroys.iter().filter(|destroy| is_late(destroy, act)).map(|destroy| destroy.id.clone()).collect()
        };
        let retained: Vec<ActionId> = ids(OnRemove::Retain)
            .into_iter()
            .filter(|id| self.recorded.get(id).is_some_and(|record| record.status != Status::Retained))
            .collect();
        let deleted: Vec<RecordedAction> = ids(OnRemove::Delete).iter().filter_map(|id| self.recorded.get(id)).cloned().collect();
        self.remove(deleted, deadline, cancel).await?;
        if !retained.is_empty() {
            self.append(Event::Removed { ids: retained.clone(), act: OnRemove::Retain }).await?;
            for id in retained {
                if let Some(record) = self.recorded.get_mut(&id) {
                    record.status = Status::Retained;
                }
            }
        }
        Ok(())
    }

    /// Deletes recorded actions through the connections that they were made with.
    pub(crate) async fn remove(&mut self, records: Vec<RecordedAction>, deadline: Instant, cancel: &Cancel) -> Result<(), Stop> {
        let mut left: BTreeMap<ActionId, RecordedAction> = records.into_iter().map(|record| (record.id.clone(), record)).collect();
        while !left.is_empty() {
            if cancel.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            let batch: Vec<RecordedAction> = order::removable(&left).iter().filter_map(|id| left.remove(id)).collect();
            for Group { interface, connection, settings, records } in order::by_connection(batch) {
                self.remove_batch(&interface, &connection, &settings, records, deadline, cancel).await?;
            }
        }
        Ok(())
    }

    async fn remove_batch(
        &mut self,
        interface: &str,
        connection: &DocumentName,
        settings: &ConnectionSettings,
        records: Vec<RecordedAction>,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<(), Stop> {
        let session = self.session(interface, connection, settings).await?;
        let ids: Vec<ActionId> = records.iter().map(|record| record.id.clone()).collect();
        self.append(Event::Removing { ids }).await?;
        let mut todo = records;
        while !todo.is_empty() {
            let steps = {
                let (notes, journal) = (Notes(self.engine), self.journal());
                let cx = self.effect_cx(deadline, cancel, &journal, &notes);
                self.engine.observer.point("before effect");
                let steps = session.delete(&cx, &todo).await;
                self.engine.observer.point("after effect");
                steps
            };
            let mut gone = Vec::new();
            let mut waiting = Vec::new();
            let mut failure = None;
            let mut pause = std::time::Duration::from_secs(5);
            for (record, step) in todo.into_iter().zip(steps) {
                match step {
                    Ok(Step::Done(_)) => gone.push(record.id),
                    Ok(Step::Waiting { retry_after_ms, .. }) => {
                        pause = pause.min(std::time::Duration::from_millis(retry_after_ms));
                        waiting.push(record);
                    }
                    Err(error) => {
                        failure.get_or_insert((record, error));
                    }
                }
            }
            if !gone.is_empty() {
                gone.iter().for_each(|id| {
                    self.recorded.remove(id);
                });
                self.defer(Event::Removed { ids: gone, act: OnRemove::Delete });
            }
            if let Some((record, error)) = failure {
                self.append(Event::ActionFailed { id: record.id.clone(), message: error.message.clone() }).await?;
                let hint = error.hint.or_else(|| {
                    (error.kind == Kind::Conflict)
                        .then(|| "what was changed by hand is not deleted: put it back, or delete it by hand".to_owned())
                });
                return Err(Stop::Failed { reason: format!("`{}` can't be deleted: {}", record.identity, error.message), hint });
            }
            todo = waiting;
            if !todo.is_empty() {
                if Instant::now() >= deadline {
                    return Err(Stop::TimedOut);
                }
                self.flush().await?;
                tokio::time::sleep(pause).await;
            }
        }
        Ok(())
    }
}
