//! The program that a connection names: found, asked for its version, and held to what the connection wants.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{io::AsyncReadExt as _, process::Command};
use windlass_engine::{
    credential,
    host_access::HostAccess,
    session::{CapabilityError, CapabilityErrorKind as Kind, Secret},
};
use windlass_model::{limits, platform::TerraformSettings};

use crate::provider::Provider;

/// Programs that are looked for, in this order.
const PROGRAMS: [&str; 2] = ["tofu", "terraform"];

/// What a program says of its version, at most.
const VERSION_BYTES_MAX: u64 = 1024 * 1024;
/// Variables of the program that a connection may set: credentials of registries, and patience with them.
const OF_PROGRAM: [&str; 3] = ["TF_TOKEN_", "TF_REGISTRY_", "TF_PROVIDER_DOWNLOAD_RETRY"];
/// Variables that decide what a run reads and starts.
const OF_HOST: [&str; 8] = ["PATH", "HOME", "TMPDIR", "CHECKPOINT_DISABLE", "TERRAFORM_CONFIG", "BASH_ENV", "ENV", "GIT_ALLOW_PROTOCOL"];
/// How the names of more of them begin: the loader's, the Go runtime's, folders of settings.
const OF_HOST_STARTS: [&str; 5] = ["LD_", "TOFU_", "XDG_", "GODEBUG", "GOTRACEBACK"];

/// A program that can be run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub path: PathBuf,
    /// `tofu 1.12.6`.
    pub version: String,
    /// What it may see of the environment, beyond what every run gets.
    pub environment: BTreeMap<String, Secret>,
    pub cli_config: Option<PathBuf>,
    /// Whether the kernel confines its runs, where it can.
    pub is_confined: bool,
    /// Which providers modules may use; any if nothing is said.
    pub providers: Option<Vec<Provider>>,
}

impl Program {
    /// Finds it and asks for its version.
    pub(crate) async fn find(settings: &TerraformSettings, access: &HostAccess) -> Result<Self, CapabilityError> {
        let path = match &settings.program {
            Some(program) => access.program(program)?,
            None => default_program(access)?,
        };
        let path = path.ok_or_else(|| {
            let wanted = settings.program.as_deref().unwrap_or("tofu or terraform");
            CapabilityError::new(Kind::Failed, format!("the program `{wanted}` is not on this machine"))
                .hint("install OpenTofu (https://opentofu.org), or name the program in the connection: `terraform: { program: … }`")
        })?;
        let path = absolute(&path);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let number = version(&path).await?;
        if let Some(wanted) = &settings.version {
            let requirement = semver::VersionReq::parse(wanted)
                .map_err(|error| CapabilityError::new(Kind::Failed, format!("`{wanted}` is no requirement for a version: {error}")))?;
            if !requirement.matches(&number) {
                return Err(CapabilityError::new(Kind::Failed, format!("`{name}` is version {number}, the connection wants {wanted}")));
            }
        }
        let mut environment = BTreeMap::new();
        for (variable, reference) in &settings.environment {
            check_variable(variable)?;
            environment.insert(variable.clone(), credential::read(&format!("the variable `{variable}`"), reference, access)?);
        }
        // The program itself only warns of a file that is not there, and goes to the internet.
        let cli_config = settings.cli_config.as_ref().map(|path| access.file(&absolute(Path::new(path)))).transpose()?;
        if let Some(missing) = cli_config.as_ref().filter(|path| !path.is_file()) {
            return Err(CapabilityError::new(Kind::Failed, format!("the configuration file `{}` is not there", missing.display()))
                .hint("the connection names it: `terraform: { cliConfig: … }`"));
        }
        let listed = settings.providers.as_ref().map(|listed| listed.iter().map(|text| Provider::read(text)).collect());
        let is_confined = settings.confined.unwrap_or(true);
        if !is_confined {
            access.anything("confined: false of a Terraform connection")?;
        }
        Ok(Self { version: format!("{name} {number}"), path, environment, is_confined, cli_config, providers: listed.transpose()? })
    }
}

/// Runs happen in folders of their own: paths must not depend on where this process is.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Finds the first known program that is on this machine and that the host lends.
fn default_program(access: &HostAccess) -> Result<Option<PathBuf>, CapabilityError> {
    let [first, second] = PROGRAMS.map(|name| access.program(name));
    match first {
        Ok(Some(path)) => Ok(Some(path)),
        Ok(None) => second,
        Err(denied) => second.or(Err(denied)),
    }
}

/// Refuses a variable that would change what the program reads, starts or says, or what its loader does.
fn check_variable(name: &str) -> Result<(), CapabilityError> {
    let is_of_program = name.starts_with("TF_") && !OF_PROGRAM.iter().any(|start| name.starts_with(start));
    let is_of_host = OF_HOST.contains(&name) || OF_HOST_STARTS.iter().any(|start| name.starts_with(start));
    let is_name = !name.is_empty() && !name.contains(['=', '\0']);
    if is_name && !is_of_program && !is_of_host {
        return Ok(());
    }
    Err(CapabilityError::new(Kind::Failed, format!("the variable `{name}` is the host's: it decides what a run reads and starts"))
        .hint("`terraform: { environment: … }` gives providers their credentials; of `TF_…` it takes `TF_TOKEN_…`, `TF_REGISTRY_…` and `TF_PROVIDER_DOWNLOAD_RETRY`"))
}

async fn version(program: &Path) -> Result<semver::Version, CapabilityError> {
    let wrong = |why: String| CapabilityError::new(Kind::Failed, format!("`{}` does not say its version: {why}", program.display()));
    let mut child = Command::new(program)
        .args(["version", "-json"])
        .env_clear()
        .env("CHECKPOINT_DISABLE", "1")
        .env("TF_CLI_CONFIG_FILE", "/dev/null")
        .env("HOME", "/nonexistent")
        // Beside a module the program would look for providers of it.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| wrong(error.to_string()))?;
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = tokio::time::timeout(limits::TERRAFORM_VERSION_TIME_MAX, stdout.take(VERSION_BYTES_MAX).read_to_end(&mut output)).await;
        read.map_err(|_| wrong("it took too long".to_owned()))?.map_err(|error| wrong(error.to_string()))?;
    }
    let said: serde_json::Value = serde_json::from_slice(&output).map_err(|error| wrong(error.to_string()))?;
    let text = said.get("terraform_version").and_then(serde_json::Value::as_str).unwrap_or_default();
    text.parse().map_err(|error: semver::Error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use windlass_model::platform::Reference;

    use super::*;

    #[tokio::test]
    async fn a_closed_host_lends_no_program_file_or_variable() {
        let shell = HostAccess::open().program("sh").unwrap().unwrap();
        let named = |program: &str| TerraformSettings { program: Some(program.to_owned()), ..TerraformSettings::default() };
        for settings in [TerraformSettings::default(), named("sh"), named(&shell.display().to_string())] {
            let refused = Program::find(&settings, &HostAccess::closed()).await.unwrap_err();
            assert!(refused.message.starts_with("this host does not lend the program"), "{refused}");
        }
        // A program that is lent is run, and is no OpenTofu.
        let lent = HostAccess::closed().with_program(&shell);
        let other = Program::find(&named("sh"), &lent).await.unwrap_err();
        assert!(other.message.contains("does not say its version"), "{other}");
    }

    #[tokio::test]
    async fn settings_of_a_lent_program_name_only_what_is_lent() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tofu");
        std::fs::write(&program, "#!/bin/sh\necho '{\"terraform_version\": \"1.9.0\"}'\n").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let settings = TerraformSettings { program: Some(program.display().to_string()), ..TerraformSettings::default() };
        let lent = HostAccess::closed().with_program(&program);
        let variable = |reference: Reference| BTreeMap::from([("AWS_REGION".to_owned(), reference)]);
        let cases = [
            TerraformSettings { environment: variable(Reference::Env("PATH".into())), ..settings.clone() },
            TerraformSettings { environment: variable(Reference::File("/etc/hostname".into())), ..settings.clone() },
            TerraformSettings { cli_config: Some("/etc/hostname".into()), ..settings.clone() },
            TerraformSettings { confined: Some(false), ..settings.clone() },
        ];
        for settings in cases {
            let refused = Program::find(&settings, &lent).await.unwrap_err();
            assert!(refused.message.contains("this host does not lend the "), "{refused}");
        }
        assert!(Program::find(&settings, &lent).await.is_ok());
    }

    #[test]
    fn variables_that_change_a_run_are_the_host_s() {
        for name in [
            "TF_CLI_CONFIG_FILE",
            "TF_CLI_ARGS",
            "TF_CLI_ARGS_apply",
            "TF_LOG",
            "TF_LOG_PATH",
            "TF_DATA_DIR",
            "TF_PLUGIN_CACHE_DIR",
            "TF_REATTACH_PROVIDERS",
            "TF_HTTP_ADDRESS",
            "TF_VAR_token",
            "TF_WORKSPACE",
            "TF_ENCRYPTION",
            "HOME",
            "PATH",
            "TMPDIR",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "XDG_CONFIG_HOME",
            "XDG_DATA_HOME",
            "GIT_ALLOW_PROTOCOL",
            "",
            "A=B",
        ] {
            assert!(check_variable(name).is_err(), "{name}");
        }
        for name in
            ["AWS_SECRET_ACCESS_KEY", "TF_TOKEN_registry_example_com", "TF_REGISTRY_CLIENT_TIMEOUT", "GOOGLE_CREDENTIALS", "HTTPS_PROXY"]
        {
            assert!(check_variable(name).is_ok(), "{name}");
        }
    }
}
