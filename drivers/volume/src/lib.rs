//! A volume for workloads: empty with each pod, or a claim that outlives them.

use serde_json::{Value, json};
use windlass_sdk::{
    names::{of_resource, resource_labels},
    prelude::*,
};

/// What a resource may be asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The size of a claim; without one the volume is empty with each pod.
    #[serde(default)]
    pub size: Option<String>,
}

/// What a definition may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The size, where the resource asks for none.
    #[serde(default)]
    pub size: Option<String>,
    /// The storage class; the cluster's own default if nothing is said.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// Who may mount it: `ReadWriteOnce` if nothing is said.
    #[serde(default)]
    pub access_mode: Option<AccessMode>,
}

/// Who may mount a claim.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub enum AccessMode {
    /// Pods of one node.
    ReadWriteOnce,
    /// Pods of all nodes.
    ReadWriteMany,
    /// One pod.
    ReadWriteOncePod,
}

/// What it yields.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// A Kubernetes volume source.
    pub source: Value,
    /// `emptyDir` or `persistentVolumeClaim`.
    pub r#type: String,
}

/// The driver.
#[derive(Debug)]
pub struct Volume;

impl ResourceDefinition for Volume {
    const SUMMARY: &'static str = "a volume: empty with each pod, or a claim that outlives them";
    type Params = Params;
    type Inputs = Inputs;
    type Outputs = Outputs;

    fn define(request: Request<Params, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
        let Request { context, key, params, inputs, .. } = request;
        let Some(size) = params.size.or(inputs.size) else {
            return Ok(Answer::new(Outputs { source: json!({ "emptyDir": {} }), r#type: "emptyDir".into() }));
        };
        let name = of_resource(&key);
        let mut spec = json!({ "accessModes": [inputs.access_mode.unwrap_or(AccessMode::ReadWriteOnce)], "resources": { "requests": { "storage": size } } });
        if let (Some(class), Some(spec)) = (&inputs.storage_class, spec.as_object_mut()) {
            spec.insert("storageClassName".into(), json!(class));
        }
        Object::new(
            "claim",
            &json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": { "name": name, "namespace": context.namespace()?, "labels": resource_labels(&context, &key) },
                "spec": spec,
            }),
        );
        Ok(Answer::new(Outputs {
            source: json!({ "persistentVolumeClaim": { "claimName": name } }),
            r#type: "persistentVolumeClaim".into(),
        }))
    }
}

windlass_sdk::export_resource!(Volume);

#[cfg(test)]
mod tests {
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn empty_and_claimed() {
        insta::assert_json_snapshot!([
            define::<Volume>(json!({})),
            define::<Volume>(
                json!({ "key": { "type": "volume", "id": "web.data" }, "params": { "size": "2Gi" }, "inputs": { "storage_class": "fast", "access_mode": "ReadWriteMany" } })
            ),
        ]);
    }
}
