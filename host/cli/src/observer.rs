//! Shows a deployment's progress on standard error.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use windlass_engine::apply::Observer;
use windlass_model::{ActionId, event::Event, identity::shown, plan::Plan, platform::OnRemove};

use crate::{failpoint, print};

/// Writes a line for everything that happens.
#[derive(Debug, Default)]
pub(crate) struct Terminal(Mutex<Names>);

/// What the plan calls things: people know their objects, not our actions.
#[derive(Debug, Default)]
struct Names {
    made: HashMap<ActionId, String>,
    /// What is replaced leaves under a name of its own.
    taken_away: HashMap<ActionId, String>,
}

impl Terminal {
    fn names(&self, show: impl FnOnce(&Names)) {
        show(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Names {
    fn made<'n>(&'n self, id: &'n ActionId) -> &'n str {
        self.made.get(id).or_else(|| self.taken_away.get(id)).map_or(id.as_str(), String::as_str)
    }

    fn taken_away<'n>(&'n self, id: &'n ActionId) -> &'n str {
        self.taken_away.get(id).or_else(|| self.made.get(id)).map_or(id.as_str(), String::as_str)
    }

    fn show(&self, event: &Event) {
        match event {
            Event::Done { actions } => {
                print::progress_of(print::Mark::Done, "done", actions.iter().map(|action| shown(&action.identity)));
            }
            Event::Waiting { id, note, .. } => print::progress(print::Mark::Wait, "waiting", &format!("{}: {note}", self.made(id))),
            Event::Healed { actions } => actions.iter().for_each(|action| {
                let fields: String = action.fields.iter().map(|field| format!(" {}", field.pointer)).collect();
                print::progress(print::Mark::Wait, "restoring", &format!("{}{fields}", self.made(&action.id)));
            }),
            Event::Removed { ids, act } => {
                let (mark, word) = match act {
                    OnRemove::Delete => (print::Mark::Gone, "deleted"),
                    OnRemove::Retain => (print::Mark::Wait, "retained"),
                };
                ids.iter().for_each(|id| print::progress(mark, word, self.taken_away(id)));
            }
            Event::ActionFailed { id, message } => {
                print::progress(print::Mark::Failed, "failed", &format!("{}: {message}", self.made(id)));
            }
            Event::Resumed { .. } => print::progress(print::Mark::Wait, "resumed", "going on where it stood"),
            Event::Planned { plan, .. } => print::progress(print::Mark::Wait, "next", &format!("stage, plan {}", plan.short())),
            // Whoever releases says what is nobody's now.
            Event::Started { .. }
            | Event::Intended { .. }
            | Event::Sending { .. }
            | Event::Unchanged { .. }
            | Event::Removing { .. }
            | Event::Released { .. }
            | Event::Ended { .. } => {}
        }
    }
}

impl Observer for Terminal {
    fn begin(&self, plan: &Plan) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let actions = plan.nodes().flat_map(|node| &node.actions);
        names.made.extend(actions.map(|action| (action.id.clone(), shown(&action.identity))));
        names.taken_away.extend(plan.destroys.iter().map(|destroy| (destroy.id.clone(), shown(&destroy.identity))));
    }

    fn event(&self, event: &Event) {
        self.names(|names| names.show(event));
    }

    fn note(&self, id: &ActionId, text: &str) {
        self.names(|names| print::progress(print::Mark::Wait, "note", &format!("{}: {text}", names.made(id))));
    }

    fn point(&self, name: &'static str) {
        failpoint::pass(name);
    }
}
