//! A guest of the tests: a schema whose names and descriptions hold escape codes, and a warning with a forged command of a CI service.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    Ok(wit::Answer {
        outputs: "{}".to_owned(),
        warnings: vec![wit::Diagnostic {
            severity: Severity::Warning,
            code: "x".into(),
            message: "::add-mask::forged \u{1b}[2J\u{9b}31m\u{202e}".into(),
            pointer: "/a\n::add-mask::pointer".into(),
            hint: Some("\u{2066}##[group]forged".into()),
        }],
    })
}

windlass_guests::guest!(
    define,
    r####"{"type":"object","x-windlass-sealed":true,"additionalProperties":true,"required":["a\u001b[2Jb"],"properties":{
        "a\u001b[2Jb":{"type":"string","description":"\u001b[1A\u001b[2K  privileges  none\u202e"},
        "\n::add-mask::x":{"enum":["\u009b31m","##vso[task.setvariable]"],"description":"::stop-commands::x"}}}"####
);
