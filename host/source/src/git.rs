//! `$git`: a folder of a Git repository, fetched by the machine's `git`.
//!
//! Git only brings objects. The files are written here, byte for byte as the commit holds them: nothing is checked out, so that no
//! hook, filter, attribute, link or submodule of the repository has an effect.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
    path::{Component, Path, PathBuf},
    time::{Duration, Instant},
};

use windlass_document::{Fetched, GitSource};
use windlass_model::limits;

use crate::{archive::relative, child};

/// Protocols that a repository may be reached by: with TLS or SSH, or on this machine. `ext::` would run programs.
const PROTOCOLS: &str = "https:ssh:file";
/// How a file of Git LFS begins where its content is elsewhere.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// One allocation of Git: bounds objects that are read as a whole, and tables whose size a server names.
const ALLOCATION_MAX: &str = "256m";

/// Settings of every call; the command line goes before all files of configuration.
const SETTINGS: [&str; 18] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    // Larger files are never in memory as a whole.
    "core.bigFileThreshold=1m",
    "credential.interactive=false",
    // What comes is one file, which grows while it comes.
    "fetch.unpackLimit=1",
    "transfer.unpackLimit=1",
    // A server may not send this machine elsewhere.
    "fetch.uriProtocols=",
    "transfer.bundleURI=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "http.followRedirects=initial",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
    "http.sslVerify=true",
    "pack.threads=1",
    "protocol.allow=never",
    "submodule.recurse=false",
];

/// Variables of Git that say how to reach and trust hosts. All others are for the user's own repositories, or show what is sent.
const VARIABLES: [&str; 12] = [
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_GLOBAL",
    "GIT_EXEC_PATH",
    "GIT_HTTP_PROXY_AUTHMETHOD",
    "GIT_PROXY_SSL_CAINFO",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
];

/// What fetching may take; tests use smaller numbers.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    time_max: Duration,
    disk_bytes_max: u64,
    files_max: usize,
    file_bytes_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            time_max: limits::GIT_FETCH_TIME_MAX,
            disk_bytes_max: limits::GIT_FETCH_BYTES_MAX,
            files_max: limits::ARCHIVE_ENTRIES_MAX,
            file_bytes_max: limits::ARCHIVE_UNPACKED_BYTES_MAX,
        }
    }
}

/// Fetches the files of a commit into an empty folder: those below `path`, and nothing else.
pub(crate) fn fetch(source: &GitSource, into: &Path) -> Result<Fetched, String> {
    fetch_within(source, into, Bounds::default())
}

fn fetch_within(source: &GitSource, into: &Path, bounds: Bounds) -> Result<Fetched, String> {
    let GitSource { repository, r#ref: reference, path } = source;
    let shown = public(repository);
    if !is_repository(repository) || !is_reference(reference) {
        return Err(format!("`{shown}` at `{reference}` is no repository and ref"));
    }
    let below = below(path.as_deref().unwrap_or_default()).ok_or_else(|| format!("`{shown}` has no folder outside of it"))?;
    let folder = tempfile::tempdir().map_err(|error| format!("no folder can be made: {error}"))?;
    let git = Git { folder: folder.path(), until: Instant::now() + bounds.time_max, bounds };
    git.run(&["init", "--quiet", "--bare", "--template=", "."], Configuration::None)?;
    // Git says what it was given.
    let wrong = |error: String| format!("`{shown}` at `{reference}` can't be fetched: {}", error.replace(repository.as_str(), &shown));
    let arguments = ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", repository, reference];
    git.run(&arguments, Configuration::Users).map_err(wrong)?;

    let commit = git.run(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"], Configuration::None).map_err(wrong)?;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let files = git.list(&commit, &below).map_err(wrong)?;
    git.write(&files, into).map_err(wrong)?;
    Ok(Fetched { source: shown, reference: reference.clone(), revision: format!("commit {commit}") })
}

/// Whose configuration a call reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Configuration {
    /// None but what is given here.
    None,
    /// The user's: it knows credentials and hosts.
    Users,
}

/// Runs Git in a folder of its own.
struct Git<'f> {
    folder: &'f Path,
    until: Instant,
    bounds: Bounds,
}

/// A file of a commit.
struct Entry {
    object: String,
    bytes: u64,
    path: PathBuf,
}

impl Git<'_> {
    fn command(&self, configuration: Configuration) -> std::process::Command {
        let mut command = std::process::Command::new("git");
        command.current_dir(self.folder);
        for (name, _) in std::env::vars_os() {
            let is_git = name.as_encoded_bytes().starts_with(b"GIT_");
            let is_pair = ["GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_"].iter().any(|pair| name.as_encoded_bytes().starts_with(pair.as_bytes()));
            if is_git && !is_pair && !VARIABLES.iter().any(|kept| name == *kept) {
                command.env_remove(name);
            }
        }
        // It asks nobody: not on the terminal, and not by a program with a window.
        command.envs([("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", ""), ("SSH_ASKPASS_REQUIRE", "never")]);
        command.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_ALLOW_PROTOCOL", PROTOCOLS), ("GIT_ALLOC_LIMIT", ALLOCATION_MAX)]);
        command.envs([("GIT_DIR", "."), ("GIT_LITERAL_PATHSPECS", "1"), ("GIT_NO_REPLACE_OBJECTS", "1"), ("LC_ALL", "C")]);
        match configuration {
            Configuration::None => {
                command.env("GIT_CONFIG_GLOBAL", "/dev/null").env_remove("GIT_CONFIG_COUNT");
            }
            Configuration::Users if std::env::var_os("GIT_SSH_COMMAND").is_none() && std::env::var_os("GIT_SSH").is_none() => {
                command.args(["-c", "core.sshCommand=ssh -oBatchMode=yes"]);
            }
            Configuration::Users => {}
        }
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
    }

    fn run(&self, arguments: &[&str], configuration: Configuration) -> Result<Vec<u8>, String> {
        let mut command = self.command(configuration);
        command.args(arguments);
        self.output(command, limits::GIT_TEXT_BYTES_MAX)
    }

    fn output(&self, command: std::process::Command, bytes_max: u64) -> Result<Vec<u8>, String> {
        let bounds = child::Bounds {
            until: self.until,
            output_bytes_max: bytes_max,
            folder: self.folder,
            disk_bytes_max: self.bounds.disk_bytes_max,
        };
        match child::run("git", command, &bounds) {
            Err(child::Failure::OutOfTime) => Err(format!("it took more than {} s", self.bounds.time_max.as_secs())),
            Err(child::Failure::Disk) => Err(format!("it is larger than {} bytes", self.bounds.disk_bytes_max)),
            Err(child::Failure::Output) => Err(format!("git says more than {bytes_max} bytes")),
            Err(child::Failure::Other(why)) => Err(why),
            Ok(output) => Ok(output),
        }
    }

    /// Lists the files of a commit below a path.
    fn list(&self, commit: &str, below: &str) -> Result<Vec<Entry>, String> {
        let mut arguments = vec!["ls-tree", "-r", "-l", "-z", commit];
        if !below.is_empty() {
            arguments.extend(["--", below]);
        }
        let listed = self.run(&arguments, Configuration::None)?;
        let (mut entries, mut bytes) = (Vec::new(), 0_u64);
        for line in listed.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
            let Some(entry) = entry(line)? else { continue };
            bytes = bytes.saturating_add(entry.bytes);
            entries.push(entry);
            if entries.len() > self.bounds.files_max {
                return Err(format!("it holds more than {} files; name a folder of it by `path`", self.bounds.files_max));
            }
            if bytes > self.bounds.file_bytes_max {
                return Err(format!("its files hold more than {} bytes; name a folder of it by `path`", self.bounds.file_bytes_max));
            }
        }
        Ok(entries)
    }

    /// Writes files as they are in the repository.
    fn write(&self, entries: &[Entry], into: &Path) -> Result<(), String> {
        let failed = |error: std::io::Error| error.to_string();
        let mut wanted = tempfile::tempfile().map_err(failed)?;
        let names: String = entries.iter().map(|entry| format!("{}\n", entry.object)).collect();
        wanted.write_all(names.as_bytes()).and_then(|()| wanted.seek(SeekFrom::Start(0)).map(drop)).map_err(failed)?;
        let mut command = self.command(Configuration::None);
        command.args(["cat-file", "--batch"]).stdin(wanted);
        // Each is preceded by a line that names it.
        let bytes_max = entries.iter().map(|entry| entry.bytes + limits::GIT_HEADER_BYTES_MAX).sum();
        let output = self.output(command, bytes_max)?;

        let mut rest = output.as_slice();
        for entry in entries {
            let (content, behind) = object(entry, rest).ok_or("git does not send what it listed")?;
            if content.starts_with(LFS_POINTER) {
                return Err(format!("`{}` is kept in Git LFS, which is not fetched", entry.path.display()));
            }
            let path = into.join(&entry.path);
            std::fs::create_dir_all(path.parent().unwrap_or(into)).map_err(failed)?;
            File::create_new(&path).and_then(|mut file| file.write_all(content)).map_err(failed)?;
            rest = behind;
        }
        Ok(())
    }
}

/// Splits the content of an object from what `cat-file --batch` says next.
fn object<'o>(entry: &Entry, output: &'o [u8]) -> Option<(&'o [u8], &'o [u8])> {
    let behind = output.strip_prefix(format!("{} blob {}\n", entry.object, entry.bytes).as_bytes())?;
    let (content, behind) = behind.split_at_checked(usize::try_from(entry.bytes).ok()?)?;
    Some((content, behind.strip_prefix(b"\n")?))
}

/// Reads a line of `ls-tree -l`: `MODE TYPE OBJECT SIZE<tab>PATH`. Submodules have no files here.
fn entry(line: &[u8]) -> Result<Option<Entry>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "it holds a file whose name is not UTF-8".to_owned())?;
    let (fields, name) = line.split_once('\t').ok_or("git lists something else")?;
    let mut fields = fields.split_ascii_whitespace();
    let mut field = || fields.next().unwrap_or_default();
    let (mode, _, object, bytes) = (field(), field(), field(), field());
    match mode {
        "100644" | "100755" | "100664" => {}
        "160000" => return Ok(None),
        "120000" => return Err(format!("`{name}` is a link; files are read")),
        _ => return Err(format!("`{name}` is no file")),
    }
    let path = relative(name).ok_or_else(|| format!("`{name}` is no name of a file"))?;
    let bytes = bytes.parse().map_err(|_| format!("`{name}` has no size"))?;
    Ok(Some(Entry { object: object.to_owned(), bytes, path }))
}

/// Tells whether a text can only be a repository: no option, and no helper of another transport (`ext::`).
fn is_repository(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('-') && !text.contains("::") && !text.chars().any(|c| c.is_control() || c == ' ')
}

/// Tells whether a text can only be the name of a commit: no option, and nothing that names or changes several refs.
fn is_reference(text: &str) -> bool {
    let is_special = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\' | '+');
    !text.is_empty() && !text.starts_with('-') && !text.contains("..") && !text.chars().any(is_special)
}

/// Writes a folder as Git does. `None`: it is none of the repository.
fn below(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// Takes credentials out of a URL.
fn public(repository: &str) -> String {
    match repository.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            format!("{scheme}://{}/{path}", authority.rsplit('@').next().unwrap_or_default())
        }
        None => repository.to_owned(),
    }
}

#[cfg(test)]
mod tests;
