//! What goes wrong in systems.

/// What went wrong in a system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CapabilityError {
    /// What kind of failure.
    pub kind: CapabilityErrorKind,
    /// What the system said.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapabilityErrorKind {
    /// The spec is wrong.
    Invalid,
    /// We may not.
    Denied,
    /// It is someone else's.
    Conflict,
    /// It ran out.
    Quota,
    /// It can't be reached now.
    Unavailable,
    /// The answer was lost: it may have happened.
    Uncertain,
    /// It did not become ready.
    Failed,
}

impl CapabilityError {
    /// Makes an error.
    #[must_use]
    pub fn new(kind: CapabilityErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// Says the same of every action of a batch.
    #[must_use]
    pub fn of_each<T>(&self, count: usize) -> Vec<Result<T, Self>> {
        (0..count).map(|_| Err(self.clone())).collect()
    }

    /// Puts what was wanted before the message.
    #[must_use]
    pub(crate) fn within(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
