//! Schemas of drivers and types, made aware of tokens and compiled once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Map, Value, json};
use windlass_model::{
    Diagnostic, Digest,
    plan::Constraint,
    pointer::{self, Pointer},
    sealed::{Sealed, SealedPart, TOKEN_CLOSE, TOKEN_OPEN},
    unknown_field_hint,
};

use crate::{driver::Description, tokens::TokenTable};

/// The mark of positions that may be sealed.
pub const SEALED_MARK: &str = "x-windlass-sealed";
/// The mark of secret outputs.
pub const SECRET_MARK: &str = "x-windlass-secret";

/// The compiled schemas of one driver.
#[derive(Debug)]
pub struct DriverSchemas {
    /// Of the inputs.
    pub inputs: TokenSchema,
    /// Of the params or the resolved workload.
    pub params: TokenSchema,
    /// Of the outputs.
    pub outputs: TokenSchema,
}

/// A schema in which marked positions take tokens and others refuse them.
#[derive(Debug)]
pub struct TokenSchema {
    validator: Validator,
    /// What it was compiled from: errors name what would have been right.
    text: Value,
    /// A marked position takes less than any text.
    is_strict: bool,
}

/// Compiled schemas by digest of what they were made of.
#[derive(Debug, Default)]
pub struct SchemaCache {
    drivers: Mutex<HashMap<Digest, Arc<DriverSchemas>>>,
    types: Mutex<HashMap<Digest, Arc<TokenSchema>>>,
}

impl SchemaCache {
    /// Compiles a driver's schemas, once.
    pub fn driver(&self, component: &Digest, description: &Description) -> Result<Arc<DriverSchemas>, String> {
        if let Some(known) = lock(&self.drivers).get(component) {
            return Ok(Arc::clone(known));
        }
        let parse = |name: &str, text: &str| -> Result<TokenSchema, String> {
            let schema: Value = serde_json::from_str(text).map_err(|error| format!("its {name} schema is no JSON: {error}"))?;
            TokenSchema::compile(&schema).map_err(|error| format!("its {name} schema is no JSON Schema: {error}"))
        };
        let schemas = Arc::new(DriverSchemas {
            inputs: parse("inputs", &description.inputs_schema)?,
            params: parse("params", &description.params_schema)?,
            outputs: parse("outputs", &description.outputs_schema)?,
        });
        lock(&self.drivers).insert(*component, Arc::clone(&schemas));
        Ok(schemas)
    }

    /// Compiles a type's schema, once: tokens are allowed everywhere, what they stand for is checked later.
    pub fn r#type(&self, schema: &Value) -> Result<Arc<TokenSchema>, String> {
        let key = Digest::of(schema).map_err(|error| error.to_string())?;
        if let Some(known) = lock(&self.types).get(&key) {
            return Ok(Arc::clone(known));
        }
        let compiled = Arc::new(TokenSchema::tolerant(schema)?);
        lock(&self.types).insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl TokenSchema {
    fn compile(schema: &Value) -> Result<Self, String> {
        let token = &token();
        let mut transformed = transform(schema, token, false);
        if let Value::Object(object) = &mut transformed {
            let definitions = object.entry("$defs").or_insert_with(|| json!({}));
            if let Value::Object(definitions) = definitions {
                definitions.insert("windlass.open".into(), json!({ "not": token, "additionalProperties": { "$ref": "#/$defs/windlass.open" }, "items": { "$ref": "#/$defs/windlass.open" } }));
            }
        }
        let mut compiled = Self::of(transformed)?;
        compiled.is_strict = is_strict(schema);
        Ok(compiled)
    }

    fn of(text: Value) -> Result<Self, String> {
        if let Some(reference) = endless(&text) {
            return Err(format!("`{reference}` refers to itself without end"));
        }
        let validator = jsonschema::draft202012::new(&text).map_err(|error| error.to_string())?;
        Ok(Self { validator, text, is_strict: false })
    }

    fn tolerant(schema: &Value) -> Result<Self, String> {
        // The whole is never a token: wrapped like its fields, its errors would lose their places.
        let mut transformed = transform(schema, &token(), true);
        if let Some(inner) = transformed.get_mut("anyOf").and_then(|branches| branches.get_mut(1)).map(Value::take) {
            transformed = inner;
        }
        Self::of(transformed)
    }

    /// Checks a value in which tokens stand for sealed values; `base` is put before pointers.
    pub fn check(&self, value: &Value, base: &str, known_after: &dyn Fn(&str) -> Option<String>) -> Vec<Diagnostic> {
        if self.validator.is_valid(value) {
            return Vec::new();
        }
        let mut out = Vec::new();
        self.validator.iter_errors(value).for_each(|error| self.describe(&error, base, known_after, &mut out));
        out
    }

    /// Says what does not fit; a token at an open position gets its own sentence.
    fn describe(&self, error: &ValidationError<'_>, base: &str, known_after: &dyn Fn(&str) -> Option<String>, out: &mut Vec<Diagnostic>) {
        match error.kind() {
            // "A token, or what the schema says": what the schema says is what people want to know.
            ValidationErrorKind::AnyOf { context } if error.schema_path().as_str().ends_with("/anyOf") => {
                if let [_, own] = context.as_slice()
                    && !own.is_empty()
                {
                    own.iter().for_each(|inner| self.describe(inner, base, known_after, out));
                    return;
                }
                out.push(sentence(error, base, known_after));
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                out.extend(unexpected.iter().map(|name| self.unknown_field(error, name, base)));
            }
            _ => out.push(sentence(error, base, known_after)),
        }
    }

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
            if let (Some(definitions), Some(fields)) = (definitions, schema.as_object_mut())
                && refers(fields)
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
            && *token == self::token()
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

    fn unknown_field(&self, error: &ValidationError<'_>, name: &str, base: &str) -> Diagnostic {
        let problem = Diagnostic::error("schema", format!("unknown field `{}`", shorten(name))).at(format!(
            "{base}{}/{}",
            error.instance_path().as_str(),
            pointer::escape(name)
        ));
        match unknown_field_hint(&self.text, error.schema_path().as_str(), name) {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

/// Says why a value is not what a schema asks of it; nothing if it is. A secret one is not shown.
pub(crate) fn misfit(constraint: &Constraint, value: &Value, is_secret: bool) -> Option<String> {
    let validator = jsonschema::draft202012::new(&constraint.schema).ok()?;
    let error = validator.validate(value).err()?;
    let reason = match error.kind() {
        _ if !is_secret => error.to_string(),
        ValidationErrorKind::Type { .. } => format!("its type is not {}", constraint.schema["type"]),
        ValidationErrorKind::Pattern { pattern } => format!("it does not match {pattern:?}"),
        kind => format!("it breaks the rule `{}` of its schema", kind.keyword()),
    };
    Some(shorten(&reason))
}

fn sentence(error: &ValidationError<'_>, base: &str, known_after: &dyn Fn(&str) -> Option<String>) -> Diagnostic {
    let at = format!("{base}{}", error.instance_path().as_str());
    if let Some(text) = error.instance().as_str()
        && let Some(token) = text.split_once(TOKEN_OPEN).and_then(|(_, tail)| tail.split_once(TOKEN_CLOSE)).map(|(inner, _)| inner)
    {
        return if token.starts_with('s') {
            Diagnostic::error("secret-in-open-field", "a secret can't stand in this field: the driver must read it")
                .at(at)
                .hint("use a field that the driver's schema marks as sealable")
        } else {
            let source = known_after(token).unwrap_or_else(|| "another action".to_owned());
            Diagnostic::error("staged", format!("`{at}` needs a value that is known only after {source} is ready")).at(at)
        };
    }
    let message = match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("missing field `{}`", property.as_str().unwrap_or_default())
        }
        _ => shorten(&error.to_string()),
    };
    Diagnostic::error("schema", message).at(at)
}

fn shorten(message: &str) -> String {
    let clean = crate::recorder::printable(message);
    if clean.chars().count() > 200 { clean.chars().take(200).chain(['…']).collect() } else { clean }
}

/// Rewrites a schema. `lenient` lets tokens stand everywhere (types); else only where the mark is.
fn transform(schema: &Value, token: &Value, lenient: bool) -> Value {
    let Value::Object(fields) = schema else {
        return match schema {
            Value::Bool(true) if !lenient => json!({ "$ref": "#/$defs/windlass.open" }),
            other => other.clone(),
        };
    };
    let marked = fields.get(SEALED_MARK) == Some(&Value::Bool(true));
    let typed = ["type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf", "properties", "items", "not"]
        .iter()
        .any(|key| fields.contains_key(*key));
    if marked && !typed {
        return schema.clone();
    }
    let mut out = Map::new();
    for (key, value) in fields {
        let value = match key.as_str() {
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => match value {
                Value::Object(children) => {
                    Value::Object(children.iter().map(|(name, child)| (name.clone(), transform(child, token, lenient))).collect())
                }
                other => other.clone(),
            },
            "additionalProperties" | "items" | "not" | "if" | "then" | "else" | "contains" | "unevaluatedProperties" => {
                transform(value, token, lenient)
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => match value {
                Value::Array(children) => Value::Array(children.iter().map(|child| transform(child, token, lenient)).collect()),
                other => other.clone(),
            },
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    if marked || lenient {
        let definitions = out.remove("$defs");
        let mut wrapped = json!({ "anyOf": [token, Value::Object(out)] });
        if let (Some(definitions), Some(object)) = (definitions, wrapped.as_object_mut()) {
            object.insert("$defs".into(), definitions);
        }
        return wrapped;
    }
    if !typed {
        out.insert("$ref".into(), json!("#/$defs/windlass.open"));
        return Value::Object(out);
    }
    let is_string = match fields.get("type") {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
        _ => false,
    };
    if is_string && !out.contains_key("not") {
        out.insert("not".into(), token.clone());
    }
    Value::Object(out)
}

/// Finds a reference that leads back to itself without a step into the value: checking any value would never end.
fn endless(root: &Value) -> Option<&str> {
    let mut targets = BTreeSet::new();
    references(root, &mut targets);
    let mut finite = BTreeSet::new();
    targets.into_iter().find(|target| leads_back(target, root, &mut Vec::new(), &mut finite))
}

/// Lists the targets of all references.
fn references<'s>(schema: &'s Value, found: &mut BTreeSet<&'s str>) {
    match schema {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|inner| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
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

/// What a position takes in the place of a value.
fn token() -> Value {
    json!({ "type": "string", "pattern": TOKEN_OPEN.to_string() })
}

/// Tells whether a marked position anywhere in a schema takes less than any text.
fn is_strict(schema: &Value) -> bool {
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

/// Tells whether a schema refers to definitions beside it.
fn refers(fields: &Map<String, Value>) -> bool {
    fields.iter().any(|(key, value)| {
        key == "$ref"
            || match value {
                Value::Object(inner) => refers(inner),
                Value::Array(items) => items.iter().filter_map(Value::as_object).any(refers),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
            }
    })
}

/// Tells whether a type's output is secret.
#[must_use]
pub fn is_secret_output(outputs_schema: &Value, name: &str) -> bool {
    outputs_schema.get("properties").and_then(|properties| properties.get(name)).and_then(|output| output.get(SECRET_MARK))
        == Some(&Value::Bool(true))
}

/// Turns a value into the type's own: `"5432"` into `5432`, `5432` into `"5432"`.
#[must_use]
pub fn coerce(outputs_schema: &Value, name: &str, value: Value) -> Value {
    let wanted = outputs_schema
        .get("properties")
        .and_then(|properties| properties.get(name))
        .and_then(|output| output.get("type"))
        .and_then(Value::as_str);
    match (wanted, &value) {
        (Some("integer" | "number"), Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_number).unwrap_or(value),
        (Some("boolean"), Value::String(text)) => text.parse().map_or(value, Value::Bool),
        (Some("string"), Value::Number(number)) => Value::String(number.to_string()),
        (Some("string"), Value::Bool(boolean)) => Value::String(boolean.to_string()),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use windlass_model::{
        ActionId,
        sealed::{Encoding, Origin},
    };

    use super::*;

    #[test]
    fn marked_positions_take_tokens_and_others_refuse_them() {
        let schema = json!({
            "type": "object",
            "properties": {
                "open": { "type": "string" },
                "sealed": { "type": ["string", "null"], "x-windlass-sealed": true },
                "port": { "type": "integer", "x-windlass-sealed": true },
                "free": { "x-windlass-sealed": true },
                "any": true,
                "list": { "type": "array", "items": { "$ref": "#/$defs/Item" } }
            },
            "$defs": { "Item": { "type": "object", "properties": { "name": { "type": "string" } } } },
            "additionalProperties": false
        });
        let compiled = TokenSchema::compile(&schema).unwrap();
        let secret = "\u{FDD0}sj0\u{FDD1}";
        let deferred = "\u{FDD0}dj1\u{FDD1}";
        let check = |value: Value| {
            compiled.check(&value, "/inputs", &|_| Some("`db:object/x`".into())).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(check(json!({"open": "x", "sealed": format!("a{secret}"), "port": secret, "free": {"x": [secret]}, "any": {"x": 1}, "list": [{"name": "x"}]})).is_empty());
        assert_eq!(check(json!({"open": secret})), ["a secret can't stand in this field: the driver must read it (at `/inputs/open`)"]);
        assert_eq!(
            check(json!({"open": deferred})),
            ["`/inputs/open` needs a value that is known only after `db:object/x` is ready (at `/inputs/open`)"]
        );
        assert_eq!(check(json!({"any": {"deep": [secret]}})).len(), 1);
        assert_eq!(check(json!({"list": [{"name": secret}]})).len(), 1);
        assert_eq!(check(json!({"port": "x", "list": [{"name": 1}]})).len(), 2);
        // What is misspelt is told with what is known there.
        let told = compiled.check(&json!({"opne": 1, "a/b": 2}), "/inputs", &|_| None);
        let told: Vec<_> = told.iter().map(|problem| (problem.to_string(), problem.hint.as_deref().unwrap_or_default())).collect();
        assert_eq!(
            told,
            [
                ("unknown field `a/b` (at `/inputs/a~1b`)".to_owned(), "known fields: `any`, `free`, `list`, `open`, `port`, `sealed`"),
                ("unknown field `opne` (at `/inputs/opne`)".to_owned(), "did you mean `open`?"),
            ]
        );
    }

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
        let stored = tokens.token(&SealedPart {
            encoding: Encoding::Json,
            origin: Origin::External { connection: "secrets".into(), reference: "A".into(), version: None },
            secret: true,
        });
        let yielded = tokens.token(&SealedPart {
            encoding: Encoding::Json,
            origin: Origin::Action { id: ActionId::new(&"db.default#x".parse().unwrap(), "object/x"), output: "/status/ip".into() },
            secret: false,
        });
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
        let told = |at: &str, value: Value, is_secret| {
            misfit(found.iter().find(|constraint| constraint.pointer == at).unwrap(), &value, is_secret)
        };
        assert_eq!(told("/inputs/kind", json!("a"), false), None);
        assert_eq!(told("/inputs/kind", json!("c"), false).unwrap(), "\"c\" is not one of \"a\" or \"b\"");
        assert_eq!(told("/inputs/list/1/name", json!(["x"]), false).unwrap(), "[\"x\"] is not of type \"string\"");
        assert_eq!(told("/inputs/map/a~1b", json!(true), false), None);
        // A secret is not shown.
        assert_eq!(told("/inputs/pattern", json!("secret"), true).unwrap(), "it does not match \"^a\"");
        assert_eq!(told("/inputs/port", json!("secret"), true).unwrap(), "its type is not \"integer\"");
    }

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
