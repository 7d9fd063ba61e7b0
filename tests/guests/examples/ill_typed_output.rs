//! A guest of the tests: ill typed output.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    outputs("{\"port\":\"not a number\"}")
}

windlass_guests::guest!(define);
