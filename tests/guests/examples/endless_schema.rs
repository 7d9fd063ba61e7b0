//! A guest of the tests: its schema leads back to itself, so that checking a value by it would never end.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

const INPUTS: &str = r##"{ "allOf": [{ "$ref": "#/$defs/A" }], "$defs": { "A": { "anyOf": [{ "$ref": "#" }] } } }"##;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    outputs("{\"value\":\"fine\"}")
}

windlass_guests::guest!(define, INPUTS);
