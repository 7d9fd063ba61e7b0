//! `schema`.

use windlass_document::{KINDS, schema_of};
use windlass_engine::driver::DriverHost as _;

use crate::{
    exit::{Code, Failure},
    planning::Planning,
    print,
};

/// What profiles receive: a workload with its placeholders resolved. It is not Score's own schema.
const RESOLVED: &str = "ResolvedWorkload";

pub(crate) fn schema(kind: &str) -> Result<Code, Failure> {
    if kind.eq_ignore_ascii_case(RESOLVED) {
        return resolved_workload();
    }
    if let Some((package, resource)) = kind.split_once('/') {
        return handle_schema(package, resource);
    }
    let wanted = KINDS.iter().find(|known| known.eq_ignore_ascii_case(kind));
    match wanted.and_then(|kind| schema_of(kind)) {
        Some(schema) => {
            print::structured(crate::arguments::Format::Json, schema)?;
            Ok(Code::Done)
        }
        None => {
            let near = windlass_model::did_you_mean(kind, KINDS.iter().copied());
            let failure = Failure::usage(format!("there is no kind `{kind}`"));
            Err(failure.hint(near.unwrap_or_else(|| format!("kinds: {}", KINDS.join(", ")))))
        }
    }
}

/// The schema of what drivers stage: `PACKAGE/RESOURCE`, as in `postgres/login`.
fn handle_schema(package: &str, resource: &str) -> Result<Code, Failure> {
    let planners = crate::planning::planners();
    let known: Vec<(String, serde_json::Value)> = planners
        .descriptors()
        .flat_map(|descriptor| descriptor.kinds.iter().map(move |kind| (descriptor.interface, kind.resource)))
        .filter_map(|(interface, resource)| {
            let package = interface.strip_prefix("windlass:")?.split('/').next()?;
            Some((format!("{package}/{resource}"), planners.get(interface)?.schema(resource)?))
        })
        .collect();
    match known.iter().find(|(name, _)| *name == format!("{package}/{resource}")) {
        Some((_, schema)) => {
            print::structured(crate::arguments::Format::Json, schema)?;
            Ok(Code::Done)
        }
        None => {
            let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            Err(Failure::usage(format!("there is no schema `{package}/{resource}`")).hint(format!("handles: {}", names.join(", "))))
        }
    }
}

/// The first-party profile's own types are the contract.
fn resolved_workload() -> Result<Code, Failure> {
    let planning = Planning::new()?;
    let digest =
        planning.built_in.components.get("builtin:workload-default").ok_or_else(|| Failure::failed("the built-in profile is missing"))?;
    let description = planning.host.describe(digest).map_err(|fault| Failure::failed(fault.to_string()))?;
    let schema: serde_json::Value = serde_json::from_str(&description.params_schema).map_err(Failure::failed)?;
    print::structured(crate::arguments::Format::Json, &schema)?;
    Ok(Code::Done)
}
