//! Resource drivers: a request comes, outputs go, actions are staged beside.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::diagnostic::{self, Diagnostic, Diagnostics};

/// Where the decision applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The application.
    pub application: String,
    /// The environment.
    pub environment: String,
    /// Its type.
    pub environment_type: String,
    /// The Kubernetes namespace; absent only for the resource that makes it.
    pub namespace: Option<String>,
}

impl Context {
    /// Returns the namespace, or says that there is none.
    pub fn namespace(&self) -> Result<&str, Diagnostics> {
        self.namespace
            .as_deref()
            .ok_or_else(|| Diagnostic::error("no-namespace", "this driver needs a namespace and can't make one itself").into())
    }
}

/// The address of a resource: `type.class#id`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceKey {
    /// The resource type.
    pub r#type: String,
    /// The class.
    pub class: String,
    /// The id.
    pub id: String,
}

/// What is to be decided.
#[derive(Clone, Debug)]
pub struct Request<P, I> {
    /// Where.
    pub context: Context,
    /// Which resource.
    pub key: ResourceKey,
    /// The workloads that name it, sorted.
    pub workloads: Vec<String>,
    /// What it is asked for.
    pub params: P,
    /// What the definition gives.
    pub inputs: I,
}

/// What was decided.
#[derive(Clone, Debug)]
pub struct Answer<O> {
    /// The outputs.
    pub outputs: O,
    /// What somebody should look at.
    pub warnings: Vec<Diagnostic>,
}

impl<O> Answer<O> {
    /// Answers without warnings.
    pub fn new(outputs: O) -> Self {
        Self { outputs, warnings: Vec::new() }
    }

    /// Adds a warning.
    #[must_use]
    pub fn warn(mut self, warning: Diagnostic) -> Self {
        self.warnings.push(warning);
        self
    }
}

/// No params, no inputs or no outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// A driver that makes a resource.
pub trait ResourceDefinition {
    /// One sentence: what it makes.
    const SUMMARY: &'static str;
    /// What a resource may be asked for.
    type Params: DeserializeOwned + JsonSchema;
    /// What a definition may give.
    type Inputs: DeserializeOwned + JsonSchema;
    /// What it yields.
    type Outputs: Serialize + JsonSchema;

    /// Decides about one resource.
    fn define(request: Request<Self::Params, Self::Inputs>) -> Result<Answer<Self::Outputs>, Diagnostics>;
}

/// What a driver says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// One sentence.
    pub summary: String,
    /// JSON Schema.
    pub inputs_schema: String,
    /// JSON Schema.
    pub params_schema: String,
    /// JSON Schema.
    pub outputs_schema: String,
}

/// Writes the JSON Schema of a type.
pub fn schema_of<T: JsonSchema>() -> String {
    schemars::schema_for!(T).to_value().to_string()
}

/// Describes a driver by its types.
pub fn describe<D: ResourceDefinition>() -> Description {
    Description {
        summary: D::SUMMARY.to_owned(),
        inputs_schema: schema_of::<D::Inputs>(),
        params_schema: schema_of::<D::Params>(),
        outputs_schema: schema_of::<D::Outputs>(),
    }
}

/// Calls a driver with JSON.
pub fn define<D: ResourceDefinition>(
    context: Context,
    key: ResourceKey,
    workloads: Vec<String>,
    params: &str,
    inputs: &str,
) -> Result<(String, Vec<Diagnostic>), Diagnostics> {
    let params = diagnostic::read("params", params)?;
    let inputs = diagnostic::read("inputs", inputs)?;
    let answer = D::define(Request { context, key, workloads, params, inputs })?;
    Ok((diagnostic::write(&answer.outputs)?, answer.warnings))
}
