//! The composition root: store, secrets, runtime and platform of one data folder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use windlass_capability_aws::{
    Accounts, AwsOptions, EksTokens, SecretsManagerExecutor,
    rds::{RdsExecutor, RdsPlanner},
    route53::{Route53Executor, Route53Planner},
};
use windlass_capability_directory::{DirectoryExecutor, ObjectsPlanner};
use windlass_capability_kubernetes::{ClusterOptions, KubernetesExecutor};
use windlass_capability_postgres::{DatabasesPlanner, PostgresExecutor};
use windlass_capability_secrets::{EmbeddedSecrets, GeneratedExecutor, GeneratedPlanner, Keyring};
use windlass_capability_terraform::{ModulesPlanner, TerraformExecutor};
use windlass_capability_vault::{ExternalPlanner, VaultExecutor};
use windlass_document::{LoadedPlatform, load_platform};
use windlass_engine::{
    PlanInput, Planners,
    apply::{Engine, Request},
    authorize::AllowAll,
    driver::DriverHost as _,
    plan::Connections,
    session::SecretStore,
    store::{EnvironmentState, Store},
};
use windlass_model::{
    Diagnostic, Digest,
    application::{Model, Provenance},
    canonical,
    event::{Actor, DeploymentNumber, Verb},
    name::{ApplicationName, EnvironmentName, EnvironmentTypeName},
    plan::Plan,
    platform::{DriverReference, LayerName, Layers, Platform},
    state::EnvironmentKey,
};
use windlass_runtime::{HostSettings, WasmHost};
use windlass_source::Components;
use windlass_store::SqliteStore;

use crate::{
    arguments::{Applying, Environment, Global},
    builtin,
    exit::{Code, Failure, Reason},
    observer::Terminal,
    print,
};

/// What planning needs, and nothing that acts.
pub(crate) struct Planning {
    pub planners: Planners,
    pub components: Arc<Components>,
    pub host: WasmHost,
    pub built_in: Arc<Platform>,
    pub built_in_provenance: Provenance,
}

/// Everything of one data folder.
pub(crate) struct Workspace {
    pub planning: Planning,
    pub store: Arc<dyn Store>,
    pub secrets: Arc<dyn SecretStore>,
    pub data: PathBuf,
    cluster_options: ClusterOptions,
    /// How many deployments of an environment are kept.
    pub keep_deployments: std::num::NonZeroU32,
}

/// A plan with what it was made of.
pub(crate) struct Planned {
    pub input: PlanInput,
    pub plan: Plan,
    pub provenance: Provenance,
    pub driver_calls: u64,
    pub given_platform: bool,
    /// Somebody approved exactly this: it came as a file.
    pub is_exact: bool,
}

/// Returns the planners of this build.
pub(crate) fn planners() -> Planners {
    Planners::new([
        Arc::new(ObjectsPlanner) as Arc<dyn windlass_engine::planner::Planner>,
        Arc::new(GeneratedPlanner),
        Arc::new(DatabasesPlanner),
        Arc::new(RdsPlanner),
        Arc::new(Route53Planner),
        Arc::new(ModulesPlanner),
        Arc::new(ExternalPlanner),
    ])
}

impl Planning {
    /// Sets planning up; compiled code is kept in the user's cache folder.
    pub(crate) fn new() -> Result<Self, Failure> {
        let planners = planners();
        let components = Arc::new(Components::default());
        let (built_in, built_in_provenance) = builtin::load(&components)?;
        let parallelism = std::thread::available_parallelism().map_or(2, usize::from);
        let settings = HostSettings { cache: code_cache(), parallelism };
        let host = WasmHost::new(&settings, &planners, components.clone())?;
        Ok(Self { planners, components, host, built_in, built_in_provenance })
    }

    /// Reads platform documents of a folder and the components that they name.
    pub(crate) fn load(&self, folder: &Path) -> Result<(Platform, Provenance), Failure> {
        let LoadedPlatform { mut platform, provenance, component_files, fetched } = load_platform(folder)?;
        for module in fetched {
            print::note(&format!("{} at {} is commit {}", module.repository, module.reference, module.commit));
        }
        for (key, path) in component_files {
            let digest = self
                .components
                .add_file(&key, &path)
                .map_err(|error| Failure::new(Code::BadInput, error.to_string()).hint("build the component, and check the path"))?;
            platform.components.insert(key, digest);
        }
        for (key, digest) in &self.built_in.components {
            platform.components.entry(key.clone()).or_insert(*digest);
        }
        let references =
            platform.definitions.values().map(|definition| (format!("ResourceDefinition/{}", definition.name()), &definition.spec.driver));
        let stages = platform
            .profiles
            .values()
            .flat_map(|profile| profile.spec.stages.iter().map(|stage| (format!("WorkloadProfile/{}", profile.name()), &stage.driver)));
        let mut problems = Vec::new();
        for (document, reference) in references.chain(stages) {
            if let DriverReference::Builtin(name) = reference
                && platform.component(reference).is_none()
            {
                let known: Vec<&str> = self.built_in.components.keys().filter_map(|key| key.strip_prefix("builtin:")).collect();
                let near = windlass_resolve::nearest(name, known.iter().copied())
                    .map_or_else(|| format!("built-in drivers: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
                problems.push(
                    Diagnostic::error("unknown-driver", format!("there is no built-in driver `{name}`"))
                        .on(document)
                        .at("/spec/driver")
                        .hint(near),
                );
            }
        }
        if problems.is_empty() {
            problems = self.misfits(&platform)?;
        }
        let (errors, warnings): (Vec<Diagnostic>, Vec<Diagnostic>) = problems.into_iter().partition(Diagnostic::is_error);
        print::diagnostics(&warnings.into_iter().map(|warning| (warning, None)).collect::<Vec<_>>());
        if errors.is_empty() { Ok((platform, provenance)) } else { Err(located(errors, &provenance)) }
    }

    /// Asks every driver what it is, once, and compares that with the type that it is used for.
    fn misfits(&self, platform: &Platform) -> Result<Vec<Diagnostic>, Failure> {
        let mut problems = Vec::new();
        for definition in platform.definitions.values() {
            let Some(component) = platform.component(&definition.spec.driver) else { continue };
            let kinds = [&platform.resource_types, &self.built_in.resource_types];
            let Some(kind) = kinds.iter().find_map(|kinds| kinds.get(definition.spec.r#type.as_str())) else { continue };
            match self.host.describe(&component) {
                Ok(description) => problems.extend(windlass_engine::register::check(definition, kind, &description)),
                Err(fault) => {
                    problems.push(Diagnostic::from(fault).on(format!("ResourceDefinition/{}", definition.name())).at("/spec/driver"))
                }
            }
        }
        Ok(problems)
    }

    /// Plans; errors name the places of their documents.
    pub(crate) fn plan(&self, input: &PlanInput, provenance: &Provenance) -> Result<(Plan, u64), Failure> {
        let output = windlass_engine::plan(input, &self.planners, &self.host);
        match output.plan {
            Some(plan) => Ok((plan, output.driver_calls)),
            None => Err(located(output.diagnostics, provenance)),
        }
    }
}

/// Looks up where findings stand.
pub(crate) fn located(diagnostics: Vec<Diagnostic>, provenance: &Provenance) -> Failure {
    let policy = !diagnostics.is_empty() && diagnostics.iter().all(|diagnostic| diagnostic.code.starts_with("policy-"));
    let reason = diagnostics
        .into_iter()
        .map(|diagnostic| {
            let place = provenance.0.get(&diagnostic.subject).map(|file| file.locate(&diagnostic.pointer));
            (diagnostic, place)
        })
        .collect();
    Failure { code: if policy { Code::Policy } else { Code::BadInput }, reason: Reason::Diagnostics(reason) }
}

/// Tests can't wait as long as a real instance takes: `WINDLASS_AWS_POLL_MS` shortens the pauses, in debug builds only.
fn aws_options() -> AwsOptions {
    let shortened = std::env::var("WINDLASS_AWS_POLL_MS").ok().filter(|_| cfg!(debug_assertions)).and_then(|text| text.parse().ok());
    shortened.map_or_else(AwsOptions::default, |millis| AwsOptions { poll: std::time::Duration::from_millis(millis) })
}

fn code_cache() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.map(|base| base.join("windlass/code"))
}

impl Workspace {
    /// Opens a data folder.
    pub(crate) async fn open(global: &Global) -> Result<Self, Failure> {
        let planning = Planning::new()?;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&global.data_dir).await?);
        let keyring = match std::env::var("WINDLASS_KEY") {
            Ok(text) => Keyring::from_text(&text, "WINDLASS_KEY"),
            Err(_) => Keyring::from_file(&global.key_file.clone().unwrap_or_else(|| global.data_dir.join("key"))),
        }
        .map_err(Failure::failed)?;
        let secrets: Arc<dyn SecretStore> = Arc::new(EmbeddedSecrets::new(Arc::clone(&store), keyring));
        Ok(Self {
            planning,
            store,
            secrets,
            data: global.data_dir.clone(),
            keep_deployments: global.keep_deployments,
            cluster_options: ClusterOptions { local_credentials: global.allow_local_credentials },
        })
    }

    /// Returns the engine with everything that acts.
    pub(crate) fn engine(&self) -> Engine {
        let accounts = Accounts::default();
        Engine {
            store: Arc::clone(&self.store),
            secrets: Arc::clone(&self.secrets),
            executors: vec![
                Arc::new(DirectoryExecutor::new(&self.data)),
                Arc::new(KubernetesExecutor::new(self.cluster_options).with_tokens(Arc::new(EksTokens::new(accounts.clone())))),
                Arc::new(PostgresExecutor),
                Arc::new(RdsExecutor::new(accounts.clone(), aws_options())),
                Arc::new(Route53Executor::new(accounts.clone())),
                Arc::new(SecretsManagerExecutor::new(accounts)),
                Arc::new(VaultExecutor),
                Arc::new(TerraformExecutor::new(&self.data, Arc::clone(&self.secrets))),
                Arc::new(GeneratedExecutor::new(Arc::clone(&self.secrets))),
            ],
            authorize: Arc::new(AllowAll),
            observer: Arc::new(Terminal),
        }
    }

    /// Finds the environment that is meant: by `--app`, or the only application that has it.
    pub(crate) async fn find(&self, environment: &Environment) -> Result<EnvironmentKey, Failure> {
        if let Some(application) = &environment.app {
            return Ok(EnvironmentKey { application: application.clone(), environment: environment.env.clone() });
        }
        let known: Vec<EnvironmentKey> = self
            .store
            .environments()
            .await?
            .into_iter()
            .map(|record| record.key)
            .filter(|key| key.environment == environment.env)
            .collect();
        match known.as_slice() {
            [key] => Ok(key.clone()),
            [] => Err(Failure::new(Code::BadInput, format!("there is no environment `{}`", environment.env))
                .hint("`windlass env list` shows the known ones")),
            several => Err(Failure::usage(format!("several applications have an environment `{}`", environment.env)).hint(format!(
                "say `--app {}`",
                several.iter().map(|key| key.application.to_string()).collect::<Vec<_>>().join("` or `--app ")
            ))),
        }
    }

    /// Loads an environment that must exist.
    pub(crate) async fn state(&self, key: &EnvironmentKey) -> Result<EnvironmentState, Failure> {
        self.store.load(key).await?.ok_or_else(|| missing_environment(key))
    }

    /// Returns the layers: given, stored, built-in.
    pub(crate) async fn layers(&self, given: Option<(Platform, Provenance)>) -> Result<(Layers, Provenance), Failure> {
        let mut layers = Vec::new();
        let mut provenance = self.planning.built_in_provenance.clone();
        let (stored, places) = self.store.platform().await?;
        if !stored.is_empty() {
            provenance.0.extend(places.0);
            self.load_components(&stored).await?;
            layers.push((LayerName::Stored, Arc::new(stored)));
        }
        if let Some((platform, places)) = given {
            provenance.0.extend(places.0);
            layers.insert(0, (LayerName::Given, Arc::new(platform)));
        }
        layers.push((LayerName::BuiltIn, Arc::clone(&self.planning.built_in)));
        Ok((Layers(layers), provenance))
    }

    /// Brings the components that a platform names into memory.
    pub(crate) async fn load_components(&self, platform: &Platform) -> Result<(), Failure> {
        use windlass_engine::driver::ComponentSource as _;
        for (name, digest) in &platform.components {
            if self.planning.components.bytes(digest).is_none()
                && let Some(bytes) = self.store.document(digest).await?
            {
                self.planning.components.add_known(name, *digest, Arc::new(bytes));
            }
        }
        Ok(())
    }

    /// Reads a stored JSON document.
    pub(crate) async fn read<T: serde::de::DeserializeOwned>(&self, what: &str, digest: &Digest) -> Result<T, Failure> {
        let bytes =
            self.store.document(digest).await?.ok_or_else(|| Failure::failed(format!("the store does not hold the {what} {digest}")))?;
        serde_json::from_slice(&bytes).map_err(|error| Failure::failed(format!("the stored {what} can't be read: {error}")))
    }

    /// Collects everything that planning may look at.
    pub(crate) async fn plan_input(
        &self,
        key: &EnvironmentKey,
        environment_type: &EnvironmentTypeName,
        state: Option<&EnvironmentState>,
        model: Model,
        layers: Layers,
    ) -> Result<PlanInput, Failure> {
        let secrets = self.secret_versions(key).await?;
        let last = state.and_then(|state| state.last.as_ref());
        let mut last_images = BTreeMap::new();
        if let Some(last) = last {
            let deployed: Model = self.read("model", &last.model).await?;
            let plan: Plan = self.read("plan", &last.plan).await?;
            last_images.extend(plan.images);
            for (workload, model) in &deployed.workloads {
                last_images.extend(model.images.iter().map(|(container, image)| (format!("{workload}/{container}"), image.clone())));
            }
        }
        let previous = match state.and_then(|state| state.last_succeeded.as_ref()) {
            Some(last) => Some(Arc::new(self.read::<Plan>("plan", &last.plan).await?)),
            None => None,
        };
        Ok(PlanInput {
            environment: key.clone(),
            environment_type: environment_type.clone(),
            model: Arc::new(model),
            layers,
            recorded: state.map(|state| state.recorded.clone()).unwrap_or_default(),
            claims: self.store.claims().await?,
            secrets,
            last_images,
            previous,
            destroy: false,
            follows: None,
            grants_at_most: None,
        })
    }

    /// Lists newest versions of the secrets that planning may refer to.
    pub(crate) async fn secret_versions(&self, key: &EnvironmentKey) -> Result<BTreeMap<String, u64>, Failure> {
        let mut secrets = self.secrets.list(key).await?;
        secrets.retain(|name, _| !name.starts_with("output/"));
        Ok(secrets)
    }

    /// Makes the request that applies a plan.
    pub(crate) fn request(
        &self,
        planned: &Planned,
        verb: Verb,
        applying: &Applying,
        rollback_to: Option<DeploymentNumber>,
    ) -> Result<Request, Failure> {
        use windlass_engine::driver::ComponentSource as _;
        let mut documents: BTreeMap<Digest, Arc<Vec<u8>>> = BTreeMap::new();
        let mut put = |bytes: Vec<u8>| {
            let digest = Digest::of_bytes(&bytes);
            documents.insert(digest, Arc::new(bytes));
            digest
        };
        put(canonical::to_vec(planned.input.model.as_ref()).map_err(Failure::failed)?);
        let layers = put(canonical::to_vec(&planned.input.layers).map_err(Failure::failed)?);
        let provenance = put(canonical::to_vec(&planned.provenance).map_err(Failure::failed)?);
        for digest in planned.plan.components.values() {
            if let Some(bytes) = self.planning.components.bytes(digest) {
                documents.insert(*digest, bytes);
            }
        }
        Ok(Request {
            connections: connections(&planned.input, &planned.plan)?,
            plan: Arc::new(planned.plan.clone()),
            verb,
            actor: actor(),
            allow_destroy: applying.allow_destroy,
            take_ownership: applying.take_ownership.iter().map(|object| identity_of(&planned.plan, object)).collect(),
            timeout: applying.timeout,
            layers,
            provenance,
            documents,
            given_platform: planned.given_platform,
            rollback_to,
        })
    }

    /// Returns the environment's type: the stored one, or the one to make it with.
    pub(crate) async fn ensure_environment(
        &self,
        key: &EnvironmentKey,
        create: Option<&EnvironmentTypeName>,
        layers: &Layers,
    ) -> Result<EnvironmentTypeName, Failure> {
        if let Some(state) = self.store.load(key).await? {
            if let Some(wanted) = create.filter(|wanted| **wanted != state.record.environment_type) {
                return Err(Failure::new(
                    Code::BadInput,
                    format!("`{key}` exists and is of type `{}`, not `{wanted}`", state.record.environment_type),
                ));
            }
            return Ok(state.record.environment_type);
        }
        let Some(environment_type) = create else { return Err(missing_environment(key)) };
        check_type(environment_type, layers)?;
        Ok(environment_type.clone())
    }
}

/// Refuses types that no document describes.
pub(crate) fn check_type(environment_type: &EnvironmentTypeName, layers: &Layers) -> Result<(), Failure> {
    let known: Vec<&str> =
        layers.iter().flat_map(|(_, platform)| platform.environment_types.keys().map(windlass_model::name::DocumentName::as_str)).collect();
    if known.contains(&environment_type.as_str()) {
        return Ok(());
    }
    let failure = Failure::new(Code::BadInput, format!("there is no environment type `{environment_type}`"));
    Err(match windlass_resolve::nearest(environment_type.as_str(), known.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!("known types: {}", known.join(", "))),
    })
}

fn missing_environment(key: &EnvironmentKey) -> Failure {
    Failure::new(Code::BadInput, format!("there is no environment `{}` of `{}`", key.environment, key.application)).hint(format!(
        "`windlass env create {} --type development --app {}`, or add `--create-env development`",
        key.environment, key.application
    ))
}

/// Returns the connections that a plan and the recorded state name.
fn connections(
    input: &PlanInput,
    plan: &Plan,
) -> Result<BTreeMap<windlass_model::name::DocumentName, windlass_model::platform::ConnectionSettings>, Failure> {
    let chosen = Connections::choose(input).map_err(|problems| located(problems, &Provenance::default()))?;
    let of_actions = plan.actions().map(|action| action.connection.clone());
    Ok(of_actions
        .chain(windlass_engine::plan::stores(plan))
        .filter_map(|name| chosen.by_name(&name).map(|settings| (name, settings)))
        .collect())
}

/// Reads an object as people write it.
fn identity_of(plan: &Plan, object: &str) -> String {
    plan.actions()
        .find(|action| action.identity == object || crate::print::object(&action.identity) == object || action.id.as_str() == object)
        .map_or_else(|| object.to_owned(), |action| action.identity.clone())
}

/// Returns who acts: the user of the operating system.
pub(crate) fn actor() -> Actor {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned());
    Actor { subject: format!("user:{user}") }
}

/// Names an environment of an application that was read.
pub(crate) fn key(application: &ApplicationName, environment: &EnvironmentName) -> EnvironmentKey {
    EnvironmentKey { application: application.clone(), environment: environment.clone() }
}

impl Planned {
    /// Returns the digests and bytes of components that are not built in.
    pub(crate) fn foreign_components(&self, planning: &Planning) -> BTreeMap<Digest, Arc<Vec<u8>>> {
        use windlass_engine::driver::ComponentSource as _;
        let built_in: Vec<&Digest> = planning.built_in.components.values().collect();
        self.plan
            .components
            .values()
            .filter(|digest| !built_in.contains(digest))
            .filter_map(|digest| planning.components.bytes(digest).map(|bytes| (*digest, bytes)))
            .collect()
    }
}

/// Describes a component, for people.
pub(crate) fn component_line(planning: &Planning, digest: &Digest) -> String {
    match planning.host.inspect(digest) {
        Ok(info) => format!(
            "{digest}{}{}",
            info.source.as_ref().map(|source| format!(", source {source}")).unwrap_or_default(),
            info.revision.as_ref().map(|revision| format!(", revision {revision}")).unwrap_or_default()
        ),
        Err(fault) => format!("{digest} ({})", fault.fault),
    }
}
