//! `driver inspect`.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};
use windlass_engine::driver::{DriverFault, DriverHost as _, World};

use crate::{
    arguments::Format,
    exit::{Code, Failure},
    page::Page,
    planning::Planning,
    print,
};

pub(crate) fn inspect(file: &Path, format: Format) -> Result<Code, Failure> {
    let planning = Planning::new()?;
    let digest = match planning.built_in.components.get(&format!("builtin:{}", file.display())) {
        Some(digest) if !file.exists() => *digest,
        _ => {
            let bytes =
                std::fs::read(file).map_err(|error| Failure::new(Code::BadInput, format!("{} can't be read: {error}", file.display())))?;
            planning.components.add(&file.display().to_string(), Bytes::from(bytes))
        }
    };
    let bad = |fault: DriverFault| Failure::new(Code::BadInput, fault.to_string());
    let info = planning.host.inspect(&digest).map_err(bad)?;
    let description = planning.host.describe(&digest).map_err(bad)?;
    let schema = |text: &str| -> Value { serde_json::from_str(text).unwrap_or(Value::Null) };
    let (inputs, params, outputs) =
        (schema(&description.inputs_schema), schema(&description.params_schema), schema(&description.outputs_schema));
    if format != Format::Text {
        print::structured(
            format,
            &json!({ "digest": digest, "summary": description.summary, "component": info.as_ref(), "inputs": inputs, "params": params, "outputs": outputs }),
        )?;
        return Ok(Code::Done);
    }
    let mut out = Page::default();
    out.line(format_args!("{}", description.summary));
    let world = match info.world {
        World::ResourceDriver => "resource-driver",
        World::WorkloadDriver => "workload-driver: manifests in the workload's namespace",
    };
    out.line(format_args!("  world       {world}"));
    out.line(format_args!("  privileges  {}", if info.privileges.is_empty() { "none".to_owned() } else { info.privileges.join(", ") }));
    out.line(format_args!("  imports     {}", if info.imports.is_empty() { "none".to_owned() } else { info.imports.join(", ") }));
    out.line(format_args!("  digest      {digest}"));
    out.line(format_args!("  size        {} bytes", info.bytes));
    out.line(format_args!("  source      {}", info.source.as_deref().unwrap_or("unknown")));
    out.line(format_args!("  revision    {}", info.revision.as_deref().unwrap_or("unknown")));
    section(&mut out, "inputs", &inputs, true);
    match info.world {
        World::ResourceDriver => {
            section(&mut out, "params", &params, true);
            // Nobody asks for outputs: a driver leaves out what it has not.
            section(&mut out, "outputs", &outputs, false);
        }
        World::WorkloadDriver => {
            out.line("  params      the resolved workload: `windlass schema ResolvedWorkload`");
            out.line("  outputs     its manifests");
        }
    }
    out.print()?;
    Ok(Code::Done)
}

/// Lists what a document has.
fn section(out: &mut Page, name: &str, schema: &Value, asks: bool) {
    let has_fields = schema.get("properties").and_then(Value::as_object).is_some_and(|fields| !fields.is_empty());
    match (has_fields, schema.get("type")) {
        (true, _) => out.line(format_args!("  {name}")),
        (false, Some(_)) => out.line(format_args!("  {name:<10}  none")),
        (false, None) => out.line(format_args!("  {name:<10}  any")),
    }
    fields(out, schema, schema, 0, asks);
}

/// Lists an object's fields, and below each those of the objects in it.
fn fields(out: &mut Page, schema: &Value, root: &Value, depth: usize, asks: bool) {
    let indent = 4 + 2 * depth;
    let required: Vec<&str> = list(schema, "required").iter().filter_map(Value::as_str).collect();
    for (field, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let mut notes = vec![kind(schema, root, 0)];
        notes.extend((asks && required.contains(&field.as_str())).then(|| "required".to_owned()));
        notes.extend((schema.get("x-windlass-sealed") == Some(&Value::Bool(true))).then(|| "may be sealed".to_owned()));
        let about = schema.get("description").and_then(Value::as_str).unwrap_or_default().lines().next().unwrap_or_default();
        out.line(format_args!("{:indent$}{field} ({})  {about}", "", notes.join(", ")));
        if let Some(within) = element(schema, root, 0).filter(|_| depth < DEPTH_MAX) {
            fields(out, within, root, depth + 1, asks);
        }
    }
}

/// How far a schema is followed into itself: one that describes trees has no end.
const DEPTH_MAX: usize = 4;

/// Names what a schema takes: `string`, `list of string`, `httpRoute | ingress`.
fn kind(schema: &Value, root: &Value, depth: usize) -> String {
    if depth > DEPTH_MAX {
        return "…".to_owned();
    }
    let schema = followed(schema, root);
    if let Some(constant) = schema.get("const") {
        return constant.as_str().map_or_else(|| constant.to_string(), str::to_owned);
    }
    for (list_of, between) in [("enum", " | "), ("oneOf", " | "), ("anyOf", " or ")] {
        let choices = list(schema, list_of).iter().filter(|choice| !is_null(choice));
        let names: Vec<String> = match list_of {
            "enum" => choices.filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => choices.map(|choice| kind(choice, root, depth + 1)).collect(),
        };
        if !names.is_empty() {
            return names.join(between);
        }
    }
    let types = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        _ => return "any".to_owned(),
    };
    let of = |within: &str| schema.get(within).filter(|inner| inner.is_object()).map(|inner| kind(inner, root, depth + 1));
    let named = |name: &str| match name {
        "array" => of("items").map_or_else(|| "list".to_owned(), |inner| format!("list of {inner}")),
        "object" => of("additionalProperties").map_or_else(|| "object".to_owned(), |inner| format!("map of {inner}")),
        other => other.to_owned(),
    };
    types.into_iter().map(named).collect::<Vec<_>>().join(" or ")
}

/// Finds the object whose fields are worth listing: the schema itself, or what a list or a map holds.
fn element<'s>(schema: &'s Value, root: &'s Value, depth: usize) -> Option<&'s Value> {
    let schema = followed(schema, root);
    if schema.get("properties").is_some() || depth > DEPTH_MAX {
        return Some(schema);
    }
    let inner = ["items", "additionalProperties"].into_iter().filter_map(|within| schema.get(within)).find(|inner| inner.is_object());
    let only = || {
        let mut choices = list(schema, "anyOf").iter().filter(|choice| !is_null(choice));
        choices.next().filter(|_| choices.next().is_none())
    };
    element(inner.or_else(only)?, root, depth + 1)
}

/// Follows a reference to a definition of the document.
fn followed<'s>(schema: &'s Value, root: &'s Value) -> &'s Value {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

fn list<'s>(schema: &'s Value, field: &str) -> &'s [Value] {
    schema.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}
