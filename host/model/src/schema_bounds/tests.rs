//! Bounds of schemas, each limit at its value and above it.

use serde_json::json;

use super::*;

fn refusal(schema: &Value) -> String {
    check(schema).map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
}

#[test]
fn what_refers_to_itself_without_end_is_refused() {
    for endless in [
        json!({ "$ref": "#" }),
        json!({ "properties": { "a": { "$ref": "#/$defs/A" } }, "$defs": { "A": { "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/B" }] }, "B": { "not": { "$ref": "#/$defs/A" } } } }),
        json!({ "allOf": [{ "if": { "$ref": "#/allOf/0" } }] }),
        json!({ "dependentSchemas": { "a": { "$ref": "#" } } }),
        json!({ "dependencies": { "a": { "$ref": "#" } } }),
    ] {
        assert!(refusal(&endless).contains("refers to itself without end"), "{endless}: {}", refusal(&endless));
    }
}

#[test]
fn a_tree_ends_with_its_value() {
    let node = json!({ "type": "object", "properties": { "children": { "type": "array", "items": { "$ref": "#/$defs/Node" } }, "parent": { "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/Node" }] } } });
    assert_eq!(refusal(&json!({ "$ref": "#/$defs/Node", "$defs": { "Node": node } })), "accepted");
}

#[test]
fn a_part_that_is_applied_twice_at_each_level_is_refused() {
    let twice = json!({ "$ref": "#/$defs/N" });
    for (at, node) in [
        ("the field `a`", json!({ "allOf": [{ "properties": { "a": twice } }, { "properties": { "a": twice } }] })),
        ("the field `a`", json!({ "properties": { "a": { "$ref": "#/$defs/N" } }, "additionalProperties": twice })),
        ("any field", json!({ "patternProperties": { "^a": twice, "b$": twice } })),
        ("any element", json!({ "items": twice, "contains": twice })),
        ("any element", json!({ "oneOf": [{ "items": twice }, { "anyOf": [{ "prefixItems": [twice] }] }] })),
        ("any field", json!({ "additionalProperties": twice, "unevaluatedItems": false })),
    ] {
        let told = refusal(&json!({ "$ref": "#/$defs/N", "$defs": { "N": node } }));
        assert!(told.contains("each level of a value would multiply the cost") && told.contains(at), "{node}: {told}");
    }
}

/// A chain of definitions of which each applies the next one twice.
fn chain(length: usize, twice: impl Fn(Value) -> Value) -> Value {
    let mut definitions = Map::new();
    for index in 0..length {
        definitions.insert(format!("d{index}"), twice(json!({ "$ref": format!("#/$defs/d{}", index + 1) })));
    }
    definitions.insert(format!("d{length}"), json!({ "type": "string" }));
    json!({ "$ref": "#/$defs/d0", "$defs": definitions })
}

#[test]
fn definitions_that_double_are_bounded_by_what_they_expand_to() {
    let in_place = |next: Value| json!({ "allOf": [next, next] });
    assert_eq!(refusal(&chain(8, in_place)), "accepted");
    assert!(refusal(&chain(40, in_place)).contains("`schema steps for one value`"));
    let below = |next: Value| json!({ "properties": { "a": next, "b": next } });
    assert_eq!(refusal(&chain(10, below)), "accepted");
    assert!(refusal(&chain(40, below)).contains("`expanded schema size`"));
    let dependent = |next: Value| json!({ "dependentSchemas": { "a": next, "b": next } });
    assert!(refusal(&chain(40, dependent)).contains("`schema steps for one value`"));
    let again = |next: Value| json!({ "properties": { "a": next }, "unevaluatedProperties": false });
    assert!(refusal(&chain(40, again)).contains("`expanded schema size`"));
}

#[test]
fn each_limit_holds_at_its_value_and_not_above() {
    let one_of = |count: u64| json!({ "enum": (0..count).collect::<Vec<_>>() });
    // The part itself and the list take two steps.
    assert_eq!(refusal(&one_of(limits::SCHEMA_STEPS_MAX - 2)), "accepted");
    assert!(refusal(&one_of(limits::SCHEMA_STEPS_MAX - 1)).contains("schema steps"));
    let parts = |count: usize| json!({ "$defs": (0..count).map(|index| (index.to_string(), json!(true))).collect::<Map<_, _>>() });
    assert_eq!(refusal(&parts(limits::SCHEMA_PARTS_MAX - 1)), "accepted");
    assert!(refusal(&parts(limits::SCHEMA_PARTS_MAX)).contains("schema parts"));
    let patterns =
        |count: usize| json!({ "patternProperties": (0..count).map(|index| (format!("^{index}$"), json!(true))).collect::<Map<_, _>>() });
    assert_eq!(refusal(&patterns(limits::SCHEMA_PATTERNS_MAX)), "accepted");
    assert!(refusal(&patterns(limits::SCHEMA_PATTERNS_MAX + 1)).contains("schema patterns"));
    let deep = |length| chain(length, |next| json!({ "items": next }));
    assert_eq!(refusal(&deep((limits::SCHEMA_DEPTH_MAX - 2) / 2)), "accepted");
    assert!(refusal(&deep(limits::SCHEMA_DEPTH_MAX)).contains("depth of schema references"));
}

#[test]
fn keywords_whose_target_cannot_be_seen_are_refused() {
    for keyword in ["$dynamicRef", "$dynamicAnchor", "$anchor", "$id", "$recursiveRef"] {
        let inner = json!({ "properties": { "a": { keyword: "#x" } } });
        assert!(refusal(&inner).contains(keyword), "{keyword}: {}", refusal(&inner));
        // A property may have any name.
        assert_eq!(refusal(&json!({ "properties": { keyword: { "type": "string" } } })), "accepted");
    }
    assert_eq!(refusal(&json!({ "$id": "https://example.com/schema", "type": "object" })), "accepted");
    for reference in ["https://example.com/schema", "#name", "other#/$defs/a", "#/%24defs/a", "#/$defs/none"] {
        assert!(refusal(&json!({ "$ref": reference, "$defs": { "a": true } })).contains("the reference"), "{reference}");
    }
}
