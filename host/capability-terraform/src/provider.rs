//! Providers are programs that run with what a connection gives: which of them modules may use.

use std::{collections::BTreeSet, fmt, fs, path::Path};

use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind};

use crate::{
    module,
    work::{LOCK_FILE, TERRAFORM},
};

/// Where the two programs look for providers whose address names no host.
const DEFAULT_HOSTS: [&str; 2] = ["registry.opentofu.org", "registry.terraform.io"];
/// Stands for any namespace or any type.
const ANY: &str = "*";

/// Providers of one address, or of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Provider {
    /// The registry; that of the program if none is named.
    host: Option<String>,
    namespace: String,
    name: String,
}

impl Provider {
    /// Reads an address as people write it: `NAMESPACE/TYPE` or `HOST/NAMESPACE/TYPE`.
    pub(crate) fn read(text: &str) -> Result<Self, CapabilityError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (host, namespace, name) = match parts.as_slice() {
            [namespace, name] => (None, *namespace, *name),
            [host, namespace, name] => (Some((*host).to_owned()), *namespace, *name),
            _ => (None, "", ""),
        };
        let is_host = host.as_ref().is_none_or(|host| !host.is_empty() && !host.contains('*'));
        let is_part = |part: &str| part == ANY || !part.is_empty() && !part.contains('*');
        if !(is_host && is_part(namespace) && is_part(name)) {
            return Err(CapabilityError::new(Kind::Failed, format!("`{text}` names no provider")).hint(
                "the connection lists `NAMESPACE/TYPE` or `HOST/NAMESPACE/TYPE`; `*` stands for any type, or any namespace and type",
            ));
        }
        Ok(Self { host, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// Tells whether it is one of them; `address` is whole, as programs write it.
    fn is(&self, address: &str) -> bool {
        let mut parts = address.split('/');
        let (Some(host), Some(namespace), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        let is_host = self.host.as_ref().map_or_else(|| DEFAULT_HOSTS.contains(&host), |wanted| wanted == host);
        is_host && [ANY, namespace].contains(&self.namespace.as_str()) && [ANY, name].contains(&self.name.as_str())
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_ref().map(|host| format!("{host}/")).unwrap_or_default();
        write!(f, "{host}{}/{}", self.namespace, self.name)
    }
}

/// Refuses a module that was set up with a provider which is not among those that the connection lists. Nothing of it has run yet.
pub(crate) fn check(work: &Path, listed: Option<&[Provider]>) -> Result<(), CapabilityError> {
    let Some(listed) = listed else { return Ok(()) };
    let chosen = match fs::read_to_string(work.join(LOCK_FILE)) {
        Ok(text) => module::providers(&text),
        // Without providers there is nothing to lock.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error.to_string()),
    };
    let mut chosen = chosen.map_err(|why| CapabilityError::new(Kind::Failed, format!("{LOCK_FILE} can't be read: {why}")))?;
    chosen.extend(installed(work));
    let strange: Vec<&str> =
        chosen.iter().map(String::as_str).filter(|address| !listed.iter().any(|provider| provider.is(address))).collect();
    if strange.is_empty() {
        return Ok(());
    }
    let known: Vec<String> = listed.iter().map(ToString::to_string).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(CapabilityError::new(
        Kind::Denied,
        format!("the module needs the provider `{}`, which the connection does not list", strange.join("`, `")),
    )
    .hint(format!("`terraform: {{ providers: … }}` of the connection lists {known}")))
}

/// Lists the providers that stand in a module's folder, whatever its lock file says.
fn installed(work: &Path) -> BTreeSet<String> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let top = work.join(TERRAFORM).join("providers");
    let mut found = BTreeSet::new();
    for host in names(&top) {
        for namespace in names(&top.join(&host)) {
            let types = names(&top.join(&host).join(&namespace));
            found.extend(types.into_iter().map(|name| format!("{host}/{namespace}/{name}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_lock_file() {
        for (listed, address, expected) in [
            ("hashicorp/aws", "registry.terraform.io/hashicorp/aws", true),
            ("hashicorp/aws", "registry.opentofu.org/hashicorp/aws", true),
            ("hashicorp/aws", "registry.terraform.io/hashicorp/awscc", false),
            ("hashicorp/aws", "registry.example.com/hashicorp/aws", false),
            ("hashicorp/*", "registry.terraform.io/hashicorp/random", true),
            ("*/*", "registry.terraform.io/acme/shell", true),
            ("*/*", "registry.example.com/acme/shell", false),
            ("registry.example.com/acme/*", "registry.example.com/acme/shell", true),
            ("registry.example.com/acme/*", "registry.example.com/other/shell", false),
        ] {
            assert_eq!(Provider::read(listed).unwrap().is(address), expected, "{listed}: {address}");
        }
        for wrong in ["aws", "", "hashicorp/", "/aws", "*/hashicorp/aws", "hash*/aws", "a/b/c/d"] {
            assert!(Provider::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_lock_file_names_must_be_listed() {
        let folder = tempfile::tempdir().unwrap();
        let listed = [Provider::read("hashicorp/random").unwrap()];
        assert!(check(folder.path(), Some(&listed)).is_ok(), "no providers, no lock");
        let lock = "provider \"registry.terraform.io/hashicorp/random\" {\n  version = \"3.6.0\"\n  hashes = [\n    \"h1:x\",\n  ]\n}\n";
        fs::write(folder.path().join(LOCK_FILE), lock).unwrap();
        assert!(check(folder.path(), Some(&listed)).is_ok() && check(folder.path(), None).is_ok());
        assert!(check(folder.path(), Some(&[])).unwrap_err().message.contains("`registry.terraform.io/hashicorp/random`"));
        fs::write(folder.path().join(LOCK_FILE), lock.replace("hashicorp/random", "acme/random")).unwrap();
        assert!(check(folder.path(), Some(&listed)).unwrap_err().message.contains("acme/random"));
        fs::remove_file(folder.path().join(LOCK_FILE)).unwrap();
        fs::create_dir_all(folder.path().join(".terraform/providers/registry.terraform.io/acme/shell/1.0.0")).unwrap();
        assert!(check(folder.path(), Some(&listed)).unwrap_err().message.contains("acme/shell"), "installed, and locked nowhere");
        fs::write(folder.path().join(LOCK_FILE), "provider {").unwrap();
        assert!(check(folder.path(), Some(&listed)).is_err());
    }
}
