//! What of the host's machine a document may name: environment variables, files, programs and the machine's own identity.
//!
//! Documents name these things in connections, kubeconfigs and driver references. Every such name passes through [`HostAccess`] before
//! the variable, file or program is used. The command line lends everything; a server narrows it. Not for files that the host itself
//! chooses, such as its data folder.

use std::path::{Component, Path, PathBuf};

use crate::session::{CapabilityError, CapabilityErrorKind as Kind};

/// Where the operator of the host says what it lends.
const HINT: &str = "the operator of this host decides what documents may name on its machine";

/// The variables, files, programs and identities of the machine that documents may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAccess {
    /// Prefixes of variable names.
    variables: Allowed<String>,
    /// Folders with everything beneath them.
    files: Allowed<PathBuf>,
    /// Absolute paths of programs.
    programs: Allowed<PathBuf>,
    /// Whether connections may act as the machine itself.
    identity: bool,
}

/// A set of names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed<T> {
    All,
    Only(Vec<T>),
}

impl<T> Allowed<T> {
    fn push(&mut self, item: T) {
        match self {
            Self::All => *self = Self::Only(vec![item]),
            Self::Only(items) => items.push(item),
        }
    }

    fn permits(&self, fits: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::Only(items) => items.iter().any(fits),
        }
    }
}

impl HostAccess {
    /// Lends everything: documents and the machine belong to one person.
    #[must_use]
    pub const fn open() -> Self {
        Self { variables: Allowed::All, files: Allowed::All, programs: Allowed::All, identity: true }
    }

    /// Lends nothing.
    #[must_use]
    pub const fn closed() -> Self {
        Self {
            variables: Allowed::Only(Vec::new()),
            files: Allowed::Only(Vec::new()),
            programs: Allowed::Only(Vec::new()),
            identity: false,
        }
    }

    /// Lends the variables whose names begin with a prefix.
    #[must_use]
    pub fn with_variables(mut self, prefix: impl Into<String>) -> Self {
        self.variables.push(prefix.into());
        self
    }

    /// Lends the files beneath a folder. Links that lead out of it are not followed.
    #[must_use]
    pub fn with_files(mut self, folder: impl Into<PathBuf>) -> Self {
        self.files.push(folder.into());
        self
    }

    /// Lends one program, by its absolute path.
    #[must_use]
    pub fn with_program(mut self, path: impl Into<PathBuf>) -> Self {
        self.programs.push(path.into());
        self
    }

    /// Lends the machine's own identity: the default chain of the AWS SDKs, the service account of the host's pod.
    #[must_use]
    pub fn with_identity(mut self) -> Self {
        self.identity = true;
        self
    }

    /// Checks the name of a variable that a document reads or sets.
    ///
    /// # Errors
    /// `Denied` if the host does not lend it.
    pub fn variable(&self, name: &str) -> Result<(), CapabilityError> {
        if self.variables.permits(|prefix| name.starts_with(prefix.as_str())) { Ok(()) } else { Err(refused("variable", name)) }
    }

    /// Checks a file that a document names, and returns the path under which it is opened.
    ///
    /// # Errors
    /// `Denied` if the path, with links followed, does not lie beneath a lent folder.
    pub fn file(&self, path: &Path) -> Result<PathBuf, CapabilityError> {
        let Allowed::Only(folders) = &self.files else { return Ok(path.to_path_buf()) };
        let denied = || refused("file", &path.display().to_string());
        let resolved = resolve(path).ok_or_else(denied)?;
        let is_beneath = |folder: &PathBuf| folder.canonicalize().is_ok_and(|folder| resolved.starts_with(folder));
        if folders.iter().any(is_beneath) { Ok(resolved) } else { Err(denied()) }
    }

    /// Checks a program that a document names, and returns the path under which it is run. A name without a slash is looked up in
    /// `PATH`; `None` means that there is no such program.
    ///
    /// # Errors
    /// `Denied` if the host does not lend it.
    pub fn program(&self, name: &str) -> Result<Option<PathBuf>, CapabilityError> {
        let found = if name.contains('/') { Some(PathBuf::from(name)).filter(|path| path.is_file()) } else { on_path(name) };
        let Allowed::Only(programs) = &self.programs else { return Ok(found) };
        let is_lent = |path: &PathBuf| programs.contains(path);
        match found {
            Some(path) if is_lent(&path) => Ok(Some(path)),
            _ => Err(refused("program", name)),
        }
    }

    /// Checks that a connection may act as the machine itself; `what` names the identity for people.
    ///
    /// # Errors
    /// `Denied` if the host does not lend its identity.
    pub fn identity(&self, what: &str) -> Result<(), CapabilityError> {
        if self.identity { Ok(()) } else { Err(refused("identity", what)) }
    }

    /// Checks a source of settings that may name any file and program in turn, such as a profile of AWS.
    ///
    /// # Errors
    /// `Denied` unless the host lends all files and all programs.
    pub fn anything(&self, what: &str) -> Result<(), CapabilityError> {
        let lends_all = matches!((&self.files, &self.programs), (Allowed::All, Allowed::All));
        if lends_all { Ok(()) } else { Err(refused("settings", what)) }
    }
}

impl Default for HostAccess {
    fn default() -> Self {
        Self::open()
    }
}

/// Follows the links of a path as far as it exists; what does not exist yet is appended.
fn resolve(path: &Path) -> Option<PathBuf> {
    let existing = path.ancestors().find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    let (ancestor, resolved) = existing?;
    let rest = path.strip_prefix(ancestor).ok()?;
    let is_plain = rest.components().all(|part| matches!(part, Component::Normal(_)));
    // A link that leads nowhere exists without its target.
    let is_link = rest.components().next().is_some_and(|first| resolved.join(first).is_symlink());
    (is_plain && !is_link).then(|| resolved.components().chain(rest.components()).collect())
}

fn refused(kind: &str, name: &str) -> CapabilityError {
    CapabilityError::new(Kind::Denied, format!("this host does not lend the {kind} `{name}` to documents")).hint(HINT)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn closed_access_refuses_each_kind() {
        let closed = HostAccess::closed();
        insta::assert_snapshot!(
            [
                closed.variable("HOME").unwrap_err(),
                closed.file(Path::new("/etc/hostname")).unwrap_err(),
                closed.program("sh").unwrap_err(),
                closed.program("/bin/sh").unwrap_err(),
                closed.identity("default credentials of AWS").unwrap_err(),
                closed.anything("AWS profile `x`").unwrap_err(),
            ]
            .map(|error| error.message)
            .join("\n"),
            @r"
        this host does not lend the variable `HOME` to documents
        this host does not lend the file `/etc/hostname` to documents
        this host does not lend the program `sh` to documents
        this host does not lend the program `/bin/sh` to documents
        this host does not lend the identity `default credentials of AWS` to documents
        this host does not lend the settings `AWS profile `x`` to documents
        "
        );
    }

    #[test]
    fn open_access_lends_everything() {
        let open = HostAccess::open();
        assert!(open.variable("HOME").is_ok() && open.identity("x").is_ok() && open.anything("x").is_ok());
        assert_eq!(open.file(Path::new("missing")).unwrap(), Path::new("missing"));
        assert!(open.program("sh").unwrap().is_some());
        assert_eq!(open.program("no-such-program").unwrap(), None);
    }

    #[test]
    fn variables_are_lent_by_prefix() {
        let access = HostAccess::closed().with_variables("DEMO_").with_variables("AWS_");
        assert!(access.variable("DEMO_TOKEN").is_ok() && access.variable("AWS_REGION").is_ok());
        for other in ["demo_token", "XDEMO_TOKEN", "DEMO", ""] {
            assert!(access.variable(other).is_err(), "{other}");
        }
    }

    #[test]
    fn files_are_lent_beneath_a_folder_and_never_through_a_link_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (lent, outside) = (folder.path().join("lent"), folder.path().join("lent-not"));
        fs::create_dir_all(lent.join("deep")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(lent.join("deep/token"), "x").unwrap();
        fs::write(outside.join("key"), "x").unwrap();
        symlink(&outside, lent.join("out")).unwrap();
        symlink(lent.join("deep"), lent.join("in")).unwrap();
        let access = HostAccess::closed().with_files(&lent);
        symlink(outside.join("missing"), lent.join("dangling")).unwrap();
        for path in ["deep/token", "in/token", "deep/missing", "new/folder"] {
            assert!(access.file(&lent.join(path)).is_ok(), "{path}");
        }
        for path in ["lent/out/key", "lent/out/new", "lent-not/key", "lent/../lent-not/key", "lent/new/../../x", "lent/dangling"] {
            assert!(access.file(&folder.path().join(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn programs_are_lent_by_path() {
        let shell = on_path("sh").unwrap();
        let access = HostAccess::closed().with_program(&shell);
        assert_eq!(access.program("sh").unwrap(), Some(shell.clone()));
        assert_eq!(access.program(shell.to_str().unwrap()).unwrap(), Some(shell.clone()));
        for other in ["env", "/usr/bin/env", &format!("{}/../sh", shell.parent().unwrap().display()), "./sh"] {
            assert!(access.program(other).is_err(), "{other}");
        }
    }
}
