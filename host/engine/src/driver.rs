//! The port behind which components run.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use windlass_model::{Diagnostic, Digest};

use crate::recorder::Recorder;

/// Runs components. Every call is a fresh instance.
pub trait DriverHost: Send + Sync {
    /// Reads what a component is and asks for, without running it.
    fn inspect(&self, component: &Digest) -> Result<Arc<ComponentInfo>, DriverFault>;
    /// Asks a component for its schemas; once for each digest.
    fn describe(&self, component: &Digest) -> Result<Arc<Description>, DriverFault>;
    /// Calls a driver; what it stages goes to the recorder, which comes back.
    fn call(&self, component: &Digest, request: &DriverRequest, recorder: Recorder) -> (Result<DriverAnswer, CallError>, Recorder);
}

/// What a component is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentInfo {
    /// Which world it implements.
    pub world: World,
    /// The imported interfaces that are privileges, sorted, without versions.
    pub privileges: Vec<String>,
    /// All imported interfaces with their versions.
    pub imports: Vec<String>,
    /// Its size.
    pub bytes: usize,
    /// Where its source is, as the binary says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Which revision of it, as the binary says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// The worlds that a component may implement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// Makes resources.
    ResourceDriver,
    /// Renders workloads.
    WorkloadDriver,
}

/// What a driver says about itself; schemas are JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// One sentence.
    pub summary: String,
    /// JSON Schema of the inputs.
    pub inputs_schema: String,
    /// JSON Schema of the params or of the resolved workload.
    pub params_schema: String,
    /// JSON Schema of the outputs.
    pub outputs_schema: String,
}

/// Where a decision applies, as a driver sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DriverContext {
    /// The application.
    pub application: String,
    /// The environment.
    pub environment: String,
    /// Its type.
    pub environment_type: String,
    /// The namespace.
    pub namespace: Option<String>,
}

/// What a driver is asked; texts are JSON in which tokens stand for sealed values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DriverRequest {
    /// `define`.
    #[serde(rename_all = "camelCase")]
    Define {
        /// Where.
        context: DriverContext,
        /// Type, class, id.
        key: (String, String, String),
        /// The workloads that name it.
        workloads: Vec<String>,
        /// JSON.
        params: String,
        /// JSON.
        inputs: String,
    },
    /// `render`.
    #[serde(rename_all = "camelCase")]
    Render {
        /// Where.
        context: DriverContext,
        /// The workload.
        name: String,
        /// JSON.
        workload: String,
        /// JSON.
        inputs: String,
        /// JSON, one each.
        manifests: Vec<String>,
    },
}

/// What a driver answered, unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverAnswer {
    /// The outputs, or one text for each manifest.
    pub body: Body,
    /// What somebody should look at.
    pub warnings: Vec<Diagnostic>,
}

/// The body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// JSON.
    Outputs(String),
    /// JSON, one each.
    Manifests(Vec<String>),
}

/// Why a call yielded nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The driver refused.
    Refused(Vec<Diagnostic>),
    /// The component misbehaved.
    Fault(DriverFault),
}

/// A component that misbehaved: contained, named, with the limit it met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("driver `{driver}` ({}) {fault}", component.short())]
pub struct DriverFault {
    /// The driver as the platform names it.
    pub driver: String,
    /// Its digest.
    pub component: Digest,
    /// What happened.
    pub fault: Fault,
}

/// What a component did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not to be had.
    #[error("is missing: {0}")]
    Missing(String),
    /// It is no component of ours.
    #[error("can't be loaded: {0}")]
    Load(String),
    /// It implements no world of ours.
    #[error("implements no known world: {0}")]
    World(String),
    /// It asks for something that does not exist or was not granted.
    #[error("imports `{0}`, which is not granted")]
    Import(String),
    /// It met a limit.
    #[error("passed the limit `{limit}` of {value}")]
    Limit {
        /// The limit's name.
        limit: &'static str,
        /// Its value, for people.
        value: String,
    },
    /// It trapped.
    #[error("trapped: {0}")]
    Trap(String),
    /// Its answer is no answer.
    #[error("gave an invalid answer: {0}")]
    Answer(String),
}

impl Fault {
    /// Returns a stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "driver-missing",
            Self::Load(_) => "driver-load",
            Self::World(_) => "driver-world",
            Self::Import(_) => "driver-import",
            Self::Limit { .. } => "driver-limit",
            Self::Trap(_) => "driver-trap",
            Self::Answer(_) => "driver-answer",
        }
    }
}

impl From<DriverFault> for Diagnostic {
    fn from(fault: DriverFault) -> Self {
        Self::error(fault.fault.code(), fault.to_string())
    }
}

/// Finds components by digest.
pub trait ComponentSource: Send + Sync {
    /// Returns a component's bytes; they are checked against the digest by whoever asks.
    fn bytes(&self, component: &Digest) -> Option<Bytes>;
    /// Returns the name under which people know a component.
    fn name(&self, component: &Digest) -> Option<String>;
}
