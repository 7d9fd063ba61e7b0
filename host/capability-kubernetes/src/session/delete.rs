//! Takes objects away: exactly the one that we made, and a namespace only when nothing is left inside.

use std::sync::Arc;

use serde_json::Value;
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, EffectCx, Observed, Ownership, Step};
use windlass_model::state::{RecordedAction, Status};

use super::{ClusterSession, is_other_object, not_ours, text};
use crate::{marks, namespace, resource::Place, seen::Seen};

/// When to ask whether something is gone: a namespace takes seconds, most else is gone at once.
const GONE_AFTER_MS: u64 = 500;

fn gone(changed: bool) -> Step {
    Step::Done(Observed { changed, ..Observed::default() })
}

impl ClusterSession {
    pub(super) async fn delete_one(
        &self,
        cx: &EffectCx<'_>,
        action: &RecordedAction,
        place: Result<Place, CapabilityError>,
    ) -> Result<Step, CapabilityError> {
        let place = &match place {
            Ok(place) => place,
            // No place was ever found for it: it was never sent.
            Err(error) if error.kind == Kind::Invalid && action.handle.is_null() => return Ok(gone(false)),
            Err(error) => return Err(error),
        };
        let Some(mut seen) = self.listed.get(place) else { return Ok(gone(false)) };
        if seen.is_leaving {
            // Asked for before: is it gone now?
            self.look_again(place, cx).await?;
            match self.listed.get(place) {
                Some(now) if now.uid == seen.uid => return Ok(leaving(&now)),
                Some(now) => seen = now,
                None => return Ok(gone(true)),
            }
        }
        let owner = seen.marks.ownership(cx.owner);
        if owner != Ownership::Ours {
            // What was never answered may never have been ours; what has another uid is another object.
            let never_made = action.handle.is_null() && action.status != Status::Live;
            let is_other = !action.handle.is_null() && seen.uid != text(&action.handle, "/uid");
            return if never_made || is_other { Ok(gone(false)) } else { Err(not_ours(place, &owner)) };
        }
        if place.resource.kind == "Namespace"
            && let Some(what) = namespace::what_stays(&self.api, &self.discovery, &place.name, cx.owner, cx.deadline).await?
        {
            cx.events.note(&action.id, &format!("the namespace `{}` stays: it holds {what}", place.name));
            return Ok(gone(false));
        }
        cx.events.point("before request");
        let answer = self.api.delete(&place.path(), &seen.uid, cx.deadline).await;
        cx.events.point("after request");
        match answer {
            Ok(answer) if answer.pointer("/metadata/deletionTimestamp").is_some() => {
                let seen = Arc::new(Seen::of_object(&answer));
                self.listed.note(place, Some(Arc::clone(&seen)));
                Ok(leaving(&seen))
            }
            // The server says so of what it took out of its store at once.
            Ok(answer) if text(&answer, "/kind") == "Status" && text(&answer, "/status") == "Success" => {
                self.listed.note(place, None);
                Ok(gone(true))
            }
            Ok(_) => {
                self.look_again(place, cx).await?;
                Ok(self.listed.get(place).filter(|now| now.uid == seen.uid).map_or_else(|| gone(true), |now| leaving(&now)))
            }
            Err(failure) if place.is_absent(&failure) || is_other_object(&failure) => {
                self.listed.note(place, None);
                Ok(gone(false))
            }
            Err(failure) => Err(failure.into()),
        }
    }
}

impl ClusterSession {
    /// Takes our mark from an object of ours; what is gone, or somebody else's by now, needs no letting go.
    pub(super) async fn release_one(&self, cx: &EffectCx<'_>, place: Result<Place, CapabilityError>) -> Result<(), CapabilityError> {
        let place = &place?;
        let Some(seen) = self.listed.get(place).filter(|seen| seen.marks.ownership(cx.owner) == Ownership::Ours) else {
            return Ok(());
        };
        let body = serde_json::json!({ "metadata": {
            "uid": seen.uid,
            "labels": { marks::LABEL_OWNER: null },
            "annotations": { marks::ANNOTATION_MARK: null },
        } });
        match self.api.merge(&place.path(), &body, cx.deadline).await {
            Ok(_) => Ok(()),
            Err(failure) if place.is_absent(&failure) || is_other_object(&failure) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// Says that an object is being deleted, and which finalizers hold it.
pub(super) fn departure(seen: &Seen) -> String {
    let holders = &seen.finalizers;
    if holders.is_empty() { "being deleted".to_owned() } else { format!("being deleted, held by the finalizer {}", holders.join(", ")) }
}

fn leaving(seen: &Seen) -> Step {
    Step::Waiting { ticket: Value::Null, retry_after_ms: GONE_AFTER_MS, note: departure(seen) }
}
