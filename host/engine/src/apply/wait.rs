//! Waits: the engine owns all of it. Tickets are on disk, one question covers many.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use windlass_model::{name::DocumentName, state::RecordedAction};

use super::{
    make::Pending,
    run::{Notes, Run, Stop},
};
use crate::session::{Cancel, Step, Ticket};

/// Shortest pause between two questions about the same wait.
const POLL_MIN: Duration = Duration::from_millis(50);
/// Longest pause: somebody may have asked to stop.
const POLL_MAX: Duration = Duration::from_secs(5);

impl Run<'_> {
    /// Asks about everything that is under way, until something is done.
    pub(crate) async fn wait(&mut self, pending: &mut Pending, deadline: Instant, cancel: &Cancel) -> Result<(), Stop> {
        if self.waiting.is_empty() {
            return Err(Stop::Failed { reason: "the plan's actions wait for each other".to_owned(), hint: None });
        }
        if Instant::now() >= deadline {
            return Err(Stop::TimedOut);
        }
        self.flush().await?;
        let mut groups: BTreeMap<(String, DocumentName), Vec<(RecordedAction, Ticket)>> = BTreeMap::new();
        for (id, ticket) in &self.waiting {
            if let Some(record) = self.recorded.get(id) {
                groups.entry((record.interface.clone(), record.connection.clone())).or_default().push((record.clone(), ticket.clone()));
            }
        }
        let mut pause = POLL_MAX;
        let mut progressed = false;
        for ((interface, connection), entries) in groups {
            let settings = self.settings(&connection);
            let session = self.session(&interface, &connection, &settings).await?;
            let tickets: Vec<Ticket> = entries.iter().map(|(_, ticket)| ticket.clone()).collect();
            let steps = {
                let (notes, journal) = (Notes(self.engine), self.journal());
                self.engine.observer.point("before poll");
                session.poll(&self.effect_cx(deadline, cancel, &journal, &notes), &tickets).await
            };
            let mut moved = (Vec::new(), Vec::new());
            for ((record, ticket), step) in entries.into_iter().zip(steps) {
                match step {
                    // The same ticket again is no news.
                    Ok(Step::Waiting { ticket: same, retry_after_ms, .. }) if same == ticket.state => {
                        pause = pause.min(Duration::from_millis(retry_after_ms));
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
