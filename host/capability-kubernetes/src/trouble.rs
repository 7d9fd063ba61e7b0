//! Tells a person why something does not become ready: pods, containers, exit codes, last lines, events.

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::Arc,
    time::Instant,
};

use serde_json::Value;
use windlass_manifest::{PodTrouble, job_pod_trouble, pod_trouble};
use windlass_model::limits;

use crate::{answer, api::Api, fields, resource::JSON, session::items};

/// Pods that are told about; more say the same.
const PODS_MAX: usize = 3;
/// Lines of a log; the last ones hold the reason.
const LOG_LINES: usize = 5;
/// Events that are told.
const EVENTS_MAX: usize = 3;
/// Events that are read; the server orders them by name.
const EVENTS_READ_MAX: usize = 5_000;

/// Tells whether pods stand behind an object of this kind.
pub(crate) fn has_pods(live: &Value) -> bool {
    matches!(live.get("kind").and_then(Value::as_str), Some("Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job"))
}

/// The pods of a namespace, found by their labels: hundreds of objects may wait for thousands of pods.
#[derive(Default)]
pub(crate) struct Pods {
    pods: Vec<Arc<Value>>,
    /// Places by the hash of a label and its value.
    by_label: HashMap<u64, Vec<usize>>,
    hasher: RandomState,
}

impl Pods {
    pub(crate) fn new(pods: Vec<Arc<Value>>) -> Self {
        let (mut by_label, hasher): (HashMap<u64, Vec<usize>>, _) = Default::default();
        for (index, pod) in pods.iter().enumerate() {
            for label in pod.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten() {
                by_label.entry(hash(&hasher, label)).or_default().push(index);
            }
        }
        Self { pods, by_label, hasher }
    }

    /// Chooses the pods of an object that its newest form made: older ones may be what is being mended.
    fn of<'p>(&'p self, live: &'p Value) -> impl Iterator<Item = &'p Value> {
        let since = live.get("metadata").and_then(fields::changed_at).unwrap_or_default();
        let created = move |pod: &Value| pod.pointer("/metadata/creationTimestamp").and_then(Value::as_str).unwrap_or_default() >= since;
        self.selected(live).filter(move |pod| of_newest(live, pod).unwrap_or_else(|| created(pod)))
    }

    /// Chooses the pods of an earlier template that a StatefulSet waits for: in order, it replaces no pod before that one is ready.
    fn stuck<'p>(&'p self, live: &'p Value) -> impl Iterator<Item = &'p Value> {
        let is_in_order = live.pointer("/spec/podManagementPolicy").and_then(Value::as_str) != Some("Parallel");
        let older = self.selected(live).filter(move |pod| is_in_order && is_stateful_set(live) && of_newest(live, pod) == Some(false));
        older.filter(|pod| !is_ready(pod))
    }

    fn selected<'p>(&'p self, live: &'p Value) -> impl Iterator<Item = &'p Value> {
        let labels = live.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        // The label that fewest pods have narrows most.
        let found = |label| self.by_label.get(&hash(&self.hasher, label)).map_or(&[][..], Vec::as_slice);
        let fewest = labels.and_then(|labels| labels.iter().map(found).min_by_key(|found| found.len())).unwrap_or_default();
        let fits = move |pod: &&Value| {
            let is = |(key, value)| pod.pointer("/metadata/labels").and_then(|labels| labels.get(key)) == Some(value);
            labels.into_iter().flatten().all(is)
        };
        fewest.iter().filter_map(|index| self.pods.get(*index)).map(AsRef::as_ref).filter(fits)
    }
}

fn hash(hasher: &RandomState, label: (&String, &Value)) -> u64 {
    hasher.hash_one((label.0, label.1.as_str()))
}

/// What a cluster warned about, read once for all objects of a namespace that fail together.
#[derive(Default)]
pub(crate) struct Warnings(BTreeMap<String, Value>);

/// Tells whether a pod was made from an object's newest template, where the object says which one that is. Times alone have the
/// resolution of a second: what is mended within one has old pods as young as new ones.
fn of_newest(live: &Value, pod: &Value) -> Option<bool> {
    match live.get("kind").and_then(Value::as_str)? {
        "Deployment" => {
            let conditions = live.pointer("/status/conditions").and_then(Value::as_array)?;
            let progress = conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some("Progressing"))?;
            // `ReplicaSet "web-5d4f" is progressing.`
            let message = progress.get("message").and_then(Value::as_str).filter(|message| message.contains('"'))?;
            let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array)?;
            let set = owners.iter().find_map(|owner| owner.get("name")?.as_str())?;
            Some(message.contains(&format!("\"{set}\"")))
        }
        "StatefulSet" => {
            let newest = live.pointer("/status/updateRevision").and_then(Value::as_str)?;
            let made_of = pod.pointer("/metadata/labels").and_then(|labels| labels.get("controller-revision-hash")?.as_str())?;
            Some(newest == made_of)
        }
        // Its template never changes.
        "Job" => Some(true),
        _ => None,
    }
}

/// Tells whether the controller has seen an object as it is now; before that, its status speaks of pods that are on their way out.
fn is_observed(live: &Value) -> bool {
    let number = |pointer: &str| live.pointer(pointer).and_then(Value::as_i64);
    number("/status/observedGeneration").is_none_or(|observed| number("/metadata/generation").is_none_or(|newest| observed >= newest))
}

/// Finds what keeps an object's pods from running: first of all what only a change mends.
pub(crate) fn of_pods(live: &Value, pods: &Pods) -> Option<PodTrouble> {
    if !is_observed(live) {
        return None;
    }
    let newest = pods.of(live).filter_map(|pod| trouble_of(live, pod));
    let stuck = pods.stuck(live).filter_map(|pod| trouble_of(live, pod));
    newest.chain(stuck).max_by_key(|trouble| trouble.is_final)
}

fn trouble_of(live: &Value, pod: &Value) -> Option<PodTrouble> {
    if is_job(live) {
        return job_pod_trouble(live, pod);
    }
    let trouble = pod_trouble(pod)?;
    if !is_stateful_set(live) || of_newest(live, pod) != Some(false) {
        return Some(trouble);
    }
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (name, revision) = (text("/metadata/name"), text("/metadata/labels/controller-revision-hash"));
    let text = format!(
        "its pod `{name}` has an earlier template (revision `{revision}`) and is not ready ({}); a StatefulSet replaces no pod before that: \
         delete the pod, `kubectl -n {} delete pod {name}`",
        trouble.text,
        text("/metadata/namespace"),
    );
    Some(PodTrouble { text, ..trouble })
}

fn is_stateful_set(live: &Value) -> bool {
    live.get("kind").and_then(Value::as_str) == Some("StatefulSet")
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let is = |condition: &Value, field: &str, text: &str| condition.get(field).and_then(Value::as_str) == Some(text);
    conditions.into_iter().any(|condition| is(condition, "type", "Ready") && is(condition, "status", "True"))
}

/// Tells whether an object is a Job: its controller deletes pods when it gives up, and with them what they could tell.
pub(crate) fn is_job(live: &Value) -> bool {
    live.get("kind").and_then(Value::as_str) == Some("Job")
}

/// Collects what keeps an object from being ready, in lines. `told` is what its pods said before they were deleted.
pub(crate) async fn explain(
    api: &Api,
    live: &Value,
    pods: &Pods,
    told: Option<Vec<String>>,
    warnings: &mut Warnings,
    until: Instant,
) -> Vec<String> {
    let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let namespace = text(live, "/metadata/namespace");
    let names =
        std::iter::once(text(live, "/metadata/name")).chain(pods.of(live).map(|pod| text(pod, "/metadata/name"))).collect::<Vec<_>>();
    let mut lines = last_words(api, live, pods, until).await;
    if lines.is_empty() {
        lines = told.unwrap_or_default();
    }
    lines.extend(warnings.about(api, &namespace, &names, until).await);
    lines.dedup();
    lines
}

/// Collects what the pods of an object say about their trouble: container, exit code, last lines of the log.
pub(crate) async fn last_words(api: &Api, live: &Value, pods: &Pods, until: Instant) -> Vec<String> {
    let mut lines = Vec::new();
    let mut told = 0;
    for pod in pods.of(live).chain(pods.stuck(live)) {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let Some(trouble) = trouble_of(live, pod).filter(|_| told < PODS_MAX) else { continue };
        told += 1;
        lines.push(format!("pod `{name}`: {}", trouble.text));
        if let Some(container) = trouble.container.filter(|_| trouble.has_log) {
            lines.extend(log(api, namespace, name, &container, until).await);
        }
    }
    lines
}

/// The last lines that a container wrote before it ended.
async fn log(api: &Api, namespace: &str, pod: &str, container: &str, until: Instant) -> Vec<String> {
    let (pod, container) = (answer::encode(pod), answer::encode(container));
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&tailLines={LOG_LINES}");
    let text = match api.text(&format!("{path}&previous=true"), until).await {
        Some(text) => Some(text),
        None => api.text(&path, until).await,
    };
    let printable = |line: &str| format!("    {}", line.chars().filter(|c| !c.is_control()).take(200).collect::<String>());
    text.unwrap_or_default().lines().take(LOG_LINES).map(printable).collect()
}

impl Warnings {
    /// Lists the newest warnings about objects of a namespace.
    async fn about(&mut self, api: &Api, namespace: &str, names: &[String], until: Instant) -> Vec<String> {
        if !self.0.contains_key(namespace) {
            let path = format!("/api/v1/namespaces/{namespace}/events?fieldSelector=type%3DWarning&limit={EVENTS_READ_MAX}");
            let list = api.list(&path, JSON, until).await.unwrap_or_default();
            self.0.insert(namespace.to_owned(), list);
        }
        let text = |event: &Value, pointer: &str| {
            let text = event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            text.chars().take(limits::SERVER_TEXT_CHARS_MAX).collect::<String>()
        };
        let is_about = |event: &&Value| {
            let about = text(event, "/involvedObject/name");
            names.iter().any(|name| about == *name || about.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('-')))
        };
        let events = self.0.get(namespace).into_iter().flat_map(items).filter(is_about);
        let mut found: Vec<(String, String)> = events
            .map(|event| (text(event, "/lastTimestamp"), format!("event {}: {}", text(event, "/reason"), text(event, "/message"))))
            .collect();
        found.sort();
        found.dedup_by(|a, b| a.1 == b.1);
        found.into_iter().rev().take(EVENTS_MAX).map(|(_, line)| line).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(generation: i64, observed: i64, set: &str) -> Value {
        json!({
            "kind": "Deployment",
            "metadata": { "name": "web", "generation": generation },
            "spec": { "selector": { "matchLabels": { "app": "web" } } },
            "status": {
                "observedGeneration": observed,
                "conditions": [{ "type": "Progressing", "message": format!("ReplicaSet \"{set}\" is progressing.") }],
            },
        })
    }

    fn crashing(set: &str) -> Arc<Value> {
        Arc::new(json!({
            "kind": "Pod",
            "metadata": {
                "name": format!("{set}-x"), "labels": { "app": "web" }, "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{ "kind": "ReplicaSet", "name": set }],
            },
            "status": { "phase": "Running", "containerStatuses": [{
                "name": "main", "restartCount": 4, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 3 } },
            }] },
        }))
    }

    #[test]
    fn only_pods_of_the_newest_template_count_however_young_the_others_are() {
        let pods = Pods::new(vec![crashing("web-old")]);
        assert!(of_pods(&deployment(1, 1, "web-old"), &pods).is_some_and(|trouble| trouble.is_final));
        assert!(of_pods(&deployment(2, 1, "web-old"), &pods).is_none(), "the controller has not seen the change yet");
        assert!(of_pods(&deployment(2, 2, "web-new"), &pods).is_none(), "they are on their way out");
        let both = Pods::new(vec![crashing("web-old"), crashing("web-new")]);
        assert_eq!(both.of(&deployment(2, 2, "web-new")).count(), 1);
        assert_eq!(both.of(&json!({ "kind": "Deployment" })).count(), 0, "without a selector it has none");
    }
}
