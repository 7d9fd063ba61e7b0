//! Where objects are: kinds and their paths, from the table or from the server's own list.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

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

    /// Tells whether the server says that the object does not exist.
    pub(crate) fn is_absent(&self, failure: &Failure) -> bool {
        failure.is_absence_of(&self.resource.plural, &self.name)
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

    /// Lists every kind that can be listed: one version of each, the preferred one where it has the kind.
    pub(crate) async fn all(&self, api: &Api, until: Instant) -> Result<Vec<Resource>, CapabilityError> {
        let groups = groups(api, until).await?;
        if groups.len() > limits::CLUSTER_GROUPS_MAX {
            return Err(CapabilityError::new(Kind::Failed, format!("the cluster serves more than {} groups", limits::CLUSTER_GROUPS_MAX)));
        }
        let mut all: Vec<Resource> = Vec::new();
        for versions in std::iter::once(vec!["v1".to_owned()]).chain(groups.into_values()) {
            let mut of_group: Vec<Resource> = Vec::new();
            for version in versions {
                match self.served(api, &version, until).await {
                    Ok(served) => {
                        let is_new = |resource: &&Resource| !of_group.iter().any(|known| known.kind == resource.kind);
                        let new: Vec<Resource> = served.iter().filter(is_new).cloned().collect();
                        of_group.extend(new);
                    }
                    // The version went since the groups were listed.
                    Err(error) if error.kind == Kind::Invalid => {}
                    // A group whose own server is down can't be asked now.
                    Err(error) => return Err(error),
                }
            }
            all.extend(of_group);
        }
        Ok(all)
    }

    /// Finds out what became of a kind that is not served where it was.
    pub(crate) async fn whereabouts(&self, api: &Api, resource: &Resource, until: Instant) -> Result<Whereabouts, CapabilityError> {
        let group = resource.group();
        let versions = groups(api, until).await?.remove(group).unwrap_or_default();
        for version in versions.iter().filter(|version| **version != resource.api_version) {
            let served = match self.served(api, version, until).await {
                Ok(served) => served,
                Err(error) if error.kind == Kind::Invalid => continue,
                Err(error) => return Err(error),
            };
            let same = |other: &&Resource| other.kind == resource.kind && other.is_namespaced == resource.is_namespaced;
            if let Some(found) = served.iter().find(same) {
                return Ok(Whereabouts::Served(found.clone()));
            }
        }
        if is_native(group) {
            return Ok(Whereabouts::Unserved);
        }
        // A definition takes all objects with it when it goes; one that is there may serve no version.
        let name = format!("{}.{group}", resource.plural);
        match api.get(&format!("/apis/apiextensions.k8s.io/v1/{DEFINITIONS}/{name}"), until).await {
            Err(failure) if failure.is_absence_of(DEFINITIONS, &name) => Ok(Whereabouts::Gone),
            Ok(_) => Ok(Whereabouts::Unserved),
            Err(failure) if failure.is_code(403) || failure.is_code(404) => Ok(Whereabouts::Unserved),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// The plural of CustomResourceDefinitions.
const DEFINITIONS: &str = "customresourcedefinitions";

/// What became of a kind that is not served in the version that was known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// Another version is served: of the same objects.
    Served(Resource),
    /// Its definition is gone, and with it all objects.
    Gone,
    /// No version is served; objects may be stored all the same.
    Unserved,
}

/// Tells whether a group belongs to Kubernetes itself: its objects stay stored when a version is no longer served.
fn is_native(group: &str) -> bool {
    const NATIVE: [&str; 17] = [
        "admissionregistration",
        "apiextensions",
        "apiregistration",
        "authentication",
        "authorization",
        "certificates",
        "coordination",
        "discovery",
        "events",
        "flowcontrol.apiserver",
        "networking",
        "node",
        "rbac.authorization",
        "resource",
        "scheduling",
        "storage",
        "storagemigration",
    ];
    !group.contains('.') || group.strip_suffix(".k8s.io").is_some_and(|group| NATIVE.contains(&group))
}

/// Lists the groups with their versions, the preferred one first.
async fn groups(api: &Api, until: Instant) -> Result<BTreeMap<String, Vec<String>>, CapabilityError> {
    let list = api.list("/apis", JSON, until).await.map_err(CapabilityError::from)?;
    let Some(groups) = list.get("groups").and_then(Value::as_array) else {
        return Err(CapabilityError::new(Kind::Failed, "the API server lists no groups").hint("is its address that of an API server?"));
    };
    let read = |group: &Value| {
        let name = group.get("name")?.as_str()?.to_owned();
        let preferred = group.pointer("/preferredVersion/groupVersion").and_then(Value::as_str);
        let others = group.get("versions").and_then(Value::as_array).into_iter().flatten();
        let others = others.filter_map(|version| version.get("groupVersion")?.as_str()).filter(|version| Some(*version) != preferred);
        let versions = preferred.into_iter().chain(others).filter(|version| is_name(version, &['.', '-', '/']));
        Some((name, versions.take(limits::CLUSTER_GROUPS_MAX).map(str::to_owned).collect()))
    };
    Ok(groups.iter().filter_map(read).take(limits::CLUSTER_GROUPS_MAX + 1).collect())
}

/// Says that a kind can't be looked at.
pub(crate) fn unserved(resource: &Resource) -> CapabilityError {
    let Resource { api_version, kind, .. } = resource;
    CapabilityError::new(
        Kind::Unavailable,
        format!("`{api_version}/{kind}` can't be looked at: the cluster serves no version of it, and its objects may still exist"),
    )
    .hint("let the cluster serve the kind again, or delete its CustomResourceDefinition and all objects with it")
}

/// Says that a version is served no longer, and which one is.
pub(crate) fn moved(resource: &Resource, served: &Resource) -> CapabilityError {
    let Resource { api_version, kind, .. } = resource;
    CapabilityError::new(Kind::Invalid, format!("the cluster does not serve `{api_version}/{kind}`"))
        .hint(format!("it serves `{}`: write that as `apiVersion`", served.api_version))
}

pub(crate) fn unknown(api_version: &str, kind: &str) -> CapabilityError {
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
