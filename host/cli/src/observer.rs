//! Shows a deployment's progress on standard error.

use windlass_engine::apply::Observer;
use windlass_model::{ActionId, event::Event, platform::OnRemove, state::RecordedAction};

use crate::{failpoint, print};

/// Writes a line for everything that happens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terminal;

fn lines(mark: print::Mark, word: &str, actions: &[RecordedAction]) {
    for action in actions {
        print::progress(mark, word, &print::object(&action.identity));
    }
}

impl Observer for Terminal {
    fn event(&self, event: &Event) {
        match event {
            Event::Done { actions } => lines(print::Mark::Done, "done", actions),
            Event::Waiting { id, note, .. } => print::progress(print::Mark::Wait, "waiting", &format!("{id}: {note}")),
            Event::Healed { actions } => actions.iter().for_each(|action| {
                let fields: String = action.fields.iter().map(|field| format!(" {}", field.pointer)).collect();
                print::progress(print::Mark::Wait, "restoring", &format!("{}{fields}", action.id));
            }),
            Event::Removed { ids, act: OnRemove::Delete } => {
                ids.iter().for_each(|id| print::progress(print::Mark::Gone, "deleted", id.as_str()))
            }
            Event::Removed { ids, act: OnRemove::Retain } => {
                ids.iter().for_each(|id| print::progress(print::Mark::Wait, "retained", id.as_str()))
            }
            Event::Released { ids } => ids.iter().for_each(|id| print::progress(print::Mark::Gone, "released", id.as_str())),
            Event::ActionFailed { id, message } => print::progress(print::Mark::Failed, "failed", &format!("{id}: {message}")),
            Event::Resumed { .. } => print::progress(print::Mark::Wait, "resumed", "going on where it stood"),
            Event::Planned { plan, .. } => print::progress(print::Mark::Wait, "next", &format!("stage, plan {}", plan.short())),
            Event::Started { .. } | Event::Sending { .. } | Event::Unchanged { .. } | Event::Removing { .. } | Event::Ended { .. } => {}
        }
    }

    fn note(&self, id: &ActionId, text: &str) {
        print::progress(print::Mark::Wait, "note", &format!("{id}: {text}"));
    }

    fn point(&self, name: &'static str) {
        failpoint::pass(name);
    }
}
