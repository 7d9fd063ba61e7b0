//! Files of a folder: written whole or not at all, never outside of it, never through a link.

use std::{
    fs,
    io::{self, Write},
    path::{Component, Path, PathBuf},
};

/// How temporary files are called: found and removed if a process died.
const TEMPORARY: &str = ".windlass-tmp";

/// A folder that files are kept in.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Joins a relative path; refuses links and steps upwards.
    fn resolve(&self, relative: &str) -> io::Result<PathBuf> {
        let mut at = self.root.clone();
        for part in Path::new(relative).components() {
            let Component::Normal(name) = part else { return Err(refused(format!("`{relative}` leaves the folder"))) };
            at.push(name);
            if fs::symlink_metadata(&at).is_ok_and(|metadata| metadata.file_type().is_symlink()) {
                return Err(refused(format!("`{}` is a symbolic link, which is not followed", at.display())));
            }
        }
        Ok(at)
    }

    /// Reads a file; none if it does not exist.
    pub(crate) fn read(&self, relative: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.resolve(relative)?;
        match fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.is_file() => Err(refused(format!("`{}` is no regular file", path.display()))),
            Ok(_) => fs::read(&path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file whole: temporary file, sync, rename, sync of the folder.
    pub(crate) fn write(&self, relative: &str, content: &[u8], secret: bool) -> io::Result<()> {
        let path = self.resolve(relative)?;
        let parent = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let temporary = parent.join(format!(".{name}{TEMPORARY}"));
        let _ = fs::remove_file(&temporary);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o644 });
        let mut file = options.open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sync_folder(parent)
    }

    /// Removes a file and the folders that are empty then; what is gone already is fine.
    pub(crate) fn remove(&self, relative: &str) -> io::Result<()> {
        let path = self.resolve(relative)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut parent = path.parent();
        while let Some(folder) = parent.filter(|folder| *folder != self.root && folder.starts_with(&self.root)) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
            parent = folder.parent();
        }
        if let Some(folder) = path.parent().filter(|folder| folder.exists()) {
            sync_folder(folder)?;
        }
        Ok(())
    }

    /// Removes what a killed process left half-written.
    pub(crate) fn sweep(&self) {
        fn walk(folder: &Path, depth: usize) {
            let Ok(entries) = fs::read_dir(folder) else { return };
            for entry in entries.flatten() {
                let Ok(kind) = entry.file_type() else { continue };
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if kind.is_dir() && depth > 0 {
                    walk(&entry.path(), depth - 1);
                } else if kind.is_file() && name.starts_with('.') && name.ends_with(TEMPORARY) {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
        walk(&self.root, 2);
    }

    /// Tells whether the folder lies in a Git work tree.
    pub(crate) fn in_git_tree(&self) -> bool {
        let start = self.root.ancestors().find(|folder| folder.exists()).and_then(|folder| folder.canonicalize().ok());
        start.is_some_and(|start| start.ancestors().any(|folder| folder.join(".git").exists()))
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

fn refused(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
