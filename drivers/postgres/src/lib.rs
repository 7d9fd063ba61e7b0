//! PostgreSQL in the cluster: a StatefulSet with its own volume claim, for environments without a managed database.
//!
//! The claim is staged by itself, not as a template of the StatefulSet, so that it is marked, guarded
//! and never left behind without an owner.

use serde_json::json;
use windlass_sdk::{
    kubernetes::DATA_VERSION,
    names::{of_resource, resource_labels, resource_selector},
    prelude::*,
    secrets::Policy,
};

const PORT: u16 = 5432;

/// What a resource may be asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The version of PostgreSQL.
    #[serde(default)]
    pub version: Option<String>,
}

/// What a definition may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The image without its tag.
    #[serde(default)]
    pub image: Option<String>,
    /// The version, where the resource asks for none: 17 if nothing is said.
    #[serde(default)]
    pub version: Option<String>,
    /// The size of the volume: `1Gi` if nothing is said.
    #[serde(default)]
    pub storage: Option<String>,
    /// The storage class; the cluster's own default if nothing is said.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// Memory, requested and limited: `256Mi` if nothing is said.
    #[serde(default)]
    pub memory: Option<String>,
}

/// What it yields.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// The host inside the cluster.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database.
    pub name: String,
    /// The database, by its other name.
    pub database: String,
    /// The user, who owns the database.
    pub username: String,
    /// The password.
    pub password: Sealable,
}

/// The driver.
#[derive(Debug)]
pub struct Postgres;

impl ResourceDefinition for Postgres {
    const SUMMARY: &'static str = "PostgreSQL in the cluster: a StatefulSet with its own volume claim and a generated password";
    type Params = Params;
    type Inputs = Inputs;
    type Outputs = Outputs;

    fn define(request: Request<Params, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
        let Request { context, key, params, inputs, .. } = request;
        let namespace = context.namespace()?;
        let name = of_resource(&key);
        let database = "app";
        let at = if params.version.is_some() { "/params/version" } else { "/inputs/version" };
        let version = params.version.or(inputs.version).unwrap_or_else(|| "17".to_owned());
        if !is_tag(&version) {
            return Err(Diagnostic::error("version", format!("`{version}` is no version"))
                .at(at)
                .hint("the tag of an image: `17`, `16.4`")
                .into());
        }
        let image = format!("{}:{version}", inputs.image.as_deref().unwrap_or("docker.io/library/postgres"));
        let labels = resource_labels(&context, &key);
        let selector = resource_selector(&context, &key);
        let mut pod_labels = labels.clone();
        if let (Some(all), Some(selector)) = (pod_labels.as_object_mut(), selector.as_object()) {
            all.extend(selector.clone());
        }
        let password = Generated::with_policy("password", &Policy::default());
        let metadata = |name: &str| json!({ "name": name, "namespace": namespace, "labels": labels });

        Object::new(
            "credentials",
            &json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": metadata(&name), "type": "Opaque",
                "stringData": { "username": database, "password": password.value(), "database": database },
            }),
        );
        let mut claim = json!({
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": inputs.storage.as_deref().unwrap_or("1Gi") } },
        });
        if let (Some(class), Some(claim)) = (&inputs.storage_class, claim.as_object_mut()) {
            claim.insert("storageClassName".into(), json!(class));
        }
        let claim_name = format!("{name}-data");
        let mut claim_metadata = metadata(&claim_name);
        if let Some(fields) = claim_metadata.as_object_mut() {
            // No server opens the data of another major version: the host refuses such a change.
            fields.insert("annotations".into(), json!({ DATA_VERSION: format!("PostgreSQL {}", major(&version)) }));
        }
        Object::new("data", &json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": claim_metadata, "spec": claim }));
        Object::new(
            "service",
            &json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata(&name),
                "spec": { "selector": selector, "ports": [{ "name": "postgresql", "port": PORT, "targetPort": "postgresql", "protocol": "TCP" }] },
            }),
        );
        let memory = inputs.memory.as_deref().unwrap_or("256Mi");
        let from_secret =
            |variable: &str, field: &str| json!({ "name": variable, "valueFrom": { "secretKeyRef": { "name": name, "key": field } } });
        let probe = |period: u8| json!({ "exec": { "command": ["pg_isready", "-U", database, "-d", database] }, "periodSeconds": period });
        Object::new(
            "server",
            &json!({
                "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata(&name),
                "spec": {
                    "serviceName": name, "replicas": 1, "selector": { "matchLabels": selector },
                    "template": {
                        "metadata": { "labels": pod_labels },
                        "spec": {
                            "automountServiceAccountToken": false, "enableServiceLinks": false,
                            "securityContext": { "runAsNonRoot": true, "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999, "seccompProfile": { "type": "RuntimeDefault" } },
                            "containers": [{
                                "name": "postgres", "image": image,
                                "env": [from_secret("POSTGRES_USER", "username"), from_secret("POSTGRES_PASSWORD", "password"), from_secret("POSTGRES_DB", "database"), { "name": "PGDATA", "value": "/var/lib/postgresql/data/pgdata" }],
                                "ports": [{ "name": "postgresql", "containerPort": PORT, "protocol": "TCP" }],
                                "readinessProbe": probe(5), "livenessProbe": probe(20),
                                "resources": { "requests": { "memory": memory, "cpu": "100m" }, "limits": { "memory": memory } },
                                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                                "volumeMounts": [{ "name": "data", "mountPath": "/var/lib/postgresql/data" }, { "name": "run", "mountPath": "/var/run/postgresql" }],
                            }],
                            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim_name } }, { "name": "run", "emptyDir": {} }],
                        },
                    },
                },
            }),
        );
        Ok(Answer::new(Outputs {
            host: format!("{name}.{namespace}.svc.cluster.local"),
            port: PORT,
            name: database.into(),
            database: database.into(),
            username: database.into(),
            password: password.value(),
        }))
    }
}

/// Returns the major version that the tag of an image names, `16` of `16.4-alpine` and of `0.8.0-pg16`; the tag if it names none.
fn major(tag: &str) -> &str {
    let text = tag.split(['-', '_']).find_map(|part| part.strip_prefix("pg")).unwrap_or(tag);
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..digits).filter(|major| !major.is_empty()).unwrap_or(tag)
}

/// Tells whether a version can be the tag of an image.
fn is_tag(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

windlass_sdk::export_resource!(Postgres);

#[cfg(test)]
mod tests {
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn stages_claim_secret_service_and_server() {
        insta::assert_json_snapshot!(define::<Postgres>(
            json!({ "key": { "type": "postgres", "id": "web.db" }, "inputs": { "storage": "5Gi", "storage_class": "fast" }, "params": { "version": "16" } })
        ));
    }

    #[test]
    fn a_version_is_a_tag() {
        for (at, version) in [("params", "17; rm"), ("inputs", "")] {
            let outcome = define::<Postgres>(json!({ at: { "version": version } }));
            assert_eq!(outcome.diagnostics[0].pointer, format!("/{at}/version"));
        }
        assert!(is_tag("16.4-alpine_3") && !is_tag(".5") && !is_tag("ä"));
    }

    #[test]
    fn claims_name_the_major_version_of_their_data() {
        let found = ["17", "16.4-alpine3.20", "17-bookworm", "pg16", "0.8.0-pg17", "latest"].map(major);
        assert_eq!(found, ["17", "16", "17", "16", "17", "latest"]);
    }

    #[test]
    fn needs_a_namespace() {
        insta::assert_json_snapshot!(define::<Postgres>(json!({ "context": { "namespace": null } })));
    }
}
