//! Our mark as tags.

use windlass_engine::session::{Owner, Ownership};

/// The tag that says whose something is.
pub(crate) const TAG: &str = "windlass.dev/mark";

/// Reads whose something is by its tags.
pub(crate) fn whose<'t>(tags: impl IntoIterator<Item = (&'t str, &'t str)>, owner: &Owner) -> Ownership {
    let mut managed = None;
    for (key, value) in tags {
        match key {
            TAG => return owner.judge(Some(value)),
            "aws:cloudformation:stack-name" => managed = Some(format!("CloudFormation (stack `{value}`)")),
            _ => {}
        }
    }
    managed.map_or(Ownership::None, Ownership::Other)
}
