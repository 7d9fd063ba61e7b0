//! Discretion: the words of a system about a spec with secrets are shown only as far as they can't describe the secrets.
//!
//! A driver chooses where a secret goes, so what a system says about it would be an answer to the driver's question.

use serde_json::Value;
use windlass_model::{Spec, sealed};

use crate::session::{CapabilityError, CapabilityErrorKind as Kind};

/// Shorter secrets are common words: hiding each would make messages unreadable and tell that the word is the secret.
const HIDDEN_BYTES_MIN: usize = 4;

/// The secrets of one spec.
pub(crate) struct SecretsOf {
    pointers: Vec<String>,
    texts: Vec<String>,
}

impl SecretsOf {
    /// Finds the secrets of a spec, and their texts in what is sent.
    pub(crate) fn spec(spec: &Spec, sent: &Value) -> Self {
        let mut found = Self { pointers: Vec::new(), texts: Vec::new() };
        if !spec.may_be_sealed() {
            return found;
        }
        sealed::visit(&spec.to_value(), &mut |at, sealed| {
            if sealed.is_secret() {
                let text = windlass_model::pointer::find(sent, at).and_then(Value::as_str);
                found.texts.extend(text.filter(|text| text.len() >= HIDDEN_BYTES_MIN).map(str::to_owned));
                found.pointers.push(at.to_owned());
            }
        });
        // A text that holds another is hidden whole.
        found.texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        found
    }

    /// Takes from an error what may quote or describe a secret. A refusal of the values names their places and nothing more.
    pub(crate) fn guard(&self, error: CapabilityError) -> CapabilityError {
        if self.pointers.is_empty() {
            return error;
        }
        if error.kind == Kind::Invalid {
            let places = self.pointers.iter().take(5).map(|at| format!("`{at}`")).collect::<Vec<_>>().join(", ");
            let message = format!("its values do not fit; the words of the system are withheld because the values at {places} are secret");
            return CapabilityError::new(Kind::Invalid, message).hint("check these values, and the fields around them");
        }
        let hidden = |text: String| self.texts.iter().fold(text, |text, secret| text.replace(secret, "«secret»"));
        CapabilityError { kind: error.kind, message: hidden(error.message), hint: error.hint.map(hidden) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_model::sealed::{Encoding, Origin, Sealed};

    use super::*;

    fn secrets() -> SecretsOf {
        let origin = Origin::External { connection: "secrets".into(), reference: "KEY".into(), version: Some(1) };
        let spec = json!({ "kind": "Secret", "stringData": { "a": Sealed::of(origin, true, Encoding::Json).to_json(), "b": "open" } });
        SecretsOf::spec(&Spec::new(&spec).unwrap(), &json!({ "kind": "Secret", "stringData": { "a": "hunter2", "b": "open" } }))
    }

    #[test]
    fn a_refusal_of_secret_values_names_only_their_places() {
        let refused = CapabilityError::new(Kind::Invalid, "invalid character 'h' looking for beginning of value").hint("quote 'h'");
        let guarded = secrets().guard(refused);
        assert!(guarded.message.contains("`/stringData/a`") && !guarded.message.contains("'h'"), "{guarded}");
        assert!(!guarded.hint.unwrap().contains("'h'"));
    }

    #[test]
    fn other_errors_keep_their_words_without_the_secret() {
        let denied = CapabilityError::new(Kind::Denied, "quota exceeded for hunter2").hint("hunter2?");
        let guarded = secrets().guard(denied);
        assert_eq!((guarded.message.as_str(), guarded.hint.as_deref()), ("quota exceeded for «secret»", Some("«secret»?")));
        let open = SecretsOf::spec(&Spec::new(&json!({ "a": "x" })).unwrap(), &json!({ "a": "x" }));
        let refused = CapabilityError::new(Kind::Invalid, "`x` is no name");
        assert_eq!(open.guard(refused.clone()), refused, "nothing is secret here");
    }
}
