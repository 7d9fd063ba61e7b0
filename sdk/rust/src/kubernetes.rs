//! Kubernetes objects that must exist: `windlass:kubernetes/objects`.

use serde_json::Value;

use crate::{
    diagnostic,
    handle::{handle, ordered},
    sealed::Sealable,
};

/// One object that must exist. Making a handle creates nothing: it records an action.
#[derive(Debug)]
pub struct Object(object::Handle);

impl Object {
    /// Stages an object; `name` is unique among the node's objects.
    pub fn new(name: &str, manifest: &Value) -> Self {
        Self(object::Handle::new(name, &diagnostic::write_tree(manifest)))
    }

    /// Yields the value at a JSON Pointer of the live object; the host waits until it is there.
    pub fn field(&self, pointer: &str) -> Sealable {
        Sealable::new(self.0.field(pointer))
    }
}

handle!(
    object,
    "windlass:kubernetes/objects",
    "object",
    crate::bindings::imports::windlass::kubernetes::objects::Object,
    [field = "field"(pointer)]
);
ordered!(Object);
