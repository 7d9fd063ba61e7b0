//! PostgreSQL, RDS, Route 53, Vault and Secrets Manager pass the contract that every sink of Kubernetes objects passes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use serde_json::json;
use windlass_capability_aws::{Accounts, AwsOptions, SecretsManagerExecutor, rds::RdsExecutor, route53::Route53Executor};
use windlass_capability_postgres::PostgresExecutor;
use windlass_capability_vault::VaultExecutor;
use windlass_cluster::SharedServers;
use windlass_model::platform::{AwsSettings, ConnectionSettings, PostgresSettings, Reference, VaultAuth, VaultSettings};
use windlass_suite::{
    aws::{Account, REGION},
    contract::{Subject, check_subject},
};

fn run(executor: &dyn windlass_engine::session::Executor, settings: &ConnectionSettings, subject: &Subject) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(check_subject(executor, settings, subject));
}

/// Names that no other run has.
fn named(name: &str) -> String {
    format!("contract-{}-{name}", std::process::id())
}

#[test]
fn postgres() {
    let servers = SharedServers::find().unwrap();
    let postgres = PostgresSettings {
        host: "localhost".into(),
        port: Some(servers.postgres_port()),
        user: "manager".into(),
        password: Some(Reference::File(servers.postgres_password().display().to_string())),
        database: None,
        ssl_mode: None,
        ssl_root_cert: Some(Reference::File(servers.postgres_authority().display().to_string())),
    };
    let subject = Subject {
        interface: "windlass:postgres/databases",
        identity: |name| format!("role/{}", named(name)),
        spec: |name, value| {
            let of = ["pg_monitor", "pg_read_all_stats", "pg_read_all_settings"];
            let index: usize = value.parse().unwrap_or(0);
            json!({ "kind": "role", "name": named(name), "memberOf": [of[index % of.len()]] })
        },
        lists: true,
    };
    run(&PostgresExecutor, &ConnectionSettings::Postgres { postgres }, &subject);
}

fn aws() -> ConnectionSettings {
    let endpoint = Some(SharedServers::find().unwrap().aws_endpoint());
    ConnectionSettings::Aws { aws: AwsSettings { region: REGION.into(), profile: None, assume_role: None, endpoint } }
}

#[test]
fn route53() {
    let account = Account::open(&SharedServers::find().unwrap().aws_endpoint());
    let _zone = account.zone("contract.example.com");
    let subject = Subject {
        interface: "windlass:aws/route53",
        identity: |name| format!("record-set/{}.contract.example.com/A", named(name)),
        spec: |name, value| json!({ "kind": "record-set", "name": format!("{}.contract.example.com", named(name)), "type": "A", "values": [format!("192.0.2.{value}")] }),
        lists: true,
    };
    run(&Route53Executor::new(Accounts::default()), &aws(), &subject);
}

#[test]
fn rds() {
    let subject = Subject {
        interface: "windlass:aws/rds",
        identity: |name| format!("db-instance/{}", named(name)),
        spec: |name, value| {
            json!({
                "kind": "db-instance", "identifier": named(name), "class": format!("db.m{value}.large"), "engine": "postgres",
                "masterUsername": "app", "manageMasterPassword": true, "allocatedStorage": 20,
            })
        },
        lists: true,
    };
    let options = AwsOptions { poll: std::time::Duration::from_millis(50) };
    run(&RdsExecutor::new(Accounts::default(), options), &aws(), &subject);
}

#[test]
fn vault() {
    let (address, token) = SharedServers::find().unwrap().vault();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, token).unwrap();
    let auth = VaultAuth::Token(Reference::File(path.display().to_string()));
    let vault = VaultSettings { address, namespace: None, mounts: Vec::new(), ca_cert: None, auth };
    let subject = Subject {
        interface: "windlass:secrets/external",
        identity: |name| format!("entry/secret/{}", named(name)),
        spec: |name, value| json!({ "kind": "entry", "path": format!("secret/{}", named(name)), "data": { "key": value } }),
        // A KV engine can't be asked for marks.
        lists: false,
    };
    run(&VaultExecutor, &ConnectionSettings::Vault { vault }, &subject);
}

#[test]
fn secrets_manager() {
    let ConnectionSettings::Aws { aws: secrets_manager } = aws() else { return };
    let subject = Subject {
        interface: "windlass:secrets/external",
        identity: |name| format!("entry/{}", named(name)),
        spec: |name, value| json!({ "kind": "entry", "path": named(name), "data": { "key": value } }),
        lists: true,
    };
    run(&SecretsManagerExecutor::new(Accounts::default()), &ConnectionSettings::SecretsManager { secrets_manager }, &subject);
}
