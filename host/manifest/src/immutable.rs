//! Fields that the API server refuses to change: a change of them is a replacement, found while planning.

use std::collections::BTreeMap;

use serde_json::Value;
use windlass_model::{Diagnostic, pointer};

use crate::{quantity, shape::CLAIMS};

/// The annotation of a claim that says which version of a program its data are of: `PostgreSQL 17`.
pub const DATA_VERSION: &str = "windlass.dev/data-version";

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
        "StatefulSet" => changed_but(recorded, planned, &STATEFUL_SET_MUTABLE).map(|field| match field.as_str() {
            "volumeClaimTemplates" => claims_changed(recorded, planned),
            _ => format!("`/spec/{field}` of a StatefulSet can't be changed"),
        }),
        "PersistentVolumeClaim" => changed_but(recorded, planned, &["resources"]).map(|field| {
            format!("`/spec/{field}` of a PersistentVolumeClaim can't be changed: an empty volume takes the place of this one")
        }),
        "ConfigMap" | "Secret" if recorded.get("immutable") == Some(&Value::Bool(true)) && recorded != planned => {
            Some(format!("the {kind} is immutable"))
        }
        _ => None,
    }
}

/// Says what becomes of the claims of the pods when the templates of a StatefulSet change: the controller finds them by name.
fn claims_changed(recorded: &Value, planned: &Value) -> String {
    let planned = claims_of_pods(planned);
    let left: Vec<String> =
        claims_of_pods(recorded).keys().filter(|name| !planned.contains_key(*name)).map(|name| format!("`{name}`")).collect();
    let outcome = if left.is_empty() {
        "its pods stop and start again on the claims that they have, which stay as they are".to_owned()
    } else {
        format!("its pods stop, and the claims {} of each pod stay in the cluster, with their data but in no record", left.join(", "))
    };
    format!("`{CLAIMS}` of a StatefulSet can't be changed: {outcome}")
}

/// The templates of a StatefulSet's claims by name.
fn claims_of_pods(manifest: &Value) -> BTreeMap<&str, &Value> {
    let templates = pointer::find(manifest, CLAIMS).and_then(Value::as_array);
    templates.into_iter().flatten().filter_map(|template| Some((pointer::find(template, "/metadata/name")?.as_str()?, template))).collect()
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

/// Refuses a change of a volume that neither an update nor the same data in a new object can bring about: a smaller size, and data of
/// another version of the program that keeps them.
#[must_use]
pub fn refuse_change(recorded: &Value, planned: &Value) -> Option<Diagnostic> {
    if recorded.get("kind") != planned.get("kind") {
        return None;
    }
    match planned.get("kind").and_then(Value::as_str) {
        // A claim that is replaced for another reason takes no data along.
        Some("PersistentVolumeClaim") if why_replaced(recorded, planned).is_none() => {
            shrinks(recorded, planned, "").or_else(|| data_version_changes(recorded, planned))
        }
        Some("StatefulSet") => {
            let before = claims_of_pods(recorded);
            let after = planned.pointer(CLAIMS).and_then(Value::as_array).into_iter().flatten().enumerate();
            after.into_iter().find_map(|(index, claim)| {
                let known = before.get(pointer::find(claim, "/metadata/name")?.as_str()?)?;
                let base = format!("{CLAIMS}/{index}");
                shrinks(known, claim, &base).or_else(|| data_version_changes(known, claim))
            })
        }
        _ => None,
    }
}

/// Where a claim says how large its volume is.
const STORAGE: &str = "/spec/resources/requests/storage";

/// Returns the size of a claim as it is written.
fn size(claim: &Value) -> Option<String> {
    match pointer::find(claim, STORAGE)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(bytes) => Some(bytes.to_string()),
        _ => None,
    }
}

fn shrinks(recorded: &Value, planned: &Value, base: &str) -> Option<Diagnostic> {
    let (before, after) = (size(recorded)?, size(planned)?);
    (quantity::parse(&after)? < quantity::parse(&before)?).then(|| {
        Diagnostic::error("volume-shrinks", format!("the volume can't shrink from {before} to {after}"))
            .at(format!("{base}{STORAGE}"))
            .hint(format!("keep {before}; or add another volume of {after}, copy the data, mount that one and remove this one"))
    })
}

/// Returns the version of a program that the data of a claim are of.
fn data_version(claim: &Value) -> Option<&str> {
    pointer::find(claim, "/metadata/annotations")?.get(DATA_VERSION)?.as_str()
}

fn data_version_changes(recorded: &Value, planned: &Value) -> Option<Diagnostic> {
    let (before, after) = (data_version(recorded)?, data_version(planned)?);
    (before != after).then(|| {
        Diagnostic::error("data-version", format!("the volume holds data of {before}, which {after} may not open"))
            .at(format!("/metadata/annotations/{}", pointer::escape(DATA_VERSION)))
            .hint(format!(
                "keep {before}; or add a second resource with {after}, copy the data by a dump and a restore, let workloads use that one and remove this one"
            ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(size: &str, version: Option<&str>) -> Value {
        let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": size}}}});
        if let Some(version) = version {
            claim["metadata"]["annotations"] = json!({ DATA_VERSION: version });
        }
        claim
    }

    fn stateful_set(claims: &[Value]) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"volumeClaimTemplates": claims}})
    }

    #[test]
    fn volumes_never_shrink() {
        let refused = |before: &str, after: &str| {
            let of_pods = refuse_change(&stateful_set(&[claim(before, None)]), &stateful_set(&[claim(after, None)]));
            let alone = refuse_change(&claim(before, None), &claim(after, None));
            assert_eq!(of_pods.as_ref().map(|problem| &problem.message), alone.as_ref().map(|problem| &problem.message));
            alone.map(|problem| problem.message)
        };
        assert_eq!(refused("1Gi", "500Mi").as_deref(), Some("the volume can't shrink from 1Gi to 500Mi"));
        assert_eq!(refused("1Gi", "1G").as_deref(), Some("the volume can't shrink from 1Gi to 1G"));
        assert_eq!(refused("1Gi", "1073741824"), None);
        assert_eq!(refused("1Gi", "2Gi"), None);
        let bytes = json!({"kind": "PersistentVolumeClaim", "spec": {"resources": {"requests": {"storage": 1_000_000}}}});
        let message = refuse_change(&claim("1Gi", None), &bytes).map(|problem| problem.message);
        assert_eq!(message.as_deref(), Some("the volume can't shrink from 1Gi to 1000000"));
    }

    #[test]
    fn data_of_another_version_are_refused_unless_they_are_lost_anyway() {
        let refused = |before: Option<&str>, after: Option<&str>| {
            refuse_change(&claim("1Gi", before), &claim("2Gi", after)).map(|problem| problem.message)
        };
        assert_eq!(
            refused(Some("PostgreSQL 16"), Some("PostgreSQL 17")).as_deref(),
            Some("the volume holds data of PostgreSQL 16, which PostgreSQL 17 may not open")
        );
        assert_eq!(refused(Some("PostgreSQL 16"), Some("PostgreSQL 16")), None);
        assert_eq!(refused(None, Some("PostgreSQL 17")), None);
        let mut elsewhere = claim("2Gi", Some("PostgreSQL 17"));
        elsewhere["spec"]["storageClassName"] = json!("fast");
        assert_eq!(refuse_change(&claim("1Gi", Some("PostgreSQL 16")), &elsewhere), None);
    }

    #[test]
    fn replaced_stateful_sets_say_what_becomes_of_their_claims() {
        let renamed = |name: &str, size: &str| {
            let mut claim = claim(size, None);
            claim["metadata"]["name"] = json!(name);
            stateful_set(&[claim])
        };
        let why = |planned: &Value| why_replaced(&renamed("data", "1Gi"), planned).unwrap();
        assert_eq!(
            why(&renamed("data", "2Gi")),
            "`/spec/volumeClaimTemplates` of a StatefulSet can't be changed: its pods stop and start again on the claims that they have, which stay as they are"
        );
        assert_eq!(
            why(&renamed("other", "1Gi")),
            "`/spec/volumeClaimTemplates` of a StatefulSet can't be changed: its pods stop, and the claims `data` of each pod stay in the cluster, with their data but in no record"
        );
    }

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
            "`/spec/storageClassName` of a PersistentVolumeClaim can't be changed: an empty volume takes the place of this one"
        );
        assert_eq!(
            why(&object("Job", json!({"template": {"a": 1}})), &object("Job", json!({"template": {"a": 2}}))),
            "`/spec/template` of a Job can't be changed"
        );
    }
}
