//! Publishes module packages in an OCI registry, request by request: what reads them has a client of its own.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use tokio_rustls::TlsAcceptor;
use windlass_model::Digest;

use crate::tls;

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

/// Who may read from a guarded registry.
const USER: &str = "reader";
const PASSWORD: &str = "canary-registry-password";
const TOKEN: &str = "canary-registry-token";

/// How a guarded registry wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// With user and password in each request.
    Basic,
    /// With a token that user and password are exchanged for, as the public registries do.
    Token,
}

/// Puts a guard before a registry and returns its host and port; it stands until the tests end.
///
/// # Panics
///
/// If nothing can listen.
#[must_use]
pub fn guarded(registry: &str, guard: Guard) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| unreachable!("a free port: {error}"));
    let address = listener.local_addr().unwrap_or_else(|error| unreachable!("its address: {error}")).to_string();
    let (registry, at) = (registry.to_owned(), address.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (registry, at) = (registry.clone(), at.clone());
            // A client that goes away is its own business.
            std::thread::spawn(move || admit(stream, &registry, &at, guard).ok());
        }
    });
    address
}

/// Puts TLS before a registry, on an address that counts as another machine's; the certificate is nobody's but `authority`'s, which
/// is written there. Returns host and port; it stands until the tests end.
///
/// # Panics
///
/// If nothing can listen.
#[must_use]
pub fn over_tls(registry: &str, authority: &Path) -> String {
    const ELSEWHERE: &str = "127.0.0.2";
    let (tls, certificate) = tls::acceptor(ELSEWHERE, &[]);
    std::fs::write(authority, certificate).unwrap_or_else(|error| unreachable!("{}: {error}", authority.display()));
    let registry = registry.to_owned();
    let listener = TcpListener::bind((ELSEWHERE, 0)).unwrap_or_else(|error| unreachable!("a free port: {error}"));
    let address = listener.local_addr().unwrap_or_else(|error| unreachable!("its address: {error}")).to_string();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(relay(listener, &registry, &tls))
    });
    address
}

/// Takes TLS off everything that comes, and hands it on, for ever.
async fn relay(listener: TcpListener, registry: &str, tls: &TlsAcceptor) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (registry, tls) = (registry.to_owned(), tls.clone());
        // A client that goes away, or trusts nobody, is its own business.
        tokio::spawn(async move {
            let mut front = tls.accept(stream).await?;
            let mut behind = tokio::net::TcpStream::connect(&registry).await?;
            tokio::io::copy_bidirectional(&mut front, &mut behind).await
        });
    }
}

/// Writes into a folder what `docker login` would keep for a registry.
///
/// # Panics
///
/// If it can't be written.
pub fn logged_in(folder: &Path, registry: &str, password: &str) {
    let auth = STANDARD.encode(format!("{USER}:{password}"));
    let config = json!({ "auths": { registry: { "auth": auth } } }).to_string();
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(folder.join("config.json"), config))
        .unwrap_or_else(|error| unreachable!("{}: {error}", folder.display()));
}

/// The password that guarded registries take.
#[must_use]
pub fn password() -> &'static str {
    PASSWORD
}

/// Answers one request, or hands it on.
fn admit(stream: TcpStream, registry: &str, at: &str, guard: Guard) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let authorization = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then_some(value)
    });
    let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let answer = |status: &str, headers: &str, body: &str| {
        write!(&stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    if guard == Guard::Token && head.starts_with("GET /token") {
        return match authorization {
            Some(said) if said == basic => answer("200 OK", "Content-Type: application/json\r\n", &json!({ "token": TOKEN }).to_string()),
            _ => answer("401 Unauthorized", "", ""),
        };
    }
    let (wanted, challenge) = match guard {
        Guard::Basic => (basic, "Basic realm=\"registry\"".to_owned()),
        Guard::Token => (format!("Bearer {TOKEN}"), format!("Bearer realm=\"http://{at}/token\",service=\"registry\"")),
    };
    if authorization != Some(wanted.as_str()) {
        return answer("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), "");
    }
    let mut behind = TcpStream::connect(registry)?;
    let head = head.trim_end().lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    write!(behind, "{}\r\nConnection: close\r\n\r\n", head.collect::<Vec<_>>().join("\r\n"))?;
    std::io::copy(&mut behind, &mut &stream).map(drop)
}
