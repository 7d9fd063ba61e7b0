//! Makes objects so: by server-side apply alone, under our name, with our mark.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::Engine as _;
use serde_json::{Map, Value, json};
use windlass_engine::session::{
    CapabilityError, CapabilityErrorKind as Kind, EffectCx, Insistence, Observed, Owner, Ownership, Preflight, ResolvedAction, Secret,
    Step, WantedOutput,
};
use windlass_manifest::Readiness;

use super::{ClusterSession, delete::departure, is_other_object, lock, not_ours, places::Namespaces, text, wait::Waited};
use crate::{
    api::{ApplyOptions, Failure},
    marks,
    resource::Place,
    seen::Seen,
    trouble,
};

/// How long nothing is asked about an object that is being deleted: most are gone at once.
const DEPARTURE_PAUSE_MIN: Duration = Duration::from_millis(250);
/// The same for one that stays.
const DEPARTURE_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Writes what is sent: marked, with `data` in the place of `stringData`, tied to the object that we know.
pub(crate) fn body(spec: &Value, owner: &Owner, uid: Option<&str>) -> Value {
    let mut body = spec.clone();
    marks::mark(&mut body, owner);
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(uid) = uid
    {
        metadata.insert("uid".into(), json!(uid));
    }
    // The server would keep keys of `stringData` that are gone from it: `data` is what it owns by field.
    if let Value::Object(fields) = &mut body
        && text(spec, "/kind") == "Secret"
        && let Some(Value::Object(plain)) = fields.remove("stringData")
        && let Value::Object(data) = fields.entry("data").or_insert_with(|| Value::Object(Map::new()))
    {
        for (key, value) in plain {
            data.insert(key, json!(base64::engine::general_purpose::STANDARD.encode(plain_text(&value))));
        }
    }
    body
}

/// Writes what an object's own place would be sent: in the version in which it is served by now.
pub(super) fn body_at(place: &Place, spec: &Value, owner: &Owner, uid: &str) -> Value {
    let mut body = body(spec, owner, Some(uid));
    body["apiVersion"] = json!(place.resource.api_version);
    body
}

/// Text as it is, everything else as JSON.
fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What the record keeps to find an object again, and to tell whether it is as it was left: something that has completed may go.
pub(crate) fn handle(place: &Place, seen: &Seen, live: &Value) -> Value {
    let mut handle = json!({ "place": place, "uid": seen.uid, "fields": seen.fields });
    if windlass_manifest::is_completed(live) {
        handle["completed"] = json!(true);
    }
    handle
}

/// Tells whether the object behind a handle had completed.
pub(super) fn has_completed(handle: &Value) -> bool {
    handle.get("completed").and_then(Value::as_bool) == Some(true)
}

/// Reads the outputs that others need; nothing as long as one is missing.
pub(crate) fn outputs(live: &Value, wanted: &[WantedOutput]) -> Option<Observed> {
    let mut observed = Observed::default();
    for WantedOutput { name, secret } in wanted {
        let value = live.pointer(name).filter(|value| !value.is_null())?;
        if *secret {
            observed.secret_outputs.insert(name.clone(), Secret::new(plain_text(value)));
        } else {
            observed.outputs.insert(name.clone(), value.clone());
        }
    }
    Some(observed)
}

/// Tells whether an object is a Job that had failed before this deployment touched it.
fn has_failed_before(before: Option<&Seen>, live: &Value) -> bool {
    let is_same = before.is_some_and(|before| before.uid == text(live, "/metadata/uid"));
    is_same && trouble::is_job(live) && matches!(windlass_manifest::readiness(live), Readiness::Failed(_))
}

/// Tells whether the server can be asked what it would say: it is known what is sent, and nothing goes away before.
pub(super) fn is_to_be_asked(action: &Preflight) -> bool {
    action.is_resolved && !action.replace
}

impl ClusterSession {
    /// Tells whether a place may be written, and which object is there.
    fn claim(&self, cx: &EffectCx<'_>, place: &Place, insistence: Insistence) -> Result<Option<String>, CapabilityError> {
        let Some(seen) = self.listed.get(place) else { return Ok(None) };
        let owner = seen.marks.ownership(cx.owner);
        if owner != Ownership::Ours && insistence != Insistence::TakeOver {
            return Err(not_ours(place, &owner));
        }
        Ok(Some(seen.uid.clone()))
    }

    /// Asks what would be refused; in a namespace that is still to be made there is nothing to ask.
    pub(super) async fn preflight_one(
        &self,
        cx: &EffectCx<'_>,
        action: &Preflight,
        place: Result<Place, CapabilityError>,
        namespaces: &Namespaces,
    ) -> Result<(), CapabilityError> {
        let place = &place?;
        let uid = self.claim(cx, place, action.insistence)?;
        // What is going away is made anew when it is gone.
        if !is_to_be_asked(action) || self.listed.get(place).is_some_and(|seen| seen.is_leaving) {
            return Ok(());
        }
        match namespaces.get(&place.namespace) {
            Some(Err(error)) => return Err(error.clone()),
            Some(Ok(false)) => return Ok(()),
            Some(Ok(true)) | None => {}
        }
        let options = ApplyOptions { force: action.insistence != Insistence::Refuse, dry_run: true };
        let body = body(&action.spec, cx.owner, uid.as_deref());
        match self.api.apply(&place.path(), &body, options, cx.deadline).await {
            Ok(_) => Ok(()),
            // Made or removed by somebody at this moment: the real try says it.
            Err(failure) if is_other_object(&failure) || matches!(failure, Failure::Lost(_)) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    pub(super) async fn ensure_one(
        &self,
        cx: &EffectCx<'_>,
        action: &ResolvedAction,
        place: Result<Place, CapabilityError>,
    ) -> Result<Step, CapabilityError> {
        let place = &place?;
        self.await_absence(cx, action, place).await?;
        let before = self.listed.get(place);
        let mut live = self.send(cx, action, place).await?;
        if has_failed_before(before.as_deref(), &live) {
            self.delete_job(cx, place, text(&live, "/metadata/uid")).await?;
            live = self.send(cx, action, place).await?;
        }
        cx.events.point("after request");
        if place.resource.kind == "Namespace" && before.is_none() {
            lock(&self.made).push(place.name.clone());
        }
        let seen = Arc::new(Seen::of_object(&live));
        let changed = before.is_none_or(|before| before.version != seen.version);
        self.listed.note(place, Some(Arc::clone(&seen)));
        let why = match (windlass_manifest::readiness(&live), outputs(&live, &action.outputs)) {
            (Readiness::Current, Some(observed)) => {
                return Ok(Step::Done(Observed { handle: handle(place, &seen, &live), changed, ..observed }));
            }
            (Readiness::Current, None) => "waiting for a field that others need".to_owned(),
            (Readiness::InProgress(why) | Readiness::Failed(why) | Readiness::PodsRefused(why), _) => why,
            (Readiness::Terminating, _) => return Err(CapabilityError::new(Kind::Unavailable, departure(&seen))),
        };
        // Said with this step already.
        lock(&self.notes).insert(action.id.clone(), why.clone());
        Waited::new(place, &live, action.outputs.clone()).step(why)
    }

    /// Sends an action to the server; what is somebody else's is refused.
    async fn send(&self, cx: &EffectCx<'_>, action: &ResolvedAction, place: &Place) -> Result<Value, CapabilityError> {
        let mut uid = self.claim(cx, place, action.insistence)?;
        let options = ApplyOptions { force: action.insistence != Insistence::Refuse, dry_run: false };
        let mut tries = 0;
        loop {
            cx.events.point("before request");
            match self.api.apply(&place.path(), &body(&action.spec, cx.owner, uid.as_deref()), options, cx.deadline).await {
                Ok(live) => return Ok(live),
                // Somebody removed it, or made it again, since the list: looked at anew, once.
                Err(failure) if is_other_object(&failure) && tries == 0 => {
                    tries += 1;
                    self.look_again(place, cx).await?;
                    uid = self.claim(cx, place, action.insistence)?;
                }
                // What its pods read is known only now, and has changed: their template can't be, so that the Job is made anew.
                Err(failure) if place.resource.kind == "Job" && failure.is_immutable() && tries == 0 => {
                    tries += 1;
                    if let Some(known) = &uid {
                        self.delete_job(cx, place, known).await?;
                    }
                    uid = self.claim(cx, place, action.insistence)?;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Waits until an object that is being deleted is gone, and tells what holds it until then.
    async fn await_absence(&self, cx: &EffectCx<'_>, action: &ResolvedAction, place: &Place) -> Result<(), CapabilityError> {
        let mut pause = DEPARTURE_PAUSE_MIN;
        while let Some(seen) = self.listed.get(place).filter(|seen| seen.is_leaving) {
            self.claim(cx, place, action.insistence)?;
            let note = departure(&seen);
            self.tell(cx, &action.id, &note);
            let left = cx.deadline.saturating_duration_since(Instant::now());
            if cx.cancel.is_cancelled() || left.is_zero() {
                return Err(CapabilityError::new(Kind::Uncertain, note).hint("deploy again when it is gone"));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(DEPARTURE_PAUSE_MAX);
            self.look_again(place, cx).await?;
        }
        Ok(())
    }

    /// Deletes a Job of an earlier deployment, so that this one runs it again.
    async fn delete_job(&self, cx: &EffectCx<'_>, place: &Place, uid: &str) -> Result<(), CapabilityError> {
        match self.api.delete(&place.path(), uid, cx.deadline).await {
            Ok(_) => {}
            Err(failure) if place.is_absent(&failure) || is_other_object(&failure) => {}
            Err(failure) => return Err(failure.into()),
        }
        self.look_again(place, cx).await
    }

    /// Reads the metadata of one place anew.
    pub(super) async fn look_again(&self, place: &Place, cx: &EffectCx<'_>) -> Result<(), CapabilityError> {
        match self.api.get(&place.path(), cx.deadline).await {
            Ok(live) => self.listed.note(place, Some(Arc::new(Seen::of_object(&live)))),
            Err(failure) if place.is_absent(&failure) => self.listed.note(place, None),
            Err(failure) => return Err(failure.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_as_data_and_everything_is_marked() {
        let owner = Owner {
            installation: "i".into(),
            environment: windlass_model::state::EnvironmentKey {
                application: "shop".parse().unwrap(),
                environment: "dev".parse().unwrap(),
            },
        };
        let spec = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "x" }, "data": { "a": "YQ==" }, "stringData": { "b": "ü" } });
        let sent = body(&spec, &owner, Some("u-1"));
        assert_eq!(sent["data"], json!({ "a": "YQ==", "b": "w7w=" }));
        assert!(sent.get("stringData").is_none());
        assert_eq!(sent["metadata"]["uid"], "u-1");
        assert_eq!(sent["metadata"]["annotations"]["windlass.dev/mark"], "i/shop/dev");
    }

    #[test]
    fn outputs_wait_for_each_other() {
        let live = json!({ "status": { "ip": "1.2.3.4", "ports": [80] } });
        let want = |name: &str, secret| WantedOutput { name: name.to_owned(), secret };
        let seen = outputs(&live, &[want("/status/ip", false), want("/status/ports/0", true)]).unwrap();
        assert_eq!(seen.outputs["/status/ip"], "1.2.3.4");
        assert_eq!(seen.secret_outputs["/status/ports/0"].expose(), "80");
        assert!(outputs(&live, &[want("/status/ip", false), want("/status/host", false)]).is_none());
    }
}
