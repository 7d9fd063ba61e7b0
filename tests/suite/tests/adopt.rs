//! What exists already becomes part of an environment without being made again: objects, an instance, a module's state.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use std::process::Command;

use windlass_cluster::{Shared, SharedServers};
use windlass_suite::{
    aws::{Account, AwsProxy, Verdict, aws_connection},
    binary::{Folder, application_document, root, without_progress},
    cloud::{postgres_connection, postgres_definition, terraform_connection},
    cluster::{Scene, by_kubeconfig, cluster_connection},
};

const WEB: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers:
  main: { image: \"web:2\" }
";

/// What somebody runs: the same Deployment by another hand, with another image and replicas of their own.
const THEIRS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: NAMESPACE }
spec:
  replicas: 2
  selector: { matchLabels: SELECTOR }
  template:
    metadata: { labels: SELECTOR }
    spec:
      securityContext: { runAsNonRoot: true, runAsUser: 1, seccompProfile: { type: RuntimeDefault } }
      containers: [{ name: main, image: \"web:1\", securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } } }]
";

/// A Deployment of somebody's in a namespace, with the selector that a planned one has: it can't be changed.
fn theirs(folder: &Folder, plan: &str, namespace: &str) {
    let plan: serde_json::Value = serde_json::from_str(&folder.ok(plan).out).unwrap();
    let nodes = plan["stages"][0]["nodes"].as_array().unwrap();
    let planned = nodes.iter().find(|node| node["key"] == "workload/web").unwrap()["actions"][0]["spec"].clone();
    let theirs = THEIRS.replace("NAMESPACE", namespace).replace("SELECTOR", &planned["spec"]["selector"]["matchLabels"].to_string());
    let shared = Shared::find().unwrap();
    shared.kubectl(&["create", "namespace", namespace], None).unwrap();
    shared.kubectl(&["create", "-f", "-"], Some(&theirs)).unwrap();
}

#[test]
fn a_whole_namespace_is_taken_over_without_an_outage() {
    let scene = Scene::new("adopt");
    scene.folder.write("app/web.score.yaml", WEB);
    theirs(&scene.folder, "plan app -e dev --create-env development -o json", &scene.namespace);
    let before = scene.get("deployment/web")["metadata"]["uid"].clone();

    let refused = scene.folder.run("deploy app -e dev --create-env development --yes");
    assert_eq!(refused.code, 1, "{}", refused.err);
    let unknown = scene.folder.run("adopt web=api -e dev --path app --create-env development --yes");
    assert_eq!(unknown.code, 64, "{}", unknown.err);
    let unknown = scene.folder.run("adopt workload/web=api -e dev --path app --yes");
    assert_eq!(unknown.code, 65, "{}", unknown.err);
    assert!(unknown.err.contains("`workload/web` makes nothing that is called `api`, but `apps/Deployment/"), "{}", unknown.err);

    let line = format!("adopt k8s-namespace#default={} workload/web=web -e dev --path app --yes", scene.namespace);
    let adopted = scene.folder.ok(&line);
    let told = without_progress(&adopted, &[(&scene.namespace, "NAMESPACE"), (&scene.application, "APP")]);
    // Marks name this installation.
    let told: Vec<&str> =
        told.lines().filter(|line| !line.contains("windlass.dev~1mark") && !line.contains("windlass.dev~1owner")).collect();
    insta::assert_snapshot!("adopted", told.join("\n"));
    let live = scene.get("deployment/web");
    assert_eq!(live["metadata"]["uid"], before, "it was not made again");
    assert_eq!(live["spec"]["replicas"], 2, "what we say nothing of stays theirs");
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "web:2");
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0);
    let again = scene.folder.run(&line);
    assert!(again.err.contains("is ours already"), "{}", again.err);
    scene.folder.ok("destroy -e dev --yes");
    assert!(scene.kubectl(&["get", "namespace", &scene.namespace]).is_err(), "it is ours: it goes");
}

#[test]
fn everything_that_is_there_is_taken_over_at_once() {
    let scene = Scene::new("adoptall");
    scene.folder.write("app/web.score.yaml", WEB);
    let nothing = scene.folder.ok("adopt --all -e dev --path app --create-env development --yes");
    assert!(nothing.err.contains("Nothing of what the plan would make exists already"), "{}", nothing.err);
    scene.folder.ok("destroy -e dev --yes");
    scene.wait_for_gone();
    scene.kubectl(&["create", "namespace", &scene.namespace]).unwrap();
    // Two at once take turns: one takes it over, the other finds that it is ours.
    let told: Vec<String> = std::thread::scope(|jobs| {
        let jobs: Vec<_> = (0..2).map(|_| jobs.spawn(|| scene.folder.ok("adopt --all -e dev --path app --yes").err)).collect();
        jobs.into_iter().map(|job| job.join().unwrap()).collect()
    });
    assert!(told.iter().any(|told| told.contains(&format!("Taking over Namespace/{}", scene.namespace))), "{told:?}");
    scene.folder.ok("destroy -e dev --yes");
}

const STORED: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers:
  main: { image: \"web:1\", variables: { HOST: \"${resources.db.host}\" } }
resources:
  db: { type: postgres }
";

const INSTANCE: &str = "
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: instance }
spec:
  type: postgres
  driver: { builtin: postgres-rds }
  inputs: { class: db.t4g.micro, version: \"17.4\", identifier: IDENTIFIER, username: theirs }
  grants:
    - { import: windlass:aws/rds }
    - { import: windlass:secrets/generated }
";

fn their_instance(account: &Account, identifier: &str) {
    let (client, runtime) = account.rds();
    let made = client
        .create_db_instance()
        .db_instance_identifier(identifier)
        .db_instance_class("db.t4g.small")
        .engine("postgres")
        .engine_version("17.4")
        .allocated_storage(20)
        .db_name("app")
        .storage_encrypted(true)
        .storage_type("gp3")
        .master_username("theirs")
        .master_user_password("theirs-and-long-enough");
    runtime.block_on(made.send()).unwrap();
}

#[test]
fn an_instance_is_taken_over_and_not_made_again() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let proxy = AwsProxy::start(&endpoint, |_, _| Verdict::Pass);
    let account = Account::open(&endpoint);
    let folder = Folder::new();
    let application = format!("adopt{}", std::process::id());
    folder.write("app/application.yaml", &application_document(&application));
    folder.write("app/web.score.yaml", STORED);
    folder.write("platform/aws.yaml", &aws_connection(&proxy.endpoint()));
    let identifier = format!("theirs-{}", std::process::id());
    folder.write("platform/instance.yaml", &INSTANCE.replace("IDENTIFIER", &identifier));
    folder.ok("platform apply platform");
    their_instance(&account, &identifier);
    let refused = folder.run("deploy app -e dev --create-env development --yes");
    assert!(refused.err.contains("Windlass did not make it"), "{}", refused.err);
    let adopted = folder.run(&format!("adopt postgres#web.db={identifier} -e dev --path app --create-env development --yes"));
    assert_eq!(adopted.code, 0, "{}{}", adopted.out, adopted.err);
    assert!(adopted.err.contains("\"db.t4g.small\" → \"db.t4g.micro\""), "{}", adopted.err);
    assert_eq!(proxy.changes().iter().filter(|call| call.contains("CreateDBInstance")).count(), 0, "{:?}", proxy.changes());
    assert_eq!(account.instance(&identifier).unwrap().db_instance_class(), Some("db.t4g.micro"));
    folder.ok("destroy -e dev --yes --allow-destroy");
}

const MODULE: &str = "
variable \"name\" { type = string }
resource \"terraform_data\" \"bucket\" { input = var.name }
output \"bucket\" { value = terraform_data.bucket.output }
";

const BUCKET: &str = "
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: bucket }
spec:
  type: s3
  driver: { builtin: terraform-module }
  inputs:
    module: { $git: { repository: \"file://REPOSITORY\", ref: v1, path: modules/bucket } }
    variables: { name: files }
    outputs: { bucket: { output: bucket } }
  grants: [{ import: windlass:terraform/modules }]
";

const FILES: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers:
  main: { image: \"web:1\", variables: { BUCKET: \"${resources.files.bucket}\" } }
resources:
  files: { type: s3 }
";

/// Applies the module by hand in a folder.
fn their_state(folder: &Folder, at: &str) {
    folder.write(&format!("{at}/main.tf"), MODULE);
    for arguments in [vec!["init", "-input=false"], vec!["apply", "-auto-approve", "-input=false", "-var=name=files"]] {
        let mut command = Command::new(SharedServers::find().unwrap().terraform());
        let run = command.current_dir(folder.path().join(at)).args(arguments).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }
}

#[test]
fn a_module_from_a_repository_goes_on_with_the_state_that_somebody_has() {
    let folder = Folder::new();
    let terraform = SharedServers::find().unwrap().terraform();
    // The module stands in a repository, under a tag.
    folder.write("repository/modules/bucket/main.tf", MODULE);
    let git = |arguments: &[&str]| folder.git("repository", arguments);
    git(&["init", "--quiet", "."]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "one"]);
    git(&["tag", "v1"]);
    their_state(&folder, "theirs");
    let theirs: serde_json::Value = serde_json::from_str(&folder.read("theirs/terraform.tfstate")).unwrap();

    folder.write("app/web.score.yaml", FILES);
    folder.write("platform/terraform.yaml", &terraform_connection(&terraform));
    folder.write("platform/bucket.yaml", &BUCKET.replace("REPOSITORY", &folder.path().join("repository").display().to_string()));
    let applied = folder.ok("platform apply platform");
    assert!(applied.err.contains("at v1 is commit "), "what a tag was is told: {}", applied.err);
    folder.write("broken.tfstate", "{}");
    let refused = folder.run("adopt s3#web.files=broken.tfstate -e dev --path app --create-env development --yes");
    assert!(refused.err.contains("this is no state"), "{}", refused.err);
    let preview = folder.ok("plan app -e dev --create-env development --preview");
    assert!(preview.err.contains("terraform_data.bucket: Plan to create"), "{}", preview.err);
    let adopted = folder.ok("adopt s3#web.files=theirs/terraform.tfstate -e dev --path app --create-env development --yes");
    assert!(!adopted.err.contains("Creating..."), "nothing is made: {}", adopted.err);
    let state: serde_json::Value = serde_json::from_str(&folder.ok("env show -e dev -o json").out).unwrap();
    let module =
        state["actions"].as_array().unwrap().iter().find(|action| action["id"].as_str().unwrap().contains("module/")).unwrap().clone();
    assert_eq!(module["handle"]["lineage"], theirs["lineage"], "{module}");
    assert!(folder.ok("deploy app -e dev --yes").err.contains("nothing was written"));
    // The tag moves: nothing changes before the platform is applied again.
    folder.write("repository/modules/bucket/main.tf", &MODULE.replace("input = var.name", "input = \"${var.name}-2\""));
    git(&["commit", "--quiet", "-am", "two"]);
    git(&["tag", "--force", "v1"]);
    assert_eq!(folder.run("plan app -e dev --detailed-exitcode").code, 0);
    folder.ok("platform apply platform");
    let preview = folder.ok("plan app -e dev --preview");
    assert!(preview.err.contains("terraform_data.bucket: Plan to update"), "{}", preview.err);
    folder.ok("deploy app -e dev --yes");
    folder.ok("destroy -e dev --yes");
}

/// Two workloads, by what they are said to need.
fn shop(folder: &Folder, variables: &str, resources: &str) {
    folder.write("shop/web.score.yaml", WEB);
    let score = "apiVersion: score.dev/v1b1\nmetadata: { name: api }\ncontainers: { main: { image: \"api:1\", variables: { VARIABLES } } }\nresources: { RESOURCES }\n";
    folder.write("shop/api.score.yaml", &score.replace("VARIABLES", variables).replace("RESOURCES", resources));
}

#[test]
fn the_commands_of_the_readme() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme.split("```sh cloud\n").skip(1).map(|block| block.split("```").next().unwrap());
    let mut lines: Vec<&str> = blocks.flat_map(str::lines).map(|line| line.strip_prefix("windlass ").unwrap()).collect();
    let mut of_readme = |start: &str| {
        let at = lines.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| unreachable!("no `{start}` in {lines:?}"));
        lines.remove(at)
    };
    let servers = SharedServers::find().unwrap();
    let account = Account::open(&servers.aws_endpoint());
    let folder = Folder::new();
    folder.write("platform/cluster.yaml", &cluster_connection(&by_kubeconfig(&Shared::find().unwrap())));
    folder.write("platform/aws.yaml", &aws_connection(&servers.aws_endpoint()));
    folder.write("platform/postgres.yaml", &postgres_connection(&servers, servers.postgres_port()));
    folder.write("platform/terraform.yaml", &terraform_connection(&servers.terraform()));
    let only = |definition: &str, more: &str| definition.replace("  type: postgres\n", &format!("  type: postgres\n  {more}\n"));
    let instance = INSTANCE.replace("IDENTIFIER", "shop-orders");
    folder.write("platform/instance.yaml", &only(&instance, "match: [{ environmentType: production }]"));
    let retained = only(&postgres_definition(""), "onRemove: retain\n  match: [{ environmentType: development }]");
    folder.write("platform/database.yaml", &retained);
    folder.write(
        "platform/bucket.yaml",
        &BUCKET.replace("$git: { repository: \"file://REPOSITORY\", ref: v1, path: modules/bucket }", "$folder: ./bucket"),
    );
    folder.write("platform/bucket/main.tf", MODULE);
    folder.ok("platform apply platform");

    // What exists, one after the other.
    shop(&folder, "", "");
    theirs(&folder, "plan shop -e prod --create-env production -o json", "shop-prod");
    folder.ok("env create prod --type production --app shop");
    let adopt = |line: &str| folder.ok(&format!("{line} --yes")).err;
    assert!(adopt(of_readme("adopt k8s-namespace")).contains("Taking over apps/Deployment/shop-prod/web"));
    shop(&folder, "HOST: \"${resources.db.host}\"", "db: { type: postgres }");
    their_instance(&account, "shop-orders");
    assert!(adopt(of_readme("adopt postgres")).contains("shop-orders"));
    shop(&folder, "HOST: \"${resources.db.host}\", BUCKET: \"${resources.files.bucket}\"", "db: { type: postgres }, files: { type: s3 }");
    their_state(&folder, ".");
    assert!(!adopt(of_readme("adopt s3")).contains("Creating..."));
    assert!(adopt(of_readme("adopt --all")).contains("Nothing of what the plan would make exists already"));

    // New credentials, and a database that outlives its resource.
    folder.ok("deploy shop -e development --create-env development --yes");
    let rotated = folder.ok(of_readme("rotate"));
    assert!(rotated.err.contains("New credentials for `postgres"), "{}", rotated.err);
    let deletable = folder.run(of_readme("deletable"));
    assert!(deletable.out.contains("database/shop_development_api_db"), "{}{}", deletable.out, deletable.err);
    shop(&folder, "", "");
    folder.ok("deploy shop -e development --yes");
    folder.ok(of_readme("release"));
    let marked =
        "SELECT count(*) FROM pg_database d WHERE datname = 'shop_development_api_db' AND shobj_description(d.oid, 'pg_database') IS NULL";
    assert_eq!(servers.psql("postgres", marked).unwrap(), "1", "it is there, and nobody's");
    servers.script("postgres", "DROP DATABASE shop_development_api_db;\nDROP ROLE IF EXISTS shop_development_api_db_a, shop_development_api_db_b;\nDROP ROLE shop_development_api_db;\n").unwrap();
    folder.ok("destroy -e development --yes");
    let gone = folder.ok("destroy -e prod --yes --allow-destroy");
    assert!(gone.out.contains("retain   db-instance/shop-orders (holds data)"), "{}{}", gone.out, gone.err);
    let (client, runtime) = account.rds();
    runtime.block_on(client.delete_db_instance().db_instance_identifier("shop-orders").skip_final_snapshot(true).send()).unwrap();
    assert!(lines.is_empty(), "not run: {lines:?}");
}
