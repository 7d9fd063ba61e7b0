//! The program that a connection names: found, asked for its version, and held to what the connection wants.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tokio::process::Command;
use windlass_engine::{
    credential,
    session::{CapabilityError, CapabilityErrorKind as Kind, Secret},
};
use windlass_model::platform::TerraformSettings;

use crate::provider::Provider;

/// Programs that are looked for, in this order.
const PROGRAMS: [&str; 2] = ["tofu", "terraform"];

/// A program that can be run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub path: PathBuf,
    /// `tofu 1.12.6`.
    pub version: String,
    /// What it may see of the environment, beyond what every run gets.
    pub environment: BTreeMap<String, Secret>,
    pub cli_config: Option<PathBuf>,
    /// Which providers modules may use; any if nothing is said.
    pub providers: Option<Vec<Provider>>,
}

impl Program {
    /// Finds it and asks for its version.
    pub(crate) async fn find(settings: &TerraformSettings) -> Result<Self, CapabilityError> {
        let path = match &settings.program {
            Some(program) if program.contains('/') => Some(PathBuf::from(program)).filter(|path| path.is_file()),
            Some(program) => on_path(program),
            None => PROGRAMS.into_iter().find_map(on_path),
        };
        let path = path.ok_or_else(|| {
            let wanted = settings.program.as_deref().unwrap_or("tofu or terraform");
            CapabilityError::new(Kind::Invalid, format!("the program `{wanted}` is not on this machine"))
                .hint("install OpenTofu (https://opentofu.org), or name the program in the connection: `terraform: { program: … }`")
        })?;
        let path = absolute(&path);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let number = version(&path).await?;
        if let Some(wanted) = &settings.version {
            let requirement = semver::VersionReq::parse(wanted)
                .map_err(|error| CapabilityError::new(Kind::Invalid, format!("`{wanted}` is no requirement for a version: {error}")))?;
            if !requirement.matches(&number) {
                return Err(CapabilityError::new(Kind::Invalid, format!("`{name}` is version {number}, the connection wants {wanted}")));
            }
        }
        let mut environment = BTreeMap::new();
        for (variable, reference) in &settings.environment {
            environment.insert(variable.clone(), credential::read(&format!("the variable `{variable}`"), reference)?);
        }
        // The program itself only warns of a file that is not there, and goes to the internet.
        let cli_config = settings.cli_config.as_ref().map(|path| absolute(Path::new(path)));
        if let Some(missing) = cli_config.as_ref().filter(|path| !path.is_file()) {
            return Err(CapabilityError::new(Kind::Invalid, format!("the configuration file `{}` is not there", missing.display()))
                .hint("the connection names it: `terraform: { cliConfig: … }`"));
        }
        let listed = settings.providers.as_ref().map(|listed| listed.iter().map(|text| Provider::read(text)).collect());
        Ok(Self { version: format!("{name} {number}"), path, environment, cli_config, providers: listed.transpose()? })
    }
}

/// Runs happen in folders of their own: paths must not depend on where this process is.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(|path| path.is_file())
}

async fn version(program: &Path) -> Result<semver::Version, CapabilityError> {
    let wrong = |why: String| CapabilityError::new(Kind::Invalid, format!("`{}` does not say its version: {why}", program.display()));
    let output = Command::new(program)
        .args(["version", "-json"])
        .env_clear()
        .env("CHECKPOINT_DISABLE", "1")
        .env("TF_CLI_CONFIG_FILE", "/dev/null")
        .output()
        .await
        .map_err(|error| wrong(error.to_string()))?;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|error| wrong(error.to_string()))?;
    let text = said.get("terraform_version").and_then(serde_json::Value::as_str).unwrap_or_default();
    text.parse().map_err(|error: semver::Error| wrong(error.to_string()))
}
