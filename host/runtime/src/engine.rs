//! The engine: which proposals and how much memory drivers get, and how many of them run at a time.

use std::{
    sync::{Condvar, Mutex, OnceLock, PoisonError},
    thread,
};

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, component::Linker};
use windlass_engine::{Planners, driver::Fault};
use windlass_model::limits;

use crate::{call::CallState, link, wasi};

/// How much address space a memory reserves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressSpace {
    /// 4 GiB for each memory: what a 32-bit pointer can reach needs no check.
    #[default]
    Ample,
    /// As much as a memory may grow to. Every access is checked, which costs time, and machine code is other code.
    Scarce,
}

/// An engine with everything that is linked once.
pub(crate) struct Runtime {
    pub engine: Engine,
    pub linker: Linker<CallState>,
    pub address_space: AddressSpace,
    pub places: Places,
    wasi_linker: OnceLock<Result<Linker<CallState>, String>>,
}

impl Runtime {
    /// Sets an engine up with a pool of instances for so many calls at a time; without a pool, and with checks on memory, where the
    /// process may not reserve that much.
    ///
    /// # Errors
    ///
    /// Where the engine refuses its settings.
    pub(crate) fn pooled(calls: usize, planners: &Planners) -> Result<Self, Fault> {
        let calls = calls.max(1);
        let mut pooled = config(AddressSpace::Ample);
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(calls)));
        match Engine::new(&pooled) {
            Ok(engine) => Self::with(engine, AddressSpace::Ample, calls, planners),
            Err(_) => Self::on_demand(AddressSpace::Scarce, calls, planners),
        }
    }

    /// Sets an engine up that reserves nothing in advance.
    ///
    /// # Errors
    ///
    /// Where the engine refuses its settings.
    pub(crate) fn on_demand(address_space: AddressSpace, calls: usize, planners: &Planners) -> Result<Self, Fault> {
        let engine = Engine::new(&config(address_space)).map_err(|error| unusable(&error))?;
        Self::with(engine, address_space, calls, planners)
    }

    fn with(engine: Engine, address_space: AddressSpace, calls: usize, planners: &Planners) -> Result<Self, Fault> {
        let mut linker = Linker::new(&engine);
        link::link(&mut linker, planners).map_err(|error| unusable(&error))?;
        tick(&engine);
        Ok(Self { engine, linker, address_space, places: Places::new(calls.max(1)), wasi_linker: OnceLock::new() })
    }

    /// Returns the linker for components that import WASI; most need none.
    pub(crate) fn wasi_linker(&self, planners: &Planners) -> Result<&Linker<CallState>, Fault> {
        let made = self.wasi_linker.get_or_init(|| {
            let mut linker = Linker::new(&self.engine);
            wasi::link(&mut linker).and_then(|()| link::link(&mut linker, planners)).map_err(|error| error.to_string())?;
            Ok(linker)
        });
        made.as_ref().map_err(|reason| Fault::Load(reason.clone()))
    }
}

fn unusable(error: &wasmtime::Error) -> Fault {
    Fault::Load(format!("the Wasm runtime can't be set up: {error}"))
}

/// Places for calls: the pool holds just as many instances. A call without a place waits for one.
#[derive(Debug)]
pub(crate) struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place that is given back when it is dropped.
pub(crate) struct Place<'p>(&'p Places);

impl Places {
    fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), freed: Condvar::new() }
    }

    /// Takes a place, as soon as there is one.
    pub(crate) fn take(&self) -> Place<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// A pool for so many calls, each with all that one component may use.
fn pool(calls: usize) -> PoolingAllocationConfig {
    let each = |count: u32| u32::try_from(calls).unwrap_or(u32::MAX).saturating_mul(count);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(each(1))
        .total_core_instances(each(limits::DRIVER_CORE_INSTANCES_MAX))
        .total_memories(each(limits::DRIVER_MEMORIES_MAX))
        .total_tables(each(limits::DRIVER_TABLES_MAX))
        .max_core_instances_per_component(limits::DRIVER_CORE_INSTANCES_MAX)
        .max_memories_per_component(limits::DRIVER_MEMORIES_MAX)
        .max_tables_per_component(limits::DRIVER_TABLES_MAX)
        .max_memories_per_module(limits::DRIVER_MEMORIES_MAX)
        .max_tables_per_module(limits::DRIVER_TABLES_MAX)
        // Guests run on the stack of the thread that calls them: a pool of others would be protected page by page at each start.
        .total_stacks(0)
        .max_component_instance_size(4 * 1024 * 1024)
        .max_core_instance_size(4 * 1024 * 1024)
        .max_memory_size(limits::DRIVER_MEMORY_BYTES_MAX)
        .table_elements(limits::DRIVER_TABLE_ELEMENTS_MAX)
        // The pages that a small guest dirties are zeroed in place instead of being given back: stack, data and arena of an
        // ordinary driver are below half of this.
        .linear_memory_keep_resident(1024 * 1024)
        .table_keep_resident(64 * 1024);
    pool
}

/// The proposals that toolchains of the field emit are on, see `inspect::features`; all that could differ between runs is off.
fn config(address_space: AddressSpace) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_relaxed_simd(false)
        // Adapters between the parts of one component copy from one memory into another.
        .wasm_multi_memory(true)
        .wasm_tail_call(true)
        .wasm_memory64(false)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .max_wasm_stack(limits::DRIVER_STACK_BYTES_MAX)
        .wasm_backtrace_max_frames(None)
        .concurrency_support(false);
    if address_space == AddressSpace::Scarce {
        config.memory_reservation(limits::DRIVER_MEMORY_BYTES_MAX as u64).memory_reservation_for_growth(0).memory_guard_size(64 * 1024);
    }
    config
}

/// One thread ticks as long as the engine lives.
fn tick(engine: &Engine) {
    let engine = engine.weak();
    thread::Builder::new()
        .name("epoch".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(limits::EPOCH_TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })
        .map(drop)
        .unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_waits_for_a_place() {
        let places = Places::new(2);
        let (first, _second) = (places.take(), places.take());
        thread::scope(|threads| {
            let waiting = threads.spawn(|| drop(places.take()));
            thread::sleep(std::time::Duration::from_millis(50));
            assert!(!waiting.is_finished());
            drop(first);
            waiting.join().unwrap();
        });
        assert_eq!(*places.free.lock().unwrap(), 1);
    }
}
