//! What sessions see: whose something is, how far it is, what differs.

use std::{fmt, ops::Deref, sync::OnceLock};

use serde_json::{Map, Value};
use windlass_model::{ActionId, event::DriftedField, state::EnvironmentKey};

use super::{CapabilityError, CapabilityErrorKind, Insistence};

/// The mark of an environment: `INSTALLATION/APPLICATION/ENVIRONMENT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The installation's uuid.
    pub installation: String,
    /// The environment.
    pub environment: EnvironmentKey,
}

impl Owner {
    /// Reads whose something is by the mark on it.
    #[must_use]
    pub fn judge(&self, mark: Option<&str>) -> Ownership {
        match mark {
            Some(mark) if mark == self.to_string() => Ownership::Ours,
            Some(mark) => Ownership::Other(mark.to_owned()),
            None => Ownership::None,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.installation, self.environment)
    }
}

/// A spec whose tree is built, and whose values are decrypted, when somebody asks: most looks compare digests alone.
pub struct LazySpec<'a> {
    tree: OnceLock<Value>,
    build: Box<dyn Fn() -> Value + Send + Sync + 'a>,
}

impl<'a> LazySpec<'a> {
    /// Takes what builds it.
    pub fn new(build: impl Fn() -> Value + Send + Sync + 'a) -> Self {
        Self { tree: OnceLock::new(), build: Box::new(build) }
    }
}

impl Deref for LazySpec<'_> {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.tree.get_or_init(&self.build)
    }
}

impl fmt::Debug for LazySpec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of secrets are nobody's to read in a log.
        f.write_str("LazySpec")
    }
}

/// An action to look at.
#[derive(Clone, Copy, Debug)]
pub struct ActionRef<'a> {
    /// Its id.
    pub id: &'a ActionId,
    /// What the system calls it.
    pub identity: &'a str,
    /// What the capability kept to find it again.
    pub handle: &'a Value,
    /// What was sent, where a full comparison needs it; else what is recorded.
    pub spec: &'a LazySpec<'a>,
}

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Is it there, is it ours, is it as we left it?
    Presence,
    /// Also: which fields differ.
    Full,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What the system calls it.
    pub identity: String,
    /// Whose it is.
    pub owner: Ownership,
    /// Whether it is as we left it.
    pub intact: bool,
    /// How far it is.
    pub phase: Phase,
    /// What it yields.
    pub outputs: Map<String, Value>,
    /// Which fields differ from what was recorded.
    pub drift: Vec<DriftedField>,
    /// Which fields could not be compared, and why.
    pub unseen: Vec<UnseenField>,
}

/// A field that a system does not let us compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnseenField {
    /// A JSON pointer into the spec.
    pub pointer: &'static str,
    /// Why it could not be compared, and how it could be.
    pub reason: String,
}

impl Observation {
    /// Makes one of something that yields nothing: it is as it was left if it exists and nothing differs.
    #[must_use]
    pub fn new(identity: impl Into<String>, owner: Ownership, phase: Phase, drift: Vec<DriftedField>) -> Self {
        let intact = phase == Phase::Present && drift.is_empty();
        Self { identity: identity.into(), owner, intact, phase, outputs: Map::new(), drift, unseen: Vec::new() }
    }

    /// Makes one of something that carries our mark: what lists hold.
    #[must_use]
    pub fn ours(identity: impl Into<String>) -> Self {
        Self::new(identity, Ownership::Ours, Phase::Present, Vec::new())
    }
}

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// This environment's.
    Ours,
    /// Another's, with its mark or a description.
    Other(String),
    /// Nobody's mark is on it, or it does not exist.
    None,
}

impl Ownership {
    /// Refuses what is not ours, unless somebody said that it is to be taken over.
    pub fn admit(&self, what: &str, insistence: Insistence) -> Result<(), CapabilityError> {
        let said = match self {
            Self::Ours => return Ok(()),
            _ if insistence == Insistence::TakeOver => return Ok(()),
            Self::Other(owner) => format!("{what} exists and belongs to {owner}"),
            Self::None => format!("{what} exists, and Windlass did not make it"),
        };
        Err(CapabilityError::new(CapabilityErrorKind::Conflict, said).hint("use another name, or take it over with `--take-ownership`"))
    }

    /// Refuses to take away what is not ours.
    pub fn admit_removal(&self, what: &str) -> Result<(), CapabilityError> {
        if *self == Self::Ours {
            return Ok(());
        }
        Err(CapabilityError::new(CapabilityErrorKind::Conflict, format!("{what} exists and is not ours")))
    }
}

/// How far something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It does not exist.
    Absent,
    /// It exists.
    Present,
    /// It is going away.
    Deleting,
}
