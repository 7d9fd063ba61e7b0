//! Schemas of drivers and types, made aware of tokens and compiled once.

mod constraints;
mod references;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Map, Value, json};
use windlass_model::{
    Diagnostic, Digest, limits, pointer, schema_bounds,
    sealed::{self, Sealed, TOKEN_CLOSE, TOKEN_OPEN},
    unknown_field_hint,
};

pub(crate) use constraints::misfit;

use crate::driver::Description;
use constraints::is_strict;

/// The mark of positions that may be sealed.
pub const SEALED_MARK: &str = "x-windlass-sealed";
/// The mark of secret outputs.
pub const SECRET_MARK: &str = "x-windlass-secret";
/// The mark of the param that takes the name of the Service of the workload that asks, or that the param `workload` names.
pub const BACKEND_MARK: &str = "x-windlass-backend";

/// The compiled schemas of one driver.
#[derive(Debug)]
pub struct DriverSchemas {
    /// Of the inputs.
    pub inputs: TokenSchema,
    /// Of the params or the resolved workload.
    pub params: TokenSchema,
    /// Of the outputs.
    pub outputs: TokenSchema,
    /// The param that is marked as the backend.
    pub backend: Option<String>,
    /// The names of all params, where the driver lists them and refuses others.
    pub accepted: Option<Vec<String>>,
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
            if text.len() > limits::SCHEMA_BYTES_MAX {
                return Err(format!("its {name} schema passes the limit `schema bytes` of {}", limits::SCHEMA_BYTES_MAX));
            }
            let schema: Value = serde_json::from_str(text).map_err(|error| format!("its {name} schema is no JSON: {error}"))?;
            TokenSchema::compile(&schema).map_err(|error| format!("its {name} schema is no JSON Schema: {error}"))
        };
        let params = parse("params", &description.params_schema)?;
        let schemas = Arc::new(DriverSchemas {
            inputs: parse("inputs", &description.inputs_schema)?,
            backend: params.marked(BACKEND_MARK),
            accepted: params.accepted(),
            params,
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

/// Compiles a schema whose checks are bounded in time.
///
/// # Errors
///
/// Why the schema is refused: what it would cost, a pattern that needs backtracking, or a keyword that is used wrongly.
fn bounded(schema: &Value) -> Result<Validator, String> {
    schema_bounds::check(schema).map_err(|error| error.to_string())?;
    // An engine without backtracking: time is linear in the text, whatever the pattern.
    let patterns = PatternOptions::regex().size_limit(limits::SCHEMA_PATTERN_BYTES_MAX).dfa_size_limit(limits::SCHEMA_PATTERN_BYTES_MAX);
    jsonschema::draft202012::options().with_pattern_options(patterns).build(schema).map_err(|error| {
        let at = error.instance_path().to_string();
        let is_pattern = at.ends_with("/pattern") || at.contains("/patternProperties");
        let remedy = "; patterns are matched without backtracking: write it without look-around and back-references";
        format!("{error}{}", if is_pattern { remedy } else { "" })
    })
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
        let validator = bounded(&text)?;
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

    /// Returns the name of the property that carries a mark.
    fn marked(&self, mark: &str) -> Option<String> {
        let properties = self.text.get("properties")?.as_object()?;
        properties.iter().find(|(_, property)| property.get(mark) == Some(&Value::Bool(true))).map(|(name, _)| name.clone())
    }

    /// Returns the names of all properties, if the schema refuses others and nothing but `properties` names them.
    fn accepted(&self) -> Option<Vec<String>> {
        let is_alone = |keyword: &str| self.text.get(keyword).is_none();
        let is_closed = self.text.get("additionalProperties") == Some(&Value::Bool(false));
        let is_listed = ["allOf", "anyOf", "oneOf", "if", "$ref", "patternProperties"].into_iter().all(is_alone);
        let properties = self.text.get("properties").and_then(Value::as_object);
        // The host gives the backend, and no author of a resource does.
        let is_given = |property: &Value| property.get(BACKEND_MARK) == Some(&Value::Bool(true));
        let names = || properties.into_iter().flatten().filter(|(_, property)| !is_given(property)).map(|(name, _)| name.clone()).collect();
        (is_closed && is_listed).then(names)
    }

    /// Checks a value in which tokens stand for sealed values; `base` is put before pointers.
    pub fn check(&self, value: &Value, base: &str, known_after: &dyn Fn(&str) -> Option<String>) -> Vec<Diagnostic> {
        if self.validator.is_valid(value) {
            return Vec::new();
        }
        let mut out = Vec::new();
        // A value with thousands of elements may have as many misfits: the first ones tell what to mend.
        let errors = self.validator.iter_errors(value).take(limits::DIAGNOSTICS_MAX);
        errors.for_each(|error| self.describe(&error, base, known_after, &mut out));
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

/// What a position takes in the place of a value.
fn token() -> Value {
    json!({ "type": "string", "pattern": TOKEN_OPEN.to_string() })
}

/// Tells whether a type's output is secret.
#[must_use]
pub fn is_secret_output(outputs_schema: &Value, name: &str) -> bool {
    outputs_schema.get("properties").and_then(|properties| properties.get(name)).and_then(|output| output.get(SECRET_MARK))
        == Some(&Value::Bool(true))
}

/// Turns a value into the type's own: `"5432"` into `5432`, `5432` into `"5432"`; what is known later when it is known.
#[must_use]
pub fn coerce(outputs_schema: &Value, name: &str, value: Value) -> Value {
    let output = outputs_schema.get("properties").and_then(|properties| properties.get(name));
    let Some(kind) = output.and_then(|output| output.get("type")).and_then(Value::as_str) else { return value };
    match Sealed::from_json(&value) {
        Some(sealed) => sealed.into_type(kind).to_json(),
        None => sealed::coerce(kind, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misfits_of_a_large_value_are_listed_up_to_a_limit() {
        let compiled = TokenSchema::compile(&json!({ "type": "array", "items": { "type": "integer" } })).unwrap();
        let listed = |misfits: usize| compiled.check(&json!(vec!["x"; misfits]), "", &|_| None).len();
        assert_eq!(listed(limits::DIAGNOSTICS_MAX), limits::DIAGNOSTICS_MAX);
        assert_eq!(listed(limits::DIAGNOSTICS_MAX + 1), limits::DIAGNOSTICS_MAX);
    }

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
}
