//! YAML and JSON as a tree that remembers where everything stands.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};
use windlass_model::{
    limits,
    pointer::{self, Pointer},
    sealed,
};

use crate::problem::{Problem, Problems, Source};

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Bytes before it.
    pub offset: usize,
    /// Its bytes.
    pub length: usize,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1.
    pub column: u32,
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What.
    pub value: NodeValue,
    /// Where.
    pub span: Span,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeValue {
    /// `null` or nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    String(String),
    /// Elements.
    List(Vec<Node>),
    /// Fields in the order they were written.
    Map(Vec<(Key, Node)>),
}

/// The name of a field with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The name.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// Parses all documents of a stream; JSON is YAML too.
pub fn parse(source: &Arc<Source>) -> Result<Vec<Node>, Problems> {
    if source.text.len() > limits::DOCUMENT_BYTES_MAX {
        return Err(Problem::file(
            source,
            "too-large",
            format!("the file has {} bytes; {} are allowed", source.text.len(), limits::DOCUMENT_BYTES_MAX),
        )
        .into());
    }
    let budget = serde_saphyr::budget! {
        max_nodes: limits::YAML_NODES_MAX,
        max_aliases: limits::YAML_ALIASES_MAX,
        max_anchors: limits::YAML_ALIASES_MAX,
        max_depth: limits::JSON_DEPTH_MAX,
        max_documents: limits::DOCUMENTS_MAX,
        max_total_scalar_bytes: limits::DOCUMENT_BYTES_MAX,
    };
    let options = serde_saphyr::options! {
        budget: budget,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
        angle_conversions: false,
    };
    let nodes: Vec<Node> = serde_saphyr::from_multiple_with_options(&source.text, options).map_err(|error| {
        let problem = syntax(source, error.without_snippet());
        Problems::from(match error.location() {
            Some(location) if location.line() > 0 => problem.at(span_of(location), ""),
            _ => problem,
        })
    })?;
    let mut problems = Problems::default();
    for node in &nodes {
        refuse_reserved(source, node, &Pointer::Root, &mut problems);
    }
    problems.into_result(nodes)
}

/// Says what is wrong with a text, in words of its author's where the parser's are for programmers.
fn syntax(source: &Arc<Source>, error: &serde_saphyr::Error) -> Problem {
    let problem = |message: String| Problem::file(source, "syntax", message);
    match error {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map_or_else(|| "the field".to_owned(), |key| format!("`{key}`"));
            problem(format!("{key} stands in this mapping twice")).hint("keep one of them")
        }
        serde_saphyr::Error::NonFiniteFloat { .. } => {
            problem("not-a-number and infinity have no JSON form".to_owned()).hint("put it in quotes if it is text")
        }
        _ => problem(one_line(&error.to_string())),
    }
}

/// Drops the position that the parser writes into its message: it is shown beside it.
fn one_line(message: &str) -> String {
    let first = message.lines().next().unwrap_or("the file can't be parsed").trim();
    let without_place = first.strip_prefix("error: ").unwrap_or(first);
    let cut = without_place.find(" at line ").unwrap_or(without_place.len());
    let text = without_place.get(..cut).unwrap_or(without_place);
    text.rsplit_once(": line ").map_or(text, |(before, _)| before).to_owned()
}

fn refuse_reserved(source: &Arc<Source>, node: &Node, at: &Pointer<'_>, problems: &mut Problems) {
    let check = |text: &str, span: Span, at: &Pointer<'_>, problems: &mut Problems| {
        if text.contains([sealed::TOKEN_OPEN, sealed::TOKEN_CLOSE]) {
            problems.push(
                Problem::file(source, "reserved-character", "the characters U+FDD0 and U+FDD1 are reserved for sealed values")
                    .at(span, at.to_string())
                    .hint("take them out: no text needs these noncharacters"),
            );
        }
    };
    match &node.value {
        NodeValue::String(text) => check(text, node.span, at, problems),
        NodeValue::Number(number) => {
            if let Err(error) = windlass_model::canonical::check(&Value::Number(number.clone())) {
                problems.push(Problem::file(source, "integer", error.to_string().replace("at `` ", "")).at(node.span, at.to_string()));
            }
        }
        NodeValue::List(items) => {
            for (index, item) in items.iter().enumerate() {
                refuse_reserved(source, item, &at.element(index), problems);
            }
        }
        NodeValue::Map(fields) => {
            for (key, item) in fields {
                let at = &at.field(&key.text);
                check(&key.text, key.span, at, problems);
                refuse_reserved(source, item, at, problems);
            }
        }
        NodeValue::Null | NodeValue::Bool(_) => {}
    }
}

fn span_of(location: Location) -> Span {
    let span = location.span();
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Span {
        offset: number(span.byte_offset().unwrap_or(span.offset())),
        length: number(span.byte_len().unwrap_or(span.len())),
        line: u32::try_from(location.line()).unwrap_or(u32::MAX),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX),
    }
}

impl Node {
    /// Returns the value without places.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Bool(value) => Value::Bool(*value),
            NodeValue::Number(number) => Value::Number(number.clone()),
            NodeValue::String(text) => Value::String(text.clone()),
            NodeValue::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            NodeValue::Map(fields) => {
                Value::Object(fields.iter().map(|(key, item)| (key.text.clone(), item.to_value())).collect::<Map<_, _>>())
            }
        }
    }

    /// Returns a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match &self.value {
            NodeValue::Map(fields) => fields.iter().find(|(key, _)| key.text == name).map(|(_, item)| item),
            _ => None,
        }
    }

    /// Returns a field for change.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        match &mut self.value {
            NodeValue::Map(fields) => fields.iter_mut().find(|(key, _)| key.text == name).map(|(_, item)| item),
            _ => None,
        }
    }

    /// Returns the text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            NodeValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the place of the value at a pointer, or of the nearest value around it.
    #[must_use]
    pub fn span_at(&self, pointer: &str) -> Span {
        let mut node = self;
        for step in pointer::steps(pointer) {
            let next = match &node.value {
                NodeValue::Map(_) => node.get(&step),
                NodeValue::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::String(_) => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.span
    }

    /// Returns the place of a field's name.
    #[must_use]
    pub fn key_span(&self, pointer: &str, name: &str) -> Span {
        let mut node = self;
        for step in pointer::steps(pointer) {
            let next = match &node.value {
                NodeValue::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => node.get(&step),
            };
            match next {
                Some(next) => node = next,
                None => return node.span,
            }
        }
        match &node.value {
            NodeValue::Map(fields) => fields.iter().find(|(key, _)| key.text == name).map_or(node.span, |(key, _)| key.span),
            _ => node.span,
        }
    }

    /// Lists the line of every field.
    #[must_use]
    pub fn lines(&self) -> std::collections::BTreeMap<String, u32> {
        fn walk(node: &Node, at: &Pointer<'_>, lines: &mut std::collections::BTreeMap<String, u32>) {
            match &node.value {
                NodeValue::List(items) => {
                    for (index, item) in items.iter().enumerate() {
                        let at = &at.element(index);
                        lines.insert(at.to_string(), item.span.line);
                        walk(item, at, lines);
                    }
                }
                NodeValue::Map(fields) => {
                    for (key, item) in fields {
                        let at = &at.field(&key.text);
                        lines.insert(at.to_string(), key.span.line);
                        walk(item, at, lines);
                    }
                }
                NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::String(_) => {}
            }
        }
        let mut lines = std::collections::BTreeMap::new();
        walk(self, &Pointer::Root, &mut lines);
        lines
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<NodeValue>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, span: span_of(spanned.referenced) })
    }
}

struct KeyText(String);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for NodeValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = NodeValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<NodeValue, E> {
        Ok(NodeValue::Null)
    }

    fn visit_none<E>(self) -> Result<NodeValue, E> {
        Ok(NodeValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<NodeValue, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<NodeValue, E> {
        Ok(NodeValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<NodeValue, E> {
        Ok(NodeValue::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<NodeValue, E> {
        Ok(NodeValue::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<NodeValue, E> {
        Number::from_f64(value).map(NodeValue::Number).ok_or_else(|| E::custom("not-a-number and infinity have no JSON form"))
    }

    fn visit_str<E>(self, value: &str) -> Result<NodeValue, E> {
        Ok(NodeValue::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<NodeValue, E> {
        Ok(NodeValue::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<NodeValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(NodeValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<NodeValue, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = access.next_key::<Spanned<KeyText>>()? {
            let value = access.next_value()?;
            fields.push((Key { text: key.value.0, span: span_of(key.referenced) }, value));
        }
        Ok(NodeValue::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source { path: "x.yaml".into(), text: text.into() })
    }

    #[test]
    fn remembers_places() {
        let nodes = parse(&source("a: 1\nb:\n  - c: 'x'\n    d: true\n---\n{\"e\": null}\n")).unwrap();
        assert_eq!(nodes.len(), 2);
        let span = nodes[0].span_at("/b/0/d");
        assert_eq!((span.line, span.column), (4, 8));
        let key = nodes[0].key_span("/b/0", "d");
        assert_eq!((key.line, key.column, key.length), (4, 5, 1));
        assert_eq!(nodes[0].to_value(), serde_json::json!({"a": 1, "b": [{"c": "x", "d": true}]}));
    }

    #[test]
    fn merges_as_readers_of_yaml_1_1_do() {
        let text = "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\nc:\n  <<: [*b, *o]\n  x: 5\nd:\n  <<: *b\n";
        let nodes = parse(&source(text)).unwrap();
        assert_eq!(nodes[0].to_value()["c"], serde_json::json!({"x": 5, "y": 2, "z": 4}));
        assert_eq!(nodes[0].to_value()["d"], serde_json::json!({"x": 1, "y": 2}));
        // What was merged in stands where it was asked for.
        assert_eq!(nodes[0].span_at("/d/x").line, 7);
    }

    #[test]
    fn refuses_what_would_surprise() {
        let refused = |text: &str| parse(&source(text)).unwrap_err().to_string();
        insta::assert_snapshot!(
            "refused",
            [
                refused("a: 1\na: 2\n"),
                refused("a: [1"),
                refused("a: \"\u{FDD0}\"\n"),
                refused("a: 9007199254740993\n"),
                refused("a:\n  <<: 1\n"),
                refused(&"[".repeat(100)),
                refused("a: *nothing\n"),
                refused("a: .nan\n"),
            ]
            .join("\n")
        );
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[\\[\\]{}:,&*!|>'\"%@`#\\- \n\ta-c0-9~<=]{0,200}") {
            let _ = parse(&source(&text));
        }

        #[test]
        fn json_is_yaml(value in json()) {
            let text = serde_json::to_string_pretty(&value).unwrap_or_default();
            let nodes = parse(&source(&text)).unwrap_or_default();
            proptest::prop_assert_eq!(nodes.first().map(Node::to_value), Some(value));
        }
    }

    fn json() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let text = "[ -~äé🦀]{0,12}";
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (-9_000_000_000_000_000_i64..9_000_000_000_000_000).prop_map(Value::from),
            text.prop_map(Value::from)
        ];
        let tree = leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map("[a-z ]{1,8}", inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect()))
            ]
        });
        // A document that is `null` is no document.
        tree
    }
}
