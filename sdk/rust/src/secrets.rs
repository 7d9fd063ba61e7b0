//! Secret values: `windlass:secrets/generated`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sealed::Sealable;

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
pub struct Generated(handle::Handle);

impl Generated {
    /// Stages a value by the default policy; `name` is unique among the node's secrets.
    pub fn new(name: &str) -> Self {
        Self::with_policy(name, &Policy::default())
    }

    /// Stages a value.
    pub fn with_policy(name: &str, policy: &Policy) -> Self {
        Self(handle::Handle::new(name, &serde_json::to_string(policy).unwrap_or_default()))
    }

    /// Yields the value, as a secret.
    pub fn value(&self) -> Sealable {
        Sealable::new(self.0.value())
    }

    /// Yields the action's id inside the node.
    pub fn action(&self) -> String {
        self.0.action()
    }

    /// Orders this value behind another action.
    pub fn after(&self, action: &str) {
        self.0.after(action);
    }
}

#[cfg(target_arch = "wasm32")]
mod handle {
    pub(super) use crate::bindings::imports::windlass::secrets::generated::Secret as Handle;
}

#[cfg(not(target_arch = "wasm32"))]
mod handle {
    use crate::recorder::with;

    #[derive(Debug)]
    pub(super) struct Handle(u32);

    impl Handle {
        pub(super) fn new(name: &str, policy: &str) -> Self {
            Self(with(|recorder| recorder.construct("windlass:secrets/generated", "secret", name, policy)))
        }

        pub(super) fn value(&self) -> String {
            with(|recorder| recorder.method(self.0, "value", None))
        }

        pub(super) fn action(&self) -> String {
            with(|recorder| recorder.method(self.0, "action", None))
        }

        pub(super) fn after(&self, action: &str) {
            with(|recorder| recorder.after(self.0, action));
        }
    }
}
