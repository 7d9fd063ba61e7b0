//! Secrets: generated ones as a capability, given ones in the store, all encrypted at rest.

mod derive;
mod executor;
mod keyring;
mod planner;
mod vault;

pub use executor::{GeneratedExecutor, generate};
pub use keyring::{Keyring, KeyringError};
pub use planner::GeneratedPlanner;
pub use vault::EmbeddedSecrets;
