//! Keeps all systems busy: what is ready begins where there is room, what came of it is taken note of.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use windlass_model::{ActionId, limits, plan::PlannedAction};

use super::{
    effects::{Answer, Effects, System},
    make::{Pending, grouped},
    run::Run,
    stop::Stop,
};
use crate::session::Cancel;

/// What can begin and waits for room, by system.
type Backlog<'p> = BTreeMap<System, VecDeque<&'p PlannedAction>>;

impl Run<'_> {
    /// Begins whatever is ready, until nothing is left that could be. Everything is awaited beside the effects: none of them stands
    /// still because something else takes its time.
    pub(super) async fn drive(
        &mut self,
        planned: &BTreeMap<&ActionId, &PlannedAction>,
        pending: &mut Pending,
        effects: &mut Effects<'_>,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<(), Stop> {
        // As long as a system that takes many has more to begin, what comes of it is no reason to look for other things.
        let mut backlog = Backlog::new();
        let mut is_stale = true;
        loop {
            is_stale |= effects
                .answered()
                .any(|answer| answer.is_all || answer.steps.iter().any(Result::is_err) || !backlog.contains_key(&answer.system));
            self.take_answers(effects, pending).await?;
            if std::mem::take(&mut is_stale) {
                backlog = self.backlog(planned, pending);
            }
            let mut began = false;
            for (system, waiting) in &mut backlog {
                if cancel.is_cancelled() {
                    return Err(Stop::Cancelled);
                }
                let (interface, connection) = system;
                let session = self.session(interface, connection, &self.settings(connection)).await?;
                let room = effects.room(system, session.as_ref()).min(waiting.len());
                if room == 0 {
                    continue;
                }
                began = true;
                let batch = waiting.drain(..room).collect();
                let effect = effects.beside(self.prepare(system, session, batch, pending, deadline, cancel)).await?;
                // What needs nothing done may be what others wait for.
                is_stale |= effect.as_ref().is_none_or(|effect| effect.records.len() < room);
                if let Some(effect) = effect {
                    pending.under_way.extend(effect.records.iter().map(|record| record.id.clone()));
                    effects.begin(effect);
                }
            }
            backlog.retain(|_, waiting| !waiting.is_empty());
            if began {
                is_stale |= backlog.is_empty();
                if self.has_unintended() {
                    effects.beside(self.intend(planned)).await?;
                }
                continue;
            }
            if cancel.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            if effects.is_empty() && self.waiting.is_empty() {
                if pending.ranks.is_empty() || !pending.failed.is_empty() {
                    return Ok(());
                }
                return Err(Stop::Failed { reason: "the plan's actions wait for each other".to_owned(), hint: None });
            }
            let waits = self.waiting.len();
            self.wait(pending, effects, deadline, cancel).await?;
            is_stale = self.waiting.len() != waits;
            if !backlog.is_empty() {
                effects.gather().await;
            }
        }
    }

    /// Lists what can begin now, by system: so much of it that it pays to look again when it is under way.
    fn backlog<'p>(&self, planned: &BTreeMap<&ActionId, &'p PlannedAction>, pending: &Pending) -> Backlog<'p> {
        let ready = self.order.ready(
            &pending.ranks,
            |id| self.waiting.contains_key(id) || pending.under_way.contains(id),
            |id| !pending.failed.is_empty() && self.order.needs(id).any(|need| pending.failed.contains_key(need)),
        );
        let groups = grouped(ready.iter().filter_map(|id| planned.get(id).copied()));
        groups.into_iter().map(|(system, actions)| (system, actions.into_iter().take(limits::EFFECT_BATCH_MAX).collect())).collect()
    }

    /// Takes note of what came of effects.
    pub(super) async fn take_answers(&mut self, effects: &mut Effects<'_>, pending: &mut Pending) -> Result<(), Stop> {
        // What came of one system, one after the other, is noted together.
        let mut together: Vec<Answer> = Vec::new();
        for answer in effects.answers() {
            match together.last_mut() {
                Some(last) if last.system == answer.system => {
                    last.records.extend(answer.records);
                    last.steps.extend(answer.steps);
                }
                _ => together.push(answer),
            }
        }
        let mut result = Ok(());
        for Answer { records, steps, .. } in together {
            for record in &records {
                pending.under_way.remove(&record.id);
            }
            let taken = effects.beside(self.take_steps(records, steps, pending)).await;
            result = result.and(taken);
        }
        result
    }
}
