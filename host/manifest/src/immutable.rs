//! Fields that the API server refuses to change: a change of them is a replacement, found while planning.

use serde_json::Value;
use windlass_model::pointer;

/// Pointers that can't change, by kind.
const IMMUTABLE: &[(&str, &[&str])] = &[
    ("Deployment", &["/spec/selector"]),
    ("ReplicaSet", &["/spec/selector"]),
    ("DaemonSet", &["/spec/selector"]),
    ("Job", &["/spec/selector", "/spec/template", "/spec/completions", "/spec/completionMode", "/spec/podFailurePolicy"]),
    ("Service", &["/spec/clusterIP"]),
    ("Secret", &["/type"]),
    ("RoleBinding", &["/roleRef"]),
    ("ClusterRoleBinding", &["/roleRef"]),
];

/// What may change in the spec of a StatefulSet.
const STATEFUL_SET_MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// Says why an object must be replaced, if it must.
#[must_use]
pub fn why_replaced(recorded: &Value, planned: &Value) -> Option<String> {
    let kind = planned.get("kind").and_then(Value::as_str).unwrap_or_default();
    if recorded.get("kind") != planned.get("kind") || group(recorded) != group(planned) {
        return Some("its kind changes".to_owned());
    }
    if let Some((_, pointers)) = IMMUTABLE.iter().find(|(name, _)| *name == kind)
        && let Some(pointer) =
            pointers.iter().find(|at| pointer::find(recorded, at).is_some() && pointer::find(recorded, at) != pointer::find(planned, at))
    {
        return Some(format!("`{pointer}` of a {kind} can't be changed"));
    }
    match kind {
        "StatefulSet" => {
            changed_but(recorded, planned, &STATEFUL_SET_MUTABLE).map(|field| format!("`/spec/{field}` of a StatefulSet can't be changed"))
        }
        "PersistentVolumeClaim" => changed_but(recorded, planned, &["resources"])
            .map(|field| format!("`/spec/{field}` of a PersistentVolumeClaim can't be changed")),
        "ConfigMap" | "Secret" if recorded.get("immutable") == Some(&Value::Bool(true)) && recorded != planned => {
            Some(format!("the {kind} is immutable"))
        }
        _ => None,
    }
}

fn group(manifest: &Value) -> &str {
    manifest.get("apiVersion").and_then(Value::as_str).unwrap_or_default().rsplit_once('/').map_or("", |(group, _)| group)
}

fn changed_but(recorded: &Value, planned: &Value, mutable: &[&str]) -> Option<String> {
    let (Some(a), Some(b)) = (recorded.get("spec").and_then(Value::as_object), planned.get("spec").and_then(Value::as_object)) else {
        return None;
    };
    a.keys().chain(b.keys()).find(|key| !mutable.contains(&key.as_str()) && a.get(*key) != b.get(*key)).cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replacements_are_known_before_the_server_refuses() {
        let object = |kind: &str, spec: Value| json!({"apiVersion": "apps/v1", "kind": kind, "spec": spec});
        let why = |a: &Value, b: &Value| why_replaced(a, b).unwrap_or_default();
        assert_eq!(
            why(&object("Deployment", json!({"selector": {"a": 1}})), &object("Deployment", json!({"selector": {"a": 2}}))),
            "`/spec/selector` of a Deployment can't be changed"
        );
        assert_eq!(why(&object("Deployment", json!({"replicas": 1})), &object("Deployment", json!({"replicas": 2}))), "");
        assert_eq!(
            why(&object("StatefulSet", json!({"serviceName": "a"})), &object("StatefulSet", json!({"serviceName": "b"}))),
            "`/spec/serviceName` of a StatefulSet can't be changed"
        );
        assert_eq!(
            why(
                &object("PersistentVolumeClaim", json!({"resources": {"requests": 1}})),
                &object("PersistentVolumeClaim", json!({"resources": {"requests": 2}}))
            ),
            ""
        );
        assert_eq!(
            why(
                &object("PersistentVolumeClaim", json!({"storageClassName": "a"})),
                &object("PersistentVolumeClaim", json!({"storageClassName": "b"}))
            ),
            "`/spec/storageClassName` of a PersistentVolumeClaim can't be changed"
        );
        assert_eq!(
            why(&object("Job", json!({"template": {"a": 1}})), &object("Job", json!({"template": {"a": 2}}))),
            "`/spec/template` of a Job can't be changed"
        );
    }
}
