//! Why a run stops, and how that is told.

use std::time::Instant;

use windlass_model::identity::shown;

use super::ApplyError;
use crate::session::{Cancel, CapabilityError, CapabilityErrorKind as Kind};

/// Why a run stops before its end.
pub(crate) enum Stop {
    Failed {
        reason: String,
        hint: Option<String>,
    },
    Cancelled,
    /// With what is waited for, a line each.
    TimedOut(Vec<String>),
    Error(ApplyError),
}

impl From<ApplyError> for Stop {
    fn from(error: ApplyError) -> Self {
        Self::Error(error)
    }
}

impl From<crate::store::StoreError> for Stop {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Error(error.into())
    }
}

/// How many failures, or things that are waited for, are told at its end; the log has them all.
const TOLD_MAX: usize = 10;

/// Cuts a list short that a person reads.
pub(crate) fn first(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(TOLD_MAX);
    if more > 0 {
        lines.truncate(TOLD_MAX);
        lines.push(format!("… and {more} more"));
    }
    lines
}

/// Tells what failed, and why, a line each.
pub(crate) fn failures<'e>(failed: impl Iterator<Item = (&'e str, &'e CapabilityError)>) -> Vec<String> {
    first(failed.map(|(identity, error)| format!("`{}`: {}", shown(identity), error.message)).collect())
}

/// What was broken off because somebody wants to stop, or there is no more time, did not fail: somebody goes on with it.
pub(crate) fn broken_off<'e>(
    mut failed: impl Iterator<Item = (&'e str, &'e CapabilityError)> + Clone,
    deadline: Instant,
    cancel: &Cancel,
) -> Result<(), Stop> {
    let all = failed.clone();
    match failed.any(|(_, error)| error.kind == Kind::Uncertain) {
        true if cancel.is_cancelled() => Err(Stop::Cancelled),
        true if Instant::now() >= deadline => Err(Stop::TimedOut(failures(all))),
        true | false => Ok(()),
    }
}
