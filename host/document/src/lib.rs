//! What people write: Score documents, Application and platform documents, with positions for errors.
//!
//! This crate reads files; it must not know how anything is planned or applied.

mod application;
mod closed;
mod discover;
mod folder;
mod leftovers;
mod overrides;
mod plan_file;
mod platform;
mod problem;
mod remote;
mod schema;
mod score;
mod source_files;
mod tree;

pub use application::{ApplicationInput, LoadedApplication, load_application, split_image};
pub use closed::{ClosedError, check_closed, check_closed_value};
pub use discover::{Discovered, discover};
pub use overrides::{merge, parse_property, set_property};
pub use plan_file::{PLAN_FILE_HEAD_BYTES, PlanFile, PlanFileError, Purpose};
pub use platform::{LoadedPlatform, load_platform, load_platform_sources};
pub use problem::{Problem, Problems, Source};
pub use remote::{Fetched, Fetcher, GitSource, Nowhere, OciSource, Remote};
pub use schema::{KINDS, schema_of};
pub use score::load_score;
pub use tree::{Node, Span, parse};

/// Checks any documents below a path, whatever their kind; returns how many were read. What they name elsewhere is brought by
/// `fetcher`.
pub fn validate(paths: &[std::path::PathBuf], fetcher: &dyn Fetcher) -> Result<usize, Problems> {
    let mut problems = Problems::default();
    let mut count = 0;
    for path in paths {
        match discover(path) {
            Ok(found) => {
                match found.check(fetcher) {
                    Ok(documents) => count += documents,
                    Err(more) => problems.extend(more),
                }
                // One application: its document and its workloads are checked against each other too.
                if found.documents.iter().filter(|document| document.kind == "Application").count() == 1
                    && let Err(more) = load_application(&ApplicationInput { paths: vec![path.clone()], ..ApplicationInput::default() })
                {
                    problems.extend(more);
                }
            }
            Err(more) => problems.extend(more),
        }
    }
    problems.into_result(count)
}
