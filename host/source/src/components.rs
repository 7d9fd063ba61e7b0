//! Finds driver components by digest: embedded ones, files, those that the store keeps.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use windlass_engine::driver::ComponentSource;
use windlass_model::{Digest, limits};

/// Components in memory, by digest.
#[derive(Debug, Default)]
pub struct Components {
    known: Mutex<HashMap<Digest, (String, Bytes)>>,
}

/// Why a component file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It can't be read.
    #[error("the component {path} can't be read")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is too large.
    #[error("the component {path} has {bytes} bytes; {max} are allowed", max = limits::COMPONENT_BYTES_MAX)]
    TooLarge {
        /// Which.
        path: String,
        /// Its size.
        bytes: u64,
    },
}

impl Components {
    /// Adds bytes under the name by which people know them.
    pub fn add(&self, name: &str, bytes: Bytes) -> Digest {
        let digest = Digest::of_bytes(&bytes);
        self.add_known(name, digest, bytes);
        digest
    }

    /// Adds bytes whose digest is known already: embedded components are hashed when they are built.
    pub fn add_known(&self, name: &str, digest: Digest, bytes: Bytes) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(digest).or_insert_with(|| (name.to_owned(), bytes));
    }

    /// Adds a file.
    pub fn add_file(&self, name: &str, path: &Path) -> Result<Digest, SourceError> {
        let shown = path.display().to_string();
        let read = |source| SourceError::Read { path: shown.clone(), source };
        let metadata = fs::metadata(path).map_err(read)?;
        // Opening a pipe would wait for who writes to it.
        if !metadata.is_file() {
            return Err(read(io::Error::other("it is no regular file")));
        }
        let file = File::open(path).map_err(read)?;
        let mut bytes = Vec::new();
        // It may grow while it is read.
        file.take(limits::COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() > limits::COMPONENT_BYTES_MAX {
            return Err(SourceError::TooLarge { path: shown, bytes: metadata.len().max(bytes.len() as u64) });
        }
        Ok(self.add(name, Bytes::from(bytes)))
    }
}

impl ComponentSource for Components {
    fn bytes(&self, component: &Digest) -> Option<Bytes> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(component).map(|(_, bytes)| bytes.clone())
    }

    fn name(&self, component: &Digest) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(component).map(|(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_a_file_of_bounded_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("driver.wasm");
        let sized = |bytes: usize| {
            File::create(&path).unwrap().set_len(bytes as u64).unwrap();
            Components::default().add_file("driver", &path)
        };
        assert!(sized(limits::COMPONENT_BYTES_MAX).is_ok());
        assert!(matches!(sized(limits::COMPONENT_BYTES_MAX + 1), Err(SourceError::TooLarge { .. })));
        for endless in ["/dev/zero", "/dev"] {
            assert!(matches!(Components::default().add_file("driver", Path::new(endless)), Err(SourceError::Read { .. })), "{endless}");
        }
    }
}
