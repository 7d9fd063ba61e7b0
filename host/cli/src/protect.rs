//! What keeps the memory of this process to itself: it holds credentials.

use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
};

/// Forbids core dumps, and tracing by other processes of the same user, for this process.
///
/// Programs that it runs have no core dumps either; they can be traced again.
pub(crate) fn memory() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)
}
