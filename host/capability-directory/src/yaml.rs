//! Manifests as YAML that other tools read as it was meant.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Fields that come first, as everybody writes them.
const FIRST: [&str; 3] = ["apiVersion", "kind", "metadata"];

struct Ordered<'m>(&'m serde_json::Map<String, Value>);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rest = self.0.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
        let first = FIRST.iter().filter_map(|name| self.0.get_key_value(*name));
        serializer.collect_map(first.chain(rest))
    }
}

/// Writes a manifest; field order is apiVersion, kind, metadata, then the rest by name.
#[must_use]
pub fn to_yaml(manifest: &Value) -> String {
    let options = serde_saphyr::ser_options! { yaml_12: false, quote_all: false };
    match manifest {
        Value::Object(fields) => serde_saphyr::to_string_with_options(&Ordered(fields), options).unwrap_or_default(),
        other => serde_saphyr::to_string_with_options(other, options).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_back_as_it_was_meant() {
        let manifest = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "labels": {}},
            "data": {
                "a": "yes", "b": "1.0", "c": "", "d": " x", "e": "line\n  two\n", "f": "no newline\nat end", "g": "tab\there", "h": "a: b # c", "i": "ünï \u{1F980}", "j": "\n", "k": "x \ny", "l": "x\n\n",
                "key with space": "0777", "m": "null", "n": "-", "o": "2024-01-01", "p": "0x10", "q": "1e3", "r": "~", "s": "*a", "t": "{}", "u": "a\u{7}b", "v": "'q'", "w": "\"q\"",
            },
            "list": [1, "two", {"a": [1, [2, 3]], "b": {}}, [], [["x"]], "multi\nline\n", null, true, 1.5]
        });
        let text = to_yaml(&manifest);
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, manifest, "{text}");
        insta::assert_snapshot!(text);
    }
}
