//! Runs drivers in wasmtime: load, check, instantiate, record, convert.
//!
//! Nothing outside this crate names wasmtime, and no generated WIT type leaves it.

mod admission;
mod cache;
mod call;
mod compile;
mod convert;
mod engine;
mod host;
mod inspect;
mod limiter;
mod link;
mod wasi;

pub use admission::{Admission, ChildAdmission, serve as serve_admission};
pub use cache::{CachePlace, CodeCache};
pub use engine::AddressSpace;
pub use host::{HostSettings, Memory, WasmHost};
pub use inspect::inspect;
