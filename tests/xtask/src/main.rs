//! `cargo xtask`: the only automation of the repository.

mod cloud;
mod components;
mod demo;
mod fuzz;
mod javascript;
mod place;
mod release;
mod suites;
mod toolchain;

use std::{process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, bail};
use windlass_cluster::{Binaries, Cluster};

const HELP: &str = "\
cargo xtask demo               prepares everything and runs the main job on the embedded default
cargo xtask demo --cluster     the same on a Kubernetes API server: on yours if KUBECONFIG is set
cargo xtask demo --cloud       the mission's example: a cluster, PostgreSQL, Route 53, Terraform; moto in the place of AWS
cargo xtask test [FILTER…]     prepares everything and runs all tests
cargo xtask cluster            starts the servers of the tests and keeps them until Enter is pressed
cargo xtask bench [NAME…]      measures and prints the table
cargo xtask fuzz [NAME…] [--seconds N]  fuzzes the parsers of untrusted bytes, each for ten minutes
cargo xtask components         builds the Wasm components of drivers, examples and hostile guests
cargo xtask release            builds the binary that is handed out, and a file with its debug information
cargo xtask wit --freeze       writes the hashes of new WIT packages (released ones never change)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let started = Instant::now();
    match run(&words) {
        Ok(()) => {
            eprintln!("xtask: done in {:.1} s", started.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    let place = place::Place::find()?;
    match words {
        ["components"] => components::build_all(&place).map(|_| ()),
        ["demo"] => {
            components::build_all(&place)?;
            demo::run(&place)
        }
        ["demo", "--cluster"] => {
            // With KUBECONFIG set it runs there; else on a cluster of ours.
            let own = match std::env::var_os("KUBECONFIG") {
                Some(_) => None,
                None => Some(cluster(&place, &servers(&place)?, "demo-servers")?),
            };
            components::build_all(&place)?;
            demo::run_on_cluster(&place, own.as_ref())
        }
        ["demo", "--cloud"] => {
            let binaries = servers(&place)?;
            let tools = tools(&place)?;
            components::build_all(&place)?;
            let cluster = cluster(&place, &binaries, "demo-servers")?;
            let beside = beside(&place, &tools, "demo-beside")?;
            cloud::run(&place, &cluster, &beside)
        }
        ["test", filter @ ..] => {
            // First, with nothing heavy beside it: the compiler of the API server wants the whole machine.
            let servers = servers(&place)?;
            let tools = tools(&place)?;
            components::build_all(&place)?;
            javascript::build(&place)?;
            lint(&place)?;
            test(&place, &servers, &tools, filter)
        }
        ["cluster"] => {
            let cluster = cluster(&place, &servers(&place)?, "cluster")?;
            let beside = beside(&place, &tools(&place)?, "servers")?;
            println!(
                "export KUBECONFIG={0}/kubeconfig {1}={0} {2}={3}",
                cluster.folder().display(),
                windlass_cluster::SHARED,
                windlass_cluster::SERVERS,
                beside.folder().display()
            );
            eprintln!("xtask: press Enter to stop them");
            std::io::stdin().read_line(&mut String::new())?;
            Ok(())
        }
        ["bench", names @ ..] => {
            components::build_all(&place)?;
            place.cargo(&["build", "--release", "--package", "windlass-cli", "--package", "windlass-bench"])?;
            let mut command = std::process::Command::new(place.target.join("release/windlass-bench"));
            let needs_cluster = names.is_empty() || names.contains(&"cluster");
            let cluster = if needs_cluster { Some(cluster(&place, &servers(&place)?, "bench-cluster")?) } else { None };
            if let Some(cluster) = &cluster {
                command.env(windlass_cluster::SHARED, cluster.folder());
            }
            let needs_servers = names.is_empty() || names.contains(&"cloud") || names.contains(&"kills");
            let beside = if needs_servers { Some(beside(&place, &tools(&place)?, "bench-beside")?) } else { None };
            if let Some(beside) = &beside {
                command.env(windlass_cluster::SERVERS, beside.folder());
            }
            command.envs([("AWS_ACCESS_KEY_ID", "bench"), ("AWS_SECRET_ACCESS_KEY", "bench"), ("AWS_EC2_METADATA_DISABLED", "true")]);
            command.args(names).env("WINDLASS_BIN", place.target.join("release/windlass")).env("WINDLASS_COMPONENTS", place.components());
            place::succeed(&mut command)
        }
        ["fuzz", words @ ..] => fuzz::run(&place, words),
        ["release"] => release::run(&place),
        ["wit", "--freeze"] => freeze(&place),
        _ => {
            eprint!("{HELP}");
            bail!("unknown command: {}", words.join(" "))
        }
    }
}

/// Checks style where the toolchain has the tools for it.
fn lint(place: &place::Place) -> Result<()> {
    let has = |tool: &str| place.cargo_command().args([tool, "--version"]).output().is_ok_and(|output| output.status.success());
    if has("fmt") {
        place.cargo(&["fmt", "--all", "--check"]).context("run `cargo fmt --all`")?;
    }
    if has("clippy") {
        place.cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    }
    Ok(())
}

/// Builds the servers of the test cluster, or finds them built.
fn servers(place: &place::Place) -> Result<Binaries> {
    Binaries::prepare(&place.root.join("tests/cluster/go"), &place::cache()?.join("cluster"))
}

/// Starts a cluster in a fresh folder.
fn cluster(place: &place::Place, servers: &Binaries, name: &str) -> Result<Cluster> {
    let folder = place.target.join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let started = Instant::now();
    let cluster = Cluster::start(servers, &folder)?;
    eprintln!("xtask: a cluster is ready after {:.1} s", started.elapsed().as_secs_f64());
    Ok(cluster)
}

/// Finds or installs the programs of the servers beside the cluster.
fn tools(place: &place::Place) -> Result<windlass_cluster::Tools> {
    windlass_cluster::Tools::prepare(&place.root.join("tests/cluster/go"), &place::cache()?)
}

/// Starts the servers beside the cluster in a fresh folder.
fn beside(place: &place::Place, tools: &windlass_cluster::Tools, name: &str) -> Result<windlass_cluster::Servers> {
    let folder = place.target.join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    windlass_cluster::Servers::start(tools, &folder)
}

/// Runs every test of the workspace; the tests' processes find binary, components and cluster by environment variables.
fn test(place: &place::Place, servers: &Binaries, tools: &windlass_cluster::Tools, filter: &[&str]) -> Result<()> {
    place.cargo(&["build", "--workspace", "--bin", "windlass"])?;
    let mut cluster = cluster(place, servers, "test-cluster")?;
    let mut beside = beside(place, tools, "test-servers")?;
    let (cluster_at, beside_at) = (cluster.folder().to_path_buf(), beside.folder().to_path_buf());
    suites::run(
        place,
        &|command| {
            command.env("WINDLASS_BIN", place.target.join("debug/windlass")).env("WINDLASS_COMPONENTS", place.components());
            command.env(windlass_cluster::SHARED, &cluster_at).env(windlass_cluster::SERVERS, &beside_at);
            // What stands in the place of AWS takes anything; nothing of this machine's is looked for.
            command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")]);
        },
        || cluster.check().and_then(|()| beside.check()),
        filter,
    )
}

/// Adds hashes for WIT files that have none yet.
fn freeze(place: &place::Place) -> Result<()> {
    use sha2::{Digest, Sha256};
    let path = place.root.join("wit/frozen.sha256");
    let mut lines: Vec<String> = std::fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
    for package in std::fs::read_dir(place.root.join("wit"))? {
        let package = package?.path();
        if !package.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&package)? {
            let file = file?.path();
            let name = file.strip_prefix(place.root.join("wit"))?.display().to_string();
            if !lines.iter().any(|line| line.ends_with(&name)) {
                let hex: String = Sha256::digest(std::fs::read(&file)?).iter().map(|byte| format!("{byte:02x}")).collect();
                lines.push(format!("{hex}  {name}"));
            }
        }
    }
    lines.sort_by_key(|line| line.split("  ").nth(1).map(str::to_owned));
    std::fs::write(path, lines.join("\n") + "\n")?;
    Ok(())
}
