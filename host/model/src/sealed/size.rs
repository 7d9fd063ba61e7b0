//! Parts of sealed strings behind a counted pointer, measured once: copies share the origin, whatever it is derived of.

use std::{cmp::Ordering, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Origin, Part, Sealed, SealedPart};
use crate::limits;

/// Bytes of the keys, brackets and quotes of one part in plan JSON.
const PART_BYTES: usize = 64;

/// The cost of a sealed value where it is written out. Sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Texts and origins, each counted as often as it stands in the written value.
    pub parts: usize,
    /// Derivations around the innermost origin, plus one.
    pub depth: usize,
    /// Bytes in plan JSON, about.
    pub plan_bytes: usize,
    /// Bytes of the text if every unknown value were empty: a lower bound of the bytes when it is applied.
    pub text_bytes: usize,
    /// Quotes and backslashes in that text: each takes two bytes inside a JSON string.
    escapes: usize,
}

/// A limit that a sealed value passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("passes the limit `{name}` of {max}")]
pub struct SealedLimit {
    /// The limit's name.
    pub name: &'static str,
    /// Its value.
    pub max: usize,
}

impl Size {
    /// Checks the limits of one sealed value.
    ///
    /// # Errors
    ///
    /// The first limit that the value passes.
    pub fn check(&self) -> Result<(), SealedLimit> {
        let limits = [
            ("sealed depth", self.depth, limits::SEALED_DEPTH_MAX),
            ("sealed parts", self.parts, limits::SEALED_PARTS_MAX),
            ("sealed text bytes", self.text_bytes, limits::SEALED_TEXT_BYTES_MAX),
        ];
        match limits.into_iter().find(|(_, size, max)| size > max) {
            Some((name, _, max)) => Err(SealedLimit { name, max }),
            None => Ok(()),
        }
    }

    fn of_text(text: &str) -> Self {
        let escapes = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        Self { parts: 1, depth: 0, plan_bytes: text.len().saturating_add(3), text_bytes: text.len(), escapes }
    }

    fn of_origin(origin: &Origin) -> Self {
        let own = |bytes: usize| Self { parts: 1, depth: 1, plan_bytes: bytes.saturating_add(PART_BYTES), ..Self::default() };
        match origin {
            Origin::Output { name, node } => own(name.len().saturating_add(node.len())),
            Origin::Action { id, output } => own(id.as_str().len().saturating_add(output.len())),
            Origin::Generated { action, .. } => own(action.as_str().len()),
            Origin::External { connection, reference, .. } => own(connection.len().saturating_add(reference.len())),
            Origin::Derived { of, op } => {
                let inner = of.iter().map(Sealed::size).fold(Self::default(), Self::beside);
                let (text_bytes, escapes) = inner.encoded(op);
                Self { depth: inner.depth.saturating_add(1), text_bytes, escapes, ..own(op.len()).beside(inner) }
            }
        }
    }

    /// Adds a value that stands beside this one.
    fn beside(self, other: Self) -> Self {
        Self {
            parts: self.parts.saturating_add(other.parts),
            depth: self.depth.max(other.depth),
            plan_bytes: self.plan_bytes.saturating_add(other.plan_bytes),
            text_bytes: self.text_bytes.saturating_add(other.text_bytes),
            escapes: self.escapes.saturating_add(other.escapes),
        }
    }

    /// Returns the bytes, and the quotes and backslashes, of the text behind a function of `windlass:driver/sealed`.
    fn encoded(self, op: &str) -> (usize, usize) {
        let Self { text_bytes, escapes, .. } = self;
        match op {
            "to-text" => (text_bytes, escapes),
            "to-base64" => (text_bytes.div_ceil(3).saturating_mul(4), 0),
            "to-url-component" => (text_bytes.saturating_add(escapes.saturating_mul(2)), 0),
            "to-json-string" | "to-yaml-string" => {
                (text_bytes.saturating_add(escapes).saturating_add(2), escapes.saturating_mul(2).saturating_add(2))
            }
            // Hashes are short, and of a view nothing is known.
            _ => (0, 0),
        }
    }
}

impl Sealed {
    /// Measures the value; derived parts are measured already.
    #[must_use]
    pub fn size(&self) -> Size {
        let size = |part: &Part| match part {
            Part::Text(text) => Size::of_text(text),
            Part::Sealed(part) => part.size(),
        };
        self.parts().iter().map(size).fold(Size::default(), Size::beside)
    }
}

/// A sealed part that copies share. Comparisons stop where both sides are the same allocation.
#[derive(Clone)]
pub struct SharedPart(Arc<Measured>);

struct Measured {
    part: SealedPart,
    size: Size,
}

impl std::hash::Hash for SharedPart {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.part.hash(state);
    }
}

impl SharedPart {
    /// Measures and shares a part.
    #[must_use]
    pub fn new(part: SealedPart) -> Self {
        let size = Size::of_origin(&part.origin);
        Self(Arc::new(Measured { part, size }))
    }

    /// Returns the cost of the part.
    #[must_use]
    pub fn size(&self) -> Size {
        self.0.size
    }
}

impl From<SealedPart> for Part {
    fn from(part: SealedPart) -> Self {
        Self::Sealed(SharedPart::new(part))
    }
}

impl Deref for SharedPart {
    type Target = SealedPart;

    fn deref(&self) -> &SealedPart {
        &self.0.part
    }
}

impl std::fmt::Debug for SharedPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.part.fmt(f)
    }
}

impl PartialEq for SharedPart {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.part == other.0.part
    }
}

impl Eq for SharedPart {}

impl PartialOrd for SharedPart {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SharedPart {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.part.cmp(&other.0.part) }
    }
}

impl Serialize for SharedPart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.part.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SealedPart::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::Encoding;

    fn given() -> Sealed {
        Sealed::of(Origin::External { connection: "secrets".into(), reference: "k".into(), version: None }, true, Encoding::Text)
    }

    fn derived(op: &str, of: impl IntoIterator<Item = Sealed>) -> Sealed {
        Sealed::of(Origin::Derived { of: of.into_iter().collect(), op: op.into() }, true, Encoding::Text)
    }

    /// Measures, with `value` in the place of every given secret, how long the text is.
    fn applied(sealed: &Sealed) -> usize {
        fn text(sealed: &Sealed) -> String {
            let part = |part: &Part| match part {
                Part::Text(text) => text.clone(),
                Part::Sealed(part) => match &part.origin {
                    Origin::Derived { of, op } if op == "to-json-string" => serde_json::Value::from(text(&of[0])).to_string(),
                    _ => String::new(),
                },
            };
            sealed.parts().iter().map(part).collect()
        }
        text(sealed).len()
    }

    #[test]
    fn chains_of_json_strings_are_measured_as_long_as_they_become() {
        let mut chain = Sealed::new([Part::Text("a \"quoted\" \\ text".into()), given().parts()[0].clone()]);
        for _ in 0..10 {
            chain = derived("to-json-string", [chain]);
            assert_eq!(chain.size().text_bytes, applied(&chain));
        }
        assert!(chain.size().text_bytes > 5_000);
    }

    #[test]
    fn doubling_is_measured_without_walking_it() {
        let mut twice = given();
        for _ in 0..200 {
            twice = derived("fingerprint", [twice.clone(), twice]);
        }
        assert_eq!((twice.size().parts, twice.size().depth), (usize::MAX, 201));
        assert_eq!(twice.clone(), twice, "a copy is the same allocation");
    }

    #[test]
    fn every_limit_holds_at_its_number_and_not_above() {
        let chain = |length: usize| (1..length).fold(given(), |inner, _| derived("to-base64", [inner]));
        let wide = |parts: usize| derived("fingerprint", std::iter::repeat_n(given(), parts - 1));
        let long = |bytes: usize| Sealed::new([Part::Text("x".repeat(bytes)), given().parts()[0].clone()]);
        let name = |sealed: &Sealed| sealed.size().check().map_err(|limit| limit.name);
        for (at, above, expected) in [
            (chain(limits::SEALED_DEPTH_MAX), chain(limits::SEALED_DEPTH_MAX + 1), "sealed depth"),
            (wide(limits::SEALED_PARTS_MAX), wide(limits::SEALED_PARTS_MAX + 1), "sealed parts"),
            (long(limits::SEALED_TEXT_BYTES_MAX), long(limits::SEALED_TEXT_BYTES_MAX + 1), "sealed text bytes"),
        ] {
            assert_eq!(name(&at), Ok(()), "{expected}");
            assert_eq!(name(&above), Err(expected));
        }
        let escaped = derived("to-json-string", [Sealed::new([Part::Text("\"".repeat(limits::SEALED_TEXT_BYTES_MAX / 2))])]);
        assert_eq!(name(&escaped), Err("sealed text bytes"), "what a text becomes counts");
    }

    #[test]
    fn the_deepest_value_can_be_read_back() {
        let deepest = (1..limits::SEALED_DEPTH_MAX).fold(given(), |inner, _| derived("to-base64", [inner]));
        let text = deepest.to_json().to_string();
        assert_eq!(Sealed::from_json(&serde_json::from_str(&text).unwrap()), Some(deepest));
    }
}
