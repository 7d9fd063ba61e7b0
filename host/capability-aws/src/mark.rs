//! Our mark as tags.

use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, Insistence, Owner, Ownership};

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

/// Refuses what is not ours, unless somebody said that it is to be taken over.
pub(crate) fn admit(what: &str, whose: &Ownership, insistence: Insistence) -> Result<(), CapabilityError> {
    let said = match whose {
        Ownership::Ours => return Ok(()),
        _ if insistence == Insistence::TakeOver => return Ok(()),
        Ownership::Other(owner) => format!("{what} exists and belongs to {owner}"),
        Ownership::None => format!("{what} exists, and Windlass did not make it"),
    };
    Err(CapabilityError::new(Kind::Conflict, said).hint("use another name, or take it over with `--take-ownership`"))
}
