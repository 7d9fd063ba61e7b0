//! Secrets in Vault or OpenBao: one that others keep, read when a plan is applied; or one of ours, written for a Vault agent to read.

use std::collections::BTreeMap;

use windlass_sdk::{
    prelude::*,
    secrets::{Entry, Lookup},
};

/// What a resource may be asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The path below the definition's prefix.
    pub path: String,
    /// The field that is read: `value` if nothing is said.
    #[serde(default)]
    pub field: Option<String>,
    /// The fields that are written; nothing is read then.
    #[serde(default)]
    pub data: BTreeMap<String, Sealable>,
}

/// What a definition may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// Where the KV engine is mounted: `secret` if nothing is said.
    #[serde(default)]
    pub mount: Option<String>,
    /// What every path begins with, such as `shop/development`.
    #[serde(default)]
    pub prefix: Option<String>,
}

/// What it yields.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// What was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Sealable>,
    /// Where it stands: `MOUNT/PATH`.
    pub path: String,
    /// Where agents find it: `MOUNT/data/PATH`.
    pub agent_path: String,
}

/// The driver.
#[derive(Debug)]
pub struct SecretVault;

impl ResourceDefinition for SecretVault {
    const SUMMARY: &'static str = "secrets in Vault or OpenBao: read for workloads, or written for agents";
    type Params = Params;
    type Inputs = Inputs;
    type Outputs = Outputs;

    fn define(request: Request<Params, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
        let Request { params, inputs, .. } = request;
        let mount = inputs.mount.unwrap_or_else(|| "secret".to_owned());
        let inner = [inputs.prefix.as_deref().unwrap_or_default(), &params.path]
            .into_iter()
            .map(|part| part.trim_matches('/'))
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("/");
        let path = format!("{mount}/{inner}");
        let value = if params.data.is_empty() {
            Some(Lookup::new("value", &path).field(params.field.as_deref().unwrap_or("value")))
        } else if params.field.is_some() {
            return Err(Diagnostic::error("field", "`field` is read and `data` is written: give one of them").at("/params").into());
        } else {
            Entry::new("value", &path, &params.data);
            None
        };
        Ok(Answer::new(Outputs { value, path, agent_path: format!("{mount}/data/{inner}") }))
    }
}

windlass_sdk::export_resource!(SecretVault);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn reads_or_writes() {
        let with = |params| {
            define::<SecretVault>(
                json!({ "key": { "type": "secret", "id": "web.smtp" }, "params": params, "inputs": { "prefix": "shop" } }),
            )
        };
        insta::assert_json_snapshot!([
            with(json!({ "path": "smtp", "field": "password" })),
            with(json!({ "path": "db", "data": { "password": { "$secret": "db.password" } } })),
            with(json!({ "path": "db", "field": "x", "data": { "password": "y" } })),
        ]);
    }
}
