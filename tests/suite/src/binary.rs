//! The real binary, in a folder of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use tempfile::TempDir;

/// Who types before the question throws it away: a terminal that stops showing forgets what came before.
const ASKED_WITHIN: Duration = Duration::from_secs(2);

/// The document of an application that says nothing but its name.
#[must_use]
pub fn application_document(name: &str) -> String {
    format!("apiVersion: windlass.dev/v1alpha1\nkind: Application\nmetadata: {{ name: {name} }}\nspec: {{}}\n")
}

/// A folder in which `windlass` runs.
#[derive(Debug)]
pub struct Folder {
    dir: TempDir,
}

/// What a command left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; -1 if it was killed.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Returns the repository's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}

/// Returns the folder of built components.
///
/// # Panics
///
/// Outside of `cargo xtask test`, which builds them.
#[must_use]
pub fn components() -> PathBuf {
    PathBuf::from(
        std::env::var_os("WINDLASS_COMPONENTS").unwrap_or_else(|| unreachable!("WINDLASS_COMPONENTS is not set: run `cargo xtask test`")),
    )
}

fn binary() -> PathBuf {
    PathBuf::from(std::env::var_os("WINDLASS_BIN").unwrap_or_else(|| unreachable!("WINDLASS_BIN is not set: run `cargo xtask test`")))
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Folder {
    /// Makes an empty folder.
    ///
    /// # Panics
    ///
    /// If the system gives none.
    #[must_use]
    pub fn new() -> Self {
        Self { dir: TempDir::new().unwrap_or_else(|error| unreachable!("a temporary folder: {error}")) }
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).unwrap_or_default();
        }
        std::fs::write(&path, text).unwrap_or_else(|error| unreachable!("{}: {error}", path.display()));
    }

    /// Reads a file.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).unwrap_or_default()
    }

    /// Copies a folder of the repository.
    pub fn copy(&self, from: &str, to: &str) {
        copy_all(&root().join(from), &self.path().join(to));
    }

    /// Copies everything of another folder.
    pub fn copy_from(&self, from: &Path) {
        copy_all(from, self.path());
    }

    /// Runs Git in a folder of it, as somebody, and returns what it prints.
    ///
    /// # Panics
    ///
    /// If Git fails.
    pub fn git(&self, at: &str, arguments: &[&str]) -> String {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
        let run = Command::new("git").current_dir(self.path().join(at)).args(identity).args(arguments).output();
        let run = run.unwrap_or_else(|error| unreachable!("git can't be started: {error}"));
        assert!(run.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8_lossy(&run.stdout).trim().to_owned()
    }

    /// Prepares a command.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .current_dir(self.path())
            .env_remove("WINDLASS_DATA_DIR")
            .env_remove("WINDLASS_KEY")
            .env("USER", "tester")
            // Moto takes anything; nothing of the machine's is looked for.
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")])
            .envs([("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"), ("WINDLASS_AWS_POLL_MS", "100")])
            .env("NO_COLOR", "1");
        command
    }

    /// Runs a command line: words are separated by spaces.
    pub fn run(&self, line: &str) -> Ran {
        self.run_with(line, &[])
    }

    /// Runs a command line with environment variables.
    pub fn run_with(&self, line: &str, variables: &[(&str, &str)]) -> Ran {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.command(&words).envs(variables.iter().copied()).stdin(std::process::Stdio::null()).output();
        ran(output.unwrap_or_else(|error| unreachable!("windlass can't be started: {error}")))
    }

    /// Runs a command line that can make no file longer than so many KiB: what a full disk is to it.
    pub fn run_limited(&self, line: &str, kib: u64) -> Ran {
        // Without the signal that would end it, writing fails.
        self.run_under(&["bash", "-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &kib.to_string()], line, &[])
    }

    /// Runs a command line under another program, which gets the command as its last arguments.
    ///
    /// # Panics
    ///
    /// If that can't be started.
    pub fn run_under(&self, outer: &[&str], line: &str, variables: &[(&str, &str)]) -> Ran {
        let command = self.command(&line.split_whitespace().collect::<Vec<_>>());
        let [program, arguments @ ..] = outer else { unreachable!("no program") };
        let mut around = Command::new(program);
        around.args(arguments).arg(command.get_program()).args(command.get_args()).stdin(std::process::Stdio::null());
        surround(&mut around, &command);
        around.envs(variables.iter().copied());
        ran(around.output().unwrap_or_else(|error| unreachable!("{program} can't be started: {error}")))
    }

    /// Runs a command line that must succeed.
    pub fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "windlass {line}\n{}\n{}", ran.out, ran.err);
        ran
    }

    /// Starts a command line and goes on; nobody reads what it says.
    ///
    /// # Panics
    ///
    /// If it can't be started.
    #[must_use]
    pub fn spawn(&self, line: &str) -> std::process::Child {
        let words: Vec<&str> = line.split_whitespace().collect();
        let quiet = std::process::Stdio::null;
        let spawned = self.command(&words).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
        spawned.unwrap_or_else(|error| unreachable!("windlass can't be started: {error}"))
    }

    /// Sends a signal: `INT` is what Ctrl-C does.
    pub fn signal(child: &std::process::Child, name: &str) {
        kill(name, &child.id().to_string());
    }

    /// Sends a signal to a child's whole group, as a terminal does.
    pub fn signal_group(child: &std::process::Child, name: &str) {
        kill(name, &format!("-{}", child.id()));
    }

    /// Waits until something is so while a child goes on.
    ///
    /// # Panics
    ///
    /// If the child ends before.
    pub fn wait_beside(child: &mut std::process::Child, is_so: impl Fn() -> bool) {
        while !is_so() {
            let ended = child.try_wait();
            assert!(matches!(ended, Ok(None)), "it ended before: {ended:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs a command line with standard input.
    pub fn pipe(&self, line: &str, input: &str) -> Ran {
        typed_into(&mut self.command(&line.split_whitespace().collect::<Vec<_>>()), input, Duration::ZERO)
    }

    /// Runs a command line on a terminal where somebody types; what the terminal shows is in `out`.
    ///
    /// # Panics
    ///
    /// If Debian's `script` is missing.
    #[must_use]
    pub fn on_terminal(&self, line: &str, input: &str) -> Ran {
        let command = self.command(&[]);
        let mut terminal = Command::new("script");
        let shown = format!("'{}' {line}", command.get_program().display());
        terminal.args(["--quiet", "--return", "--command", &shown, "/dev/null"]);
        surround(&mut terminal, &command);
        typed_into(&mut terminal, input, ASKED_WITHIN)
    }

    /// Lists files below a path, relative, with what they hold.
    #[must_use]
    pub fn files(&self, below: &str) -> std::collections::BTreeMap<String, String> {
        fn walk(root: &Path, at: &Path, out: &mut std::collections::BTreeMap<String, String>) {
            for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    walk(root, &entry.path(), out);
                } else {
                    let name = entry.path().strip_prefix(root).map(|path| path.display().to_string()).unwrap_or_default();
                    out.insert(name, std::fs::read_to_string(entry.path()).unwrap_or_default());
                }
            }
        }
        let mut out = std::collections::BTreeMap::new();
        let root = self.path().join(below);
        walk(&root, &root, &mut out);
        out
    }
}

fn kill(signal: &str, target: &str) {
    let _ = Command::new("kill").args(["-s", signal, "--", target]).status();
}

/// Gives a program the folder and the environment of the command that it runs.
fn surround(outer: &mut Command, command: &Command) {
    outer.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
}

/// Runs a command and types into it after a while.
fn typed_into(command: &mut Command, input: &str, after: Duration) -> Ran {
    use std::io::Write as _;
    let piped = std::process::Stdio::piped;
    let spawned = command.stdin(piped()).stdout(piped()).stderr(piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| unreachable!("{command:?} can't be started: {error}"));
    std::thread::sleep(after);
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).unwrap_or_default();
    }
    ran(child.wait_with_output().unwrap_or_else(|error| unreachable!("{command:?}: {error}")))
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Copies a folder with the modes of its files and folders: a data folder that others may open is refused.
fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap_or_default();
    if let Ok(metadata) = std::fs::metadata(from) {
        std::fs::set_permissions(to, metadata.permissions()).unwrap_or_default();
    }
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap_or_default();
        }
    }
}

/// What a command wrote and how it ended, without digests and times of this run.
#[must_use]
pub fn stable(ran: &Ran) -> String {
    masked(&format!("exit {}\n{}{}{}", ran.code, ran.out, if ran.err.is_empty() { "" } else { "--- stderr\n" }, ran.err))
}

/// What a command wrote without its progress, whose lines come as servers answer, and without names of this run.
#[must_use]
pub fn without_progress(ran: &Ran, names: &[(&String, &str)]) -> String {
    let is_progress = |line: &&str| ["  ✓ ", "  • ", "  - deleted"].iter().any(|mark| line.starts_with(mark));
    let text = stable(ran).lines().filter(|line| !is_progress(line)).collect::<Vec<_>>().join("\n");
    names.iter().fold(text, |text, (name, shown)| text.replace(name.as_str(), shown))
}

/// Takes digests and times out of a text.
#[must_use]
pub fn masked(text: &str) -> String {
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    let mut out = String::new();
    for word in text.split_inclusive([' ', '\n']) {
        let bare = word.trim_end();
        let shown = if bare.trim_end_matches(',').strip_prefix("sha256:").is_some_and(|digits| is_hex(digits, 64)) {
            "sha256:DIGEST"
        } else if is_hex(bare, 12) {
            "DIGEST"
        } else if bare.len() == 20 && bare.ends_with('Z') && bare.contains('T') {
            "TIME"
        } else {
            bare
        };
        out.push_str(shown);
        out.push_str(word.get(bare.len()..).unwrap_or_default());
    }
    out
}
