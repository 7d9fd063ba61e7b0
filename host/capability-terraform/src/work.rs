//! The folder that a module runs in: kept between runs, so that nothing is set up twice.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind};
use windlass_model::Digest;

use crate::{files, spec::ModuleSpec};

/// The file of variables: written before a run, removed after it.
const VARIABLES: &str = "windlass.auto.tfvars.json";
/// What the host says over the module.
const OVERRIDES: &str = "windlass_override.tf.json";
/// The saved plan: it holds values too.
pub(crate) const PLAN: &str = "windlass.plan";
/// What the program leaves where it can't hand its state over.
pub(crate) const ERRORED: &str = "errored.tfstate";
/// What the program brings for a module, and the versions that it chose.
pub(crate) const TERRAFORM: &str = ".terraform";
pub(crate) const LOCK_FILE: &str = ".terraform.lock.hcl";
/// Which module is set up.
const READY: &str = ".windlass-ready";
/// The process that runs here.
const PID: &str = ".windlass-pid";
/// Which resources were being made when somebody looked last.
const UNDER_WAY: &str = ".windlass-under-way";
/// How long a process that a killed host left may take to end.
const LEFTOVER_WITHIN: Duration = Duration::from_secs(60);

/// A folder of one module.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub folder: PathBuf,
}

/// Says what the file system refused.
pub(crate) fn failed(error: &std::io::Error, path: &Path) -> CapabilityError {
    CapabilityError::new(Kind::Failed, format!("{}: {error}", path.display()))
}

impl Work {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Returns the folder's own name.
    pub(crate) fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Writes the module's files and takes away everything else, what an earlier run left among them included.
    pub(crate) fn lay_out(&self, spec: &ModuleSpec) -> Result<(), CapabilityError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(|error| failed(&error, &self.folder))?;
        self.sweep();
        let is_same = fs::read_to_string(self.folder.join(READY)).is_ok_and(|known| known.starts_with(&digest(spec)));
        for entry in fs::read_dir(&self.folder).map_err(|error| failed(&error, &self.folder))?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // What `init` made and what a killed run left stay.
            let is_kept = [TERRAFORM, ERRORED, UNDER_WAY, PID].contains(&&*name) || is_same && [READY, LOCK_FILE].contains(&&*name);
            if !is_kept {
                remove(&entry.path()).map_err(|error| failed(&error, &entry.path()))?;
            }
        }
        for (path, text) in spec.files.iter().filter(|(path, _)| files::is_written(path)) {
            if path == LOCK_FILE && is_same {
                continue;
            }
            let path = self.folder.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(|error| failed(&error, parent))?;
            }
            fs::write(&path, text).map_err(|error| failed(&error, &path))?;
        }
        let ours = self.folder.join(OVERRIDES);
        fs::write(&ours, overrides(spec).to_string()).map_err(|error| failed(&error, &ours))
    }

    /// Makes the folder that a run takes for the user's: empty, whatever an earlier run left there.
    pub(crate) fn make_home(&self) -> Result<PathBuf, CapabilityError> {
        let home = self.folder.with_extension("home");
        remove(&home).and_then(|()| fs::DirBuilder::new().mode(0o700).create(&home)).map_err(|error| failed(&error, &home))?;
        Ok(home)
    }

    /// Tells whether the folder is set up for this module and program.
    pub(crate) fn is_ready(&self, spec: &ModuleSpec, program: &str) -> bool {
        fs::read_to_string(self.folder.join(READY)).is_ok_and(|known| known == format!("{} {program}", digest(spec)))
    }

    /// Notes that it is.
    pub(crate) fn set_ready(&self, spec: &ModuleSpec, program: &str) -> Result<(), CapabilityError> {
        let path = self.folder.join(READY);
        fs::write(&path, format!("{} {program}", digest(spec))).map_err(|error| failed(&error, &path))
    }

    /// Writes the variables for a run; nobody else may read them.
    pub(crate) fn write_variables(&self, spec: &ModuleSpec) -> Result<(), CapabilityError> {
        let path = self.folder.join(VARIABLES);
        let write = || -> std::io::Result<()> {
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(json!(spec.variables).to_string().as_bytes())
        };
        write().map_err(|error| failed(&error, &path))
    }

    /// Removes everything that holds values.
    pub(crate) fn sweep(&self) {
        for name in [VARIABLES, PLAN] {
            // What is not there needs no removing.
            let _ = fs::remove_file(self.folder.join(name));
        }
    }

    /// Notes who runs here.
    pub(crate) fn enter(&self, pid: u32) {
        let _ = fs::write(self.folder.join(PID), pid.to_string());
    }

    /// Waits for a process that an earlier host left here; it was asked to end when the host died.
    pub(crate) async fn wait_for_leftover(&self) -> Result<(), CapabilityError> {
        let Ok(folder) = self.folder.canonicalize() else { return Ok(()) };
        let Some(pid) = fs::read_to_string(self.folder.join(PID)).ok().and_then(|text| text.trim().parse::<i32>().ok()) else {
            return Ok(());
        };
        let runs = || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at == folder);
        let until = Instant::now() + LEFTOVER_WITHIN;
        while runs() {
            if Instant::now() > until {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
            if Instant::now() > until + Duration::from_secs(5) {
                return Err(CapabilityError::new(Kind::Unavailable, format!("process {pid} still runs the module")));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Notes which resources are being made: what a kill leaves uncertain.
    pub(crate) fn under_way(&self, addresses: &std::collections::BTreeSet<String>) {
        let path = self.folder.join(UNDER_WAY);
        let _ = if addresses.is_empty() { fs::remove_file(path) } else { fs::write(path, json!(addresses).to_string()) };
    }

    /// Returns what a kill left uncertain.
    pub(crate) fn uncertain(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join(UNDER_WAY)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Tells whether a run was cut off before it could hand over what it made.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.folder.join(ERRORED).exists() || !self.uncertain().is_empty()
    }

    /// Removes the folder.
    pub(crate) fn remove(&self) {
        for folder in [self.folder.clone(), self.folder.with_extension("home")] {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Removes a file, a link or a folder, if it is there.
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(known) if known.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Names a folder by what it is for.
pub(crate) fn short(what: &str) -> String {
    Digest::of_bytes(what.as_bytes()).to_string().trim_start_matches("sha256:").chars().take(24).collect()
}

/// Returns the digest of what a module is, whatever its variables say.
pub(crate) fn digest(spec: &ModuleSpec) -> String {
    Digest::of(&(&spec.files, &spec.sensitive)).map(|digest| digest.to_string()).unwrap_or_default()
}

/// What we say over the module: where the state is, and which variables nobody may print.
fn overrides(spec: &ModuleSpec) -> Value {
    let mut file = json!({ "terraform": { "backend": { "http": {} } } });
    if !spec.sensitive.is_empty() {
        let variables: serde_json::Map<String, Value> =
            spec.sensitive.iter().map(|name| (name.clone(), json!({ "sensitive": true }))).collect();
        file["variable"] = Value::Object(variables);
    }
    file
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn spec(files: &[(&str, &str)]) -> ModuleSpec {
        ModuleSpec {
            files: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect(),
            variables: BTreeMap::from([("password".to_owned(), json!("hunter2"))]),
            outputs: BTreeMap::new(),
            holds_data: None,
            sensitive: vec!["password".to_owned()],
            execute: false,
            declassify: false,
        }
    }

    #[test]
    fn what_left_the_module_leaves_the_folder_and_values_don_t_stay() {
        let folder = tempfile::tempdir().unwrap();
        let work = Work::new(folder.path().join("module"));
        work.lay_out(&spec(&[("main.tf", ""), ("old.tf", "")])).unwrap();
        fs::create_dir(work.folder.join(".terraform")).unwrap();
        // Something that a provider left: a link in the place of a folder, and a file of values.
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, work.folder.join("part")).unwrap();
        fs::write(work.folder.join("left.auto.tfvars"), "").unwrap();
        work.write_variables(&spec(&[])).unwrap();
        let next = spec(&[("main.tf", "# new"), ("part/main.tf", ""), (".gitconfig", ""), ("LICENSE", ""), ("x.auto.tfvars", "")]);
        assert!(!work.is_ready(&next, "tofu 1"));
        work.lay_out(&next).unwrap();
        assert!(!work.folder.join("old.tf").exists() && work.folder.join("part/main.tf").exists());
        assert!(!work.folder.join("left.auto.tfvars").exists() && !elsewhere.join("main.tf").exists());
        for name in [".gitconfig", "LICENSE", "x.auto.tfvars"] {
            assert!(!work.folder.join(name).exists(), "{name}");
        }
        let home = work.make_home().unwrap();
        fs::write(home.join(".gitconfig"), "").unwrap();
        assert_eq!(fs::read_dir(work.make_home().unwrap()).unwrap().count(), 0);
        assert!(work.folder.join(".terraform").exists() && !work.folder.join(VARIABLES).exists());
        work.set_ready(&next, "tofu 1").unwrap();
        assert!(work.is_ready(&next, "tofu 1") && !work.is_ready(&next, "tofu 2"));
        let ours = fs::read_to_string(work.folder.join("windlass_override.tf.json")).unwrap();
        assert_eq!(ours, r#"{"terraform":{"backend":{"http":{}}},"variable":{"password":{"sensitive":true}}}"#);
    }
}
