//! Waits: the engine owns all of it. Tickets are on disk, one question covers many.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::Value;
use windlass_model::{ActionId, identity::shown, name::DocumentName};

use super::{
    discretion::SecretsOf,
    effects::Effects,
    make::Pending,
    run::{Notes, Run},
    stop::{Stop, first},
};
use crate::session::{Cancel, Step, Ticket};

/// Shortest pause between two questions about the same wait.
const POLL_MIN: Duration = Duration::from_millis(50);
/// Longest pause: somebody may have asked to stop.
const POLL_MAX: Duration = Duration::from_secs(5);

impl Run<'_> {
    /// Waits for what is under way, until something has happened.
    pub(crate) async fn wait(
        &mut self,
        pending: &mut Pending,
        effects: &mut Effects<'_>,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<(), Stop> {
        if self.has_much_unwritten() {
            effects.beside(self.flush()).await?;
        }
        if self.waiting.is_empty() {
            effects.next_within(self.may_stay_unwritten()).await;
            return if effects.has_answers() { Ok(()) } else { effects.beside(self.flush()).await };
        }
        if Instant::now() >= deadline {
            return Err(Stop::TimedOut(self.awaited(pending)));
        }
        // What is answered soon comes first: tickets that come together are written, and asked about, together.
        if !effects.is_empty() {
            effects.next_within(POLL_MIN).await;
            if effects.has_answers() {
                return Ok(());
            }
        }
        let pause = effects.beside(self.ask(pending, deadline, cancel)).await?;
        if let Some(pause) = pause.filter(|_| !effects.has_answers()) {
            effects.next_within(pause).await;
        }
        Ok(())
    }

    /// Asks about everything that has a ticket; says how long to pause if nothing is done.
    async fn ask(&mut self, pending: &mut Pending, deadline: Instant, cancel: &Cancel) -> Result<Option<Duration>, Stop> {
        self.flush().await?;
        let mut groups: BTreeMap<(String, DocumentName), Vec<Ticket>> = BTreeMap::new();
        for (id, ticket) in &self.waiting {
            if let Some(record) = self.recorded.get(id) {
                groups.entry((record.interface.clone(), record.connection.clone())).or_default().push(ticket.clone());
            }
        }
        let mut pause = POLL_MAX;
        let mut progressed = false;
        for ((interface, connection), tickets) in groups {
            let settings = self.settings(&connection);
            let session = self.session(&interface, &connection, &settings).await?;
            let steps = {
                let (notes, journal) = (Notes(self.engine), self.journal());
                self.engine.observer.point("before poll");
                session.poll(&self.effect_cx(deadline, cancel, &journal, &notes), &tickets).await
            };
            let mut moved = (Vec::new(), Vec::new());
            for (ticket, step) in tickets.into_iter().zip(steps) {
                match step {
                    // The same ticket again is no news.
                    Ok(Step::Waiting { ticket: same, retry_after_ms, note }) if same == ticket.state => {
                        pause = pause.min(Duration::from_millis(retry_after_ms));
                        self.notes.insert(ticket.id, note);
                    }
                    step => {
                        progressed = true;
                        let Some(record) = self.recorded.get(&ticket.id) else { continue };
                        moved.1.push(step.map_err(|error| SecretsOf::spec(&record.spec, &Value::Null).guard(error)));
                        moved.0.push(record.clone());
                    }
                }
            }
            if !moved.0.is_empty() {
                self.take_steps(moved.0, moved.1, pending).await?;
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        Ok((!progressed).then(|| pause.max(POLL_MIN).min(left)))
    }

    /// Says what is waited for.
    fn awaited(&self, pending: &Pending) -> Vec<String> {
        let line = |id: &ActionId| {
            let identity = self.recorded.get(id).map_or(id.as_str(), |record| record.identity.as_str());
            format!("`{}`: {}", shown(identity), self.notes.get(id).map_or("sent", String::as_str))
        };
        first(self.waiting.keys().chain(&pending.under_way).map(line).collect())
    }
}
