//! A guest of the tests: token in diagnostic.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    Err(vec![wit::Diagnostic {
        severity: Severity::Error,
        code: "leak".into(),
        message: format!("the password is {}", input(&request, "secret")),
        pointer: String::new(),
        hint: None,
    }])
}

windlass_guests::guest!(define);
