//! Acts on a folder of manifests.

use std::{
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use windlass_engine::{
    plan::DIRECTORY_DEFAULT,
    session::{
        ActionRef, CapabilityError, CapabilityErrorKind as Kind, Depth, EffectCx, Executor, Insistence, Observation, Observed,
        OpenConnection, Owner, Ownership, Phase, Preflight, ResolvedAction, Session, Step,
    },
};
use windlass_model::{
    Digest,
    differences::{Difference, differences},
    event::DriftedField,
    platform::{ConnectionSettings, SecretFiles, of_environment},
    state::RecordedAction,
};

use crate::{
    files::Folder,
    inventory::{Entry, Inventory},
    yaml::to_yaml,
};

/// Opens folders of manifests below a data folder.
#[derive(Clone, Debug)]
pub struct DirectoryExecutor {
    data: PathBuf,
}

impl DirectoryExecutor {
    /// Takes the data folder: relative paths of connections start there.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { data: data.to_path_buf() }
    }

    /// Returns the folder of a connection. A path that leaves the data folder is a file of the machine that a document names.
    fn folder(&self, path: &str, connection: &OpenConnection) -> Result<PathBuf, CapabilityError> {
        let folder = self.data.join(path);
        let stays = Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if stays { Ok(folder) } else { connection.access.file(&folder) }
    }
}

#[async_trait]
impl Executor for DirectoryExecutor {
    fn interface(&self) -> &'static str {
        "windlass:kubernetes/objects"
    }

    fn connection_kind(&self) -> &'static str {
        "directory"
    }

    async fn open(&self, connection: &OpenConnection) -> Result<Arc<dyn Session>, CapabilityError> {
        let ConnectionSettings::Directory { directory } = &connection.settings else {
            return Err(CapabilityError::new(Kind::Invalid, format!("connection `{}` is no directory", connection.name)));
        };
        let environment = &connection.environment;
        let path = of_environment(directory.path.as_deref().unwrap_or(DIRECTORY_DEFAULT), environment);
        let folder = Folder::new(self.folder(&path, connection)?);
        let secrets = directory.secrets.unwrap_or(if folder.in_git_tree() { SecretFiles::Omit } else { SecretFiles::Plain });
        let inventory_path = format!(".windlass/{}.{}.json", environment.application, environment.environment);
        folder.sweep();
        Ok(Arc::new(DirectorySession { folder, secrets, inventory_path, lock: Mutex::new(()) }))
    }
}

struct DirectorySession {
    folder: Folder,
    secrets: SecretFiles,
    inventory_path: String,
    lock: Mutex<()>,
}

impl DirectorySession {
    fn locked(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inventory(&self) -> Result<Inventory, CapabilityError> {
        match self.folder.read(&self.inventory_path).map_err(failed)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                CapabilityError::new(
                    Kind::Failed,
                    format!("the inventory {} can't be read: {error}", self.folder.root().join(&self.inventory_path).display()),
                )
                .hint("restore it, or remove it and the folder's files")
            }),
            None => Ok(Inventory::default()),
        }
    }

    fn save(&self, inventory: &Inventory) -> Result<(), CapabilityError> {
        if inventory.files.is_empty() {
            return self.folder.remove(&self.inventory_path).map_err(failed);
        }
        let mut bytes = serde_json::to_vec_pretty(inventory).map_err(|error| CapabilityError::new(Kind::Failed, error.to_string()))?;
        bytes.push(b'\n');
        self.folder.write(&self.inventory_path, &bytes, false).map_err(failed)
    }

    /// Another installation or environment that keeps its files here is asked for, not overwritten.
    fn check_owner(&self, inventory: &Inventory, owner: &Owner, take: bool) -> Result<(), CapabilityError> {
        if inventory.owner.is_empty() || inventory.owner == owner.to_string() || take {
            return Ok(());
        }
        Err(CapabilityError::new(Kind::Conflict, format!("the folder {} belongs to `{}`", self.folder.root().display(), inventory.owner))
            .hint("use another folder, or take it over with `--take-ownership OBJECT`"))
    }

    /// Tells whose a file is: unknown content under a known path is somebody's edit.
    fn check_file(&self, inventory: &Inventory, path: &str, take: bool) -> Result<Option<Digest>, CapabilityError> {
        let Some(bytes) = self.folder.read(path).map_err(failed)? else { return Ok(None) };
        let digest = Digest::of_bytes(&bytes);
        let shown = self.folder.root().join(path).display().to_string();
        match inventory.files.get(path) {
            Some(entry) if entry.knows(&digest) => Ok(Some(digest)),
            _ if take => Ok(Some(digest)),
            Some(_) => Err(CapabilityError::new(Kind::Conflict, format!("somebody edited {shown}"))
                .hint("bring the edit into a document, or overwrite it with `--take-ownership OBJECT`")),
            None => Err(CapabilityError::new(Kind::Conflict, format!("{shown} exists and is not ours"))
                .hint("move it away, or take it over with `--take-ownership OBJECT`")),
        }
    }

    fn omitted(&self, spec: &Value) -> bool {
        self.secrets == SecretFiles::Omit && is_secret(spec)
    }

    fn ensure_batch(&self, cx: &EffectCx<'_>, actions: &[ResolvedAction]) -> Result<Vec<Result<Step, CapabilityError>>, CapabilityError> {
        let _lock = self.locked();
        let mut inventory = self.inventory()?;
        let take = actions.iter().any(|action| action.insistence == Insistence::TakeOver);
        self.check_owner(&inventory, cx.owner, take)?;
        inventory.owner = cx.owner.to_string();
        let mut results: Vec<Result<Step, CapabilityError>> = Vec::with_capacity(actions.len());
        let mut writes: Vec<(usize, String, Vec<u8>, bool)> = Vec::new();
        let before = inventory.clone();
        for (index, action) in actions.iter().enumerate() {
            if self.omitted(&action.spec) {
                cx.events.note(&action.id, "not written: secrets stay out of this folder");
                results.push(Ok(Step::Done(Observed { handle: json!({ "omitted": true }), ..Observed::default() })));
                continue;
            }
            let path = path_of(&action.spec);
            let content = to_yaml(&action.spec).into_bytes();
            let digest = Digest::of_bytes(&content);
            match self.check_file(&inventory, &path, action.insistence == Insistence::TakeOver) {
                Ok(found) if found == Some(digest) && inventory.files.get(&path).is_some_and(|entry| entry.next.is_none()) => {
                    results.push(Ok(done(&path, &digest, false)));
                }
                Ok(found) => {
                    let entry = inventory.files.entry(path.clone()).or_insert(Entry { sha256: None, next: None });
                    // Taken over or half-written: what is there now is ours from here on.
                    if let Some(found) = found {
                        entry.sha256 = Some(found);
                    }
                    entry.next = Some(digest);
                    if found != Some(digest) {
                        writes.push((index, path.clone(), content, is_secret(&action.spec)));
                    }
                    results.push(Ok(done(&path, &digest, found != Some(digest))));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        if inventory != before {
            self.save(&inventory)?;
        }
        for (index, path, content, secret) in writes {
            if let Err(error) = self.folder.write(&path, &content, secret)
                && let Some(result) = results.get_mut(index)
            {
                *result = Err(failed(error));
            }
        }
        let mut after = inventory.clone();
        for entry in after.files.values_mut() {
            if let Some(next) = entry.next.take() {
                entry.sha256 = Some(next);
            }
        }
        if after != inventory {
            self.save(&after)?;
        }
        Ok(results)
    }

    /// Says which files would be refused, before any is written.
    fn preflight_batch(&self, owner: &Owner, actions: &[Preflight]) -> Result<Vec<Result<(), CapabilityError>>, CapabilityError> {
        let inventory = self.inventory()?;
        let taken = |action: &Preflight| action.insistence == Insistence::TakeOver;
        self.check_owner(&inventory, owner, actions.iter().any(taken))?;
        let check = |action: &Preflight| match self.omitted(&action.spec) {
            true => Ok(()),
            false => self.check_file(&inventory, &path_of(&action.spec), taken(action)).map(drop),
        };
        Ok(actions.iter().map(check).collect())
    }

    fn delete_batch(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Result<Vec<Result<Step, CapabilityError>>, CapabilityError> {
        let _lock = self.locked();
        let mut inventory = self.inventory()?;
        self.check_owner(&inventory, cx.owner, false)?;
        let mut results = Vec::with_capacity(actions.len());
        for action in actions {
            let path = action.handle.get("path").and_then(Value::as_str).map_or_else(|| path_of(&action.spec.to_value()), str::to_owned);
            let removed = if action.handle.get("omitted").is_some() {
                Ok(())
            } else {
                let ours =
                    self.check_file(&inventory, &path, false).map_err(|error| error.hint("put it back as it was, or remove the file"));
                ours.and_then(|_| self.folder.remove(&path).map_err(failed))
            };
            results.push(removed.map(|()| {
                inventory.files.remove(&path);
                Step::Done(Observed { changed: true, ..Observed::default() })
            }));
        }
        self.save(&inventory)?;
        Ok(results)
    }
}

fn done(path: &str, digest: &Digest, changed: bool) -> Step {
    Step::Done(Observed { handle: json!({ "path": path, "sha256": digest.to_string() }), changed, ..Observed::default() })
}

fn is_secret(spec: &Value) -> bool {
    spec.get("kind").and_then(Value::as_str) == Some("Secret")
}

/// Names an object's file: `NAMESPACE|_cluster/KIND.GROUP-NAME.yaml`.
fn path_of(spec: &Value) -> String {
    let identity = windlass_manifest::identity(spec);
    let mut parts = identity.split('/');
    let (group, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default().to_lowercase());
    let (namespace, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let folder = if namespace.is_empty() { "_cluster" } else { namespace };
    let dot = if group.is_empty() { "" } else { "." };
    format!("{folder}/{kind}{dot}{group}-{name}.yaml")
}

fn failed(error: std::io::Error) -> CapabilityError {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Kind::Denied,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::Quota,
        _ => Kind::Failed,
    };
    CapabilityError::new(kind, error.to_string())
}

#[async_trait]
impl Session for DirectorySession {
    async fn observe(&self, owner: &Owner, actions: &[ActionRef<'_>], depth: Depth) -> Vec<Result<Observation, CapabilityError>> {
        let inventory = match self.inventory() {
            Ok(inventory) => inventory,
            Err(error) => return error.of_each(actions.len()),
        };
        actions
            .iter()
            .map(|action| {
                let mut observation = Observation {
                    identity: action.identity.to_owned(),
                    owner: Ownership::None,
                    intact: true,
                    phase: Phase::Present,
                    outputs: Map::new(),
                    drift: Vec::new(),
                    unseen: Vec::new(),
                };
                if action.handle.get("omitted").is_some() {
                    observation.owner = Ownership::Ours;
                    return Ok(observation);
                }
                let path = action.handle.get("path").and_then(Value::as_str).map(str::to_owned).unwrap_or_else(|| path_of(action.spec));
                let Some(bytes) = self.folder.read(&path).map_err(failed)? else {
                    return Ok(Observation { phase: Phase::Absent, intact: false, ..observation });
                };
                let digest = Digest::of_bytes(&bytes);
                let entry = inventory.files.get(&path);
                observation.owner = match entry {
                    Some(_) if inventory.owner == owner.to_string() => Ownership::Ours,
                    Some(_) => Ownership::Other(inventory.owner.clone()),
                    None => Ownership::None,
                };
                observation.intact = entry.is_some_and(|entry| entry.next.is_none() && entry.sha256 == Some(digest));
                if depth == Depth::Full && !observation.intact {
                    let found: Value =
                        std::str::from_utf8(&bytes).ok().and_then(|text| serde_saphyr::from_str(text).ok()).unwrap_or(Value::Null);
                    observation.drift = drift(action.spec, &found);
                    if is_secret(action.spec) {
                        // A report is for everyone to see.
                        observation.drift.iter_mut().for_each(|field| (field.recorded, field.found) = (None, None));
                    }
                }
                Ok(observation)
            })
            .collect()
    }

    async fn preflight(&self, cx: &EffectCx<'_>, actions: &[Preflight]) -> Vec<Result<(), CapabilityError>> {
        self.preflight_batch(cx.owner, actions).unwrap_or_else(|error| error.of_each(actions.len()))
    }

    async fn ensure(&self, cx: &EffectCx<'_>, actions: &[ResolvedAction]) -> Vec<Result<Step, CapabilityError>> {
        self.ensure_batch(cx, actions).unwrap_or_else(|error| error.of_each(actions.len()))
    }

    async fn delete(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>> {
        self.delete_batch(cx, actions).unwrap_or_else(|error| error.of_each(actions.len()))
    }

    async fn release(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<(), CapabilityError>> {
        let forget = || -> Result<(), CapabilityError> {
            let _lock = self.locked();
            let mut inventory = self.inventory()?;
            self.check_owner(&inventory, cx.owner, false)?;
            for path in actions.iter().filter_map(|action| action.handle.get("path").and_then(Value::as_str)) {
                inventory.files.remove(path);
            }
            self.save(&inventory)
        };
        let forgotten = forget();
        vec![forgotten; actions.len()]
    }

    async fn list_ours(&self, owner: &Owner) -> Result<Vec<Observation>, CapabilityError> {
        let inventory = self.inventory()?;
        if inventory.owner != owner.to_string() {
            return Ok(Vec::new());
        }
        let mut seen = Vec::new();
        for (path, entry) in &inventory.files {
            let Some(bytes) = self.folder.read(path).map_err(failed)? else { continue };
            let manifest: Value =
                std::str::from_utf8(&bytes).ok().and_then(|text| serde_saphyr::from_str(text).ok()).unwrap_or(Value::Null);
            seen.push(Observation {
                identity: windlass_manifest::identity(&manifest),
                owner: Ownership::Ours,
                intact: entry.sha256 == Some(Digest::of_bytes(&bytes)),
                phase: Phase::Present,
                outputs: Map::new(),
                drift: Vec::new(),
                unseen: Vec::new(),
            });
        }
        Ok(seen)
    }
}

fn drift(recorded: &Value, found: &Value) -> Vec<DriftedField> {
    let mut out = Vec::new();
    differences(recorded, found, &|_| false, &mut |at, Difference { from, to }| {
        out.push(DriftedField { pointer: at.to_string(), recorded: from.cloned(), found: to.cloned(), by: None });
    });
    out
}
