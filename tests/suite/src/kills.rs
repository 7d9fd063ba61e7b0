//! `kill -9` at every point of a command, and once more while the next one goes on.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::binary::Folder;

/// Fewer points would mean that they are not counted any more.
const POINTS_MIN: u64 = 10;

/// A command that is killed, and the one that must put everything right.
#[derive(Clone, Copy, Debug)]
pub struct Kills<'a> {
    /// What the table calls it.
    pub name: &'a str,
    /// The command that is killed.
    pub line: &'a str,
    /// The command that comes then.
    pub then: &'a str,
    /// Whether the command waits for a server: waiting has as many points as that takes, so the last ones may not come.
    pub waits: bool,
    /// How many points are tried side by side.
    pub side_by_side: usize,
}

impl Kills<'_> {
    /// Kills at every point. What is `found` after the next command equals what an undisturbed run leaves, and is `settled`.
    ///
    /// # Panics
    ///
    /// If it is not so.
    pub fn everywhere<S, F: Debug + PartialEq + Sync>(
        &self,
        prepare: impl Fn() -> S + Sync,
        folder: impl Fn(&S) -> &Folder + Sync,
        found: impl Fn(&S) -> F + Sync,
        settled: impl Fn(&S, &str) + Sync,
    ) {
        let undisturbed = prepare();
        let total = points(folder(&undisturbed), self.line);
        assert!(total > POINTS_MIN, "{total} points");
        let expected = found(&undisturbed);
        let next = AtomicU64::new(1);
        let until_all_are_killed = || {
            loop {
                let at = next.fetch_add(1, Ordering::SeqCst);
                if at > total {
                    return;
                }
                let scene = prepare();
                let told = format!("{} killed at {at}", self.name);
                self.kill(folder(&scene), at, total);
                assert_eq!(found(&scene), expected, "{told}");
                settled(&scene, &told);
            }
        };
        std::thread::scope(|threads| {
            for _ in 0..self.side_by_side {
                threads.spawn(until_all_are_killed);
            }
        });
        eprintln!("| {} | {total} points | {total} times the same end state |", self.name);
    }

    /// Kills the command at a point, every third time the next one too, and lets the next one end.
    fn kill(&self, folder: &Folder, at: u64, total: u64) {
        let killed = folder.run_with(self.line, &[("WINDLASS_KILL_AT", &at.to_string())]);
        let may_have_ended = self.waits && at > total / 2;
        assert!(killed.code == -1 || (killed.code == 0 && may_have_ended), "{} killed at {at}: {}", self.name, killed.err);
        if at.is_multiple_of(3) {
            let again = 2 + at / 3 % 3;
            folder.run_with(self.then, &[("WINDLASS_KILL_AT", &again.to_string())]);
        }
        let ran = folder.run(self.then);
        assert_eq!(ran.code, 0, "{} killed at {at}: {}{}", self.name, ran.out, ran.err);
    }
}

/// Runs a command and counts the points at which it could have been killed.
///
/// # Panics
///
/// If it fails.
#[must_use]
pub fn points(folder: &Folder, line: &str) -> u64 {
    let file = folder.path().join("points");
    let ran = folder.run_with(line, &[("WINDLASS_COUNT_POINTS", &file.display().to_string())]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let counted = folder.read("points");
    counted.parse().unwrap_or_else(|_| unreachable!("`{counted}` is no number"))
}
