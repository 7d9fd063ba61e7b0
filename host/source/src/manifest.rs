//! Manifests of registries, as far as a module package needs them. One that could be read in two ways is refused.

use serde::Deserialize;
use serde_json::value::RawValue;
use windlass_model::limits;

/// What OpenTofu calls a package of modules.
const PACKAGE: &str = "application/vnd.opentofu.modulepkg";
/// Its only layer.
const ARCHIVE: &str = "archive/zip";
/// An image manifest of OCI.
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Manifests that are asked for: an index is asked for so that it can be named.
pub(crate) const MEDIA_TYPES: [&str; 2] = [IMAGE, "application/vnd.oci.image.index.v1+json"];

/// Names a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Kind of the blob.
    pub media_type: String,
    /// Digest, as `sha256:` with 64 hexadecimal digits, unchecked.
    pub digest: String,
    /// Length in bytes, as the manifest claims it.
    pub size: u64,
}

/// An image manifest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Box<RawValue>>,
}

impl Manifest {
    /// Reads a manifest that came under a media type.
    ///
    /// # Errors
    ///
    /// Why it is no image manifest.
    pub fn parse(text: &[u8], media_type: Option<&str>) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|error| format!("its manifest can't be read: {error}"))?;
        if manifest.manifests.is_some() && manifest.layers.is_some() {
            return Err("its manifest is an index and an image at once".to_owned());
        }
        if manifest.manifests.is_some() {
            return Err(format!("it is an index of images, no module package (`{PACKAGE}`)"));
        }
        // What the manifest calls itself and what the registry calls it are one, or readers disagree about what it is.
        if let (Some(inside), Some(outside)) = (&manifest.media_type, media_type)
            && inside != outside
        {
            return Err(format!("its manifest is `{inside}`, and came as `{outside}`"));
        }
        let media_type = manifest.media_type.as_deref().or(media_type);
        if manifest.schema_version != 2 || media_type.is_some_and(|media_type| media_type != IMAGE) {
            return Err(format!("its manifest is `{}`; `{IMAGE}` is read", media_type.unwrap_or_default()));
        }
        Ok(manifest)
    }

    /// Finds the one layer of a package, and says what another artifact is.
    ///
    /// # Errors
    ///
    /// What it is instead, or the limit that the layer passes.
    pub fn archive(&self) -> Result<&Descriptor, String> {
        let config = self.config.as_ref().map(|config| config.media_type.as_str());
        let kind = self.artifact_type.as_deref().or(config).unwrap_or_default();
        if kind != PACKAGE {
            return Err(format!("it is `{kind}`, no module package (`{PACKAGE}`)"));
        }
        let most = limits::ARCHIVE_BYTES_MAX;
        match self.layers.as_deref().unwrap_or_default() {
            [layer] if layer.media_type == ARCHIVE && layer.size <= most => Ok(layer),
            [layer] if layer.media_type == ARCHIVE => Err(format!("its archive has {} bytes; {most} are allowed", layer.size)),
            [layer] => Err(format!("its layer is `{}`; a module package holds one `{ARCHIVE}`", layer.media_type)),
            layers => Err(format!("it has {} layers; a module package holds one `{ARCHIVE}`", layers.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn layer(media_type: &str, size: u64) -> Value {
        json!({ "mediaType": media_type, "digest": "sha256:0", "size": size })
    }

    fn package(kind: &str, layers: Vec<Value>) -> Value {
        json!({ "schemaVersion": 2, "mediaType": IMAGE, "artifactType": kind, "layers": layers })
    }

    fn read(manifest: &Value, media_type: Option<&str>) -> Result<Descriptor, String> {
        Manifest::parse(manifest.to_string().as_bytes(), media_type)?.archive().cloned()
    }

    #[test]
    fn another_artifact_is_told_by_what_it_is() {
        let most = limits::ARCHIVE_BYTES_MAX;
        assert_eq!(read(&package(PACKAGE, vec![layer(ARCHIVE, most)]), Some(IMAGE)).unwrap().size, most);
        for (manifest, said) in [
            (package("application/vnd.oci.image.config.v1+json", vec![]), "it is `application/vnd.oci.image.config.v1+json`"),
            (package(PACKAGE, vec![layer("application/wasm", 1)]), "its layer is `application/wasm`"),
            (package(PACKAGE, vec![layer(ARCHIVE, 1), layer(ARCHIVE, 1)]), "it has 2 layers"),
            (package(PACKAGE, vec![layer(ARCHIVE, most + 1)]), "its archive has 8388609 bytes"),
            (json!({ "schemaVersion": 2, "manifests": [] }), "it is an index of images"),
        ] {
            let reason = read(&manifest, None).unwrap_err();
            assert!(reason.contains(said), "{reason}");
        }
    }

    #[test]
    fn manifests_that_can_be_read_in_two_ways_are_refused() {
        let mut both = package(PACKAGE, vec![layer(ARCHIVE, 1)]);
        both["manifests"] = json!([]);
        assert!(read(&both, None).unwrap_err().contains("an index and an image at once"));
        let image = package(PACKAGE, vec![layer(ARCHIVE, 1)]);
        let disguised = read(&image, Some(MEDIA_TYPES[1])).unwrap_err();
        assert!(disguised.contains("came as `application/vnd.oci.image.index.v1+json`"), "{disguised}");
        let twice = image.to_string().replacen('{', r#"{"layers":[],"#, 1);
        assert!(Manifest::parse(twice.as_bytes(), None).unwrap_err().contains("duplicate field"));
        let negative = image.to_string().replace("\"size\":1", "\"size\":-1");
        assert!(Manifest::parse(negative.as_bytes(), None).is_err());
        let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Manifest::parse(nested.as_bytes(), None).is_err());
    }
}
