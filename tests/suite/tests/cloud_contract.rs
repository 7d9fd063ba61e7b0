//! PostgreSQL, RDS, Route 53, Vault and Secrets Manager pass the contract that every sink of Kubernetes objects passes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use std::time::Duration;

use serde_json::{Value, json};
use windlass_capability_aws::{Accounts, AwsOptions, SecretsManagerExecutor, rds::RdsExecutor, route53::Route53Executor};
use windlass_capability_postgres::PostgresExecutor;
use windlass_capability_vault::VaultExecutor;
use windlass_cluster::SharedServers;
use windlass_engine::session::CapabilityErrorKind;
use windlass_model::platform::{AwsSettings, ConnectionSettings, PostgresSettings, Reference, VaultAuth, VaultSettings};
use windlass_suite::{
    aws::{Account, REGION},
    contract::{Subject, change, check_subject, make},
};

fn run(executor: &dyn windlass_engine::session::Executor, settings: &ConnectionSettings, subject: &Subject<'_>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(check_subject(executor, settings, subject));
}

/// Names that no other run has.
fn named(name: &str) -> String {
    format!("contract-{}-{name}", std::process::id())
}

fn postgres_settings(servers: &SharedServers) -> ConnectionSettings {
    let postgres = PostgresSettings {
        host: "localhost".into(),
        port: Some(servers.postgres_port()),
        user: "manager".into(),
        password: Some(Reference::File(servers.postgres_password().display().to_string())),
        database: None,
        ssl_mode: None,
        insecure: false,
        ssl_root_cert: Some(Reference::File(servers.postgres_authority().display().to_string())),
    };
    ConnectionSettings::Postgres { postgres }
}

#[test]
fn postgres() {
    let servers = SharedServers::find().unwrap();
    let groups = ["one", "two", "three"].map(|group| named(&format!("group-{group}")));
    let quoted = groups.each_ref().map(|group| format!("\"{group}\""));
    let made = quoted.each_ref().map(|group| format!("CREATE ROLE {group}; GRANT {group} TO manager WITH ADMIN OPTION")).join("; ");
    servers.psql("postgres", &made).unwrap();
    let subject = Subject {
        interface: "windlass:postgres/databases",
        identity: Box::new(|name| format!("role/{}", named(name))),
        spec: Box::new(move |name, value| {
            let index: usize = value.parse().unwrap_or(0);
            json!({ "kind": "role", "name": named(name), "memberOf": [groups[index % groups.len()]] })
        }),
        lists: true,
    };
    run(&PostgresExecutor::default(), &postgres_settings(&servers), &subject);
    servers.psql("postgres", &format!("DROP ROLE {}", quoted.join(", "))).unwrap();
}

/// The managing role could hand out the rights of every role that it made: it does so inside of one environment.
#[test]
fn roles_lend_their_rights_to_nobody_elses() {
    let servers = SharedServers::find().unwrap();
    let settings = postgres_settings(&servers);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let [theirs, reader, powerful, plain] = ["theirs", "reader", "powerful", "plain"].map(named);
    servers.psql("postgres", &format!("CREATE ROLE \"{powerful}\" CREATEDB; CREATE ROLE \"{plain}\"; GRANT \"{powerful}\", \"{plain}\" TO manager WITH ADMIN OPTION")).unwrap();
    let make = |installation: &str, spec: &Value| {
        let identity = format!("{}/{}", spec["kind"].as_str().unwrap(), spec["name"].as_str().unwrap());
        runtime.block_on(make(&PostgresExecutor::default(), &settings, installation, &identity, spec))
    };
    let role = |name: &str, of: &[&str]| json!({ "kind": "role", "name": name, "memberOf": of });
    let login = |acts_as: &str| json!({ "kind": "login", "name": named("login"), "actsAs": acts_as, "password": "SCRAM-SHA-256$4096:c2FsdA==$a:b" });
    let database = |owner: &str| json!({ "kind": "database", "name": named("database"), "owner": owner });
    assert!(make("first", &role(&theirs, &[])).iter().all(Result::is_ok));
    for (spec, why) in [
        (role(&reader, &[theirs.as_str()]), "belongs to first"),
        (login(&theirs), "belongs to first"),
        (database(&theirs), "belongs to first"),
        (role(&reader, &[powerful.as_str()]), "reaches beyond the databases of an environment"),
        (login(&powerful), "reaches beyond the databases of an environment"),
        (login("postgres"), "reaches beyond the databases of an environment"),
    ] {
        for said in make("second", &spec) {
            let error = said.err().unwrap_or_else(|| panic!("{spec} was admitted"));
            assert!(error.kind == CapabilityErrorKind::Denied && error.message.contains(why), "{spec}: {error}");
        }
    }
    let left = format!("SELECT count(*) FROM pg_roles WHERE rolname IN ('{reader}', '{}_a')", named("login"));
    assert_eq!(servers.psql("postgres", &left).unwrap(), "0");
    // What nobody's mark is on and can do nothing of its own lends what somebody gave it.
    assert!(make("second", &role(&reader, &[plain.as_str()])).iter().all(Result::is_ok));
    servers.psql("postgres", &format!("DROP ROLE \"{reader}\", \"{theirs}\", \"{powerful}\", \"{plain}\"")).unwrap();
}

/// A membership that leaves a spec is taken back: of a role, and of both roles of a login.
#[test]
fn memberships_follow_their_specs() {
    let servers = SharedServers::find().unwrap();
    let (settings, executor) = (postgres_settings(&servers), PostgresExecutor::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let [one, two, role, login] = ["member-one", "member-two", "member-role", "member-login"].map(named);
    let made = [&one, &two].map(|of| format!("CREATE ROLE \"{of}\"; GRANT \"{of}\" TO manager WITH ADMIN OPTION")).join("; ");
    servers.psql("postgres", &made).unwrap();
    let members = |of: &[&str]| json!({ "kind": "role", "name": role, "memberOf": of });
    runtime.block_on(change(&executor, &settings, &format!("role/{role}"), [&members(&[&one, &two]), &members(&[&two])]));
    let acts = |of: &str| json!({ "kind": "login", "name": login, "actsAs": of, "password": "SCRAM-SHA-256$4096:c2FsdA==$a:b" });
    runtime.block_on(change(&executor, &settings, &format!("login/{login}"), [&acts(&one), &acts(&two)]));
    let held = format!(
        "SELECT string_agg(of.rolname, ' ') FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member JOIN pg_roles of ON of.oid = m.roleid \
          WHERE r.rolname IN ('{role}', '{login}_a')"
    );
    let held = servers.psql("postgres", &held).unwrap();
    assert!(!held.contains(&one), "{held}");
    assert_eq!(held.matches(&two).count(), 2, "{held}");
    servers.psql("postgres", &format!("DROP ROLE \"{role}\", \"{login}_a\", \"{one}\", \"{two}\"")).unwrap();
}

/// What plays AWS takes no minutes, and counts nobody's requests.
const PATIENCE: AwsOptions = AwsOptions { poll: Duration::from_millis(50), pace: Duration::from_millis(1) };

fn aws() -> ConnectionSettings {
    let endpoint = Some(SharedServers::find().unwrap().aws_endpoint());
    ConnectionSettings::Aws {
        aws: AwsSettings { region: REGION.into(), profile: None, assume_role: None, endpoint, zones: None, insecure: true },
    }
}

/// A kind of record set: its type, its set where there are several, and the rest of its spec for a value.
type RecordSet = (&'static str, fn(&str) -> Value);

const RECORD_SETS: [RecordSet; 9] = [
    ("A", |value| json!({ "values": [format!("192.0.2.{value}"), "192.0.2.200"] })),
    ("AAAA", |value| json!({ "values": [format!("2001:db8::{value}")] })),
    ("CNAME", |value| json!({ "values": [format!("target-{value}.example.net")], "ttl": 60 })),
    ("TXT", |value| json!({ "values": [format!("v=spf1 include:\"{value}\"; ü"), "x".repeat(300)] })),
    ("MX", |value| json!({ "values": [format!("{value}0 mx.example.net")] })),
    ("SRV", |value| json!({ "values": [format!("1 {value} 443 host.example.net")] })),
    ("A/blue", |value| json!({ "setIdentifier": "blue", "weight": value.parse::<u8>().unwrap_or(0), "values": ["192.0.2.1"] })),
    ("A/first", |value| json!({ "setIdentifier": "first", "failover": "PRIMARY", "values": [format!("192.0.2.{value}")] })),
    ("A", |value| json!({ "alias": { "zoneId": "Z2FDTNDATAQYW2", "name": format!("d{value}.cloudfront.net") } })),
];

#[test]
fn route53() {
    let account = Account::open(&SharedServers::find().unwrap().aws_endpoint());
    let _zone = account.zone("contract.example.com");
    for (index, (kind, _)) in RECORD_SETS.iter().enumerate() {
        eprintln!("{kind}");
        let name = move |name: &str| format!("{}-{index}.contract.example.com", named(name));
        let subject = Subject {
            interface: "windlass:aws/route53",
            identity: Box::new(move |own| format!("record-set/{}/{kind}", name(own))),
            spec: Box::new(move |own, value| {
                let mut spec = RECORD_SETS[index].1(value);
                spec["kind"] = "record-set".into();
                spec["name"] = name(own).into();
                spec["type"] = kind.split('/').next().into();
                spec
            }),
            lists: true,
        };
        run(&Route53Executor::new(Accounts::default(), PATIENCE), &aws(), &subject);
    }
}

#[test]
fn rds() {
    let account = Account::open(&SharedServers::find().unwrap().aws_endpoint());
    let source = named("source");
    let (client, runtime) = account.rds();
    let made = client.create_db_instance().db_instance_identifier(&source).engine("postgres").db_instance_class("db.m1.large");
    runtime.block_on(made.master_username("app").master_user_password("not-a-secret").allocated_storage(20).send()).unwrap();
    let instance = Subject {
        interface: "windlass:aws/rds",
        identity: Box::new(|name| format!("db-instance/{}", named(name))),
        spec: Box::new(|name, value| {
            json!({
                "kind": "db-instance", "identifier": named(name), "class": format!("db.m{value}.large"), "engine": "postgres",
                "masterUsername": "app", "manageMasterPassword": true, "allocatedStorage": 20,
            })
        }),
        lists: true,
    };
    let replica = Subject {
        interface: "windlass:aws/rds",
        identity: Box::new(|name| format!("db-instance/{}-replica", named(name))),
        spec: Box::new(move |name, value| {
            let identifier = format!("{}-replica", named(name));
            json!({ "kind": "db-instance", "identifier": identifier, "class": format!("db.m{value}.large"), "replicateFrom": source })
        }),
        lists: true,
    };
    let parameters = Subject {
        interface: "windlass:aws/rds",
        identity: Box::new(|name| format!("db-parameter-group/{}", named(name))),
        spec: Box::new(|name, value| {
            json!({
                "kind": "db-parameter-group", "name": named(name), "family": "postgres16", "description": "of the contract",
                "parameters": { "max_connections": format!("{value}00") },
            })
        }),
        lists: true,
    };
    for subject in [instance, replica, parameters] {
        run(&RdsExecutor::new(Accounts::default(), PATIENCE), &aws(), &subject);
    }
}

#[test]
fn a_replica_stands_in_the_environment_of_its_source() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let [source, replica] = ["primary", "secondary"].map(named);
    let make = |installation: &str, spec: &Value| {
        let identity = format!("db-instance/{}", spec["identifier"].as_str().unwrap());
        runtime.block_on(make(&RdsExecutor::new(Accounts::default(), PATIENCE), &aws(), installation, &identity, spec))
    };
    let instance = json!({
        "kind": "db-instance", "identifier": source, "class": "db.m1.large", "engine": "postgres",
        "masterUsername": "app", "manageMasterPassword": true, "allocatedStorage": 20,
    });
    assert!(make("first", &instance).iter().all(Result::is_ok));
    for source in [source.clone(), format!("arn:aws:rds:{REGION}:123456789012:db:{source}")] {
        let copy = json!({ "kind": "db-instance", "identifier": replica, "class": "db.m1.large", "replicateFrom": source });
        for said in make("second", &copy) {
            let error = said.err().unwrap_or_else(|| panic!("{copy} was admitted"));
            assert!(error.kind == CapabilityErrorKind::Denied && error.message.contains("belongs to first"), "{error}");
        }
    }
    let copy = json!({ "kind": "db-instance", "identifier": replica, "class": "db.m1.large", "replicateFrom": source });
    assert!(make("first", &copy).iter().all(Result::is_ok));
    let account = Account::open(&SharedServers::find().unwrap().aws_endpoint());
    let (client, runtime) = account.rds();
    for identifier in [replica, source] {
        runtime.block_on(client.delete_db_instance().db_instance_identifier(identifier).skip_final_snapshot(true).send()).unwrap();
    }
}

#[test]
fn vault() {
    let (address, token) = SharedServers::find().unwrap().vault();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, token).unwrap();
    let auth = VaultAuth::Token(Reference::File(path.display().to_string()));
    let vault = VaultSettings { address, namespace: None, mounts: Vec::new(), ca_cert: None, auth, insecure: true };
    let subject = Subject {
        interface: "windlass:secrets/external",
        identity: Box::new(|name| format!("entry/secret/{}", named(name))),
        spec: Box::new(|name, value| json!({ "kind": "entry", "path": format!("secret/{}", named(name)), "data": { "key": value } })),
        // A KV engine can't be asked for marks.
        lists: false,
    };
    run(&VaultExecutor::default(), &ConnectionSettings::Vault { vault }, &subject);
}

#[test]
fn secrets_manager() {
    let ConnectionSettings::Aws { aws: secrets_manager } = aws() else { return };
    let subject = Subject {
        interface: "windlass:secrets/external",
        identity: Box::new(|name| format!("entry/{}", named(name))),
        spec: Box::new(|name, value| json!({ "kind": "entry", "path": named(name), "data": { "key": value } })),
        lists: true,
    };
    run(&SecretsManagerExecutor::new(Accounts::default()), &ConnectionSettings::SecretsManager { secrets_manager }, &subject);
}
