//! A guest of the tests: privileged pod.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    Object::new(
        "pod",
        &json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" }, "spec": { "template": { "spec": { "hostPID": true, "containers": [{ "name": "x", "image": "x", "securityContext": { "privileged": true } }] } } } }),
    );
    outputs("{}")
}

windlass_guests::guest!(define);
