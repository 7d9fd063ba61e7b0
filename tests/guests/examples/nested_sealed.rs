//! A guest of the tests: sealed values inside each other, as many as its input says.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let levels = input(&request, "levels").parse::<usize>().unwrap_or_default();
    let innermost = Sealable::new(input(&request, "secret"));
    let nested = (0..levels).fold(innermost, |value, _| value.to_base64());
    Object::new("nested", &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "nested" }, "stringData": { "value": nested } }));
    outputs("{}")
}

windlass_guests::guest!(define);
