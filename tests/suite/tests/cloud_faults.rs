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
    binary::Folder,
    cloud::{postgres_connection, postgres_definition, terraform_connection},
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

struct Scene {
    folder: Folder,
    application: String,
    zone: String,
    servers: SharedServers,
}

/// Everything goes to real servers but the manifests, which go to a folder: kills on a cluster have tests of their own.
fn scene(account: &Account, aws: &str, postgres: u16) -> Scene {
    let servers = SharedServers::find().unwrap();
    let application = format!("k{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
    let domain = format!("kills{}.example.net", std::process::id());
    let zone = account.zone(&domain);
    let folder = Folder::new();
    folder.write("app/application.yaml", &application_document(&application));
    folder.write("app/web.score.yaml", SCORE);
    folder.write("platform/platform.yaml", &PLATFORM.replace("DOMAIN", &domain));
    folder.write("platform/bucket/main.tf", MODULE);
    folder.write("platform/terraform.yaml", &terraform_connection(&servers.terraform()));
    folder.write("platform/aws.yaml", &aws_connection(aws));
    folder.write("platform/postgres.yaml", &postgres_connection(&servers, postgres));
    folder.write("platform/database.yaml", &postgres_definition(""));
    folder.ok("platform apply platform");
    Scene { folder, application, zone, servers }
}

impl Scene {
    /// What stands in the real servers by the application's name, the name left out.
    fn inventory(&self, account: &Account) -> Vec<String> {
        let name = self.application.replace('-', "_");
        let like = name.replace('_', "\\_");
        let named = format!(
            "SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE '{like}\\_%' UNION ALL SELECT 'database ' || datname FROM pg_database WHERE datname LIKE '{like}\\_%' ORDER BY 1"
        );
        let mut found: Vec<String> = self.servers.psql("postgres", &named).unwrap().lines().map(str::to_owned).collect();
        found.extend(account.records(&self.zone).into_iter().filter(|record| record.contains(&format!("-{}-", self.application))));
        // Hashes follow from the name, ids from the store: they differ from scene to scene.
        found
            .iter()
            .map(|line| line.split(" TXT ").next().unwrap_or_default().replace(&name, "APP").replace(&self.application, "app"))
            .map(|line| {
                line.split("_web_db")
                    .next()
                    .map_or(line.clone(), |start| format!("{start}_web_db{}", if line.ends_with("_a") { "_a" } else { "" }))
                    .replace("_web_db_web_db", "_web_db")
            })
            .collect()
    }

    /// Everything is there once, nothing is under way, and what the container gets is valid.
    fn settled(&self, account: &Account, expected: &[String], at: &str) {
        assert_eq!(self.inventory(account), expected, "{at}");
        let state: serde_json::Value = serde_json::from_str(&self.folder.ok("env show -e dev -o json").out).unwrap();
        for action in state["actions"].as_array().unwrap() {
            assert_eq!(action["status"], "live", "{at}: {}", action["id"]);
        }
        let again = self.folder.ok("deploy app -e dev --yes");
        assert!(again.err.contains("nothing was written"), "{at}: {}{}", again.out, again.err);
        let name = self.application.replace('-', "_");
        let log = self.servers.postgres_log();
        let made = |what: &str| {
            log.lines()
                .filter(|line| line.contains("statement:") || !line.starts_with('\t'))
                .filter(|line| line.contains(&format!("{what} \"{name}_")))
                .count()
        };
        assert!(made("CREATE ROLE") >= 2, "{at}");
        let url = self
            .folder
            .files(&format!(".windlass/manifests/{}/dev", self.application))
            .into_iter()
            .find(|(path, _)| path.contains("web-secrets"))
            .and_then(|(_, text)| text.split("postgres://").nth(1).map(str::to_owned))
            .unwrap();
        let (credentials, rest) = url.split_once('@').unwrap();
        let (user, password) = credentials.split_once(':').unwrap();
        let database = rest.split('/').nth(1).unwrap().split(['"', '\n']).next().unwrap();
        self.servers.login(user, password, database, "SELECT 1").unwrap_or_else(|error| unreachable!("{at}: {error}"));
    }
}

/// Kills at every point of a command; what comes then must end in the same state.
fn kill_everywhere(name: &str, prepare: &(dyn Fn() -> Scene + Sync), line: &str, then: &str) {
    let account = Account::open(&SharedServers::find().unwrap().aws_endpoint());
    let counted = prepare();
    let file = counted.folder.path().join("points");
    let ran = counted.folder.run_with(line, &[("WINDLASS_COUNT_POINTS", file.to_str().unwrap())]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let total: u64 = counted.folder.read("points").parse().unwrap();
    let expected = counted.inventory(&account);
    assert!(total > 10, "{total} points");
    let next = AtomicU64::new(1);
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                let account = Account::open(&SharedServers::find().unwrap().aws_endpoint());
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    if at > total {
                        return;
                    }
                    let scene = prepare();
                    let ran = scene.folder.run_with(line, &[("WINDLASS_KILL_AT", &at.to_string())]);
                    assert!(ran.code == -1 || (ran.code == 0 && at > total / 2), "{name} killed at {at}: {}", ran.err);
                    if at.is_multiple_of(3) {
                        scene.folder.run_with(then, &[("WINDLASS_KILL_AT", "4")]);
                    }
                    let ran = scene.folder.run(then);
                    assert_eq!(ran.code, 0, "{name} killed at {at}: {}{}", ran.out, ran.err);
                    let at = format!("{name} killed at {at}");
                    if expected.is_empty() {
                        assert_eq!(scene.inventory(&account), Vec::<String>::new(), "{at}");
                    } else {
                        scene.settled(&account, &expected, &at);
                    }
                }
            });
        }
    });
    eprintln!("| {name} | {total} points | {total} times the same end state |");
}

/// A scene without a proxy. The platform is stored once: what a fresh one would be is copied.
fn fresh() -> Scene {
    static STORED: OnceLock<Scene> = OnceLock::new();
    let stored = STORED.get_or_init(|| {
        let servers = SharedServers::find().unwrap();
        let endpoint = servers.aws_endpoint();
        scene(&Account::open(&endpoint), &endpoint, servers.postgres_port())
    });
    let application = format!("k{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
    let folder = Folder::new();
    folder.copy_from(stored.folder.path());
    folder.write("app/application.yaml", &application_document(&application));
    Scene { folder, application, zone: stored.zone.clone(), servers: stored.servers.clone() }
}

fn application_document(name: &str) -> String {
    format!("apiVersion: windlass.dev/v1alpha1\nkind: Application\nmetadata: {{ name: {name} }}\nspec: {{}}\n")
}

fn deployed() -> Scene {
    let scene = fresh();
    scene.folder.ok(DEPLOY);
    scene
}

#[test]
fn killed_in_the_first_deployment() {
    kill_everywhere("first deployment", &fresh, DEPLOY, DEPLOY);
}

#[test]
fn killed_while_everything_is_taken_away() {
    kill_everywhere("destroy", &deployed, "destroy -e dev --yes", "destroy -e dev --yes");
}

#[test]
fn killed_in_a_rotation_nobody_is_locked_out_and_one_form_is_left() {
    let counted = deployed();
    let file = counted.folder.path().join("points");
    counted.folder.run_with("rotate postgres#web.db -e dev --yes", &[("WINDLASS_COUNT_POINTS", file.to_str().unwrap())]);
    let total: u64 = counted.folder.read("points").parse().unwrap();
    let next = AtomicU64::new(1);
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                let account = Account::open(&SharedServers::find().unwrap().aws_endpoint());
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    if at > total {
                        return;
                    }
                    rotated(&account, at);
                }
            });
        }
    });
    eprintln!("| rotation | {total} points | {total} times one valid form |");
}

/// Kills a rotation at a point, and deploys.
fn rotated(account: &Account, at: u64) {
    let scene = deployed();
    scene.folder.run_with("rotate postgres#web.db -e dev --yes", &[("WINDLASS_KILL_AT", &at.to_string())]);
    let ran = scene.folder.run("deploy app -e dev --yes");
    assert_eq!(ran.code, 0, "killed at {at}: {}", ran.err);
    let expected = scene.inventory(account);
    scene.settled(account, &expected, &format!("rotation killed at {at}"));
    let name = scene.application.replace('-', "_");
    let login = format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE '{name}\\_%' AND rolcanlogin");
    assert_eq!(scene.servers.psql("postgres", &login).unwrap(), "1", "killed at {at}: one form is left");
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
            let mut ran = scene.folder.run(DEPLOY);
            if ran.code != 0 {
                ran = scene.folder.run(DEPLOY);
            }
            let at = format!("{call}: {told:?}");
            assert_eq!(ran.code, 0, "{at}: {}", ran.err);
            assert!(proxy.calls().iter().any(|name| name == call), "{at}: never asked");
            scene.settled(&account, &expected, &at);
        }
        let proxy =
            AwsProxy::start(
                &endpoint,
                move |name, _| if name == call { Verdict::Refuse(403, "AccessDenied", "not for you") } else { Verdict::Pass },
            );
        let scene = scene(&account, &proxy.endpoint(), SharedServers::find().unwrap().postgres_port());
        let denied = scene.folder.run(DEPLOY);
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
        let ran = scene.folder.run(DEPLOY);
        assert_eq!(ran.code, 0, "cut after {after} bytes: {}", ran.err);
        scene.settled(&account, &expected, &format!("cut after {after} bytes"));
    }
}

#[test]
fn a_program_that_is_killed_leaves_no_lock_and_its_state_is_recovered() {
    let scene = fresh();
    let program = scene.folder.path().join("program");
    // The first apply is killed by somebody while a resource is being made.
    scene.folder.write("program", &"#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin\nhere=$(dirname \"$0\")\nif [ \"$1\" = apply ] && [ ! -e \"$here/killed\" ]; then\n  touch \"$here/killed\"\n  terraform \"$@\" & child=$!\n  sleep 1\n  kill -KILL $child\n  wait $child\n  exit 137\nfi\nexec terraform \"$@\"\n".replace("terraform \"$@\"", &format!("{} \"$@\"", scene.servers.terraform())));
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let slow =
        MODULE.replace("  input = var.name\n", "  input = var.name\n  provisioner \"local-exec\" {\n    command = \"sleep 3\"\n  }\n");
    scene.folder.write("platform/bucket/main.tf", &slow);
    let platform = scene.folder.read("platform/platform.yaml");
    scene.folder.write(
        "platform/platform.yaml",
        &platform.replace("{ import: windlass:terraform/modules }", "{ import: windlass:terraform/modules, allow: [execute] }"),
    );
    scene.folder.write("platform/terraform.yaml", &terraform_connection(&program.display().to_string()));
    scene.folder.ok("platform apply platform");
    let failed = scene.folder.run(DEPLOY);
    assert!(failed.code == 1 && failed.err.contains("can't be applied"), "{}", failed.err);
    // The other branches went on.
    assert!(failed.err.contains("everything else is done"), "{}", failed.err);
    let again = scene.folder.ok(DEPLOY);
    assert!(again.err.contains("cut off while these were being made, they may exist: terraform_data.files"), "{}", again.err);
    scene.folder.ok("destroy -e dev --yes");
}
