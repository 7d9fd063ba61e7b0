//! The nouns of Windlass: ids, what documents mean, plans, recorded state, events and limits.
//!
//! Nothing here does I/O, is async, reads a clock or draws a random number.

pub mod action;
pub mod application;
pub mod canonical;
pub mod diagnostic;
pub mod differences;
pub mod digest;
pub mod elements;
pub mod event;
pub mod identity;
pub mod key;
pub mod limits;
pub mod name;
mod nearest;
pub mod nesting;
pub mod network;
pub mod placeholder;
pub mod plan;
pub mod platform;
pub mod pointer;
pub mod reference;
pub mod schema_bounds;
pub mod score;
pub mod sealed;
pub mod spec;
pub mod state;
pub mod store_reference;
pub mod visible;

pub use action::ActionId;
pub use canonical::CanonicalError;
pub use diagnostic::{Diagnostic, Severity};
pub use digest::Digest;
pub use key::{NodeKey, ResourceKey};
pub use nearest::{did_you_mean, unknown_field_hint};
pub use spec::Spec;
