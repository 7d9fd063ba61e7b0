//! Admission: everything that an untrusted binary can make expensive happens once per digest, in a process that may be killed.
//!
//! Parsing, validation and compilation of WebAssembly, the first run of a component and the compilation of its schemas have no
//! budget of their own. A child process does them, with limits on memory, processor and wall time; this process takes over the facts and
//! the machine code. A worker process for all of planning can take the place of this one: it needs the same request and answer.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use windlass_engine::{
    Planners,
    driver::{ComponentInfo, Description, Fault},
};
use windlass_model::{Digest, limits};

use crate::engine::AddressSpace;

/// Where untrusted components are inspected and compiled.
#[derive(Clone, Debug, Default)]
pub enum Admission {
    /// In this process: for tests, and for a process that is limited itself.
    #[default]
    InProcess,
    /// In a child process.
    Child(ChildAdmission),
}

/// How a child process is started.
#[derive(Clone, Debug)]
pub struct ChildAdmission {
    /// The program, which calls [`serve`](crate::serve_admission).
    pub program: PathBuf,
    /// Its arguments; `--scarce` is put behind them where memories are to reserve little, on which machine code depends.
    pub arguments: Vec<String>,
    /// Components that came with the program itself; they are compiled in this process.
    pub own: BTreeSet<Digest>,
}

/// What is known of an admitted component.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub info: ComponentInfo,
    pub description: Description,
}

/// An admitted component: its facts, and the machine code for this host's engine.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub facts: Facts,
    pub code: Vec<u8>,
}

/// The answer of the child: the length of this header as eight bytes, the header as JSON, then the machine code.
#[derive(Debug, Serialize, Deserialize)]
enum Header {
    Admitted(Facts),
    Refused(Refusal),
}

/// A fault that crosses the pipe; names of limits are those of [`limit_name`].
#[derive(Debug, Serialize, Deserialize)]
enum Refusal {
    Load(String),
    World(String),
    Limit { limit: String, value: String },
    Trap(String),
    Answer(String),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::World(reason) => Self::World(reason),
            Fault::Limit { limit, value } => Self::Limit { limit: limit.to_owned(), value },
            Fault::Trap(reason) => Self::Trap(reason),
            Fault::Answer(reason) => Self::Answer(reason),
            Fault::Load(reason) | Fault::Missing(reason) | Fault::Import(reason) => Self::Load(reason),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Load(reason) => Self::Load(reason),
            Refusal::World(reason) => Self::World(reason),
            Refusal::Limit { limit, value } => Self::Limit { limit: limit_name(&limit), value },
            Refusal::Trap(reason) => Self::Trap(reason),
            Refusal::Answer(reason) => Self::Answer(reason),
        }
    }
}

/// See [`ChildAdmission::arguments`].
const SCARCE: &str = "--scarce";

/// Limits that a component can pass before it is admitted.
const LIMITS: [&str; 10] = [
    "component bytes",
    "functions",
    "component parts",
    "memory bytes",
    "table elements",
    "call time",
    "host calls",
    "output bytes",
    "stack bytes",
    "copied bytes",
];

fn limit_name(name: &str) -> &'static str {
    LIMITS.into_iter().find(|known| *known == name).unwrap_or("limit of the child process")
}

impl ChildAdmission {
    /// Has a component admitted by a child process.
    pub(crate) fn admit(&self, component: &Bytes, address_space: AddressSpace) -> Result<Admitted, Fault> {
        let failed = |error: io::Error| Fault::Load(format!("it cannot be admitted: {error}"));
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args((address_space == AddressSpace::Scarce).then_some(SCARCE)).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let answer = exchange(&mut child, component.clone());
        let killed = answer.is_none();
        if killed {
            // It may have ended by itself meanwhile.
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed)?;
        match answer {
            None => Err(Fault::Limit { limit: "admission time", value: format!("{} s", limits::ADMISSION_TIME_MAX.as_secs()) }),
            Some(answer) => read(&answer.map_err(failed)?).unwrap_or_else(|| Err(died(status))),
        }
    }
}

/// Hands the component over and reads the answer; nothing once the time is up.
fn exchange(child: &mut Child, component: Bytes) -> Option<io::Result<Vec<u8>>> {
    let (mut stdin, stdout) = (child.stdin.take()?, child.stdout.take()?);
    // A child that ends early closes the pipe; its status tells why.
    thread::spawn(move || stdin.write_all(&component));
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut answer = Vec::new();
        let read = stdout.take(limits::ADMISSION_ANSWER_BYTES_MAX + 1).read_to_end(&mut answer);
        // The receiver is gone once the time is up.
        let _ = sender.send(read.map(|_| answer));
    });
    receiver.recv_timeout(limits::ADMISSION_TIME_MAX).ok()
}

/// Reads an answer; nothing if it is cut or is none.
fn read(answer: &[u8]) -> Option<Result<Admitted, Fault>> {
    if answer.len() as u64 > limits::ADMISSION_ANSWER_BYTES_MAX {
        return Some(Err(Fault::Limit { limit: "machine code bytes", value: limits::ADMISSION_ANSWER_BYTES_MAX.to_string() }));
    }
    let (length, rest) = answer.split_first_chunk::<8>()?;
    let (header, code) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    match serde_json::from_slice(header).ok()? {
        Header::Admitted(facts) => Some(Ok(Admitted { facts, code: code.to_vec() })),
        Header::Refused(refusal) => Some(Err(refusal.into())),
    }
}

/// Names the limit of which a child died.
fn died(status: ExitStatus) -> Fault {
    use std::os::unix::process::ExitStatusExt as _;
    // SIGXCPU, and SIGKILL one second later; SIGABRT, SIGSEGV and SIGBUS where no memory was left.
    match status.signal() {
        Some(24 | 9) => {
            Fault::Limit { limit: "admission processor time", value: format!("{} s", limits::ADMISSION_CPU_TIME_MAX.as_secs()) }
        }
        Some(6 | 7 | 11) => Fault::Limit { limit: "admission memory bytes", value: limits::ADMISSION_MEMORY_BYTES_MAX.to_string() },
        _ => Fault::Load(format!("the process that admits components ended without an answer: {status}")),
    }
}

/// Admits one component in a child process: limits this process, reads the component, writes the answer.
///
/// # Errors
///
/// If the limits cannot be set or a pipe is closed; a component that is refused is an answer.
pub fn serve(planners: &Planners, address_space: AddressSpace, input: impl Read, mut output: impl Write) -> io::Result<()> {
    limit_process()?;
    let mut component = Vec::new();
    input.take(limits::COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut component)?;
    let (header, code) = match crate::host::admit(planners, component.into(), address_space) {
        Ok(Admitted { facts, code }) => (Header::Admitted(facts), code),
        Err(fault) => (Header::Refused(fault.into()), Vec::new()),
    };
    let header = serde_json::to_vec(&header)?;
    output.write_all(&(header.len() as u64).to_le_bytes())?;
    output.write_all(&header)?;
    output.write_all(&code)?;
    output.flush()
}

/// Gives up what compiling does not need: time, memory, files, new rights, and life without the parent.
fn limit_process() -> io::Result<()> {
    use nix::sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
    };
    prctl::set_pdeathsig(Some(Signal::SIGKILL))?;
    prctl::set_no_new_privs()?;
    // A lower limit that the user set stays: only the superuser can raise one.
    let lower = |resource, soft: u64, hard: u64| {
        let (_, inherited) = getrlimit(resource)?;
        setrlimit(resource, soft.min(inherited), hard.min(inherited))
    };
    let seconds = limits::ADMISSION_CPU_TIME_MAX.as_secs();
    lower(Resource::RLIMIT_CPU, seconds, seconds + 1)?;
    // Address space that is only reserved does not count as data: the runtime reserves gigabytes for each memory of a guest.
    lower(Resource::RLIMIT_DATA, limits::ADMISSION_MEMORY_BYTES_MAX, limits::ADMISSION_MEMORY_BYTES_MAX)?;
    // The runtime keeps the first contents of a guest's memory in a file without a name.
    lower(Resource::RLIMIT_FSIZE, limits::DRIVER_MEMORY_BYTES_MAX as u64, limits::DRIVER_MEMORY_BYTES_MAX as u64)?;
    lower(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(script: &str) -> ChildAdmission {
        ChildAdmission { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()], own: BTreeSet::new() }
    }

    fn refusal(script: &str) -> String {
        child(script).admit(&Bytes::from_static(b"x"), AddressSpace::Ample).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn a_child_that_dies_is_reported_by_the_limit_of_which_it_died() {
        assert!(refusal("kill -XCPU $$").contains("passed the limit `admission processor time`"));
        assert!(refusal("kill -ABRT $$").contains("passed the limit `admission memory bytes`"));
        assert!(refusal("exit 3").contains("ended without an answer"));
    }

    #[test]
    fn an_answer_that_is_none_is_refused() {
        for answer in ["", "garbage", "\\0\\0\\0\\0\\0\\0\\0\\0", "\\377\\377\\377\\377\\377\\377\\377\\377{}"] {
            assert!(refusal(&format!("printf '{answer}'")).contains("ended without an answer"), "{answer}");
        }
    }

    #[test]
    fn a_child_gets_no_environment() {
        let told = refusal("test -z \"$HOME$PATH_OF_SECRETS\" && test \"$PWD\" = / && kill -XCPU $$");
        assert!(told.contains("processor time"), "{told}");
    }
}
