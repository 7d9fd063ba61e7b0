//! What is staged; the published schema is made of these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// A module with its variables.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ModuleSpec {
    /// Its files by relative path: at least one `*.tf` or `*.tf.json`. They are the module's version: the plan holds them whole.
    pub files: BTreeMap<String, String>,
    /// Values of its variables.
    #[serde(default)]
    #[schemars(extend("x-windlass-sealed" = true))]
    pub variables: BTreeMap<String, Value>,
    /// The outputs that are read.
    #[serde(default)]
    pub outputs: BTreeMap<String, OutputSpec>,
    /// Losing what it makes loses data; `true` if nothing is said.
    #[serde(default)]
    pub holds_data: Option<bool>,
    /// The variables that hold secrets; found out by the host.
    #[serde(default)]
    #[schemars(skip)]
    pub sensitive: Vec<String>,
    /// It may run programs of its own choice: the definition's grant says so; put in by the host.
    #[serde(default)]
    #[schemars(skip)]
    pub execute: bool,
    /// Its outputs and messages may be shown though it took secrets: the definition's grant says so; put in by the host.
    #[serde(default)]
    #[schemars(skip)]
    pub declassify: bool,
}

impl ModuleSpec {
    /// Returns whether what the program says may be shown: it can hold any value that the module took.
    pub(crate) fn is_open(&self) -> bool {
        self.sensitive.is_empty() || self.declassify
    }
}

/// An output of a module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OutputSpec {
    /// It is a secret.
    #[serde(default)]
    pub sensitive: bool,
}
