//! Runs the released binary and reads what it cost.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// What a process cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub wall_ms: f64,
    /// Until its first line on standard output, if there is one: with `deploy`, until the plan is decided and shown.
    pub shown_ms: Option<f64>,
    pub cpu_ms: f64,
}

pub(crate) fn binary() -> Result<PathBuf> {
    Ok(std::env::var_os("WINDLASS_BIN").context("WINDLASS_BIN is not set: run `cargo xtask bench`")?.into())
}

fn command(folder: &Path, binary: &Path, arguments: &[&str]) -> Command {
    // The shell's `time` reports what the kernel counted; its own cost is the same for every sample.
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg(r#"exec 3>&2; TIMEFORMAT='%U %S'; { time "$@" 2>&3 3>&- ; } 2>"$USAGE""#)
        .arg("bench")
        .arg(binary)
        .args(arguments);
    command.current_dir(folder).env("USAGE", folder.join("usage")).env("NO_COLOR", "1");
    // What stands in the place of AWS takes anything.
    command.envs([("AWS_ACCESS_KEY_ID", "bench"), ("AWS_SECRET_ACCESS_KEY", "bench"), ("AWS_EC2_METADATA_DISABLED", "true")]);
    command
}

/// Runs a command that must succeed.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Result<Usage> {
    run_tool(folder, &binary()?, arguments)
}

/// Runs somebody's command that must succeed.
pub(crate) fn run_tool(folder: &Path, tool: &Path, arguments: &[&str]) -> Result<Usage> {
    let started = Instant::now();
    let mut child = command(folder, tool, arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (shown, output) = std::thread::scope(|scope| {
        let shown = scope.spawn(|| -> std::io::Result<Option<Duration>> {
            let Some(mut stdout) = stdout else { return Ok(None) };
            let first = (stdout.read(&mut [0])? > 0).then(|| started.elapsed());
            std::io::copy(&mut stdout, &mut std::io::sink())?;
            Ok(first)
        });
        let mut text = String::new();
        if let Some(mut stderr) = stderr {
            stderr.read_to_string(&mut text)?;
        }
        std::io::Result::Ok((shown.join().map_err(|_| std::io::ErrorKind::Other)??, text))
    })?;
    let status = child.wait()?;
    let wall_ms = started.elapsed().as_secs_f64() * 1e3;
    if !status.success() {
        bail!("{} {arguments:?}: {status}\n{output}", tool.display());
    }
    let times = fs::read_to_string(folder.join("usage"))?;
    let cpu_ms = times.split_whitespace().filter_map(|time| time.parse::<f64>().ok()).sum::<f64>() * 1e3;
    Ok(Usage { wall_ms, shown_ms: shown.map(|shown| shown.as_secs_f64() * 1e3), cpu_ms })
}

/// Reads the high-water mark of a process's memory while it runs.
pub(crate) fn peak_mib(folder: &Path, arguments: &[&str]) -> Result<f64> {
    let mut child = Command::new(binary()?)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    while child.try_wait()?.is_none() {
        if let Ok(status) = fs::read_to_string(&path)
            && let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))
        {
            peak = peak.max(line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(peak)
}

/// Returns this process's CPU time so far.
pub(crate) fn cpu_ms() -> Result<f64> {
    let mut total = 0.0;
    for task in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        total += text.split_whitespace().next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or(0.0) / 1e6;
    }
    Ok(total)
}

/// Returns what a command prints.
pub(crate) fn output(folder: &Path, arguments: &[&str]) -> Result<String> {
    Ok(String::from_utf8(Command::new(binary()?).args(arguments).current_dir(folder).output()?.stdout)?)
}

/// Counts how often a command that must succeed waits for a disk: in all, and for the log of the store: once a commit, twice in a checkpoint.
pub(crate) fn syncs(folder: &Path, arguments: &[&str]) -> Result<(usize, usize)> {
    let trace = folder.join("syncs");
    let status = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fsync,fdatasync", "-o"])
        .arg(&trace)
        .arg(binary()?)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("strace counts what is written: install Debian's package `strace`")?;
    anyhow::ensure!(status.success(), "{arguments:?}: {status}");
    let trace = fs::read_to_string(trace)?;
    let calls: Vec<&str> = trace.lines().filter(|line| line.contains("sync(")).collect();
    Ok((calls.len(), calls.iter().filter(|line| line.contains("-wal>")).count()))
}

/// Counts the driver calls of a plan.
pub(crate) fn driver_calls(folder: &Path, arguments: &[&str]) -> Result<u64> {
    let output = Command::new(binary()?).args(arguments).current_dir(folder).env("WINDLASS_COUNT_CALLS", "1").output()?;
    let text = String::from_utf8(output.stderr)?;
    text.lines()
        .find_map(|line| line.strip_prefix("driver calls: "))
        .and_then(|count| count.parse().ok())
        .context("the plan did not count its calls")
}
