//! What the platform team writes: definitions, profiles, types, connections.

mod connection;
mod grant;
mod layer;
mod permission;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    digest::Digest,
    key::ResourceKey,
    name::{ApplicationName, ClassName, DocumentName, EnvironmentName, EnvironmentTypeName, ResourceId, ResourceTypeName, WorkloadName},
};

pub use connection::*;
pub use grant::*;
pub use layer::*;
pub use permission::*;

/// The API version of platform documents and of the Application document.
pub const API_VERSION: &str = "windlass.dev/v1alpha1";

/// One value or several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several; any of them.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// Returns all values.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// Name and free annotations of a platform document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Unique among the documents of its kind.
    pub name: DocumentName,
    /// For people and tools; without effect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Where a definition, profile or connection applies. All given fields must fit; an empty rule fits everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchRule {
    /// Applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<OneOrMany<ApplicationName>>,
    /// Environments by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<OneOrMany<EnvironmentName>>,
    /// Environment types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_type: Option<OneOrMany<EnvironmentTypeName>>,
    /// Resource ids as in `type.class#id`; for definitions only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<OneOrMany<ResourceId>>,
    /// Workloads; for profiles only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<OneOrMany<WorkloadName>>,
}

/// Names a component. Always recorded by digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum DriverReference {
    /// A first-party component that the binary embeds.
    Builtin(String),
    /// A file beside the document.
    File(String),
    /// A component that the store holds already.
    Digest(Digest),
}

/// What happens to a node's actions when nothing needs them any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnRemove {
    /// They are deleted; data only with `--allow-destroy`, unless the environment type allows its loss.
    Delete,
    /// They stay where they are and are attached again when the resource returns.
    Retain,
}

/// Needs another resource: an edge from the definition's node to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Need {
    /// The resource type.
    pub r#type: ResourceTypeName,
    /// The class, `default` if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ClassName>,
    /// Shared under this id; private to the node without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ResourceId>,
    /// What it is asked for; placeholders act in the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
}

/// A reverse query: the outputs of all nodes of a type that stand in a relation to this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Collect {
    /// The type of the nodes.
    pub r#type: ResourceTypeName,
    /// Only this class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ClassName>,
    /// Every node of the type that uses the node behind this alias of `resources`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub using: Option<String>,
    /// `consumers`: every node of the type that is used by something that uses this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<UsedBy>,
}

/// The users that a reverse query starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UsedBy {
    /// Whatever uses this node.
    Consumers,
}

/// Tells how a resource type is made in the environments that it matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceDefinitionSpec {
    /// The resource type that it makes.
    pub r#type: ResourceTypeName,
    /// The classes that it makes, `default` if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<OneOrMany<ClassName>>,
    /// The component that decides.
    pub driver: DriverReference,
    /// Where it applies: any of these rules; everywhere if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub r#match: Vec<MatchRule>,
    /// What the driver gets; placeholders act in the values.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub inputs: Map<String, Value>,
    /// Resources that it needs, usable in inputs as `${resources.ALIAS.OUTPUT}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, Need>,
    /// Resources made beside it; `${outputs.NAME}` in their params is an output of this one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provisions: BTreeMap<String, Need>,
    /// Reverse queries, usable in inputs as `${collect.ALIAS}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub collect: BTreeMap<String, Collect>,
    /// What the driver may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// What happens when nothing needs the resource any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_remove: Option<OnRemove>,
}

impl ResourceDefinitionSpec {
    /// Returns the classes that it makes.
    #[must_use]
    pub fn classes(&self) -> Vec<ClassName> {
        self.class.as_ref().map_or_else(|| vec![ClassName::default_class()], |classes| classes.as_slice().to_vec())
    }
}

/// One driver of a workload pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stage {
    /// Unique in its pipeline.
    pub name: DocumentName,
    /// The component that renders.
    pub driver: DriverReference,
    /// What the driver gets; placeholders act in the values.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub inputs: Map<String, Value>,
    /// What the driver may use, and which kinds it may render beyond those that workloads always may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
}

/// Turns workloads into manifests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadProfileSpec {
    /// A profile whose stages come before these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<DocumentName>,
    /// Where it applies: any of these rules; everywhere if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub r#match: Vec<MatchRule>,
    /// The pipeline, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
}

/// What happens to data in environments of a type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DataLoss {
    /// Deleting or replacing data needs `--allow-destroy`.
    #[default]
    Refuse,
    /// Data may go: for environments that hold nothing worth keeping.
    Allow,
}

/// A level of the Kubernetes Pod Security standards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// Known escapes are refused; images may run as root.
    #[default]
    Baseline,
    /// Pods run as a user other than root, without capabilities.
    Restricted,
}

impl PodSecurity {
    /// Returns the level as Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// A kind of environment and its rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvironmentTypeSpec {
    /// Plans that destroy data are refused without `--allow-destroy`, whatever definitions say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// Whether data may be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_loss: Option<DataLoss>,
    /// The Pod Security level of its pods, `baseline` if nothing is said: definitions and profiles read it as `${context.podSecurity}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PodSecurity>,
    /// Stages appended to every workload's pipeline; no profile can remove them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workload_stages: Vec<Stage>,
}

/// The contract of a resource type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceTypeSpec {
    /// What the type is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema 2020-12 of the params.
    #[serde(default)]
    #[schemars(with = "Map<String, Value>")]
    pub params: Value,
    /// JSON Schema 2020-12 of the outputs; `x-windlass-secret: true` marks secret ones.
    #[serde(default)]
    #[schemars(with = "Map<String, Value>")]
    pub outputs: Value,
}

macro_rules! documents {
    ($($(#[$doc:meta])* $type:ident($spec:ty) = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $type {
            /// `windlass.dev/v1alpha1`.
            #[schemars(regex(pattern = r"^windlass\.dev/v1alpha1$"))]
            pub api_version: String,
            #[doc = concat!("`", $kind, "`.")]
            #[schemars(regex(pattern = $kind))]
            pub kind: String,
            /// Its name.
            pub metadata: Metadata,
            /// What it says.
            pub spec: $spec,
        }

        impl $type {
            /// The document kind.
            pub const KIND: &'static str = $kind;

            /// Returns the name.
            #[must_use]
            pub fn name(&self) -> &DocumentName {
                &self.metadata.name
            }
        }
    )*};
}

documents! {
    /// How a resource type is made where it matches.
    ResourceDefinition(ResourceDefinitionSpec) = "ResourceDefinition";
    /// How workloads become manifests where it matches.
    WorkloadProfile(WorkloadProfileSpec) = "WorkloadProfile";
    /// A kind of environment.
    EnvironmentType(EnvironmentTypeSpec) = "EnvironmentType";
    /// Access to a real system.
    Connection(ConnectionSpec) = "Connection";
    /// The contract of a resource type.
    ResourceType(ResourceTypeSpec) = "ResourceType";
}

/// All documents of one layer, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Platform {
    /// Definitions.
    #[serde(default)]
    pub definitions: BTreeMap<DocumentName, ResourceDefinition>,
    /// Profiles.
    #[serde(default)]
    pub profiles: BTreeMap<DocumentName, WorkloadProfile>,
    /// Environment types.
    #[serde(default)]
    pub environment_types: BTreeMap<DocumentName, EnvironmentType>,
    /// Connections.
    #[serde(default)]
    pub connections: BTreeMap<DocumentName, Connection>,
    /// Resource types.
    #[serde(default)]
    pub resource_types: BTreeMap<DocumentName, ResourceType>,
    /// The components that `driver` fields name: `builtin:NAME` or `file:PATH` to digest.
    #[serde(default)]
    pub components: BTreeMap<String, Digest>,
}

impl DriverReference {
    /// Returns the key under which a platform's `components` holds the digest.
    #[must_use]
    pub fn component_key(&self) -> String {
        match self {
            Self::Builtin(name) => format!("builtin:{name}"),
            Self::File(path) => format!("file:{path}"),
            Self::Digest(digest) => digest.to_string(),
        }
    }
}

impl Platform {
    /// Returns the digest of a driver.
    #[must_use]
    pub fn component(&self, driver: &DriverReference) -> Option<Digest> {
        match driver {
            DriverReference::Digest(digest) => Some(*digest),
            DriverReference::Builtin(_) | DriverReference::File(_) => self.components.get(&driver.component_key()).copied(),
        }
    }

    /// Tells whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.definitions.is_empty()
            && self.profiles.is_empty()
            && self.environment_types.is_empty()
            && self.connections.is_empty()
            && self.resource_types.is_empty()
    }
}

/// What a match rule is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchSubject<'a> {
    /// The application.
    pub application: &'a ApplicationName,
    /// The environment.
    pub environment: &'a EnvironmentName,
    /// Its type.
    pub environment_type: &'a EnvironmentTypeName,
    /// The resource, for definitions.
    pub resource: Option<&'a ResourceKey>,
    /// The workload, for profiles.
    pub workload: Option<&'a WorkloadName>,
}
