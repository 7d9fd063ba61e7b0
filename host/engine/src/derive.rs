//! Functions of `windlass:driver/sealed`: which are done at once, and what the others cost when the plan is applied.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use windlass_model::{
    limits,
    sealed::{Origin, Sealed},
};

/// The cost of a SCRAM verifier in rounds of bcrypt: 4,096 iterations of HMAC-SHA-256 take about two milliseconds.
const SCRAM_ROUNDS: usize = 32;

/// Makes the origin of a derived value.
#[must_use]
pub fn derived(op: &str, number: Option<u8>, of: Vec<Sealed>) -> Origin {
    Origin::Derived { op: number.map_or_else(|| op.to_owned(), |number| format!("{op}:{number}")), of: of.into() }
}

/// Returns whether bcrypt may be asked for with a cost.
#[must_use]
pub fn is_bcrypt_cost(cost: u8) -> bool {
    (limits::BCRYPT_COST_MIN..=limits::BCRYPT_COST_MAX).contains(&cost)
}

/// Returns the work of a function, in rounds of bcrypt; 0 for what takes no time. `None`: the cost of bcrypt is out of its range.
#[must_use]
pub fn hash_rounds(op: &str) -> Option<usize> {
    match op.split_once(':') {
        Some(("bcrypt", cost)) => cost.parse().ok().filter(|cost| is_bcrypt_cost(*cost)).map(|cost| 1 << cost),
        None if op == "scram-sha256" => Some(SCRAM_ROUNDS),
        _ => Some(0),
    }
}

/// Encodes text that is known; nothing if the function is no encoding.
#[must_use]
pub fn encode(function: &str, text: &str) -> Option<String> {
    match function {
        "to-text" => Some(text.to_owned()),
        "to-base64" => Some(STANDARD.encode(text)),
        "to-url-component" => Some(url_component(text)),
        "to-json-string" | "to-yaml-string" => Some(Value::String(text.to_owned()).to_string()),
        _ => None,
    }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn url_component(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bcrypt_costs_what_its_rounds_are_within_its_range() {
        assert_eq!(hash_rounds("bcrypt:12"), Some(4096));
        assert_eq!(hash_rounds("bcrypt:4"), Some(16));
        for refused in ["bcrypt:13", "bcrypt:3", "bcrypt:31", "bcrypt:-1", "bcrypt:"] {
            assert_eq!(hash_rounds(refused), None, "{refused}");
        }
        assert_eq!((hash_rounds("scram-sha256"), hash_rounds("to-base64"), hash_rounds("field:/a")), (Some(32), Some(0), Some(0)));
    }

    #[test]
    fn a_measured_text_is_never_longer_than_its_encoding() {
        for text in ["", "a", "a \"b\" \\ c/é\n", "\"\"\"\"", "\u{1}\u{7f}"] {
            for op in ["to-text", "to-base64", "to-url-component", "to-json-string", "to-yaml-string"] {
                let of = Sealed::new([windlass_model::sealed::Part::Text(text.to_owned())]);
                let part = Sealed::of(derived(op, None, vec![of]), false, windlass_model::sealed::Encoding::Text);
                assert!(part.size().text_bytes <= encode(op, text).unwrap().len(), "{op} {text:?}");
            }
        }
    }
}
