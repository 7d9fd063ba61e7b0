//! Exclusion on one machine: an operating system lock for each environment. A dead holder frees it at once.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use windlass_engine::store::{Fence, Lease};
use windlass_model::state::EnvironmentKey;

/// A held lock; closing the file frees it.
pub(crate) struct FileLease {
    pub(crate) file: File,
    pub(crate) fence: Fence,
}

impl Lease for FileLease {
    fn fence(&self) -> Fence {
        debug_assert!(self.file.metadata().is_ok(), "the lock is held as long as the file is open");
        self.fence
    }
}

/// Why a lock was not had.
pub(crate) enum LockFailure {
    Held(Option<String>),
    Io(std::io::Error),
}

/// Takes the lock of an environment, or says who holds it.
pub(crate) fn lock(folder: &Path, environment: &EnvironmentKey) -> Result<File, LockFailure> {
    fs::create_dir_all(folder).map_err(LockFailure::Io)?;
    let path = folder.join(format!("{}.{}.lock", environment.application, environment.environment));
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(LockFailure::Io)?;
    match file.try_lock() {
        Ok(()) => {
            let holder = format!("process {}", std::process::id());
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes())).map_err(LockFailure::Io)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            Err(LockFailure::Held((!holder.is_empty()).then_some(holder)))
        }
        Err(TryLockError::Error(error)) => Err(LockFailure::Io(error)),
    }
}
