//! Kubernetes objects that must exist: `windlass:kubernetes/objects`.

use serde_json::Value;

use crate::sealed::Sealable;

/// One object that must exist. Making a handle creates nothing: it records an action.
#[derive(Debug)]
pub struct Object(handle::Handle);

impl Object {
    /// Stages an object; `name` is unique among the node's objects.
    pub fn new(name: &str, manifest: &Value) -> Self {
        Self(handle::Handle::new(name, &manifest.to_string()))
    }

    /// Yields the value at a JSON Pointer of the live object; the host waits until it is there.
    pub fn field(&self, pointer: &str) -> Sealable {
        Sealable::new(self.0.field(pointer))
    }

    /// Yields the action's id inside the node.
    pub fn action(&self) -> String {
        self.0.action()
    }

    /// Orders this object behind another action.
    pub fn after(&self, action: &str) {
        self.0.after(action);
    }
}

#[cfg(target_arch = "wasm32")]
mod handle {
    pub(super) use crate::bindings::imports::windlass::kubernetes::objects::Object as Handle;
}

#[cfg(not(target_arch = "wasm32"))]
mod handle {
    use crate::recorder::with;

    #[derive(Debug)]
    pub(super) struct Handle(u32);

    impl Handle {
        pub(super) fn new(name: &str, manifest: &str) -> Self {
            Self(with(|recorder| recorder.construct("windlass:kubernetes/objects", "object", name, manifest)))
        }

        pub(super) fn field(&self, pointer: &str) -> String {
            with(|recorder| recorder.method(self.0, "field", Some(pointer)))
        }

        pub(super) fn action(&self) -> String {
            with(|recorder| recorder.method(self.0, "action", None))
        }

        pub(super) fn after(&self, action: &str) {
            with(|recorder| recorder.after(self.0, action));
        }
    }
}
