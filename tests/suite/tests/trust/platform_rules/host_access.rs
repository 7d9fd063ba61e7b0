//! A host that lends nothing of its machine refuses each variable, file, program and identity that a connection names.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};
use windlass_capability_aws::{Accounts, AwsOptions, EksTokens, SecretsManagerExecutor, rds::RdsExecutor, route53::Route53Executor};
use windlass_capability_directory::DirectoryExecutor;
use windlass_capability_kubernetes::{ClusterOptions, KubernetesExecutor};
use windlass_capability_postgres::PostgresExecutor;
use windlass_capability_vault::VaultExecutor;
use windlass_engine::{
    host_access::HostAccess,
    session::{Executor, OpenConnection},
};
use windlass_model::{platform::ConnectionSettings, state::EnvironmentKey};

/// Opens settings with an access and returns the refusal, if there is one.
async fn refusal(executor: &dyn Executor, settings: &Value, access: HostAccess) -> Option<String> {
    let settings: ConnectionSettings = serde_json::from_value(settings.clone()).unwrap();
    let environment = EnvironmentKey { application: "shop".parse().unwrap(), environment: "dev".parse().unwrap() };
    let connection = OpenConnection { name: "system".parse().unwrap(), settings, environment, access };
    executor.open(&connection).await.err().map(|error| error.message)
}

/// Nothing answers there: an attempt to connect would fail with another message.
const NOWHERE: &str = "https://127.0.0.1:1";

#[tokio::test]
async fn a_closed_host_refuses_each_name_of_a_connection() {
    let postgres =
        |more: Value| json!({ "capability": "postgres", "postgres": merged(json!({ "host": "127.0.0.1", "port": 1, "user": "x" }), more) });
    let vault = |auth: Value| json!({ "capability": "vault", "vault": { "address": NOWHERE, "auth": auth } });
    let cluster = |settings: Value| json!({ "capability": "kubernetes", "kubernetes": settings });
    let aws = |more: Value| json!({ "capability": "aws", "aws": merged(json!({ "region": "eu-central-1" }), more) });
    let (file, variable) = (json!({ "file": "/etc/hostname" }), json!({ "env": "PATH" }));
    let role = |from: &Value| json!({ "assumeRole": { "roleArn": "arn:aws:iam::123456789012:role/x", "externalId": from } });
    let (databases, vaults, accounts) = (PostgresExecutor::default(), VaultExecutor::default(), Accounts::default());
    let clusters = KubernetesExecutor::new(ClusterOptions { local_credentials: true, ..ClusterOptions::default() })
        .with_tokens(std::sync::Arc::new(EksTokens::new(accounts.clone())));
    let (rds, route53) =
        (RdsExecutor::new(accounts.clone(), AwsOptions::default()), Route53Executor::new(accounts.clone(), AwsOptions::default()));
    let secrets = SecretsManagerExecutor::new(accounts);
    let ca = |from: &Value| json!({ "capability": "vault", "vault": { "address": NOWHERE, "auth": { "token": { "env": "PATH" } }, "caCert": from } });
    let cases: Vec<(&dyn Executor, Value)> = vec![
        (&databases, postgres(json!({ "password": variable }))),
        (&databases, postgres(json!({ "password": file }))),
        (&databases, postgres(json!({ "sslRootCert": file }))),
        (&vaults, vault(json!({ "token": variable }))),
        (&vaults, vault(json!({ "token": file }))),
        (&vaults, vault(json!({ "appRole": { "roleId": "x", "secretId": file } }))),
        (&vaults, vault(json!({ "kubernetes": { "role": "x" } }))),
        (&vaults, vault(json!({ "kubernetes": { "role": "x", "token": file } }))),
        (&vaults, vault(json!({ "jwt": { "role": "x", "token": variable } }))),
        (&vaults, ca(&file)),
        (&vaults, ca(&variable)),
        (&clusters, cluster(json!({}))),
        (&clusters, cluster(json!({ "kubeconfig": file }))),
        (&clusters, cluster(json!({ "kubeconfig": variable }))),
        (&clusters, cluster(json!({ "eks": { "cluster": "x", "region": "eu-central-1" } }))),
        (
            &clusters,
            cluster(json!({ "eks": { "cluster": "x", "region": "eu-central-1", "aws": { "region": "eu-central-1", "profile": "x" } } })),
        ),
        (&rds, aws(json!({}))),
        (&rds, aws(json!({ "profile": "x" }))),
        (&route53, aws(role(&file))),
        (&secrets, json!({ "capability": "secretsManager", "secretsManager": { "region": "eu-central-1" } })),
    ];
    for (executor, settings) in cases {
        let refused = refusal(executor, &settings, HostAccess::closed()).await.unwrap_or_default();
        assert!(refused.contains("this host does not lend the "), "{settings}: {refused}");
    }
    // The identity of the machine is lent, the variable with the role's external id is not.
    let refused = refusal(&route53, &aws(role(&variable)), HostAccess::closed().with_identity()).await.unwrap();
    assert_eq!(refused, "the role's external id: this host does not lend the variable `PATH` to documents");
}

#[tokio::test]
async fn a_closed_host_writes_manifests_beneath_its_own_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let executor = DirectoryExecutor::new(&data);
    let opened = async |path: &str, access: HostAccess| {
        refusal(&executor, &json!({ "capability": "directory", "directory": { "path": path } }), access).await
    };
    let outside = folder.path().join("outside");
    for path in ["../outside", "a/../../outside", &outside.display().to_string()] {
        let refused = opened(path, HostAccess::closed()).await.unwrap_or_default();
        assert!(refused.starts_with("this host does not lend the file"), "{path}: {refused}");
        assert_eq!(opened(path, HostAccess::open()).await, None, "{path}");
    }
    assert_eq!(opened("manifests/${application}", HostAccess::closed()).await, None);
    assert_eq!(opened(&outside.display().to_string(), HostAccess::closed().with_files(folder.path())).await, None);
    assert!(!Path::new(&outside).exists(), "opening changes nothing");
}

/// Puts the fields of one object over those of another.
fn merged(base: Value, more: Value) -> Value {
    let fields = |value: Value| value.as_object().cloned().unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>();
    let mut all = fields(base);
    all.extend(fields(more));
    json!(all)
}
