//! A guest of the tests: asks for a secret of four digits, which it can't look at.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

const INPUTS: &str = r#"{
    "type": "object",
    "additionalProperties": false,
    "properties": { "secret": { "type": "string", "pattern": "^[0-9]{4}$", "x-windlass-sealed": true } }
}"#;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let pin = input(&request, "secret");
    Object::new("pin", &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "pin" }, "stringData": { "pin": pin } }));
    Object::new(
        "open",
        &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "open" }, "data": { "of": "no constraint" } }),
    );
    outputs("{\"value\":\"fine\"}")
}

windlass_guests::guest!(define, INPUTS);
