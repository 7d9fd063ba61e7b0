//! A guest of the tests: many actions.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    for index in 0..100_000 {
        Object::new(
            &format!("config-{index}"),
            &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("x-{index}") } }),
        );
    }
    outputs("{}")
}

windlass_guests::guest!(define);
