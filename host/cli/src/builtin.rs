//! What the binary embeds: first-party components and the platform that applies where nobody wrote another.

use std::sync::Arc;

use bytes::Bytes;
use windlass_document::load_platform_sources;
use windlass_model::{application::Provenance, platform::Platform};
use windlass_source::Components;

use crate::exit::Failure;

include!(concat!(env!("OUT_DIR"), "/components.rs"));

const DOCUMENTS: [(&str, &str); 3] = [
    ("built-in/core.yaml", include_str!("../platform/core.yaml")),
    ("built-in/templates.yaml", include_str!("../platform/templates.yaml")),
    ("built-in/types.yaml", include_str!("../platform/types.yaml")),
];

/// Loads the built-in layer.
pub(crate) fn load(components: &Components) -> Result<(Arc<Platform>, Provenance), Failure> {
    let loaded = load_platform_sources(&DOCUMENTS)?;
    let mut platform = loaded.platform;
    for (name, digest, bytes) in COMPONENTS {
        let digest = digest.parse().map_err(Failure::failed)?;
        let key = format!("builtin:{name}");
        components.add_known(&key, digest, Bytes::from_static(bytes));
        platform.components.insert(key, digest);
    }
    Ok((Arc::new(platform), loaded.provenance))
}
