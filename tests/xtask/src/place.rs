//! Where things are: the repository, and the cache outside of it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// The repository and its build folder.
pub(crate) struct Place {
    /// The repository.
    pub root: PathBuf,
    /// The build folder: `CARGO_TARGET_DIR`, or one outside the tree that later clones share.
    pub target: PathBuf,
}

impl Place {
    /// Finds both.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("xtask is not where it should be")?.to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => PathBuf::from(target),
            None => cache()?.join("target"),
        };
        std::fs::create_dir_all(&target)?;
        Ok(Self { root, target: target.canonicalize()? })
    }

    /// Returns the folder of built components.
    pub(crate) fn components(&self) -> PathBuf {
        self.target.join("components")
    }

    /// Prepares a cargo call in the repository.
    pub(crate) fn cargo_command(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// Runs cargo.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Result<()> {
        succeed(self.cargo_command().args(arguments))
    }
}

/// Returns the cache folder, by the XDG rules.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) if Path::new(&cache).is_absolute() => PathBuf::from(cache),
        _ => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache"),
    };
    Ok(base.join("windlass"))
}

/// Runs a command that must succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{:?} can't be started", command.get_program()))?;
    if !status.success() {
        bail!("{:?} {:?} ended with {status}", command.get_program(), command.get_args().collect::<Vec<_>>());
    }
    Ok(())
}
