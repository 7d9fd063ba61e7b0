//! What schemas ask of sealed values, held to them once they are known.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass_model::{
    plan::Constraint,
    pointer::Pointer,
    sealed::{Sealed, SealedPart, TOKEN_OPEN},
};

use super::{SEALED_MARK, TokenSchema, references::references, shorten};
use crate::tokens::TokenTable;

impl TokenSchema {
    /// Lists what the schema asks of the sealed values in a value that fits, where they could be otherwise.
    pub(crate) fn constraints(&self, value: &Value, base: &str, tokens: &TokenTable) -> Vec<Constraint> {
        let parts = tokens.parts();
        if parts.is_empty() || !(self.is_strict || parts.iter().any(|part| !part.is_text())) {
            return Vec::new();
        }
        let mut found: BTreeMap<String, (Sealed, Vec<&Value>)> = BTreeMap::new();
        self.visit_sealed(&self.text, value, &Pointer::Root, &mut |at, text, schema| {
            if let Ok(Some(sealed)) = tokens.close_text(text) {
                found.entry(at.to_string()).or_insert_with(|| (sealed, Vec::new())).1.push(schema);
            }
        });
        let definitions = self.text.get("$defs");
        let constraint = |(at, (sealed, schemas)): (String, (Sealed, Vec<&Value>))| {
            let is_text = sealed.single().is_none_or(SealedPart::is_text);
            if !schemas.iter().all(|schema| refuses(schema, is_text)) {
                return None;
            }
            let mut schema = match schemas.as_slice() {
                [only] => (*only).clone(),
                several => json!({ "anyOf": several }),
            };
            if !references(&schema).is_empty()
                && let (Some(definitions), Some(fields)) = (definitions, schema.as_object_mut())
            {
                fields.insert("$defs".into(), definitions.clone());
            }
            Some(Constraint { pointer: format!("{base}{at}"), schema, value: sealed.to_json() })
        };
        found.into_iter().filter_map(constraint).collect()
    }

    /// Visits every token at a position that is marked, with the schema of what it stands for.
    fn visit_sealed<'s>(
        &'s self,
        schema: &'s Value,
        value: &Value,
        at: &Pointer<'_>,
        visit: &mut impl FnMut(&Pointer<'_>, &str, &'s Value),
    ) {
        let Value::Object(fields) = schema else { return };
        if let Some(target) = fields.get("$ref").and_then(Value::as_str).and_then(|target| self.text.pointer(target.strip_prefix('#')?)) {
            self.visit_sealed(target, value, at, visit);
        }
        if let Some([token, own]) = fields.get("anyOf").and_then(Value::as_array).map(Vec::as_slice)
            && *token == super::token()
        {
            match value.as_str() {
                Some(text) if text.contains(TOKEN_OPEN) => visit(at, text, own),
                _ => self.visit_sealed(own, value, at, visit),
            }
            return;
        }
        for branch in ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| fields.get(key)?.as_array()).flatten() {
            self.visit_sealed(branch, value, at, visit);
        }
        match value {
            Value::Object(members) => {
                let properties = fields.get("properties").and_then(Value::as_object);
                for (key, member) in members {
                    let schema = properties.and_then(|properties| properties.get(key)).or_else(|| fields.get("additionalProperties"));
                    if let Some(schema) = schema {
                        self.visit_sealed(schema, member, &at.field(key), visit);
                    }
                }
            }
            Value::Array(items) => {
                let first = fields.get("prefixItems").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
                for (index, item) in items.iter().enumerate() {
                    if let Some(schema) = first.get(index).or_else(|| fields.get("items")) {
                        self.visit_sealed(schema, item, &at.element(index), visit);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// Says why a value is not what a schema asks of it; nothing if it is. The reason quotes the value.
pub(crate) fn misfit(constraint: &Constraint, value: &Value) -> Option<String> {
    match super::bounded(&constraint.schema) {
        Ok(validator) => validator.validate(value).err().map(|error| shorten(&error.to_string())),
        // The schemas of admitted drivers compile: this one is from elsewhere.
        Err(reason) => Some(format!("can't be checked, its schema is refused: {reason}")),
    }
}

/// Tells whether a marked position anywhere in a schema takes less than any text.
pub(super) fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            (fields.get(SEALED_MARK) == Some(&Value::Bool(true)) && refuses(schema, true)) || fields.values().any(is_strict)
        }
        Value::Array(items) => items.iter().any(is_strict),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Tells whether a schema refuses anything, or any text.
fn refuses(schema: &Value, is_text: bool) -> bool {
    const SAY_NOTHING: [&str; 10] =
        ["title", "description", "default", "examples", "deprecated", "format", "readOnly", "writeOnly", "$schema", "$defs"];
    let Value::Object(fields) = schema else { return *schema == Value::Bool(false) };
    let takes_text = |kinds: &Value| match kinds {
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "string"),
        kind => kind == "string",
    };
    fields.iter().any(|(key, value)| match key.as_str() {
        "type" => !is_text || !takes_text(value),
        key => !key.starts_with("x-") && !SAY_NOTHING.contains(&key),
    })
}

#[cfg(test)]
mod tests {
    use windlass_model::{
        ActionId,
        sealed::{Encoding, Origin, SharedPart},
    };

    use super::*;

    #[test]
    fn only_what_could_be_otherwise_is_a_constraint() {
        let schema = json!({
            "type": "object",
            "properties": {
                "text": { "type": ["string", "null"], "description": "any text", "x-windlass-sealed": true },
                "pattern": { "type": "string", "pattern": "^a", "x-windlass-sealed": true },
                "port": { "type": "integer", "x-windlass-sealed": true },
                "free": { "x-windlass-sealed": true },
                "list": { "type": "array", "items": { "$ref": "#/$defs/Item" } },
                "map": { "type": "object", "additionalProperties": { "anyOf": [{ "type": "boolean", "x-windlass-sealed": true }, { "type": "null" }] } },
                "kind": { "$ref": "#/$defs/Kind", "x-windlass-sealed": true }
            },
            "$defs": {
                "Item": { "type": "object", "properties": { "name": { "type": "string", "x-windlass-sealed": true } } },
                "Kind": { "enum": ["a", "b"] }
            },
            "additionalProperties": false
        });
        let mut tokens = TokenTable::default();
        let stored = tokens.token(&SharedPart::new(SealedPart {
            encoding: Encoding::Json,
            origin: Origin::External { connection: "secrets".into(), reference: "A".into(), version: None },
            secret: true,
        }));
        let yielded = tokens.token(&SharedPart::new(SealedPart {
            encoding: Encoding::Json,
            origin: Origin::Action { id: ActionId::new(&"db.default#x".parse().unwrap(), "object/x"), output: "/status/ip".into() },
            secret: false,
        }));
        let within = format!("a {yielded}");
        let value = json!({
            "text": stored, "pattern": stored, "port": stored, "free": { "deep": yielded }, "kind": yielded,
            "list": [{ "name": stored }, { "name": yielded }, { "name": within }], "map": { "a/b": yielded, "c": true },
        });
        let compiled = TokenSchema::compile(&schema).unwrap();
        assert!(compiled.check(&value, "", &|_| None).is_empty());
        let found = compiled.constraints(&value, "/inputs", &tokens);
        let at: Vec<&str> = found.iter().map(|constraint| constraint.pointer.as_str()).collect();
        assert_eq!(at, ["/inputs/kind", "/inputs/list/1/name", "/inputs/map/a~1b", "/inputs/pattern", "/inputs/port"]);
        let told = |at: &str, value: Value| misfit(found.iter().find(|constraint| constraint.pointer == at).unwrap(), &value);
        assert_eq!(told("/inputs/kind", json!("a")), None);
        assert_eq!(told("/inputs/kind", json!("c")).unwrap(), "\"c\" is not one of \"a\" or \"b\"");
        assert_eq!(told("/inputs/list/1/name", json!(["x"])).unwrap(), "[\"x\"] is not of type \"string\"");
        assert_eq!(told("/inputs/map/a~1b", json!(true)), None);
        let refused = Constraint { pointer: String::new(), schema: json!({ "pattern": "(?=a)" }), value: json!("a") };
        assert!(misfit(&refused, &json!("a")).unwrap().contains("its schema is refused"));
        assert!(told("/inputs/pattern", json!("secret")).is_some() && told("/inputs/port", json!("secret")).is_some());
    }
}
