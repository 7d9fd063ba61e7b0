//! A guest of the tests: many host calls.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let mut text = String::new();
    for _ in 0..1_000_000 {
        text = Sealable::new("x").to_base64().to_string();
    }
    outputs(&format!("{{\"value\":\"{text}\"}}"))
}

windlass_guests::guest!(define);
