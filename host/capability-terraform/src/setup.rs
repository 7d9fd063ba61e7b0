//! Setting modules up: once for each module and program on a machine, however many resources are made of it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, EffectCx};

use crate::{
    module,
    planner::{ALLOW_EXECUTE, WOULD_EXECUTE, WOULD_REACH},
    process::Runner,
    provider, report,
    spec::ModuleSpec,
    work::{self, failed, remove},
};

/// What `init` makes.
const MADE: [&str; 2] = [work::TERRAFORM, work::LOCK_FILE];
/// Modules that are kept set up; who comes back later is set up anew.
const KEPT_MAX: usize = 32;
/// How often a lock is tried that somebody else holds.
const RETRY: Duration = Duration::from_millis(50);

/// Where modules are kept that were set up.
#[derive(Clone, Debug)]
pub(crate) struct Setups {
    pub folder: PathBuf,
    /// What else decides what is brought: the connection.
    pub settings: String,
}

impl Setups {
    fn of(&self, spec: &ModuleSpec, program: &str) -> PathBuf {
        self.folder.join(work::short(&format!("{} {program} {}", work::digest(spec), self.settings)))
    }

    /// Waits until nobody else sets something up: the cache of plugins bears one at a time.
    async fn lock(&self, cx: Option<&EffectCx<'_>>) -> Result<File, CapabilityError> {
        let path = self.folder.join("lock");
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(|error| failed(&error, &path))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if cx.is_some_and(|cx| cx.cancel.is_cancelled() || Instant::now() > cx.deadline) => {
                    return Err(CapabilityError::new(Kind::Unavailable, "another process was setting a module up all the time"));
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(RETRY).await,
                Err(TryLockError::Error(error)) => return Err(failed(&error, &path)),
            }
        }
    }

    /// Keeps what `init` made, for the next resource of the module. What can't be kept costs only time.
    fn keep(&self, setup: &Path, folder: &Path) {
        let half = setup.with_extension("half");
        let _ = fs::remove_dir_all(&half);
        if fs::create_dir(&half).and_then(|()| copy(folder, &half)).is_ok() && (!setup.exists() || fs::remove_dir_all(setup).is_ok()) {
            let _ = fs::rename(&half, setup);
        }
        let _ = fs::remove_dir_all(&half);
        self.forget();
    }

    /// Forgets all but the newest.
    fn forget(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut known: Vec<(SystemTime, PathBuf)> = entries
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        known.sort();
        for (_, old) in known.iter().rev().skip(KEPT_MAX) {
            let _ = fs::remove_dir_all(old);
        }
    }
}

/// Sets a module's folder up, if it is not, and looks at what it calls from elsewhere.
pub(crate) async fn init(runner: &Runner<'_>, cx: Option<&EffectCx<'_>>, spec: &ModuleSpec) -> Result<(), CapabilityError> {
    bring(runner, cx, spec).await?;
    provider::check(&runner.work.folder, runner.program.providers.as_deref())?;
    let unread = |why| CapabilityError::new(Kind::Failed, format!("a module that this one calls can't be read: {why}"));
    let called = module::brought(&runner.work.folder).map_err(unread)?;
    if let Some((source, why)) = called.open_sources().next() {
        let message = format!("a module that this one calls itself calls `{source}`, which may be another one tomorrow: {why}");
        return Err(CapabilityError::new(Kind::Denied, message).hint("pin that call, or put the module beside this one"));
    }
    let denied = [(WOULD_EXECUTE, &called.executes), (WOULD_REACH, &called.reaches)].into_iter().find(|(_, found)| !found.is_empty());
    let Some((what, found)) = denied.filter(|_| !spec.execute) else { return Ok(()) };
    let found = found.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    Err(CapabilityError::new(Kind::Denied, format!("{what}, in a module that it calls: {found}")).hint(ALLOW_EXECUTE))
}

/// Brings what a module needs: from what was set up before, or by the program's `init`.
async fn bring(runner: &Runner<'_>, cx: Option<&EffectCx<'_>>, spec: &ModuleSpec) -> Result<(), CapabilityError> {
    let (work, version) = (runner.work, &runner.program.version);
    if work.is_ready(spec, version) && leads_everywhere(&work.folder.join(work::TERRAFORM)) {
        return Ok(());
    }
    let setup = runner.setups.of(spec, version);
    let lock = runner.setups.lock(cx).await?;
    if leads_everywhere(&setup.join(work::TERRAFORM)) {
        for name in MADE {
            remove(&work.folder.join(name)).map_err(|error| failed(&error, &work.folder))?;
        }
        copy(&setup, &work.folder).map_err(|error| failed(&error, &work.folder))?;
        return work.set_ready(spec, version);
    }
    // Values are written after this: what the program says now holds none.
    let ran = runner.run(cx, &["init", "-input=false", "-no-color"], &mut |_| {}).await?;
    if ran.code != 0 {
        return Err(CapabilityError::new(Kind::Failed, format!("the module can't be set up: {}", report::errors(&ran, true))));
    }
    runner.setups.keep(&setup, &work.folder);
    drop(lock);
    work.set_ready(spec, version)
}

/// Copies what `init` made; links to plugins stay links.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for name in MADE.into_iter().filter(|name| from.join(name).exists()) {
        copy_entry(&from.join(name), &to.join(name))?;
    }
    Ok(())
}

fn copy_entry(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if !kind.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_entry(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Tells whether a folder is there and every link in it leads somewhere: a cache of plugins may have been cleared.
fn leads_everywhere(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().all(|entry| match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().exists(),
        Ok(kind) if kind.is_dir() => leads_everywhere(&entry.path()),
        Ok(_) => true,
        Err(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_up_is_kept_with_its_links_and_only_so_much_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (work, plugins) = (folder.path().join("work"), folder.path().join("plugins"));
        fs::create_dir_all(work.join(".terraform/providers")).unwrap();
        fs::create_dir(&plugins).unwrap();
        fs::write(work.join(".terraform.lock.hcl"), "lock").unwrap();
        fs::write(work.join("main.tf"), "not made by init").unwrap();
        std::os::unix::fs::symlink(&plugins, work.join(".terraform/providers/random")).unwrap();
        let setups = Setups { folder: folder.path().join("setups"), settings: String::new() };
        fs::create_dir(&setups.folder).unwrap();
        for index in 0..KEPT_MAX + 3 {
            setups.keep(&setups.folder.join(format!("{index:03}")), &work);
        }
        let kept = setups.folder.join(format!("{:03}", KEPT_MAX + 2));
        assert!(leads_everywhere(&kept.join(".terraform")));
        assert!(kept.join(".terraform/providers/random").is_symlink() && !kept.join("main.tf").exists());
        assert_eq!(fs::read_dir(&setups.folder).unwrap().count(), KEPT_MAX);
        // Cleared plugins are brought again.
        fs::remove_dir(&plugins).unwrap();
        assert!(!leads_everywhere(&kept.join(".terraform")));
        assert!(!leads_everywhere(&setups.folder.join("never")));
    }
}
