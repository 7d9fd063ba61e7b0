//! Other values for a leaf of a document: of the same form, so that a schema or a driver that takes the one takes the other.

use serde_json::{Value, json};
use windlass_model::{
    placeholder::{self, Segment},
    pointer,
};

/// References that a schema is followed through; more is a cycle.
const REFERENCES_MAX: usize = 16;

/// Lists other values for a leaf, the likeliest to fit first; empty for what is no leaf. `schemas` may describe it, each at a pointer.
pub(super) fn probes(value: &Value, schemas: &[(&Value, String)]) -> Vec<Value> {
    let mut found: Vec<Value> = schemas.iter().flat_map(|(schema, at)| alternatives(schema, at)).collect();
    match value {
        Value::Bool(value) => found.push(json!(!value)),
        Value::Number(number) => match number.as_i64() {
            Some(number) => found.extend([number.saturating_add(1), number.saturating_sub(1), 1, 2].map(|number| json!(number))),
            None => found.extend(number.as_f64().map(|number| json!(number / 2.0))),
        },
        Value::String(text) => found.extend(texts(text).into_iter().map(Value::String)),
        Value::Null | Value::Array(_) | Value::Object(_) => return Vec::new(),
    }
    let mut others: Vec<Value> = Vec::new();
    for other in found {
        if other != *value && !others.contains(&other) {
            others.push(other);
        }
    }
    others
}

/// Other texts of the same form: quantities, durations, ports, versions and images end with digits that can be counted on; names,
/// hosts and paths bear another letter.
fn texts(text: &str) -> Vec<String> {
    let segments = placeholder::parse(text);
    let has_reference = segments.iter().any(|segment| matches!(segment, Segment::Reference(_)));
    if has_reference {
        return around_references(text, &segments);
    }
    let mut found = Vec::new();
    match text {
        "true" => found.push("false".to_owned()),
        "false" => found.push("true".to_owned()),
        "" => found.push("x".to_owned()),
        _ => {}
    }
    found.extend([1, -1].into_iter().filter_map(|step| counted(text, step)));
    found.extend(relettered(text));
    found.extend([format!("{text}x"), format!("x{text}")]);
    found
}

/// A text without its references, or with others around them. Plain text comes first: what only says that a secret goes somewhere
/// does not move with another text beside it.
fn around_references(text: &str, segments: &[Segment<'_>]) -> Vec<String> {
    let mut found = vec!["x".to_owned()];
    let literals = segments.iter().filter_map(|segment| match segment {
        Segment::Text(literal) => Some(literal.as_ref()),
        Segment::Reference(_) => None,
    });
    for literal in literals {
        let other = counted(literal, 1).or_else(|| relettered(literal));
        found.extend(other.filter(|_| text.contains(literal)).map(|other| text.replacen(literal, &other, 1)));
    }
    found.extend(["1".to_owned(), "x.example.com".to_owned(), format!("x{text}"), format!("{text}x")]);
    found
}

/// Counts the last number of a text on.
fn counted(text: &str, step: i64) -> Option<String> {
    let end = text.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = text.get(..end)?.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |before| before + 1);
    let digits = text.get(start..end)?;
    let number = digits.parse::<i64>().ok()?.checked_add(step).filter(|number| *number >= 0)?;
    Some(format!("{}{number:0width$}{}", text.get(..start)?, text.get(end..)?, width = digits.len()))
}

/// Changes the first lower-case letter, or the first letter, to its neighbour.
fn relettered(text: &str) -> Option<String> {
    let at = text.find(|c: char| c.is_ascii_lowercase()).or_else(|| text.find(|c: char| c.is_ascii_uppercase()))?;
    let letter = text.get(at..)?.chars().next()?;
    let other = match letter {
        'z' => 'y',
        'Z' => 'Y',
        letter => char::from_u32(u32::from(letter) + 1)?,
    };
    Some(format!("{}{other}{}", text.get(..at)?, text.get(at + 1..)?))
}

/// Lists what a schema lets stand at a pointer, where it lists that.
fn alternatives(root: &Value, at: &str) -> Vec<Value> {
    let mut schemas = vec![root];
    for step in pointer::steps(at) {
        let inner: Vec<&Value> =
            schemas.iter().flat_map(|schema| variants(root, schema, 0)).filter_map(|schema| below(schema, &step)).collect();
        schemas = inner;
    }
    let all = schemas.iter().flat_map(|schema| variants(root, schema, 0));
    all.flat_map(|schema| schema.get("enum").and_then(Value::as_array).into_iter().flatten().chain(schema.get("const")).cloned()).collect()
}

/// A schema with everything that it refers to or chooses from.
fn variants<'s>(root: &'s Value, schema: &'s Value, depth: usize) -> Vec<&'s Value> {
    if depth > REFERENCES_MAX {
        return Vec::new();
    }
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|reference| root.pointer(reference.strip_prefix('#')?));
    let choices = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|word| schema.get(word)?.as_array()).flatten();
    let inner = target.into_iter().chain(choices).flat_map(|inner| variants(root, inner, depth + 1));
    std::iter::once(schema).chain(inner).collect()
}

fn below<'s>(schema: &'s Value, step: &str) -> Option<&'s Value> {
    let named = schema.get("properties").and_then(|properties| properties.get(step));
    named.or_else(|| schema.get("additionalProperties")).or_else(|| schema.get("items")).filter(|schema| schema.is_object())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(value: &str) -> String {
        texts(value).remove(0)
    }

    #[test]
    fn other_values_have_the_same_form() {
        for (text, other) in [
            ("2Gi", "3Gi"),
            ("100m", "101m"),
            ("0.5", "0.6"),
            ("8080", "8081"),
            ("30s", "31s"),
            ("16.4", "16.5"),
            ("ghcr.io/acme/web:1", "ghcr.io/acme/web:2"),
            ("10.0.0.0/08", "10.0.0.0/09"),
            ("shop.example.com", "thop.example.com"),
            ("/healthz", "/iealthz"),
            ("TCP", "UCP"),
            ("true", "false"),
            ("", "x"),
        ] {
            assert_eq!(first(text), other, "{text}");
        }
        assert_eq!(texts("postgres://${resources.db.host}/app")[..2], ["x", "qostgres://${resources.db.host}/app"]);
        assert!(texts("${resources.db.host}").iter().all(|other| other != "${resources.db.host}"));
        assert_eq!(probes(&json!(80), &[]), [json!(81), json!(79), json!(1), json!(2)]);
    }

    #[test]
    fn listed_values_come_first() {
        let schema = json!({
            "properties": { "ports": { "additionalProperties": { "$ref": "#/$defs/port" } } },
            "$defs": { "port": { "properties": { "protocol": { "anyOf": [{ "enum": ["TCP", "UDP"] }, { "type": "null" }] } } } },
        });
        assert_eq!(probes(&json!("TCP"), &[(&schema, "/ports/web/protocol".to_owned())])[0], json!("UDP"));
        let endless = json!({ "$ref": "#" });
        assert!(alternatives(&endless, "/a").is_empty());
    }
}
