//! The composition root: store, secrets, runtime and platform of one data folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use windlass_capability_aws::{Accounts, AwsOptions, EksTokens, SecretsManagerExecutor, rds::RdsExecutor, route53::Route53Executor};
use windlass_capability_directory::DirectoryExecutor;
use windlass_capability_kubernetes::{ClusterOptions, KubernetesExecutor};
use windlass_capability_postgres::PostgresExecutor;
use windlass_capability_secrets::{EmbeddedSecrets, GeneratedExecutor, Keyring};
use windlass_capability_terraform::{TerraformExecutor, Wrapper};
use windlass_capability_vault::VaultExecutor;
use windlass_engine::{
    PlanInput,
    apply::{Documents, Engine, Request},
    authorize::AllowAll,
    plan::Connections,
    session::SecretStore,
    store::{Authenticator, EnvironmentState, Store},
};
use windlass_model::{
    Digest,
    application::{Model, Provenance},
    canonical::{self, CanonicalError},
    event::{Actor, DeploymentNumber, Verb},
    identity::shown,
    name::{ApplicationName, DocumentName, EnvironmentName, EnvironmentTypeName},
    plan::Plan,
    platform::{ConnectionSettings, LayerName, Layers, Platform},
    state::EnvironmentKey,
};
use windlass_store::{DataFolder, SqliteStore};

use crate::{
    arguments::{Applying, Environment, Global},
    exit::{Code, Failure},
    observer::Terminal,
    planning::{Planning, located},
};

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
    pub plan: Arc<Plan>,
    pub provenance: Provenance,
    pub driver_calls: u64,
    /// Somebody approved exactly this: it came as a file.
    pub is_exact: bool,
}

/// Returns the platform that a deployment was given, beside what is stored.
pub(crate) fn given(layers: &Layers) -> Option<&Platform> {
    layers.0.iter().find(|(layer, _)| *layer == LayerName::Given).map(|(_, platform)| platform.as_ref())
}

/// Tests can't wait as long as a real instance takes: `WINDLASS_AWS_POLL_MS` shortens the pauses, in debug builds only.
/// Returns the command of this binary that confines itself before it becomes a program; it is the binary that runs, also where its file
/// was replaced meanwhile.
fn wrapper() -> Wrapper {
    Wrapper::new("/proc/self/exe", ["confined"])
}

fn aws_options() -> AwsOptions {
    let shortened = std::env::var("WINDLASS_AWS_POLL_MS").ok().filter(|_| cfg!(debug_assertions)).and_then(|text| text.parse().ok());
    let options = AwsOptions::default();
    shortened.map(std::time::Duration::from_millis).map_or(options, |pause| AwsOptions { poll: pause, pace: options.pace.min(pause) })
}

impl Workspace {
    /// Opens a data folder.
    pub(crate) async fn open(global: &Global) -> Result<Self, Failure> {
        // Side by side: one reads documents, the other waits for a disk.
        let planning = tokio::task::spawn_blocking(Planning::new);
        let folder = DataFolder::open(&global.data_dir)?;
        let keyring = Arc::new(keyring(global, &folder)?);
        let store = SqliteStore::open(&folder, Arc::clone(&keyring) as Arc<dyn Authenticator>).await;
        let planning = planning.await.map_err(Failure::failed)??;
        let store: Arc<dyn Store> = Arc::new(store?);
        let secrets: Arc<dyn SecretStore> = Arc::new(EmbeddedSecrets::new(Arc::clone(&store), keyring));
        Ok(Self {
            planning,
            store,
            secrets,
            data: global.data_dir.clone(),
            keep_deployments: global.keep_deployments,
            cluster_options: ClusterOptions { local_credentials: global.allow_local_credentials, insecure: global.insecure_transport() },
        })
    }

    /// Returns the engine with everything that acts.
    pub(crate) fn engine(&self) -> Engine {
        let insecure = self.cluster_options.insecure;
        let accounts = Accounts::new(insecure);
        Engine {
            store: Arc::clone(&self.store),
            secrets: Arc::clone(&self.secrets),
            executors: vec![
                Arc::new(DirectoryExecutor::new(&self.data)),
                Arc::new(KubernetesExecutor::new(self.cluster_options).with_tokens(Arc::new(EksTokens::new(accounts.clone())))),
                Arc::new(PostgresExecutor::new(insecure)),
                Arc::new(RdsExecutor::new(accounts.clone(), aws_options())),
                Arc::new(Route53Executor::new(accounts.clone(), aws_options())),
                Arc::new(SecretsManagerExecutor::new(accounts)),
                Arc::new(VaultExecutor::new(insecure)),
                Arc::new(TerraformExecutor::new(&self.data, Arc::clone(&self.secrets)).confined_by(wrapper())),
                Arc::new(GeneratedExecutor::new(Arc::clone(&self.secrets))),
            ],
            authorize: Arc::new(AllowAll),
            observer: Arc::new(Terminal::default()),
            access: self.planning.access.clone(),
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

    /// Returns today's layers as an environment sees them: a platform that its newest deployment was given goes on with it, until a
    /// deployment comes without one. A rollback gives nothing anew.
    pub(crate) async fn todays_layers(&self, key: &EnvironmentKey) -> Result<(Layers, Provenance), Failure> {
        let history = self.store.deployments(key).await?;
        let newest = history.iter().find(|deployment| deployment.rollback_to.is_none());
        let mut going_on = None;
        if let Some(newest) = newest.filter(|newest| newest.given_platform) {
            let documents = self.store.documents_of(key, newest.number).await?;
            let layers: Layers = self.read("platform", &documents.layers).await?;
            if let Some(platform) = given(&layers) {
                self.load_components(platform).await?;
                going_on = Some((platform.clone(), self.read("provenance", &documents.provenance).await?));
            }
        }
        self.layers(going_on).await
    }

    /// Brings the components that a platform names into memory.
    pub(crate) async fn load_components(&self, platform: &Platform) -> Result<(), Failure> {
        use windlass_engine::driver::ComponentSource as _;
        for (name, digest) in &platform.components {
            if self.planning.components.bytes(digest).is_none()
                && let Some(bytes) = self.store.document(digest).await?
            {
                self.planning.components.add_known(name, *digest, Bytes::from(bytes));
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
        state: Option<EnvironmentState>,
        model: Model,
        layers: Layers,
    ) -> Result<PlanInput, Failure> {
        let claims = Arc::new(self.store.claims().await?);
        self.plan_input_beside(&claims, key, environment_type, state, model, layers).await
    }

    /// The same with the claims of all environments, which whoever plans many of them reads once.
    pub(crate) async fn plan_input_beside(
        &self,
        claims: &Arc<BTreeMap<String, String>>,
        key: &EnvironmentKey,
        environment_type: &EnvironmentTypeName,
        state: Option<EnvironmentState>,
        model: Model,
        layers: Layers,
    ) -> Result<PlanInput, Failure> {
        let secrets = self.secret_versions(key).await?;
        let (last, succeeded, recorded) = state.map(|state| (state.last, state.last_succeeded, state.recorded)).unwrap_or_default();
        let previous = match &succeeded {
            Some(succeeded) => Some(Arc::new(self.read::<Plan>("plan", &succeeded.plan).await?)),
            None => None,
        };
        let mut last_images = BTreeMap::new();
        if let Some(last) = last {
            let deployed: Model = self.read("model", &last.model).await?;
            // Plans are big: nearly always both are one.
            match previous.as_ref().filter(|_| succeeded.is_some_and(|succeeded| succeeded.plan == last.plan)) {
                Some(plan) => last_images.extend(plan.images.clone()),
                None => last_images.extend(self.read::<Plan>("plan", &last.plan).await?.images),
            }
            for (workload, model) in &deployed.workloads {
                last_images.extend(model.images.iter().map(|(container, image)| (format!("{workload}/{container}"), image.clone())));
            }
        }
        Ok(PlanInput {
            environment: key.clone(),
            environment_type: environment_type.clone(),
            model: Arc::new(model),
            layers,
            recorded,
            claims: Arc::clone(claims),
            secrets,
            last_images,
            previous,
            destroy: false,
            follows: None,
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
        Ok(Request {
            connections: connections(&planned.input, &planned.plan)?,
            plan: Arc::clone(&planned.plan),
            verb,
            actor: actor(),
            allow_destroy: applying.allow_destroy,
            take_ownership: applying.take_ownership.iter().map(|object| identity_of(&planned.plan, object)).collect(),
            timeout: applying.timeout,
            refresh: applying.refresh,
            given_platform: given(&planned.input.layers).is_some(),
            rollback_to,
        })
    }
}

/// Reads the installation's key; makes it with a new data folder only. Under a new key nothing that is stored would verify.
fn keyring(global: &Global, folder: &DataFolder) -> Result<Keyring, Failure> {
    if let Ok(text) = std::env::var("WINDLASS_KEY") {
        return Keyring::from_text(&text, "WINDLASS_KEY").map_err(Failure::failed);
    }
    let path = global.key_file.clone().unwrap_or_else(|| global.data_dir.join("key"));
    if !path.exists() && !folder.is_new() {
        return Err(Failure::failed(format!("the key {} is missing; the data folder {} was written under it", path.display(), folder.path().display()))
            .hint("put the key file back, name it with `--key-file`, or set WINDLASS_KEY; without it nothing that is stored can be verified or decrypted"));
    }
    Keyring::from_file(&path).map_err(Failure::failed)
}

/// Returns the environment's type: the stored one, or the one to make it with.
pub(crate) fn environment_type(
    key: &EnvironmentKey,
    state: Option<&EnvironmentState>,
    create: Option<&EnvironmentTypeName>,
    layers: &Layers,
) -> Result<EnvironmentTypeName, Failure> {
    if let Some(state) = state {
        if let Some(wanted) = create.filter(|wanted| **wanted != state.record.environment_type) {
            return Err(Failure::new(
                Code::BadInput,
                format!("`{key}` exists and is of type `{}`, not `{wanted}`", state.record.environment_type),
            ));
        }
        return Ok(state.record.environment_type.clone());
    }
    let Some(environment_type) = create else { return Err(missing_environment(key)) };
    check_type(environment_type, layers)?;
    Ok(environment_type.clone())
}

/// Refuses types that no document describes.
pub(crate) fn check_type(environment_type: &EnvironmentTypeName, layers: &Layers) -> Result<(), Failure> {
    let known: Vec<&str> =
        layers.iter().flat_map(|(_, platform)| platform.environment_types.keys().map(windlass_model::name::DocumentName::as_str)).collect();
    if known.contains(&environment_type.as_str()) {
        return Ok(());
    }
    let failure = Failure::new(Code::BadInput, format!("there is no environment type `{environment_type}`"));
    let near = windlass_model::did_you_mean(environment_type.as_str(), known.iter().copied());
    Err(failure.hint(near.unwrap_or_else(|| format!("known types: {}", known.join(", ")))))
}

fn missing_environment(key: &EnvironmentKey) -> Failure {
    Failure::new(Code::BadInput, format!("there is no environment `{}` of `{}`", key.environment, key.application)).hint(format!(
        "`windlass env create {} --type development --app {}`, or add `--create-env development`",
        key.environment, key.application
    ))
}

/// Returns the connections that a plan names; each must apply to the environment.
pub(crate) fn connections(input: &PlanInput, plan: &Plan) -> Result<BTreeMap<DocumentName, Arc<ConnectionSettings>>, Failure> {
    let chosen = Connections::choose(input).map_err(|problems| located(problems, &Provenance::default()))?;
    // Thousands of actions go through a handful of connections.
    let of_actions: BTreeSet<&DocumentName> = plan.actions().map(|action| &action.connection).collect();
    let stores = windlass_engine::plan::stores(plan);
    let usable = |name: DocumentName| {
        let (_, settings) = chosen.usable(&name).map_err(|problem| located(vec![problem], &Provenance::default()))?;
        Ok((name, Arc::new(settings.clone())))
    };
    of_actions.into_iter().cloned().chain(stores).map(usable).collect()
}

/// Reads an object as people write it.
fn identity_of(plan: &Plan, object: &str) -> String {
    plan.actions()
        .find(|action| action.identity == object || shown(&action.identity) == object || action.id.as_str() == object)
        .map_or_else(|| object.to_owned(), |action| action.identity.clone())
}

/// Returns who acts: the user of the operating system; jobs in containers often have no variable that names one.
pub(crate) fn actor() -> Actor {
    let named = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok().filter(|name| !name.is_empty());
    let uid = nix::unistd::getuid();
    let of_system = || nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let user = named.unwrap_or_else(of_system);
    Actor { subject: format!("user:{user}") }
}

/// Names an environment of an application that was read.
pub(crate) fn key(application: &ApplicationName, environment: &EnvironmentName) -> EnvironmentKey {
    EnvironmentKey { application: application.clone(), environment: environment.clone() }
}

/// Writes a document of unknown size: once one has grown the scratch, the next one fits.
fn written<T: serde::Serialize>(scratch: &mut Vec<u8>, document: &T) -> Result<Bytes, CanonicalError> {
    scratch.clear();
    serde_json::to_writer(&mut *scratch, document).map_err(|error| CanonicalError::Serialize(error.to_string()))?;
    Ok(Bytes::copy_from_slice(scratch))
}

/// Refuses a document that no later command could read.
fn read_back<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<(), CanonicalError> {
    serde_json::from_slice::<T>(bytes).map(drop).map_err(|error| CanonicalError::Serialize(format!("it could not be read back: {error}")))
}

impl Planned {
    /// Writes down what the plan was made of.
    pub(crate) fn documents(&self, planning: &Planning) -> Result<Documents, CanonicalError> {
        use windlass_engine::driver::ComponentSource as _;
        let mut all: BTreeMap<Digest, Bytes> = BTreeMap::new();
        let mut put = |bytes: Bytes| {
            let digest = Digest::of_bytes(&bytes);
            all.insert(digest, bytes);
            digest
        };
        // A plan names its model by its digest. Of the others only these bytes are known.
        let model: Bytes = canonical::to_vec(self.input.model.as_ref())?.into();
        read_back::<Model>(&model)?;
        put(model);
        let mut scratch = Vec::new();
        let layers = written(&mut scratch, &self.input.layers)?;
        read_back::<Layers>(&layers)?;
        let layers = put(layers);
        let provenance = put(written(&mut scratch, &self.provenance)?);
        let components = self.plan.components.values();
        all.extend(components.filter_map(|digest| planning.components.bytes(digest).map(|bytes| (*digest, bytes))));
        Ok(Documents { layers, provenance, all })
    }

    /// Returns the digests and bytes of components that are not built in.
    pub(crate) fn foreign_components(&self, planning: &Planning) -> BTreeMap<Digest, Bytes> {
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
