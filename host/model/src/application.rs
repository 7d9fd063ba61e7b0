//! What developers write: the Application document and the closed model made of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    canonical::CanonicalError,
    digest::Digest,
    name::{ApplicationName, ResourceId, WorkloadName},
    platform::{MatchRule, Metadata},
    score::Workload,
};

/// An application: which workloads, which shared resources, and how it varies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Application {
    /// `windlass.dev/v1alpha1`.
    #[schemars(regex(pattern = r"^windlass\.dev/v1alpha1$"))]
    pub api_version: String,
    /// `Application`.
    #[schemars(regex(pattern = "Application"))]
    pub kind: String,
    /// Its name.
    pub metadata: Metadata,
    /// What it says.
    pub spec: ApplicationSpec,
}

/// What an application consists of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplicationSpec {
    /// How it varies between environments; all matching entries apply, later ones win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<Variation>,
    /// Resources of the whole application, by id. They stay while they are declared.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<ResourceId, SharedResource>,
    /// Score files relative to this document, `*` allowed in file names; all `*.score.yaml` and `score.yaml` beside it if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<Vec<String>>,
}

/// A resource of the whole application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SharedResource {
    /// The class, `default` if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<crate::name::ClassName>,
    /// What it is asked for; placeholders act in the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    /// The resource type.
    pub r#type: crate::name::ResourceTypeName,
}

/// What is different in some environments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Variation {
    /// The environments: by name or by type.
    #[serde(default)]
    pub r#match: MatchRule,
    /// Changes to Score documents, by workload: maps are merged, lists replaced, `null` deletes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<WorkloadName, Map<String, Value>>,
    /// Values that workloads read through a resource of type `environment`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub values: Map<String, Value>,
    /// Workloads switched on or off.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub workloads: BTreeMap<WorkloadName, WorkloadSwitch>,
}

/// Switches a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSwitch {
    /// `false` leaves it out.
    pub enabled: bool,
}

/// The closed, content-addressed application: nothing in it refers to a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Model {
    /// The application.
    pub application: ApplicationName,
    /// Whether it names all workloads of the application; a single Score file does not.
    pub complete: bool,
    /// How it varies.
    #[serde(default)]
    pub environments: Vec<Variation>,
    /// Its shared resources.
    #[serde(default)]
    pub resources: BTreeMap<ResourceId, SharedResource>,
    /// Its workloads.
    pub workloads: BTreeMap<WorkloadName, WorkloadModel>,
}

/// One workload of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadModel {
    /// Images by container, given by `--image`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// The Score document, its files' contents inside.
    pub score: Workload,
}

impl Model {
    /// Returns the digest of the canonical model.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        Digest::of(self)
    }
}

impl Model {
    /// Lays a model of single workloads over the deployed one: what it does not name stays.
    #[must_use]
    pub fn over(mut self, deployed: Self) -> Self {
        if self.complete || self.application != deployed.application {
            return self;
        }
        let mut whole = deployed;
        whole.workloads.append(&mut self.workloads);
        whole
    }
}

/// Where the documents of a model or platform were read: kept beside a plan, never in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Provenance(pub BTreeMap<String, SourceFile>);

/// A document's file and the lines of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceFile {
    /// JSON Pointer → line, counted from 1.
    #[serde(default)]
    pub lines: BTreeMap<String, u32>,
    /// The path as the user gave it.
    pub path: String,
}

impl SourceFile {
    /// Returns `path:line` of a field, or of the nearest field around it.
    #[must_use]
    pub fn locate(&self, pointer: &str) -> String {
        let mut at = pointer;
        loop {
            if let Some(line) = self.lines.get(at) {
                return format!("{}:{line}", self.path);
            }
            match at.rfind('/') {
                Some(cut) => at = at.get(..cut).unwrap_or(""),
                None => return self.path.clone(),
            }
        }
    }
}
