//! Planning without a data folder: planners, components and the runtime that calls them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use windlass_capability_aws::{rds::RdsPlanner, route53::Route53Planner};
use windlass_capability_directory::ObjectsPlanner;
use windlass_capability_postgres::DatabasesPlanner;
use windlass_capability_secrets::GeneratedPlanner;
use windlass_capability_terraform::ModulesPlanner;
use windlass_capability_vault::ExternalPlanner;
use windlass_document::{Fetched, LoadedPlatform, Problems, load_platform};
use windlass_engine::{PlanInput, Planners, driver::DriverHost as _, host_access::HostAccess};
use windlass_model::{
    Diagnostic, Digest,
    application::Provenance,
    plan::Plan,
    platform::{DriverReference, Platform},
};
use windlass_runtime::{Admission, CachePlace, ChildAdmission, HostSettings, WasmHost};
use windlass_source::{Components, Network};

use crate::{
    builtin,
    exit::{Code, Failure, Reason},
    print,
};

/// The command by which this program admits a component in a process of its own.
const ADMIT: &str = "admit-component";

/// What planning needs, and nothing that acts.
pub(crate) struct Planning {
    pub planners: Planners,
    pub components: Arc<Components>,
    pub host: WasmHost,
    pub built_in: Arc<Platform>,
    pub built_in_provenance: Provenance,
    /// What of this machine documents may name: on the command line, everything.
    pub access: HostAccess,
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

/// What a process with little address space tells.
fn tell_scarce() {
    print::note("this process may not reserve much address space: drivers take longer; `ulimit -v unlimited` lifts that");
}

impl Planning {
    /// Sets planning up; compiled code is kept in the user's cache folder.
    pub(crate) fn new() -> Result<Self, Failure> {
        let planners = planners();
        let components = Arc::new(Components::default());
        let (built_in, built_in_provenance) = builtin::load(&components)?;
        let parallelism = std::thread::available_parallelism().map_or(2, usize::from);
        let child = ChildAdmission {
            program: std::env::current_exe().map_err(Failure::failed)?,
            arguments: vec![ADMIT.to_owned()],
            own: built_in.components.values().copied().collect(),
        };
        let settings = HostSettings {
            cache: code_cache(),
            parallelism,
            admission: Admission::Child(child),
            on_scarce: tell_scarce,
            ..HostSettings::default()
        };
        let host = WasmHost::new(&settings, &planners, components.clone());
        Ok(Self { planners, components, host, built_in, built_in_provenance, access: HostAccess::open() })
    }

    /// Reads platform documents of a folder and the components that they name.
    pub(crate) fn load(&self, folder: &Path) -> Result<(Platform, Provenance), Failure> {
        let (platform, provenance, problems) = self.with_components(load_platform(folder, &Network)?);
        let (errors, warnings): (Vec<Diagnostic>, Vec<Diagnostic>) = problems.into_iter().partition(Diagnostic::is_error);
        print::diagnostics(&warnings.into_iter().map(|warning| (warning, None)).collect::<Vec<_>>());
        if errors.is_empty() { Ok((platform, provenance)) } else { Err(located(errors, &provenance)) }
    }

    /// Brings the components of a platform into memory, and checks its definitions against them.
    pub(crate) fn with_components(&self, loaded: LoadedPlatform) -> (Platform, Provenance, Vec<Diagnostic>) {
        let LoadedPlatform { mut platform, provenance, component_files, fetched } = loaded;
        for Fetched { source, reference, revision } in fetched {
            print::note(&format!("{source} at {reference} is {revision}"));
        }
        let mut problems = Vec::new();
        for (key, path) in component_files {
            let added = self.access.file(&path).map_err(|error| error.to_string());
            match added.and_then(|path| self.components.add_file(&key, &path).map_err(|error| error.to_string())) {
                Ok(digest) => {
                    platform.components.insert(key, digest);
                }
                Err(error) => problems.extend(users(&platform, &key).into_iter().map(|(document, pointer)| {
                    let problem = Diagnostic::error("driver-missing", error.clone()).on(document).at(pointer);
                    problem.hint("build the component, and check the path")
                })),
            }
        }
        for (key, digest) in &self.built_in.components {
            platform.components.entry(key.clone()).or_insert(*digest);
        }
        for (document, pointer, reference) in references(&platform) {
            if let DriverReference::Builtin(name) = reference
                && platform.component(reference).is_none()
            {
                let known: Vec<&str> = self.built_in.components.keys().filter_map(|key| key.strip_prefix("builtin:")).collect();
                let near = windlass_model::did_you_mean(name, known.iter().copied());
                problems.push(
                    Diagnostic::error("unknown-driver", format!("there is no built-in driver `{name}`"))
                        .on(document)
                        .at(pointer)
                        .hint(near.unwrap_or_else(|| format!("built-in drivers: {}", known.join(", ")))),
                );
            }
        }
        problems.extend(self.misfits(&platform));
        (platform, provenance, problems)
    }

    /// Gives a platform of a plan file this build's drivers under their names, whatever the file calls so.
    pub(crate) fn with_own_components(&self, mut platform: Platform) -> Platform {
        platform.components.retain(|key, _| !self.built_in.components.contains_key(key));
        platform.components.extend(self.built_in.components.clone());
        platform
    }

    /// Asks every driver what it is, once, and compares that with the type that it is used for.
    fn misfits(&self, platform: &Platform) -> Vec<Diagnostic> {
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
        problems
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

/// Lists the drivers that documents name, each with its document and the pointer in it.
fn references(platform: &Platform) -> impl Iterator<Item = (String, String, &DriverReference)> {
    let definitions = platform.definitions.values();
    let definitions = definitions
        .map(|definition| (format!("ResourceDefinition/{}", definition.name()), "/spec/driver".to_owned(), &definition.spec.driver));
    let stages = platform.profiles.values().flat_map(|profile| {
        let stages = profile.spec.stages.iter().enumerate();
        stages.map(|(index, stage)| (format!("WorkloadProfile/{}", profile.name()), format!("/spec/stages/{index}/driver"), &stage.driver))
    });
    let appended = platform.environment_types.values().flat_map(|kind| {
        let stages = kind.spec.workload_stages.iter().enumerate();
        stages.map(|(index, stage)| {
            (format!("EnvironmentType/{}", kind.metadata.name), format!("/spec/workloadStages/{index}/driver"), &stage.driver)
        })
    });
    definitions.chain(stages).chain(appended)
}

/// Lists the places that name a component.
fn users(platform: &Platform, component: &str) -> Vec<(String, String)> {
    let naming = references(platform).filter(|(_, _, reference)| reference.component_key() == component);
    naming.map(|(document, pointer, _)| (document, pointer)).collect()
}

/// Looks up where findings stand.
pub(crate) fn located(diagnostics: Vec<Diagnostic>, provenance: &Provenance) -> Failure {
    let policy = !diagnostics.is_empty() && diagnostics.iter().all(|diagnostic| diagnostic.code.starts_with("policy-"));
    let reason = Reason::Found(Problems::default(), placed(diagnostics, provenance));
    Failure { code: if policy { Code::Policy } else { Code::BadInput }, reason, overtaken: None }
}

/// Puts file and line beside findings.
pub(crate) fn placed(diagnostics: Vec<Diagnostic>, provenance: &Provenance) -> Vec<(Diagnostic, Option<String>)> {
    let placed = |diagnostic: Diagnostic| {
        let place = provenance.0.get(&diagnostic.subject).map(|file| file.locate(&diagnostic.pointer));
        (diagnostic, place)
    };
    diagnostics.into_iter().map(placed).collect()
}

/// Returns where machine code is kept, and in another folder the key that vouches for it, by the XDG rules.
fn code_cache() -> Option<CachePlace> {
    let base = |variable: &str, below_home: &str| {
        let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        named.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(below_home)))
    };
    Some(CachePlace {
        folder: base("XDG_CACHE_HOME", ".cache")?.join("windlass/code"),
        key: base("XDG_STATE_HOME", ".local/state")?.join("windlass/code.key"),
    })
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
