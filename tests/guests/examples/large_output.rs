//! A guest of the tests: large output.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    outputs(&format!("{{\"value\":\"{}\"}}", "x".repeat(20 << 20)))
}

windlass_guests::guest!(define);
