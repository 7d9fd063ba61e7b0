//! Kills and faults with PostgreSQL, Route 53, RDS, Terraform and Vault behind the same seams: the end state is always the same,
//! nothing is made twice, no lock is left, nobody is asked anything.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use windlass_cluster::SharedServers;
use windlass_suite::{
    aws::{Account, AwsProxy, Verdict, aws_connection},
    cloud::{postgres_connection, postgres_definition, secret, terraform_connection},
    cluster,
    kills::Kills,
};

const SCORE: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers:
  main:
    image: web:1
    variables:
      DATABASE_URL: \"postgres://${resources.db.username}:${resources.db.password}@${resources.db.host}:${resources.db.port}/${resources.db.name}\"
      BUCKET: ${resources.files.bucket}
      KEY: ${resources.files.secret_key}
      URL: ${resources.name.url}
resources:
  db: { type: postgres }
  files: { type: s3 }
  name: { type: dns }
";

const MODULE: &str = "variable \"name\" {}\nresource \"terraform_data\" \"files\" {\n  input = var.name\n}\noutput \"bucket\" {\n  value = terraform_data.files.output\n}\noutput \"key\" {\n  value     = terraform_data.files.id\n  sensitive = true\n}\n";

const PLATFORM: &str = "
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: files }
spec:
  type: s3
  driver: { builtin: terraform-module }
  inputs:
    module: { $folder: ./bucket }
    variables: { name: \"${context.application}\" }
    outputs: { bucket: { output: bucket }, secret_key: { output: key, sensitive: true } }
  grants: [{ import: windlass:terraform/modules }]
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: name }
spec:
  type: dns
  driver: { builtin: dns-route53 }
  inputs: { domain: DOMAIN, target: 192.0.2.9 }
  grants: [{ import: windlass:aws/route53 }]
";

const DEPLOY: &str = "deploy app -e dev --create-env development --yes";

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The application, and all that it needs, on real servers.
struct Scene {
    cluster: cluster::Scene,
    zone: String,
    servers: SharedServers,
}

fn name() -> String {
    format!("k{}", NUMBER.fetch_add(1, Ordering::SeqCst))
}

fn scene(account: &Account, aws: &str, postgres: u16) -> Scene {
    let servers = SharedServers::find().unwrap();
    let domain = format!("kills{}.example.net", std::process::id());
    let zone = account.zone(&domain);
    let cluster = cluster::Scene::new(&name());
    let folder = &cluster.folder;
    folder.write("app/web.score.yaml", SCORE);
    folder.write("platform/platform.yaml", &PLATFORM.replace("DOMAIN", &domain));
    folder.write("platform/bucket/main.tf", MODULE);
    folder.write("platform/terraform.yaml", &terraform_connection(&servers.terraform()));
    folder.write("platform/aws.yaml", &aws_connection(aws));
    folder.write("platform/postgres.yaml", &postgres_connection(&servers, postgres));
    folder.write("platform/database.yaml", &postgres_definition(""));
    folder.ok("platform apply platform");
    Scene { cluster, zone, servers }
}

impl Scene {
    /// What stands in the real servers by the application's name, the name left out.
    fn inventory(&self, account: &Account) -> Vec<String> {
        let application = &self.cluster.application;
        let name = application.replace('-', "_");
        let like = name.replace('_', "\\_");
        let named = format!(
            "SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE '{like}\\_%' UNION ALL SELECT 'database ' || datname FROM pg_database WHERE datname LIKE '{like}\\_%' ORDER BY 1"
        );
        let mut found: Vec<String> = self.servers.psql("postgres", &named).unwrap().lines().map(str::to_owned).collect();
        found.extend(account.records(&self.zone).into_iter().filter(|record| record.contains(&format!("-{application}-"))));
        // Hashes follow from the name, ids from the store: they differ from scene to scene.
        found
            .iter()
            .map(|line| line.split(" TXT ").next().unwrap_or_default().replace(&name, "APP").replace(application, "app"))
            .map(|line| {
                line.split("_web_db")
                    .next()
                    .map_or(line.clone(), |start| format!("{start}_web_db{}", if line.ends_with("_a") { "_a" } else { "" }))
                    .replace("_web_db_web_db", "_web_db")
            })
            .chain(self.cluster.objects())
            .collect()
    }

    /// Everything was made once, nothing is under way, and what the container gets is valid.
    fn settled(&self, at: &str) {
        let folder = &self.cluster.folder;
        let state: serde_json::Value = serde_json::from_str(&folder.ok("env show -e dev -o json").out).unwrap();
        for action in state["actions"].as_array().unwrap() {
            assert_eq!(action["status"], "live", "{at}: {}", action["id"]);
        }
        let again = folder.ok("deploy app -e dev --yes");
        assert!(again.err.contains("nothing was written"), "{at}: {}{}", again.out, again.err);
        let name = self.cluster.application.replace('-', "_");
        let log = self.servers.postgres_log();
        let made = |what: &str| {
            log.lines()
                .filter(|line| line.contains("statement:") || !line.starts_with('\t'))
                .filter(|line| line.contains(&format!("{what} \"{name}_")))
                .count()
        };
        assert!(made("CREATE ROLE") >= 2, "{at}");
        for (object, times) in self.cluster.made() {
            assert_eq!(times, 1, "{at}: {object} was made {times} times");
        }
        let url = secret(&self.cluster, "web-secrets", "main.env.DATABASE_URL");
        let (credentials, rest) = url.strip_prefix("postgres://").unwrap().split_once('@').unwrap();
        let (user, password) = credentials.split_once(':').unwrap();
        let database = rest.rsplit('/').next().unwrap();
        self.servers.login(user, password, database, "SELECT 1").unwrap_or_else(|error| unreachable!("{at}: {error}"));
        // Its pods make the cluster slower for the scenes that come.
        self.cluster.kubectl(&["delete", "namespace", &self.cluster.namespace, "--wait=false"]).unwrap();
    }

    fn settled_as(&self, account: &Account, expected: &[String], at: &str) {
        assert_eq!(self.inventory(account), expected, "{at}");
        self.settled(at);
    }
}

fn account() -> Account {
    Account::open(&SharedServers::find().unwrap().aws_endpoint())
}

/// A scene without a proxy. The platform is stored once: what a fresh one would be is copied.
fn fresh() -> Scene {
    static STORED: OnceLock<Scene> = OnceLock::new();
    let stored = STORED.get_or_init(|| {
        let servers = SharedServers::find().unwrap();
        let endpoint = servers.aws_endpoint();
        scene(&Account::open(&endpoint), &endpoint, servers.postgres_port())
    });
    Scene { cluster: stored.cluster.copy(&name()), zone: stored.zone.clone(), servers: stored.servers.clone() }
}

fn deployed() -> Scene {
    let scene = fresh();
    scene.cluster.folder.ok(DEPLOY);
    scene
}

/// Deployed with its manifests in a folder: a namespace takes seconds to go, and kills of that have a test of their own.
fn deployed_in_a_folder() -> Scene {
    let scene = fresh();
    let folder = &scene.cluster.folder;
    std::fs::remove_file(folder.path().join("platform/connection.yaml")).unwrap();
    folder.ok("platform apply platform");
    folder.ok(DEPLOY);
    scene
}

const KILLS: Kills<'_> = Kills { name: "first deployment", line: DEPLOY, then: DEPLOY, waits: true, side_by_side: 3 };

#[test]
fn killed_in_the_first_deployment() {
    KILLS.everywhere(fresh, |scene| &scene.cluster.folder, |scene| scene.inventory(&account()), Scene::settled);
}

#[test]
fn killed_while_everything_is_taken_away() {
    let kills = Kills { name: "destroy", line: "destroy -e dev --yes", then: "destroy -e dev --yes", ..KILLS };
    let nothing = |scene: &Scene, at: &str| assert_eq!(scene.inventory(&account()), Vec::<String>::new(), "{at}");
    kills.everywhere(deployed_in_a_folder, |scene| &scene.cluster.folder, |scene| scene.inventory(&account()), nothing);
}

#[test]
fn killed_in_a_rotation_nobody_is_locked_out_and_one_form_is_left() {
    let kills = Kills { name: "rotation", line: "rotate postgres#web.db -e dev --yes", then: "deploy app -e dev --yes", ..KILLS };
    // Which of the two forms is left depends on where it was killed.
    let forms = |scene: &Scene| {
        let name = scene.cluster.application.replace('-', "_");
        let login = format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE '{name}\\_%' AND rolcanlogin");
        scene.servers.psql("postgres", &login).unwrap()
    };
    let one_is_left = |scene: &Scene, at: &str| {
        assert_eq!(forms(scene), "1", "{at}: one form is left");
        scene.settled(at);
    };
    kills.everywhere(deployed, |scene| &scene.cluster.folder, forms, one_is_left);
}

#[test]
fn what_the_cloud_does_changes_nothing() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let account = Account::open(&endpoint);
    let undisturbed = deployed();
    let expected = undisturbed.inventory(&account);
    for call in ["ListHostedZones", "ListResourceRecordSets", "ChangeResourceRecordSets", "GetChange"] {
        for verdict in
            [Verdict::Lose, Verdict::Refuse(503, "ServiceUnavailable", "busy"), Verdict::Refuse(400, "Throttling", "rate exceeded")]
        {
            let told = verdict.clone();
            let proxy =
                AwsProxy::start(&endpoint, move |name, before| if name == call && before == 0 { verdict.clone() } else { Verdict::Pass });
            let scene = scene(&account, &proxy.endpoint(), SharedServers::find().unwrap().postgres_port());
            let mut ran = scene.cluster.folder.run(DEPLOY);
            if ran.code != 0 {
                ran = scene.cluster.folder.run(DEPLOY);
            }
            let at = format!("{call}: {told:?}");
            assert_eq!(ran.code, 0, "{at}: {}", ran.err);
            assert!(proxy.calls().iter().any(|name| name == call), "{at}: never asked");
            scene.settled_as(&account, &expected, &at);
        }
        let proxy =
            AwsProxy::start(
                &endpoint,
                move |name, _| if name == call { Verdict::Refuse(403, "AccessDenied", "not for you") } else { Verdict::Pass },
            );
        let scene = scene(&account, &proxy.endpoint(), SharedServers::find().unwrap().postgres_port());
        let denied = scene.cluster.folder.run(DEPLOY);
        assert!(
            denied.code == 1 && denied.err.contains("not for you") && denied.err.contains("lack a permission"),
            "{call}: {}",
            denied.err
        );
    }
}

/// Ends a connection after so many bytes of the client's, once.
fn cutter(upstream: u16, after: i64) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let left = Arc::new(AtomicI64::new(after));
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else { return };
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let left = Arc::clone(&left);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = from_client.read(&mut buffer) {
                    let before = left.fetch_sub(i64::try_from(read).unwrap_or(0), Ordering::SeqCst);
                    let is_now = before > 0 && before <= i64::try_from(read).unwrap_or(0);
                    if to_server.write_all(&buffer[..read]).is_err() || is_now {
                        break;
                    }
                }
                let _ = to_server.shutdown(std::net::Shutdown::Both);
                let _ = from_client.shutdown(std::net::Shutdown::Both);
            });
            let (mut from_server, mut to_client) = (server, client);
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_server, &mut to_client);
            });
        }
    });
    port
}

#[test]
fn a_database_connection_that_is_cut_anywhere_changes_nothing() {
    let servers = SharedServers::find().unwrap();
    let endpoint = servers.aws_endpoint();
    let account = Account::open(&endpoint);
    let expected = deployed().inventory(&account);
    for after in [600, 1500, 2500, 3500, 4500, 5500, 7000, 9000] {
        let scene = scene(&account, &endpoint, cutter(servers.postgres_port(), after));
        let ran = scene.cluster.folder.run(DEPLOY);
        assert_eq!(ran.code, 0, "cut after {after} bytes: {}", ran.err);
        scene.settled_as(&account, &expected, &format!("cut after {after} bytes"));
    }
}

#[test]
fn a_program_that_is_killed_leaves_no_lock_and_its_state_is_recovered() {
    let scene = fresh();
    let folder = &scene.cluster.folder;
    let program = folder.path().join("program");
    // The first apply is killed by somebody while a resource is being made.
    folder.write("program", &"#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin\nhere=$(dirname \"$0\")\nif [ \"$1\" = apply ] && [ ! -e \"$here/killed\" ]; then\n  touch \"$here/killed\"\n  terraform \"$@\" & child=$!\n  sleep 1\n  kill -KILL $child\n  wait $child\n  exit 137\nfi\nexec terraform \"$@\"\n".replace("terraform \"$@\"", &format!("{} \"$@\"", scene.servers.terraform())));
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let slow =
        MODULE.replace("  input = var.name\n", "  input = var.name\n  provisioner \"local-exec\" {\n    command = \"sleep 3\"\n  }\n");
    folder.write("platform/bucket/main.tf", &slow);
    let platform = folder.read("platform/platform.yaml");
    folder.write(
        "platform/platform.yaml",
        &platform.replace("{ import: windlass:terraform/modules }", "{ import: windlass:terraform/modules, allow: [execute] }"),
    );
    folder.write("platform/terraform.yaml", &terraform_connection(&program.display().to_string()));
    folder.ok("platform apply platform");
    let failed = folder.run(DEPLOY);
    assert!(failed.code == 1 && failed.err.contains("can't be applied"), "{}", failed.err);
    // The other branches went on.
    assert!(failed.err.contains("everything else is done"), "{}", failed.err);
    let again = folder.ok(DEPLOY);
    assert!(again.err.contains("cut off while these were being made, they may exist: terraform_data.files"), "{}", again.err);
    folder.ok("destroy -e dev --yes");
}
