//! What people write: Score documents, Application and platform documents, with positions for errors.
//!
//! This crate reads files; it must not know how anything is planned or applied.

mod application;
mod closed;
mod discover;
mod folder;
mod leftovers;
mod others;
mod overrides;
mod plan_file;
mod platform;
mod problem;
mod remote;
mod repair;
mod schema;
mod score;
mod source_files;
mod template;
mod tree;
mod validation;

pub use application::{ApplicationInput, LoadedApplication, ReadApplication, load_application, read_application, split_image};
pub use closed::{ClosedError, check_closed, check_closed_value};
pub use discover::{Discovered, discover};
pub use others::{OtherFile, other_files};
pub use overrides::{merge, parse_property, set_property};
pub use plan_file::{PLAN_FILE_HEAD_BYTES, PlanFile, PlanFileError, Purpose};
pub use platform::{LoadedPlatform, load_platform, load_platform_sources};
pub use problem::{Problem, Problems, Source};
pub use remote::{Fetched, Fetcher, GitSource, Nowhere, OciSource, Remote};
pub use schema::{KINDS, schema_of};
pub use score::load_score;
pub use tree::{Node, Span, parse};
pub use validation::{Validation, validate};
