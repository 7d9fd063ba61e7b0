//! What is still inside a namespace: it goes only if nothing is that somebody could miss.

use std::time::Instant;

use serde_json::Value;
use windlass_engine::session::{CapabilityError, Owner};

use crate::{
    api::Api,
    marks::{ANNOTATION_MARK, annotation},
    resource::{Discovery, Resource},
    session::{METADATA_LIST, each, items},
};

/// Kinds that the cluster itself makes and removes.
const OWN_KINDS: [&str; 5] = ["Event", "Endpoints", "EndpointSlice", "Lease", "ControllerRevision"];
/// Groups that show other objects once more.
const VIEWS: [&str; 2] = ["metrics.k8s.io", "custom.metrics.k8s.io"];

/// Says what in a namespace is retained by us or belongs to others; nothing if it may go.
pub(crate) async fn what_stays(
    api: &Api,
    discovery: &Discovery,
    namespace: &str,
    owner: &Owner,
    until: Instant,
) -> Result<Option<String>, CapabilityError> {
    let kinds: Vec<Resource> = discovery.all(api, until).await?.into_iter().filter(is_looked_at).collect();
    let found = each(kinds.iter().map(|kind| first_of(api, kind, namespace, owner, until))).await;
    let mut stays: Vec<String> = found.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    stays.sort();
    Ok(stays.into_iter().next())
}

fn is_looked_at(kind: &Resource) -> bool {
    kind.is_namespaced && !OWN_KINDS.contains(&kind.kind.as_str()) && !VIEWS.contains(&kind.group())
}

async fn first_of(api: &Api, kind: &Resource, namespace: &str, owner: &Owner, until: Instant) -> Result<Option<String>, CapabilityError> {
    let list = match api.list(&format!("{}?limit=500", kind.path(namespace)), METADATA_LIST, until).await {
        Ok(list) => list,
        // What we may not see, or is not served now, might be somebody's: the namespace stays.
        Err(failure) if [403, 404, 405].iter().any(|code| failure.is_code(*code)) => {
            return Ok(Some(format!("{} that can't be listed", kind.plural)));
        }
        Err(failure) => return Err(failure.into()),
    };
    let owner = owner.to_string();
    Ok(items(&list).find_map(|item| {
        let metadata = item.get("metadata")?;
        let name = metadata.get("name").and_then(Value::as_str)?;
        let made_by_cluster = matches!((kind.kind.as_str(), name), ("ServiceAccount", "default") | ("ConfigMap", "kube-root-ca.crt"));
        // What belongs to another object goes with it; what is going away is gone.
        let goes_by_itself = metadata.get("ownerReferences").is_some() || metadata.get("deletionTimestamp").is_some();
        if made_by_cluster || goes_by_itself {
            return None;
        }
        let whose = if annotation(metadata, ANNOTATION_MARK) == Some(owner.as_str()) { "retained" } else { "not ours" };
        Some(format!("{} `{name}`, which is {whose}", kind.kind))
    }))
}
