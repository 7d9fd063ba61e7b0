//! Places in a value as people name them: elements of lists by their key.

use serde_json::Value;
use windlass_model::{
    elements::{self, ElementKey, KeyFields},
    pointer::{escape, steps},
};

/// Places of a value that are looked through; the largest honest object has fewer.
const PLACES_MAX: usize = 100_000;

/// Finds a value by a pointer in which elements of lists are named by their place or their key.
pub(super) fn find<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    steps(pointer).iter().try_fold(value, |at, step| match at {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => elements::find(items, step).or_else(|| items.get(step.parse::<usize>().ok()?)),
        _ => None,
    })
}

/// A step into a value: the name of a field, or the key of an element.
#[derive(Clone)]
struct Step {
    name: String,
    /// The place of an element in its list.
    place: Option<String>,
}

impl Step {
    fn of_element(index: usize, key: Option<ElementKey>) -> Self {
        let place = index.to_string();
        Self { name: key.map_or_else(|| place.clone(), |key| key.to_string()), place: Some(place) }
    }

    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.place.as_deref() == Some(name)
    }
}

/// Finds the pointers that end with the given one, with elements of lists named by their key: `/env/LOG_LEVEL` of a container.
pub(super) fn ending_with(value: &Value, pointer: &str) -> Vec<String> {
    let wanted = steps(pointer);
    let mut found = Vec::new();
    let mut todo: Vec<(Vec<Step>, &Value)> = vec![(Vec::new(), value)];
    let mut seen = 0;
    while let Some((path, at)) = todo.pop() {
        seen += 1;
        if seen > PLACES_MAX {
            break;
        }
        let end = path.len().checked_sub(wanted.len()).and_then(|start| path.get(start..));
        if end.is_some_and(|end| end.iter().zip(&wanted).all(|(step, name)| step.is_called(name))) {
            found.push(path.iter().map(|step| format!("/{}", escape(&step.name))).collect());
            continue;
        }
        let inner = |step: Step| path.iter().cloned().chain([step]).collect::<Vec<_>>();
        match at {
            Value::Object(fields) => {
                todo.extend(fields.iter().map(|(name, field)| (inner(Step { name: name.clone(), place: None }), field)));
            }
            Value::Array(items) => {
                let fields = KeyFields::of(&[items]);
                let step = |(index, item)| (inner(Step::of_element(index, fields.and_then(|fields| fields.key(item)))), item);
                todo.extend(items.iter().enumerate().map(step));
            }
            _ => {}
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn elements_are_named_by_their_key_or_their_place() {
        let value = json!({ "spec": { "containers": [
            { "name": "web", "env": [{ "name": "A", "value": "1" }, { "name": "LOG_LEVEL", "value": "info" }], "ports": [{ "containerPort": 80 }] },
            { "name": "side", "env": [{ "name": "A", "value": "2" }], "command": ["run"] },
        ] } });
        assert_eq!(find(&value, "/spec/containers/web/env/LOG_LEVEL/value").unwrap(), "info");
        assert_eq!(find(&value, "/spec/containers/1/env/A/value").unwrap(), "2");
        assert_eq!(find(&value, "/spec/containers/web/ports/80/containerPort").unwrap(), 80);
        assert_eq!(find(&value, "/spec/containers/side/command/0").unwrap(), "run");
        assert!(find(&value, "/spec/containers/none").is_none());
        assert_eq!(ending_with(&value, "/env/LOG_LEVEL"), ["/spec/containers/web/env/LOG_LEVEL"]);
        assert_eq!(ending_with(&value, "/env/A").len(), 2);
        assert_eq!(ending_with(&value, "/1/env/0/name"), ["/spec/containers/side/env/A/name"]);
    }
}
