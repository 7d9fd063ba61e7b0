//! The data folder: private to one user, and nothing that came with a repository.
//!
//! Its state decides what is done with credentials, so the folder is made with mode 0700, and one that exists is refused unless its
//! owner runs this process, nobody else may enter it, and Git does not track what is in it. A checkout or an unpacked archive fails
//! these tests: Git and archive tools make folders that others may read.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use windlass_engine::store::StoreError;

/// The database's file.
const DATABASE: &str = "state.db";
/// Mode of the data folder.
const FOLDER_MODE: u32 = 0o700;
/// Mode of the database.
const FILE_MODE: u32 = 0o600;
/// Rights of the group and of others.
const OTHERS: u32 = 0o077;
/// The bits by which a parent folder lets everybody replace what is in it.
const WORLD_WRITABLE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// A data folder that was checked: no other user can have written it.
#[derive(Clone, Debug)]
pub struct DataFolder {
    path: PathBuf,
    database: PathBuf,
}

impl DataFolder {
    /// Makes a data folder with an empty database in it, or checks the one that is there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsafe`] if another user owns the folder or the database, may read or replace them, or if Git tracks them.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = path.join(DATABASE);
        secure(path, &database)?;
        Ok(Self { path: path.to_path_buf(), database })
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn database(&self) -> &Path {
        &self.database
    }

    /// Returns whether nothing was stored yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        fs::metadata(&self.database).is_ok_and(|metadata| metadata.len() == 0)
    }
}

/// Makes a data folder with an empty database in it, or checks the one that is there.
///
/// # Errors
///
/// [`StoreError::Unsafe`] if another user owns the folder or the database, may read or replace them, or if Git tracks them.
fn secure(folder: &Path, database: &Path) -> Result<(), StoreError> {
    let failed =
        |error: std::io::Error| StoreError::Failed { doing: "making the data folder", reason: format!("{}: {error}", folder.display()) };
    if !folder.exists() {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(failed)?;
    }
    let real = folder.canonicalize().map_err(failed)?;
    let metadata = fs::metadata(&real).map_err(failed)?;
    if !metadata.is_dir() {
        return Err(refused(folder, "it is not a folder", "name a folder with `--data-dir`"));
    }
    check_owner(folder, &metadata)?;
    if metadata.mode() & OTHERS != 0 {
        let is_empty = fs::read_dir(&real).map_err(failed)?.next().is_none();
        if !is_empty {
            return Err(open_to_others(folder, &metadata));
        }
        fs::set_permissions(&real, fs::Permissions::from_mode(FOLDER_MODE)).map_err(failed)?;
    }
    check_parents(&real)?;
    check_database(folder, database)?;
    check_untracked(folder, &real)
}

fn refused(path: &Path, reason: impl Into<String>, remedy: impl Into<String>) -> StoreError {
    StoreError::Unsafe { path: path.display().to_string(), reason: reason.into(), remedy: remedy.into() }
}

fn open_to_others(path: &Path, metadata: &Metadata) -> StoreError {
    refused(
        path,
        format!("other users may open it (mode {:04o})", metadata.mode() & 0o7777),
        format!("if you made it yourself, run `chmod -R go-rwx {}`; never use a data folder that came with a repository", path.display()),
    )
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    let user = nix::unistd::geteuid().as_raw();
    if metadata.uid() == user {
        return Ok(());
    }
    let reason = format!("it belongs to user {}, and this process runs as user {user}", metadata.uid());
    Err(refused(path, reason, "run the command as its owner, or name another folder with `--data-dir`"))
}

/// A folder in which everybody may rename entries is no place for a data folder, unless its entries are sticky, as in `/tmp`.
fn check_parents(real: &Path) -> Result<(), StoreError> {
    for parent in real.ancestors().skip(1) {
        let Ok(metadata) = fs::metadata(parent) else { continue };
        if metadata.mode() & WORLD_WRITABLE != 0 && metadata.mode() & STICKY == 0 {
            let reason = format!("every user may replace it: the folder {} above it is writable by all", parent.display());
            return Err(refused(real, reason, format!("run `chmod o-w {}`, or name another folder with `--data-dir`", parent.display())));
        }
    }
    Ok(())
}

/// Makes the database with its mode, or checks that it is a file of this user that nobody else may open.
fn check_database(folder: &Path, database: &Path) -> Result<(), StoreError> {
    let failed =
        |error: std::io::Error| StoreError::Failed { doing: "making the database", reason: format!("{}: {error}", database.display()) };
    match fs::symlink_metadata(database) {
        Ok(metadata) if !metadata.is_file() => Err(refused(database, "it is not a regular file", "remove it, or restore it from a backup")),
        Ok(metadata) if metadata.mode() & OTHERS != 0 => Err(open_to_others(folder, &metadata)),
        Ok(metadata) => check_owner(database, &metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let made: std::io::Result<File> = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(database);
            match made {
                Ok(_) => Ok(()),
                // Another process was faster.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => check_database(folder, database),
                Err(error) => Err(failed(error)),
            }
        }
        Err(error) => Err(failed(error)),
    }
}

/// Refuses a data folder of which Git tracks files: its state came with the repository.
///
/// A machine without Git, and a folder outside of every checkout, pass.
fn check_untracked(folder: &Path, real: &Path) -> Result<(), StoreError> {
    if !real.ancestors().any(|above| above.join(".git").exists()) {
        return Ok(());
    }
    let mut git = Command::new("git");
    // Settings of the checkout could name programs to run: none of them matters for reading the index.
    git.args(["--no-optional-locks", "-c", "core.fsmonitor=false", "ls-files", "-z", "--", "."])
        .current_dir(real)
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .stdin(Stdio::null());
    let output = match git.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::Failed { doing: "asking Git about the data folder", reason: error.to_string() }),
    };
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && !told.contains("not a git repository") {
        let reason = format!("Git cannot tell whether it tracks the folder: {}", told.trim());
        return Err(refused(folder, reason, "name a folder outside of the checkout with `--data-dir`"));
    }
    match output.stdout.split(|byte| *byte == 0).next().filter(|first| !first.is_empty()) {
        None => Ok(()),
        Some(first) => {
            let reason = format!("Git tracks files in it, such as `{}`", String::from_utf8_lossy(first));
            let remedy = "state that came with a repository is not trusted; run `git rm -r --cached` on the folder if it is yours, and list it in .gitignore";
            Err(refused(folder, reason, remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(result: Result<(), StoreError>) -> String {
        match result {
            Ok(()) => "accepted".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_or_empty_folder_becomes_private() {
        let above = tempfile::tempdir().unwrap();
        for made_before in [false, true] {
            let folder = above.path().join(format!("{made_before}"));
            if made_before {
                fs::create_dir(&folder).unwrap();
                chmod(&folder, 0o755);
            }
            secure(&folder, &folder.join("state.db")).unwrap();
            assert_eq!((mode(&folder), mode(&folder.join("state.db"))), (0o700, 0o600));
            secure(&folder, &folder.join("state.db")).unwrap();
        }
    }

    #[test]
    fn a_folder_or_database_that_is_open_to_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        secure(folder.path(), &database).unwrap();
        for open in [0o755, 0o750, 0o770, 0o701] {
            chmod(folder.path(), open);
            assert!(reason(secure(folder.path(), &database)).contains(&format!("other users may open it (mode {open:04o})")));
            assert_eq!(mode(folder.path()), open, "a refusal changes nothing");
        }
        chmod(folder.path(), 0o700);
        chmod(&database, 0o644);
        assert!(reason(secure(folder.path(), &database)).contains("(mode 0644)"));
    }

    #[test]
    fn a_link_in_the_place_of_the_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        chmod(folder.path(), 0o700);
        std::os::unix::fs::symlink("/etc/hostname", &database).unwrap();
        assert!(reason(secure(folder.path(), &database)).contains("not a regular file"));
    }

    #[test]
    fn a_folder_that_everybody_may_replace_is_refused() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("data");
        secure(&folder, &folder.join("state.db")).unwrap();
        chmod(above.path(), 0o777);
        assert!(reason(secure(&folder, &folder.join("state.db"))).contains("every user may replace it"));
        chmod(above.path(), 0o1777);
        assert_eq!(reason(secure(&folder, &folder.join("state.db"))), "accepted");
    }

    #[test]
    fn a_folder_whose_files_git_tracks_is_refused() {
        let checkout = tempfile::tempdir().unwrap();
        let folder = checkout.path().join(".windlass");
        let git = |arguments: &[&str]| {
            let done = Command::new("git").args(arguments).current_dir(checkout.path()).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        };
        git(&["init", "--quiet"]);
        secure(&folder, &folder.join("state.db")).unwrap();
        git(&["add", "--force", ".windlass/state.db"]);
        assert!(reason(secure(&folder, &folder.join("state.db"))).contains("Git tracks files in it, such as `state.db`"));
        git(&["rm", "--quiet", "--cached", ".windlass/state.db"]);
        assert_eq!(reason(secure(&folder, &folder.join("state.db"))), "accepted");
    }
}
