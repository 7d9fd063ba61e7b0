//! Stores and accounts that are reached without TLS: nothing is sent there unless that is asked for and allowed.

use windlass_suite::{
    binary::Folder,
    hostile::{Hostile, Spoken, reply},
};

const SCORE: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers: { main: { image: \"web:1\", variables: { PASSWORD: \"${resources.mail.value}\" } } }
resources: { mail: { type: secret, params: { path: mail, field: password } } }
";

/// A value that stands in a store of others.
const DEFINITION: &str = "
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: secret }
spec:
  params: { type: object, properties: { path: { type: string }, field: { type: string } } }
  outputs: { type: object, properties: { value: { type: string, x-windlass-secret: true }, path: { type: string }, agent_path: { type: string } } }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: secret-vault }
spec:
  type: secret
  driver: { builtin: secret-vault }
  grants: [{ import: windlass:secrets/external, paths: [secret/*] }]
";

fn deployed(connection: &str) -> (Folder, windlass_suite::binary::Ran) {
    let folder = Folder::new();
    folder.write("token", "canary-token");
    folder.write("shop/web.score.yaml", SCORE);
    folder.write("platform/mail.yaml", DEFINITION);
    folder.write("platform/connection.yaml", connection);
    folder.ok("platform apply platform");
    let ran = folder.run("deploy shop -e dev --create-env development --yes --timeout 10s");
    (folder, ran)
}

#[test]
fn a_store_without_tls_gets_no_token_unless_that_is_asked_for() {
    let store = |address: &str, more: &str| {
        format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: store }}\nspec:\n  capability: vault\n  vault: {{ address: \"{address}\", auth: {{ token: {{ file: token }} }}{more} }}\n"
        )
    };
    let server = Hostile::start(Spoken::Clear, |_, stream| reply(stream, "404 Not Found", "", b"{\"errors\":[]}"));
    let here = format!("http://{}", server.address);
    let (_, refused) = deployed(&store(&here, ""));
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.err.contains("`insecure: true`") && server.asked().is_empty(), "{}", refused.err);
    let (_, elsewhere) = deployed(&store("http://192.0.2.1:8200", ", insecure: true"));
    assert!(elsewhere.err.contains("`--allow-insecure-transport`"), "{}", elsewhere.err);
    let _ = deployed(&store(&here, ", insecure: true"));
    assert!(server.asked().iter().any(|asked| asked.head.contains("canary-token")), "{:#?}", server.asked());
}

#[test]
fn an_account_without_tls_gets_no_request_unless_that_is_asked_for() {
    let account = |endpoint: &str, more: &str| {
        format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: store }}\nspec:\n  capability: secretsManager\n  secretsManager: {{ region: eu-central-1, endpoint: \"{endpoint}\"{more} }}\n"
        )
    };
    let server = Hostile::start(Spoken::Clear, |_, stream| reply(stream, "400 Bad Request", "", b"{}"));
    let here = format!("http://{}", server.address);
    let (_, refused) = deployed(&account(&here, ""));
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.err.contains("`insecure: true`") && server.asked().is_empty(), "{}", refused.err);
    let (_, elsewhere) = deployed(&account("http://192.0.2.1", ", insecure: true"));
    assert!(elsewhere.err.contains("`--allow-insecure-transport`"), "{}", elsewhere.err);
    let _ = deployed(&account(&here, ", insecure: true"));
    assert!(!server.asked().is_empty());
}
