//! Elements of lists: by which of their fields they are told apart.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

/// Fields that name an element, as JSON Pointers; the first of an entry must be there, the others may be. The first entry that fits is taken.
const KEYS: [&[&str]; 14] = [
    // A volume may be mounted twice, so the name of a mount is that of the volume.
    &["/mountPath"],
    &["/devicePath"],
    &["/name"],
    &["/metadata/name"],
    &["/containerPort", "/protocol"],
    &["/port", "/protocol"],
    &["/topologyKey", "/whenUnsatisfiable"],
    &["/host"],
    &["/path"],
    &["/key"],
    &["/ip"],
    &["/id"],
    &["/uid"],
    &["/type"],
];

/// What tells an element apart from the others of its list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ElementKey(Vec<String>);

impl fmt::Display for ElementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

/// The fields by which the elements of lists are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFields(&'static [&'static str]);

impl KeyFields {
    /// Finds fields that tell the elements of each list apart; none if a list has elements without them, or two that are alike.
    #[must_use]
    pub fn of(lists: &[&[Value]]) -> Option<Self> {
        let is_some = lists.iter().any(|list| !list.is_empty());
        KEYS.into_iter().map(Self).find(|fields| is_some && lists.iter().all(|list| fields.are_unique(list)))
    }

    fn are_unique(self, list: &[Value]) -> bool {
        let mut known = BTreeSet::new();
        list.iter().all(|element| self.key(element).is_some_and(|key| known.insert(key)))
    }

    /// Returns an element's key; none if the first field is missing or one of them is no text and no number.
    #[must_use]
    pub fn key(self, element: &Value) -> Option<ElementKey> {
        let mut parts = Vec::new();
        for (index, field) in self.0.iter().enumerate() {
            match element.pointer(field) {
                Some(Value::String(text)) => parts.push(text.clone()),
                Some(Value::Number(number)) => parts.push(number.to_string()),
                None if index > 0 => {}
                _ => return None,
            }
        }
        Some(ElementKey(parts))
    }

    /// Returns the keys of a list in its order.
    #[must_use]
    pub fn keys(self, list: &[Value]) -> Vec<ElementKey> {
        list.iter().filter_map(|element| self.key(element)).collect()
    }

    /// Returns whether a field of an element belongs to its key.
    #[must_use]
    pub fn contains(self, field: &str) -> bool {
        self.0.iter().any(|known| known.strip_prefix('/') == Some(field))
    }
}

/// Finds an element by its key, or by any one field that may be part of a key.
#[must_use]
pub fn find<'v>(list: &'v [Value], name: &str) -> Option<&'v Value> {
    let is_called = |fields: KeyFields, element| fields.key(element).is_some_and(|key| key.to_string() == name);
    let by_key = KeyFields::of(&[list]).and_then(|fields| list.iter().find(|element| is_called(fields, element)));
    let firsts = || KEYS.into_iter().filter_map(|fields| fields.get(..1)).map(KeyFields);
    by_key.or_else(|| list.iter().find(|element| firsts().any(|first| is_called(first, element))))
}

/// Returns whether the elements of two lists correspond place by place: equally many, with the same keys if they have any.
#[must_use]
pub fn correspond(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && KeyFields::of(&[a, b]).is_none_or(|fields| fields.keys(a) == fields.keys(b))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(list: &Value) -> Option<String> {
        let list = list.as_array().unwrap();
        let fields = KeyFields::of(&[list])?;
        Some(fields.keys(list).iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn elements_have_the_first_key_that_tells_all_of_them_apart() {
        assert_eq!(keys(&json!([{ "name": "A" }, { "name": "B" }])).unwrap(), "A B");
        assert_eq!(keys(&json!([{ "name": "v", "mountPath": "/a" }, { "name": "v", "mountPath": "/b" }])).unwrap(), "/a /b");
        assert_eq!(
            keys(&json!([{ "containerPort": 53, "protocol": "UDP" }, { "containerPort": 53, "protocol": "TCP" }, { "containerPort": 80 }]))
                .unwrap(),
            "53/UDP 53/TCP 80"
        );
        assert_eq!(keys(&json!([{ "metadata": { "name": "data" } }])).unwrap(), "data");
        for unnamed in [
            json!([]),
            json!(["a"]),
            json!([{ "name": "A" }, { "name": "A" }]),
            json!([{ "name": "A" }, { "x": 1 }]),
            json!([{ "name": {} }]),
        ] {
            assert_eq!(keys(&unnamed), None, "{unnamed}");
        }
    }

    #[test]
    fn elements_are_found_by_their_key_or_a_part_of_it() {
        let ports = [json!({ "containerPort": 53, "protocol": "UDP" }), json!({ "containerPort": 53, "protocol": "TCP" })];
        assert_eq!(find(&ports, "53/TCP"), Some(&ports[1]));
        assert_eq!(find(&ports, "53"), Some(&ports[0]));
        let mounts = [json!({ "name": "v", "mountPath": "/a" }), json!({ "name": "w", "mountPath": "/b" })];
        assert_eq!((find(&mounts, "/b"), find(&mounts, "w"), find(&mounts, "x")), (Some(&mounts[1]), Some(&mounts[1]), None));
    }

    #[test]
    fn lists_correspond_while_their_keys_do() {
        let list = |names: [&str; 2]| names.map(|name| json!({ "name": name, "value": name.len() }));
        assert!(correspond(&list(["A", "B"]), &list(["A", "B"])));
        assert!(!correspond(&list(["A", "B"]), &list(["B", "A"])));
        assert!(!correspond(&list(["A", "B"]), &list(["A", "C"])));
        assert!(correspond(&[json!(1)], &[json!(2)]) && !correspond(&[json!(1)], &[]));
    }
}
