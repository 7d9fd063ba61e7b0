//! What is known of Kubernetes objects without a cluster: kinds, identity, immutable fields, secret
//! sinks, policy. Pure; used by every sink of `windlass:kubernetes`.

mod baseline;
mod immutable;
mod job;
mod kinds;
mod pod;
mod policy;
mod quantity;
mod readiness;
mod references;
mod schedule;
mod shape;

pub use immutable::{DATA_VERSION, refuse_change, why_replaced};
pub use job::{WAIT_FOR, is_completed};
pub use kinds::{Kind, find};
pub use pod::{PodTrouble, job_pod_trouble, pod_trouble};
pub use policy::{PolicyContext, PolicyInput, RESOURCE_LABEL, check, pod_marks};
pub use readiness::{Readiness, Refusal, pods_refused, readiness};
pub use references::{references, yields};

use serde_json::{Map, Value};
use windlass_model::{
    platform::{DeclaredKind, Scope},
    pointer,
};

/// Identifies an object: `GROUP/KIND/NAMESPACE/NAME`, group and namespace may be empty.
#[must_use]
pub fn identity(manifest: &Value) -> String {
    let text = |at: &str| pointer::find(manifest, at).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    format!("{group}/{}/{}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

/// Puts a manifest into its one form: the namespace is written, empty fields are gone.
#[must_use]
pub fn normalise(manifest: Value, namespace: Option<&str>, declared: &[&DeclaredKind]) -> Value {
    let scope = scope_of(&manifest, declared);
    let Value::Object(mut fields) = manifest else { return manifest };
    fields.retain(|_, value| !value.is_null());
    fields.remove("status");
    if scope == Some(Scope::Namespaced)
        && let Some(namespace) = namespace
        && let Value::Object(metadata) = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()))
    {
        metadata.entry("namespace").or_insert_with(|| Value::String(namespace.to_owned()));
    }
    Value::Object(fields)
}

/// Returns the scope of an object's kind, if the kind is known.
#[must_use]
pub fn scope_of(manifest: &Value, declared: &[&DeclaredKind]) -> Option<Scope> {
    let api_version = manifest.get("apiVersion")?.as_str()?;
    let kind = manifest.get("kind")?.as_str()?;
    find(api_version, kind).map(|kind| kind.scope).or_else(|| {
        declared.iter().find(|declared| declared.api_version == api_version && declared.kind == kind).map(|declared| declared.scope)
    })
}

/// Returns the kind of an object, if it is in the built-in table.
#[must_use]
pub fn kind_of(manifest: &Value) -> Option<&'static Kind> {
    find(manifest.get("apiVersion")?.as_str()?, manifest.get("kind")?.as_str()?)
}

/// Lists patterns of pointers where secrets may stand.
#[must_use]
pub fn secret_sinks(manifest: &Value) -> Vec<&'static str> {
    match manifest.get("kind").and_then(Value::as_str) {
        Some("Secret") if manifest.get("apiVersion").and_then(Value::as_str) == Some("v1") => vec!["/data/*", "/stringData/*"],
        _ => Vec::new(),
    }
}

/// Lists patterns of pointers where nothing sealed may stand.
#[must_use]
pub fn open_only() -> Vec<&'static str> {
    vec![
        "/apiVersion",
        "/kind",
        "/type",
        "/metadata/name",
        "/metadata/namespace",
        "/metadata/labels/**",
        "/spec/selector/**",
        "/spec/template/metadata/labels/**",
        "/spec/template/metadata/name",
        "/spec/template/spec/containers/*/name",
        "/spec/template/spec/initContainers/*/name",
        "/spec/jobTemplate/spec/template/metadata/labels/**",
        "/spec/topologySpreadConstraints/**",
    ]
}

/// Tells whether losing an object loses data.
#[must_use]
pub fn holds_data(manifest: &Value) -> bool {
    match manifest.get("kind").and_then(Value::as_str) {
        Some("PersistentVolumeClaim" | "PersistentVolume") => true,
        Some("StatefulSet") => {
            pointer::find(manifest, "/spec/volumeClaimTemplates").and_then(Value::as_array).is_some_and(|templates| !templates.is_empty())
        }
        _ => false,
    }
}

/// Orders objects that don't depend on each other: lower ranks come first, and are deleted last.
#[must_use]
pub fn rank(manifest: &Value) -> u16 {
    kind_of(manifest).map_or(RANK_OTHER, |kind| kind.rank)
}

/// The rank of kinds that are not in the table: after everything that they could need, before routes.
pub const RANK_OTHER: u16 = 60;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn identity_and_form() {
        let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "status": {}, "spec": null});
        let normal = normalise(manifest, Some("shop-dev"), &[]);
        assert_eq!(normal, json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop-dev"}}));
        assert_eq!(identity(&normal), "apps/Deployment/shop-dev/web");
        let namespace = normalise(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}), Some("shop-dev"), &[]);
        assert_eq!(identity(&namespace), "/Namespace//x");
    }
}
