//! Ids of actions: one idempotent *ensure* that a driver staged.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::key::{KeyError, NodeKey};

/// `node:kind/name`, unique in an environment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionId(String);

impl ActionId {
    /// Puts a local id (`kind/name`) under its node.
    #[must_use]
    pub fn new(node: &NodeKey, local: &str) -> Self {
        Self(format!("{node}:{local}"))
    }

    /// Returns the whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `kind/name`.
    #[must_use]
    pub fn local(&self) -> &str {
        self.0.split_once(':').map_or(self.0.as_str(), |(_, local)| local)
    }

    /// Returns the kind: the resource of the interface.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.local().split('/').next().unwrap_or_default()
    }

    /// Returns the node.
    pub fn node(&self) -> Result<NodeKey, KeyError> {
        NodeKey::from_str(self.node_text())
    }

    /// Returns the text of the node's key; empty where the id has none.
    #[must_use]
    pub fn node_text(&self) -> &str {
        self.0.split_once(':').map_or("", |(node, _)| node)
    }
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
