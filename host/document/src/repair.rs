//! Makes a document with errors fit its schema, so that everything else about it can be checked in the same pass.
//!
//! What comes of this is never deployed: it is there to be looked at by later checks, whose findings about a repaired place are dropped.

use serde_json::{Value, json};
use windlass_model::pointer;

use crate::schema::{self, Fault};

/// One error often hides others: a missing map has missing fields.
const ROUNDS_MAX: usize = 8;

/// A document that fits its schema.
#[derive(Debug)]
pub(crate) struct Repaired {
    /// The document.
    pub value: Value,
    /// The places that are not what its author wrote.
    pub places: Vec<String>,
}

/// Repairs a document of a kind; returns nothing where that takes more than a few rounds.
pub(crate) fn repair(kind: &str, mut value: Value) -> Option<Repaired> {
    let mut places = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let faults = schema::faults(kind, &value);
        if faults.is_empty() {
            return Some(Repaired { value, places });
        }
        for fault in faults {
            mend(kind, &mut value, fault, &mut places);
        }
    }
    None
}

fn mend(kind: &str, value: &mut Value, fault: Fault, places: &mut Vec<String>) {
    match fault {
        Fault::Unknown { at, names } => {
            let Some(fields) = value.pointer_mut(&at).and_then(Value::as_object_mut) else { return };
            for name in names {
                fields.remove(&name);
                places.push(format!("{at}/{}", pointer::escape(&name)));
            }
        }
        Fault::Missing { at, name } => {
            let place = format!("{at}/{}", pointer::escape(&name));
            add(kind, value, &at, &name, &place);
            places.push(place);
        }
        Fault::Empty { at } => {
            if let Some(fields) = value.pointer_mut(&at).and_then(Value::as_object_mut) {
                fields.insert("x".to_owned(), json!({}));
            }
            places.push(at);
        }
        Fault::Misfit { at, other: Some(other) } => {
            if let Some(slot) = value.pointer_mut(&at) {
                *slot = other;
            }
            places.push(at);
        }
        Fault::Misfit { at, other: None } => {
            remove(value, &at);
            places.push(at);
        }
    }
}

/// Adds a required field: the first simple value that its schema takes.
fn add(kind: &str, value: &mut Value, at: &str, name: &str, place: &str) {
    let simple = [json!("x"), json!(1), json!(true), json!([]), json!({})];
    for candidate in simple {
        let Some(fields) = value.pointer_mut(at).and_then(Value::as_object_mut) else { return };
        fields.insert(name.to_owned(), candidate);
        let is_here = |fault: &Fault| matches!(fault, Fault::Misfit { at, .. } if at == place);
        if !schema::faults(kind, value).iter().any(is_here) {
            return;
        }
    }
}

/// Removes a field. An element of a list becomes nothing, so that those behind it keep their places.
fn remove(value: &mut Value, at: &str) {
    let Some((parent, name)) = at.rsplit_once('/') else { return };
    let name = pointer::steps(&format!("/{name}")).pop().unwrap_or_default();
    match value.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(&name);
        }
        Some(Value::Array(items)) => {
            if let Some(item) = name.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                *item = Value::Null;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_fit_and_keep_everything_else() {
        let document = json!({
            "apiVersion": "score.dev/v1b1",
            "metadata": { "name": "Not A Name" },
            "containers": {
                "main": { "immage": "a:1", "variables": { "A": "${resources.db.host}", "B": 1 }, "command": ["run", 1] },
                "side": { "image": null, "resources": { "limits": { "memory": 7 } } },
            },
            "service": { "ports": { "web": { "targetPort": 80 } } },
            "resources": { "db": { "class": "large" }, "cache": { "type": "redis", "params": [] } },
        });
        let Repaired { value, places } = repair("Workload", document).unwrap();
        serde_json::from_value::<windlass_model::score::Workload>(value.clone()).unwrap();
        assert_eq!(value["containers"]["main"]["variables"]["A"], "${resources.db.host}");
        assert_eq!(value["resources"]["db"]["class"], "large");
        for place in
            ["/metadata/name", "/containers/main/immage", "/containers/main/image", "/resources/db/type", "/service/ports/web/port"]
        {
            assert!(places.iter().any(|known| known == place), "{place}: {places:?}");
        }
        assert!(!places.iter().any(|place| place.ends_with("/A")), "{places:?}");
    }

    #[test]
    fn a_document_of_another_shape_is_left_alone() {
        assert!(repair("Workload", json!([1, 2])).is_none());
    }
}
