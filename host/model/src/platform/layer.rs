//! Where platform documents come from, and which of them is stronger.

use serde::{Deserialize, Serialize};

use super::Platform;

/// Where a platform document comes from, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LayerName {
    /// `--platform DIR`.
    Given,
    /// `windlass platform apply`.
    Stored,
    /// The binary.
    BuiltIn,
}

impl LayerName {
    /// Names the layer for a person.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Given => "--platform",
            Self::Stored => "stored",
            Self::BuiltIn => "built-in",
        }
    }
}

/// The layers of a platform, strongest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layers(pub Vec<(LayerName, std::sync::Arc<Platform>)>);

impl Layers {
    /// Visits the layers, strongest first.
    pub fn iter(&self) -> impl Iterator<Item = (LayerName, &Platform)> {
        self.0.iter().map(|(name, platform)| (*name, platform.as_ref()))
    }
}
