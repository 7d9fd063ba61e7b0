//! Confines a program by the kernel: what it may read, start and write, applied in its process before it begins.
//!
//! The process that applies it is a small command of the host's binary (`Wrapper`); the crate works without one, unconfined.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
    path_beneath_rules,
};
use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::Signal,
    },
    unistd::{Pid, getppid},
};
use serde::{Deserialize, Serialize};

/// The newest rules that are asked for; an older kernel applies those that it knows.
const RULES: ABI = ABI::V6;
/// Names, certificates and time: what a program needs to speak to a server.
const NETWORK: [&str; 14] = [
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/usr/share/zoneinfo",
];
/// Libraries of programs that are not static.
const LIBRARIES: [&str; 6] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/local/lib"];
/// Loaders of such programs: the kernel starts them.
const LOADERS: [&str; 5] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-linux-armhf.so.3",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];
/// Devices without content.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];
/// What the machine has installed: `init` starts `git`, and `git` starts others.
const INSTALLED: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/opt"];

/// What a program may touch; everything else is refused by the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    read: Vec<PathBuf>,
    start: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Confinement {
    /// Returns what every run may touch.
    pub(crate) fn of_run() -> Self {
        let paths = |listed: &[&str]| listed.iter().map(PathBuf::from).collect::<Vec<_>>();
        Self { read: paths(&[NETWORK.as_slice(), &LIBRARIES].concat()), start: paths(&LOADERS), write: paths(&DEVICES) }
    }

    /// Adds the programs that are installed on the machine.
    #[must_use]
    pub(crate) fn with_installed(self) -> Self {
        self.starting(INSTALLED.iter().map(PathBuf::from))
    }

    #[must_use]
    pub(crate) fn reading(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        self.read.extend(paths);
        self
    }

    /// Adds what may be read and started.
    #[must_use]
    pub(crate) fn starting(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        self.start.extend(paths);
        self
    }

    #[must_use]
    pub(crate) fn writing(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        self.write.extend(paths);
        self
    }

    /// Confines this thread and whatever it starts; paths that are not there are left out.
    fn apply(&self) -> Result<(), RulesetError> {
        let (read, start) = (AccessFs::ReadFile | AccessFs::ReadDir, AccessFs::from_read(RULES));
        let write = AccessFs::from_all(RULES) & !AccessFs::Execute;
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(RULES))?
            .scope(Scope::from_all(RULES))?
            .create()?
            .add_rules(path_beneath_rules(&self.read, read))?
            .add_rules(path_beneath_rules(&self.start, start))?
            .add_rules(path_beneath_rules(&self.write, write))?
            .restrict_self()?;
        Ok(())
    }
}

/// The command that confines itself and becomes the program: `PROGRAM ARGUMENTS… REQUEST COMMAND…`, see [`become_program`].
#[derive(Clone, Debug)]
pub struct Wrapper {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Wrapper {
    /// Takes a program that calls [`become_program`] with what follows these arguments.
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { program: program.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// Returns a command that runs a program, confined if anything is said.
    pub(crate) fn command(&self, program: &Path, confinement: Option<&Confinement>) -> tokio::process::Command {
        let request = Request { parent: std::process::id(), confinement: confinement.cloned() };
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments).arg(serde_json::to_string(&request).unwrap_or_default()).arg(program);
        command
    }
}

/// What a wrapper is told.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    /// The process that waits for the program.
    parent: u32,
    #[serde(default)]
    confinement: Option<Confinement>,
}

/// Returns whether this kernel can confine programs.
pub(crate) fn is_available() -> bool {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::from_all(ABI::V1));
    rules.and_then(Ruleset::create).is_ok()
}

/// Ties this process to its parent's life, confines it, and becomes a program. Returns only if that fails.
///
/// # Errors
///
/// The request is none, the parent has ended, the kernel refuses a rule, or the program cannot be started.
pub fn become_program(request: &str, command: &[OsString]) -> io::Error {
    let (Some(program), arguments) = (command.first(), command.get(1..).unwrap_or_default()) else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no program is named");
    };
    let prepare = || -> io::Result<()> {
        let Request { parent, confinement } = serde_json::from_str(request)?;
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        // The parent may have ended before the kernel was told to watch it.
        if i32::try_from(parent).map(Pid::from_raw) != Ok(getppid()) {
            return Err(io::Error::other("the process that wanted it has ended"));
        }
        // An image of the process would hold what it was given.
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        confinement.map_or(Ok(()), |confinement| confinement.apply().map_err(io::Error::other))
    };
    match prepare() {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}
