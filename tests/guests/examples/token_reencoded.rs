//! A guest of the tests: token reencoded.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let token = input(&request, "secret");
    let hex: String = token.bytes().map(|byte| format!("{byte:02x}")).collect();
    outputs(&format!("{{\"value\":\"{hex}\"}}"))
}

windlass_guests::guest!(define);
