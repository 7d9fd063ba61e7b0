//! The servers, built from their Go modules: pinned by `go.mod` and `go.sum`, kept outside the tree by their hash.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest, Sha256};

/// Wrapper modules and what each builds.
const MODULES: [(&str, &[&str]); 3] =
    [("etcd", &["etcd"]), ("kwok", &["kwok"]), ("kubernetes", &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"])];

/// A folder of built servers.
#[derive(Clone, Debug)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Builds what is not built yet. `wrappers` holds the modules, `cache` what was built.
    ///
    /// # Errors
    ///
    /// If Go is missing, with what to install; if a build fails.
    pub fn prepare(wrappers: &Path, cache: &Path) -> Result<Self> {
        let folder = cache.join(hash_all(wrappers)?);
        let built = Self { folder };
        if built.is_complete() {
            return Ok(built);
        }
        if !Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            bail!(
                "Go is not installed: the tests run against a real Kubernetes API server, which is built from its Go module.\n\
                 Install Go 1.25 or newer (Debian: `apt-get install golang`, or https://go.dev/dl) and run this again."
            );
        }
        fs::create_dir_all(&built.folder)?;
        for (module, tools) in MODULES {
            if tools.iter().all(|tool| built.tool(tool).exists()) {
                continue;
            }
            eprintln!("xtask: building {} (once; kept in {})", tools.join(", "), built.folder.display());
            go(&wrappers.join(module), &["install", "-trimpath", "-ldflags=-s -w", "tool"], &built.folder)?;
            if module == "etcd" {
                // Its command is the root of a module called `server`.
                fs::rename(built.folder.join("server"), built.tool("etcd"))?;
            }
        }
        built.fetch_gateway(&wrappers.join("gateway-api"))?;
        Ok(built)
    }

    pub(crate) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    fn is_complete(&self) -> bool {
        MODULES.iter().flat_map(|(_, tools)| tools.iter()).all(|tool| self.tool(tool).exists()) && self.gateway_crds().is_dir()
    }

    /// Returns the path of a server.
    #[must_use]
    pub fn tool(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns the folder of the Gateway API's definitions.
    #[must_use]
    pub fn gateway_crds(&self) -> PathBuf {
        self.folder.join("gateway-api")
    }

    /// Copies the definitions out of the verified module.
    fn fetch_gateway(&self, wrapper: &Path) -> Result<()> {
        let answer = go(wrapper, &["mod", "download", "-json", "sigs.k8s.io/gateway-api"], &self.folder)?;
        let module: serde_json::Value = serde_json::from_str(&answer).context("Go's answer can't be read")?;
        let source = module.get("Dir").and_then(serde_json::Value::as_str).context("the Gateway API's module is not there")?;
        let partial = self.folder.join(".gateway-api");
        fs::create_dir_all(&partial)?;
        for entry in fs::read_dir(Path::new(source).join("config/crd/standard"))? {
            let entry = entry?;
            fs::write(partial.join(entry.file_name()), fs::read(entry.path())?)?;
        }
        fs::rename(partial, self.gateway_crds())?;
        Ok(())
    }
}

/// Names the cache by everything that decides what is built.
fn hash_all(wrappers: &Path) -> Result<String> {
    hash_files(["etcd", "gateway-api", "kubernetes", "kwok"].into_iter().flat_map(|module| pins(&wrappers.join(module))))
}

/// Names the cache of one module.
pub(crate) fn hash(module: &Path) -> Result<String> {
    hash_files(pins(module))
}

fn pins(module: &Path) -> [PathBuf; 2] {
    ["go.mod", "go.sum"].map(|file| module.join(file))
}

/// Names what is built from files.
///
/// # Errors
///
/// With the one that can't be read.
pub fn hash_files(files: impl IntoIterator<Item = PathBuf>) -> Result<String> {
    let mut hasher = Sha256::new();
    for file in files {
        hasher.update(fs::read(&file).with_context(|| format!("{} is missing", file.display()))?);
    }
    Ok(hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

pub(crate) fn go(module: &Path, arguments: &[&str], bin: &Path) -> Result<String> {
    let output = Command::new("go")
        .args(arguments)
        .current_dir(module)
        .env("GOBIN", bin)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .stderr(Stdio::inherit())
        .output()
        .context("go can't be started")?;
    if !output.status.success() {
        bail!("`go {}` in {} ended with {}", arguments.join(" "), module.display(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
