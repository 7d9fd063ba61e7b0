//! Overrides, as users of the Score tools know them: maps are merged, lists replaced, `null` deletes.

use serde_json::{Map, Value};

/// Merges a change into a value.
pub fn merge(value: &mut Value, change: &Value) {
    match (value, change) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (key, change) in changes {
                if change.is_null() {
                    fields.remove(key);
                } else {
                    merge(fields.entry(key.clone()).or_insert(Value::Null), change);
                }
            }
        }
        (value, Value::Object(changes)) => {
            *value = Value::Object(Map::new());
            merge(value, &Value::Object(changes.clone()));
        }
        (value, change) => *value = change.clone(),
    }
}

/// Parses `path.to.field=value`: `\.` stands for a dot in a name; the value is JSON or text; nothing deletes.
pub fn parse_property(text: &str) -> Result<(Vec<String>, Value), String> {
    let (path, value) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`: PATH=VALUE is expected"))?;
    let mut steps = vec![String::new()];
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => steps.last_mut().ok_or("empty path")?.push(chars.next().ok_or_else(|| format!("`{path}` ends with a lone backslash"))?),
            '.' => steps.push(String::new()),
            other => steps.last_mut().ok_or("empty path")?.push(other),
        }
    }
    if steps.iter().any(String::is_empty) {
        return Err(format!("`{path}` has an empty step"));
    }
    let value = match value {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    };
    Ok((steps, value))
}

/// Sets one field; `-1` appends to a list; `null` deletes.
pub fn set_property(value: &mut Value, path: &[String], new: Value) -> Result<(), String> {
    let Some((step, rest)) = path.split_first() else { return Ok(()) };
    match value {
        Value::Array(items) => {
            let index: i64 = step.parse().map_err(|_| format!("`{step}` is no index of a list"))?;
            if index == -1 && rest.is_empty() {
                items.push(new);
                return Ok(());
            }
            let index = usize::try_from(index)
                .ok()
                .filter(|index| *index < items.len())
                .ok_or_else(|| format!("index {index} is outside the list of {}", items.len()))?;
            if rest.is_empty() {
                if new.is_null() {
                    items.remove(index);
                } else if let Some(item) = items.get_mut(index) {
                    *item = new;
                }
                return Ok(());
            }
            items.get_mut(index).map_or(Ok(()), |item| set_property(item, rest, new))
        }
        Value::Object(fields) if rest.is_empty() => {
            if new.is_null() {
                fields.remove(step);
            } else {
                fields.insert(step.clone(), new);
            }
            Ok(())
        }
        Value::Object(fields) => set_property(fields.entry(step.clone()).or_insert_with(|| Value::Object(Map::new())), rest, new),
        Value::Null => {
            *value = Value::Object(Map::new());
            set_property(value, path, new)
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(format!("`{step}` can't be set inside a scalar")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merges_maps_replaces_lists_and_deletes() {
        let mut value = json!({"a": {"b": 1, "c": [1, 2]}, "d": "x"});
        merge(&mut value, &json!({"a": {"b": null, "c": [3], "e": {"f": null, "g": 1}}, "d": {"y": 1}}));
        assert_eq!(value, json!({"a": {"c": [3], "e": {"g": 1}}, "d": {"y": 1}}));
    }

    #[test]
    fn properties() {
        let mut value = json!({"containers": {"web": {"args": ["a"]}}});
        for text in
            ["containers.web.image=nginx:1", r"metadata.annotations.key\.com/x=1", "containers.web.args.-1=b", "containers.web.args.0="]
        {
            let (path, new) = parse_property(text).unwrap();
            set_property(&mut value, &path, new).unwrap();
        }
        assert_eq!(
            value,
            json!({"containers": {"web": {"args": ["b"], "image": "nginx:1"}}, "metadata": {"annotations": {"key.com/x": 1}}})
        );
        assert!(parse_property("a..b=1").is_err());
        assert!(parse_property("a").is_err());
    }
}
