//! A stage at the end of a pipeline: labels and an annotation on every workload, as a platform team would
//! append it with `EnvironmentType.workloadStages`. No profile can remove it. Its grant lists the kinds that it labels.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass_sdk::prelude::*;

/// What a stage gives.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The labels.
    pub labels: BTreeMap<String, String>,
}

/// The driver.
#[derive(Debug)]
pub struct TeamLabels;

impl WorkloadProfile for TeamLabels {
    const SUMMARY: &'static str = "puts labels on every object of a workload, and on its pods";
    type Inputs = Inputs;

    fn render(request: RenderRequest<Inputs>) -> Result<Manifests, Diagnostics> {
        let mut manifests = request.manifests;
        for manifest in &mut manifests {
            for pointer in ["/metadata", "/spec/template/metadata", "/spec/jobTemplate/spec/template/metadata"] {
                if let Some(Value::Object(metadata)) = manifest.pointer_mut(pointer)
                    && let Value::Object(labels) = metadata.entry("labels").or_insert_with(|| json!({}))
                {
                    labels.extend(request.inputs.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
                }
            }
        }
        Ok(manifests.into())
    }
}

windlass_sdk::export_workload!(TeamLabels);

#[cfg(test)]
mod tests {
    use windlass_sdk::harness::render;

    use super::*;

    #[test]
    fn labels_objects_and_pods() {
        insta::assert_json_snapshot!(render::<TeamLabels>(json!({
            "inputs": { "labels": { "team": "a" } },
            "workload": { "apiVersion": "score.dev/v1b1", "metadata": { "name": "web" }, "containers": {} },
            "manifests": [
                { "kind": "Deployment", "metadata": { "name": "web" }, "spec": { "template": { "metadata": { "labels": { "app": "web" } } } } },
                { "kind": "Service", "metadata": { "name": "web" } },
            ],
        })));
    }
}
