//! Workload drivers: stages of a pipeline that turn a workload into manifests.
//!
//! The types here are the *resolved* workload: a Score document whose placeholders were replaced by
//! values or sealed tokens. Its schema is published by the host; it is not Score's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    diagnostic::{self, Diagnostic, Diagnostics},
    resource::{Context, Description, schema_of},
    sealed::{Sealable, SealableJson},
};

/// A workload with its placeholders resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// `score.dev/v1b1`.
    pub api_version: String,
    /// Name and annotations.
    pub metadata: Metadata,
    /// What other workloads may reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// The containers by name.
    pub containers: BTreeMap<String, Container>,
    /// The addresses of its resources by alias: `type.class#id`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, String>,
}

/// Describes a workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The workload's name.
    pub name: String,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Further fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The network service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// Ports by name.
    #[serde(default)]
    pub ports: BTreeMap<String, Port>,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The port that others connect to.
    pub port: u16,
    /// `TCP` or `UDP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The container's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
}

impl Port {
    /// The container's port: the same if nothing else is said.
    #[must_use]
    pub fn target(&self) -> u16 {
        self.target_port.unwrap_or(self.port)
    }

    /// `TCP` if nothing else is said.
    #[must_use]
    pub fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or("TCP")
    }
}

/// One container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// The image.
    pub image: String,
    /// Replaces the entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Replaces the arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Environment variables.
    #[serde(default)]
    pub variables: BTreeMap<String, Sealable>,
    /// Containers that must be that far before this one starts.
    #[serde(default)]
    pub before: BTreeMap<String, Before>,
    /// Files by target path.
    #[serde(default)]
    pub files: BTreeMap<String, File>,
    /// Volumes by target path.
    #[serde(default)]
    pub volumes: BTreeMap<String, Volume>,
    /// Compute resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Value>,
    /// Restarted when it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// Gets traffic only while it succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
}

/// How far another container must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Before {
    /// `started`, `healthy` or `complete`.
    pub ready: Ready,
}

/// States of a container that another waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// Its process runs.
    Started,
    /// Its readiness probe succeeds.
    Healthy,
    /// It has ended without error.
    Complete,
}

/// A file: text or bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// Octal permissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Sealable>,
    /// Bytes in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_content: Option<String>,
    /// Kept from the document; placeholders are resolved already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_expand: Option<bool>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// A Kubernetes volume source, or `{"claimSpec": …}` for a claim of each pod; text where the document names no resource.
    pub source: SealableJson,
    /// The output that the source is: `volume.default#web.data/source`. Mounts of one output share a volume, others never do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// A path inside the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Mounted without write access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// A probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// An HTTP request, in the words of Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<Value>,
    /// A command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Value>,
}

/// What is to be rendered.
#[derive(Clone, Debug)]
pub struct RenderRequest<I> {
    /// Where.
    pub context: Context,
    /// The workload's name.
    pub name: String,
    /// The workload.
    pub workload: Workload,
    /// What the stage gives.
    pub inputs: I,
    /// What the stages before returned.
    pub manifests: Vec<Value>,
}

/// What was rendered.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// All manifests of the workload.
    pub manifests: Vec<Value>,
    /// What somebody should look at.
    pub warnings: Vec<Diagnostic>,
}

/// Returns where a manifest holds the template of its pods, as a JSON pointer; nothing if it makes no pods.
pub fn pod_template(manifest: &Value) -> Option<&'static str> {
    ["/spec/template", "/spec/jobTemplate/spec/template"].into_iter().find(|at| manifest.pointer(at).is_some())
}

/// Adds entries to the map at a JSON pointer, where nobody wrote the same key; the map is made if it is not there, what is
/// around it is not.
pub fn add_missing(manifest: &mut Value, at: &str, entries: &Map<String, Value>) {
    let Some((around, field)) = at.rsplit_once('/') else { return };
    if !entries.is_empty()
        && let Some(Value::Object(outer)) = manifest.pointer_mut(around)
        && let Value::Object(known) = outer.entry(field).or_insert_with(|| Value::Object(Map::new()))
    {
        for (key, value) in entries {
            known.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}

impl From<Vec<Value>> for Manifests {
    fn from(manifests: Vec<Value>) -> Self {
        Self { manifests, warnings: Vec::new() }
    }
}

/// A driver that renders workloads.
pub trait WorkloadProfile {
    /// One sentence: what it makes.
    const SUMMARY: &'static str;
    /// What a stage may give.
    type Inputs: DeserializeOwned + JsonSchema;

    /// Renders one workload.
    fn render(request: RenderRequest<Self::Inputs>) -> Result<Manifests, Diagnostics>;
}

/// Describes a driver by its types.
pub fn describe<D: WorkloadProfile>() -> Description {
    Description {
        summary: D::SUMMARY.to_owned(),
        inputs_schema: schema_of::<D::Inputs>(),
        params_schema: schema_of::<Workload>(),
        outputs_schema: r#"{"type":"object","required":["apiVersion","kind","metadata"]}"#.to_owned(),
    }
}

/// Calls a driver with JSON.
pub fn render<D: WorkloadProfile>(
    context: Context,
    name: String,
    workload: &str,
    inputs: &str,
    manifests: &[String],
) -> Result<(Vec<String>, Vec<Diagnostic>), Diagnostics> {
    let workload = diagnostic::read("workload", workload)?;
    let inputs = diagnostic::read("inputs", inputs)?;
    let manifests = manifests.iter().map(|manifest| diagnostic::read("manifests", manifest)).collect::<Result<_, _>>()?;
    let answer = D::render(RenderRequest { context, name, workload, inputs, manifests })?;
    let manifests = answer.manifests.iter().map(diagnostic::write).collect::<Result<_, _>>()?;
    Ok((manifests, answer.warnings))
}
