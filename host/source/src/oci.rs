//! `$oci`: a module package in an OCI registry, in the layout that OpenTofu publishes and installs: an image manifest of the
//! artifact type `application/vnd.opentofu.modulepkg` with one layer, a ZIP archive.

use std::{path::Path, sync::Arc};

use oci_spec::distribution::Reference;
use windlass_document::{Fetched, OciSource};
use windlass_model::{Digest, limits};

use crate::{
    archive::{self, Bounds},
    login,
    registry::Repository,
};

/// Fetches a package into an empty folder. Its manifest and its archive are checked by their digests.
pub(crate) fn fetch(source: &OciSource, into: &Path) -> Result<Fetched, String> {
    let OciSource { artifact, .. } = source;
    let wrong = |reason: String| format!("`{artifact}` can't be fetched: {reason}");
    let reference: Reference = artifact.parse().map_err(|error| wrong(format!("{error}; it is HOST/REPOSITORY:TAG or …@sha256:DIGEST")))?;
    // A tag that nobody wrote would be `latest`: nobody means that.
    if !artifact.rsplit('/').next().is_some_and(|name| name.contains([':', '@'])) {
        return Err(wrong("it names no tag and no digest".into()));
    }

    let (package, digest) = std::thread::scope(|threads| {
        // A thread of its own: whoever reads documents may stand in a runtime, where nobody can wait for another one.
        threads.spawn(|| pull_within_time(&reference)).join().unwrap_or_else(|_| Err("it was cut off".into()))
    })
    .map_err(wrong)?;

    archive::unpack(&package, into, Bounds::default()).map_err(wrong)?;
    Ok(Fetched {
        source: format!("{}/{}", reference.registry(), reference.repository()),
        reference: reference.tag().or(reference.digest()).unwrap_or_default().to_owned(),
        revision: digest.to_string(),
    })
}

fn pull_within_time(reference: &Reference) -> Result<(Vec<u8>, Digest), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let time_max = limits::REGISTRY_FETCH_TIME_MAX;
    let pulled = runtime.block_on(async { tokio::time::timeout(time_max, pull(reference)).await });
    // A helper of Docker that never ends holds nobody up.
    runtime.shutdown_background();
    pulled.unwrap_or_else(|_| Err(format!("it took more than {} s", time_max.as_secs())))
}

/// Returns the archive and the manifest's digest.
async fn pull(reference: &Reference) -> Result<(Vec<u8>, Digest), String> {
    let registry = reference.resolve_registry().to_owned();
    let mut repository = Repository::new(reference, Arc::new(move || login::find(&registry)))?;
    let (manifest, digest) = repository.manifest().await?;
    let archive = repository.blob(manifest.archive()?).await?;
    Ok((archive, digest))
}
