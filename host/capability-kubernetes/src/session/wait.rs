//! Waits until objects are as their specs want them: watched, never asked for one by one.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, EffectCx, Observed, Step, Ticket, WantedOutput};
use windlass_manifest::Readiness;
use windlass_model::{ActionId, limits};

use super::{
    ClusterSession,
    apply::{handle, outputs},
    delete::departure,
    lock, text,
};
use crate::{
    marks,
    resource::{Place, Resource},
    seen::Seen,
    trouble::{self, Pods, Warnings},
    watch::Watch,
};

/// How long one question waits for news.
const NEWS_TIME_MAX: Duration = Duration::from_millis(1_000);
/// How long pods and events are asked about a trouble.
const EXPLAIN_TIME_MAX: Duration = Duration::from_secs(10);
/// A watch that has not told of an object by then is helped by a read.
const TOLD_WITHIN_MS: u128 = 2_000;

/// News come in bursts: how long more of them are waited for before one look at all waits.
fn burst(waits: usize) -> Duration {
    /// What a look at one wait may take of a core while a cluster is busy: a tenth.
    const EACH: Duration = Duration::from_micros(150);
    const MIN: Duration = Duration::from_millis(10);
    const MAX: Duration = Duration::from_millis(150);
    EACH.saturating_mul(u32::try_from(waits).unwrap_or(u32::MAX)).clamp(MIN, MAX)
}

/// What a ticket holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Waited {
    place: Place,
    uid: String,
    generation: i64,
    outputs: Vec<WantedOutput>,
    /// Since when, in milliseconds of the Unix epoch: the wait has an end, over restarts too.
    since_ms: u64,
    /// Since when pods had been refused when the wait began, as the server writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused_since: Option<String>,
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

impl Waited {
    pub(super) fn new(place: &Place, live: &Value, outputs: Vec<WantedOutput>) -> Self {
        Self {
            place: place.clone(),
            uid: text(live, "/metadata/uid").to_owned(),
            generation: generation(live),
            outputs,
            since_ms: now_ms(),
            refused_since: windlass_manifest::pods_refused(live).map(|refused| refused.since),
        }
    }

    pub(super) fn step(&self, note: String) -> Result<Step, CapabilityError> {
        let ticket = serde_json::to_value(self).map_err(|error| CapabilityError::new(Kind::Failed, error.to_string()))?;
        Ok(Step::Waiting { ticket, retry_after_ms: 0, note })
    }
}

fn generation(live: &Value) -> i64 {
    live.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0)
}

/// What is known of namespaces while one question is answered: read once for all that wait, or fail, in them.
#[derive(Default)]
struct Known {
    pods: BTreeMap<String, Pods>,
    warnings: Warnings,
}

/// What one look at a wait says.
pub(super) enum Look {
    Done(Observed),
    Waiting(String),
    Failed(Option<Arc<Value>>, String),
}

impl ClusterSession {
    pub(super) async fn poll_all(&self, cx: &EffectCx<'_>, tickets: &[Ticket]) -> Vec<Result<Step, CapabilityError>> {
        let waits: Vec<Result<Waited, CapabilityError>> = tickets
            .iter()
            .map(|ticket| {
                Waited::deserialize(&ticket.state)
                    .map_err(|error| CapabilityError::new(Kind::Invalid, format!("the ticket can't be read: {error}")))
            })
            .collect();
        let news = self.news.notified();
        tokio::pin!(news);
        news.as_mut().enable();
        let mut known = Known::default();
        let mut looks = self.look_all(cx, &waits, &mut known).await;
        if looks.iter().all(|look| matches!(look, Ok(Look::Waiting(_)))) {
            let patience = NEWS_TIME_MAX.min(cx.deadline.saturating_duration_since(Instant::now()));
            if tokio::time::timeout(patience, news).await.is_ok() {
                tokio::time::sleep(burst(waits.len())).await;
                known = Known::default();
                looks = self.look_all(cx, &waits, &mut known).await;
            }
        }
        let mut steps = Vec::with_capacity(looks.len());
        for ((ticket, waited), look) in tickets.iter().zip(&waits).zip(looks) {
            steps.push(match (look, waited) {
                (Ok(Look::Done(observed)), _) => Ok(Step::Done(observed)),
                (Ok(Look::Waiting(note)), Ok(waited)) => {
                    self.tell(cx, &ticket.id, &note);
                    waited.step(note)
                }
                (Ok(Look::Failed(live, why)), Ok(waited)) => Err(self.failure(cx, &waited.place, live, why, &mut known).await),
                (Err(error), _) => Err(error),
                (Ok(_), Err(error)) => Err(error.clone()),
            });
        }
        steps
    }

    /// Says what is waited for, once for each reason.
    pub(super) fn tell(&self, cx: &EffectCx<'_>, id: &ActionId, note: &str) {
        let mut notes = lock(&self.notes);
        if notes.get(id).map(String::as_str) != Some(note) {
            cx.events.note(id, note);
            notes.insert(id.clone(), note.to_owned());
        }
    }

    async fn look_all(
        &self,
        cx: &EffectCx<'_>,
        waits: &[Result<Waited, CapabilityError>],
        known: &mut Known,
    ) -> Vec<Result<Look, CapabilityError>> {
        let mut looks = Vec::with_capacity(waits.len());
        for waited in waits {
            looks.push(match waited {
                Ok(waited) => self.look(cx, waited, known).await,
                Err(error) => Err(error.clone()),
            });
        }
        looks
    }

    async fn look(&self, cx: &EffectCx<'_>, waited: &Waited, known: &mut Known) -> Result<Look, CapabilityError> {
        let watch = self.watch(&waited.place.resource, &waited.place.namespace, marks::selector(cx.owner));
        if let Some(why) = watch.trouble() {
            return Err(CapabilityError::new(Kind::Failed, format!("the API server can't be watched: {why}")));
        }
        let age_ms = u128::from(now_ms().saturating_sub(waited.since_ms));
        let live = match watch.object(&waited.place.name) {
            Some(live) => live,
            None if watch.is_deleted(&waited.place.name) => return Ok(Look::Failed(None, "somebody deleted it".to_owned())),
            None if age_ms < TOLD_WITHIN_MS => return Ok(Look::Waiting("sent".to_owned())),
            None => match self.api.get(&waited.place.path(), cx.deadline).await {
                Ok(live) => Arc::new(live),
                Err(failure) if waited.place.is_absent(&failure) => return Ok(Look::Failed(None, "somebody deleted it".to_owned())),
                Err(failure) => return Err(failure.into()),
            },
        };
        if text(&live, "/metadata/uid") != waited.uid {
            return Ok(Look::Failed(None, "somebody deleted it and made it again".to_owned()));
        }
        if generation(&live) < waited.generation {
            return Ok(Look::Waiting("sent".to_owned()));
        }
        let why = match (windlass_manifest::readiness(&live), outputs(&live, &waited.outputs)) {
            (Readiness::Current, Some(observed)) => {
                let seen = Arc::new(Seen::of_object(&live));
                self.listed.note(&waited.place, Some(Arc::clone(&seen)));
                return Ok(Look::Done(Observed { handle: handle(&waited.place, &seen, &live), changed: true, ..observed }));
            }
            (Readiness::Current, None) => {
                let missing: Vec<&str> = waited.outputs.iter().map(|output| output.name.as_str()).collect();
                format!("`{}` is not there yet", missing.join("`, `"))
            }
            (Readiness::Failed(why), _) => return Ok(Look::Failed(Some(live), why)),
            (Readiness::PodsRefused(why), _) => return Ok(self.refused(cx, live, why, waited.refused_since.as_deref(), age_ms).await),
            (Readiness::Terminating, _) => {
                return Ok(Look::Failed(None, format!("somebody deletes it: {}", departure(&Seen::of_object(&live)))));
            }
            (Readiness::InProgress(why), _) => why,
        };
        let pods = trouble::has_pods(&live).then(|| self.pods(&waited.place.namespace, &mut known.pods));
        let why = match pods.map(|pods| (pods, trouble::of_pods(&live, pods))) {
            Some((_, Some(found))) if found.is_final => return Ok(Look::Failed(Some(live), found.text)),
            Some((pods, Some(found))) => {
                self.listen(cx, &live, &found.text, pods).await;
                format!("{why}; {}", found.text)
            }
            Some((_, None)) | None => why,
        };
        // How long a Job may take is its own matter: the time of the deployment ends the wait.
        if age_ms > limits::READY_TIME_MAX.as_millis() && !trouble::is_job(&live) {
            return Ok(Look::Failed(Some(live), format!("not ready within {} min: {why}", limits::READY_TIME_MAX.as_secs() / 60)));
        }
        Ok(Look::Waiting(why))
    }

    /// Keeps what the pods of a Job say about a new trouble, as long as they can be asked.
    async fn listen(&self, cx: &EffectCx<'_>, live: &Value, trouble: &str, pods: &Pods) {
        let uid = text(live, "/metadata/uid");
        let is_known = lock(&self.told).get(uid).is_some_and(|(known, _)| known == trouble);
        if is_known || !trouble::is_job(live) {
            return;
        }
        let until = cx.deadline.min(Instant::now() + EXPLAIN_TIME_MAX);
        let lines = trouble::last_words(&self.api, live, pods, until).await;
        lock(&self.told).insert(uid.to_owned(), (trouble.to_owned(), lines));
    }

    fn watch(&self, resource: &Resource, namespace: &str, selector: String) -> Arc<Watch> {
        let mut watches = lock(&self.watches);
        let entry = watches.entry((resource.clone(), namespace.to_owned(), selector.clone()));
        let start = || Arc::new(Watch::start(Arc::clone(&self.api), resource, namespace, &selector, Arc::clone(&self.news)));
        Arc::clone(entry.or_insert_with(start))
    }

    fn pods<'p>(&self, namespace: &str, known: &'p mut BTreeMap<String, Pods>) -> &'p Pods {
        let watched = || self.watch(&Resource::core("Pod", "pods", true), namespace, String::new()).objects();
        known.entry(namespace.to_owned()).or_insert_with(|| Pods::new(watched()))
    }

    /// Says why something will not be ready, with everything that helps.
    async fn failure(&self, cx: &EffectCx<'_>, place: &Place, live: Option<Arc<Value>>, why: String, known: &mut Known) -> CapabilityError {
        let mut message = why;
        if let Some(live) = live {
            let none = Pods::default();
            let pods = if trouble::has_pods(&live) { self.pods(&place.namespace, &mut known.pods) } else { &none };
            let until = cx.deadline.min(Instant::now() + EXPLAIN_TIME_MAX);
            let told = lock(&self.told).remove(text(&live, "/metadata/uid")).map(|(_, lines)| lines);
            for line in trouble::explain(&self.api, &live, pods, told, &mut known.warnings, until).await {
                // What is said already needs only its place.
                let line = match line.split_once(": ") {
                    Some((pod, trouble)) if message.contains(trouble) => format!("in {pod}"),
                    _ => line,
                };
                message.push_str("\n  ");
                message.push_str(&line);
            }
        }
        let error = CapabilityError::new(Kind::Failed, message);
        if error.message.contains("exceeded quota") { CapabilityError { kind: Kind::Quota, ..error } } else { error }
    }
}
