//! JSON Schemas made from the model's types, and their errors turned into sentences.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use jsonschema::{
    ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};
use windlass_model::{application, did_you_mean, platform, pointer, score, unknown_field_hint};

use crate::{
    leftovers,
    problem::{Problem, Problems, Source},
    tree::{Node, Span},
};

/// The kinds of documents, as `windlass schema KIND` names them.
pub const KINDS: [&str; 7] =
    ["Workload", "Application", "ResourceDefinition", "WorkloadProfile", "EnvironmentType", "Connection", "ResourceType"];

struct Kind {
    schema: Value,
    validator: Validator,
}

static SCHEMAS: LazyLock<BTreeMap<&'static str, Value>> = LazyLock::new(|| {
    BTreeMap::from([
        ("Workload", generate::<score::Workload>("Workload")),
        ("Application", generate::<application::Application>("Application")),
        ("ResourceDefinition", generate::<platform::ResourceDefinition>("ResourceDefinition")),
        ("WorkloadProfile", generate::<platform::WorkloadProfile>("WorkloadProfile")),
        ("EnvironmentType", generate::<platform::EnvironmentType>("EnvironmentType")),
        ("Connection", generate::<platform::Connection>("Connection")),
        ("ResourceType", generate::<platform::ResourceType>("ResourceType")),
    ])
});

static VALIDATORS: [LazyLock<Option<Kind>>; 7] = [
    LazyLock::new(|| compile(KINDS[0])),
    LazyLock::new(|| compile(KINDS[1])),
    LazyLock::new(|| compile(KINDS[2])),
    LazyLock::new(|| compile(KINDS[3])),
    LazyLock::new(|| compile(KINDS[4])),
    LazyLock::new(|| compile(KINDS[5])),
    LazyLock::new(|| compile(KINDS[6])),
];

fn generate<T: JsonSchema>(kind: &str) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("$id".into(), json!(format!("https://windlass.dev/schema/v1alpha1/{kind}.schema.json")));
    }
    schema
}

fn compile(kind: &str) -> Option<Kind> {
    let schema = SCHEMAS.get(kind)?.clone();
    let validator = jsonschema::draft202012::new(&schema).ok()?;
    Some(Kind { schema, validator })
}

/// Returns the JSON Schema of a document kind.
#[must_use]
pub fn schema_of(kind: &str) -> Option<&'static Value> {
    SCHEMAS.get(kind)
}

/// Returns the place and the message of the first error in a document of a kind.
pub(crate) fn first_error(kind: &str, value: &Value) -> Option<(String, String)> {
    let compiled = KINDS.iter().position(|known| *known == kind).and_then(|index| VALIDATORS.get(index)).and_then(|lazy| lazy.as_ref());
    let Some(compiled) = compiled else { return Some((String::new(), format!("is of an unknown kind `{kind}`"))) };
    let error = compiled.validator.iter_errors(value).next()?;
    Some((error.instance_path().to_string(), format!("does not fit: {}", error.masked())))
}

/// One way in which a document does not fit its schema, as far as repairing it needs to know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Fields that the schema does not have.
    Unknown { at: String, names: Vec<String> },
    /// A field that it requires.
    Missing { at: String, name: String },
    /// A map without entries.
    Empty { at: String },
    /// A value of another form, and one of the expected type where that is one.
    Misfit { at: String, other: Option<Value> },
}

/// Lists what does not fit in a document of a kind.
pub(crate) fn faults(kind: &str, value: &Value) -> Vec<Fault> {
    let compiled = KINDS.iter().position(|known| *known == kind).and_then(|index| VALIDATORS.get(index)).and_then(|lazy| lazy.as_ref());
    let errors = compiled.into_iter().flat_map(|compiled| compiled.validator.iter_errors(value));
    let mut found = Vec::new();
    errors.for_each(|error| add_faults(&error, &mut found));
    found
}

fn add_faults(error: &ValidationError<'_>, found: &mut Vec<Fault>) {
    match meant(error) {
        Some(inner) => inner.iter().for_each(|inner| add_faults(inner, found)),
        None => found.push(fault(error)),
    }
}

fn fault(error: &ValidationError<'_>) -> Fault {
    let at = error.instance_path().as_str().to_owned();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            Fault::Unknown { at, names: unexpected.clone() }
        }
        ValidationErrorKind::Required { property } => Fault::Missing { at, name: plain(property) },
        ValidationErrorKind::PropertyNames { error } => Fault::Unknown { at, names: vec![plain(error.instance())] },
        ValidationErrorKind::MinProperties { .. } => Fault::Empty { at },
        ValidationErrorKind::Type { kind: TypeKind::Single(kind) } => {
            let other = match kind.to_string().as_str() {
                "string" => Some(json!("x")),
                "object" => Some(json!({})),
                "array" => Some(json!([])),
                _ => None,
            };
            Fault::Misfit { at, other }
        }
        _ => Fault::Misfit { at, other: None },
    }
}

/// Checks a document; every finding is added to `problems`.
pub(crate) fn check(kind: &'static str, source: &Arc<Source>, node: &Node, value: &Value, problems: &mut Problems) {
    let Some(compiled) =
        KINDS.iter().position(|known| *known == kind).and_then(|index| VALIDATORS.get(index)).and_then(|lazy| lazy.as_ref())
    else {
        problems.push(Problem::file(source, "unknown-kind", format!("no schema for kind `{kind}`")));
        return;
    };
    if compiled.validator.is_valid(value) {
        return;
    }
    for error in compiled.validator.iter_errors(value) {
        explain(&compiled.schema, source, node, &error, problems);
    }
}

fn explain(schema: &Value, source: &Arc<Source>, node: &Node, error: &ValidationError<'_>, problems: &mut Problems) {
    let at = error.instance_path().as_str().to_owned();
    let here = |message: String| Problem::file(source, error.kind().keyword_code(), message).at(node.span_at(&at), at.clone());
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            for name in unexpected {
                let problem = Problem::file(source, "unknown-field", format!("unknown field `{name}`"))
                    .at(node.key_span(&at, name), format!("{at}/{}", pointer::escape(name)));
                let near = || unknown_field_hint(schema, error.schema_path().as_str(), name);
                let is_score = schema.get("$id").and_then(Value::as_str).is_some_and(|id| id.ends_with("/Workload.schema.json"));
                let left = leftovers::remedy(&at, name).filter(|_| is_score).map(str::to_owned);
                problems.push(problem.hint_if(left.or_else(near)));
            }
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            problems.push(here(format!("missing field `{name}`")).hint(format!("add `{name}:`")));
        }
        ValidationErrorKind::Type { kind } => {
            let wanted = match kind {
                TypeKind::Single(kind) => kind.to_string(),
                // An optional field may be null; nobody means that.
                TypeKind::Multiple(kinds) => {
                    let kinds: Vec<String> = kinds.iter().map(|kind| kind.to_string()).filter(|kind| kind != "null").collect();
                    kinds.join(" or ")
                }
            };
            let problem = here(format!("expected {}, found {}", article(&wanted), describe(error.instance())));
            problems.push(if wanted == "string" && !error.instance().is_object() && !error.instance().is_array() {
                problem.hint(quoted(source, node.span_at(&at), error.instance()))
            } else {
                problem
            });
        }
        ValidationErrorKind::Enum { options } => {
            let names: Vec<String> = options.as_array().into_iter().flatten().map(plain).collect();
            let found = plain(error.instance());
            let problem = here(format!("`{found}` is not one of {}", list(&names)));
            problems.push(problem.hint_if(did_you_mean(&found, names.iter().map(String::as_str))));
        }
        ValidationErrorKind::Pattern { pattern } => {
            problems.push(here(format!("`{}` does not have the form `{pattern}`", plain(error.instance()))))
        }
        ValidationErrorKind::PropertyNames { error: inner } => {
            let name = plain(inner.instance());
            let problem = Problem::file(source, "field-name", format!("`{name}` can't be a name here"))
                .at(node.key_span(&at, &name), format!("{at}/{}", pointer::escape(&name)));
            problems.push(match inner.kind() {
                ValidationErrorKind::Pattern { pattern } => problem.hint(format!("names have the form `{pattern}`")),
                _ => problem,
            });
        }
        ValidationErrorKind::Minimum { limit } => {
            problems.push(here(format!("{} is less than the minimum of {limit}", plain(error.instance()))))
        }
        ValidationErrorKind::Maximum { limit } => {
            problems.push(here(format!("{} is greater than the maximum of {limit}", plain(error.instance()))))
        }
        ValidationErrorKind::MinLength { limit } => problems.push(here(format!("the text is shorter than {limit} characters"))),
        ValidationErrorKind::MaxLength { limit } => problems.push(here(format!("the text is longer than {limit} characters"))),
        ValidationErrorKind::MinProperties { limit } => problems.push(here(format!("at least {limit} entry is needed"))),
        ValidationErrorKind::OneOfMultipleValid { .. } | ValidationErrorKind::OneOfNotValid { .. } | ValidationErrorKind::AnyOf { .. } => {
            match meant(error) {
                Some(inner) => inner.iter().for_each(|inner| explain(schema, source, node, inner, problems)),
                None => problems.push(alternatives(schema, error, here)),
            }
        }
        _ => problems.push(here(error.to_string())),
    }
}

/// Says how to write a scalar as text: as it stands in the file, since `1.10` is not `1.1`.
fn quoted(source: &Source, span: Span, instance: &Value) -> String {
    let written = source.text.get(span.offset..span.offset.saturating_add(span.length)).map(str::trim).filter(|text| !text.contains('\n'));
    match written {
        Some("") if instance.is_null() => "write `\"\"` for an empty text".to_owned(),
        // An alias stands for what is written elsewhere.
        Some(written) if !written.is_empty() && !written.starts_with('*') => format!("put it in quotes: `\"{written}\"`"),
        _ => format!("put it in quotes: `\"{}\"`", plain(instance)),
    }
}

/// The errors of the alternative that was meant: the only one of the type of what was given (an optional field is a choice with
/// `null`), or the only one whose fields are there.
fn meant<'a, 'b>(error: &'a ValidationError<'b>) -> Option<&'a [ValidationError<'b>]> {
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) = error.kind() else { return None };
    let is_another = |inner: &ValidationError<'_>| {
        matches!(inner.kind(), ValidationErrorKind::Type { .. } | ValidationErrorKind::Constant { .. } | ValidationErrorKind::Enum { .. })
    };
    let is_absent = |inner: &ValidationError<'_>| matches!(inner.kind(), ValidationErrorKind::Required { .. });
    let none_here = |branch: &[ValidationError<'b>], is_wrong: &dyn Fn(&ValidationError<'_>) -> bool| {
        !branch.iter().any(|inner| inner.instance_path() == error.instance_path() && is_wrong(inner))
    };
    let of_type: Vec<&[ValidationError<'b>]> = context.iter().map(Vec::as_slice).filter(|branch| none_here(branch, &is_another)).collect();
    let mut there = of_type.iter().copied().filter(|branch| none_here(branch, &is_absent));
    match (of_type.as_slice(), there.next(), there.next()) {
        ([only], _, _) => Some(*only),
        (_, Some(only), None) => Some(only),
        _ => None,
    }
}

/// Explains a failed choice: required alternatives by name, enums by value, the rest by type.
fn alternatives(schema: &Value, error: &ValidationError<'_>, here: impl Fn(String) -> Problem) -> Problem {
    let branches = schema.pointer(error.schema_path().as_str()).and_then(Value::as_array).cloned().unwrap_or_default();
    let required: Vec<String> = branches.iter().filter_map(|branch| branch.get("required")?.get(0)?.as_str().map(str::to_owned)).collect();
    if !required.is_empty() {
        let many = required.iter().filter(|name| error.instance().get(name).is_some()).count() > 1;
        return here(format!("exactly one of {} is needed{}", list(&required), if many { ", found several" } else { "" }));
    }
    let names: Vec<String> =
        branches.iter().filter_map(|branch| branch.get("const").or_else(|| branch.get("enum")?.get(0)).map(plain)).collect();
    if !names.is_empty() {
        let found = plain(error.instance());
        let problem = here(format!("`{found}` is not one of {}", list(&names)));
        return problem.hint_if(did_you_mean(&found, names.iter().map(String::as_str)));
    }
    let keys: Vec<String> = branches.iter().filter_map(|branch| branch.get("properties")?.as_object()?.keys().next().cloned()).collect();
    if !keys.is_empty() && !error.instance().is_string() {
        let problem = here(format!("one of {} is expected", list(&keys)));
        let found = error.instance().as_object().and_then(|object| object.keys().next().cloned()).unwrap_or_default();
        return problem.hint_if(did_you_mean(&found, keys.iter().map(String::as_str)));
    }
    if let ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } = error.kind()
        && let Some(inner) = context.iter().flatten().find(|inner| !matches!(inner.kind(), ValidationErrorKind::Type { .. }))
    {
        return here(format!("`{}` does not fit: {inner}", plain(error.instance())));
    }
    here(format!("{} does not fit here", describe(error.instance())))
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    match kind {
        "object" => "a map".to_owned(),
        "array" => "a list".to_owned(),
        kind => format!("{} {kind}", if vowel { "an" } else { "a" }),
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("the boolean `{value}`"),
        Value::Number(number) => format!("the number `{number}`"),
        Value::String(text) => format!("the string `{text}`"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

trait KeywordCode {
    fn keyword_code(&self) -> &'static str;
}

impl KeywordCode for ValidationErrorKind {
    /// Names the broken rule for machines.
    fn keyword_code(&self) -> &'static str {
        match self {
            Self::Required { .. } => "missing-field",
            Self::Type { .. } => "wrong-type",
            Self::Enum { .. } => "unknown-value",
            Self::Pattern { .. } => "wrong-form",
            _ => "invalid",
        }
    }
}
