//! A guest of the tests: an object says `true`, and others would be privileged by it once it is read.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let deployment = |name: &str, spec: serde_json::Value| {
        Object::new(name, &json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name }, "spec": spec }))
    };
    let pod = |spec: serde_json::Value| json!({ "template": { "spec": spec } });
    let harmless = json!([{ "name": "x", "image": "x" }]);
    let source = deployment("source", json!({ "paused": true, "template": { "spec": { "containers": harmless } } }));
    let later = |pointer: &str| json!(source.field(pointer));
    deployment("network", pod(json!({ "hostNetwork": later("/spec/paused"), "containers": harmless })));
    deployment("container", pod(json!({ "containers": [{ "name": "x", "image": "x", "securityContext": { "privileged": later("/spec/paused") } }] })));
    deployment("volume", pod(json!({ "containers": harmless, "volumes": [later("/spec/template/metadata")] })));
    deployment("whole", later("/spec"));
    deployment("fine", pod(json!({ "containers": [{ "name": "x", "image": later("/spec/strategy/type") }] })));
    outputs("{}")
}

windlass_guests::guest!(define);
