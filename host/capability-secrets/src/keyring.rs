//! The key of the embedded store, and what is done with it: AES-256-GCM-SIV, HMAC-SHA-256, HKDF.

use std::{fs, io::Write, path::Path};

use aes_gcm_siv::{
    Aes256GcmSiv, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use windlass_engine::store::{AUTHENTICATION_CODE_BYTES, Authenticator};
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// One block of SHA-256.
const BLOCK_BYTES: usize = 64;
/// Begins every ciphertext: the scheme may change later.
const PREFIX: &str = "v1:";

/// What is wrong with a key or a ciphertext.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The key can't be read or made.
    #[error("the key {path}: {reason}")]
    Key {
        /// Where it should be.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The text was not made with this key for this purpose.
    #[error("can't be decrypted: it was made with another key, for another purpose, or was changed")]
    Decrypt,
    /// No randomness is to be had.
    #[error("the system gave no randomness: {0}")]
    Random(String),
}

/// The keys derived of one secret; their memory is overwritten when they are dropped.
pub struct Keyring {
    cipher: Aes256GcmSiv,
    mac: Zeroizing<[u8; KEY_BYTES]>,
    salt: Zeroizing<[u8; KEY_BYTES]>,
    records: Hmac<Sha256>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring(…)")
    }
}

impl Keyring {
    /// Takes 32 bytes.
    #[must_use]
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, key);
        let derive = |info: &str| {
            let mut out = Zeroizing::new([0; KEY_BYTES]);
            // 32 bytes are far below HKDF's limit of 255 blocks.
            hkdf.expand(info.as_bytes(), out.as_mut_slice()).unwrap_or_default();
            out
        };
        let encrypt = derive("windlass/encrypt");
        // HMAC takes a key of its block's length as it is.
        let mut block = Zeroizing::new([0; BLOCK_BYTES]);
        hkdf.expand(b"windlass/records", block.as_mut_slice()).unwrap_or_default();
        let records = <Hmac<Sha256> as KeyInit>::new((&*block).into());
        Self { cipher: Aes256GcmSiv::new(encrypt.as_ref().into()), mac: derive("windlass/mac"), salt: derive("windlass/salt"), records }
    }

    /// Reads the key from base64 text, as an environment variable holds it.
    pub fn from_text(text: &str, origin: &str) -> Result<Self, KeyringError> {
        let bytes = STANDARD.decode(text.trim()).ok().map(Zeroizing::new);
        let key = bytes.as_ref().and_then(|bytes| <&[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok());
        key.map(Self::new).ok_or_else(|| KeyringError::Key {
            path: origin.to_owned(),
            reason: "32 bytes in base64 are expected; `openssl rand -base64 32` makes them".to_owned(),
        })
    }

    /// Reads the key from a file; makes it, mode 0600, if there is none.
    pub fn from_file(path: &Path) -> Result<Self, KeyringError> {
        let fail = |reason: String| KeyringError::Key { path: path.display().to_string(), reason };
        match fs::read_to_string(path).map(Zeroizing::new) {
            Ok(text) => {
                #[cfg(unix)]
                {
                    let mode = fs::metadata(path).map(|metadata| std::os::unix::fs::MetadataExt::mode(&metadata)).unwrap_or(0);
                    if mode & 0o077 != 0 {
                        return Err(fail(format!("others may read it (mode {:o}); run `chmod 600` on it", mode & 0o777)));
                    }
                }
                Self::from_text(&text, &path.display().to_string())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut key = Zeroizing::new([0; KEY_BYTES]);
                random(key.as_mut_slice())?;
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(|error| fail(error.to_string()))?;
                }
                // Written whole before it gets its name: a killed process leaves no half key.
                let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
                let mut options = fs::OpenOptions::new();
                options.write(true).create(true).truncate(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let write = || -> std::io::Result<()> {
                    let mut file = options.open(&temporary)?;
                    writeln!(file, "{}", STANDARD.encode(key.as_slice()))?;
                    file.sync_all()?;
                    fs::hard_link(&temporary, path)
                };
                let linked = write();
                let _ = fs::remove_file(&temporary);
                match linked {
                    Ok(()) => Ok(Self::new(&key)),
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Self::from_file(path),
                    Err(error) => Err(fail(error.to_string())),
                }
            }
            Err(error) => Err(fail(error.to_string())),
        }
    }

    /// Encrypts bytes for a purpose.
    pub fn seal(&self, purpose: &str, bytes: &[u8]) -> Result<String, KeyringError> {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let sealed =
            self.cipher.encrypt(&Nonce::from(nonce), Payload { msg: bytes, aad: purpose.as_bytes() }).map_err(|_| KeyringError::Decrypt)?;
        Ok(format!("{PREFIX}{}", STANDARD.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// Decrypts what was encrypted for the same purpose.
    pub fn open(&self, purpose: &str, text: &str) -> Result<Vec<u8>, KeyringError> {
        let bytes = text.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok()).ok_or(KeyringError::Decrypt)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or(KeyringError::Decrypt)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| KeyringError::Decrypt)?;
        self.cipher.decrypt(&Nonce::from(nonce), Payload { msg: sealed, aad: purpose.as_bytes() }).map_err(|_| KeyringError::Decrypt)
    }

    /// Hashes bytes under the key.
    #[must_use]
    pub fn mac(&self, bytes: &[u8]) -> Vec<u8> {
        <Hmac<Sha256> as Mac>::new_from_slice(self.mac.as_slice())
            .map(|mut mac| {
                mac.update(bytes);
                mac.finalize().into_bytes().to_vec()
            })
            .unwrap_or_default()
    }

    /// Derives a salt: equal label, equal salt.
    #[must_use]
    pub fn salt(&self, label: &str) -> [u8; 16] {
        let mut out = [0; 16];
        Hkdf::<Sha256>::new(None, self.salt.as_slice()).expand(label.as_bytes(), &mut out).unwrap_or_default();
        out
    }
}

impl Authenticator for Keyring {
    fn code(&self, parts: &[&[u8]]) -> [u8; AUTHENTICATION_CODE_BYTES] {
        message(self.records.clone(), parts).finalize().into_bytes().into()
    }

    fn verifies(&self, parts: &[&[u8]], code: &[u8]) -> bool {
        message(self.records.clone(), parts).verify_slice(code).is_ok()
    }
}

/// Feeds parts to a hash, each behind its length.
fn message(mut mac: Hmac<Sha256>, parts: &[&[u8]]) -> Hmac<Sha256> {
    for part in parts {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        mac.update(part);
    }
    mac
}

/// Fills bytes with the system's randomness.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), KeyringError> {
    getrandom::fill(bytes).map_err(|error| KeyringError::Random(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_the_same_key_and_purpose() {
        let ring = Keyring::new(&[7; 32]);
        let text = ring.seal("a/b#1", b"secret").unwrap();
        assert_eq!(ring.open("a/b#1", &text).unwrap(), b"secret");
        assert!(ring.open("a/b#2", &text).is_err(), "another purpose: rows can't be swapped");
        assert!(Keyring::new(&[8; 32]).open("a/b#1", &text).is_err());
        assert!(ring.open("a/b#1", &text.replace("v1:", "v1:A")).is_err());
        assert_ne!(ring.seal("a/b#1", b"secret").unwrap(), text, "a fresh nonce each time");
    }

    #[test]
    fn codes_depend_on_the_key_and_on_every_part() {
        let ring = Keyring::new(&[7; 32]);
        let code = ring.code(&[b"action", b"shop", b"dev"]);
        assert!(ring.verifies(&[b"action", b"shop", b"dev"], &code));
        for other in [[b"action".as_slice(), b"shopd", b"ev"], [b"event", b"shop", b"dev"], [b"action", b"dev", b"shop"]] {
            assert!(!ring.verifies(&other, &code), "{other:?}");
        }
        assert!(!ring.verifies(&[b"action", b"shop"], &code) && !ring.verifies(&[b"action", b"shop", b"dev"], &code[..31]));
        assert!(!Keyring::new(&[8; 32]).verifies(&[b"action", b"shop", b"dev"], &code));
        assert_ne!(ring.mac(b"x"), ring.code(&[b"x"]), "records have a key of their own");
    }

    #[test]
    fn makes_a_private_file_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let text = Keyring::from_file(&path).unwrap().seal("x", b"y").unwrap();
        assert_eq!(Keyring::from_file(&path).unwrap().open("x", &text).unwrap(), b"y");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(Keyring::from_file(&path).unwrap_err().to_string().contains("others may read it"));
        }
    }
}
