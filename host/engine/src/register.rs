//! Registration: does what a driver says of itself fit the contract of the type that a definition makes with it?
//!
//! By names and JSON types only: values are checked when there are values.

use std::collections::BTreeSet;

use serde_json::Value;
use windlass_model::{
    Diagnostic,
    platform::{ResourceDefinition, ResourceType},
};

use crate::driver::Description;

/// Compares a driver's schemas with its type's; every misfit is a finding on the definition.
#[must_use]
pub fn check(definition: &ResourceDefinition, kind: &ResourceType, description: &Description) -> Vec<Diagnostic> {
    let subject = format!("ResourceDefinition/{}", definition.name());
    let driver = definition.spec.driver.component_key();
    let mut problems = Vec::new();
    let outputs: Value = serde_json::from_str(&description.outputs_schema).unwrap_or(Value::Null);
    // A driver without named outputs (a template, a module) fits every type.
    if let (Some(yielded), Some(promised)) = (properties(&outputs), properties(&kind.spec.outputs)) {
        let required = required(&kind.spec.outputs);
        for (name, wanted) in promised {
            match yielded.get(name) {
                None if required.contains(name.as_str()) => problems.push(
                    Diagnostic::error(
                        "type-output",
                        format!("the driver `{driver}` does not yield `{name}`, which every `{}` must", kind.name()),
                    )
                    .hint("use another driver, or don't require it in the ResourceType"),
                ),
                Some(yielded) if !fit(yielded, wanted) => problems.push(Diagnostic::error(
                    "type-output",
                    format!("the output `{name}` of the driver `{driver}` has another JSON type than `{}` promises", kind.name()),
                )),
                None | Some(_) => {}
            }
        }
    }
    let accepted: Value = serde_json::from_str(&description.params_schema).unwrap_or(Value::Null);
    let is_closed = accepted.get("additionalProperties") == Some(&Value::Bool(false));
    if let Some(asked) = properties(&kind.spec.params) {
        let known = properties(&accepted);
        for (name, schema) in asked {
            match known.and_then(|known| known.get(name)) {
                None if is_closed => problems.push(
                    Diagnostic::warning(
                        "type-param",
                        format!("the driver `{driver}` does not know the param `{name}` of `{}`", kind.name()),
                    )
                    .hint("a resource that gives it gets a warning; leave it out of the ResourceType, or let the driver take it"),
                ),
                Some(accepted) if !fit(accepted, schema) => problems.push(Diagnostic::error(
                    "type-param",
                    format!("the param `{name}` of the driver `{driver}` has another JSON type than in `{}`", kind.name()),
                )),
                None | Some(_) => {}
            }
        }
    }
    problems.into_iter().map(|problem| problem.on(&subject).at("/spec/driver")).collect()
}

fn properties(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

fn required(schema: &Value) -> BTreeSet<&str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Scalars become each other at the border; lists and maps only themselves. What names no type fits everything.
fn fit(a: &Value, b: &Value) -> bool {
    let shapes = |schema: &Value| -> Option<BTreeSet<&'static str>> {
        let names: Vec<&str> = match schema.get("type")? {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => return None,
        };
        let shape = |name: &&str| match *name {
            "object" => Some("object"),
            "array" => Some("array"),
            "null" => None,
            _ => Some("scalar"),
        };
        Some(names.iter().filter_map(shape).collect())
    };
    match (shapes(a), shapes(b)) {
        (Some(a), Some(b)) => a.is_empty() || b.is_empty() || !a.is_disjoint(&b),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(outputs: Value, params: Value) -> Vec<String> {
        let definition: ResourceDefinition = serde_json::from_value(json!({
            "apiVersion": "windlass.dev/v1alpha1", "kind": "ResourceDefinition", "metadata": { "name": "d" },
            "spec": { "type": "db", "driver": { "builtin": "x" } }
        }))
        .unwrap();
        let kind: ResourceType = serde_json::from_value(json!({
            "apiVersion": "windlass.dev/v1alpha1", "kind": "ResourceType", "metadata": { "name": "db" },
            "spec": {
                "params": { "properties": { "size": { "type": "string" } } },
                "outputs": { "properties": { "host": { "type": "string" }, "port": { "type": "integer" }, "note": {} }, "required": ["host"] }
            }
        }))
        .unwrap();
        let description = Description {
            summary: String::new(),
            inputs_schema: "{}".into(),
            params_schema: params.to_string(),
            outputs_schema: outputs.to_string(),
        };
        check(&definition, &kind, &description).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn misfits_are_found_before_anything_is_made() {
        let free = || json!({ "x-windlass-sealed": true });
        assert!(checked(free(), free()).is_empty(), "a free driver fits");
        assert!(
            checked(json!({ "properties": { "host": { "type": ["string", "null"] }, "port": { "type": "string" } } }), free()).is_empty()
        );
        insta::assert_snapshot!(
            [
                checked(json!({ "properties": { "hots": { "type": "string" } } }), free()).join("\n"),
                checked(json!({ "properties": { "host": { "type": "object" } } }), free()).join("\n"),
                checked(free(), json!({ "properties": {}, "additionalProperties": false })).join("\n"),
                checked(free(), json!({ "properties": { "size": { "type": "array" } } })).join("\n"),
            ]
            .join("\n"),
            @r"
        ResourceDefinition/d: the driver `builtin:x` does not yield `host`, which every `db` must (at `/spec/driver`)
        ResourceDefinition/d: the output `host` of the driver `builtin:x` has another JSON type than `db` promises (at `/spec/driver`)
        ResourceDefinition/d: the driver `builtin:x` does not know the param `size` of `db` (at `/spec/driver`)
        ResourceDefinition/d: the param `size` of the driver `builtin:x` has another JSON type than in `db` (at `/spec/driver`)
        "
        );
    }
}
