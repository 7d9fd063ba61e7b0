//! Processes that are started, watched and stopped by their pid.

use std::{
    fs::{self, File},
    net::TcpListener,
    ops::Range,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
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

/// Finds a port that nobody listens on now, and that the system gives to no outgoing connection.
///
/// A server listens seconds after its port was looked for, and the API server alone has a hundred connections to etcd by then: one
/// of them takes a port of the system's own choice now and then, and whoever wanted it ends.
pub(crate) fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let ports = u32::from(OWN_PORTS.end - OWN_PORTS.start);
    if outgoing_ports_begin() < OWN_PORTS.end {
        return Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port());
    }
    // Processes beside each other begin at places of their own.
    let first = std::process::id().wrapping_mul(61);
    for _ in 0..ports {
        let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::SeqCst)) % ports;
        let port = OWN_PORTS.start + u16::try_from(offset)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {} to {} is free", OWN_PORTS.start, OWN_PORTS.end)
}

/// Where servers of ours listen: below what Linux gives to outgoing connections unless somebody set it otherwise.
const OWN_PORTS: Range<u16> = 20_000..32_000;

/// The first port that the system gives to outgoing connections; 0 where nothing says so.
fn outgoing_ports_begin() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or_default()
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
