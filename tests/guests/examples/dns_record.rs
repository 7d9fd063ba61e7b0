//! A guest of the tests: a record with the name, type and value of the inputs.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;
use windlass_sdk::aws::{RecordSet, RecordSetSpec};

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let (name, r#type, value) = (input(&request, "name"), input(&request, "type"), input(&request, "value"));
    RecordSet::new("record", &RecordSetSpec { name, r#type, values: vec![value.as_str().into()], ..RecordSetSpec::default() });
    outputs("{}")
}

windlass_guests::guest!(define);
