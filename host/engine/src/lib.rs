//! Plans and applies: what would happen, and then exactly that.
//!
//! This crate owns the ports that adapters implement. It must not know wasmtime, a database, a
//! client library or a file of the user's.

pub mod apply;
pub mod authorize;
pub mod budget;
pub mod credential;
pub mod derive;
pub mod driver;
pub mod explain;
pub mod host_access;
pub mod plan;
pub mod planner;
pub mod recorder;
pub mod register;
pub mod schema;
pub mod session;
pub mod spec;
pub mod store;
pub mod tokens;
pub mod transport;

pub use plan::{Follows, PlanInput, PlanOutput, plan};
pub use planner::Planners;
