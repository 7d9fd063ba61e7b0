//! A guest of the tests: a stage that generates a secret called `key` and puts it into a Secret named as its inputs say.
#![allow(unsafe_code, reason = "the exports of a component are unsafe functions")]

use windlass_guests::prelude::*;
use windlass_sdk::export::workload::exports::windlass::driver::workload_profile as wit;

struct Component;

impl wit::Guest for Component {
    fn describe() -> wit::Description {
        let any = r#"{"x-windlass-sealed":true}"#.to_owned();
        wit::Description {
            summary: "a guest of the tests".to_owned(),
            inputs_schema: any.clone(),
            params_schema: any.clone(),
            outputs_schema: any,
        }
    }

    fn render(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
        let inputs: serde_json::Value = serde_json::from_str(&request.inputs).unwrap_or_default();
        let text = |name: &str| inputs.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let key = Generated::new(&text("key")).value();
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": text("name") }, "stringData": { "key": key } });
        let mut manifests = request.manifests;
        manifests.push(secret.to_string());
        Ok(wit::Answer { manifests, warnings: Vec::new() })
    }
}

windlass_sdk::export::workload::export_workload_component!(Component with_types_in windlass_sdk::export::workload);
