//! A guest of the tests: ungranted import.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let secret = Generated::new("password");
    outputs(&format!("{{\"value\":\"{}\"}}", secret.action()))
}

windlass_guests::guest!(define);
