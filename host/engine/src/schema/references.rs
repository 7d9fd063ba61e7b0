//! References of schemas to their own parts.

use std::collections::BTreeSet;

use serde_json::Value;

/// Finds a reference that leads back to itself without a step into the value: checking any value would never end.
pub(super) fn endless(root: &Value) -> Option<&str> {
    let mut finite = BTreeSet::new();
    references(root).into_iter().find(|target| leads_back(target, root, &mut Vec::new(), &mut finite))
}

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

/// Follows a reference through everything that is applied to the same value.
fn leads_back<'s>(target: &'s str, root: &'s Value, path: &mut Vec<&'s str>, finite: &mut BTreeSet<&'s str>) -> bool {
    if finite.contains(target) {
        return false;
    }
    if path.contains(&target) {
        return true;
    }
    path.push(target);
    let mut open: Vec<&Value> = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)).into_iter().collect();
    while let Some(Value::Object(fields)) = open.pop() {
        if let Some(next) = fields.get("$ref").and_then(Value::as_str)
            && leads_back(next, root, path, finite)
        {
            return true;
        }
        open.extend(["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| fields.get(key)?.as_array()).flatten());
        open.extend(["not", "if", "then", "else"].into_iter().filter_map(|key| fields.get(key)));
    }
    path.pop();
    finite.insert(target);
    false
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::TokenSchema;

    #[test]
    fn what_refers_to_itself_without_end_is_refused() {
        let compile = |schema: Value| TokenSchema::compile(&schema).map(drop);
        for endless in [
            json!({ "$ref": "#" }),
            json!({ "properties": { "a": { "$ref": "#/$defs/A" } }, "$defs": { "A": { "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/B" }] }, "B": { "not": { "$ref": "#/$defs/A" } } } }),
            json!({ "allOf": [{ "if": { "$ref": "#/allOf/0" } }] }),
        ] {
            assert!(compile(endless.clone()).unwrap_err().contains("refers to itself without end"), "{endless}");
        }
        // A tree ends with the value.
        let tree = json!({ "$ref": "#/$defs/Node", "$defs": { "Node": { "type": "object", "properties": { "children": { "type": "array", "items": { "$ref": "#/$defs/Node" } } } } } });
        assert!(compile(tree).is_ok());
    }
}
