//! One call: a fresh instance, its limits, its trap turned into a fault.

use std::time::Duration;

use wasmtime::{Store, Trap};
use windlass_engine::{driver::Fault, recorder::Recorder};
use windlass_model::limits;

use crate::{
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
