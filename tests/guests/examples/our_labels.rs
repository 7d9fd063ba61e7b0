//! A guest of the tests: our labels.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    Object::new(
        "config",
        &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x", "labels": { "windlass.dev/owner": "me" }, "annotations": { "windlass.dev/mark": "me" }, "finalizers": ["a/b"], "ownerReferences": [] } }),
    );
    outputs("{}")
}

windlass_guests::guest!(define);
