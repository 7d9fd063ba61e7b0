//! Scenes on AWS: what a workload asks for, and what answers.

use crate::{aws::aws_connection, cluster::Scene};

/// A workload that asks for a name.
pub const NAMED: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers:
  main:
    image: web:1
    variables: { URL: \"${resources.dns.url}\" }
resources:
  dns: { type: dns }
";

/// A workload that asks for a database.
pub const STORED: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers:
  main:
    image: web:1
    variables: { DATABASE_URL: \"postgres://${resources.db.username}:${resources.db.password}@${resources.db.host}:${resources.db.port}/${resources.db.name}\" }
resources:
  db: { type: postgres }
";

fn definition(r#type: &str, driver: &str, import: &str, inputs: &str) -> String {
    format!(
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: {driver} }}\nspec:\n  type: {type}\n  driver: {{ builtin: {driver} }}\n  inputs: {{ {inputs} }}\n  grants:\n    - {{ import: {import} }}\n    - {{ import: windlass:secrets/generated }}\n"
    )
}

/// Makes a scene with a connection to an endpoint, a Score file and a definition.
#[must_use]
pub fn scene(name: &str, endpoint: &str, score: &str, definition: &str) -> Scene {
    let scene = Scene::new(name);
    scene.folder.write("app/web.score.yaml", score);
    scene.folder.write("platform/aws.yaml", &aws_connection(endpoint));
    scene.folder.write("platform/definition.yaml", definition);
    scene.folder.ok("platform apply platform");
    scene
}

/// Makes the definition of records below a domain.
#[must_use]
pub fn dns(domain: &str, target: &str) -> String {
    definition("dns", "dns-route53", "windlass:aws/route53", &format!("domain: {domain}, target: {target}"))
}

/// Makes the definition of instances.
#[must_use]
pub fn rds(inputs: &str) -> String {
    definition("postgres", "postgres-rds", "windlass:aws/rds", inputs)
}
