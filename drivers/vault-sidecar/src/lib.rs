//! A stage for every workload: the annotations by which the Vault agent injector puts its sidecar into each pod.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use windlass_sdk::{
    prelude::*,
    workload::{add_missing, pod_template},
};

/// What a stage may give.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The role that pods log in with; `{workload}`, `{application}` and `{environment}` stand for the names.
    pub role: String,
    /// Files that the agent writes, by name: the path of the secret, with the same names in braces.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// Templates of these files, by the same names.
    #[serde(default)]
    pub templates: BTreeMap<String, String>,
    /// The path of the Kubernetes login: `auth/kubernetes` if nothing is said.
    #[serde(default)]
    pub auth_path: Option<String>,
    /// The namespace inside Vault.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Fetches secrets once, before the workload starts, and leaves no sidecar running.
    #[serde(default)]
    pub init_only: bool,
}

/// The driver.
#[derive(Debug)]
pub struct VaultSidecar;

impl WorkloadProfile for VaultSidecar {
    const SUMMARY: &'static str = "puts the annotations of the Vault agent injector on the pods of every workload";
    type Inputs = Inputs;

    fn render(request: RenderRequest<Inputs>) -> Result<Manifests, Diagnostics> {
        let RenderRequest { context, name, inputs, mut manifests, .. } = request;
        let strangers: Vec<Diagnostic> = inputs
            .templates
            .keys()
            .filter(|file| !inputs.secrets.contains_key(*file))
            .map(|file| {
                Diagnostic::error("template-without-secret", format!("the template `{file}` belongs to no secret"))
                    .at(format!("/inputs/templates/{file}"))
                    .hint("name its secret under `secrets`")
            })
            .collect();
        if !strangers.is_empty() {
            return Err(Diagnostics(strangers));
        }
        let put = |text: &str| {
            text.replace("{workload}", &name).replace("{application}", &context.application).replace("{environment}", &context.environment)
        };
        let mut annotations = Map::new();
        let mut say = |key: &str, value: String| annotations.insert(format!("vault.hashicorp.com/{key}"), json!(value));
        say("agent-inject", "true".to_owned());
        say("role", put(&inputs.role));
        for (file, path) in &inputs.secrets {
            say(&format!("agent-inject-secret-{file}"), put(path));
        }
        for (file, template) in &inputs.templates {
            say(&format!("agent-inject-template-{file}"), template.clone());
        }
        if let Some(path) = &inputs.auth_path {
            say("auth-path", path.clone());
        }
        if let Some(namespace) = &inputs.namespace {
            say("namespace", put(namespace));
        }
        // Jobs end only when their sidecars do: for them the agent always runs before, never beside.
        for manifest in &mut manifests {
            let ends = matches!(manifest.get("kind").and_then(Value::as_str), Some("Job" | "CronJob"));
            let Some(template) = pod_template(manifest) else { continue };
            let at = format!("{template}/metadata/annotations");
            add_missing(manifest, &at, &annotations);
            if (ends || inputs.init_only)
                && let Some(Value::Object(known)) = manifest.pointer_mut(&at)
            {
                known.insert("vault.hashicorp.com/agent-pre-populate-only".into(), json!("true"));
            }
        }
        Ok(manifests.into())
    }
}

windlass_sdk::export_workload!(VaultSidecar);

#[cfg(test)]
mod tests {
    use windlass_sdk::harness::render;

    use super::*;

    fn request(inputs: Value) -> Value {
        json!({
            "inputs": inputs,
            "workload": { "apiVersion": "score.dev/v1b1", "metadata": { "name": "web" }, "containers": {} },
            "manifests": [
                { "kind": "Deployment", "metadata": { "name": "web" }, "spec": { "template": { "metadata": {} } } },
                { "kind": "CronJob", "metadata": { "name": "web" }, "spec": { "jobTemplate": { "spec": { "template": { "metadata": {} } } } } },
                { "kind": "Service", "metadata": { "name": "web" } },
            ],
        })
    }

    #[test]
    fn pods_get_the_agent_and_jobs_only_before() {
        insta::assert_json_snapshot!(render::<VaultSidecar>(request(json!({
            "role": "{application}-{workload}", "secrets": { "db": "kv/{environment}/db" }, "templates": { "db": "{{ .Data.url }}" },
        }))));
    }

    #[test]
    fn a_template_needs_its_secret() {
        insta::assert_json_snapshot!(render::<VaultSidecar>(request(json!({ "role": "r", "templates": { "db": "x" } }))));
    }
}
