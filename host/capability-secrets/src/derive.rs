//! What honest drivers would need plain text for: hashes with a salt that follows from the label.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::keyring::Keyring;

/// Iterations of SCRAM verifiers: PostgreSQL's own default.
const SCRAM_ITERATIONS: u32 = 4096;

/// Hashes a password with bcrypt.
pub(crate) fn bcrypt(keyring: &Keyring, label: &str, cost: u32, password: &str) -> Result<String, String> {
    bcrypt::hash_with_salt(password, cost, keyring.salt(label)).map(|parts| parts.to_string()).map_err(|error| error.to_string())
}

/// Makes a verifier in the form that PostgreSQL stores (RFC 5802, RFC 7677).
pub(crate) fn scram_sha256(keyring: &Keyring, label: &str, password: &str) -> String {
    let salt = keyring.salt(label);
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, SCRAM_ITERATIONS, &mut salted);
    let hmac = |key: &[u8], text: &[u8]| -> Vec<u8> {
        Hmac::<Sha256>::new_from_slice(key)
            .map(|mut mac| {
                mac.update(text);
                mac.finalize().into_bytes().to_vec()
            })
            .unwrap_or_default()
    };
    let stored = Sha256::digest(hmac(&salted, b"Client Key"));
    let server = hmac(&salted, b"Server Key");
    format!("SCRAM-SHA-256${SCRAM_ITERATIONS}:{}${}:{}", STANDARD.encode(salt), STANDARD.encode(stored), STANDARD.encode(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_hash_equally_and_verify() {
        let ring = Keyring::new(&[1; 32]);
        let hash = bcrypt(&ring, "db.password@1", 4, "hunter2").unwrap();
        assert_eq!(hash, bcrypt(&ring, "db.password@1", 4, "hunter2").unwrap());
        assert_ne!(hash, bcrypt(&ring, "db.password@2", 4, "hunter2").unwrap());
        assert!(bcrypt::verify("hunter2", &hash).unwrap());
        let verifier = scram_sha256(&ring, "x", "hunter2");
        assert!(verifier.starts_with("SCRAM-SHA-256$4096:"));
        assert_eq!(verifier, scram_sha256(&ring, "x", "hunter2"));
    }
}
