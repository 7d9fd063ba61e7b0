//! Registries that lie: what `validate` reads of them ends at a bound.

use std::{io::Write, time::Duration};

use serde_json::json;
use windlass_model::Digest;
use windlass_suite::{
    binary::Folder,
    hostile::{Asked, Hostile, Measured, Spoken, flood, measured, reply},
    registry::{MODULE_PACKAGE, logged_in},
};

const MANIFEST: &str = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
/// What a command has without any answer, and the largest package twice.
const MEMORY_MIB_MAX: u64 = 250;

fn manifest(digest: &str, size: u64) -> Vec<u8> {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": MODULE_PACKAGE,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of_bytes(b"{}"), "size": 2 },
        "layers": [{ "mediaType": "archive/zip", "digest": digest, "size": size }],
    })
    .to_string()
    .into_bytes()
}

fn validated(server: &Hostile, docker: &str) -> Measured {
    let folder = Folder::new();
    logged_in(&folder.path().join("docker"), docker, "canary-password");
    folder.write(
        "platform/definition.yaml",
        &format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: bucket }}\nspec:\n  type: s3\n  driver: {{ builtin: terraform }}\n  inputs: {{ module: {{ $oci: {{ artifact: \"{}/modules/bucket:1.0\" }} }} }}\n",
            server.address
        ),
    );
    let config = folder.path().join("docker").display().to_string();
    let ran = measured(&folder, "validate platform", &[("DOCKER_CONFIG", &config)], |_, _| {});
    assert_eq!(ran.code, 65, "{ran:#?}");
    assert!(ran.memory_mib < MEMORY_MIB_MAX && ran.time < Duration::from_secs(60), "{ran:#?}");
    assert!(!ran.err.contains("canary"), "{ran:#?}");
    ran
}

fn serving(blob: impl Fn(&mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static) -> Hostile {
    Hostile::start(Spoken::Clear, move |asked: &Asked, stream: &mut dyn Write| match asked.path() {
        path if path.contains("/manifests/") => reply(stream, "200 OK", MANIFEST, &manifest(&Digest::of_bytes(b"x").to_string(), 100)),
        _ => blob(stream),
    })
}

#[test]
fn a_blob_ends_at_its_declared_size() {
    let declared = serving(|stream| flood(stream, "Content-Length: 53687091200\r\n", &[0; 1 << 16], Duration::ZERO));
    assert!(validated(&declared, "other.example.com").err.contains("more than 100 bytes"));
    let endless = serving(|stream| flood(stream, "", &[0; 1 << 16], Duration::ZERO));
    assert!(validated(&endless, "other.example.com").err.contains("more than 100 bytes"));
}

#[test]
fn a_manifest_and_a_token_end_at_their_bounds() {
    let endless = Hostile::start(Spoken::Clear, |_, stream| flood(stream, MANIFEST, &[b' '; 1 << 16], Duration::ZERO));
    assert!(validated(&endless, "other.example.com").err.contains("the manifest has more than"));
    let token = Hostile::start(Spoken::Clear, |asked, stream| {
        if asked.path().starts_with("/token") {
            return flood(stream, "", &[b' '; 1 << 16], Duration::ZERO);
        }
        let host = asked.head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        reply(stream, "401 Unauthorized", &format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\"\r\n"), b"")
    });
    assert!(validated(&token, &token.address).err.contains("the token has more than"));
}

#[test]
fn what_docker_login_keeps_goes_to_no_other_host() {
    let thief = Hostile::start(Spoken::Clear, |_, stream| reply(stream, "200 OK", "", br#"{"token":"x"}"#));
    let realm = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"s\"\r\n", thief.address);
    let server = Hostile::start(Spoken::Clear, move |_, stream| reply(stream, "401 Unauthorized", &realm, b""));
    let ran = validated(&server, &server.address);
    assert!(ran.err.contains("is not encrypted") || ran.err.contains("another host"), "{ran:#?}");
    assert!(thief.asked().is_empty(), "{:#?}", thief.asked());

    let to = format!("Location: http://{}/blob\r\n", thief.address);
    let redirecting = Hostile::start(Spoken::Clear, move |asked, stream| match asked.head.to_lowercase().contains("authorization: ") {
        false => reply(stream, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"r\"\r\n", b""),
        true => reply(stream, "307 Temporary Redirect", &to, b""),
    });
    let _ = validated(&redirecting, &redirecting.address);
    assert!(redirecting.asked().len() > 1, "it was told the password");
    let stolen = thief.asked();
    assert!(!stolen.is_empty() && stolen.iter().all(|asked| !asked.head.to_lowercase().contains("authorization")), "{stolen:#?}");
}
