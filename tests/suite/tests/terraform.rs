//! Modules run by the real program: state in our store, the saved plan looked at, nothing left behind.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use windlass_cluster::SharedServers;
use windlass_suite::{
    binary::{Folder, application_document},
    cloud::{postgres_connection, postgres_definition},
    registry::{self, Guard, MODULE_PACKAGE, publish},
};

const FILES: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers:
  main:
    image: web:1
    variables:
      BUCKET: ${resources.files.bucket}
      SECRET: ${resources.files.secret_key}
resources:
  files: { type: s3, params: { versioned: true } }
";

const MODULE: &str = r#"
variable "name" { type = string }
variable "token" { type = string }
variable "versioning" {
  type    = bool
  default = false
}
resource "terraform_data" "bucket" {
  # HCL has its own `$`, braces within braces too: the module must arrive as it was written.
  input = "${trimsuffix(replace(format("%s-files", "${var.name}"), "$", "-"), "$${name}")}"
}
resource "terraform_data" "key" {
  input            = var.token
  triggers_replace = [var.versioning]
}
output "bucket" { value = terraform_data.bucket.output }
output "secret" {
  value     = "key-${var.token}"
  sensitive = true
}
"#;

const DEFINITION: &str = "
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: s3 }
spec:
  params: { type: object, properties: { versioned: { type: boolean } } }
  outputs:
    type: object
    properties: { bucket: { type: string }, secret_key: { type: string, x-windlass-secret: true } }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: s3-terraform }
spec:
  type: s3
  driver: { builtin: terraform-module }
  inputs:
    module: { $folder: ./bucket }
    variables: { name: \"${context.application}-${context.environment}\", token: \"${resources.env.TOKEN}\" }
    params: { versioning: versioned }
    outputs:
      bucket: { output: bucket }
      secret_key: { output: secret, sensitive: true }
  resources: { env: { type: environment } }
  grants: [{ import: windlass:terraform/modules, allow: [declassify] }]
";

const CONNECTION: &str = "
apiVersion: windlass.dev/v1alpha1
kind: Connection
metadata: { name: terraform }
spec:
  capability: terraform
  terraform: { program: PROGRAM, cliConfig: CONFIG, version: \">=1.8\", confined: false }
";

/// Counts how often the program is run, and runs it: a script, so not confined (`trust/systems/terraform.rs` runs the program itself).
const PROGRAM: &str = "#!/bin/sh\necho \"$1\" >> \"$(dirname \"$0\")/runs\"\nexec TERRAFORM \"$@\"\n";

/// A value that must be found nowhere in clear.
const CANARY: &str = "canary-5fd1c0b2";

fn scene(module: &str) -> Folder {
    scene_in(module, ".windlass")
}

/// A platform with a module and an environment, kept in a data folder.
fn scene_in(module: &str, data: &str) -> Folder {
    let folder = Folder::new();
    folder.write("shop/web.score.yaml", FILES);
    folder.write("platform/definition.yaml", DEFINITION);
    let program = folder.path().join("program");
    folder.write("program", &PROGRAM.replace("TERRAFORM", &SharedServers::find().unwrap().terraform()));
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let cli_config = SharedServers::find().unwrap().cli_config();
    let connection = CONNECTION.replace("PROGRAM", &program.display().to_string()).replace("CONFIG", &cli_config.display().to_string());
    folder.write("platform/connection.yaml", &connection);
    folder.write("platform/bucket/main.tf", module);
    folder.ok(&format!("platform apply platform --data-dir {data}"));
    folder.ok(&format!("env create dev --type development --app shop --data-dir {data}"));
    assert_eq!(folder.pipe(&format!("secret set TOKEN -e dev --app shop --data-dir {data}"), CANARY).code, 0);
    folder
}

#[test]
fn a_module_is_applied_once_changed_and_removed() {
    let folder = scene(MODULE);
    let first = folder.ok("deploy shop -e dev --yes");
    assert!(first.err.contains("terraform_data.bucket: Creation complete"), "progress is shown: {}", first.err);
    let written = folder.files(".windlass/manifests/shop/dev");
    let values = written.iter().find(|(path, _)| path.contains("configmap")).map(|(_, text)| text.clone()).unwrap();
    assert!(values.contains("shop-dev-files"), "{values}");
    // Nothing of the value outside of the store's encryption and the Secret that is meant to hold it.
    for (path, text) in folder.files(".windlass") {
        assert!(!text.contains(CANARY) || path.contains("secret"), "{path}");
    }
    assert_eq!(folder.read("runs").lines().collect::<Vec<_>>(), ["version", "init", "apply"]);
    // Once more: no process.
    assert!(folder.ok("deploy shop -e dev --yes").err.contains("nothing was written"));
    assert_eq!(folder.read("runs").lines().count(), 3);
    // A replacement that nobody announced stops.
    folder.write("shop/web.score.yaml", &FILES.replace("versioned: true", "versioned: false"));
    let stopped = folder.run("deploy shop -e dev --yes");
    assert!(stopped.err.contains("the module would destroy or replace `terraform_data.key`"), "{}", stopped.err);
    folder.ok("deploy shop -e dev --yes --allow-destroy");
    assert_eq!(folder.read("runs").lines().filter(|run| *run == "init").count(), 1, "the module is the same: it is set up once");
    // Drift needs the program; there is none here.
    let drift = folder.run("drift -e dev --detailed-exitcode");
    assert_eq!(drift.code, 0, "{}", drift.out);
    folder.ok("destroy -e dev --yes");
    assert!(folder.ok("env show -e dev").out.lines().all(|line| !line.contains("module/")));
}

#[test]
fn an_output_that_is_null_is_no_failure() {
    let module = MODULE.replace("value = terraform_data.bucket.output", "value = null").replace("\"key-${var.token}\"", "null");
    let folder = scene(&module);
    folder.write(
        "shop/web.score.yaml",
        &FILES.replace("${resources.files.bucket}", "'<${resources.files.bucket}>'\n      WHOLE: ${resources.files.bucket}"),
    );
    folder.ok("deploy shop -e dev --yes");
    let written = folder.files(".windlass/manifests/shop/dev");
    assert!(
        written.iter().any(|(path, text)| path.contains("configmap") && text.contains("BUCKET: <>") && text.contains("WHOLE: \"\"")),
        "{written:?}"
    );
    assert!(folder.ok("deploy shop -e dev --yes").err.contains("nothing was written"));
    folder.ok("destroy -e dev --yes --allow-destroy");
}

#[test]
fn what_is_broken_off_hands_its_state_over_and_leaves_nothing_running() {
    let folder = scene(MODULE);
    folder.write("platform/definition.yaml", &DEFINITION.replace("[declassify]", "[declassify, execute]"));
    let (made, begun) = (folder.path().join("made"), folder.path().join("begun"));
    // A name of its own: nobody else sleeps so long.
    let sleep = format!("sleep 7{}", std::process::id());
    let slow = |command: &str| {
        let first = format!("provisioner \"local-exec\" {{ command = \"echo made >> {}\" }}", made.display());
        let last = format!(
            "resource \"terraform_data\" \"slow\" {{\n  depends_on = [terraform_data.bucket]\n  provisioner \"local-exec\" {{ command = \"{command}\" }}\n}}\n"
        );
        let module =
            MODULE.replace("resource \"terraform_data\" \"bucket\" {", &format!("resource \"terraform_data\" \"bucket\" {{\n  {first}"));
        folder.write("platform/bucket/main.tf", &format!("{module}{last}"));
        folder.ok("platform apply platform");
    };
    let is_sleeping = || std::process::Command::new("pgrep").args(["-f", &sleep]).output().unwrap().status.success();
    slow(&format!("touch {}; {sleep}", begun.display()));
    let out_of_time = folder.run("deploy shop -e dev --yes --timeout 8s");
    assert_eq!(out_of_time.code, 4, "{}", out_of_time.err);
    assert!(out_of_time.err.contains("was stopped on the way: the deployment's time was up"), "{}", out_of_time.err);
    assert!(begun.exists() && !is_sleeping(), "it is over");
    // What it would replace now was not announced, and nobody allowed it; who did allowed it to whoever goes on.
    let refused = folder.run("resume -e dev");
    assert!(refused.err.contains("the module would destroy or replace `terraform_data.slow`"), "{}", refused.err);
    assert_eq!(folder.run("deploy shop -e dev --yes --timeout 8s --allow-destroy").code, 4);
    // On a terminal Ctrl-C reaches a whole group: whoever hears it twice ends without handing its state over.
    std::fs::remove_file(&begun).unwrap();
    let mut command = folder.command(&["resume", "-e", "dev"]);
    command.stderr(std::process::Stdio::null());
    let mut child = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn().unwrap();
    Folder::wait_beside(&mut child, || begun.exists());
    Folder::signal_group(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!is_sleeping(), "it is over");
    slow("true");
    folder.ok("deploy shop -e dev --yes --allow-destroy");
    assert_eq!(folder.read("made"), "made\n", "what was made before is known: it is made once");
    folder.ok("destroy -e dev --yes");
}

#[test]
fn a_module_that_takes_its_time_keeps_nothing_else_waiting() {
    let folder = scene(MODULE);
    folder.write("platform/definition.yaml", &DEFINITION.replace("[declassify]", "[declassify, execute]"));
    let go = folder.path().join("go");
    let waits = format!("until test -e {}; do sleep 0.1; done", go.display());
    let slow = format!("provisioner \"local-exec\" {{ command = var.versioning ? \"{waits}\" : \"true\" }}");
    let module = MODULE.replace("resource \"terraform_data\" \"key\" {", &format!("resource \"terraform_data\" \"key\" {{\n  {slow}"));
    folder.write("platform/bucket/main.tf", &module);
    folder.ok("platform apply platform");
    // `web` needs the slow one, `api` needs one that is quick, `site` needs none.
    folder.write("shop/api.score.yaml", &FILES.replace("name: web", "name: api").replace("versioned: true", "versioned: false"));
    folder.write(
        "shop/site.score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: site }\ncontainers: { main: { image: \"site:1\" } }\n",
    );
    let made = |file: &str| folder.files(".windlass/manifests/shop/dev").into_keys().any(|path| path.contains(file));
    let mut child = folder.spawn("deploy shop -e dev --yes");
    Folder::wait_beside(&mut child, || made("deployment.apps-api") && made("deployment.apps-site"));
    // What came of the others is on disk while it still runs.
    Folder::wait_beside(&mut child, || folder.ok("events 1 --app shop -e dev").out.contains("deployment.api"));
    assert!(!made("deployment.apps-web"));
    folder.write("go", "");
    assert!(child.wait().unwrap().success());
    assert!(made("deployment.apps-web"));
    assert!(folder.ok("deploy shop -e dev --yes").err.contains("nothing was written"));
}

#[test]
fn a_registry_of_ones_own_is_trusted_by_its_authority() {
    let registry = SharedServers::find().unwrap().registry();
    publish(&registry, "modules/own", "1.0", MODULE_PACKAGE, &[("main.tf", MODULE)]);
    let folder = scene(MODULE);
    let authority = folder.path().join("authority.pem");
    let own = registry::over_tls(&registry, &authority);
    let source = format!("{{ $oci: {{ artifact: \"{own}/modules/own:1.0\" }} }}");
    folder.write("platform/definition.yaml", &DEFINITION.replace("{ $folder: ./bucket }", &source));
    let refused = folder.run("platform apply platform");
    assert_eq!(refused.code, 65);
    assert!(refused.err.contains("UnknownIssuer"), "the cause is named: {}", refused.err);
    let trusted = folder.run_with("platform apply platform", &[("SSL_CERT_FILE", authority.to_str().unwrap())]);
    assert_eq!(trusted.code, 0, "{}", trusted.err);
    folder.ok("deploy shop -e dev --yes");
    folder.ok("destroy -e dev --yes");
}

#[test]
fn a_registry_that_is_not_public_gets_what_docker_login_keeps() {
    let registry = SharedServers::find().unwrap().registry();
    publish(&registry, "modules/private", "1.0", MODULE_PACKAGE, &[("main.tf", MODULE)]);
    let folder = scene(MODULE);
    for guard in [Guard::Basic, Guard::Token] {
        let guarded = registry::guarded(&registry, guard);
        let source = format!("{{ $oci: {{ artifact: \"{guarded}/modules/private:1.0\" }} }}");
        folder.write("platform/definition.yaml", &DEFINITION.replace("{ $folder: ./bucket }", &source));
        let docker = folder.path().join(format!("docker-{guard:?}"));
        let apply = || folder.run_with("platform apply platform", &[("DOCKER_CONFIG", docker.to_str().unwrap())]);
        // Not logged in, then wrongly, then as it should be.
        let mut said = Vec::new();
        for password in [None, Some("canary-wrong-password"), Some(registry::password())] {
            if let Some(password) = password {
                registry::logged_in(&docker, &guarded, password);
            }
            said.push(apply());
        }
        assert_eq!(said.iter().map(|ran| ran.code).collect::<Vec<_>>(), [65, 65, 0], "{guard:?}: {said:#?}");
        assert!(said.iter().all(|ran| !format!("{}{}", ran.out, ran.err).contains("canary")), "{guard:?}: {said:#?}");
        assert!(said.iter().take(2).all(|ran| ran.err.contains("docker login")), "{guard:?}: {said:#?}");
    }
    folder.ok("deploy shop -e dev --yes");
    folder.ok("destroy -e dev --yes");
}

/// A module of a provider that has to be brought.
const PROVIDED: &str = r#"
terraform {
  required_providers {
    random = { source = "providers.test/hashicorp/random" }
  }
}
variable "name" { type = string }
variable "token" {
  type      = string
  sensitive = true
}
variable "versioning" {
  type    = bool
  default = false
}
resource "random_id" "bucket" {
  byte_length = 4
  keepers     = { token = var.token }
}
resource "random_password" "secret" {
  length = var.versioning ? 20 : 30
}
output "bucket" { value = "${var.name}-${random_id.bucket.hex}" }
output "secret" {
  value     = random_password.secret.result
  sensitive = true
}
"#;

#[test]
fn a_module_is_set_up_once_for_all_its_resources() {
    let folder = scene(PROVIDED);
    let deploy = |environment: &str| folder.ok(&format!("deploy shop -e {environment} --yes --allow-destroy"));
    let count = |wanted: &str| folder.read("runs").lines().filter(|run| *run == wanted).count();
    let first = deploy("dev");
    assert!(first.err.contains("random_password.secret: Creation complete"), "{}", first.err);
    folder.ok("env create test --type development --app shop");
    assert_eq!(folder.pipe("secret set TOKEN -e test --app shop", CANARY).code, 0);
    deploy("test");
    assert_eq!((count("init"), count("apply")), (1, 2), "what one environment brought serves the other");
    let secrets: Vec<String> = ["dev", "test"]
        .map(|environment| {
            let written = folder.files(&format!(".windlass/manifests/shop/{environment}"));
            written.iter().find(|(path, _)| path.contains("secret")).map(|(_, text)| text.clone()).unwrap()
        })
        .into();
    assert_ne!(secrets.first(), secrets.last(), "each has a state of its own");
    // Somebody clears the cache of plugins: they are brought again, and nothing else happens.
    std::fs::remove_dir_all(folder.path().join(".windlass/terraform/plugins")).unwrap();
    folder.write("shop/web.score.yaml", &FILES.replace("versioned: true", "versioned: false"));
    deploy("test");
    assert_eq!((count("init"), count("apply")), (2, 3));
    deploy("dev");
    assert_eq!((count("init"), count("apply")), (2, 4), "links of the first environment lead somewhere again");
    folder.ok("destroy -e dev --yes");
    folder.ok("destroy -e test --yes");
    // A file that the program would only warn of.
    let connection = folder.read("platform/connection.yaml");
    folder.write("platform/connection.yaml", &connection.replace("cliConfig: ", "cliConfig: /not/there"));
    folder.ok("platform apply platform");
    let refused = folder.run("deploy shop -e dev --yes");
    assert!(refused.err.contains("the configuration file `/not/there"), "{}", refused.err);
}

/// Planned before the module has run: what it yields is held to the schema of whoever takes it.
#[test]
fn what_a_module_yields_must_be_what_the_next_driver_takes() {
    let module = |value: &str| MODULE.replace("value = terraform_data.bucket.output }", &format!("value = {value} }}"));
    let folder = scene(&module("[terraform_data.bucket.output]"));
    // The type of the resource lets anything be a bucket's name.
    folder.write("platform/definition.yaml", &DEFINITION.replace("bucket: { type: string }", "bucket: {}"));
    let strict = windlass_suite::binary::components().join("guests/strict-input.wasm");
    let definition = format!(
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: pin }}\nspec:\n  type: pin\n  driver: {{ file: {} }}\n  resources: {{ s3: {{ type: s3, id: web.files }} }}\n  inputs: {{ secret: \"${{resources.s3.bucket}}\" }}\n  grants: [{{ import: windlass:kubernetes/objects, kinds: [v1/Secret, v1/ConfigMap] }}]\n---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: {{ name: pin }}\nspec: {{ outputs: {{ type: object, properties: {{ value: {{ type: string }} }} }} }}\n",
        strict.display()
    );
    folder.write("platform/pin.yaml", &definition);
    folder.write("shop/web.score.yaml", &FILES.replace("resources:\n", "resources:\n  pin: { type: pin }\n"));
    folder.ok("platform apply platform");
    let refused = folder.run("deploy shop -e dev --yes");
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(
        refused.err.contains("Secret/shop-dev/pin`: «deferred") && refused.err.contains("is not what its driver takes at `/inputs/secret`"),
        "{}",
        refused.err
    );
    assert!(!folder.files(".windlass/manifests").keys().any(|name| name.contains("secret-pin")));
    folder.write("platform/bucket/main.tf", &module("\"4711\""));
    folder.ok("platform apply platform");
    folder.ok("deploy shop -e dev --yes");
    assert!(folder.files(".windlass/manifests").values().any(|text| text.contains("pin: \"4711\"")));
}

#[test]
fn what_others_change_is_found_by_a_close_look_and_set_back() {
    let module = r#"
terraform {
  required_providers {
    local = { source = "providers.test/hashicorp/local" }
  }
}
variable "name" { type = string }
variable "token" {
  type      = string
  sensitive = true
}
variable "versioning" { type = bool }
resource "local_file" "bucket" {
  filename = "FOLDER/bucket"
  content  = "as the module says"
}
output "bucket" { value = var.name }
output "secret" {
  value     = var.token
  sensitive = true
}
"#;
    let world = tempfile::tempdir().unwrap();
    let folder = scene(&module.replace("FOLDER", &world.path().display().to_string()));
    // It writes a file of the machine.
    folder.write("platform/definition.yaml", &DEFINITION.replace("[declassify]", "[declassify, execute]"));
    folder.ok("platform apply platform");
    folder.ok("deploy shop -e dev --yes");
    let file = world.path().join("bucket");
    assert_eq!(folder.run("drift -e dev --detailed-exitcode").code, 0);
    std::fs::write(&file, "by hand").unwrap();
    let drift = folder.run("drift -e dev --detailed-exitcode");
    assert_eq!(drift.code, 2);
    assert!(drift.out.contains("/local_file.bucket"), "{}", drift.out);
    // Without a close look no process is started.
    let started = folder.read("runs").lines().count();
    assert!(folder.ok("deploy shop -e dev --yes").err.contains("nothing was written"));
    assert_eq!(folder.read("runs").lines().count(), started);
    let healed = folder.ok("deploy shop -e dev --yes --refresh");
    assert!(healed.err.contains("local_file.bucket: Creation complete"), "{}", healed.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "as the module says");
    assert!(folder.ok("deploy shop -e dev --yes --refresh").err.contains("nothing was written"));
    folder.ok("destroy -e dev --yes");
    assert!(!file.exists());
}

const SCHEMA: &str = r#"
terraform {
  required_providers {
    postgresql = { source = "providers.test/hashicorp/postgresql" }
  }
}
variable "host" { type = string }
variable "port" { type = number }
variable "database" { type = string }
variable "username" { type = string }
variable "password" {
  type      = string
  sensitive = true
}
provider "postgresql" {
  host      = var.host
  port      = var.port
  database  = var.database
  username  = var.username
  password  = var.password
  sslmode   = "require"
  superuser = false
}
resource "postgresql_schema" "this" { name = "reports" }
output "name" { value = postgresql_schema.this.name }
"#;

/// A schema in the database of another resource, by the credentials of that one.
const REPORTS: &str = "
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: schema }
spec: { outputs: { type: object, properties: { name: { type: string } } } }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: schema }
spec:
  type: schema
  driver: { builtin: terraform-module }
  resources: { db: { type: postgres, id: main-db } }
  inputs:
    module: { $folder: ./schema }
    variables:
      host: \"${resources.db.host}\"
      port: \"${resources.db.port}\"
      database: \"${resources.db.name}\"
      username: \"${resources.db.username}\"
      password: \"${resources.db.password}\"
    outputs: { name: { output: name } }
  grants: [{ import: windlass:terraform/modules, allow: [declassify] }]
";

#[test]
fn a_provider_gets_the_credentials_of_another_resource_and_the_next_ones() {
    let servers = SharedServers::find().unwrap();
    let folder = scene(MODULE);
    let application = format!("tf{}", std::process::id());
    folder.write("shop/application.yaml", &application_document(&application));
    folder.write(
        "shop/web.score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"web:1\", variables: { SCHEMA: \"${resources.reports.name}\", PASSWORD: \"${resources.db.password}\" } } }\nresources: { db: { type: postgres, id: main-db }, reports: { type: schema } }\n",
    );
    folder.write("platform/schema.yaml", REPORTS);
    folder.write("platform/schema/main.tf", SCHEMA);
    folder.write("platform/postgres.yaml", &postgres_connection(&servers, servers.postgres_port()));
    folder.write("platform/database.yaml", &postgres_definition(""));
    folder.ok("platform apply platform");
    folder.ok("deploy shop -e test --create-env development --yes");
    let database = servers.psql("postgres", &format!("SELECT datname FROM pg_database WHERE datname LIKE '{application}\\_%'")).unwrap();
    let schemas = || servers.psql(&database, "SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'reports'").unwrap();
    assert_eq!(schemas(), "1");
    let rotated = folder.ok("rotate postgres#main-db -e test --yes");
    assert!(rotated.out.contains("/variables/password"), "{}", rotated.out);
    assert!(folder.ok("deploy shop -e test --yes").err.contains("nothing was written"));
    assert_eq!(folder.run("drift -e test --detailed-exitcode").code, 0);
    // The old credentials are ended: only with the new ones the schema can be taken away, before the database that holds it.
    let gone = folder.ok("destroy -e test --yes");
    assert!(gone.err.contains("postgresql_schema.this: Destruction complete"), "{}", gone.err);
    assert!(servers.psql(&database, "SELECT 1").is_err(), "the database is gone");
}

#[test]
fn providers_run_in_data_folders_whose_paths_are_long() {
    let data = format!("{}/data", "a-folder-with-a-long-name".repeat(4));
    let folder = scene_in(PROVIDED, &data);
    folder.ok(&format!("deploy shop -e dev --yes --data-dir {data}"));
    assert!(folder.ok(&format!("destroy -e dev --yes --data-dir {data}")).err.contains("random_password.secret: Destruction complete"));
}

#[test]
fn a_module_from_a_registry_is_what_its_tag_was_when_the_platform_was_applied() {
    let registry = SharedServers::find().unwrap().registry();
    let repository = "modules/bucket";
    let first = publish(&registry, repository, "1.0", MODULE_PACKAGE, &[("aws/bucket/main.tf", MODULE), ("README.md", "# bucket")]);
    let folder = scene(MODULE);
    let named = |artifact: &str| {
        let source = format!("{{ $oci: {{ artifact: \"{registry}/{repository}{artifact}\", path: aws/bucket }} }}");
        folder.write("platform/definition.yaml", &DEFINITION.replace("{ $folder: ./bucket }", &source));
    };
    named(":1.0");
    let applied = folder.ok("platform apply platform");
    assert!(applied.err.contains(&format!("{registry}/{repository} at 1.0 is {first}")), "what a tag was is told: {}", applied.err);
    folder.ok("deploy shop -e dev --yes");
    // The tag moves: nothing changes before the platform is applied again.
    let changed = MODULE.replace("-files", "-documents");
    let second = publish(&registry, repository, "1.0", MODULE_PACKAGE, &[("aws/bucket/main.tf", &changed)]);
    assert_eq!(folder.run("plan shop -e dev --detailed-exitcode").code, 0);
    folder.ok("platform apply platform");
    assert_eq!(folder.run("plan shop -e dev --detailed-exitcode").code, 2);
    // By digest it never moves.
    named(&format!("@{first}"));
    folder.ok("platform apply platform");
    assert_eq!(folder.run("plan shop -e dev --detailed-exitcode").code, 0);
    named(&format!("@{second}"));
    folder.ok("platform apply platform");
    folder.ok("deploy shop -e dev --yes");
    assert!(folder.files(".windlass/manifests/shop/dev").values().any(|text| text.contains("shop-dev-documents")));
    folder.ok("destroy -e dev --yes");

    publish(&registry, repository, "image", "application/vnd.example.image", &[("aws/bucket/main.tf", MODULE)]);
    let wrong = ["", ":9.9", ":image", "@sha256:0000"].map(|artifact| {
        named(artifact);
        let refused = folder.run("platform apply platform");
        assert_eq!(refused.code, 65, "{}", refused.err);
        refused.err.replace(&registry, "REGISTRY")
    });
    insta::assert_snapshot!("no_module_package", wrong.join("\n"));
}

#[test]
fn what_is_wrong_with_a_module_is_said_while_planning() {
    let folder = scene(&format!(
        "{MODULE}\nresource \"terraform_data\" \"x\" {{\n  provisioner \"local-exec\" {{\n    command = \"id\"\n  }}\n}}\n"
    ));
    let refused = folder.run("plan shop -e dev");
    assert_eq!(refused.code, 5, "{}", refused.err);
    assert!(refused.err.contains("would run programs of its own choice: a provisioner of `terraform_data`"), "{}", refused.err);
    folder.write("platform/bucket/main.tf", &MODULE.replace("variable \"name\"", "variable \"nmae\""));
    folder.ok("platform apply platform");
    let refused = folder.run("plan shop -e dev");
    assert!(
        refused.err.contains("the module has no variable `name`") && refused.err.contains("variable `nmae` needs a value"),
        "{}",
        refused.err
    );
}

/// What a module calls can't be read while planning: it is brought, looked at, and nothing of it runs.
#[test]
fn what_a_module_calls_from_elsewhere_is_held_to_the_same_policy() {
    let folder = scene(MODULE);
    folder.write(
        "called/main.tf",
        "resource \"terraform_data\" \"x\" {\n  provisioner \"local-exec\" {\n    command = \"touch ../ran\"\n  }\n}\n",
    );
    folder.git("called", &["init", "--quiet", "."]);
    folder.git("called", &["add", "."]);
    folder.git("called", &["commit", "--quiet", "-m", "one"]);
    let commit = folder.git("called", &["rev-parse", "HEAD"]);
    let call = format!("module \"called\" {{\n  source = \"git::file://{}?ref={commit}\"\n}}\n", folder.path().join("called").display());
    folder.write("platform/bucket/main.tf", &format!("{MODULE}{call}"));
    folder.ok("platform apply platform");
    folder.ok("plan shop -e dev");
    let refused = folder.run("deploy shop -e dev --yes");
    assert!(
        refused.code == 1
            && refused.err.contains("in a module that it calls: a provisioner of `terraform_data`")
            && refused.err.contains("allow: [execute]"),
        "{}",
        refused.err
    );
    // What another definition's grant let be set up is looked at all the same.
    let granted = DEFINITION.replace("[declassify]", "[declassify, execute]");
    for (definition, code) in [(granted.as_str(), 0), (DEFINITION, 1)] {
        folder.write("platform/definition.yaml", definition);
        folder.write("shop/web.score.yaml", &FILES.replace("versioned: true", &format!("versioned: {}", code == 0)));
        folder.ok("platform apply platform");
        let ran = folder.run("deploy shop -e dev --yes --allow-destroy");
        assert_eq!(ran.code, code, "{}", ran.err);
    }
}

/// Providers are programs: one that the connection does not list is brought by `init` and never started.
#[test]
fn providers_are_those_that_the_connection_lists() {
    let folder = scene(PROVIDED);
    let connection = folder.read("platform/connection.yaml");
    let list = |listed: &str| {
        folder.write("platform/connection.yaml", &connection.replace("terraform: {", &format!("terraform: {{ providers: [{listed}],")));
        folder.ok("platform apply platform");
        folder.write("runs", "");
        folder.run("deploy shop -e dev --yes")
    };
    let refused = list("hashicorp/random");
    assert!(
        refused.code == 1
            && refused.err.contains("needs the provider `providers.test/hashicorp/random`, which the connection does not list")
            && refused.err.contains("lists hashicorp/random"),
        "{}",
        refused.err
    );
    assert_eq!(folder.read("runs").lines().filter(|run| *run != "version").collect::<Vec<_>>(), ["init"]);
    let wrong = list("random");
    assert!(wrong.err.contains("`random` names no provider"), "{}", wrong.err);
    assert_eq!(list("providers.test/hashicorp/*").code, 0);
}

/// Programs yield what they like; the type of the resource says what it is.
#[test]
fn what_a_module_yields_gets_the_type_of_its_resource() {
    let folder = scene(&format!(
        "{MODULE}\noutput \"port\" {{ value = \"54${{20 + length(terraform_data.bucket.id) - length(terraform_data.bucket.id)}}\" }}\n"
    ));
    let typed = DEFINITION
        .replace("bucket: { type: string }", "bucket: { type: string }, port: { type: integer }")
        .replace("bucket: { output: bucket }", "bucket: { output: bucket }\n      port: { output: port }");
    folder.write("platform/definition.yaml", &typed);
    let strict = "apiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: { name: entry }\nspec: {}\n---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: entry }\nspec:\n  type: entry\n  driver: { builtin: template }\n  resources: { s3: { type: s3, id: web.files } }\n  inputs: { manifests: { service: { apiVersion: v1, kind: Service, metadata: { name: files }, spec: { ports: [{ port: \"${resources.s3.port}\" }] } } } }\n  grants: [{ import: windlass:kubernetes/objects, kinds: [v1/Service] }, { import: windlass:secrets/generated }]\n";
    folder.write("platform/entry.yaml", strict);
    let score = FILES
        .replace("resources:\n", "resources:\n  entry: { type: entry }\n")
        .replace("SECRET:", "PORT: ${resources.files.port}\n      SECRET:");
    folder.write("shop/web.score.yaml", &score);
    folder.ok("platform apply platform");
    folder.ok("deploy shop -e dev --yes");
    let written = folder.files(".windlass/manifests/shop/dev");
    let text = |name: &str| written.iter().find(|(path, _)| path.contains(name)).map(|(_, text)| text.clone()).unwrap_or_default();
    assert!(text("service").contains("port: 5420"), "{}", text("service"));
    assert!(text("configmap").contains("main.env.PORT: \"5420\""), "{}", text("configmap"));
    assert!(folder.ok("deploy shop -e dev --yes").err.contains("nothing was written"));
    folder.write("platform/bucket/main.tf", &format!("{MODULE}\noutput \"port\" {{ value = \"none\" }}\n"));
    folder.ok("platform apply platform");
    let refused = folder.run("deploy shop -e dev --yes --allow-destroy");
    assert!(refused.code != 0 && refused.err.contains("is no integer, and the type of its resource says that it is"), "{}", refused.err);
}

/// Where nothing is there, nothing can be lost: planned and applied by one process. From then on the saved plan is looked at.
#[test]
fn what_begins_is_one_process() {
    let folder = scene(MODULE);
    let runs = |folder: &Folder| {
        let all = folder.read("runs");
        folder.write("runs", "");
        all.lines().filter(|run| *run != "version").map(str::to_owned).collect::<Vec<_>>()
    };
    folder.ok("deploy shop -e dev --yes");
    assert_eq!(runs(&folder), ["init", "apply"]);
    folder.ok("deploy shop -e dev --yes");
    assert_eq!(runs(&folder), [""; 0], "nothing has changed");
    folder.write("shop/web.score.yaml", &FILES.replace("versioned: true", "versioned: false"));
    let refused = folder.run("deploy shop -e dev --yes");
    assert!(refused.err.contains("would destroy or replace `terraform_data.key`"), "{}", refused.err);
    assert_eq!(runs(&folder), ["plan"]);
    folder.ok("deploy shop -e dev --yes --allow-destroy");
    assert_eq!(runs(&folder), ["plan", "apply"]);
    // What can't be planned is called so, and has changed nothing.
    let wrong = scene(&format!("{MODULE}\nlocals {{ none = [][0] }}\noutput \"none\" {{ value = local.none }}\n"));
    let refused = wrong.run("deploy shop -e dev --yes");
    assert!(refused.code == 1 && refused.err.contains("the module can't be planned: "), "{}", refused.err);
    // What takes over something that exists may replace it: that is looked at from the first time on.
    let import = "\nresource \"random_id\" \"taken\" {\n  byte_length = 8\n}\nimport {\n  to = random_id.taken\n  id = \"p-9hUg\"\n}\n";
    let takes = scene(&format!("{}{MODULE}{import}", PROVIDED.split("variable").next().unwrap()));
    let refused = takes.run("deploy shop -e dev --yes");
    assert!(refused.err.contains("would destroy or replace `random_id.taken`"), "{}", refused.err);
    assert_eq!(runs(&takes), ["init", "plan"]);
}

#[test]
fn a_released_module_leaves_its_state_to_whoever_goes_on() {
    let folder = scene(MODULE);
    folder.write("platform/definition.yaml", &DEFINITION.replace("  type: s3\n", "  type: s3\n  onRemove: retain\n"));
    folder.ok("platform apply platform");
    folder.ok("deploy shop -e dev --yes");
    folder
        .write("shop/web.score.yaml", "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"web:1\" } }\n");
    folder.ok("deploy shop -e dev --yes");
    let released = folder.ok("release s3#web.files -e dev");
    assert!(released.err.contains("its state is now yours: "), "{}", released.err);
    let path = released.err.lines().find_map(|line| line.split_once("now yours: ")).unwrap().1.trim().to_owned();
    let state: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(state["outputs"]["bucket"]["value"], "shop-dev-files");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // Another environment goes on with it: nothing is made again.
    folder.write("shop/web.score.yaml", FILES);
    let adopted = folder.ok(&format!("adopt s3#web.files={path} -e dev --path shop --yes"));
    assert!(!adopted.err.contains("Creating..."), "{}", adopted.err);
}
