//! Publishes module packages in an OCI registry, request by request: what reads them has a client of its own.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
};

use serde_json::json;
use windlass_model::Digest;

/// What OpenTofu calls a package of modules.
pub const MODULE_PACKAGE: &str = "application/vnd.opentofu.modulepkg";

/// Publishes files as a package under a tag; returns the manifest's digest.
///
/// # Panics
///
/// If the registry refuses.
pub fn publish(registry: &str, repository: &str, tag: &str, artifact_type: &str, files: &[(&str, &str)]) -> String {
    let archive = zipped(files);
    let config = b"{}".to_vec();
    for blob in [&archive, &config] {
        send(
            registry,
            "POST",
            &format!("/v2/{repository}/blobs/uploads/?digest={}", Digest::of_bytes(blob)),
            "application/octet-stream",
            blob,
        );
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": artifact_type,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of_bytes(&config), "size": config.len() },
        "layers": [{ "mediaType": "archive/zip", "digest": Digest::of_bytes(&archive), "size": archive.len() }],
    });
    let manifest = manifest.to_string().into_bytes();
    send(registry, "PUT", &format!("/v2/{repository}/manifests/{tag}"), "application/vnd.oci.image.manifest.v1+json", &manifest);
    Digest::of_bytes(&manifest).to_string()
}

fn zipped(files: &[(&str, &str)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap_or_else(|error| unreachable!("a temporary folder: {error}"));
    let content = folder.path().join("content");
    for (path, text) in files {
        let path = content.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&content)).unwrap_or_default();
        std::fs::write(path, text).unwrap_or_default();
    }
    let top = std::fs::read_dir(&content).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let archive = folder.path().join("archive.zip");
    let zip = Command::new("python3").args(["-m", "zipfile", "-c"]).arg(&archive).args(top).current_dir(&content).status();
    assert!(zip.is_ok_and(|status| status.success()), "python3 makes no archive");
    std::fs::read(archive).unwrap_or_default()
}

fn send(registry: &str, method: &str, path: &str, media_type: &str, body: &[u8]) {
    let mut stream = TcpStream::connect(registry).unwrap_or_else(|error| unreachable!("the registry: {error}"));
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {registry}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap_or_default();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap_or_default();
    assert!(answer.starts_with("HTTP/1.1 201"), "{method} {path}: {answer}");
}
