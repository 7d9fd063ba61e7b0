//! Five databases with owner and login, fifteen things, made under kills that come anywhere: by `deploy`, and by a plain `apply`.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use windlass_cluster::SharedServers;
use windlass_suite::cloud::{postgres_connection, postgres_definition};

use crate::{
    cloud::{DEPLOY, application, by_hand},
    process,
};

/// Kills of each tool, spread evenly over what it takes undisturbed.
const KILLS: u32 = 30;
const DATABASES: usize = 5;

const MODULE: &str = r#"
terraform {
  required_providers {
    postgresql = { source = "providers.test/hashicorp/postgresql" }
  }
}
variable "prefix" {}
variable "port" {}
variable "password" {}
provider "postgresql" {
  host      = "localhost"
  port      = var.port
  username  = "manager"
  password  = var.password
  sslmode   = "require"
  superuser = false
}
resource "postgresql_role" "owner" {
  count = 5
  name  = "${var.prefix}_${count.index}"
}
resource "postgresql_role" "login" {
  count    = 5
  name     = "${var.prefix}_${count.index}_a"
  login    = true
  password = "secret"
  roles    = [postgresql_role.owner[count.index].name]
}
resource "postgresql_database" "this" {
  count = 5
  name  = "${var.prefix}_${count.index}"
  owner = postgresql_role.owner[count.index].name
}
"#;

/// A tool, its folder and what its things are called.
struct Scene {
    folder: tempfile::TempDir,
    /// What the names of its things begin with.
    prefix: String,
}

/// How a tool makes the fifteen things, and how many it knows of.
trait Tool {
    const NAME: &'static str;
    fn scene(&self, number: u32) -> Result<Scene>;
    fn make(&self, scene: &Scene) -> Result<Command>;
    fn known(&self, scene: &Scene) -> Result<usize>;
}

struct Ours<'a>(&'a SharedServers);

impl Tool for Ours<'_> {
    const NAME: &'static str = "deploy";

    fn scene(&self, number: u32) -> Result<Scene> {
        let name = format!("kills{}-{number}", std::process::id());
        let resources: String = (0..DATABASES).map(|index| format!("  db{index}: {{ type: postgres }}\n")).collect();
        let platform =
            [("postgres.yaml", postgres_connection(self.0, self.0.postgres_port())), ("definition.yaml", postgres_definition(""))];
        Ok(Scene { folder: application(&name, &resources, &platform)?, prefix: name.replace('-', "_") })
    }

    fn make(&self, scene: &Scene) -> Result<Command> {
        let mut command = Command::new(process::binary()?);
        command.args(DEPLOY).arg("--yes").current_dir(scene.folder.path());
        Ok(command)
    }

    fn known(&self, scene: &Scene) -> Result<usize> {
        let shown = process::output(scene.folder.path(), &["env", "show", "-e", "dev", "-o", "json"])?;
        let state: serde_json::Value = serde_json::from_str(&shown)?;
        let actions = state.get("actions").and_then(serde_json::Value::as_array).context("no actions")?;
        Ok(actions.iter().filter(|action| action["connection"] == "postgres" && action["status"] == "live").count())
    }
}

struct Plain<'a>(&'a SharedServers);

impl Tool for Plain<'_> {
    const NAME: &'static str = "plain `apply`";

    fn scene(&self, number: u32) -> Result<Scene> {
        let (folder, prefix) = (tempfile::tempdir()?, format!("plain{}_{number}", std::process::id()));
        let password = fs::read_to_string(self.0.postgres_password())?;
        let variables = serde_json::json!({ "prefix": prefix, "port": self.0.postgres_port(), "password": password.trim() });
        fs::write(folder.path().join("main.tf"), MODULE)?;
        fs::write(folder.path().join("terraform.tfvars.json"), variables.to_string())?;
        let ready = by_hand(self.0, folder.path(), &["init", "-input=false"]).stdout(Stdio::null()).status()?;
        anyhow::ensure!(ready.success(), "`init`: {ready}");
        Ok(Scene { folder, prefix })
    }

    fn make(&self, scene: &Scene) -> Result<Command> {
        Ok(by_hand(self.0, scene.folder.path(), &["apply", "-input=false", "-auto-approve"]))
    }

    fn known(&self, scene: &Scene) -> Result<usize> {
        let listed = by_hand(self.0, scene.folder.path(), &["state", "list"]).output()?;
        Ok(String::from_utf8_lossy(&listed.stdout).lines().count())
    }
}

pub(crate) fn run() -> Result<()> {
    let servers = SharedServers::find()?;
    under_kills(&servers, &Ours(&servers))?;
    under_kills(&servers, &Plain(&servers))
}

/// Kills the tool with all its processes, as a machine does that goes down, and lets it try once more.
fn under_kills<T: Tool>(servers: &SharedServers, tool: &T) -> Result<()> {
    let undisturbed = tool.scene(KILLS)?;
    let started = Instant::now();
    let status = silent(&mut tool.make(&undisturbed)?).status()?;
    anyhow::ensure!(status.success(), "{}: {status}", T::NAME);
    let takes = started.elapsed();
    let (made, recorded) = (standing(servers, &undisturbed)?, tool.known(&undisturbed)?);
    anyhow::ensure!(made == recorded && made == 3 * DATABASES, "{}: {made} things, {recorded} recorded", T::NAME);
    let (mut killed, mut stuck, mut unknown) = (0, 0, 0);
    for number in 0..KILLS {
        let scene = tool.scene(number)?;
        let after = takes * (2 * number + 1) / (2 * KILLS);
        killed += u32::from(!kill_after(&mut tool.make(&scene)?, after)?.success());
        stuck += u32::from(!silent(&mut tool.make(&scene)?).status()?.success());
        unknown += standing(servers, &scene)?.abs_diff(tool.known(&scene)?);
    }
    println!("| {} of 15 things in PostgreSQL, killed anywhere | {killed} kills in {} ms | | | |", T::NAME, takes.as_millis());
    println!("| {}: the next run fails, a person has to look | {stuck} of {killed} | | | |", T::NAME);
    println!("| {}: things that stand in the server and in no record, or the other way round | {unknown} | | | |", T::NAME);
    Ok(())
}

fn silent(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Runs a command in a process group of its own, and kills the group after a while.
fn kill_after(command: &mut Command, after: Duration) -> Result<ExitStatus> {
    let mut child = silent(command).process_group(0).spawn()?;
    std::thread::sleep(after);
    silent(Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())])).status()?;
    Ok(child.wait()?)
}

/// Counts the roles and databases of a scene.
fn standing(servers: &SharedServers, scene: &Scene) -> Result<usize> {
    let like = scene.prefix.replace('_', "\\_");
    let named = format!(
        "SELECT (SELECT count(*) FROM pg_roles WHERE rolname LIKE '{like}\\_%') + (SELECT count(*) FROM pg_database WHERE datname LIKE '{like}\\_%')"
    );
    Ok(servers.psql("postgres", &named)?.trim().parse()?)
}
