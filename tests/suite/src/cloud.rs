//! Connections to the servers beside the cluster, for scenes.

use serde_json::Value;
use windlass_cluster::SharedServers;

use crate::cluster::Scene;

/// Decodes a value of a Secret of the scene's namespace.
///
/// # Panics
///
/// If it is not there.
#[must_use]
pub fn secret(scene: &Scene, name: &str, key: &str) -> String {
    use base64::Engine as _;
    let secret = scene.get(&format!("secret/{name}"));
    let text =
        secret.pointer(&format!("/data/{key}")).and_then(Value::as_str).unwrap_or_else(|| unreachable!("`{key}` is missing: {secret}"));
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_else(|error| unreachable!("{error}"));
    String::from_utf8(bytes).unwrap_or_else(|error| unreachable!("{error}"))
}

/// The connection to the PostgreSQL of the test run, through a port of one's own choice.
#[must_use]
pub fn postgres_connection(servers: &SharedServers, port: u16) -> String {
    format!(
        "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: postgres }}\nspec:\n  capability: postgres\n  postgres:\n    host: localhost\n    port: {port}\n    user: manager\n    password: {{ file: {} }}\n    sslRootCert: {{ file: {} }}\n",
        servers.postgres_password().display(),
        servers.postgres_authority().display()
    )
}

/// A database in the shared server for every `postgres`.
#[must_use]
pub fn postgres_definition(inputs: &str) -> String {
    format!(
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: postgres-shared }}\nspec:\n  type: postgres\n  driver: {{ builtin: postgres-database }}\n  inputs: {{ {inputs} }}\n  grants:\n    - {{ import: windlass:postgres/databases }}\n    - {{ import: windlass:secrets/generated }}\n"
    )
}

/// The connection to a program that runs modules.
#[must_use]
pub fn terraform_connection(program: &str) -> String {
    format!(
        "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: terraform }}\nspec:\n  capability: terraform\n  terraform: {{ program: {program} }}\n"
    )
}
