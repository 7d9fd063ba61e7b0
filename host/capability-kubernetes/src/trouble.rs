//! Tells a person why something does not become ready: pods, containers, exit codes, last lines, events.

use std::{sync::Arc, time::Instant};

use serde_json::Value;
use windlass_manifest::{PodTrouble, pod_trouble};

use crate::{api::Api, fields, resource::JSON, session::items};

/// Pods that are told about; more say the same.
const PODS_MAX: usize = 3;
/// Lines of a log; the last ones hold the reason.
const LOG_LINES: usize = 5;
/// Events that are told.
const EVENTS_MAX: usize = 3;

/// Tells whether pods stand behind an object of this kind.
pub(crate) fn has_pods(live: &Value) -> bool {
    matches!(live.get("kind").and_then(Value::as_str), Some("Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job"))
}

/// Chooses the pods of an object that its newest form made: older ones may be what is being mended.
pub(crate) fn pods_of<'p>(live: &Value, pods: &'p [Arc<Value>]) -> Vec<&'p Arc<Value>> {
    let Some(labels) = live.pointer("/spec/selector/matchLabels").and_then(Value::as_object) else { return Vec::new() };
    let since = live.get("metadata").and_then(fields::changed_at).unwrap_or_default();
    let fits = |pod: &&Arc<Value>| {
        let created = || pod.pointer("/metadata/creationTimestamp").and_then(Value::as_str).unwrap_or_default();
        labels.iter().all(|(key, value)| pod.pointer("/metadata/labels").and_then(|labels| labels.get(key)) == Some(value))
            && of_newest(live, pod).unwrap_or_else(|| created() >= since)
    };
    pods.iter().filter(fits).collect()
}

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
        _ => None,
    }
}

/// Tells whether the controller has seen an object as it is now; before that, its status speaks of pods that are on their way out.
fn is_observed(live: &Value) -> bool {
    let number = |pointer: &str| live.pointer(pointer).and_then(Value::as_i64);
    number("/status/observedGeneration").is_none_or(|observed| number("/metadata/generation").is_none_or(|newest| observed >= newest))
}

/// Finds a trouble that only a change mends.
pub(crate) fn final_trouble(live: &Value, pods: &[Arc<Value>]) -> Option<PodTrouble> {
    if !is_observed(live) {
        return None;
    }
    pods_of(live, pods).into_iter().filter_map(|pod| pod_trouble(pod)).find(|trouble| trouble.is_final)
}

/// Collects what keeps an object from being ready, in lines.
pub(crate) async fn explain(api: &Api, live: &Value, pods: &[Arc<Value>], until: Instant) -> Vec<String> {
    let mut lines = Vec::new();
    let namespace = live.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let mut names = vec![live.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()];
    for pod in pods_of(live, pods) {
        let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        names.push(name.to_owned());
        let Some(trouble) = pod_trouble(pod).filter(|_| lines.len() < PODS_MAX) else { continue };
        lines.push(format!("pod `{name}`: {}", trouble.text));
        if let Some(container) = trouble.container.filter(|_| trouble.has_log) {
            lines.extend(log(api, namespace, name, &container).await);
        }
    }
    lines.extend(events(api, namespace, &names, until).await);
    lines.dedup();
    lines
}

/// The last lines that a container wrote before it ended.
async fn log(api: &Api, namespace: &str, pod: &str, container: &str) -> Vec<String> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&tailLines={LOG_LINES}");
    let text = match api.text(&format!("{path}&previous=true")).await {
        Some(text) => Some(text),
        None => api.text(&path).await,
    };
    let printable = |line: &str| format!("    {}", line.chars().filter(|c| !c.is_control()).take(200).collect::<String>());
    text.unwrap_or_default().lines().map(printable).collect()
}

/// What the cluster warned about.
async fn events(api: &Api, namespace: &str, names: &[String], until: Instant) -> Vec<String> {
    let path = format!("/api/v1/namespaces/{namespace}/events?fieldSelector=type%3DWarning&limit=500");
    let Ok(list) = api.get(&path, JSON, until).await else { return Vec::new() };
    let text = |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut found: Vec<(String, String)> = items(&list)
        .filter(|event| {
            let about = text(event, "/involvedObject/name");
            names.iter().any(|name| about == *name || about.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('-')))
        })
        .map(|event| (text(event, "/lastTimestamp"), format!("event {}: {}", text(event, "/reason"), text(event, "/message"))))
        .collect();
    found.sort();
    found.dedup_by(|a, b| a.1 == b.1);
    found.into_iter().rev().take(EVENTS_MAX).map(|(_, line)| line).collect()
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
        let pods = [crashing("web-old")];
        assert!(final_trouble(&deployment(1, 1, "web-old"), &pods).is_some());
        assert!(final_trouble(&deployment(2, 1, "web-old"), &pods).is_none(), "the controller has not seen the change yet");
        assert!(final_trouble(&deployment(2, 2, "web-new"), &pods).is_none(), "they are on their way out");
        let both = [crashing("web-old"), crashing("web-new")];
        assert_eq!(pods_of(&deployment(2, 2, "web-new"), &both).len(), 1);
    }
}
