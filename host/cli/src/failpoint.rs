//! Kills the process between two steps: how the tests prove that nothing is lost. Debug builds only.

use std::sync::atomic::{AtomicU64, Ordering};

static PASSED: AtomicU64 = AtomicU64::new(0);

/// Passes a point; `WINDLASS_KILL_AT=N` kills at the N-th, `WINDLASS_COUNT_POINTS=FILE` counts them.
pub(crate) fn pass(name: &'static str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let passed = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    if let Some(file) = std::env::var_os("WINDLASS_COUNT_POINTS") {
        let _ = std::fs::write(file, passed.to_string());
    }
    if std::env::var("WINDLASS_KILL_AT").ok().and_then(|at| at.parse().ok()) == Some(passed) {
        eprintln!("killed at point {passed}: {name}");
        // SIGKILL, not an orderly end: no destructor, no flush.
        let _ = std::process::Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}
