//! Field changes as people read them: elements of lists by their keys, nothing that differs left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::{Map, Value};
use windlass_model::{
    Spec,
    elements::{ElementKey, KeyFields},
    event::DriftedField,
    plan::FieldChange,
    pointer,
    sealed::{self, Sealed},
};

use crate::{excerpt, page::Style};

/// A value before and after; absent where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed<'v> {
    /// A JSON Pointer.
    pub pointer: &'v str,
    pub from: Option<&'v Value>,
    pub to: Option<&'v Value>,
    /// The program or person that changed it.
    pub by: Option<&'v str>,
}

impl<'v> Changed<'v> {
    fn planned(field: &'v FieldChange) -> Self {
        Self { pointer: &field.pointer, from: field.from.as_ref(), to: field.to.as_ref(), by: None }
    }

    /// Takes what was found in the place of what was left.
    pub(crate) fn drifted(field: &'v DriftedField) -> Self {
        Self { pointer: &field.pointer, from: field.recorded.as_ref(), to: field.found.as_ref(), by: field.by.as_deref() }
    }

    /// Takes what will stand in the place of what was found.
    pub(crate) fn restored(field: &'v DriftedField) -> Self {
        Self { pointer: &field.pointer, from: field.found.as_ref(), to: field.recorded.as_ref(), by: None }
    }
}

/// One line about a field, or about an element whose fields follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    /// How deep it stands below its object.
    depth: usize,
    /// `+`, `-` or `~`.
    sign: char,
    text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = match self.sign {
            '+' => Style::Green,
            '-' => Style::Red,
            _ => Style::Yellow,
        };
        write!(f, "{:indent$}{style}{}{style:#} {}", "", self.sign, self.text, indent = 2 * self.depth)
    }
}

/// Writes fields of a planned action that differ.
pub(crate) fn of_fields(fields: &[FieldChange], spec: &Spec) -> Vec<Line> {
    if fields.is_empty() {
        return Vec::new();
    }
    lines(fields.iter().map(Changed::planned), Some(&spec.to_value()))
}

/// Joins lines that were written field by field; the name of an element that several stand below is there once.
pub(crate) fn merged<'l>(fields: impl IntoIterator<Item = &'l [Line]>) -> Vec<&'l Line> {
    let mut out = Vec::new();
    let mut element = None;
    for lines in fields {
        for line in lines {
            let is_same = line.depth == 0 && element == Some(line);
            if line.depth == 0 {
                element = Some(line);
            }
            if !is_same {
                out.push(line);
            }
        }
    }
    out
}

/// Writes changes in the order of their places. In `whole` the elements stand that pointers count.
pub(crate) fn lines<'v>(changes: impl IntoIterator<Item = Changed<'v>>, whole: Option<&Value>) -> Vec<Line> {
    let mut writer = Writer::default();
    for change in changes {
        writer.by = change.by.map(|by| format!("  by {by}")).unwrap_or_default();
        let path = path(change.pointer, whole);
        match (change.from, change.to) {
            (Some(from), Some(to)) => writer.compare(&path, from, to),
            (None, Some(to)) => writer.only('+', &path, to),
            (Some(from), None) => writer.only('-', &path, from),
            (None, None) => writer.put('~', &path, ""),
        }
    }
    writer.lines
}

/// A step to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Into a field, or an element that has its place alone.
    Field(String),
    /// Into an element with a key.
    Element(String),
}

/// Reads a pointer; steps into lists become keys where `whole` has elements with keys there.
fn path(pointer: &str, whole: Option<&Value>) -> Vec<Step> {
    let mut at = whole;
    let step = |step: String| {
        let around = at;
        at = around.and_then(|value| pointer::find(value, &format!("/{}", pointer::escape(&step))));
        let list = around.and_then(Value::as_array).map(Vec::as_slice);
        let key = list.and_then(|list| KeyFields::of(&[list])).zip(at).and_then(|(fields, element)| fields.key(element));
        key.map_or_else(|| field(&step), |key| Step::Element(key.to_string()))
    };
    pointer::steps(pointer).into_iter().map(step).collect()
}

fn field(name: &str) -> Step {
    Step::Field(sealed::unescape_key(name))
}

fn joined(path: &[Step], step: Step) -> Vec<Step> {
    path.iter().cloned().chain([step]).collect()
}

/// Writes a path: `/spec/ports http/targetPort` from the object on, `env LEVEL` below an element.
fn label(path: &[Step], below_element: bool) -> String {
    let mut out = String::new();
    let mut is_element = below_element;
    for step in path {
        let (text, separator) = match step {
            Step::Field(name) => (pointer::escape(name), if is_element { ' ' } else { '/' }),
            Step::Element(key) => (key.clone(), ' '),
        };
        is_element = matches!(step, Step::Element(_));
        if !(out.is_empty() && below_element) {
            out.push(separator);
        }
        out.push_str(&text);
    }
    out
}

fn is_scalar(value: &Value) -> bool {
    !(value.is_object() || value.is_array()) || Sealed::from_json(value).is_some()
}

#[derive(Debug, Default)]
struct Writer {
    lines: Vec<Line>,
    /// The outermost element that the last lines stand below.
    element: Vec<Step>,
    by: String,
}

impl Writer {
    /// Adds a line; one about the inside of an element stands below that.
    fn put(&mut self, sign: char, path: &[Step], rest: &str) {
        let outermost = path.iter().position(|step| matches!(step, Step::Element(_))).map_or(0, |at| at + 1);
        let (element, below) = path.split_at(outermost);
        if below.is_empty() || element.is_empty() {
            self.element = element.to_vec();
            return self.push(0, sign, &label(path, false), rest);
        }
        if self.element != element {
            self.element = element.to_vec();
            self.lines.push(Line { depth: 0, sign: '~', text: label(element, false) });
        }
        self.push(1, sign, &label(below, true), rest);
    }

    fn push(&mut self, depth: usize, sign: char, label: &str, rest: &str) {
        self.lines.push(Line { depth, sign, text: format!("{label}{rest}{}", self.by) });
    }

    fn compare(&mut self, path: &[Step], from: &Value, to: &Value) {
        if from == to {
            return;
        }
        match (from, to) {
            (Value::Object(a), Value::Object(b)) if Sealed::from_json(from).is_none() && Sealed::from_json(to).is_none() => {
                let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for name in names {
                    self.compare_one(&joined(path, field(name)), a.get(name), b.get(name));
                }
            }
            (Value::Array(a), Value::Array(b)) => match KeyFields::of(&[a, b]) {
                Some(fields) => self.compare_elements(path, fields, a, b),
                None if excerpt::is_short(from) && excerpt::is_short(to) => self.differ(path, from, to),
                None => self.compare_places(path, a, b),
            },
            _ => self.differ(path, from, to),
        }
    }

    fn compare_one(&mut self, path: &[Step], from: Option<&Value>, to: Option<&Value>) {
        match (from, to) {
            (Some(from), Some(to)) => self.compare(path, from, to),
            (Some(from), None) => self.only('-', path, from),
            (None, Some(to)) => self.only('+', path, to),
            (None, None) => {}
        }
    }

    /// Compares lists by the keys of their elements. Order counts too: that of containers that run one after the other, of variables that use others.
    fn compare_elements(&mut self, path: &[Step], fields: KeyFields, from: &[Value], to: &[Value]) {
        let by_key = |list| -> BTreeMap<ElementKey, &Value> { fields.keys(list).into_iter().zip(list).collect() };
        let (old, new) = (fields.keys(from), fields.keys(to));
        let (before, after) = (by_key(from), by_key(to));
        for (key, element) in old.iter().zip(from) {
            let path = joined(path, Step::Element(key.to_string()));
            match after.get(key) {
                Some(other) => self.compare(&path, element, other),
                None => self.only_element('-', &path, fields, element),
            }
        }
        for (key, element) in new.iter().zip(to).filter(|(key, _)| !before.contains_key(*key)) {
            self.only_element('+', &joined(path, Step::Element(key.to_string())), fields, element);
        }
        let stayed = new.iter().filter(|key| before.contains_key(*key));
        if !old.iter().filter(|key| after.contains_key(*key)).eq(stayed) {
            let order = |keys: &[ElementKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            self.put('~', path, &format!(" in another order: {} → {}", order(&old), order(&new)));
        }
    }

    /// Compares lists place by place behind what they begin and before what they end with in common.
    fn compare_places(&mut self, path: &[Step], from: &[Value], to: &[Value]) {
        let before = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        let shorter = from.len().min(to.len());
        let behind = from.iter().rev().zip(to.iter().rev()).take(shorter - before).take_while(|(a, b)| a == b).count();
        let end = from.len().max(to.len()) - behind;
        for place in before..end {
            let old = from.get(place).filter(|_| place < from.len() - behind);
            let new = to.get(place).filter(|_| place < to.len() - behind);
            self.compare_one(&joined(path, Step::Field(place.to_string())), old, new);
        }
    }

    /// Writes a value that stands on one side alone.
    fn only(&mut self, sign: char, path: &[Step], value: &Value) {
        if let Value::Array(items) = value
            && let Some(fields) = KeyFields::of(&[items])
        {
            for element in items {
                let key = fields.key(element).map(|key| key.to_string()).unwrap_or_default();
                self.only_element(sign, &joined(path, Step::Element(key)), fields, element);
            }
            return;
        }
        let is_whole = is_scalar(value) || excerpt::is_short(value);
        match value {
            Value::Object(fields) if !is_whole => {
                fields.iter().for_each(|(name, value)| self.only(sign, &joined(path, field(name)), value));
            }
            Value::Array(items) if !is_whole => items.iter().enumerate().for_each(|(place, item)| {
                self.only(sign, &joined(path, Step::Field(place.to_string())), item);
            }),
            _ => {
                let (from, to) = if sign == '-' { (Some(value), None) } else { (None, Some(value)) };
                match excerpt::lines(from, to) {
                    Some(lines) => self.put_lines(sign, path, lines),
                    None => self.put(sign, path, &format!(" = {}", excerpt::text(value))),
                }
            }
        }
    }

    /// Writes an element that stands on one side alone: its key is its name, so a variable has nothing left but its value.
    fn only_element(&mut self, sign: char, path: &[Step], keys: KeyFields, element: &Value) {
        let Value::Object(fields) = element else { return self.only(sign, path, element) };
        let rest: Map<String, Value> =
            fields.iter().filter(|(name, _)| !keys.contains(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
        let value = rest.get("value").filter(|value| rest.len() == 1 && is_scalar(value));
        if rest.is_empty() {
            return self.put(sign, path, "");
        }
        if let Some(value) = value {
            return self.only(sign, path, value);
        }
        let rest = Value::Object(rest);
        if excerpt::is_short(&rest) {
            return self.put(sign, path, &format!(" = {}", excerpt::text(&rest)));
        }
        self.put(sign, path, "");
        self.only(sign, path, &rest);
    }

    /// Writes a value that is another one now.
    fn differ(&mut self, path: &[Step], from: &Value, to: &Value) {
        let path = match path {
            // Of a variable nothing but its value changes: its name says enough.
            [around @ .., Step::Element(key), Step::Field(name)] if name == "value" => &joined(around, Step::Element(key.clone())),
            path => path,
        };
        match excerpt::lines(Some(from), Some(to)) {
            Some(lines) => self.put_lines('~', path, lines),
            None => {
                let (from, to) = excerpt::pair(from, to);
                // Names of origins don't tell all that a value is made of.
                let rest = if from == to { format!(": {from} (made otherwise)") } else { format!(": {from} → {to}") };
                self.put('~', path, &rest);
            }
        }
    }

    fn put_lines(&mut self, sign: char, path: &[Step], lines: Vec<(char, String)>) {
        self.put(sign, path, ":");
        let depth = self.lines.last().map_or(0, |line| line.depth) + 1;
        self.lines.extend(lines.into_iter().map(|(sign, text)| Line { depth, sign, text }));
    }
}

#[cfg(test)]
mod tests;
