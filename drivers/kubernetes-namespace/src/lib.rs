//! The namespace of an environment: made by us, or one that exists already.

use serde_json::{Map, Value, json};
use windlass_sdk::{names, prelude::*};

/// What a definition may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The name; `APPLICATION-ENVIRONMENT` if nothing is said.
    #[serde(default)]
    pub name: Option<String>,
    /// `false` uses a namespace that somebody else made.
    #[serde(default)]
    pub create: Option<bool>,
    /// The Pod Security level to enforce: `baseline` if nothing is said.
    #[serde(default)]
    pub pod_security: Option<PodSecurity>,
    /// Further labels.
    #[serde(default)]
    pub labels: Map<String, Value>,
    /// Further annotations.
    #[serde(default)]
    pub annotations: Map<String, Value>,
}

/// Levels of the Pod Security standards.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// Everything is allowed.
    Privileged,
    /// What is known to escape is refused.
    Baseline,
    /// Best practice is demanded.
    Restricted,
}

/// What it yields.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// The name.
    pub namespace: String,
    /// The name, by its other name.
    pub name: String,
}

/// The driver.
#[derive(Debug)]
pub struct KubernetesNamespace;

impl ResourceDefinition for KubernetesNamespace {
    const SUMMARY: &'static str = "the namespace of an environment, with its Pod Security level";
    type Params = NoParams;
    type Inputs = Inputs;
    type Outputs = Outputs;

    fn define(request: Request<NoParams, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
        let Request { context, inputs, .. } = request;
        let name = inputs.name.unwrap_or_else(|| names::name(&[&context.application, &context.environment]));
        if inputs.create.unwrap_or(true) {
            let level = match inputs.pod_security.unwrap_or(PodSecurity::Baseline) {
                PodSecurity::Privileged => "privileged",
                PodSecurity::Baseline => "baseline",
                PodSecurity::Restricted => "restricted",
            };
            let mut labels = inputs.labels;
            for (key, value) in [
                ("app.kubernetes.io/part-of", context.application.as_str()),
                ("app.kubernetes.io/managed-by", "windlass"),
                ("windlass.dev/application", &context.application),
                ("windlass.dev/environment", &context.environment),
                ("pod-security.kubernetes.io/enforce", level),
                ("pod-security.kubernetes.io/warn", level),
            ] {
                labels.insert(key.to_owned(), json!(value));
            }
            let mut metadata = json!({ "name": name, "labels": labels });
            if let (false, Some(metadata)) = (inputs.annotations.is_empty(), metadata.as_object_mut()) {
                metadata.insert("annotations".into(), Value::Object(inputs.annotations));
            }
            Object::new("namespace", &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }));
        }
        Ok(Answer::new(Outputs { namespace: name.clone(), name }))
    }
}

windlass_sdk::export_resource!(KubernetesNamespace);

#[cfg(test)]
mod tests {
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn made_named_and_used() {
        insta::assert_json_snapshot!([
            define::<KubernetesNamespace>(json!({ "context": { "namespace": null } })),
            define::<KubernetesNamespace>(
                json!({ "context": { "namespace": null, "application": "a-very-long-application-name-that-goes-on", "environment": "and-an-environment-that-does-too" } })
            ),
            define::<KubernetesNamespace>(json!({ "inputs": { "name": "team-a", "create": false } })),
            define::<KubernetesNamespace>(
                json!({ "inputs": { "pod_security": "restricted", "labels": { "team": "a" }, "annotations": { "contact": "a@example.com" } } })
            ),
        ]);
    }
}
