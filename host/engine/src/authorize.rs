//! Who may do what. The core allows everything; the host API will ask a policy here.

use windlass_model::{
    event::{Actor, Verb},
    name::{ApplicationName, EnvironmentName, EnvironmentTypeName},
    state::EnvironmentKey,
};

/// What a verb is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The application.
    pub application: ApplicationName,
    /// The environment.
    pub environment: EnvironmentName,
    /// Its type.
    pub environment_type: EnvironmentTypeName,
}

impl Target {
    /// Names an environment with its type.
    #[must_use]
    pub fn new(environment: &EnvironmentKey, environment_type: &EnvironmentTypeName) -> Self {
        Self {
            application: environment.application.clone(),
            environment: environment.environment.clone(),
            environment_type: environment_type.clone(),
        }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{actor} may not {verb} {application}/{environment}")]
pub struct Refused {
    /// Who.
    pub actor: String,
    /// What.
    pub verb: Verb,
    /// Where.
    pub application: ApplicationName,
    /// Where.
    pub environment: EnvironmentName,
}

/// Decides who may do what.
pub trait Authorize: Send + Sync {
    /// Allows or refuses.
    fn authorize(&self, actor: &Actor, verb: Verb, target: &Target) -> Result<(), Refused>;
}

/// Allows everything: one person on one machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authorize for AllowAll {
    fn authorize(&self, _: &Actor, _: Verb, _: &Target) -> Result<(), Refused> {
        Ok(())
    }
}
