//! Processes that are started, watched and stopped by their pid.

use std::{
    fs::{self, File},
    net::TcpListener,
    ops::Range,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            net::{SocketAddr, UnixListener},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
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

/// Finds a port that nobody listens on now, and that the system gives to no outgoing connection; it is this process's until it ends.
///
/// A server listens seconds after its port was looked for, and the API server alone has a hundred connections to etcd by then: one
/// of them takes a port of the system's own choice now and then, and whoever wanted it ends.
pub(crate) fn free_port() -> Result<u16> {
    free_ports(1)
}

/// Finds as many ports in a row as [`free_port`] finds one, and returns the first of them.
pub(crate) fn free_ports(count: u16) -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = own_ports(outgoing_ports_begin());
    let ports = u32::from(range.end - range.start - count);
    // Processes beside each other begin at places of their own.
    let begin = std::process::id().wrapping_mul(61);
    for _ in 0..ports {
        let offset = begin.wrapping_add(NEXT.fetch_add(u32::from(count), Ordering::SeqCst)) % ports;
        let first = range.start + u16::try_from(offset)?;
        let held: Option<Vec<_>> = (first..first + count).map(hold).collect();
        if let Some(held) = held {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).extend(held);
            return Ok(first);
        }
    }
    bail!("no port from {} to {} is free", range.start, range.end)
}

/// What stands for the ports of this process.
static HELD: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// Takes a port if nobody listens on it and no other process of ours was given it: a name in the same network namespace stands for it
/// from here on, and goes with the process.
fn hold(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("windlass-test-port-{port}")).ok()?;
    let held = UnixListener::bind_addr(&name).ok()?;
    TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(held)
}

/// How many ports servers of ours choose from.
const OWN_PORTS: u16 = 12_000;

/// Where servers of ours listen: below what the system gives to outgoing connections, where there is room.
fn own_ports(outgoing_begin: u16) -> Range<u16> {
    /// Below it ports have names.
    const NAMED: u16 = 2_048;
    let end = if outgoing_begin < NAMED * 2 { USUAL_OUTGOING } else { outgoing_begin.min(USUAL_OUTGOING) };
    end.saturating_sub(OWN_PORTS).max(NAMED)..end
}

/// The first port that Linux gives to outgoing connections, unless somebody set it otherwise.
const USUAL_OUTGOING: u16 = 32_768;

/// The first port that the system gives to outgoing connections; 0 where nothing says so.
fn outgoing_ports_begin() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

/// Starts servers in an empty folder; again, on other ports, where somebody else was faster to take one.
pub(crate) fn start_in<T>(folder: &Path, mut start: impl FnMut() -> Result<T>) -> Result<T> {
    const TRIES: usize = 3;
    for _ in 1..TRIES {
        fs::create_dir_all(folder)?;
        match start() {
            Err(error) if error.to_string().to_lowercase().contains("address already in use") => {
                eprintln!("xtask: a port was taken meanwhile, other ports are tried\n{error:#}");
                fs::remove_dir_all(folder)?;
            }
            started => return started,
        }
    }
    fs::create_dir_all(folder)?;
    start()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_a_row_are_nobody_elses() {
        let first = free_ports(3).unwrap();
        let held = [first, first + 1, first + 2];
        assert!(held.iter().all(|port| hold(*port).is_none()), "{held:?} can be had twice");
        assert!((0..20).all(|_| !held.contains(&free_port().unwrap())));
    }

    #[test]
    fn ports_stand_below_those_of_outgoing_connections_where_there_is_room() {
        assert_eq!(own_ports(32_768), 20_768..32_768);
        assert_eq!(own_ports(16_000), 4_000..16_000);
        assert_eq!(own_ports(10_000), 2_048..10_000);
        for unknown_or_no_room in [0, 1_024] {
            assert_eq!(own_ports(unknown_or_no_room), 20_768..32_768);
        }
    }

    #[test]
    fn a_port_that_was_taken_meanwhile_is_another_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let (at, mut starts) = (folder.path().join("servers"), 0);
        let started = start_in(&at, || {
            starts += 1;
            anyhow::ensure!(fs::read_dir(&at)?.next().is_none(), "the folder is not empty");
            fs::write(at.join("log"), "")?;
            anyhow::ensure!(starts == 3, "listen tcp 127.0.0.1:28074: bind: Address already in use");
            Ok(starts)
        });
        assert_eq!(started.unwrap(), 3);
        let mut starts = 0;
        let refused = start_in(&at, || -> Result<()> {
            starts += 1;
            bail!("no such option")
        });
        assert_eq!((refused.unwrap_err().to_string().as_str(), starts), ("no such option", 1));
    }
}
