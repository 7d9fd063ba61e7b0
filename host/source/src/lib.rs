//! What comes from elsewhere: driver components by digest, and files that documents name in repositories and registries.

mod archive;
mod child;
mod components;
mod fetch;
mod git;
mod login;
mod manifest;
mod oci;
mod registry;

pub use components::{Components, SourceError};
pub use fetch::Network;
pub use manifest::{Descriptor, Manifest};
