//! Processes that are started, watched and stopped by their pid.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// A running server.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    binary: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    /// Whose process it is; PostgreSQL refuses to run as root.
    user: Option<u32>,
    child: Child,
}

/// Finds a port that nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

impl Process {
    pub(crate) fn start(name: &str, binary: &Path, arguments: &[String], log: &Path) -> Result<Self> {
        Self::start_as(name, binary, arguments, log, None)
    }

    /// Starts it as another user.
    pub(crate) fn start_as(name: &str, binary: &Path, arguments: &[String], log: &Path, user: Option<u32>) -> Result<Self> {
        let child = spawn(name, binary, arguments, log, user)?;
        Ok(Self { name: name.to_owned(), binary: binary.to_path_buf(), arguments: arguments.to_vec(), log: log.to_path_buf(), user, child })
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Fails if it ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(20).collect();
            bail!("{} ended with {status}\n{}", self.name, end.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        Ok(())
    }

    /// Stops it at once.
    pub(crate) fn kill(&mut self) {
        // What has ended already is stopped too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, as it was.
    pub(crate) fn again(&mut self) -> Result<()> {
        self.child = spawn(&self.name, &self.binary, &self.arguments, &self.log, self.user)?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(name: &str, binary: &Path, arguments: &[String], log: &Path, user: Option<u32>) -> Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(binary);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
        .args(arguments)
        // Nothing of the caller's decides how a server of ours behaves.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{name} can't be started: {}", binary.display()))
}
