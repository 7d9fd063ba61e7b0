//! The mission's example in the cloud, as far as one machine can play it: a real API server, PostgreSQL, Terraform and OpenBao, and
//! moto in the place of AWS.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use windlass_cluster::{Cluster, GatewayController, Servers};

use crate::{demo::copy, place::Place};

/// Where the Gateway says it is.
const ADDRESS: &str = "192.0.2.44";
/// A bucket without AWS's own provider, which takes eight minutes to build.
const BUCKET: &str = r#"variable "name" {
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
  value     = terraform_data.files.id
  sensitive = true
}
"#;

const FIRST: &str = "deploy shop -e development --create-env development --image api=ghcr.io/windlass-examples/api:1.0.0 --yes";

struct Show {
    binary: PathBuf,
    folder: PathBuf,
}

impl Show {
    fn windlass(&self, title: &str, line: &str) -> Result<()> {
        println!("\n\x1b[1m── {title}\x1b[0m\n$ windlass {line}\n");
        let status = self.command(line).status().context("windlass can't be started")?;
        if !status.success() {
            bail!("`windlass {line}` ended with {status}");
        }
        Ok(())
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(line.split(' ')).current_dir(&self.folder).env("USER", "demo");
        // What stands in the place of AWS takes anything.
        command.envs([("AWS_ACCESS_KEY_ID", "demo"), ("AWS_SECRET_ACCESS_KEY", "demo"), ("AWS_EC2_METADATA_DISABLED", "true")]);
        command
    }
}

pub(crate) fn run(place: &Place, cluster: &Cluster, servers: &Servers) -> Result<()> {
    place.cargo(&["build", "--workspace", "--bin", "windlass"])?;
    let folder = place.target.join("demo-cloud");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let example = place.root.join("examples/cloud");
    copy(&example.join("shop"), &folder.join("shop"))?;
    copy(&example.join("aws-development"), &folder.join("platform"))?;
    fs::write(folder.join("platform/bucket/main.tf"), BUCKET)?;
    fs::write(folder.join("platform/connections.yaml"), connections(cluster, servers))?;
    let show = Show { binary: place.target.join("debug/windlass"), folder: folder.clone() };
    zone(servers)?;
    let _controller = GatewayController::start(cluster.shared(), "shop-development".to_owned(), ADDRESS);
    println!("\x1b[1m── What the developer wrote\x1b[0m\n\n{}", fs::read_to_string(folder.join("shop/api.score.yaml"))?);
    show.windlass("The platform team stores its definitions and connections", "platform apply platform")?;
    show.windlass("CI announces an image; nothing exists yet", FIRST)?;
    login(cluster, servers)?;
    show.windlass("Once more: nothing to do, nothing sent", "deploy shop -e development --yes")?;
    show.windlass("The next image", "deploy shop -e development --image api=ghcr.io/windlass-examples/api:1.1.0 --yes")?;
    println!("\n\x1b[1m── Somebody changes something by hand\x1b[0m\n$ kubectl -n shop-development set image deployment/api main=evil:1\n");
    print!("{}", cluster.shared().kubectl(&["-n", "shop-development", "set", "image", "deployment/api", "main=evil:1"], None)?);
    show.windlass("What is not as it was left, in the cluster, the cloud and the database", "drift -e development")?;
    show.windlass("Set back", "deploy shop -e development --yes")?;
    show.windlass("New credentials; the old ones end when the pods have the new ones", "rotate postgres#api.db -e development --yes")?;
    login(cluster, servers)?;
    show.windlass("The first image again, with the new credentials", "rollback 1 -e development --yes")?;
    let svg = show.command("graph -e development --format svg").output()?;
    fs::write(folder.join("graph.svg"), &svg.stdout)?;
    show.windlass("Take everything away", "destroy -e development --yes")?;
    println!("\nThe graph: {}", folder.join("graph.svg").display());
    Ok(())
}

/// Logs into PostgreSQL with what stands in the Kubernetes Secret.
fn login(cluster: &Cluster, servers: &Servers) -> Result<()> {
    let path = r"jsonpath={.data.main\.DATABASE_URL}";
    let encoded = cluster.shared().kubectl(&["-n", "shop-development", "get", "secret", "api-secrets", "-o", path], None)?;
    let url = String::from_utf8(windlass_cluster::decode(&encoded)?)?;
    let (credentials, rest) = url.trim_start_matches("postgres://").split_once('@').context("no URL in the Secret")?;
    let (user, password) = credentials.split_once(':').context("no credentials in the Secret")?;
    let database = rest.rsplit('/').next().unwrap_or_default();
    let who = servers.shared().login(
        user,
        password,
        database,
        "SELECT session_user || ' acts as ' || current_user || ' in ' || current_database()",
    )?;
    println!("\n\x1b[1m── A client logs in with what the container gets\x1b[0m\n$ psql \"$DATABASE_URL\"\n\n{who}");
    Ok(())
}

/// Makes the hosted zone that the platform team would have.
fn zone(servers: &Servers) -> Result<()> {
    let body = "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>dev.example.com</Name><CallerReference>demo</CallerReference></CreateHostedZoneRequest>";
    windlass_cluster::post(&servers.shared().aws_endpoint(), "/2013-04-01/hostedzone", body)
}

fn connections(cluster: &Cluster, servers: &Servers) -> String {
    let shared = servers.shared();
    let file = |path: &Path| path.display().to_string();
    let document = |name: &str, capability: &str, settings: &str| {
        format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: {name} }}\nspec:\n  capability: {capability}\n  {capability}: {settings}\n"
        )
    };
    [
        document("cluster", "kubernetes", &format!("{{ kubeconfig: {{ file: {} }} }}", file(&cluster.folder().join("kubeconfig")))),
        document("account", "aws", &format!("{{ region: eu-central-1, endpoint: \"{}\", insecure: true }}", shared.aws_endpoint())),
        document(
            "databases",
            "postgres",
            &format!(
                "{{ host: localhost, port: {}, user: manager, password: {{ file: {} }}, sslRootCert: {{ file: {} }} }}",
                shared.postgres_port(),
                file(&shared.postgres_password()),
                file(&shared.postgres_authority())
            ),
        ),
        document("modules", "terraform", &format!("{{ program: {} }}", shared.terraform())),
    ]
    .join("---\n")
}
