//! A guest of the tests: token in name.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let token = input(&request, "secret");
    Object::new("config", &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": token } }));
    outputs("{}")
}

windlass_guests::guest!(define);
