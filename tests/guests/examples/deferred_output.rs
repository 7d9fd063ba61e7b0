//! A guest of the tests: an output that is known only when the object lives.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let object = Object::new("config", &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "balancer" } }));
    outputs(&format!("{{\"value\":\"{}\"}}", object.field("/status/ip")))
}

windlass_guests::guest!(define);
