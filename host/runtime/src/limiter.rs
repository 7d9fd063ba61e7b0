//! Limits of one call: the sum of all memories and tables, the log, and which limit was met.

use std::fmt;

use windlass_engine::budget::LimitReached;
use windlass_model::limits;

/// An error that carries a limit out of a trap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub LimitReached);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "passed the limit `{}` of {}", self.0.limit, self.0.value)
    }
}

impl std::error::Error for Limit {}

impl Limit {
    pub(crate) fn new(limit: &'static str, value: impl ToString) -> Self {
        Self(LimitReached::new(limit, value))
    }
}

/// Counts what one call takes.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    memory_bytes: usize,
    table_elements: usize,
}

impl wasmtime::ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.memory_bytes = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if self.memory_bytes > limits::DRIVER_MEMORY_BYTES_MAX {
            return Err(Limit::new("memory bytes", limits::DRIVER_MEMORY_BYTES_MAX).into());
        }
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.table_elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        if self.table_elements > limits::DRIVER_TABLE_ELEMENTS_MAX {
            return Err(Limit::new("table elements", limits::DRIVER_TABLE_ELEMENTS_MAX).into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        limits::DRIVER_CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        limits::DRIVER_TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        limits::DRIVER_MEMORIES_MAX as usize
    }
}
