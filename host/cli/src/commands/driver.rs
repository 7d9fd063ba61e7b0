//! `driver inspect`.

use std::{fmt::Write as _, path::Path};

use bytes::Bytes;
use serde_json::{Value, json};
use windlass_engine::driver::DriverHost as _;

use crate::{
    arguments::Format,
    exit::{Code, Failure},
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
    let bad = |fault: windlass_engine::driver::DriverFault| Failure::new(Code::BadInput, fault.to_string());
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
    let mut out = String::new();
    let _ = writeln!(out, "{}", description.summary);
    let world = match info.world {
        windlass_engine::driver::World::ResourceDriver => "resource-driver",
        windlass_engine::driver::World::WorkloadDriver => "workload-driver: manifests in the workload's namespace",
    };
    let _ = writeln!(out, "  world       {world}");
    let _ = writeln!(out, "  privileges  {}", if info.privileges.is_empty() { "none".to_owned() } else { info.privileges.join(", ") });
    let _ = writeln!(out, "  imports     {}", if info.imports.is_empty() { "none".to_owned() } else { info.imports.join(", ") });
    let _ = writeln!(out, "  digest      {digest}\n  size        {} bytes", info.bytes);
    let _ = writeln!(
        out,
        "  source      {}\n  revision    {}",
        info.source.as_deref().unwrap_or("unknown"),
        info.revision.as_deref().unwrap_or("unknown")
    );
    for (name, schema) in [("inputs", &inputs), ("params", &params), ("outputs", &outputs)] {
        let properties = schema.get("properties").and_then(Value::as_object);
        let _ = writeln!(out, "  {name}");
        for (field, schema) in properties.into_iter().flatten() {
            let kind = schema
                .get("type")
                .map(|kind| kind.as_str().map_or_else(|| kind.to_string(), str::to_owned))
                .unwrap_or_else(|| "any".to_owned());
            let sealed = if schema.get("x-windlass-sealed") == Some(&Value::Bool(true)) { ", may be sealed" } else { "" };
            let about = schema.get("description").and_then(Value::as_str).unwrap_or_default().lines().next().unwrap_or_default();
            let _ = writeln!(out, "    {field} ({kind}{sealed})  {about}");
        }
    }
    print::out(&out)?;
    Ok(Code::Done)
}
