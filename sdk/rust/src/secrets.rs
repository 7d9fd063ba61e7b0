//! Secret values: `windlass:secrets/generated`, and those of other stores: `windlass:secrets/external`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    handle::{handle, ordered},
    sealed::Sealable,
};

/// How a generated value looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Characters, 32 if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 256))]
    pub length: Option<u16>,
    /// The characters, as single ones and ranges: `A-Za-z0-9` if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alphabet: Option<String>,
}

/// A value made at apply, the same in every later deployment until it is rotated.
#[derive(Debug)]
pub struct Generated(generated::Handle);

impl Generated {
    /// Stages a value by the default policy; `name` is unique among the node's secrets.
    pub fn new(name: &str) -> Self {
        Self::with_policy(name, &Policy::default())
    }

    /// Stages a value.
    pub fn with_policy(name: &str, policy: &Policy) -> Self {
        Self(generated::Handle::new(name, &serde_json::to_string(policy).unwrap_or_default()))
    }

    /// Yields the value, as a secret.
    pub fn value(&self) -> Sealable {
        Sealable::new(self.0.value())
    }
}

/// A value that a store of somebody else holds already, read when a plan is applied: `windlass:secrets/external`.
#[derive(Debug)]
pub struct Lookup(lookup::Handle);

impl Lookup {
    /// Stages the reading of a path, `MOUNT/PATH`; `name` is unique among the node's lookups.
    pub fn new(name: &str, path: &str) -> Self {
        Self(lookup::Handle::new(name, &json!({ "path": path }).to_string()))
    }

    /// Yields a field of the value, as a secret.
    pub fn field(&self, name: &str) -> Sealable {
        Sealable::new(self.0.field(name))
    }
}

/// A value of ours, written for others to read: `windlass:secrets/external`.
#[derive(Debug)]
pub struct Entry(entry::Handle);

impl Entry {
    /// Stages the value at a path, `MOUNT/PATH`; `name` is unique among the node's entries.
    pub fn new(name: &str, path: &str, data: &BTreeMap<String, Sealable>) -> Self {
        Self(entry::Handle::new(name, &json!({ "path": path, "data": data }).to_string()))
    }

    /// Yields the path at which readers find it.
    pub fn path(&self) -> Sealable {
        Sealable::new(self.0.path())
    }
}

handle!(
    generated,
    "windlass:secrets/generated",
    "secret",
    crate::bindings::imports::windlass::secrets::generated::Secret,
    [value = "value"]
);
handle!(
    lookup,
    "windlass:secrets/external",
    "lookup",
    crate::bindings::imports::windlass::secrets::external::Lookup,
    [field = "field"(name)]
);
handle!(entry, "windlass:secrets/external", "entry", crate::bindings::imports::windlass::secrets::external::Entry, [path = "path"]);
ordered!(Generated, Lookup, Entry);
