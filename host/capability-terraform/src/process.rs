//! One run of the program: environment cleared, output read line by line and capped, ended with TERM before KILL.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::{Child, Command},
};
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, EffectCx};

use crate::{
    backend::{Backend, USER},
    program::Program,
    setup::Setups,
    work::Work,
};

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(30);
/// How often is looked whether somebody wants to stop.
const TICK: Duration = Duration::from_millis(200);
/// What is kept of what a program says.
const OUTPUT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Longest line that is heard: those about resources have some hundred bytes.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Of the 108 bytes of a socket's path, what its name leaves.
const SOCKET_FOLDER_BYTES_MAX: usize = 80;

/// What a program said and how it ended.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub code: i32,
    /// What it said in JSON, a value for each line.
    pub lines: Vec<Value>,
    /// Everything it said otherwise.
    pub text: String,
    /// It said something that is longer than anybody hears.
    pub is_cut: bool,
}

/// What a program says, line by line.
struct Lines<R> {
    reader: BufReader<R>,
    buffer: Vec<u8>,
    is_too_long: bool,
}

/// A line that was said.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(String),
    TooLong,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), buffer: Vec::new(), is_too_long: false }
    }

    /// Returns the next line; whoever stops waiting for it in between loses nothing.
    async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let room = (LINE_BYTES_MAX + 1).saturating_sub(self.buffer.len());
            let read = (&mut self.reader).take(room as u64).read_until(b'\n', &mut self.buffer).await?;
            let ends = self.buffer.last() == Some(&b'\n');
            if read == 0 && self.buffer.is_empty() && !self.is_too_long {
                return Ok(None);
            }
            if ends || read == 0 {
                let line = std::mem::take(&mut self.buffer);
                if std::mem::take(&mut self.is_too_long) {
                    return Ok(Some(Line::TooLong));
                }
                return Ok(Some(Line::Whole(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned())));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                self.is_too_long = true;
                self.buffer.clear();
            }
        }
    }
}

/// What a run needs.
pub(crate) struct Runner<'r> {
    pub program: &'r Program,
    pub work: &'r Work,
    pub backend: &'r Backend,
    pub plugins: &'r Path,
    pub setups: &'r Setups,
    pub cli_config: &'r Path,
}

impl Runner<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        // If this process dies, its child is asked to end: nobody would take its state any more.
        let mut command = match setpriv() {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(&self.program.path);
                command
            }
            None => Command::new(&self.program.path),
        };
        command
            .args(arguments)
            .current_dir(&self.work.folder)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &self.work.folder)
            .env("TMPDIR", temporary(&self.work.folder))
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_INPUT", "0")
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_PLUGIN_CACHE_DIR", self.plugins)
            .env("TF_CLI_CONFIG_FILE", self.program.cli_config.as_deref().unwrap_or(self.cli_config))
            .env("TF_HTTP_ADDRESS", &self.backend.address)
            .env("TF_HTTP_LOCK_ADDRESS", &self.backend.address)
            .env("TF_HTTP_UNLOCK_ADDRESS", &self.backend.address)
            .env("TF_HTTP_USERNAME", USER)
            .env("TF_HTTP_PASSWORD", &self.backend.token)
            .envs(self.program.environment.iter().map(|(name, value)| (name, value.expose())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on a terminal goes to a whole group, and a program that is told twice ends without handing its state over.
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Runs the program and hears what it says.
    pub(crate) async fn run(
        &self,
        cx: Option<&EffectCx<'_>>,
        arguments: &[&str],
        hear: &mut (dyn FnMut(&Value) + Send),
    ) -> Result<Ran, CapabilityError> {
        let name = self.program.version.split(' ').next().unwrap_or_default();
        let fail = |error: std::io::Error| CapabilityError::new(Kind::Failed, format!("`{name}` can't be run: {error}"));
        if let Some(why) = cx.and_then(why_stop) {
            return Err(CapabilityError::new(Kind::Uncertain, format!("`{name}` was not run: {why}")).hint("the next deployment goes on"));
        }
        let mut child = self.command(arguments).spawn().map_err(fail)?;
        let pid = child.id();
        if let Some(pid) = pid {
            self.work.enter(pid);
        }
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(CapabilityError::new(Kind::Failed, format!("`{name}` has no output")));
        };
        let errors = tokio::spawn(async move {
            let mut text = String::new();
            let _ = BufReader::new(stderr.take(OUTPUT_BYTES_MAX)).read_to_string(&mut text).await;
            text
        });
        let mut ran = Ran::default();
        let mut lines = Lines::new(stdout);
        let mut heard = 0;
        let mut asked = None;
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let line = tokio::select! {
                line = lines.next() => line.map_err(fail)?,
                _ = ticks.tick() => {
                    stop_if_asked(cx, &mut child, &mut asked);
                    continue;
                }
            };
            let line = match line {
                Some(Line::Whole(line)) => line,
                Some(Line::TooLong) => {
                    ran.is_cut = true;
                    continue;
                }
                None => break,
            };
            heard += line.len() as u64;
            let is_kept = heard <= OUTPUT_BYTES_MAX;
            match serde_json::from_str::<Value>(&line) {
                Ok(value) => {
                    hear(&value);
                    if is_kept {
                        ran.lines.push(value);
                    }
                }
                Err(_) if is_kept => {
                    ran.text.push_str(&line);
                    ran.text.push('\n');
                }
                Err(_) => {}
            }
        }
        ran.code = child.wait().await.map_err(fail)?.code().unwrap_or(-1);
        ran.text.push_str(&errors.await.unwrap_or_default());
        if let Some(Asked { why, .. }) = asked {
            // What it started of a module's own may not have heard.
            if let Some(group) = pid.and_then(|pid| i32::try_from(pid).ok()) {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            return Err(CapabilityError::new(Kind::Uncertain, format!("`{name}` was stopped on the way: {why}"))
                .hint("the next deployment goes on from the state that it handed over"));
        }
        Ok(ran)
    }
}

/// A program was asked to end.
struct Asked {
    since: Instant,
    why: &'static str,
}

/// Asks a program to end when somebody wants to stop or the time is up, and ends it when it does not.
fn stop_if_asked(cx: Option<&EffectCx<'_>>, child: &mut Child, asked: &mut Option<Asked>) {
    let Some(cx) = cx else { return };
    if let Some(Asked { since, .. }) = asked {
        if since.elapsed() > GRACE {
            let _ = child.start_kill();
        }
        return;
    }
    let Some(why) = why_stop(cx) else { return };
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    *asked = Some(Asked { since: Instant::now(), why });
}

/// Says why nothing should go on, if somebody wants to stop or the time is up.
fn why_stop(cx: &EffectCx<'_>) -> Option<&'static str> {
    if cx.cancel.is_cancelled() {
        return Some("somebody asked for it");
    }
    (Instant::now() > cx.deadline).then_some("the deployment's time was up")
}

/// Where a run keeps what is temporary: in its own folder. Providers listen there, and the path of a socket is short: where the
/// folder's own is too long, the folder is named as what the program and its providers run in.
fn temporary(folder: &Path) -> &Path {
    if folder.as_os_str().len() <= SOCKET_FOLDER_BYTES_MAX { folder } else { Path::new("/proc/self/cwd") }
}

/// The program of util-linux that ties a child's life to ours.
fn setpriv() -> Option<&'static Path> {
    ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().map(Path::new).find(|path| path.is_file())
}

impl Ran {
    /// Writes what went wrong, as the program says it.
    pub(crate) fn errors(&self) -> String {
        let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        let told: Vec<String> = self
            .lines
            .iter()
            .filter(|line| line.pointer("/diagnostic/severity").and_then(Value::as_str) == Some("error"))
            .map(|line| {
                let (summary, detail) = (text(line, "/diagnostic/summary"), text(line, "/diagnostic/detail"));
                let at = text(line, "/diagnostic/address");
                let at = if at.is_empty() { at } else { format!("{at}: ") };
                if detail.is_empty() { format!("{at}{summary}") } else { format!("{at}{summary}: {detail}") }
            })
            .collect();
        if told.is_empty() { self.text.trim().chars().take(4_000).collect() } else { told.join("\n") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(text: &[u8]) -> Vec<Line> {
        let mut lines = Lines::new(text);
        let mut out = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            out.push(line);
        }
        out
    }

    #[tokio::test]
    async fn lines_have_an_end() {
        let whole = |text: &str| Line::Whole(text.to_owned());
        assert_eq!(said(b"").await, []);
        assert_eq!(said(b"a\r\n\nb").await, [whole("a"), whole(""), whole("b")]);
        let longest = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(said(format!("{longest}\nb\n").as_bytes()).await, [whole(&longest), whole("b")]);
        for length in [LINE_BYTES_MAX + 1, 3 * LINE_BYTES_MAX + 2] {
            let long = "x".repeat(length);
            assert_eq!(said(format!("a\n{long}\nb\n").as_bytes()).await, [whole("a"), Line::TooLong, whole("b")], "{length}");
            assert_eq!(said(long.as_bytes()).await, [Line::TooLong], "{length}, and no end");
        }
        assert_eq!(said(b"\xff\n").await, [whole("\u{fffd}")]);
    }
}
