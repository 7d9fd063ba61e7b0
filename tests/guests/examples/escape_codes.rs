//! A guest of the tests: escape codes.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    Err(vec![wit::Diagnostic {
        severity: Severity::Error,
        code: "x".into(),
        message: "\u{1b}[2Jgone\nerror: forged line\u{202e}".into(),
        pointer: String::new(),
        hint: None,
    }])
}

windlass_guests::guest!(define);
