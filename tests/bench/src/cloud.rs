//! PostgreSQL, Route 53, RDS and Terraform: ratios against the same work by hand, and calls that are counted.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Result;
use windlass_cluster::SharedServers;
use windlass_suite::{
    aws::{Account, AwsProxy, Verdict, aws_connection},
    binary::application_document,
    cloud::{postgres_connection, postgres_definition, terraform_connection},
};

use crate::{process, row};

/// Rounds of what takes seconds.
const ROUNDS: usize = 5;
const DATABASES: usize = 100;
const RECORDS: usize = 500;
const INSTANCES: usize = 50;
/// What is looked at for drift.
const LOOKED_RECORDS: usize = 100;
const LOOKED_INSTANCES: usize = 20;
/// How long instances are watched while they are being made.
const WATCHED: Duration = Duration::from_secs(65);
pub(crate) const DEPLOY: [&str; 6] = ["deploy", "app", "-e", "dev", "--create-env", "development"];

pub(crate) fn run() -> Result<()> {
    let servers = SharedServers::find()?;
    databases(&servers)?;
    modules(&servers)?;
    records(&servers)?;
    drift(&servers)?;
    instances(&servers)
}

/// Writes an application of one workload with these resources, and stores a platform.
pub(crate) fn application(name: &str, resources: &str, platform: &[(&str, String)]) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    fs::create_dir_all(path.join("app"))?;
    fs::create_dir_all(path.join("platform/module"))?;
    fs::write(path.join("app/application.yaml"), application_document(name))?;
    fs::write(
        path.join("app/web.score.yaml"),
        format!(
            "apiVersion: score.dev/v1b1\nmetadata: {{ name: web }}\ncontainers: {{ main: {{ image: \"web:1\" }} }}\nresources:\n{resources}"
        ),
    )?;
    for (file, text) in platform {
        fs::write(path.join("platform").join(file), text)?;
    }
    process::run(path, &["platform", "apply", "platform"])?;
    Ok(folder)
}

fn definition(r#type: &str, driver: &str, import: &str, inputs: &str) -> String {
    format!(
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: measured }}\nspec:\n  type: {type}\n  driver: {{ builtin: {driver} }}\n  inputs: {inputs}\n  grants: [{{ import: {import} }}, {{ import: windlass:secrets/generated }}]\n"
    )
}

fn deploy(folder: &Path) -> Result<f64> {
    let arguments: Vec<&str> = DEPLOY.into_iter().chain(["--yes"]).collect();
    Ok(process::run(folder, &arguments)?.wall_ms)
}

/// A hundred databases with owner and login, against the same statements from one psql session.
fn databases(servers: &SharedServers) -> Result<()> {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let name = format!("b{}-{round}", std::process::id());
        let resources: String = (0..DATABASES).map(|index| format!("  db{index}: {{ type: postgres }}\n")).collect();
        let platform =
            [("postgres.yaml", postgres_connection(servers, servers.postgres_port())), ("definition.yaml", postgres_definition(""))];
        let folder = application(&name, &resources, &platform)?;
        let mine = deploy(folder.path())?;
        let statements: String = (0..DATABASES)
            .map(|index| {
                let name = format!("psql_{}_{round}_{index}", std::process::id());
                format!(
                    "CREATE ROLE {name} NOLOGIN;\nCOMMENT ON ROLE {name} IS 'x';\nCREATE ROLE {name}_a LOGIN CONNECTION LIMIT -1 PASSWORD 'secret';\nCOMMENT ON ROLE {name}_a IS 'x';\nGRANT {name} TO {name}_a;\nALTER ROLE {name}_a SET role = '{name}';\nCREATE DATABASE {name} OWNER {name} ENCODING 'UTF8';\nCOMMENT ON DATABASE {name} IS 'x';\nREVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC;\n"
                )
            })
            .collect();
        let started = Instant::now();
        servers.script("postgres", &statements)?;
        let peer = started.elapsed().as_secs_f64() * 1e3;
        process::run(folder.path(), &["destroy", "-e", "dev", "--yes"])?;
        ratios.push(mine / peer);
        ours.push(mine);
        theirs.push(peer);
    }
    row("100 PostgreSQL databases with owner and login, wall", ours, "ms", "");
    row("the same statements from one psql session, wall", theirs, "ms", "");
    row("databases against psql, wall", ratios, "×", "≤ 1.2");
    Ok(())
}

/// Terraform or OpenTofu as somebody runs it in a folder.
pub(crate) fn by_hand(servers: &SharedServers, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(servers.terraform());
    command.args(arguments).current_dir(folder).env("CHECKPOINT_DISABLE", "1").env("TF_CLI_CONFIG_FILE", servers.cli_config());
    command
}

const MODULE: &str = r#"
terraform {
  required_providers {
    random = { source = "providers.test/hashicorp/random" }
  }
}
variable "name" {}
resource "random_id" "files" {
  byte_length = 4
}
output "name" {
  value = "${var.name}-${random_id.files.hex}"
}
"#;

/// Resources of a module with a provider, against the program by hand with the same cache of plugins: the module's first resource,
/// the next one, and a changed variable.
fn modules(servers: &SharedServers) -> Result<()> {
    let program = servers.terraform();
    let cli_config = servers.cli_config();
    let mut walls: [Vec<f64>; 4] = Default::default();
    let mut ratios: [Vec<f64>; 3] = Default::default();
    let mut floors = Vec::new();
    for round in 0..ROUNDS {
        let kind = "apiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: { name: module }\nspec: { params: { type: object, properties: { name: { type: string } } }, outputs: { type: object, properties: { name: { type: string } } } }\n---\n";
        let inputs = "{ module: { $folder: ./module }, params: { name: name }, outputs: { name: { output: name } } }";
        let connection = terraform_connection(&program).replace("program:", &format!("cliConfig: {}, program:", cli_config.display()));
        let platform = [
            ("definition.yaml", format!("{kind}{}", definition("module", "terraform-module", "windlass:terraform/modules", inputs))),
            ("terraform.yaml", connection),
            ("module/main.tf", MODULE.to_owned()),
        ];
        let folder = application(&format!("m{round}"), "  m: { type: module, params: { name: one } }\n", &platform)?;
        let first = deploy(folder.path())?;
        let next = ["deploy", "app", "-e", "next", "--create-env", "development", "--yes"];
        let next = process::run(folder.path(), &next)?.wall_ms;
        let score = folder.path().join("app/web.score.yaml");
        fs::write(&score, fs::read_to_string(&score)?.replace("name: one", "name: two"))?;
        let changed = deploy(folder.path())?;
        let hand = tempfile::tempdir()?;
        fs::write(hand.path().join("main.tf"), MODULE)?;
        let (started, mut set_up) = (Instant::now(), 0.0);
        for arguments in [&["init", "-input=false"][..], &["apply", "-input=false", "-auto-approve", "-var=name=one"]] {
            set_up = started.elapsed().as_secs_f64() * 1e3;
            let status = by_hand(servers, hand.path(), arguments)
                .env("TF_PLUGIN_CACHE_DIR", folder.path().join(".windlass/terraform/plugins"))
                .stdout(Stdio::null())
                .status()?;
            anyhow::ensure!(status.success(), "{program} {arguments:?}");
        }
        let peer = started.elapsed().as_secs_f64() * 1e3;
        floors.push((peer - set_up) / peer);
        let ours = [first, next, changed];
        walls.iter_mut().zip([first, next, changed, peer]).for_each(|(walls, wall)| walls.push(wall));
        ratios.iter_mut().zip(ours).for_each(|(ratios, wall)| ratios.push(wall / peer));
    }
    let cases = ["the first resource of a module", "the next resource of the same module", "a changed variable"];
    let [first, next, changed, by_hand] = walls;
    for (case, walls) in cases.into_iter().zip([first, next, changed]) {
        row(&format!("Terraform, {case}: wall"), walls, "ms", "");
    }
    row("bare `init` and `apply` of the module, wall", by_hand, "ms", "");
    row("bare `apply` alone against bare `init` and `apply`, wall: what nobody who applies gets below", floors, "×", "");
    for ((case, ratios), target) in cases.into_iter().zip(ratios).zip(["", "≤ 0.7", ""]) {
        row(&format!("{case} against bare `init` and `apply`, wall"), ratios, "×", target);
    }
    Ok(())
}

/// Five hundred records of one zone: calls that are counted.
fn records(servers: &SharedServers) -> Result<()> {
    let account = Account::open(&servers.aws_endpoint());
    let domain = format!("bench{}.example.org", std::process::id());
    let zone = account.zone(&domain);
    let proxy = AwsProxy::start(&servers.aws_endpoint(), |_, _| Verdict::Pass);
    let resources: String = (0..RECORDS).map(|index| format!("  n{index}: {{ type: dns }}\n")).collect();
    let inputs = format!("{{ domain: {domain}, target: 192.0.2.1 }}");
    let platform = [
        ("definition.yaml", definition("dns", "dns-route53", "windlass:aws/route53", &inputs)),
        ("aws.yaml", aws_connection(&proxy.endpoint())),
    ];
    let folder = application("records", &resources, &platform)?;
    let wall = deploy(folder.path())?;
    let count = |name: &str| proxy.calls().iter().filter(|call| *call == name).count();
    let made = account.records(&zone).len();
    println!(
        "| 500 records of Route 53: batches, waits, lists ({made}+ records made) | {}, {}, {} | | | ≤ 2 batches |",
        count("ChangeResourceRecordSets"),
        count("GetChange"),
        count("ListResourceRecordSets")
    );
    row("the same, wall", vec![wall], "ms", "");
    Ok(())
}

/// What a look at everything asks AWS for: a hundred records and twenty instances.
fn drift(servers: &SharedServers) -> Result<()> {
    let account = Account::open(&servers.aws_endpoint());
    let domain = format!("drift{}.example.org", std::process::id());
    let _zone = account.zone(&domain);
    let proxy = AwsProxy::start(&servers.aws_endpoint(), |_, _| Verdict::Pass);
    let names = (0..LOOKED_RECORDS).map(|index| format!("  n{index}: {{ type: dns }}\n"));
    let instances = (0..LOOKED_INSTANCES).map(|index| format!("  i{index}: {{ type: postgres }}\n"));
    let resources: String = names.chain(instances).collect();
    let inputs = format!("{{ domain: {domain}, target: 192.0.2.1 }}");
    let platform = [
        ("dns.yaml", definition("dns", "dns-route53", "windlass:aws/route53", &inputs)),
        ("postgres.yaml", definition("postgres", "postgres-rds", "windlass:aws/rds", "{}").replace("measured", "measured-too")),
        ("aws.yaml", aws_connection(&proxy.endpoint())),
    ];
    let folder = application(&format!("drift-{}", std::process::id()), &resources, &platform)?;
    deploy(folder.path())?;
    let before = proxy.calls().len();
    let usage = process::run(folder.path(), &["drift", "-e", "dev", "--detailed-exitcode"])?;
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for call in proxy.calls().split_off(before) {
        *asked.entry(call).or_default() += 1;
    }
    let asked: Vec<String> = asked.into_iter().map(|(call, count)| format!("{count} {call}")).collect();
    println!("| drift of {LOOKED_RECORDS} records and {LOOKED_INSTANCES} instances: calls | {} | | | lists only |", asked.join(", "));
    row("the same, wall", vec![usage.wall_ms], "ms", "");
    Ok(())
}

/// Fifty instances that are being made: how often RDS is asked.
fn instances(servers: &SharedServers) -> Result<()> {
    let proxy = AwsProxy::start(&servers.aws_endpoint(), |call, before| {
        if call == "DescribeDBInstances" && before > 0 {
            Verdict::Rewrite("<DBInstanceStatus>available</DBInstanceStatus>", "<DBInstanceStatus>creating</DBInstanceStatus>".into())
        } else {
            Verdict::Pass
        }
    });
    let resources: String = (0..INSTANCES).map(|index| format!("  i{index}: {{ type: postgres }}\n")).collect();
    let platform = [
        ("definition.yaml", definition("postgres", "postgres-rds", "windlass:aws/rds", "{}")),
        ("aws.yaml", aws_connection(&proxy.endpoint())),
    ];
    let folder = application(&format!("instances-{}", std::process::id()), &resources, &platform)?;
    let mut child = Command::new(process::binary()?)
        .args(DEPLOY)
        .arg("--yes")
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // Only what comes when all of them are asked for is waiting.
    let until = Instant::now() + Duration::from_secs(120);
    while proxy.calls().iter().filter(|call| *call == "CreateDBInstance").count() < INSTANCES && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
    }
    let asked = |proxy: &AwsProxy| proxy.calls().iter().filter(|call| *call == "DescribeDBInstances").count();
    let before = asked(&proxy);
    std::thread::sleep(WATCHED);
    let during = asked(&proxy) - before;
    child.kill()?;
    child.wait()?;
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let per_minute = during as f64 * 60.0 / WATCHED.as_secs_f64();
    row("50 instances being made: questions to RDS", vec![per_minute], "a minute", "≤ 6");
    Ok(())
}
