//! Compilation, in threads of its own.
//!
//! Whoever plans a node waits for its driver with the driver's slot locked. Wasmtime compiles with rayon: a thread of the pool that plans
//! nodes would take another node while it waits for parts of a compilation, and that node may wait for the same driver, for ever.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::LazyLock,
    thread,
};

use rayon::{ThreadPool, ThreadPoolBuilder};
use wasmtime::{Engine, component::Component};
use windlass_engine::driver::Fault;

use crate::host::load_fault;

static POOL: LazyLock<Option<ThreadPool>> =
    LazyLock::new(|| ThreadPoolBuilder::new().thread_name(|index| format!("compile-{index}")).build().ok());

/// Compiles a component in this process. Some components make the compiler panic.
///
/// # Errors
///
/// `Load` if it can't be compiled.
pub(crate) fn compile(engine: &Engine, bytes: &[u8]) -> Result<Component, Fault> {
    let pool = POOL.as_ref().ok_or_else(no_threads)?;
    let compiled = || panic::catch_unwind(AssertUnwindSafe(|| Component::from_binary(engine, bytes)));
    // A thread of no pool waits, and takes nothing up meanwhile.
    let apart = thread::scope(|scope| {
        let waits = thread::Builder::new().spawn_scoped(scope, || pool.install(compiled)).ok()?;
        waits.join().ok()
    });
    apart.ok_or_else(no_threads)?.map_err(|_| Fault::Load("the compiler failed on it".to_owned()))?.map_err(|error| load_fault(&error))
}

fn no_threads() -> Fault {
    Fault::Load("threads that compile can't be started".to_owned())
}
