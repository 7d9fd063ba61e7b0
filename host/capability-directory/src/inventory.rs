//! The inventory of a folder: which files are ours, and what they held when we left them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use windlass_model::Digest;

/// The files of one environment in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inventory {
    /// The environment's mark.
    pub owner: String,
    /// Relative path to what it holds.
    pub files: BTreeMap<String, Entry>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Entry {
    /// What it held when we last left it; absent while it is written for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// What it is about to hold: written before the file is, so that a killed process loses nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Digest>,
}

impl Entry {
    /// Tells whether content is ours: as we left it, or as we were about to leave it.
    pub(crate) fn knows(&self, content: &Digest) -> bool {
        self.sha256.as_ref() == Some(content) || self.next.as_ref() == Some(content)
    }
}
