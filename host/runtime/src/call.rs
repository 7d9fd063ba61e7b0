//! One call: a fresh instance, its limits, its trap turned into a fault.

use std::time::Duration;

use wasmtime::{Store, Trap};
use windlass_engine::{
    driver::{Body, CallError, DriverAnswer, DriverRequest, Fault},
    recorder::Recorder,
};
use windlass_model::limits;

use crate::{
    convert::{self, resource, workload},
    limiter::{Limit, Limiter},
    wasi::Wasi,
};

/// What a store holds during one call.
#[derive(Default)]
pub(crate) struct CallState {
    pub recorder: Option<Recorder>,
    pub limiter: Limiter,
    pub wasi: Option<Wasi>,
}

/// A component that is ready to be instantiated.
pub(crate) struct Driver {
    pub pre: Pre,
    pub uses_wasi: bool,
}

pub(crate) enum Pre {
    Resource(resource::ResourceDriverPre<CallState>),
    Workload(workload::WorkloadDriverPre<CallState>),
}

/// Makes a store with all limits set.
pub(crate) fn store(engine: &wasmtime::Engine, state: CallState, time: Duration) -> Store<CallState> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store.epoch_deadline_trap();
    let ticks = time.as_millis() / limits::EPOCH_TICK.as_millis();
    store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX));
    store.set_hostcall_fuel(limits::HOST_CALL_COPY_BYTES_MAX);
    store
}

/// Names the limit or the trap behind an error.
pub(crate) fn fault(error: &wasmtime::Error, time: Duration) -> Fault {
    if let Some(Limit(limit)) = error.downcast_ref::<Limit>() {
        return Fault::Limit { limit: limit.limit, value: limit.value.clone() };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => Fault::Limit { limit: "call time", value: format!("{} ms", time.as_millis()) },
        Some(Trap::StackOverflow) => Fault::Limit { limit: "stack bytes", value: limits::DRIVER_STACK_BYTES_MAX.to_string() },
        Some(trap) => Fault::Trap(trap.to_string()),
        None => {
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            let text = chain.last().cloned().unwrap_or_default();
            if text.contains("hostcall") || text.contains("fuel") {
                return Fault::Limit { limit: "copied bytes", value: limits::HOST_CALL_COPY_BYTES_MAX.to_string() };
            }
            Fault::Answer(windlass_engine::recorder::printable(&text))
        }
    }
}

/// Calls the function of a driver's world in a fresh instance.
pub(crate) fn call(
    driver: &Driver,
    store: &mut Store<CallState>,
    request: &DriverRequest,
) -> wasmtime::Result<Result<DriverAnswer, CallError>> {
    match (&driver.pre, request) {
        (Pre::Resource(pre), DriverRequest::Define { context, key: (r#type, class, id), workloads, params, inputs }) => {
            use resource::exports::windlass::driver::resource_definition as wit;
            let instance = pre.instantiate(&mut *store)?;
            let request = wit::Request {
                context: convert::resource_context(context),
                key: resource::windlass::driver::types::ResourceKey { type_: r#type.clone(), class: class.clone(), id: id.clone() },
                workloads: workloads.clone(),
                params: params.clone(),
                inputs: inputs.clone(),
            };
            let answer = instance.windlass_driver_resource_definition().call_define(store, &request)?;
            Ok(answer.map(convert::resource_answer).map_err(|diagnostics| CallError::Refused(convert::resource_diagnostics(diagnostics))))
        }
        (Pre::Workload(pre), DriverRequest::Render { context, name, workload, inputs, manifests }) => {
            use workload::exports::windlass::driver::workload_profile as wit;
            let instance = pre.instantiate(&mut *store)?;
            let request = wit::Request {
                context: convert::workload_context(context),
                name: name.clone(),
                workload: workload.clone(),
                inputs: inputs.clone(),
                manifests: manifests.clone(),
            };
            let answer = instance.windlass_driver_workload_profile().call_render(store, &request)?;
            Ok(answer.map(convert::workload_answer).map_err(|diagnostics| CallError::Refused(convert::workload_diagnostics(diagnostics))))
        }
        (Pre::Resource(_), DriverRequest::Render { .. }) | (Pre::Workload(_), DriverRequest::Define { .. }) => {
            Err(wasmtime::Error::msg("the component implements the other world"))
        }
    }
}

/// Lists the JSON texts of an answer.
pub(crate) fn texts(answer: &DriverAnswer) -> impl Iterator<Item = &str> {
    let texts = match &answer.body {
        Body::Outputs(text) => std::slice::from_ref(text),
        Body::Manifests(texts) => texts,
    };
    texts.iter().map(String::as_str)
}
