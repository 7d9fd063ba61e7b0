//! Finds driver components by digest: embedded ones, files, those that the store keeps.

use std::{
    collections::HashMap,
    fs, io,
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
        if metadata.len() > limits::COMPONENT_BYTES_MAX as u64 {
            return Err(SourceError::TooLarge { path: shown, bytes: metadata.len() });
        }
        Ok(self.add(name, Bytes::from(fs::read(path).map_err(read)?)))
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
