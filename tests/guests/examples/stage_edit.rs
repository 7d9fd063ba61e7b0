//! A guest of the tests: a stage that does to the objects before it whatever its inputs say.
#![allow(unsafe_code, reason = "the export macro writes it")]

use serde_json::{Value, json};
use windlass_sdk::export::workload::exports::windlass::driver::workload_profile as wit;

struct Component;

/// Puts the fields of one value over those of another, as a JSON Merge Patch.
fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

impl wit::Guest for Component {
    fn describe() -> wit::Description {
        let any = r#"{"x-windlass-sealed":true}"#.to_owned();
        wit::Description {
            summary: "edits the objects of the stages before it".to_owned(),
            inputs_schema: any.clone(),
            params_schema: any.clone(),
            outputs_schema: any,
        }
    }

    /// `add`: manifests; `merge`: a patch by kind; `drop`: a kind; `copies`: how many ConfigMaps are added.
    fn render(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
        let inputs: Value = serde_json::from_str(&request.inputs).unwrap_or_default();
        let mut manifests: Vec<Value> = request.manifests.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
        let kind = |manifest: &Value| manifest["kind"].as_str().unwrap_or_default().to_owned();
        manifests.retain(|manifest| inputs["drop"].as_str() != Some(&kind(manifest)));
        for manifest in &mut manifests {
            let patch = &inputs["merge"][kind(manifest)];
            if patch.is_object() {
                merge(manifest, patch);
            }
        }
        manifests.extend(inputs["add"].as_array().cloned().unwrap_or_default());
        let mut manifests: Vec<String> = manifests.iter().map(Value::to_string).collect();
        for copy in 0..inputs["copies"].as_u64().unwrap_or_default() {
            manifests.push(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("copy-{copy}") } }).to_string());
        }
        Ok(wit::Answer { manifests, warnings: Vec::new() })
    }
}

windlass_sdk::export::workload::export_workload_component!(Component with_types_in windlass_sdk::export::workload);
