//! The table-driven linker: every capability is registered from its descriptor, without code of its own.

use wasmtime::{
    StoreContextMut,
    component::{Linker, LinkerInstance, ResourceDynamic, ResourceType},
};
use windlass_engine::{Planners, budget::LimitReached, planner::CapabilityDescriptor, recorder::Recorder};

use crate::{call::CallState, limiter::Limit};

/// Registers `windlass:driver/sealed` and every capability.
pub(crate) fn link(linker: &mut Linker<CallState>, planners: &Planners) -> wasmtime::Result<()> {
    sealed(&mut linker.instance("windlass:driver/sealed@0.1.0")?)?;
    let mut type_index = 0;
    for descriptor in planners.descriptors() {
        let mut instance = linker.instance(&format!("{}@{}", descriptor.interface, descriptor.version))?;
        capability(&mut instance, descriptor, &mut type_index)?;
    }
    Ok(())
}

/// Runs a function of the recorder; a limit becomes a trap.
fn record<R>(
    store: &mut StoreContextMut<'_, CallState>,
    run: impl FnOnce(&mut Recorder) -> Result<R, LimitReached>,
) -> wasmtime::Result<R> {
    match store.data_mut().recorder.as_mut() {
        Some(recorder) => run(recorder).map_err(|limit| Limit(limit).into()),
        None => Err(wasmtime::Error::msg("capabilities can't be used in `describe`")),
    }
}

fn sealed(instance: &mut LinkerInstance<'_, CallState>) -> wasmtime::Result<()> {
    for name in ["to-text", "to-base64", "to-url-component", "to-json-string", "to-yaml-string", "scram-sha256"] {
        instance.func_wrap(name, move |mut store, (value,): (String,)| {
            record(&mut store, |recorder| recorder.sealed(name, &[&value], None)).map(|text| (text,))
        })?;
    }
    instance.func_wrap("bcrypt", |mut store, (value, cost): (String, u8)| {
        record(&mut store, |recorder| recorder.sealed("bcrypt", &[&value], Some(cost))).map(|text| (text,))
    })?;
    instance.func_wrap("fingerprint", |mut store, (values,): (Vec<String>,)| {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        record(&mut store, |recorder| recorder.sealed("fingerprint", &values, None)).map(|text| (text,))
    })
}

fn capability(
    instance: &mut LinkerInstance<'_, CallState>,
    descriptor: &'static CapabilityDescriptor,
    type_index: &mut u32,
) -> wasmtime::Result<()> {
    for kind in descriptor.kinds {
        let resource = kind.resource;
        let interface = descriptor.interface;
        let this = *type_index;
        *type_index += 1;
        instance.resource(resource, ResourceType::host_dynamic(this), |_, _| Ok(()))?;
        instance.func_wrap(&format!("[constructor]{resource}"), move |mut store, (name, spec): (String, String)| {
            record(&mut store, |recorder| recorder.construct(interface, resource, &name, &spec))
                .map(|handle| (ResourceDynamic::new_own(handle, this),))
        })?;
        instance.func_wrap(&format!("[method]{resource}.action"), |mut store, (handle,): (ResourceDynamic,)| {
            record(&mut store, |recorder| recorder.method(handle.rep(), "action", None)).map(|text| (text,))
        })?;
        instance.func_wrap(&format!("[method]{resource}.after"), |mut store, (handle, action): (ResourceDynamic, String)| {
            record(&mut store, |recorder| recorder.after(handle.rep(), &action))
        })?;
        for method in kind.methods {
            let name = method.name;
            let full = format!("[method]{resource}.{name}");
            if method.argument {
                instance.func_wrap(&full, move |mut store, (handle, argument): (ResourceDynamic, String)| {
                    record(&mut store, |recorder| recorder.method(handle.rep(), name, Some(&argument))).map(|text| (text,))
                })?;
            } else {
                instance.func_wrap(&full, move |mut store, (handle,): (ResourceDynamic,)| {
                    record(&mut store, |recorder| recorder.method(handle.rep(), name, None)).map(|text| (text,))
                })?;
            }
        }
    }
    Ok(())
}
