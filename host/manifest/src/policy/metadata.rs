//! Labels, annotations and the other fields of metadata that give rights or hand objects over.

use serde_json::{Map, Value};
use windlass_model::{
    Diagnostic,
    platform::{PolicyException, permits_key},
    pointer,
};

use super::{PolicyContext, PolicyInput};
use crate::{
    DATA_VERSION, find,
    job::{WAIT_FOR, WAIT_FOR_VALUES},
    shape,
};

/// Labels and annotations that only the host writes.
const OUR_PREFIX: &str = "windlass.dev/";
/// The ones of them that drivers do write: one that selectors carry, see [`pod_marks`], and those that explain.
const OURS_ALLOWED: [&str; 3] = [RESOURCE_LABEL, "windlass.dev/fingerprint", DATA_VERSION];
/// Names the resource to which a pod belongs; Services select by it.
pub const RESOURCE_LABEL: &str = "windlass.dev/resource";
/// Marks of other owners.
const FOREIGN_PREFIXES: [&str; 4] =
    ["argocd.argoproj.io/tracking-id", "kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name", "meta.helm.sh/release-"];
/// Annotations by which older clusters confine a container.
const PROFILE_PREFIXES: [&str; 3] = [
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
];
/// Labels of a namespace by which Pod Security is enforced; the strict levels take rights away.
const POD_SECURITY_PREFIX: &str = "pod-security.kubernetes.io/";
/// Fields that the server or another controller writes.
const SERVER_FIELDS: [&str; 8] =
    ["finalizers", "ownerReferences", "managedFields", "generateName", "uid", "resourceVersion", "creationTimestamp", "selfLink"];

/// Checks everything that an object and its templates say about themselves.
pub(super) fn check(
    manifest: &Value,
    pods: &[String],
    input: &PolicyInput<'_>,
    context: &PolicyContext<'_>,
    problems: &mut Vec<Diagnostic>,
) {
    let metadata = manifest.get("metadata");
    for field in SERVER_FIELDS {
        if metadata.is_some_and(|metadata| metadata.get(field).is_some()) {
            problems.push(Diagnostic::error("policy-metadata", format!("`{field}` may not be set")).at(format!("/metadata/{field}")));
        }
    }
    for (base, metadata) in shape::metadata(manifest, pods) {
        // What is made of a template is not held back, nor tied to others.
        for field in ["finalizers", "ownerReferences"].into_iter().filter(|_| base != "/metadata") {
            if metadata.get(field).is_some_and(|value| !value.is_null()) {
                problems.push(Diagnostic::error("policy-metadata", format!("`{field}` may not be set")).at(format!("{base}/{field}")));
            }
        }
        for field in ["labels", "annotations"] {
            let Some(entries) = metadata.get(field).and_then(Value::as_object) else { continue };
            check_entries(entries, &format!("{base}/{field}"), input, context, problems);
        }
    }
    if manifest.get("kind").and_then(Value::as_str) == Some("Gateway") {
        for field in ["labels", "annotations"] {
            let at = format!("/spec/infrastructure/{field}");
            if let Some(entries) = pointer::find(manifest, &at).and_then(Value::as_object) {
                check_entries(entries, &at, input, context, problems);
            }
        }
    }
}

fn check_entries(
    entries: &Map<String, Value>,
    base: &str,
    input: &PolicyInput<'_>,
    context: &PolicyContext<'_>,
    problems: &mut Vec<Diagnostic>,
) {
    let before = context.before.and_then(|before| pointer::find(before, base));
    for (key, value) in entries {
        let place = || format!("{base}/{}", pointer::escape(key));
        if key.starts_with(OUR_PREFIX) {
            problems.extend(check_ours(key, value, context).map(|problem| problem.at(place())));
            continue;
        }
        if FOREIGN_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
            problems.push(Diagnostic::error("policy-foreign-mark", format!("`{key}` would hand the object to another tool")).at(place()));
            continue;
        }
        if PROFILE_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
            if !is_confined(value) && !input.exceptions.contains(&PolicyException::PrivilegedPods) {
                problems.push(
                    Diagnostic::error("policy-privileged-pod", "a container may not be unconfined")
                        .at(place())
                        .hint("a grant lifts this with `allow: [privilegedPods]`"),
                );
            }
            continue;
        }
        if key.starts_with(POD_SECURITY_PREFIX) && is_strict(value) {
            continue;
        }
        // An earlier stage, with a grant of its own, wrote it like this.
        let is_inherited = before.is_some_and(|before| before.get(key) == Some(value));
        if !is_inherited && !permits_key(input.metadata, key) {
            problems.push(
                Diagnostic::error(
                    "policy-metadata-key",
                    format!("the grant does not list `{key}`, and a controller may take it for a right"),
                )
                .at(place())
                .hint(format!("a grant permits it with `metadata: [{}]`", domain(key))),
            );
        }
    }
}

/// Services select pods by labels of ours: one with the value of another node would draw traffic that is meant for that node.
fn check_ours(key: &str, value: &Value, context: &PolicyContext<'_>) -> Option<Diagnostic> {
    let own = match key {
        "windlass.dev/application" => Some(context.application),
        "windlass.dev/environment" => Some(context.environment),
        "windlass.dev/workload" => context.workload,
        WAIT_FOR if value.as_str().is_some_and(|text| WAIT_FOR_VALUES.contains(&text)) => return None,
        WAIT_FOR => {
            let message = format!("`{key}` is `{}`", WAIT_FOR_VALUES.join("` or `"));
            return Some(Diagnostic::error("manifest-wait-for", message));
        }
        key if OURS_ALLOWED.contains(&key) => return None,
        key => return Some(Diagnostic::error("policy-our-label", format!("`{key}` is written by the host alone"))),
    };
    let problem = |said: String| Diagnostic::error("policy-our-label", said).hint("leave it out, or select by a label with another prefix");
    match own {
        Some(own) if value.as_str() == Some(own) => None,
        Some(own) => Some(problem(format!("`{key}` may only be `{own}` here"))),
        None => Some(problem(format!("`{key}` belongs to the objects of workloads"))),
    }
}

/// Lists, by namespace, the resources to which a manifest's pods claim to belong.
#[must_use]
pub fn pod_marks(manifest: &Value) -> Vec<String> {
    let namespace = pointer::find(manifest, "/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let text = |at: &str| pointer::find(manifest, at).and_then(Value::as_str).unwrap_or_default();
    let pods = shape::pods(manifest, find(text("/apiVersion"), text("/kind")).is_none());
    let labelled = pods.iter().filter_map(|pod| pod.strip_suffix("/spec"));
    let mark = |base| pointer::find(manifest, &format!("{base}/metadata/labels"))?.get(RESOURCE_LABEL)?.as_str();
    labelled.filter_map(mark).map(|resource| format!("{RESOURCE_LABEL}={resource} in {namespace}")).collect()
}

/// Returns what a grant would list for a key: its domain.
fn domain(key: &str) -> String {
    key.split_once('/').map_or_else(|| key.to_owned(), |(domain, _)| format!("{domain}/"))
}

fn is_strict(level: &Value) -> bool {
    matches!(level.as_str(), Some("restricted" | "baseline"))
}

fn is_confined(profile: &Value) -> bool {
    profile.as_str().is_some_and(|name| matches!(name, "runtime/default" | "docker/default") || name.starts_with("localhost/"))
}
