//! The program's configuration file: the host writes it for every run, so that no other file of the machine is asked.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::Value;
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind};
use windlass_model::limits;

use crate::{expressions, module::each, work};

/// Where providers come from if the operator says nothing: the registry that each address names. Without it the programs also look
/// into folders beside the module and into the user's.
const DIRECT: &str = "provider_installation {\n  direct {}\n}\n";
const INSTALLATION: &str = "provider_installation";

/// A configuration file for runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CliConfig {
    pub path: PathBuf,
    /// Folders that providers are taken from.
    pub mirrors: Vec<PathBuf>,
}

/// Writes the configuration of runs into a folder: that of the operator, with an explicit installation of providers.
pub(crate) fn write(folder: &Path, given: Option<&Path>) -> Result<CliConfig, CapabilityError> {
    let text = given.map_or_else(|| Ok(String::new()), read)?;
    let (text, mirrors) = explicit(&text)?;
    let path = folder.join(format!("{}.tfrc", work::short(&text)));
    // Another process may write the same text: each replaces the file whole.
    let part = folder.join(format!("{}.{}", work::short(&text), std::process::id()));
    let write = || -> std::io::Result<()> {
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?.write_all(text.as_bytes())?;
        fs::rename(&part, &path)
    };
    write().map_err(|error| work::failed(&error, &path))?;
    Ok(CliConfig { path, mirrors })
}

fn read(path: &Path) -> Result<String, CapabilityError> {
    let length = fs::metadata(path).map_err(|error| work::failed(&error, path))?.len();
    if length > limits::TERRAFORM_CONFIG_BYTES_MAX {
        return Err(invalid(format!("`{}` has {length} bytes; {} are allowed", path.display(), limits::TERRAFORM_CONFIG_BYTES_MAX)));
    }
    fs::read_to_string(path).map_err(|error| work::failed(&error, path))
}

fn invalid(message: String) -> CapabilityError {
    CapabilityError::new(Kind::Failed, message).hint("the connection names the file: `terraform: { cliConfig: … }`")
}

/// Returns the text with an explicit installation of providers, and the folders that it takes providers from.
fn explicit(text: &str) -> Result<(String, Vec<PathBuf>), CapabilityError> {
    let unread = |error: String| invalid(format!("the program's configuration file can't be read as HCL: {error}"));
    expressions::check_depth(text).map_err(unread)?;
    let body: Value = hcl::from_str(text).map_err(|error| unread(error.to_string()))?;
    let mut mirrors = Vec::new();
    for installation in each(body.get(INSTALLATION)) {
        if installation.get("dev_overrides").is_some() {
            return Err(invalid(
                "`dev_overrides` start providers that no lock file and no list of providers names: take them out".to_owned(),
            ));
        }
        for mirror in each(installation.get("filesystem_mirror")) {
            let path = PathBuf::from(mirror.get("path").and_then(Value::as_str).unwrap_or_default());
            // Runs happen in the module's folder: what is relative is the module's own.
            if !path.is_absolute() {
                return Err(invalid(format!("`path = \"{}\"` of `filesystem_mirror` is no absolute path", path.display())));
            }
            mirrors.push(path);
        }
    }
    let text = if body.get(INSTALLATION).is_some() { text.to_owned() } else { format!("{text}\n{DIRECT}") };
    Ok((text, mirrors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_come_from_where_the_operator_says_and_nowhere_else() {
        assert_eq!(explicit("").unwrap().0.trim(), DIRECT.trim());
        let credentials = "credentials \"registry.example.com\" {\n  token = \"x\"\n}\n";
        let (text, mirrors) = explicit(credentials).unwrap();
        assert!(text.starts_with(credentials) && text.ends_with(DIRECT) && mirrors.is_empty());
        let mirror = "provider_installation {\n  filesystem_mirror {\n    path = \"/srv/mirror\"\n  }\n}\n";
        assert_eq!(explicit(mirror).unwrap(), (mirror.to_owned(), vec![PathBuf::from("/srv/mirror")]));
        for wrong in [
            mirror.replace("/srv", "srv"),
            mirror.replace("/srv/mirror", ""),
            "provider_installation {\n  dev_overrides {\n    \"acme/x\" = \"/x\"\n  }\n}\n".to_owned(),
            "{".to_owned(),
        ] {
            assert!(explicit(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_configuration_file_has_a_size() {
        let folder = tempfile::tempdir().unwrap();
        let given = folder.path().join("rc");
        let length = usize::try_from(limits::TERRAFORM_CONFIG_BYTES_MAX).unwrap();
        fs::write(&given, "#".repeat(length)).unwrap();
        assert!(write(folder.path(), Some(&given)).is_ok());
        fs::write(&given, "#".repeat(length + 1)).unwrap();
        assert!(write(folder.path(), Some(&given)).is_err());
    }
}
