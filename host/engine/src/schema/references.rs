//! References of schemas to their own parts.

use std::collections::BTreeSet;

use serde_json::Value;

/// Lists the targets of all references.
pub(super) fn references(schema: &Value) -> BTreeSet<&str> {
    fn collect<'s>(schema: &'s Value, found: &mut BTreeSet<&'s str>) {
        match schema {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|inner| collect(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| collect(inner, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = BTreeSet::new();
    collect(schema, &mut found);
    found
}
