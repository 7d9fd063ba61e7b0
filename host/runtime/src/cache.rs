//! Compiled code on disk, keyed by component and engine, never loaded unless its MAC is right.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use hmac::{Hmac, Mac};
use nix::fcntl::OFlag;
use sha2::Sha256;
use wasmtime::{Engine, component::Component};
use windlass_model::Digest;

/// Says what a file is.
type Magic = [u8; 8];

const CODE: &Magic = b"WLCODE01";
const FACTS: &Magic = b"WLFACT01";
const MAC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;

/// Where compiled code and the key that vouches for it are kept.
#[derive(Clone, Debug)]
pub struct CachePlace {
    /// The folder of the code.
    pub folder: PathBuf,
    /// The key, in a folder of its own: who may write into a shared cache folder must not be able to replace it.
    pub key: PathBuf,
}

/// A folder of compiled components and the key that vouches for them.
#[derive(Debug)]
pub struct CodeCache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
}

impl CodeCache {
    /// Opens a cache; makes its folder (mode 0700) and its key (mode 0600) if they are not there.
    ///
    /// # Errors
    ///
    /// If a folder or the key is a link, belongs to another user, or may be written by one: then nothing in it is trusted.
    pub fn open(place: &CachePlace) -> io::Result<Self> {
        private_folder(&place.folder)?;
        private_folder(place.key.parent().unwrap_or(Path::new(".")))?;
        Ok(Self { folder: place.folder.clone(), key: key(&place.key)? })
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
    pub(crate) fn store_code(&self, component: &Digest, engine: &Engine, code: &[u8]) {
        self.write(component, &self.path(component, engine), CODE, code);
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
        let write = || -> io::Result<()> {
            // A file of that name is the rest of a process with the same number, or somebody's link.
            let _ = fs::remove_file(&temporary);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
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

/// Reads the key; makes it if there is none.
fn key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
            file.write_all(&key)?;
            file.sync_all()?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut file = open_private(path)?;
            if file.metadata()?.mode() & OTHERS != 0 {
                return Err(refused(path, "other users may read it"));
            }
            if file.read_exact(&mut key).is_err() {
                // A process died while it wrote the key: nothing can be vouched for by it.
                fs::remove_file(path)?;
                return self::key(path);
            }
        }
        Err(error) => return Err(error),
    }
    Ok(key)
}

/// Rights of the group and of others.
const OTHERS: u32 = 0o077;
/// Rights of the group and of others to write.
const OTHERS_WRITE: u32 = 0o022;

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, format!("{}: {why}", path.display()))
}

/// Refuses what belongs to another user or may be written by one.
fn check_private(path: &Path, metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(refused(path, "it belongs to another user"));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(refused(path, "other users may write it"));
    }
    Ok(())
}

/// Makes a folder for this user alone, or checks that the one that is there is no link and can be written by nobody else.
fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Err(refused(path, "it is not a folder"));
    }
    check_private(path, &metadata)
}

/// Opens a regular file of this user that nobody else may write, without following a link; what is checked is what is read.
fn open_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(refused(path, "it is not a regular file"));
    }
    check_private(path, &metadata)?;
    Ok(file)
}

#[expect(unsafe_code, reason = "the bytes were made by this program: their MAC was checked on this very copy, or its own child wrote them")]
pub(crate) fn deserialize(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: `code` is what `Component::serialize` returned to this program. It comes from a file whose HMAC, under a key that
    // only this user can read, was verified over these bytes in memory, or through a pipe from a child that runs this program.
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
        let place = CachePlace { folder: folder.path().join("code"), key: folder.path().join("state/code.key") };
        let cache = CodeCache::open(&place).unwrap();
        let engine = engine();
        let bytes = b"\0asm\x0d\0\x01\0";
        let digest = Digest::of_bytes(bytes);
        assert!(cache.load(&digest, &engine).is_none());
        let component = Component::from_binary(&engine, bytes).unwrap();
        cache.store_code(&digest, &engine, &component.serialize().unwrap());
        assert!(cache.load(&digest, &engine).is_some());
        assert!(CodeCache::open(&place).unwrap().load(&digest, &engine).is_some(), "the key is kept");
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

    #[test]
    fn a_cache_that_another_user_could_write_is_not_opened() {
        use std::os::unix::fs::PermissionsExt as _;
        let above = tempfile::tempdir().unwrap();
        let place =
            |name: &str| CachePlace { folder: above.path().join(name).join("code"), key: above.path().join(name).join("state/key") };
        let chmod = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let refusal = |place: &CachePlace| CodeCache::open(place).map_or_else(|error| error.to_string(), |_| "opened".to_owned());
        for (name, mode, told) in
            [("code", 0o777, "write it"), ("code", 0o775, "write it"), ("state", 0o777, "write it"), ("state/key", 0o644, "read it")]
        {
            let place = place(&format!("{}-{mode:o}", name.replace('/', "-")));
            assert_eq!(refusal(&place), "opened");
            let at = place.folder.parent().unwrap().join(name);
            chmod(&at, mode);
            assert!(refusal(&place).contains(told), "{name} {mode:o}: {}", refusal(&place));
        }
        let linked = place("linked");
        fs::create_dir_all(linked.folder.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&place("code-777").folder, &linked.folder).unwrap();
        assert_ne!(refusal(&linked), "opened");
    }
}
