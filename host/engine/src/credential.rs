//! Credentials are read where they are used, from where a connection says; they are kept nowhere.

use windlass_model::platform::Reference;

use crate::session::{CapabilityError, CapabilityErrorKind as Kind, Secret};

/// Reads what a connection refers to; a last line break is no part of it.
pub fn read(what: &str, reference: &Reference) -> Result<Secret, CapabilityError> {
    let text = match reference {
        Reference::Env(name) => std::env::var(name).map_err(|_| format!("the variable `{name}` is not set")),
        Reference::File(path) => std::fs::read_to_string(path).map_err(|error| format!("the file `{path}` can't be read: {error}")),
    };
    match text {
        Ok(text) => Ok(Secret::new(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))),
        Err(why) => Err(CapabilityError::new(Kind::Invalid, format!("{what}: {why}"))
            .hint("credentials are read on the machine that applies plans; the connection says where from")),
    }
}
