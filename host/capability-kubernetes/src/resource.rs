//! Where objects are: kinds and their paths, from the table or from the server's own list.

use std::{collections::HashMap, sync::Arc, time::Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind};
use windlass_model::{limits, platform::Scope};

use crate::api::{Api, Failure};

pub(crate) const JSON: &str = "application/json";

/// A kind as the server serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resource {
    /// `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// `deployments`.
    pub plural: String,
    /// Whether objects live in a namespace.
    pub is_namespaced: bool,
}

/// One object's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Place {
    /// Its kind.
    #[serde(flatten)]
    pub resource: Resource,
    /// Empty for objects of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The root under which a version of an API is served.
fn root(api_version: &str) -> &'static str {
    if api_version.contains('/') { "apis" } else { "api" }
}

impl Resource {
    /// A kind of the core group, which every server serves.
    pub(crate) fn core(kind: &str, plural: &str, is_namespaced: bool) -> Self {
        Self { api_version: "v1".to_owned(), kind: kind.to_owned(), plural: plural.to_owned(), is_namespaced }
    }

    /// Returns the API group; the core group has no name.
    pub(crate) fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// Returns the path of all objects, in a namespace or everywhere.
    pub(crate) fn path(&self, namespace: &str) -> String {
        let Self { api_version, plural, .. } = self;
        let root = root(api_version);
        if self.is_namespaced && !namespace.is_empty() {
            format!("/{root}/{api_version}/namespaces/{namespace}/{plural}")
        } else {
            format!("/{root}/{api_version}/{plural}")
        }
    }
}

impl Place {
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.resource.path(&self.namespace), self.name)
    }

    /// Says what is listed together with it: a kind's objects in its namespace, or one object of the whole cluster.
    pub(crate) fn around(&self) -> &str {
        if self.resource.is_namespaced { &self.namespace } else { &self.name }
    }

    /// Returns the place of a namespace.
    pub(crate) fn of_namespace(name: &str) -> Self {
        Self { resource: Resource::core("Namespace", "namespaces", false), namespace: String::new(), name: name.to_owned() }
    }
}

/// The kinds that a server serves, asked for once.
#[derive(Default)]
pub(crate) struct Discovery {
    versions: Mutex<HashMap<String, Arc<Vec<Resource>>>>,
}

impl Discovery {
    /// Finds the place of a manifest; the server is asked only about kinds outside the table.
    pub(crate) async fn place(&self, api: &Api, manifest: &Value, until: Instant) -> Result<Place, CapabilityError> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let resource = self.resource(api, text("/apiVersion"), text("/kind"), until).await?;
        let namespace = if resource.is_namespaced { text("/metadata/namespace").to_owned() } else { String::new() };
        Ok(Place { resource, namespace, name: text("/metadata/name").to_owned() })
    }

    async fn resource(&self, api: &Api, api_version: &str, kind: &str, until: Instant) -> Result<Resource, CapabilityError> {
        if let Some(known) = windlass_manifest::find(api_version, kind) {
            return Ok(Resource {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                plural: known.plural.to_owned(),
                is_namespaced: known.scope == Scope::Namespaced,
            });
        }
        let served = self.served(api, api_version, until).await?;
        served.iter().find(|resource| resource.kind == kind).cloned().ok_or_else(|| unknown(api_version, kind))
    }

    async fn served(&self, api: &Api, api_version: &str, until: Instant) -> Result<Arc<Vec<Resource>>, CapabilityError> {
        let mut versions = self.versions.lock().await;
        if let Some(known) = versions.get(api_version) {
            return Ok(Arc::clone(known));
        }
        let list = match api.list(&format!("/{}/{api_version}", root(api_version)), JSON, until).await {
            Ok(list) => list,
            Err(failure) if failure.is_code(404) => return Err(unknown(api_version, "")),
            Err(failure) => return Err(failure.into()),
        };
        let resources = Arc::new(resources(&list, api_version));
        versions.insert(api_version.to_owned(), Arc::clone(&resources));
        Ok(resources)
    }

    /// Lists every kind that can be listed: one version of each.
    pub(crate) async fn all(&self, api: &Api, until: Instant) -> Result<Vec<Resource>, CapabilityError> {
        let groups = api.list("/apis", JSON, until).await.map_err(CapabilityError::from)?;
        let preferred = groups
            .get("groups")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|group| group.pointer("/preferredVersion/groupVersion").and_then(Value::as_str))
            .filter(|version| is_name(version, &['.', '-', '/']))
            .map(str::to_owned)
            .take(limits::CLUSTER_GROUPS_MAX + 1)
            .collect::<Vec<_>>();
        if preferred.len() > limits::CLUSTER_GROUPS_MAX {
            return Err(CapabilityError::new(Kind::Failed, format!("the cluster serves more than {} groups", limits::CLUSTER_GROUPS_MAX)));
        }
        let mut all = Vec::new();
        for version in std::iter::once("v1".to_owned()).chain(preferred) {
            match self.served(api, &version, until).await {
                Ok(served) => all.extend(served.iter().cloned()),
                // A group whose own server is down can't be asked now.
                Err(error) if error.kind == Kind::Unavailable => return Err(error),
                Err(_) => {}
            }
        }
        Ok(all)
    }
}

fn unknown(api_version: &str, kind: &str) -> CapabilityError {
    let what = if kind.is_empty() { api_version.to_owned() } else { format!("{api_version}/{kind}") };
    CapabilityError::new(Kind::Invalid, format!("the cluster does not know `{what}`"))
        .hint("install its CustomResourceDefinition, or use a definition that does without it")
}

/// Reads an `APIResourceList`; what can't be listed is left out.
fn resources(list: &Value, api_version: &str) -> Vec<Resource> {
    let entries = list.get("resources").and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let text = |field: &str| entry.get(field).and_then(Value::as_str);
            let verbs = entry.get("verbs").and_then(Value::as_array)?;
            let plural = text("name").filter(|name| is_name(name, &['-']))?;
            let kind = text("kind").filter(|kind| is_name(kind, &[]))?;
            verbs.iter().any(|verb| verb == "list").then_some(())?;
            Some(Resource {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                plural: plural.to_owned(),
                is_namespaced: entry.get("namespaced").and_then(Value::as_bool)?,
            })
        })
        .take(limits::CLUSTER_GROUP_KINDS_MAX)
        .collect()
}

/// Tells whether a text of the server can stand in a path: letters, digits and some more.
fn is_name(text: &str, more: &[char]) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || more.contains(&c);
    !text.is_empty() && text.len() <= limits::OBJECT_NAME_CHARS_MAX && !text.contains("..") && text.chars().all(is_fine)
}

/// Tells whether a failure means that the kind itself is gone, and with it all its objects.
pub(crate) fn is_gone(failure: &Failure) -> bool {
    failure.is_code(404)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(name: &str, kind: &str) -> Value {
        json!({ "name": name, "kind": kind, "namespaced": true, "verbs": ["list"] })
    }

    #[test]
    fn kinds_whose_names_would_lead_elsewhere_are_left_out() {
        let list = json!({ "resources": [
            kind("widgets", "Widget"), kind("widgets/status", "Widget"), kind("../secrets", "Widget"), kind("secrets?x=", "Widget"),
            kind("", "Widget"), kind("gadgets", "Gad/get"), kind("long", &"K".repeat(limits::OBJECT_NAME_CHARS_MAX + 1)),
        ] });
        let names: Vec<String> = resources(&list, "example.com/v1").into_iter().map(|resource| resource.plural).collect();
        assert_eq!(names, ["widgets"]);
    }

    #[test]
    fn kinds_of_a_group_are_bounded() {
        let with = |count: usize| json!({ "resources": (0..count).map(|i| kind(&format!("k{i}"), "K")).collect::<Vec<_>>() });
        for (count, read) in [
            (limits::CLUSTER_GROUP_KINDS_MAX, limits::CLUSTER_GROUP_KINDS_MAX),
            (limits::CLUSTER_GROUP_KINDS_MAX + 1, limits::CLUSTER_GROUP_KINDS_MAX),
        ] {
            assert_eq!(resources(&with(count), "v1").len(), read);
        }
    }
}
