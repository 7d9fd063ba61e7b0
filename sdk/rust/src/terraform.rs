//! Modules of OpenTofu and Terraform: `windlass:terraform/modules`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    handle::{handle, ordered},
    sealed::{Sealable, SealableJson},
};

/// A module with its variables.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModuleSpec {
    /// Its files by relative path: at least one `*.tf` or `*.tf.json`.
    pub files: BTreeMap<String, String>,
    /// Values of its variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, SealableJson>,
    /// The outputs that are read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, OutputSpec>,
    /// Losing what it makes loses data; `true` if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_data: Option<bool>,
}

/// An output of a module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputSpec {
    /// It is a secret.
    #[serde(default)]
    pub sensitive: bool,
}

/// A module.
#[derive(Debug)]
pub struct Module(module::Handle);

impl Module {
    /// Stages a module; `name` is unique among the node's modules.
    pub fn new(name: &str, spec: &ModuleSpec) -> Self {
        Self(module::Handle::new(name, &serde_json::to_string(spec).unwrap_or_default()))
    }

    /// Yields an output that the spec declares.
    pub fn output(&self, name: &str) -> Sealable {
        Sealable::new(self.0.output(name))
    }
}

handle!(
    module,
    "windlass:terraform/modules",
    "module",
    crate::bindings::imports::windlass::terraform::modules::Module,
    [output = "output"(name)]
);
ordered!(Module);
