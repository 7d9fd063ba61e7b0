//! Any resource type from a module of OpenTofu or Terraform: variables from inputs, outputs by mapping, no code.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use windlass_sdk::{
    prelude::*,
    terraform::{Module, ModuleSpec, OutputSpec},
};

/// What a definition may give.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The module's files by relative path; `{ $folder: PATH }` brings a folder beside the document, `$git` one of a repository, `$oci` one of a registry.
    pub module: BTreeMap<String, String>,
    /// Values of its variables.
    #[serde(default)]
    pub variables: BTreeMap<String, SealableJson>,
    /// Params of the resource that become variables, by the variable's name.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Outputs of the resource by name: from which outputs of the module they come.
    #[serde(default)]
    pub outputs: BTreeMap<String, Output>,
    /// Outputs of the resource that are known beforehand.
    #[serde(default)]
    pub values: Map<String, Value>,
    /// Losing what it makes loses data; it does, if nothing is said.
    #[serde(default)]
    pub holds_data: Option<bool>,
}

/// Where an output of the resource comes from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The module's output.
    pub output: String,
    /// It is a secret.
    #[serde(default)]
    pub sensitive: bool,
}

/// Any outputs: the resource type decides what they are.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Outputs(Map<String, Value>);

impl JsonSchema for Outputs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Outputs".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "x-windlass-sealed": true })
    }
}

/// The driver.
#[derive(Debug)]
pub struct TerraformModule;

impl ResourceDefinition for TerraformModule {
    const SUMMARY: &'static str = "any resource type from a module of OpenTofu or Terraform";
    type Params = SealableJson;
    type Inputs = Inputs;
    type Outputs = Outputs;

    fn define(request: Request<SealableJson, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
        let Request { params, inputs, .. } = request;
        let mut variables = inputs.variables;
        for (variable, param) in &inputs.params {
            // A param that the resource does not give leaves the module's own default.
            if let Some(value) = params.0.get(param) {
                variables.insert(variable.clone(), SealableJson(value.clone()));
            }
        }
        let module = Module::new(
            "module",
            &ModuleSpec {
                files: inputs.module,
                variables,
                outputs: inputs
                    .outputs
                    .values()
                    .map(|output| (output.output.clone(), OutputSpec { sensitive: output.sensitive }))
                    .collect(),
                holds_data: inputs.holds_data,
            },
        );
        let mut outputs = inputs.values;
        for (name, output) in &inputs.outputs {
            outputs.insert(name.clone(), Value::String(module.output(&output.output).to_string()));
        }
        Ok(Answer::new(Outputs(outputs)))
    }
}

windlass_sdk::export_resource!(TerraformModule);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn stages_a_module_and_maps_its_outputs() {
        insta::assert_json_snapshot!(define::<TerraformModule>(json!({
            "key": { "type": "s3", "id": "web.files" },
            "params": { "versioned": true },
            "inputs": {
                "module": { "main.tf": "variable \"name\" {}" },
                "variables": { "name": "shop-files", "token": { "$secret": "env.TOKEN" } },
                "params": { "versioning": "versioned", "retention": "days" },
                "outputs": { "bucket": { "output": "bucket_name" }, "secret_key": { "output": "secret", "sensitive": true } },
                "values": { "region": "eu-central-1" },
            },
        })));
    }
}
