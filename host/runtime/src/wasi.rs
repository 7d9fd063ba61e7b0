//! WASI for drivers whose toolchain drags it in: nothing is behind it.
//!
//! No files, no environment, no arguments, no sockets; clocks stand still; randomness is seeded by
//! the request; what is printed goes into a small buffer and is dropped.

use std::time::Duration;

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView, p2::pipe::MemoryOutputPipe, random::Deterministic};
use windlass_model::limits;

use crate::call::CallState;

/// The context of one call.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
}

/// A clock that stands still.
struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1
    }

    // Far in the future: every timer has fired already, so nothing ever waits.
    fn now(&self) -> u64 {
        u64::MAX / 2
    }
}

/// Makes the context of one call.
pub(crate) fn context(seed: &[u8]) -> Wasi {
    let mut builder = WasiCtx::builder();
    let pipe = MemoryOutputPipe::new(limits::DRIVER_LOG_BYTES_MAX);
    builder
        .stdout(pipe.clone())
        .stderr(pipe)
        .wall_clock(Still)
        .monotonic_clock(Still)
        .secure_random(Deterministic::new(seed.to_vec()))
        .insecure_random(Deterministic::new(seed.to_vec()))
        .insecure_random_seed(seed.iter().take(8).fold(0, |number, byte| number << 8 | u128::from(*byte)))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    Wasi { ctx: builder.build(), table: ResourceTable::new() }
}

/// Registers WASI.
pub(crate) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(|| context(&[0]));
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}
