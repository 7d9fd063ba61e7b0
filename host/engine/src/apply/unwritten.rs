//! What happened and is not on disk yet.

use std::time::{Duration, Instant};

use windlass_model::{event::Event, state::RecordedAction};

use super::{ApplyError, run::Run, stop::Stop};
use crate::{session::Secret, store::NewSecret};

/// How long what came of effects may wait to be written: what a killed process did is done again, if only looked at.
pub(super) const UNWRITTEN_MAX: Duration = Duration::from_secs(5);

/// How much of what came of effects may wait: it is written beside those that are still under way, not behind the last.
const UNWRITTEN_ACTIONS_MAX: usize = 250;

impl Run<'_> {
    /// Writes an event, and what was deferred before it, in one commit; what it says holds from here on. Where the store refuses it,
    /// what was deferred can still be written.
    pub(crate) async fn append(&mut self, event: Event) -> Result<(), Stop> {
        self.unwritten.push(event);
        let written = self.write().await;
        if written.is_err() {
            self.unwritten.pop();
        }
        if let Some(event) = written?.last() {
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
        self.unwritten_since.get_or_insert_with(Instant::now);
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
        self.engine.observer.point("before event");
        self.engine.store.append(&self.environment, self.fence, self.number, &self.unwritten, &secrets).await?;
        self.fresh.clear();
        self.unwritten_since = None;
        self.engine.observer.point("after event");
        Ok(std::mem::take(&mut self.unwritten))
    }

    /// Seals the secrets that are not on disk yet, for the next commit.
    pub(crate) fn drafts(&self) -> Result<Vec<NewSecret>, ApplyError> {
        let draft =
            |(name, (version, secret)): (&String, &(u64, Secret))| self.engine.secrets.draft(&self.environment, name, *version, secret);
        self.fresh.iter().map(draft).collect::<Result<_, _>>().map_err(ApplyError::Secrets)
    }
}
