//! A child process whose time, output and disk are bounded; one that passes a bound is ended.

use std::{
    io::Read,
    path::Path,
    process::{self, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use windlass_model::limits;

/// How often a running child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a child has to end its own children before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// What a child may take.
pub(crate) struct Bounds<'f> {
    pub until: Instant,
    pub output_bytes_max: u64,
    /// Where it writes.
    pub folder: &'f Path,
    pub disk_bytes_max: u64,
}

/// Why a child has no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    OutOfTime,
    Disk,
    Output,
    /// It can't be run, or failed: for people.
    Other(String),
}

/// Runs a command to its end and returns its standard output.
pub(crate) fn run(name: &str, mut command: Command, bounds: &Bounds<'_>) -> Result<Vec<u8>, Failure> {
    let not_run = |error: std::io::Error| Failure::Other(format!("`{name}` can't be run: {error}"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(not_run)?;
    let is_full = Arc::new(AtomicBool::new(false));
    let output = reader(child.stdout.take(), bounds.output_bytes_max, Some(Arc::clone(&is_full)));
    let said = reader(child.stderr.take(), limits::GIT_TEXT_BYTES_MAX, None);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(not_run)? {
            break status;
        }
        if let Some(failure) = passed(bounds, &is_full) {
            end(&mut child);
            return Err(failure);
        }
        thread::sleep(LOOK_EVERY);
    };

    if bytes_below(bounds.folder) > bounds.disk_bytes_max {
        return Err(Failure::Disk);
    }
    // A grandchild may hold a pipe open, but not for longer than there is time.
    let left = bounds.until.saturating_duration_since(Instant::now());
    let output = output.recv_timeout(left).map_err(|_| Failure::OutOfTime)?;
    if is_full.load(Ordering::SeqCst) {
        return Err(Failure::Output);
    }
    if status.success() {
        return Ok(output);
    }
    let said = said.recv_timeout(left).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed without a word");
    Err(Failure::Other(last.trim().chars().take(limits::SERVER_TEXT_CHARS_MAX).collect()))
}

/// Ends a child: asked to, it ends its own children too.
fn end(child: &mut process::Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let until = Instant::now() + GRACE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
        thread::sleep(LOOK_EVERY);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Returns the bound that a running child passed.
fn passed(bounds: &Bounds<'_>, is_full: &AtomicBool) -> Option<Failure> {
    if Instant::now() >= bounds.until {
        return Some(Failure::OutOfTime);
    }
    if is_full.load(Ordering::SeqCst) {
        return Some(Failure::Output);
    }
    (bytes_below(bounds.folder) > bounds.disk_bytes_max).then_some(Failure::Disk)
}

/// Reads so many bytes at most, on a thread of its own. What follows is told by `is_full`, or read and forgotten: a child whose
/// output nobody reads stands still.
fn reader(from: Option<impl Read + Send + 'static>, bytes_max: u64, is_full: Option<Arc<AtomicBool>>) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            let _ = from.by_ref().take(bytes_max + 1).read_to_end(&mut bytes);
            if bytes.len() as u64 > bytes_max {
                match is_full {
                    Some(is_full) => is_full.store(true, Ordering::SeqCst),
                    None => drop(std::io::copy(&mut from, &mut std::io::sink())),
                }
            }
        }
        // Nobody listens any more where a bound was passed.
        let _ = send.send(bytes);
    });
    receive
}

/// Sums up the files below a folder; what goes away meanwhile counts nothing.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(script: &str, output_bytes_max: u64, time_max: Duration) -> Result<Vec<u8>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder.path()).stdin(Stdio::null());
        run("sh", command, &Bounds { until: Instant::now() + time_max, output_bytes_max, folder: folder.path(), disk_bytes_max: 1000 })
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_is_bounded() {
        assert_eq!(ran("printf 12345", 5, LONG).unwrap(), b"12345");
        assert_eq!(ran("printf 123456", 5, LONG), Err(Failure::Output));
        assert_eq!(ran("yes", 5, LONG), Err(Failure::Output));
        assert_eq!(ran("yes >&2 & sleep 0.3; kill $!; exit 0", 5, LONG).unwrap(), b"");
        assert_eq!(ran("echo first >&2; echo last >&2; exit 1", 5, LONG), Err(Failure::Other("last".to_owned())));
    }

    #[test]
    fn disk_and_time_are_bounded() {
        assert_eq!(ran("head -c 1000 /dev/zero > a; sleep 0.2; printf x", 5, LONG).unwrap(), b"x");
        assert_eq!(ran("head -c 1001 /dev/zero > a; sleep 60", 5, LONG), Err(Failure::Disk));
        let began = Instant::now();
        assert_eq!(ran("trap '' TERM; sleep 60 & wait; sleep 60", 5, Duration::from_millis(200)), Err(Failure::OutOfTime));
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}
