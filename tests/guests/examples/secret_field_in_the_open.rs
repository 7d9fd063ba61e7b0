//! A guest of the tests: secret field in the open.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let secret = Object::new("secret", &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "x" } }));
    Object::new(
        "config",
        &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" }, "data": { "leak": secret.field("/data/password") } }),
    );
    outputs("{}")
}

windlass_guests::guest!(define);
