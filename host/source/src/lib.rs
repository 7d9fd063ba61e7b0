//! What comes from elsewhere: driver components by digest, and files that documents name in repositories and registries.

mod components;
mod fetch;
mod git;
mod oci;

pub use components::{Components, SourceError};
pub use fetch::Network;
