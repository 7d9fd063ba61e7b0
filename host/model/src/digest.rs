//! SHA-256 digests, written `sha256:<hex>` as OCI does.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::canonical::{self, CanonicalError};

/// Names content by its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

/// Says why a text is no digest.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no digest: `sha256:` and 64 hexadecimal digits are expected")]
pub struct DigestError(String);

impl Digest {
    /// Hashes bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Hashes the canonical JSON of a value.
    pub fn of<T: Serialize>(value: &T) -> Result<Self, CanonicalError> {
        Ok(Self(canonical::hash::<_, Sha256>(value)?.finalize().into()))
    }

    /// Hashes the JSON of a value as its type writes it: for what is compared with the like of it alone.
    pub fn of_json<T: Serialize>(value: &T) -> serde_json::Result<Self> {
        Ok(Self(canonical::hash_written::<Sha256>(|out| serde_json::to_writer(out, value))?.finalize().into()))
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 hexadecimal digits without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        let mut out = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        out
    }

    /// Returns the first 12 digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.hex().chars().take(12).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let refuse = || DigestError(text.to_owned());
        let hex = text.strip_prefix("sha256:").ok_or_else(refuse)?.as_bytes();
        if hex.len() != 64 {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let digits = std::str::from_utf8(pair).map_err(|_| refuse())?;
            if digits.bytes().any(|b| !b.is_ascii_hexdigit() || b.is_ascii_uppercase()) {
                return Err(refuse());
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| refuse())?;
        }
        Ok(Self(bytes))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_what_is_written() {
        let value = ("z".repeat(64 * 1024), 1.5);
        assert_eq!(Digest::of_json(&value).unwrap(), Digest::of_bytes(&serde_json::to_vec(&value).unwrap()));
    }

    #[test]
    fn reads_what_it_writes_and_refuses_the_rest() {
        let digest = Digest::of_bytes(b"windlass");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        for wrong in ["", "sha256:", "sha512:00", &digest.hex(), &digest.to_string().to_uppercase()] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }
}
