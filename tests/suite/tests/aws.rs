//! Route 53 and RDS as moto plays them, with a proxy for what moto can't play.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use windlass_cluster::SharedServers;
use windlass_suite::{
    aws::{Account, AwsProxy, Verdict, aws_connection},
    aws_scene::{NAMED, STORED, dns, rds, scene},
    binary::{Folder, application_document},
    cloud::secret,
};

#[test]
fn a_record_is_made_owned_changed_and_removed() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let proxy = AwsProxy::start(&endpoint, |_, _| Verdict::Pass);
    let account = Account::open(&endpoint);
    let domain = format!("record{}.example.com", std::process::id());
    let zone = account.zone(&domain);
    let _shorter = account.zone(domain.split_once('.').unwrap().1);
    let scene = scene("r53", &proxy.endpoint(), NAMED, &dns(&domain, "192.0.2.7"));
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let name = format!("web-dns-{}-dev.{domain}", scene.application);
    let records = account.records(&zone);
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(records.contains(&format!("{name} A 192.0.2.7")), "{records:?}");
    assert!(records.iter().any(|record| record.starts_with(&format!("a-{name} TXT \"heritage=windlass,windlass/owner="))), "{records:?}");
    // Once more: no call that changes something.
    let before = proxy.changes().len();
    assert!(scene.folder.ok("deploy app -e dev --yes").err.contains("nothing was written"));
    assert_eq!(proxy.changes().len(), before);
    // Another target: one change of one record.
    scene.folder.write("platform/definition.yaml", &dns(&domain, "192.0.2.8"));
    scene.folder.ok("platform apply platform");
    scene.folder.ok("deploy app -e dev --yes");
    assert_eq!(proxy.changes().len(), before + 1);
    // Somebody meddles: named and healed.
    account.write_record(&zone, &name, "A", "203.0.113.1");
    let drift = scene.folder.run("drift -e dev --detailed-exitcode");
    assert!(drift.code == 2 && drift.out.contains("/values: [\"192.0.2.8\"] → [\"203.0.113.1\"]"), "{}", drift.out);
    scene.folder.ok("deploy app -e dev --yes");
    assert!(account.records(&zone).contains(&format!("{name} A 192.0.2.8")));
    scene.folder.ok("destroy -e dev --yes");
    assert_eq!(account.records(&zone), Vec::<String>::new());
}

#[test]
fn records_of_others_stay() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let account = Account::open(&endpoint);
    let domain = format!("others{}.example.com", std::process::id());
    let zone = account.zone(&domain);
    let scene = scene("r53others", &endpoint, NAMED, &dns(&domain, "192.0.2.7"));
    let name = format!("web-dns-{}-dev.{domain}", scene.application);
    account.write_record(&zone, &name, "A", "203.0.113.9");
    account.write_record(
        &zone,
        &format!("a-{name}"),
        "TXT",
        "\"heritage=external-dns,external-dns/owner=default,external-dns/resource=ingress/x/y\"",
    );
    let refused = scene.folder.run("deploy app -e dev --create-env development --yes");
    assert!(refused.err.contains("belongs to external-dns (owner `default`)"), "{}", refused.err);
    assert!(scene.kubectl(&["get", "namespace", &scene.namespace]).is_err(), "refused before the first effect");
    assert!(account.records(&zone).contains(&format!("{name} A 203.0.113.9")));
}

#[test]
fn an_instance_is_made_waited_for_changed_and_removed_with_a_snapshot() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    // Moto's instances are available at once: these take three questions.
    let proxy = AwsProxy::start(&endpoint, |call, before| match call {
        "DescribeDBInstances" if (1..4).contains(&before) => {
            Verdict::Rewrite("<DBInstanceStatus>available</DBInstanceStatus>", "<DBInstanceStatus>creating</DBInstanceStatus>".into())
        }
        _ => Verdict::Pass,
    });
    let account = Account::open(&endpoint);
    let inputs = "class: db.t4g.micro, storage: 30, subnets: [], parameters: { log_statement: none }";
    let scene = scene("rds", &proxy.endpoint(), STORED, &rds(inputs));
    let made = scene.folder.ok("deploy app -e dev --create-env development --yes");
    assert!(made.err.contains("is creating"), "progress is shown: {}", made.err);
    let identifier = format!("{}-dev-web-db", scene.application);
    let instance = account.instance(&identifier).unwrap();
    assert_eq!((instance.db_instance_class(), instance.engine()), (Some("db.t4g.micro"), Some("postgres")));
    let url = secret(&scene, "web-secrets", "main.env.DATABASE_URL");
    assert!(url.starts_with("postgres://app:") && url.contains(instance.endpoint().unwrap().address().unwrap()), "{url}");
    // Once more: nothing.
    let before = proxy.changes().len();
    assert!(scene.folder.ok("deploy app -e dev --yes").err.contains("nothing was written"));
    assert_eq!(proxy.changes().len(), before, "{:?}", proxy.changes());
    // The class is another: one call, the password is not sent again.
    scene.folder.write("platform/definition.yaml", &rds(&inputs.replace("db.t4g.micro", "db.m7g.large")));
    scene.folder.ok("platform apply platform");
    scene.folder.ok("deploy app -e dev --yes");
    assert_eq!(proxy.changes()[before..], ["ModifyDBInstance"]);
    assert!(!proxy.sent("ModifyDBInstance").concat().contains("MasterUserPassword"), "{:?}", proxy.sent("ModifyDBInstance"));
    assert_eq!(account.instance(&identifier).unwrap().db_instance_class(), Some("db.m7g.large"));
    // What can't be changed in place is known while planning.
    scene.folder.write("platform/definition.yaml", &rds(&inputs.replace("storage: 30", "storage: 20")));
    scene.folder.ok("platform apply platform");
    let plan = scene.folder.ok("plan app -e dev");
    assert!(plan.out.contains("storage can't shrink from 30 to 20 GiB"), "{}", plan.out);
    scene.folder.ok("destroy -e dev --yes");
    assert!(account.instance(&identifier).is_none());
    assert_eq!(account.snapshots(&identifier).len(), 1, "the last snapshot");
}

/// What RDS tells of an instance.
const EVENTS: &str = "<DescribeEventsResponse xmlns=\"http://rds.amazonaws.com/doc/2014-10-31/\"><DescribeEventsResult><Events><Event><Message>The subnet has no free address</Message></Event></Events></DescribeEventsResult></DescribeEventsResponse>";

#[test]
fn what_goes_wrong_is_told_with_rds_s_own_words() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let proxy = AwsProxy::start(&endpoint, |call, before| match call {
        "DescribeDBInstances" if before >= 2 => Verdict::Rewrite(
            "<DBInstanceStatus>available</DBInstanceStatus>",
            "<DBInstanceStatus>incompatible-network</DBInstanceStatus>".into(),
        ),
        "DescribeEvents" => Verdict::Answer(EVENTS),
        _ => Verdict::Pass,
    });
    let scene = scene("rdsbroken", &proxy.endpoint(), STORED, &rds("subnets: []"));
    let failed = scene.folder.run("deploy app -e dev --create-env development --yes");
    assert_eq!(failed.code, 1);
    assert!(failed.err.contains("is `incompatible-network`: The subnet has no free address"), "{}", failed.err);
}

#[test]
fn quota_and_missing_permissions_are_told() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    for (name, code, message, hint) in [
        ("rdsquota", "InstanceQuotaExceeded", "you have 40 instances", "raise the quota"),
        ("rdsdenied", "AccessDenied", "not allowed to rds:CreateDBInstance", "lack a permission"),
    ] {
        let proxy =
            AwsProxy::start(
                &endpoint,
                move |call, _| {
                    if call == "CreateDBInstance" { Verdict::Refuse(400, code, message) } else { Verdict::Pass }
                },
            );
        let scene = scene(name, &proxy.endpoint(), STORED, &rds("subnets: []"));
        let failed = scene.folder.run("deploy app -e dev --create-env development --yes");
        assert!(failed.err.contains(message) && failed.err.contains(hint), "{}", failed.err);
    }
}

#[test]
fn a_cluster_is_found_by_its_name() {
    use windlass_capability_aws::{Accounts, EksTokens};
    use windlass_engine::session::TokenSource as _;
    use windlass_model::platform::{AwsSettings, EksSettings};
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let name = format!("cluster-{}", std::process::id());
    Account::open(&endpoint).cluster(&name);
    let aws = AwsSettings {
        region: windlass_suite::aws::REGION.into(),
        profile: None,
        assume_role: None,
        endpoint: Some(endpoint),
        zones: None,
        insecure: true,
    };
    let eks =
        |cluster: &str| EksSettings { cluster: cluster.to_owned(), region: aws.region.clone(), connection: None, aws: Some(aws.clone()) };
    let environment = windlass_model::state::EnvironmentKey { application: "shop".parse().unwrap(), environment: "dev".parse().unwrap() };
    let connection = windlass_engine::session::OpenConnection {
        name: "cluster".parse().unwrap(),
        settings: windlass_model::platform::ConnectionSettings::Aws { aws: aws.clone() },
        environment,
        access: windlass_engine::host_access::HostAccess::open(),
    };
    let tokens = EksTokens::new(Accounts::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let found = runtime.block_on(tokens.cluster(&eks(&name), &connection));
    assert!(found.unwrap().server.starts_with("https://"));
    let missing = runtime.block_on(tokens.cluster(&eks("nobody"), &connection));
    assert!(missing.unwrap_err().message.contains("No cluster found"));
}

/// A folder of manifests and an account: what is asked for here has nothing to do with a cluster.
fn folder(endpoint: &str, settings: &str, score: &str, definition: &str, application: &str) -> Folder {
    let folder = Folder::new();
    folder.write("app/application.yaml", &application_document(application));
    folder.write("app/web.score.yaml", score);
    let connection = aws_connection(endpoint);
    let (before, after) = connection.split_once("endpoint:").unwrap();
    folder.write("platform/aws.yaml", &format!("{before}{settings}endpoint:{after}"));
    folder.write("platform/definition.yaml", definition);
    folder.ok("platform apply platform");
    folder
}

#[test]
fn a_role_is_assumed_for_each_environment() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let proxy = AwsProxy::start(&endpoint, |_, _| Verdict::Pass);
    let account = Account::open(&endpoint);
    let domain = format!("role{}.example.com", std::process::id());
    let _zone = account.zone(&domain);
    let role =
        "assumeRole: { roleArn: \"arn:aws:iam::123456789012:role/${application}-${environment}\", externalId: { file: external } }, ";
    let folder = folder(&proxy.endpoint(), role, NAMED, &dns(&domain, "192.0.2.7"), "roles");
    folder.write("external", "only-we-know");
    folder.ok("deploy app -e dev --create-env development --yes");
    let asked = proxy.sent("AssumeRole");
    assert_eq!(asked.len(), 1, "once for a run: {:?}", proxy.calls());
    for field in [
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Froles-dev",
        "ExternalId=only-we-know",
        "RoleSessionName=windlass-roles-dev",
        "Key=windlass%3Aenvironment&Tags.member.2.Value=dev",
    ] {
        assert!(asked[0].contains(field), "{field}: {}", asked[0]);
    }
    for (file, text) in folder.files(".windlass") {
        assert!(!text.contains("only-we-know"), "{file}");
    }
    folder.ok("destroy -e dev --yes");
}

#[test]
fn the_identity_of_a_pod_or_a_job_is_enough() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let proxy = AwsProxy::start(&endpoint, |_, _| Verdict::Pass);
    let account = Account::open(&endpoint);
    let domain = format!("identity{}.example.com", std::process::id());
    let _zone = account.zone(&domain);
    let folder = folder(&proxy.endpoint(), "", NAMED, &dns(&domain, "192.0.2.7"), "identity");
    folder.write("identity.jwt", "a-token-of-the-cluster");
    let mut command = folder.command(&["deploy", "app", "-e", "dev", "--create-env", "development", "--yes"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("AWS_WEB_IDENTITY_TOKEN_FILE", folder.path().join("identity.jwt"));
    command.env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/windlass").env("AWS_ENDPOINT_URL_STS", proxy.endpoint());
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let asked = proxy.sent("AssumeRoleWithWebIdentity");
    assert!(asked.iter().any(|sent| sent.contains("WebIdentityToken=a-token-of-the-cluster")), "{:?}", proxy.calls());
}

/// A profile that a connection names is that profile, whatever stands in variables beside it.
#[test]
fn credentials_are_those_that_the_connection_means() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let account = Account::open(&endpoint);
    let domain = format!("profile{}.example.com", std::process::id());
    let _zone = account.zone(&domain);
    let line = ["deploy", "app", "-e", "dev", "--create-env", "development", "--yes"];
    let named = folder(&endpoint, "profile: work, ", NAMED, &dns(&domain, "192.0.2.7"), "profile");
    let plain = folder(&endpoint, "", NAMED, &dns(&domain, "192.0.2.7"), "plain");
    named.write("credentials", "[work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = of-the-profile\n");
    let run = |folder: &Folder, variables: bool, file: bool| {
        let mut command = folder.command(&line);
        if !variables {
            command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        }
        if file {
            command.env("AWS_SHARED_CREDENTIALS_FILE", folder.path().join("credentials"));
        }
        let ran = command.output().unwrap();
        (ran.status.success(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    let (done, told) = run(&plain, false, false);
    assert!(!done && told.contains("there are no AWS credentials") && told.contains("set them as the AWS tools read them"), "{told}");
    let (done, told) = run(&named, true, false);
    assert!(!done && told.contains("there are no AWS credentials") && told.contains("`work`"), "{told}");
    let (done, told) = run(&named, true, true);
    assert!(done, "{told}");
}

/// EKS Pod Identity: an agent on the node gives credentials to whoever shows the pod's token.
#[test]
fn the_agent_of_a_node_is_asked_for_credentials() {
    use std::io::{Read as _, Write as _};
    let account = Account::open(&SharedServers::find().unwrap().aws_endpoint());
    let domain = format!("agent{}.example.com", std::process::id());
    let _zone = account.zone(&domain);
    let folder = folder(&SharedServers::find().unwrap().aws_endpoint(), "", NAMED, &dns(&domain, "192.0.2.7"), "agent");
    folder.write("token", "a-token-of-the-pod");
    let agent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = agent.local_addr().unwrap();
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = agent.accept().unwrap();
        let mut request = vec![0; 8 * 1024];
        let length = stream.read(&mut request).unwrap();
        let body =
            r#"{"AccessKeyId":"ASIAAGENT","SecretAccessKey":"given-by-the-agent","Token":"session","Expiration":"2099-01-01T00:00:00Z"}"#;
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let mut command = folder.command(&["deploy", "app", "-e", "dev", "--create-env", "development", "--yes"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{address}/v1/credentials"));
    command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", folder.path().join("token"));
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let asked = asked.join().unwrap();
    assert!(asked.starts_with("GET /v1/credentials") && asked.to_lowercase().contains("authorization: a-token-of-the-pod"), "{asked}");
    for (file, text) in folder.files(".windlass") {
        assert!(!text.contains("given-by-the-agent"), "{file}");
    }
}

#[test]
fn what_rds_does_changes_nothing() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let account = Account::open(&endpoint);
    let inputs = "class: db.t4g.micro, parameters: { log_statement: none }";
    let number = AtomicUsize::new(0);
    let scene = |proxy: &AwsProxy| {
        let application = format!("rds{}x{}", std::process::id(), number.fetch_add(1, Ordering::SeqCst));
        (folder(&proxy.endpoint(), "", STORED, &rds(inputs), &application), format!("{application}-dev-web-db"))
    };
    // First, another class, destroy: the calls of an undisturbed life.
    let live = |folder: &Folder, identifier: &str, at: &str| {
        for (line, class) in [(FIRST, Some("db.t4g.micro")), (NEXT, Some("db.m7g.large")), ("destroy -e dev --yes --allow-destroy", None)] {
            if line == NEXT {
                folder.write("platform/definition.yaml", &rds(&inputs.replace("db.t4g.micro", "db.m7g.large")));
                folder.ok("platform apply platform");
            }
            let mut ran = folder.run(line);
            if ran.code != 0 {
                ran = folder.run(line);
            }
            assert_eq!(ran.code, 0, "{at}: {line}: {}", ran.err);
            let instance = account.instance(identifier);
            assert_eq!(instance.as_ref().and_then(|instance| instance.db_instance_class()), class, "{at}: {line}");
        }
        assert_eq!(account.snapshots(identifier).len(), 1, "{at}: one last snapshot");
    };
    let proxy = AwsProxy::start(&endpoint, |_, _| Verdict::Pass);
    let (folder, identifier) = scene(&proxy);
    live(&folder, &identifier, "undisturbed");
    let calls: BTreeSet<String> = proxy.calls().into_iter().collect();
    assert!(calls.contains("CreateDBInstance") && calls.contains("ModifyDBInstance") && calls.contains("DeleteDBInstance"), "{calls:?}");
    // Side by side: most of it is waiting for the next try.
    let (scene, live, endpoint) = (&scene, &live, &endpoint);
    std::thread::scope(|threads| {
        for call in &calls {
            threads.spawn(move || {
                for verdict in
                    [Verdict::Lose, Verdict::Refuse(503, "ServiceUnavailable", "busy"), Verdict::Refuse(400, "Throttling", "rate exceeded")]
                {
                    let (told, meant) = (verdict.clone(), call.clone());
                    let proxy = AwsProxy::start(
                        endpoint,
                        move |name, before| if name == meant && before == 0 { verdict.clone() } else { Verdict::Pass },
                    );
                    let (folder, identifier) = scene(&proxy);
                    live(&folder, &identifier, &format!("{call}: {told:?}"));
                }
                let denied = call.clone();
                let proxy = AwsProxy::start(endpoint, move |name, _| {
                    if name == denied { Verdict::Refuse(403, "AccessDenied", "not for you") } else { Verdict::Pass }
                });
                let (folder, _) = scene(&proxy);
                let mut refused = folder.run(FIRST);
                if refused.code == 0 {
                    folder.write("platform/definition.yaml", &rds(&inputs.replace("db.t4g.micro", "db.m7g.large")));
                    folder.ok("platform apply platform");
                    refused = folder.run(NEXT);
                }
                if refused.code == 0 {
                    refused = folder.run("destroy -e dev --yes --allow-destroy");
                }
                assert!(refused.code == 1 && refused.err.contains("not for you"), "{call}: {}", refused.err);
            });
        }
    });
}

const FIRST: &str = "deploy app -e dev --create-env development --yes";
const NEXT: &str = "deploy app -e dev --yes";
