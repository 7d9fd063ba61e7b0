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
use tokio::process::Command;
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, EffectCx};
use windlass_model::limits;

use crate::{
    backend::{Backend, USER},
    cli_config::CliConfig,
    confinement::{Confinement, Wrapper},
    program::Program,
    setup::Setups,
    transcript::{Line, Lines, Ran, drained},
    work::Work,
};

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(30);
/// How long its streams may stay open after that.
const GRACE_AFTER_KILL: Duration = Duration::from_secs(5);
/// How often is looked whether somebody wants to stop.
const TICK: Duration = Duration::from_millis(200);

/// Of the 108 bytes of a socket's path, what its name leaves.
const SOCKET_FOLDER_BYTES_MAX: usize = 80;

/// What a run needs.
pub(crate) struct Runner<'r> {
    pub program: &'r Program,
    pub work: &'r Work,
    pub backend: &'r Backend,
    pub plugins: &'r Path,
    pub setups: &'r Setups,
    pub cli_config: &'r CliConfig,
    pub wrapper: Option<&'r Wrapper>,
    /// What the kernel lets runs touch; `init` may touch more.
    pub confinement: Option<&'r Confinements>,
    /// Whether what the program says may be told: the module took no secret.
    pub is_open: bool,
}

/// What the kernel lets the program touch.
#[derive(Clone, Debug)]
pub(crate) struct Confinements {
    /// While it brings modules and providers: it starts `git`, and runs nothing of them.
    pub set_up: Confinement,
    /// While it plans and applies.
    pub run: Confinement,
}

impl Runner<'_> {
    fn command(&self, arguments: &[&str]) -> Result<Command, CapabilityError> {
        let home = self.work.make_home()?;
        let confinement = self.confinement.map(|both| if arguments.first() == Some(&"init") { &both.set_up } else { &both.run });
        let confinement = confinement.map(|one| one.clone().writing([home.clone()]));
        // If this process dies, its child is asked to end: nobody would take its state any more.
        let mut command = match (self.wrapper, setpriv()) {
            (Some(wrapper), _) => wrapper.command(&self.program.path, confinement.as_ref()),
            (None, Some(setpriv)) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(&self.program.path);
                command
            }
            (None, None) => Command::new(&self.program.path),
        };
        command
            .args(arguments)
            .current_dir(&self.work.folder)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", home)
            .env("TMPDIR", temporary(&self.work.folder))
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_INPUT", "0")
            .env("CHECKPOINT_DISABLE", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "https:ssh:file")
            .env("TF_PLUGIN_CACHE_DIR", self.plugins)
            .env("TF_CLI_CONFIG_FILE", &self.cli_config.path)
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
        Ok(command)
    }

    /// Runs the program and hears what it says, until the time of a deployment or of a look is up.
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
        let mut child = self.command(arguments)?.spawn().map_err(fail)?;
        let pid = child.id();
        if let Some(pid) = pid {
            self.work.enter(pid);
        }
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(CapabilityError::new(Kind::Failed, format!("`{name}` has no output")));
        };
        let mut errors = tokio::spawn(drained(stderr));
        let mut ran = Ran::default();
        let mut stop = Stop::new(cx, pid);
        let mut lines = Lines::new(stdout);
        let mut heard = 0;
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let line = tokio::select! {
                line = lines.next() => line.map_err(fail)?,
                _ = ticks.tick() => {
                    if stop.is_over() {
                        break;
                    }
                    continue;
                }
            };
            match line {
                Some(Line::Whole(line)) => ran.take(&line, &mut heard, hear),
                Some(Line::TooLong) => ran.is_cut = true,
                None => break,
            }
        }
        // What the program started can hold its streams open, and outlive it.
        ran.code = loop {
            tokio::select! {
                ended = child.wait() => break ended.map_err(fail)?.code().unwrap_or(-1),
                _ = ticks.tick() => drop(stop.is_over()),
            }
        };
        if let Ok(text) = tokio::time::timeout(GRACE_AFTER_KILL, &mut errors).await {
            ran.text.push_str(&text.unwrap_or_default());
        }
        errors.abort();
        let Some(why) = stop.why() else { return Ok(ran) };
        stop.kill();
        Err(CapabilityError::new(Kind::Uncertain, format!("`{name}` was stopped on the way: {why}"))
            .hint("the next deployment goes on from the state that it handed over"))
    }
}

/// Ends a program, and what it started: asked first, then without asking.
struct Stop<'c, 'e> {
    cx: Option<&'c EffectCx<'e>>,
    group: Option<Pid>,
    /// When a program that only looks has to be done.
    until: Instant,
    asked: Option<(Instant, &'static str)>,
    killed: Option<Instant>,
}

impl<'c, 'e> Stop<'c, 'e> {
    fn new(cx: Option<&'c EffectCx<'e>>, pid: Option<u32>) -> Self {
        let group = pid.and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        Self { cx, group, until: Instant::now() + limits::TERRAFORM_LOOK_TIME_MAX, asked: None, killed: None }
    }

    /// Returns why the program was asked to end, if it was.
    fn why(&self) -> Option<&'static str> {
        self.asked.map(|(_, why)| why)
    }

    /// Takes the next step, and returns whether nothing more is to be expected.
    fn is_over(&mut self) -> bool {
        match (self.asked, self.killed) {
            (_, Some(killed)) => killed.elapsed() > GRACE_AFTER_KILL,
            (Some((since, _)), None) => {
                if since.elapsed() > GRACE {
                    self.kill();
                }
                false
            }
            (None, None) => {
                let late = || (Instant::now() > self.until).then_some("it took longer than a look may take");
                let why = self.cx.map_or_else(late, why_stop);
                if let Some(why) = why {
                    if let Some(pid) = self.group {
                        let _ = kill(pid, Signal::SIGTERM);
                    }
                    self.asked = Some((Instant::now(), why));
                }
                false
            }
        }
    }

    /// Ends the whole group: what the program started may not have heard.
    fn kill(&mut self) {
        if let Some(group) = self.group {
            let _ = killpg(group, Signal::SIGKILL);
        }
        self.killed.get_or_insert_with(Instant::now);
    }
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
