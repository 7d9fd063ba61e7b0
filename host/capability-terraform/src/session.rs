//! Acts through the program; several modules run side by side.

use std::{
    io::{Read as _, Write as _},
    num::NonZeroUsize,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use serde_json::Value;
use tokio::sync::{OnceCell, Semaphore};
use windlass_engine::{
    apply::sent,
    host_access::HostAccess,
    session::{
        ActionRef, CapabilityError, CapabilityErrorKind as Kind, Depth, EffectCx, Observation, Observed, OpenConnection, Owner, Ownership,
        Phase, Preflight, ResolvedAction, Secret, SecretStore, Session, Step,
    },
    spec,
};
use windlass_model::{
    ActionId,
    event::DriftedField,
    platform::TerraformSettings,
    state::{EnvironmentKey, RecordedAction},
};

use crate::{
    backend::{Backend, PREFIX, Place, state_name},
    cli_config::{self, CliConfig},
    confinement::{self, Confinement, Wrapper},
    module,
    process::{Confinements, Runner},
    program::Program,
    run,
    setup::Setups,
    spec::ModuleSpec,
    state,
    work::{self, Work, failed},
};

/// Programs that run at once: each takes a processor and a hundred MiB.
const PARALLEL: usize = 4;

/// Where states are put that somebody else goes on with.
const RELEASED: &str = "released";

/// What runs modules of an environment.
pub(crate) struct TerraformSession {
    data: PathBuf,
    secrets: Arc<dyn SecretStore>,
    environment: EnvironmentKey,
    access: HostAccess,
    settings: TerraformSettings,
    wrapper: Option<Wrapper>,
    program: OnceCell<Program>,
    /// One for each program that may run.
    permits: Semaphore,
}

impl TerraformSession {
    pub(crate) fn new(
        data: PathBuf,
        secrets: Arc<dyn SecretStore>,
        connection: &OpenConnection,
        settings: TerraformSettings,
        wrapper: Option<Wrapper>,
    ) -> Self {
        let (environment, access) = (connection.environment.clone(), connection.access.clone());
        Self { data, secrets, environment, access, settings, wrapper, program: OnceCell::new(), permits: Semaphore::new(PARALLEL) }
    }

    /// Finds the program, when one is needed for the first time.
    async fn program(&self) -> Result<&Program, CapabilityError> {
        self.program.get_or_try_init(|| Program::find(&self.settings, &self.access)).await
    }

    /// Acts on several modules side by side; answers come in order.
    async fn each<T>(&self, acts: Vec<BoxFuture<'_, Result<T, CapabilityError>>>) -> Vec<Result<T, CapabilityError>> {
        let permitted = acts.into_iter().map(|act| async {
            let _permit = self.permits.acquire().await;
            act.await
        });
        join_all(permitted).await
    }

    fn place(&self, action: &ActionId) -> Place {
        Place { secrets: Arc::clone(&self.secrets), environment: self.environment.clone(), name: state_name(action) }
    }

    fn work(&self, action: &ActionId) -> Work {
        Work::new(self.data.join(work::short(&format!("{} {action}", self.environment))))
    }

    /// Lays a module out for a run.
    async fn prepare(&self, action: &ActionId, spec: &ModuleSpec) -> Result<Prepared<'_>, CapabilityError> {
        let program = self.program().await?;
        let work = self.work(action);
        let plugins = self.folder("plugins")?;
        let settings = serde_json::to_string(&self.settings).unwrap_or_default();
        let setups = Setups { folder: self.folder("setups")?, settings };
        let cli_config = cli_config::write(&self.folder("settings")?, program.cli_config.as_deref())?;
        work.wait_for_leftover().await?;
        work.lay_out(spec)?;
        let place = self.place(action);
        let backend = Backend::start(place.clone()).await?;
        let wrapper = self.wrapper.as_ref();
        let confinement =
            if self.is_confined(program, spec) { Some(self.confinements(program, &work, &plugins, &cli_config, spec)?) } else { None };
        Ok(Prepared { program, work, place, backend, plugins, setups, cli_config, wrapper, confinement, is_open: spec.is_open() })
    }

    /// Returns whether the kernel confines the runs of a module. Granting execution is granting what this process may do.
    fn is_confined(&self, program: &Program, spec: &ModuleSpec) -> bool {
        self.wrapper.is_some() && program.is_confined && !spec.execute && confinement::is_available()
    }

    /// Notes that nothing confines a module that should be.
    fn note_unconfined(&self, cx: &EffectCx<'_>, id: &ActionId, program: &Program, spec: &ModuleSpec) {
        if program.is_confined && !spec.execute && self.wrapper.is_some() && !confinement::is_available() {
            cx.events.note(id, "this kernel has no Landlock: the module's providers can read every file that this process can");
        }
    }

    fn confinements(
        &self,
        program: &Program,
        work: &Work,
        plugins: &Path,
        cli_config: &CliConfig,
        spec: &ModuleSpec,
    ) -> Result<Confinements, CapabilityError> {
        if is_script(&program.path) {
            let message =
                format!("`{}` is a script: it starts other programs, and runs of modules are confined to one", program.path.display());
            return Err(CapabilityError::new(Kind::Failed, message)
                .hint("name the program itself, or let the connection say `terraform: { confined: false }`"));
        }
        // Files that the connection lends by an absolute path: certificates, credentials of a cloud.
        let lent = program.environment.values().map(|value| PathBuf::from(value.expose()));
        let lent = lent.filter(|path| path.is_absolute() && path.exists() && !self.data.starts_with(path));
        let run = Confinement::of_run()
            .reading([cli_config.path.clone()])
            .reading(lent)
            .starting([program.path.clone()])
            .starting(cli_config.mirrors.iter().cloned())
            .writing([work.folder.clone()]);
        let repositories = module::read(&spec.files).map(|module| module.local_repositories().map(PathBuf::from).collect());
        let repositories: Vec<PathBuf> = repositories.unwrap_or_default();
        let set_up = run.clone().with_installed().reading(repositories).writing([plugins.to_path_buf()]);
        Ok(Confinements { set_up, run: run.starting([plugins.to_path_buf()]) })
    }

    fn folder(&self, name: &str) -> Result<PathBuf, CapabilityError> {
        let path = self.data.join(name);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|error| failed(&error, &path))?;
        Ok(path)
    }

    async fn ensure_one(&self, cx: &EffectCx<'_>, action: &ResolvedAction) -> Result<Step, CapabilityError> {
        let spec: ModuleSpec = spec::read(&action.spec)?;
        let version = self.program().await?.version.clone();
        let prepared = self.prepare(&action.id, &spec).await?;
        self.note_unconfined(cx, &action.id, prepared.program, &spec);
        let changed = run::apply(&prepared.runner(), cx, &action.id, &prepared.place, &spec, false).await?;
        let state = prepared.place.read().await?;
        Ok(Step::Done(run::observed(state.as_ref(), &spec, &version, changed)?))
    }

    async fn delete_one(&self, cx: &EffectCx<'_>, action: &RecordedAction) -> Result<Step, CapabilityError> {
        let place = self.place(&action.id);
        let work = self.work(&action.id);
        let gone = |changed| Ok(Step::Done(Observed { changed, ..Observed::default() }));
        if place.read().await?.is_none() && !work.is_cut_off() {
            work.remove();
            return gone(false);
        }
        // Values that were sent: the providers of the module may need them to take things away.
        let value = sent(self.secrets.as_ref(), &self.environment, action).unwrap_or_else(|| action.spec.to_value());
        let spec: ModuleSpec = spec::read(&value)?;
        let prepared = self.prepare(&action.id, &spec).await?;
        run::apply(&prepared.runner(), cx, &action.id, &prepared.place, &spec, true).await?;
        drop(prepared);
        place.remove().await?;
        work.remove();
        gone(true)
    }

    /// Hands the state to whoever goes on with the module: as a file, and nothing of it stays here.
    async fn release_one(&self, cx: &EffectCx<'_>, action: &RecordedAction) -> Result<(), CapabilityError> {
        let (place, work) = (self.place(&action.id), self.work(&action.id));
        if let Some(state) = place.read().await? {
            let folder = self.folder(RELEASED)?;
            let path = folder.join(format!("{}.tfstate", work.name()));
            write_private(&path, &state.to_string())?;
            cx.events.note(&action.id, &format!("its state is now yours: {}", path.display()));
        }
        place.remove().await?;
        work.remove();
        Ok(())
    }

    async fn observe_one(&self, action: &ActionRef<'_>, depth: Depth) -> Result<Observation, CapabilityError> {
        let Some(state) = self.place(action.id).read().await? else {
            // A run that was cut off may have made something, and could not say so.
            if self.work(action.id).is_cut_off() {
                return Ok(Observation::new(action.identity, Ownership::Ours, Phase::Present, vec![field("/state", None, None)]));
            }
            return Ok(Observation::new(action.identity, Ownership::None, Phase::Absent, Vec::new()));
        };
        let mut drift = Vec::new();
        let recorded = action.handle.get("serial").and_then(Value::as_u64);
        if action.handle.get("lineage") != state.get("lineage") || recorded.is_some_and(|recorded| recorded != state::serial(&state)) {
            drift.push(field("/serial", recorded.map(Value::from), Some(Value::from(state::serial(&state)))));
        }
        if depth == Depth::Full {
            let spec: ModuleSpec = spec::read(action.spec)?;
            let prepared = self.prepare(action.id, &spec).await?;
            let found = run::drift(&prepared.runner(), &prepared.place, &spec).await?;
            drift.extend(found.into_iter().map(|address| field(&format!("/{address}"), None, None)));
        }
        Ok(Observation::new(action.identity, Ownership::Ours, Phase::Present, drift))
    }
}

/// A module that is laid out; what holds values goes with it.
struct Prepared<'p> {
    program: &'p Program,
    work: Work,
    place: Place,
    backend: Backend,
    plugins: PathBuf,
    setups: Setups,
    cli_config: CliConfig,
    wrapper: Option<&'p Wrapper>,
    confinement: Option<Confinements>,
    is_open: bool,
}

impl Prepared<'_> {
    fn runner(&self) -> Runner<'_> {
        Runner {
            program: self.program,
            work: &self.work,
            backend: &self.backend,
            plugins: &self.plugins,
            setups: &self.setups,
            cli_config: &self.cli_config,
            wrapper: self.wrapper,
            confinement: self.confinement.as_ref(),
            is_open: self.is_open,
        }
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        self.work.sweep();
    }
}

fn field(pointer: &str, recorded: Option<Value>, found: Option<Value>) -> DriftedField {
    DriftedField { pointer: pointer.to_owned(), recorded, found, by: None }
}

/// Writes what nobody else may read.
fn write_private(path: &Path, text: &str) -> Result<(), CapabilityError> {
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| failed(&error, path))
}

/// Returns whether a program is a text that another one reads.
fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok_and(|()| &start == b"#!")
}

#[async_trait]
impl Session for TerraformSession {
    async fn observe(&self, _: &Owner, actions: &[ActionRef<'_>], depth: Depth) -> Vec<Result<Observation, CapabilityError>> {
        self.each(actions.iter().map(|action| self.observe_one(action, depth).boxed()).collect()).await
    }

    async fn preflight(&self, _: &EffectCx<'_>, actions: &[Preflight]) -> Vec<Result<(), CapabilityError>> {
        // A state is ours alone; what can be missing is the program.
        vec![self.program().await.map(drop); actions.len()]
    }

    fn at_once(&self) -> Option<NonZeroUsize> {
        // Each takes its turn here, see `permits`: what is short is not held back by what takes minutes.
        Some(NonZeroUsize::MAX)
    }

    async fn ensure(&self, cx: &EffectCx<'_>, actions: &[ResolvedAction]) -> Vec<Result<Step, CapabilityError>> {
        self.each(actions.iter().map(|action| self.ensure_one(cx, action).boxed()).collect()).await
    }

    async fn delete(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>> {
        self.each(actions.iter().map(|action| self.delete_one(cx, action).boxed()).collect()).await
    }

    async fn adopt(&self, id: &ActionId, given: &Secret) -> Result<(), CapabilityError> {
        let place = self.place(id);
        let Some(state) = state::parse(given.expose()).ok().filter(state::is_complete) else {
            return Err(CapabilityError::new(Kind::Failed, "this is no state: it needs a `lineage` and a `serial`")
                .hint("`tofu state pull` writes one"));
        };
        match place.read().await? {
            None => place.write(given.expose()).await,
            // Brought by an attempt that was overtaken then.
            Some(kept) if kept == state => Ok(()),
            Some(_) => Err(CapabilityError::new(Kind::Conflict, "the module has a state already")),
        }
    }

    async fn preview(&self, id: &ActionId, spec: &Value) -> Result<Option<Vec<String>>, CapabilityError> {
        let spec: ModuleSpec = spec::read(spec)?;
        let prepared = self.prepare(id, &spec).await?;
        run::preview(&prepared.runner(), &prepared.place, &spec).await.map(Some)
    }

    async fn release(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<(), CapabilityError>> {
        self.each(actions.iter().map(|action| self.release_one(cx, action).boxed()).collect()).await
    }

    async fn list_ours(&self, _: &Owner) -> Result<Vec<Observation>, CapabilityError> {
        let known = self.secrets.list(&self.environment).await?;
        Ok(known.keys().filter_map(|name| name.strip_prefix(PREFIX)).map(|action| Observation::ours(format!("module/{action}"))).collect())
    }
}
