//! `kill -9` at every point of a command, and once more while the next one goes on.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::binary::Folder;

/// Fewer points would mean that they are not counted any more.
const POINTS_MIN: usize = 10;
/// How many points one look of a wait has, at most.
const POLL_POINTS_MAX: usize = 4;

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
        let names = points(folder(&undisturbed), self.line);
        let chosen: Vec<usize> = (0..names.len()).filter(|index| !is_one_more_poll(&names, *index)).collect();
        assert!(chosen.len() > POINTS_MIN, "{names:?}");
        let expected = found(&undisturbed);
        let next = AtomicUsize::new(0);
        let until_all_are_killed = || {
            while let Some(index) = chosen.get(next.fetch_add(1, Ordering::SeqCst)) {
                let at = index + 1;
                let scene = prepare();
                let told = format!("{} killed at {at}", self.name);
                self.kill(folder(&scene), at, names.len());
                assert_eq!(found(&scene), expected, "{told}");
                settled(&scene, &told);
            }
        };
        std::thread::scope(|threads| {
            for _ in 0..self.side_by_side {
                threads.spawn(until_all_are_killed);
            }
        });
        let (total, killed) = (names.len(), chosen.len());
        eprintln!("| {} | {killed} of {total} points: all but more of the same polls | {killed} times the same end state |", self.name);
    }

    /// Kills the command at a point, every third time the next one too, and lets the next one end.
    fn kill(&self, folder: &Folder, at: usize, total: usize) {
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

/// Tells whether a point is in a wait that has looked three times already: how often it looks follows from how long the server takes.
fn is_one_more_poll(names: &[String], index: usize) -> bool {
    (1..=POLL_POINTS_MAX).any(|period| {
        let round = |ago: usize| (index + 1).checked_sub((ago + 1) * period).and_then(|from| names.get(from..from + period));
        let last = round(0);
        last.is_some_and(|last| last.iter().any(|name| name == "before poll")) && (1..=3).all(|ago| round(ago) == last)
    })
}

/// Runs a command and lists the points at which it could have been killed.
///
/// # Panics
///
/// If it fails.
#[must_use]
pub fn points(folder: &Folder, line: &str) -> Vec<String> {
    let file = folder.path().join("points");
    let ran = folder.run_with(line, &[("WINDLASS_LIST_POINTS", &file.display().to_string())]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    folder.read("points").lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_polls_that_repeat_are_left_out() {
        let cycle = ["before poll", "before event", "after event"];
        let names: Vec<String> = ["before request", "after request"]
            .iter()
            .cycle()
            .take(20)
            .chain(cycle.iter().cycle().take(30))
            .map(|name| (*name).to_owned())
            .collect();
        let left_out: Vec<usize> = (0..names.len()).filter(|index| is_one_more_poll(&names, *index)).collect();
        assert_eq!(left_out, (31..50).collect::<Vec<_>>());
    }
}
