//! Sealed values: strings whose parts may be known only when a plan is applied.
//!
//! Inside a plan a sealed string is the object `{"$sealed": [part, …]}`; a part is text or an origin.
//! A literal key `$sealed` of a document is escaped with one more `$`.

mod size;
mod view;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
pub use size::{SealedLimit, SharedPart, Size};
pub use view::{View, coerce};

use crate::{action::ActionId, limits, pointer::Pointer};

/// Opens a token inside a string that a driver sees. A Unicode noncharacter: no document may hold it.
pub const TOKEN_OPEN: char = '\u{FDD0}';
/// Closes a token.
pub const TOKEN_CLOSE: char = '\u{FDD1}';
/// The key of a sealed string in plan JSON.
pub const SEALED_KEY: &str = "$sealed";

/// Where a sealed value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// An output of a node that is planned in a later stage.
    Output {
        /// The output's name.
        name: String,
        /// The node.
        node: String,
    },
    /// Something that an action yields when it is done.
    Action {
        /// The action.
        id: ActionId,
        /// Which of its outputs.
        output: String,
    },
    /// A value made at apply, the same in every later deployment.
    Generated {
        /// The action that makes it.
        action: ActionId,
        /// Counts rotations.
        version: u64,
    },
    /// A value that a store holds already.
    External {
        /// The store's connection; `secrets` is the embedded one.
        connection: String,
        /// The name inside the store.
        reference: String,
        /// Counts changes, where the store can tell while planning.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
    },
    /// What the host makes of other values: an encoding, a hash.
    Derived {
        /// Its arguments, shared by all copies.
        of: Arc<[Sealed]>,
        /// The function of `windlass:driver/sealed`, or a view of the host's own, with its parameter behind a colon.
        op: String,
    },
}

/// How a value stands inside a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// A scalar as JSON without quotes.
    Text,
    /// The value with its own type where it stands alone.
    Json,
}

/// A part that is not text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SealedPart {
    /// How it stands inside the string.
    pub encoding: Encoding,
    /// Where it comes from.
    pub origin: Origin,
    /// A secret may go to secret sinks only; what is not secret is deferred.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

impl SealedPart {
    /// Tells whether it stands for a text whatever its value is: what stores keep is one, and what the host makes of it.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.encoding == Encoding::Text
            || match &self.origin {
                Origin::Generated { .. } | Origin::External { .. } => true,
                Origin::Derived { op, .. } => View::of(op).is_none_or(|view| view == View::As("string")),
                Origin::Action { .. } | Origin::Output { .. } => false,
            }
    }
}

/// A part of a sealed string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part {
    /// Text that everyone may see.
    Text(String),
    /// A value that stands for itself later.
    Sealed(SharedPart),
}

/// A string with at least one sealed part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(Vec<Part>);

impl Sealed {
    /// Joins parts, merging neighbouring texts.
    #[must_use]
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        let mut merged: Vec<Part> = Vec::new();
        for part in parts {
            match (merged.last_mut(), part) {
                (_, Part::Text(text)) if text.is_empty() => {}
                (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
                (_, part) => merged.push(part),
            }
        }
        Self(merged)
    }

    /// Makes a string of one sealed value.
    #[must_use]
    pub fn of(origin: Origin, secret: bool, encoding: Encoding) -> Self {
        Self(vec![SealedPart { origin, secret, encoding }.into()])
    }

    /// Returns the parts.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Returns the sealed parts.
    pub fn sealed(&self) -> impl Iterator<Item = &SealedPart> {
        self.0.iter().filter_map(|part| match part {
            Part::Sealed(part) => Some(&**part),
            Part::Text(_) => None,
        })
    }

    /// Returns the one part of a string that is nothing else.
    #[must_use]
    pub fn single(&self) -> Option<&SealedPart> {
        match self.0.as_slice() {
            [Part::Sealed(part)] => Some(part),
            _ => None,
        }
    }

    /// Puts known values in the place of its parts; nothing if one is not known.
    pub fn known(&self, mut value: impl FnMut(&Origin) -> Option<Value>) -> Option<Value> {
        if let Some(part) = self.single().filter(|part| part.encoding == Encoding::Json) {
            return value(&part.origin);
        }
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Sealed(part) => match value(&part.origin)? {
                    Value::String(text) => out.push_str(&text),
                    // A list or a map stands inside text as compact JSON.
                    other => out.push_str(&other.to_string()),
                },
            }
        }
        Some(Value::String(out))
    }

    /// Tells whether any part is secret.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.sealed().any(|part| part.secret)
    }

    /// Names where its parts come from.
    #[must_use]
    pub fn label(&self) -> String {
        joined(self.sealed())
    }

    /// Writes the value for use in longer text.
    #[must_use]
    pub fn into_text(mut self) -> Self {
        for part in &mut self.0 {
            if let Part::Sealed(sealed) = part
                && sealed.encoding != Encoding::Text
            {
                *part = SealedPart { encoding: Encoding::Text, ..(**sealed).clone() }.into();
            }
        }
        self
    }

    /// Writes the plan's JSON; a string without sealed parts becomes a plain one.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self.0.as_slice() {
            [] => Value::String(String::new()),
            [Part::Text(text)] => Value::String(text.clone()),
            parts => {
                let mut object = Map::new();
                object.insert(SEALED_KEY.to_owned(), serde_json::to_value(parts).unwrap_or(Value::Null));
                Value::Object(object)
            }
        }
    }

    /// Reads the plan's JSON; anything else is not sealed.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        if object.len() != 1 {
            return None;
        }
        Self::deserialize(object.get(SEALED_KEY)?).ok()
    }

    /// Shows it to a person: `postgres://app:«secret db.password»@…`.
    #[must_use]
    pub fn display(&self) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Sealed(part) => format!("«{} {}»", if part.secret { "secret" } else { "deferred" }, part.origin.label()),
            })
            .collect()
    }
}

/// Names the origins of parts, up to the length that people read.
fn joined<'p>(parts: impl Iterator<Item = &'p SealedPart>) -> String {
    let mut out = String::new();
    for part in parts {
        if !out.is_empty() {
            out.push_str(", ");
        }
        if out.len() > limits::GUEST_TEXT_CHARS_MAX {
            out.push('…');
            break;
        }
        out.push_str(&part.origin.label());
    }
    out
}

impl Origin {
    /// Names the origin for a person; of one that is derived of many the first are named.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Output { node, name } => format!("{node}.{name}"),
            Self::Action { id, output } => format!("{id}.{output}"),
            Self::Generated { action, version: 0 | 1 } => action.to_string(),
            Self::Generated { action, version } => format!("{action} (version {version})"),
            Self::External { reference, version: None | Some(0 | 1), .. } => reference.clone(),
            Self::External { reference, version: Some(version), .. } => format!("{reference} (version {version})"),
            Self::Derived { op, of } => {
                let of = joined(of.iter().flat_map(Sealed::sealed));
                match View::of(op) {
                    Some(View::Field(pointer)) => format!("{of}{pointer}"),
                    Some(View::As(_)) => of,
                    None => format!("{op}({of})"),
                }
            }
        }
    }

    /// Visits this origin and those that it is derived of, the innermost ones included.
    pub fn visit<'o>(&'o self, visit: &mut impl FnMut(&'o Origin)) {
        visit(self);
        if let Self::Derived { of, .. } = self {
            for part in of.iter().flat_map(Sealed::sealed) {
                part.origin.visit(visit);
            }
        }
    }
}

/// Visits every sealed string of a value in plan JSON, with its place.
pub fn visit(value: &Value, visit: &mut impl FnMut(&str, &Sealed)) {
    walk(value, &Pointer::Root, visit);
}

/// Visits every origin of a value's sealed strings, those included that others are derived of.
pub fn visit_origins(value: &Value, found: &mut impl FnMut(&Origin)) {
    visit(value, &mut |_, sealed| sealed.sealed().for_each(|part| part.origin.visit(&mut |origin| found(origin))));
}

fn walk(value: &Value, at: &Pointer<'_>, visit: &mut impl FnMut(&str, &Sealed)) {
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| walk(item, &at.element(index), visit)),
        Value::Object(fields) => match Sealed::from_json(value) {
            Some(sealed) => visit(&at.to_string(), &sealed),
            None => fields.iter().for_each(|(key, item)| walk(item, &at.field(key), visit)),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Rebuilds a value: sealed strings through `sealed`, plain ones through `text`, escaped keys through `key`.
pub fn map<E>(
    value: &Value,
    sealed: &mut impl FnMut(&Sealed) -> Result<Value, E>,
    text: &mut impl FnMut(&str) -> Result<Value, E>,
    key: &impl Fn(&str) -> String,
) -> Result<Value, E> {
    if let Some(found) = Sealed::from_json(value) {
        return sealed(&found);
    }
    Ok(match value {
        Value::String(string) => text(string)?,
        Value::Array(items) => Value::Array(items.iter().map(|item| map(item, sealed, text, key)).collect::<Result<_, _>>()?),
        Value::Object(fields) => {
            let mut out = Map::new();
            for (name, item) in fields {
                out.insert(key(name), map(item, sealed, text, key)?);
            }
            Value::Object(out)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// Escapes a literal key that looks like ours.
#[must_use]
pub fn escape_key(key: &str) -> String {
    if needs_escape(key) { format!("${key}") } else { key.to_owned() }
}

/// Takes one escape away.
#[must_use]
pub fn unescape_key(key: &str) -> String {
    if key.starts_with("$$") && needs_escape(key) { key.chars().skip(1).collect() } else { key.to_owned() }
}

/// Tells whether a literal key looks like ours.
#[must_use]
pub fn needs_escape(key: &str) -> bool {
    key.starts_with('$') && key.trim_start_matches('$') == "sealed"
}

/// Escapes every key of plain JSON, so that it may stand inside a plan.
#[must_use]
pub fn escape(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(escape).collect()),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(key, item)| (escape_key(&key), escape(item))).collect()),
        other => other,
    }
}

/// Writes a value in plan JSON as the compact JSON that it stands for; nothing if a part of it is sealed.
#[must_use]
pub fn open_json(value: &Value) -> Option<String> {
    let open = map(value, &mut |_| Err(()), &mut |text| Ok(Value::String(text.to_owned())), &unescape_key);
    open.ok().map(|open| open.to_string())
}

/// Shows a value in plan JSON to a person: sealed strings become `«secret …»`.
#[must_use]
pub fn displayed(value: &Value) -> Value {
    let result: Result<Value, std::convert::Infallible> =
        map(value, &mut |sealed| Ok(Value::String(sealed.display())), &mut |text| Ok(Value::String(text.to_owned())), &unescape_key);
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn round_trips_and_escapes() {
        let sealed = Sealed::new([
            Part::Text("a".into()),
            Part::Text("b".into()),
            SealedPart {
                origin: Origin::External { connection: "secrets".into(), reference: "k".into(), version: Some(1) },
                secret: true,
                encoding: Encoding::Text,
            }
            .into(),
        ]);
        let value = sealed.to_json();
        assert_eq!(Sealed::from_json(&value), Some(sealed));
        let literal = json!({"$sealed": [1], "$$sealed": 2, "$other": 3});
        let escaped = escape(literal.clone());
        assert_eq!(escaped, json!({"$$sealed": [1], "$$$sealed": 2, "$other": 3}));
        assert_eq!(displayed(&escaped), literal);
    }
}
