//! The shape of JSON text, without building a tree: what a reader would need for it.

use serde_json::Value;

/// What a JSON text holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Lists and maps inside each other, at the deepest place.
    pub depth: usize,
    /// Values, keys included; of text that is not JSON it may be any number.
    pub values: usize,
}

/// Measures a JSON text. It is not parsed: only strings are told from what stands around them.
#[must_use]
pub fn shape(text: &[u8]) -> Shape {
    let (mut depth, mut shape, mut in_string, mut is_escaped) = (0_usize, Shape { depth: 0, values: 1 }, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                shape.depth = shape.depth.max(depth);
                shape.values += 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' | b':' => shape.values += 1,
            _ => {}
        }
    }
    shape
}

/// Below this many, separators inside of strings are counted as values too: telling them apart takes longer than it is worth.
const FEW: usize = 1024;

/// Counts the values of a JSON text, or more of them, without making any; the keys of maps are not counted.
#[must_use]
pub fn values(text: &[u8]) -> usize {
    let most = 1 + count(text, |byte| matches!(byte, b',' | b'[' | b'{'));
    if most < FEW { most } else { exact_values(text) }
}

fn exact_values(text: &[u8]) -> usize {
    let (mut count, mut in_string, mut is_escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Counts bytes; in pieces whose number fits into a byte, so that many are compared at once.
fn count(text: &[u8], is_counted: impl Fn(u8) -> bool) -> usize {
    text.chunks(usize::from(u8::MAX)).map(|piece| usize::from(piece.iter().map(|byte| u8::from(is_counted(*byte))).sum::<u8>())).sum()
}

/// Returns whether a JSON text is nested deeper than a limit. Few texts have so many brackets that they must be measured.
#[must_use]
pub fn is_deeper(text: &str, max: usize) -> bool {
    count(text.as_bytes(), |byte| matches!(byte, b'{' | b'[')) > max && shape(text.as_bytes()).depth > max
}

/// Returns whether a value is nested deeper than a limit.
#[must_use]
pub fn is_value_deeper(value: &Value, max: usize) -> bool {
    match (value, max.checked_sub(1)) {
        (Value::Array(_) | Value::Object(_), None) => true,
        (Value::Array(items), Some(below)) => items.iter().any(|item| is_value_deeper(item, below)),
        (Value::Object(fields), Some(below)) => fields.values().any(|field| is_value_deeper(field, below)),
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_texts_are_measured_alike() {
        for (text, depth) in [("1", 0), ("[]", 1), (r#"{"a":[{}]}"#, 3)] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(shape(text.as_bytes()).depth, depth);
            assert!(!is_value_deeper(&value, depth) && (depth == 0 || is_value_deeper(&value, depth - 1)), "{text}");
        }
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        let text = r#"{"a[{":["}\\\"[",{"b":[1,2]}]}"#;
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
        assert_eq!(shape(text.as_bytes()).depth, 4);
        assert!(shape(text.as_bytes()).values >= 7);
    }

    #[test]
    fn a_text_at_the_limit_passes_and_one_above_does_not() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_deeper(&nested(10), 10));
        assert!(is_deeper(&nested(11), 10));
        assert!(!is_deeper(&format!("[{}]", vec!["[]"; 50].join(",")), 10), "many lists beside each other");
    }

    #[test]
    fn values_are_never_undercounted() {
        fn exact(value: &Value) -> usize {
            1 + match value {
                Value::Array(items) => items.iter().map(exact).sum(),
                Value::Object(fields) => fields.values().map(exact).sum(),
                _ => 0,
            }
        }
        for text in [r#"{"a":[1,2,{"b":"x,[{\"\\"}],"c":null}"#, "[0,0,0]", r#""a,b""#, "[[[]]]", "{}", "1"] {
            let found = exact(&serde_json::from_str(text).unwrap());
            let counted = values(text.as_bytes());
            assert!(counted >= found && counted <= 2 * found, "{text}: {counted} for {found}");
            let exactly = exact_values(text.as_bytes());
            assert!(exactly >= found && exactly <= counted, "{text}: {exactly} for {found}");
        }
        let table = format!("[\"{}\"]", "1,".repeat(FEW));
        assert_eq!(values(table.as_bytes()), 2, "a table in a string is one value");
    }
}
