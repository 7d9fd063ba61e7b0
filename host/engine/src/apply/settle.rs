//! Ends what had to stay until everything else was ready: old credentials, most of all.

use std::{collections::BTreeMap, time::Instant};

use windlass_model::{
    event::Event,
    identity::shown,
    name::DocumentName,
    state::{RecordedAction, RecordedState, Status},
};

use super::{
    run::{Notes, Run},
    stop::Stop,
};
use crate::session::Cancel;

/// Tells whether an earlier deployment left something to end.
pub(crate) fn is_due(recorded: &RecordedState) -> bool {
    recorded.actions.values().any(is_unsettled)
}

fn is_unsettled(record: &RecordedAction) -> bool {
    record.unsettled && record.status == Status::Live
}

impl Run<'_> {
    /// Asks the systems to end what everything else no longer needs; twice is once.
    pub(crate) async fn settle(&mut self, deadline: Instant, cancel: &Cancel) -> Result<(), Stop> {
        let mut groups: BTreeMap<(String, DocumentName), Vec<RecordedAction>> = BTreeMap::new();
        for record in self.recorded.values().filter(|record| is_unsettled(record)) {
            groups.entry((record.interface.clone(), record.connection.clone())).or_default().push(record.clone());
        }
        if !groups.is_empty() {
            // What is ended is not known to anything else any more: first of all that has to be on disk.
            self.flush().await?;
        }
        for ((interface, connection), records) in groups {
            let settings = self.settings(&connection);
            let session = self.session(&interface, &connection, &settings).await?;
            let settled = {
                let (notes, journal) = (Notes(self.engine), self.journal());
                self.engine.observer.point("before settling");
                session.settle(&self.effect_cx(deadline, cancel, &journal, &notes), &records).await
            };
            let mut done = Vec::with_capacity(records.len());
            let mut failure = None;
            for (record, settled) in records.into_iter().zip(settled) {
                match settled {
                    Ok(observed) => {
                        let (handle, outputs) = (observed.handle, observed.outputs);
                        done.push(RecordedAction { handle, outputs, unsettled: observed.unsettled, ..record });
                    }
                    Err(error) => {
                        failure.get_or_insert((record, error));
                    }
                }
            }
            if !done.is_empty() {
                self.append(Event::Done { actions: done }).await?;
            }
            if let Some((record, error)) = failure {
                return Err(Stop::Failed { reason: format!("`{}`: {}", shown(&record.identity), error.message), hint: error.hint });
            }
        }
        Ok(())
    }
}
