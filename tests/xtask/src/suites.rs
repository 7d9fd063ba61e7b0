//! Runs test programs two at a time: the long ones mostly wait for servers.

use std::{
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::place::Place;

/// Programs that run beside each other.
const BESIDE: usize = 2;
/// These take longest: they begin first.
const LONG: [&str; 7] = ["trust", "cluster_faults", "cloud_faults", "kill", "cluster", "stages", "terraform"];

/// How often programs and servers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where memory is a folder.
const SHARED_MEMORY: &str = "/dev/shm";

/// A folder in memory for what tests write: they kill processes and never the machine, so nothing needs to reach a disk.
struct Memory(PathBuf);

impl Memory {
    /// Takes it where the machine has one from which programs can be run.
    fn take() -> Option<Self> {
        let folder = Path::new(SHARED_MEMORY).join(format!("windlass-tests-{}", std::process::id()));
        std::fs::create_dir(&folder).ok()?;
        let memory = Self(folder);
        let script = memory.0.join("runs");
        std::fs::write(&script, "#!/bin/sh\n").ok()?;
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).ok()?;
        Command::new(&script).status().is_ok_and(|status| status.success()).then_some(memory)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // What is left goes with the machine.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A program with tests.
struct Suite {
    name: String,
    program: PathBuf,
    /// The folder of its package: where its tests look for files.
    folder: PathBuf,
}

/// Builds all tests, runs them, and says which programs failed.
///
/// `servers` fails once a server ended by itself: what waits for it would only wait, each test for minutes, so everything ends.
pub(crate) fn run(
    place: &Place,
    prepare: &(dyn Fn(&mut Command) + Sync),
    mut servers: impl FnMut() -> Result<()>,
    filter: &[&str],
) -> Result<()> {
    let memory = Memory::take();
    let prepare = &|command: &mut Command| {
        prepare(command);
        if let Some(memory) = &memory {
            command.env("TMPDIR", &memory.0);
        }
    };
    let mut suites = build(place, prepare)?;
    suites.sort_by_key(|suite| LONG.iter().position(|long| *long == suite.name).unwrap_or(LONG.len()));
    let (next, failed, stopped) = (AtomicUsize::new(0), Mutex::new(Vec::new()), AtomicBool::new(false));
    std::thread::scope(|threads| {
        let work = || {
            while let Some(suite) = suites.get(next.fetch_add(1, Ordering::SeqCst)).filter(|_| !stopped.load(Ordering::SeqCst)) {
                if let Err(error) = suite.run(prepare, filter, &stopped) {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{}: {error:#}", suite.name));
                }
            }
        };
        let workers: Vec<_> = (0..BESIDE).map(|_| threads.spawn(work)).collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            std::thread::sleep(LOOK_EVERY);
            if let Err(error) = servers() {
                stopped.store(true, Ordering::SeqCst);
                return Err(error);
            }
        }
        Ok(())
    })?;
    let mut doc = place.cargo_command();
    doc.args(["test", "--quiet", "--workspace", "--doc"]).args(filter);
    prepare(&mut doc);
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = crate::place::succeed(&mut doc) {
        failed.push(format!("doc tests: {error:#}"));
    }
    if !failed.is_empty() {
        bail!("tests failed\n  {}", failed.join("\n  "));
    }
    eprintln!("xtask: test result: ok. {} programs with tests, and the doc tests", suites.len());
    Ok(())
}

impl Suite {
    fn run(&self, prepare: &(dyn Fn(&mut Command) + Sync), filter: &[&str], stopped: &AtomicBool) -> Result<()> {
        let mut said = tempfile::tempfile()?;
        let mut command = Command::new(&self.program);
        command.args(filter).current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder).stdin(Stdio::null());
        command.stdout(said.try_clone()?).stderr(said.try_clone()?);
        prepare(&mut command);
        let mut child = command.spawn().with_context(|| format!("{} can't be started", self.program.display()))?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if stopped.load(Ordering::SeqCst) {
                child.kill()?;
            }
            std::thread::sleep(LOOK_EVERY);
        };
        let mut text = Vec::new();
        said.rewind()?;
        said.read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        // Whole, so that programs don't write between each other's lines.
        println!("     Running {} ({})\n{text}", self.name, self.folder.file_name().unwrap_or_default().to_string_lossy());
        if status.success() {
            return Ok(());
        }
        let failed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")).collect();
        bail!("{status}: {}", failed.join(", "))
    }
}

/// Builds the test programs and asks cargo where they are.
fn build(place: &Place, prepare: &(dyn Fn(&mut Command) + Sync)) -> Result<Vec<Suite>> {
    let mut command = place.cargo_command();
    command.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]).stderr(Stdio::inherit());
    prepare(&mut command);
    let output = command.output().context("cargo can't be started")?;
    if !output.status.success() {
        bail!("the tests can't be built: {}", output.status);
    }
    let mut suites = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: Value = serde_json::from_str(line).with_context(|| format!("cargo said {line}"))?;
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let is_test = message.pointer("/profile/test").and_then(Value::as_bool) == Some(true);
        if let (true, Some(program), Some(manifest), Some(name)) =
            (is_test, text("/executable"), text("/manifest_path"), text("/target/name"))
        {
            let folder = Path::new(manifest).parent().context("a manifest stands nowhere")?.to_path_buf();
            suites.push(Suite { name: name.to_owned(), program: program.into(), folder });
        }
    }
    Ok(suites)
}
