//! `$oci`: a module package in an OCI registry, in the layout that OpenTofu publishes and installs: an image manifest of the
//! artifact type `application/vnd.opentofu.modulepkg` with one layer, a ZIP archive.

use std::{
    env, fs,
    io::{Cursor, ErrorKind, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::{
    Reference,
    client::{Client, ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    manifest::{OciDescriptor, OciImageManifest, OciManifest},
    secrets::RegistryAuth,
};
use windlass_document::{Fetched, OciSource};
use windlass_model::diagnostic::chain;

const PACKAGE: &str = "application/vnd.opentofu.modulepkg";
const ARCHIVE: &str = "archive/zip";

/// A package as it travels; what its files may hold together is checked where they are read.
const ARCHIVE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A package unpacked: bounds what a small archive can grow to.
const UNPACKED_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Entries of a package.
const ENTRIES_MAX: usize = 2000;
/// How long a registry may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Fetches a package into an empty folder. Its manifest and its archive are checked by their digests.
pub(crate) fn fetch(source: &OciSource, into: &Path) -> Result<Fetched, String> {
    let OciSource { artifact, .. } = source;
    let wrong = |reason: String| format!("`{artifact}` can't be fetched: {reason}");
    let reference: Reference = artifact.parse().map_err(|error| wrong(format!("{error}; it is HOST/REPOSITORY:TAG or …@sha256:DIGEST")))?;
    // A tag that nobody wrote would be `latest`: nobody means that.
    if !artifact.rsplit('/').next().is_some_and(|name| name.contains([':', '@'])) {
        return Err(wrong("it names no tag and no digest".into()));
    }
    let (archive, digest) = std::thread::scope(|threads| {
        // A thread of its own: whoever reads documents may stand in a runtime, where nobody can wait for another one.
        let pulled = threads.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
            runtime.block_on(pull(&reference))
        });
        pulled.join().unwrap_or_else(|_| Err("it was cut off".into()))
    })
    .map_err(wrong)?;
    unpack(archive, into).map_err(wrong)?;
    Ok(Fetched {
        source: format!("{}/{}", reference.registry(), reference.repository()),
        reference: reference.tag().or(reference.digest()).unwrap_or_default().to_owned(),
        revision: digest,
    })
}

/// Returns the archive and the manifest's digest.
async fn pull(reference: &Reference) -> Result<(Vec<u8>, String), String> {
    // Another part of the process may have chosen already, the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_from(ClientConfig {
        protocol: ClientProtocol::HttpsExcept(on_this_machine(reference.registry()).into_iter().collect()),
        connect_timeout: Some(SILENCE),
        read_timeout: Some(SILENCE),
        user_agent: concat!("windlass/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
    .map_err(|error| error.to_string())?;
    let registry = reference.resolve_registry();
    let refused = |error: OciDistributionError| refused(&error, registry);
    let (manifest, digest) = client.pull_manifest(reference, &credentials(registry)?).await.map_err(refused)?;
    let layer = archive_of(&manifest)?;
    let mut archive = Vec::new();
    client.pull_blob(reference, layer, &mut archive).await.map_err(refused)?;
    Ok((archive, digest))
}

/// Says what a registry said; who may not read is told how to.
fn refused(error: &OciDistributionError, registry: &str) -> String {
    match error {
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            format!("`{registry}` does not let you read it: `docker login {registry}` keeps the credentials that are used")
        }
        other => chain(other),
    }
}

/// Finds the one layer of a package, and says what another artifact is.
fn archive_of(manifest: &OciManifest) -> Result<&OciDescriptor, String> {
    let OciManifest::Image(OciImageManifest { artifact_type, config, layers, .. }) = manifest else {
        return Err(format!("it is an index of images, no module package (`{PACKAGE}`)"));
    };
    let kind = artifact_type.as_ref().unwrap_or(&config.media_type);
    if kind != PACKAGE {
        return Err(format!("it is `{kind}`, no module package (`{PACKAGE}`)"));
    }
    match layers.as_slice() {
        [layer] if layer.media_type == ARCHIVE => {
            let fits = usize::try_from(layer.size).is_ok_and(|size| size <= ARCHIVE_BYTES_MAX);
            if fits { Ok(layer) } else { Err(format!("its archive has {} bytes; {ARCHIVE_BYTES_MAX} are allowed", layer.size)) }
        }
        [layer] => Err(format!("its layer is `{}`; a module package holds one `{ARCHIVE}`", layer.media_type)),
        layers => Err(format!("it has {} layers; a module package holds one `{ARCHIVE}`", layers.len())),
    }
}

/// Reads what `docker login` keeps for a registry.
fn credentials(registry: &str) -> Result<RegistryAuth, String> {
    let Some(folder) = env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".docker"))) else {
        return Ok(RegistryAuth::Anonymous);
    };
    let path = folder.join("config.json");
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(RegistryAuth::Anonymous),
        Err(error) => return Err(format!("docker's configuration {} can't be read: {error}", path.display())),
    };
    match docker_credential::get_credential_from_reader(file, registry) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(RegistryAuth::Basic(user, password)),
        Ok(DockerCredential::IdentityToken(_)) => {
            Err(format!("docker keeps an identity token for `{registry}`: log in with a user and a password or an access token"))
        }
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        // What a helper writes may hold what it should keep.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => Err(format!("docker's credential helper `{helper}` failed")),
        Err(error) => Err(format!("docker's configuration {}: {error}", path.display())),
    }
}

/// Returns a registry that is reached without TLS: none but those on this machine.
fn on_this_machine(registry: &str) -> Option<String> {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    matches!(host, "localhost" | "127.0.0.1" | "[::1]").then(|| registry.to_owned())
}

/// Unpacks regular files and folders; anything else, and anything that would leave the folder, is refused.
fn unpack(archive: Vec<u8>, into: &Path) -> Result<(), String> {
    let broken = |error: zip::result::ZipError| format!("its archive can't be read: {error}");
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).map_err(broken)?;
    if archive.len() > ENTRIES_MAX {
        return Err(format!("its archive has {} entries; {ENTRIES_MAX} are allowed", archive.len()));
    }
    let mut left = UNPACKED_BYTES_MAX;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let path = entry.enclosed_name().ok_or_else(|| format!("its archive has `{name}`, which leaves the folder"))?;
        let path = into.join(path);
        let written = |error: std::io::Error| format!("`{name}` of its archive can't be unpacked: {error}");
        if entry.is_dir() {
            fs::create_dir_all(&path).map_err(written)?;
            continue;
        }
        if !entry.is_file() {
            return Err(format!("its archive has `{name}`, which is no regular file"));
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(written)?;
        }
        let mut content = Vec::new();
        let read = entry.by_ref().take(left + 1).read_to_end(&mut content).map_err(written)? as u64;
        left = left.checked_sub(read).ok_or_else(|| format!("its archive holds more than {UNPACKED_BYTES_MAX} bytes"))?;
        fs::write(&path, content).map_err(written)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn zipped(write: impl FnOnce(&mut ZipWriter<Cursor<Vec<u8>>>)) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        write(&mut writer);
        writer.finish().unwrap().into_inner()
    }

    fn unpacked(archive: Vec<u8>) -> (tempfile::TempDir, Result<(), String>) {
        let folder = tempfile::tempdir().unwrap();
        let result = unpack(archive, folder.path());
        (folder, result)
    }

    #[test]
    fn files_are_unpacked_and_nothing_else() {
        let options = SimpleFileOptions::default();
        let (folder, result) = unpacked(zipped(|archive| {
            archive.add_directory("bucket", options).unwrap();
            archive.start_file("bucket/main.tf", options).unwrap();
            archive.write_all(b"# one").unwrap();
        }));
        result.unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("bucket/main.tf")).unwrap(), "# one");

        let leaves = unpacked(zipped(|archive| archive.start_file("../main.tf", options).unwrap())).1.unwrap_err();
        assert!(leaves.contains("leaves the folder"), "{leaves}");
        let link = unpacked(zipped(|archive| archive.add_symlink("main.tf", "/etc/passwd", options).unwrap())).1.unwrap_err();
        assert!(link.contains("no regular file"), "{link}");
        let many = unpacked(zipped(|archive| {
            (0..=ENTRIES_MAX).for_each(|index| archive.start_file(format!("{index}.tf"), options).unwrap());
        }));
        assert!(many.1.unwrap_err().contains("2001 entries"));
        let bomb = unpacked(zipped(|archive| {
            archive.start_file("main.tf", options).unwrap();
            let zeros = vec![0; 1024 * 1024];
            (0..=UNPACKED_BYTES_MAX / (1024 * 1024)).for_each(|_| archive.write_all(&zeros).unwrap());
        }));
        assert!(bomb.1.unwrap_err().contains("holds more than"));
        assert!(unpacked(b"no archive".to_vec()).1.unwrap_err().contains("can't be read"));
    }

    #[test]
    fn another_artifact_is_told_by_what_it_is() {
        let layer = |media_type: &str, size| OciDescriptor { media_type: media_type.into(), size, ..OciDescriptor::default() };
        let manifest = |kind: &str, layers: Vec<OciDescriptor>| {
            OciManifest::Image(OciImageManifest { artifact_type: Some(kind.into()), layers, ..OciImageManifest::default() })
        };
        assert!(archive_of(&manifest(PACKAGE, vec![layer(ARCHIVE, 100)])).is_ok());
        for (manifest, said) in [
            (manifest("application/vnd.oci.image.config.v1+json", vec![]), "it is `application/vnd.oci.image.config.v1+json`"),
            (manifest(PACKAGE, vec![layer("application/wasm", 1)]), "its layer is `application/wasm`"),
            (manifest(PACKAGE, vec![layer(ARCHIVE, 1), layer(ARCHIVE, 1)]), "it has 2 layers"),
            (manifest(PACKAGE, vec![layer(ARCHIVE, 1 << 30)]), "its archive has 1073741824 bytes"),
        ] {
            let reason = archive_of(&manifest).unwrap_err();
            assert!(reason.contains(said), "{reason}");
        }
    }

    #[test]
    fn only_registries_of_this_machine_are_reached_without_tls() {
        for registry in ["localhost:5000", "127.0.0.1:5000", "localhost"] {
            assert_eq!(on_this_machine(registry).as_deref(), Some(registry));
        }
        for registry in ["ghcr.io", "localhost.example.com:5000", "10.0.0.1:5000"] {
            assert_eq!(on_this_machine(registry), None);
        }
    }
}
