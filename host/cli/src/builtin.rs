//! What the binary embeds: first-party components and the platform that applies where nobody wrote another.

use std::sync::Arc;

use bytes::Bytes;
use windlass_model::{application::Provenance, platform::Platform};
use windlass_source::Components;

use crate::exit::Failure;

include!(concat!(env!("OUT_DIR"), "/components.rs"));

/// The built-in layer with the places of its fields, as the build script read it.
const PLATFORM: &str = include_str!(concat!(env!("OUT_DIR"), "/platform.json"));

/// Loads the built-in layer.
pub(crate) fn load(components: &Components) -> Result<(Arc<Platform>, Provenance), Failure> {
    let (mut platform, provenance): (Platform, Provenance) = serde_json::from_str(PLATFORM).map_err(Failure::failed)?;
    for (name, digest, bytes) in COMPONENTS {
        let digest = digest.parse().map_err(Failure::failed)?;
        let key = format!("builtin:{name}");
        components.add_known(&key, digest, Bytes::from_static(bytes));
        platform.components.insert(key, digest);
    }
    Ok((Arc::new(platform), provenance))
}
