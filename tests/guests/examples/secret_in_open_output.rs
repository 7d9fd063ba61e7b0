//! A guest of the tests: secret in open output.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let token = input(&request, "secret");
    outputs(&format!("{{\"value\":\"{token}\"}}"))
}

windlass_guests::guest!(define);
