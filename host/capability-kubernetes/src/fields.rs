//! `managedFields`: which fields are ours, whether they are as we left them, and who changed them.

use serde_json::Value;
use windlass_model::{Digest, event::DriftedField, pointer::Pointer};

use crate::api::MANAGER;

/// Returns the fields that server-side apply counts as ours.
pub(crate) fn ours(metadata: &Value) -> Option<&Value> {
    our_entry(metadata)?.get("fieldsV1")
}

/// When our fields last changed, by the server's clock; RFC 3339 in UTC is ordered as text.
pub(crate) fn changed_at(metadata: &Value) -> Option<&str> {
    our_entry(metadata)?.get("time")?.as_str()
}

fn our_entry(metadata: &Value) -> Option<&Value> {
    entries(metadata).find(|entry| is_ours(entry))
}

fn is_ours(entry: &Value) -> bool {
    is(entry, "manager", MANAGER) && is(entry, "operation", "Apply")
}

fn entries(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata.get("managedFields").and_then(Value::as_array).into_iter().flatten()
}

fn is(entry: &Value, field: &str, text: &str) -> bool {
    entry.get(field).and_then(Value::as_str) == Some(text)
}

/// Hashes the set of our fields. A field that somebody else changes leaves the set, so the hash moves.
pub(crate) fn hash(metadata: &Value) -> Option<String> {
    ours(metadata).and_then(|fields| Digest::of(fields).ok()).map(|digest| digest.short())
}

/// Compares the live object with what a dry run says it would be, in our fields alone.
pub(crate) fn drift(wanted: &Value, live: &Value) -> Vec<DriftedField> {
    let mut out = Vec::new();
    let Some(fields) = wanted.get("metadata").and_then(ours) else { return out };
    let managers: Vec<(&str, &Value)> = live
        .get("metadata")
        .into_iter()
        .flat_map(entries)
        .filter(|entry| !is_ours(entry))
        .filter_map(|entry| Some((entry.get("manager")?.as_str()?, entry.get("fieldsV1")?)))
        .collect();
    walk(fields, Some(wanted), Some(live), &Pointer::Root, &mut Vec::new(), &managers, &mut out);
    out
}

fn walk<'f>(
    fields: &'f Value,
    wanted: Option<&Value>,
    live: Option<&Value>,
    at: &Pointer<'_>,
    steps: &mut Vec<&'f str>,
    managers: &[(&str, &Value)],
    out: &mut Vec<DriftedField>,
) {
    let Some(children) = fields.as_object() else { return };
    let is_leaf = children.keys().all(|key| key == ".");
    if is_leaf {
        if wanted != live {
            out.push(DriftedField {
                pointer: at.to_string(),
                recorded: wanted.cloned(),
                found: live.cloned(),
                by: who(steps, managers).map(str::to_owned),
            });
        }
        return;
    }
    for (key, child) in children {
        let Some((kind, rest)) = key.split_once(':') else { continue };
        let (step, inner_wanted, inner_live) = match kind {
            "f" => (rest.to_owned(), wanted.and_then(|value| value.get(rest)), live.and_then(|value| value.get(rest))),
            "k" => {
                let (index, item) = keyed(wanted, rest);
                (index.map_or_else(|| "-".to_owned(), |index| index.to_string()), item, keyed(live, rest).1)
            }
            "v" => {
                let (index, item) = member(wanted, rest);
                (index.map_or_else(|| "-".to_owned(), |index| index.to_string()), item, member(live, rest).1)
            }
            _ => continue,
        };
        steps.push(key);
        walk(child, inner_wanted, inner_live, &at.field(&step), steps, managers, out);
        steps.pop();
    }
}

/// Finds the element of a list by the fields that are its key.
fn keyed<'v>(list: Option<&'v Value>, key: &str) -> (Option<usize>, Option<&'v Value>) {
    let Ok(Value::Object(wanted)) = serde_json::from_str::<Value>(key) else { return (None, None) };
    let found = list
        .and_then(Value::as_array)
        .and_then(|items| items.iter().enumerate().find(|(_, item)| wanted.iter().all(|(name, value)| item.get(name) == Some(value))));
    (found.map(|(index, _)| index), found.map(|(_, item)| item))
}

/// Finds a member of a set.
fn member<'v>(list: Option<&'v Value>, text: &str) -> (Option<usize>, Option<&'v Value>) {
    let Ok(wanted) = serde_json::from_str::<Value>(text) else { return (None, None) };
    let found = list.and_then(Value::as_array).and_then(|items| items.iter().enumerate().find(|(_, item)| **item == wanted));
    (found.map(|(index, _)| index), found.map(|(_, item)| item))
}

/// Finds the manager that owns a field, or the nearest field around it.
fn who<'m>(steps: &[&str], managers: &[(&'m str, &Value)]) -> Option<&'m str> {
    let depth = |fields: &Value| {
        let mut at = fields;
        steps
            .iter()
            .take_while(|step| match at.get(**step) {
                Some(inner) => {
                    at = inner;
                    true
                }
                None => false,
            })
            .count()
    };
    managers.iter().map(|(name, fields)| (depth(fields), *name)).filter(|(found, _)| *found == steps.len()).map(|(_, name)| name).next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(image: &str, replicas: u32, others: Value) -> Value {
        let mut managed = vec![json!({
            "manager": "windlass", "operation": "Apply",
            "fieldsV1": { "f:spec": { "f:replicas": {}, "f:template": { "f:spec": { "f:containers": { "k:{\"name\":\"main\"}": {
                ".": {}, "f:name": {}, "f:image": {}, "f:args": {} } } } } }, "f:metadata": { "f:finalizers": { "v:\"x\"": {} } } }
        })];
        managed.extend(others.as_array().cloned().unwrap_or_default());
        json!({
            "metadata": { "managedFields": managed, "finalizers": ["x"] },
            "spec": { "replicas": replicas, "paused": true, "template": { "spec": { "containers": [
                { "name": "sidecar", "image": "injected" }, { "name": "main", "image": image, "args": ["a"] } ] } } }
        })
    }

    #[test]
    fn only_our_fields_drift_and_the_manager_is_named() {
        let edit = json!([{ "manager": "kubectl-edit", "operation": "Update", "fieldsV1": { "f:spec": { "f:replicas": {} } } }]);
        let found = drift(&object("web:1", 2, json!([])), &object("web:2", 5, edit));
        let shown: Vec<String> = found
            .iter()
            .map(|field| {
                format!("{} {} → {} by {:?}", field.pointer, field.recorded.as_ref().unwrap(), field.found.as_ref().unwrap(), field.by)
            })
            .collect();
        assert_eq!(
            shown,
            [r#"/spec/replicas 2 → 5 by Some("kubectl-edit")"#, r#"/spec/template/spec/containers/1/image "web:1" → "web:2" by None"#]
        );
        assert!(drift(&object("web:1", 2, json!([])), &object("web:1", 2, json!([]))).is_empty());
    }

    #[test]
    fn the_hash_moves_when_the_set_does() {
        let one = object("web:1", 2, json!([]));
        let mut two = object("web:9", 7, json!([]));
        assert_eq!(hash(&one["metadata"]), hash(&two["metadata"]), "values are not part of it");
        two["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"].as_object_mut().unwrap().remove("f:replicas");
        assert_ne!(hash(&one["metadata"]), hash(&two["metadata"]));
        assert_eq!(hash(&json!({})), None);
    }
}
