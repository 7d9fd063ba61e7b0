//! Answers of a server as JSON, bounded by what they take once they are read: a byte of text can become sixteen of a tree.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use windlass_model::{limits, nesting::values};

/// Bytes of a value in memory, without its text.
const VALUE_BYTES: usize = size_of::<serde_json::Value>();

/// Why an answer is of no use, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It passes a bound, and would again.
    TooLarge(String),
    /// It broke off or is no JSON; another one may be.
    Broken(String),
}

/// How large an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// One object, or a refusal.
    Object,
    /// Many of them.
    List,
}

impl Size {
    /// Returns the most bytes of its text.
    pub(crate) fn bytes_max(self) -> usize {
        match self {
            Self::Object => limits::CLUSTER_OBJECT_BYTES_MAX,
            Self::List => limits::CLUSTER_ANSWER_BYTES_MAX,
        }
    }

    /// Returns the most values of its tree.
    fn values_max(self) -> usize {
        match self {
            Self::Object => limits::CLUSTER_OBJECT_VALUES_MAX,
            Self::List => limits::CLUSTER_ANSWER_VALUES_MAX,
        }
    }
}

/// Reads JSON.
pub(crate) fn parse<T: DeserializeOwned>(text: &Bytes, size: Size) -> Result<T, Unfit> {
    // A value takes a byte and a comma at least.
    if text.len() > size.values_max() && values(text) > size.values_max() {
        return Err(Unfit::TooLarge(format!("it holds more than {} values", size.values_max())));
    }
    serde_json::from_slice(text).map_err(|error| Unfit::Broken(format!("the answer can't be read: {error}")))
}

/// Returns about how many bytes a text takes as a tree.
pub(crate) fn weight(text: &[u8]) -> usize {
    text.len() + values(text) * VALUE_BYTES
}

/// Writes text into a query or a path (RFC 3986).
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn zeros(count: usize) -> Bytes {
        let mut text = b"[0".to_vec();
        text.extend(b",0".repeat(count - 1));
        text.push(b']');
        text.into()
    }

    #[test]
    fn an_answer_weighs_what_its_values_take() {
        assert_eq!(weight(b"[1,2]"), 5 + 3 * VALUE_BYTES);
    }

    #[test]
    fn values_of_an_answer_are_bounded() {
        for size in [Size::Object, Size::List] {
            // An array is a value, and is counted twice.
            let most = size.values_max() - 1;
            assert!(parse::<Value>(&zeros(most), size).is_ok(), "{size:?}");
            assert!(matches!(parse::<Value>(&zeros(most + 1), size), Err(Unfit::TooLarge(_))), "{size:?}");
        }
        assert!(matches!(parse::<Value>(&Bytes::from("[".repeat(100_000)), Size::Object), Err(Unfit::Broken(_))), "nesting is bounded");
    }

    #[test]
    fn what_a_server_says_changes_no_query() {
        assert_eq!(encode("a&limit=1#?/\n"), "a%26limit%3D1%23%3F%2F%0A");
    }
}
