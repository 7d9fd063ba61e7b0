//! The mission's own example: `examples/cloud` in `development`, on the servers of the test run.

use std::collections::BTreeMap;

use windlass_cluster::{GatewayController, Shared, SharedServers};

use crate::{
    aws::{Account, AwsProxy, Verdict, aws_connection},
    binary::root,
    cloud::{postgres_connection, secret, terraform_connection},
    cluster::Scene,
};

/// The address that the Gateway gets.
pub const ADDRESS: &str = "192.0.2.44";
/// The domain of `examples/cloud/aws-development`.
pub const DOMAIN: &str = "dev.example.com";

/// A bucket without AWS: moto's provider would take eight minutes to build.
const BUCKET: &str = r#"
variable "name" {
  type = string
}
resource "terraform_data" "files" {
  input = var.name
}
output "bucket" {
  value = terraform_data.files.output
}
output "region" {
  value = "eu-central-1"
}
output "access_key_id" {
  value     = "AKIA-${terraform_data.files.id}"
  sensitive = true
}
output "secret_key" {
  value     = "canary-${terraform_data.files.id}"
  sensitive = true
}
"#;

/// The example with everything that it needs.
#[derive(Debug)]
pub struct Mission {
    /// The application and its cluster.
    pub scene: Scene,
    /// The way to AWS.
    pub aws: AwsProxy,
    /// What AWS holds.
    pub account: Account,
    /// The hosted zone.
    pub zone: String,
    /// PostgreSQL and the others.
    pub servers: SharedServers,
    controllers: Vec<GatewayController>,
}

impl Mission {
    /// Prepares the example under a name that no other test has.
    ///
    /// # Panics
    ///
    /// Outside of `cargo xtask test`.
    #[must_use]
    pub fn new(name: &str, rule: impl Fn(&str, usize) -> Verdict + Send + Sync + 'static) -> Self {
        let servers = SharedServers::find().unwrap_or_else(|error| unreachable!("{error}"));
        let endpoint = servers.aws_endpoint();
        let aws = AwsProxy::start(&endpoint, rule);
        let account = Account::open(&endpoint);
        let scene = Scene::new(name);
        let domain = format!("{}.{DOMAIN}", scene.application);
        let zone = account.zone(&domain);
        let example = |path: &str| std::fs::read_to_string(root().join("examples/cloud").join(path)).unwrap_or_default();
        scene.folder.write("app/api.score.yaml", &example("shop/api.score.yaml"));
        scene.folder.write("platform/platform.yaml", &example("aws-development/platform.yaml").replace(DOMAIN, &domain));
        scene.folder.write("platform/bucket/main.tf", BUCKET);
        scene.folder.write("platform/postgres.yaml", &postgres_connection(&servers, servers.postgres_port()));
        scene.folder.write("platform/aws.yaml", &aws_connection(&aws.endpoint()));
        scene.folder.write("platform/terraform.yaml", &terraform_connection(&servers.terraform()));
        scene.folder.ok("platform apply platform");
        let mut mission = Self { scene, aws, account, zone, servers, controllers: Vec::new() };
        mission.controller("development");
        mission
    }

    /// Starts the Gateway's controller for an environment.
    ///
    /// # Panics
    ///
    /// Outside of `cargo xtask test`.
    pub fn controller(&mut self, environment: &str) {
        let shared = Shared::find().unwrap_or_else(|error| unreachable!("{error}"));
        let namespace = format!("{}-{environment}", self.scene.application);
        self.controllers.push(GatewayController::start(shared, namespace, ADDRESS));
    }

    /// The values that the container gets in an environment, by variable.
    ///
    /// # Panics
    ///
    /// If the deployment is not there.
    #[must_use]
    pub fn variables(&self, environment: &str) -> BTreeMap<String, String> {
        let scene = self.scene.in_environment(environment);
        let deployment = scene.get("deployment/api");
        let variables = deployment.pointer("/spec/template/spec/containers/0/env").and_then(serde_json::Value::as_array).cloned();
        let text = |value: &serde_json::Value, pointer: &str| value.pointer(pointer).and_then(serde_json::Value::as_str).map(str::to_owned);
        variables
            .unwrap_or_default()
            .iter()
            .map(|variable| {
                let named = |kind: &str| {
                    Some((text(variable, &format!("/valueFrom/{kind}/name"))?, text(variable, &format!("/valueFrom/{kind}/key"))?))
                };
                let value = match (named("secretKeyRef"), named("configMapKeyRef")) {
                    (Some((name, key)), _) => secret(&scene, &name, &key),
                    (_, Some((name, key))) => scene.get(&format!("configmap/{name}"))["data"][&key].as_str().unwrap_or_default().to_owned(),
                    _ => text(variable, "/value").unwrap_or_default(),
                };
                (text(variable, "/name").unwrap_or_default(), value)
            })
            .collect()
    }

    /// Everything that stands in the real servers with the name of the application, one line each.
    #[must_use]
    pub fn inventory(&self) -> Vec<String> {
        let like = format!("{}%", self.scene.application.replace('-', "_"));
        let named = format!(
            "SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE '{like}' UNION ALL SELECT 'database ' || datname FROM pg_database WHERE datname LIKE '{like}' ORDER BY 1"
        );
        let mut found: Vec<String> = self.servers.psql("postgres", &named).unwrap_or_default().lines().map(str::to_owned).collect();
        found.extend(self.account.records(&self.zone).into_iter().map(|record| format!("record {record}")));
        found
    }
}
