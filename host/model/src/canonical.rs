//! Canonical JSON (RFC 8785): the bytes that digests are taken of.

use std::io::{self, BufWriter};

use serde::Serialize;
use serde_json::{
    Value,
    ser::{CharEscape, CompactFormatter, Formatter},
};

use crate::{limits, pointer::Pointer};

/// How much is collected before it is hashed.
const HASHED_BYTES: usize = 16 * 1024;

/// Says why a value has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// An integer that JSON readers would round.
    #[error("integer {value} at `{pointer}` is beyond 2^53 - 1 and would be rounded by readers; write it as a string")]
    Integer {
        /// Where it stands.
        pointer: String,
        /// The integer as written.
        value: String,
    },
    /// Nesting that a reader would refuse.
    #[error("the value is nested deeper than {max} levels at `{pointer}`")]
    Depth {
        /// Where the limit was passed.
        pointer: String,
        /// The limit.
        max: usize,
    },
    /// A type that serde can't write as JSON.
    #[error("can't be written as JSON: {0}")]
    Serialize(String),
}

/// Writes a value canonically.
///
/// What is in canonical order already is written straight through, which is most of what is hashed: maps are sorted, and
/// types that are hashed often declare their fields in that order. Everything else goes through the library.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    to_vec_of(value, 0)
}

/// Writes a value canonically that has about so many bytes.
pub(crate) fn to_vec_of<T: Serialize>(value: &T, about: usize) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(about);
    match straight(value, &mut out) {
        Ok(()) => Ok(out),
        Err(_) => by_library(value),
    }
}

/// Hands the canonical form to a hash as it comes: a plan of ten thousand objects is ten megabytes.
pub(crate) fn hash<T: Serialize, H: Default + io::Write>(value: &T) -> Result<H, CanonicalError> {
    if let Ok(hash) = hash_written(|out| straight(value, out)) {
        return Ok(hash);
    }
    let mut hash = H::default();
    hash.write_all(&by_library(value)?).map_err(|error| CanonicalError::Serialize(error.to_string()))?;
    Ok(hash)
}

/// Hands what is written to a hash, some of it at a time.
pub(crate) fn hash_written<H: Default + io::Write>(
    write: impl FnOnce(&mut BufWriter<H>) -> serde_json::Result<()>,
) -> serde_json::Result<H> {
    let mut hash = BufWriter::with_capacity(HASHED_BYTES, H::default());
    write(&mut hash)?;
    hash.into_inner().map_err(|error| serde_json::Error::io(error.into_error()))
}

fn straight<T: Serialize>(value: &T, out: &mut impl io::Write) -> Result<(), serde_json::Error> {
    value.serialize(&mut serde_json::Serializer::with_formatter(out, Straight::default()))
}

/// Tells whether a value is written straight: what is hashed often should be.
#[cfg(test)]
pub(crate) fn is_straight<T: Serialize>(value: &T) -> bool {
    straight(value, &mut io::sink()).is_ok()
}

fn by_library<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    // As a tree first: the library does not know texts that are JSON already.
    let tree = serde_json::to_value(value).map_err(|error| CanonicalError::Serialize(error.to_string()))?;
    serde_json_canonicalizer::to_vec(&tree).map_err(|error| CanonicalError::Serialize(error.to_string()))
}

/// Writes compact JSON and stops where that would not be canonical: an unsorted key, or a number that is no integer.
#[derive(Default)]
struct Straight {
    /// The last key of each open object.
    last: Vec<Vec<u8>>,
    /// The key that is being written.
    key: Option<Vec<u8>>,
    /// Buffers that are not in use.
    spare: Vec<Vec<u8>>,
}

fn not_straight() -> io::Error {
    io::Error::other("not in canonical order")
}

impl Formatter for Straight {
    fn write_u64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        if value > limits::INTEGER_MAX { Err(not_straight()) } else { CompactFormatter.write_u64(writer, value) }
    }

    fn write_i64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        if value.unsigned_abs() > limits::INTEGER_MAX { Err(not_straight()) } else { CompactFormatter.write_i64(writer, value) }
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, _: &mut W, _: f32) -> io::Result<()> {
        Err(not_straight())
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, _: &mut W, _: f64) -> io::Result<()> {
        Err(not_straight())
    }

    fn write_number_str<W: ?Sized + io::Write>(&mut self, _: &mut W, _: &str) -> io::Result<()> {
        Err(not_straight())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if let Some(key) = &mut self.key {
            // Beyond ASCII the order of UTF-16 units and that of bytes may differ.
            if !fragment.is_ascii() {
                return Err(not_straight());
            }
            key.extend_from_slice(fragment.as_bytes());
        }
        writer.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        if self.key.is_some() {
            return Err(not_straight());
        }
        CompactFormatter.write_char_escape(writer, escape)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let mut key = self.spare.pop().unwrap_or_default();
        key.clear();
        self.last.push(key);
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.spare.extend(self.last.pop());
        writer.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        let mut key = self.spare.pop().unwrap_or_default();
        key.clear();
        self.key = Some(key);
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        let (Some(key), Some(last)) = (self.key.take(), self.last.last_mut()) else { return Err(not_straight()) };
        // The empty key sorts first and equals the start: it is rare enough for the library.
        if key <= *last {
            return Err(not_straight());
        }
        self.spare.push(std::mem::replace(last, key));
        Ok(())
    }
}

/// Refuses what has no exact canonical form: large integers and deep nesting.
pub fn check(value: &Value) -> Result<(), CanonicalError> {
    walk(value, 0, &Pointer::Root)
}

fn walk(value: &Value, depth: usize, at: &Pointer<'_>) -> Result<(), CanonicalError> {
    if depth > limits::JSON_DEPTH_MAX {
        return Err(CanonicalError::Depth { pointer: at.to_string(), max: limits::JSON_DEPTH_MAX });
    }
    match value {
        Value::Number(number) => {
            let exact = match (number.as_u64(), number.as_i64()) {
                (Some(n), _) => n <= limits::INTEGER_MAX,
                (None, Some(n)) => n.unsigned_abs() <= limits::INTEGER_MAX,
                (None, None) => true,
            };
            if exact { Ok(()) } else { Err(CanonicalError::Integer { pointer: at.to_string(), value: number.to_string() }) }
        }
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| walk(item, depth + 1, &at.element(index))),
        Value::Object(fields) => fields.iter().try_for_each(|(key, item)| walk(item, depth + 1, &at.field(key))),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refuses_integers_that_readers_round_and_names_the_place() {
        assert!(check(&json!({"a": 9_007_199_254_740_991_u64, "b": -9_007_199_254_740_991_i64, "c": 1.5})).is_ok());
        let error = check(&json!({"a": {"b/c": [0, 9_007_199_254_740_992_u64]}})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "integer 9007199254740992 at `/a/b~1c/1` is beyond 2^53 - 1 and would be rounded by readers; write it as a string"
        );
    }

    proptest::proptest! {
        #[test]
        fn the_straight_way_writes_what_the_library_writes(value in json()) {
            proptest::prop_assert_eq!(to_vec(&value).unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
        }
    }

    fn json() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let text = "[ -~\u{0}-\u{1f}äé🦀\u{ffee}]{0,6}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-9_007_199_254_740_991_i64..9_007_199_254_740_991).prop_map(Value::from),
            (-1e6..1e6).prop_map(Value::from),
            text.prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(text, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect()))
            ]
        })
    }

    #[test]
    fn structs_whose_fields_are_not_sorted_are_sorted() {
        #[derive(Serialize)]
        struct Unsorted {
            b: u8,
            a: f64,
        }
        assert_eq!(to_vec(&Unsorted { b: 1, a: 2.0 }).unwrap(), br#"{"a":2,"b":1}"#);
        let spec = crate::Spec::new(&json!({ "x": 1 })).unwrap();
        assert_eq!(to_vec(&[json!({ "z": 1.5 })]).unwrap(), br#"[{"z":1.5}]"#);
        assert_eq!(to_vec(&(spec, 1.5)).unwrap(), br#"[{"x":1},1.5]"#);
    }

    #[test]
    fn sorts_keys_and_drops_spaces() {
        assert_eq!(to_vec(&json!({"b": 1, "a": [1.0, "é"]})).unwrap(), r#"{"a":[1,"é"],"b":1}"#.as_bytes());
    }
}
