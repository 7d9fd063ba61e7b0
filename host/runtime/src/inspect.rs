//! What a component is and asks for, read from its bytes before anything is compiled.

use wasmparser::{Parser, Payload, Validator, WasmFeatures, component_types::ComponentEntityType};
use windlass_engine::driver::{ComponentInfo, Fault, World};
use windlass_model::limits;

/// Interfaces of the host that are no privilege.
const NEUTRAL: [&str; 1] = ["windlass:driver/"];

/// The proposals that drivers may use: what ordinary toolchains emit, and nothing more.
#[must_use]
pub(crate) fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::FLOATS
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::SIMD
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::COMPONENT_MODEL
        | WasmFeatures::GC_TYPES
}

/// Reads a component.
pub fn inspect(bytes: &[u8]) -> Result<ComponentInfo, Fault> {
    if bytes.len() > limits::COMPONENT_BYTES_MAX {
        return Err(Fault::Limit { limit: "component bytes", value: limits::COMPONENT_BYTES_MAX.to_string() });
    }
    if Parser::is_core_wasm(bytes) {
        let reason = "it is a core module, no component: `wasm-tools component new IN.wasm -o OUT.wasm` makes one of it";
        return Err(Fault::Load(reason.to_owned()));
    }
    if !Parser::is_component(bytes) {
        return Err(Fault::Load("it is no WebAssembly component".to_owned()));
    }
    count_functions(bytes)?;
    let types = Validator::new_with_features(features()).validate_all(bytes).map_err(|error| Fault::Load(error.message().to_owned()))?;
    let types = types.as_ref();
    let mut imports = Vec::new();
    let mut privileges = Vec::new();
    let mut exports = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| Fault::Load(error.message().to_owned()))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let name = import.map_err(|error| Fault::Load(error.message().to_owned()))?.name.name.to_owned();
                    let acts = match types.component_item_for_import(&name).map(|item| item.ty) {
                        Some(ComponentEntityType::Instance(id)) => types.get(id).is_some_and(|instance| {
                            instance.exports.values().any(|export| matches!(export.ty, ComponentEntityType::Func(_)))
                        }),
                        Some(ComponentEntityType::Type { .. }) => false,
                        _ => true,
                    };
                    let plain = name.split('@').next().unwrap_or(&name).to_owned();
                    let neutral = NEUTRAL.iter().any(|prefix| plain.starts_with(prefix)) || plain.starts_with("wasi:");
                    if acts && !neutral {
                        privileges.push(plain);
                    }
                    imports.push(name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(|error| Fault::Load(error.message().to_owned()))?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    imports.sort();
    privileges.sort();
    privileges.dedup();
    let has = |interface: &str| exports.iter().any(|export| export.split('@').next() == Some(interface) && export.ends_with("@0.1.0"));
    let world = match (has("windlass:driver/resource-definition"), has("windlass:driver/workload-profile")) {
        (true, false) => World::ResourceDriver,
        (false, true) => World::WorkloadDriver,
        (true, true) => return Err(Fault::World("it exports both `resource-definition` and `workload-profile`".to_owned())),
        (false, false) => {
            return Err(Fault::World(format!("it exports {}", if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") })));
        }
    };
    let metadata = wasm_metadata::Payload::from_binary(bytes).ok();
    let metadata = metadata.as_ref().map(wasm_metadata::Payload::metadata);
    Ok(ComponentInfo {
        world,
        privileges,
        imports,
        bytes: bytes.len(),
        source: metadata.and_then(|metadata| metadata.source.as_ref()).map(ToString::to_string),
        revision: metadata.and_then(|metadata| metadata.revision.as_ref()).map(ToString::to_string),
    })
}

/// Bounds compile time: wasmtime calls no denial of service by compiling a vulnerability.
fn count_functions(bytes: &[u8]) -> Result<(), Fault> {
    let (mut functions, mut parts) = (0_usize, 0_usize);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| Fault::Load(error.message().to_owned()))? {
            Payload::CodeSectionStart { count, .. } => functions += count as usize,
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => parts += 1,
            _ => {}
        }
    }
    if parts > limits::COMPONENT_PARTS_MAX {
        return Err(Fault::Limit { limit: "component parts", value: limits::COMPONENT_PARTS_MAX.to_string() });
    }
    if functions > limits::COMPONENT_FUNCTIONS_MAX {
        Err(Fault::Limit { limit: "functions", value: limits::COMPONENT_FUNCTIONS_MAX.to_string() })
    } else {
        Ok(())
    }
}
