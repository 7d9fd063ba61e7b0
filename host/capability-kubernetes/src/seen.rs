//! What is known of objects that are there: of thousands only what matters, not the server's trees.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use crate::{
    fields,
    marks::Marks,
    resource::{Place, Resource},
};

/// An object that is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub uid: String,
    /// Its resourceVersion.
    pub version: String,
    pub namespace: String,
    /// Whose it is.
    pub marks: Marks,
    /// The hash of the fields that are ours.
    pub fields: Option<String>,
    /// Somebody asked for its deletion.
    pub is_leaving: bool,
    /// What holds it until then.
    pub finalizers: Vec<String>,
}

impl Seen {
    /// Reads what matters of an object's metadata.
    pub(crate) fn of(metadata: &Value) -> Self {
        let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let finalizers = metadata.get("finalizers").and_then(Value::as_array);
        Self {
            uid: text("uid"),
            version: text("resourceVersion"),
            namespace: text("namespace"),
            marks: Marks::of(metadata),
            fields: fields::hash(metadata),
            is_leaving: metadata.get("deletionTimestamp").is_some(),
            finalizers: finalizers.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }

    /// Returns about how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let texts =
            [self.uid.len(), self.version.len(), self.namespace.len(), self.marks.bytes(), self.fields.as_ref().map_or(0, String::len)];
        let finalizers = self.finalizers.iter().map(|finalizer| size_of::<String>() + finalizer.len());
        size_of::<Self>() + texts.into_iter().sum::<usize>() + finalizers.sum::<usize>()
    }

    /// Reads what matters of an object.
    pub(crate) fn of_object(object: &Value) -> Self {
        Self::of(object.get("metadata").unwrap_or(&Value::Null))
    }
}

/// Objects by name.
pub(crate) type Names = BTreeMap<String, Arc<Seen>>;

/// What was listed, and what we changed since: by kind, then by what is listed together.
#[derive(Default)]
pub(crate) struct Listed(Mutex<HashMap<Resource, HashMap<String, Names>>>);

impl Listed {
    fn lock(&self) -> MutexGuard<'_, HashMap<Resource, HashMap<String, Names>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether a list is known.
    pub(crate) fn knows(&self, resource: &Resource, around: &str) -> bool {
        self.lock().get(resource).is_some_and(|lists| lists.contains_key(around))
    }

    /// Tells whether a list is known, and nothing is in it.
    pub(crate) fn is_empty(&self, resource: &Resource, around: &str) -> bool {
        self.lock().get(resource).and_then(|lists| lists.get(around)).is_some_and(BTreeMap::is_empty)
    }

    /// Takes a list in; one that is known stays, with what we changed since.
    pub(crate) fn insert(&self, resource: Resource, around: String, names: Names) {
        self.lock().entry(resource).or_default().entry(around).or_insert(names);
    }

    /// Returns what is there.
    pub(crate) fn get(&self, place: &Place) -> Option<Arc<Seen>> {
        self.lock().get(&place.resource)?.get(place.around())?.get(&place.name).cloned()
    }

    /// Notes what is there now.
    pub(crate) fn note(&self, place: &Place, seen: Option<Arc<Seen>>) {
        let mut lists = self.lock();
        let lists = &mut *lists;
        // Keys are copied once for each list, not for each object.
        let names = match lists.get_mut(&place.resource).and_then(|lists| lists.get_mut(place.around())) {
            Some(names) => names,
            None => lists.entry(place.resource.clone()).or_default().entry(place.around().to_owned()).or_default(),
        };
        match seen {
            Some(seen) => names.insert(place.name.clone(), seen),
            None => names.remove(&place.name),
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_metadata_only_what_matters_is_kept() {
        let seen = Seen::of(&json!({
            "uid": "u-1", "resourceVersion": "7", "namespace": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"],
            "annotations": { "windlass.dev/mark": "0b1f/shop/dev" },
            "managedFields": [{ "manager": "windlass", "operation": "Apply", "fieldsV1": { "f:data": { "f:a": {} } } }],
        }));
        assert_eq!((seen.uid.as_str(), seen.version.as_str(), seen.namespace.as_str()), ("u-1", "7", "shop"));
        assert!(seen.is_leaving && seen.fields.is_some());
        assert_eq!(seen.finalizers, ["a/b"]);
        let nothing = Seen::of_object(&json!({}));
        assert!(!nothing.is_leaving && nothing.fields.is_none() && nothing.uid.is_empty());
    }

    #[test]
    fn what_we_changed_outlives_a_list_that_comes_later() {
        let place = Place { resource: Resource::core("Secret", "secrets", true), namespace: "shop".into(), name: "a".into() };
        let seen = |uid: &str| Arc::new(Seen::of(&json!({ "uid": uid })));
        let listed = Listed::default();
        assert!(!listed.knows(&place.resource, "shop") && listed.get(&place).is_none());
        listed.note(&place, Some(seen("ours")));
        listed.insert(place.resource.clone(), "shop".into(), Names::from([("a".to_owned(), seen("listed"))]));
        assert_eq!(listed.get(&place).map(|seen| seen.uid.clone()).as_deref(), Some("ours"));
        listed.note(&place, None);
        assert!(listed.knows(&place.resource, "shop") && listed.is_empty(&place.resource, "shop") && listed.get(&place).is_none());
    }
}
