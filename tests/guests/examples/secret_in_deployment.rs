//! A guest of the tests: secret in deployment.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let token = input(&request, "secret");
    Object::new(
        "web",
        &json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" }, "spec": { "template": { "spec": { "containers": [{ "name": "web", "image": "x", "env": [{ "name": "PASSWORD", "value": token }] }] } } } }),
    );
    outputs("{}")
}

windlass_guests::guest!(define);
