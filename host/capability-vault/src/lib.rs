//! Secrets in Vault and OpenBao, KV version 2: `windlass:secrets/external`.
//!
//! What others keep is read when a plan is applied; what is ours is written with `cas`, marked in the custom metadata.

mod confine;
mod connect;
mod planner;
mod spec;
mod store;
mod transport;

pub use connect::VaultExecutor;
pub use planner::ExternalPlanner;
