//! The grammar of references to secrets in a store of others: `vault:MOUNT/PATH#FIELD`.

use crate::placeholder;

/// The scheme that a reference begins with.
const SCHEME: &str = "vault:";
/// The character before the field.
const FIELD: char = '#';

/// A text that is written as a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written<'t> {
    /// `MOUNT/PATH#FIELD`.
    Reference(&'t str),
    /// It begins like a reference and holds placeholders: which secret it names would be decided by their values.
    WithPlaceholders,
}

/// Reads a text of a definition, before its placeholders are expanded; `None` for any text that is not a reference as a whole.
#[must_use]
pub fn written(text: &str) -> Option<Written<'_>> {
    let reference = text.strip_prefix(SCHEME)?;
    let (path, field) = reference.split_once(FIELD)?;
    let has_placeholders = placeholder::parse(text).iter().any(|segment| matches!(segment, placeholder::Segment::Reference(_)));
    if has_placeholders {
        return Some(Written::WithPlaceholders);
    }
    let fits = |part: &str, more: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    (fits(path, "/_-.+=@") && fits(field, "_-.")).then_some(Written::Reference(reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_references_are_read() {
        assert_eq!(written("vault:secret/shop/smtp#password"), Some(Written::Reference("secret/shop/smtp#password")));
        for text in [
            "vault:secret/shop",
            "vault:#password",
            "vault:a b#c",
            "see vault:secret/a#b",
            "vault:secret/a#b c",
            "vault:secret/a#",
            "vault:secret/a#b\n",
            "vault:secret/$${a}#b",
            "${resources.env.X}",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn placeholders_never_decide_which_secret_is_read() {
        for text in ["vault:secret/${context.environment}/a#b", "vault:secret/a#${resources.env.FIELD}", "vault:${resources.env.X}#b"] {
            assert_eq!(written(text), Some(Written::WithPlaceholders), "{text}");
        }
    }
}
