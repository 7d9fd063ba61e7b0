//! Compiled code on disk, keyed by component and engine, never loaded unless its MAC is right.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use wasmtime::{Engine, component::Component};
use windlass_model::Digest;

/// Says what a file is.
type Magic = [u8; 8];

const CODE: &Magic = b"WLCODE01";
const FACTS: &Magic = b"WLFACT01";
const MAC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;

/// A folder of compiled components and the key that vouches for them.
#[derive(Debug)]
pub struct CodeCache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
}

impl CodeCache {
    /// Opens a folder; makes it and its key (mode 0600) if they are not there.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join("key");
        let mut key = [0; KEY_BYTES];
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(mut file) => {
                getrandom::fill(&mut key).map_err(|error| std::io::Error::other(error.to_string()))?;
                file.write_all(&key)?;
                file.sync_all()?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let mut file = open_private(&path)?;
                if file.read_exact(&mut key).is_err() {
                    // A process died while it wrote the key: nothing can be vouched for by it.
                    fs::remove_file(&path)?;
                    return Self::open(folder);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(Self { folder: folder.to_path_buf(), key })
    }

    fn path(&self, component: &Digest, engine: &Engine) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        self.folder.join(format!("{}-{:016x}.code", component.hex(), hasher.finish()))
    }

    /// What a component is and says of itself does not change with the engine, but with what we read of it.
    fn facts_path(&self, component: &Digest) -> PathBuf {
        self.folder.join(format!("{}-{}.facts", component.hex(), env!("CARGO_PKG_VERSION")))
    }

    /// Loads compiled code; any doubt is the same as nothing.
    pub(crate) fn load(&self, component: &Digest, engine: &Engine) -> Option<Component> {
        deserialize(engine, &self.read(&self.path(component, engine), CODE)?)
    }

    /// Keeps compiled code; a full disk only costs time.
    pub(crate) fn store(&self, component: &Digest, engine: &Engine, compiled: &Component) {
        if let Ok(code) = compiled.serialize() {
            self.write(component, &self.path(component, engine), CODE, &code);
        }
    }

    /// Loads what is known of a component without asking it again.
    pub(crate) fn load_facts<T: serde::de::DeserializeOwned>(&self, component: &Digest) -> Option<T> {
        serde_json::from_slice(&self.read(&self.facts_path(component), FACTS)?).ok()
    }

    /// Keeps what is known of a component.
    pub(crate) fn store_facts<T: serde::Serialize>(&self, component: &Digest, facts: &T) {
        if let Ok(bytes) = serde_json::to_vec(facts) {
            self.write(component, &self.facts_path(component), FACTS, &bytes);
        }
    }

    /// Reads a file whose MAC is right; the bytes are the very ones that were checked.
    fn read(&self, path: &Path, magic: &Magic) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        open_private(path).ok()?.read_to_end(&mut bytes).ok()?;
        let (head, content) = bytes.split_at_checked(magic.len() + MAC_BYTES)?;
        let (found, mac) = head.split_at_checked(magic.len())?;
        if found != magic || self.mac(path, magic, content)?.verify_slice(mac).is_err() {
            return None;
        }
        bytes.drain(..magic.len() + MAC_BYTES);
        Some(bytes)
    }

    fn write(&self, component: &Digest, path: &Path, magic: &Magic, content: &[u8]) {
        let Some(mac) = self.mac(path, magic, content) else { return };
        let temporary = self.folder.join(format!(".{}.{}.tmp", component.hex(), std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(magic)?;
            file.write_all(&mac.finalize().into_bytes())?;
            file.write_all(content)?;
            fs::rename(&temporary, path)
        };
        if write().is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }

    /// The MAC covers the name too, so that files can't be swapped.
    fn mac(&self, path: &Path, magic: &Magic, content: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(path.file_name()?.as_encoded_bytes());
        mac.update(magic);
        mac.update(content);
        Some(mac)
    }
}

/// Opens a regular file that nobody else may write, without following a link.
fn open_private(path: &Path) -> std::io::Result<fs::File> {
    let metadata = fs::symlink_metadata(path)?;
    let refuse = |why: &str| std::io::Error::new(std::io::ErrorKind::PermissionDenied, why.to_owned());
    if !metadata.is_file() {
        return Err(refuse("no regular file"));
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::mode(&metadata) & 0o022 != 0 {
        return Err(refuse("others may write it"));
    }
    fs::File::open(path)
}

#[expect(unsafe_code, reason = "the bytes were made by this host and their MAC was checked on this very copy")]
fn deserialize(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: `code` is what `Component::serialize` returned to this host: its HMAC under a key that
    // only this user can read was verified over these bytes in memory, not over a file that may change.
    unsafe { Component::deserialize(engine, code) }.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> Engine {
        let mut config = wasmtime::Config::new();
        config.wasm_component_model(true);
        Engine::new(&config).unwrap()
    }

    #[test]
    fn loads_what_it_kept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(folder.path()).unwrap();
        let engine = engine();
        let bytes = b"\0asm\x0d\0\x01\0";
        let digest = Digest::of_bytes(bytes);
        assert!(cache.load(&digest, &engine).is_none());
        let component = Component::from_binary(&engine, bytes).unwrap();
        cache.store(&digest, &engine, &component);
        assert!(cache.load(&digest, &engine).is_some());
        assert!(CodeCache::open(folder.path()).unwrap().load(&digest, &engine).is_some(), "the key is kept");
        let path = cache.path(&digest, &engine);
        let good = fs::read(&path).unwrap();
        // Twelve ways to poison it, twelve times nothing.
        let mut poisons: Vec<Vec<u8>> =
            vec![vec![], good[..20].to_vec(), good[..good.len() - 1].to_vec(), [good.clone(), vec![0]].concat()];
        for index in [0, 8, 39, 40, 41, good.len() / 2, good.len() - 2] {
            let mut bad = good.clone();
            bad[index] ^= 1;
            poisons.push(bad);
        }
        for poison in poisons {
            fs::write(&path, &poison).unwrap();
            assert!(cache.load(&digest, &engine).is_none());
        }
        fs::write(&path, &good).unwrap();
        let other = cache.path(&Digest::of_bytes(b"other"), &engine);
        fs::copy(&path, &other).unwrap();
        assert!(cache.load(&Digest::of_bytes(b"other"), &engine).is_none(), "a file under another name");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
            assert!(cache.load(&digest, &engine).is_none(), "others may write it");
            fs::remove_file(&path).unwrap();
            fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::symlink(&other, &path).unwrap();
            assert!(cache.load(&digest, &engine).is_none(), "a link");
        }
    }
}
