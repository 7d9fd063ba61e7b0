//! `validate`: everything that is wrong with documents, in one pass, as a deployment would find it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use windlass_document::{LoadedApplication, LoadedPlatform, Validation};
use windlass_engine::PlanInput;
use windlass_model::{
    Diagnostic,
    application::{Model, Provenance},
    name::{ApplicationName, EnvironmentName, EnvironmentTypeName},
    placeholder,
    platform::{LayerName, Layers, OneOrMany},
    pointer,
    state::{EnvironmentKey, RecordedState},
};
use windlass_source::Network;

use crate::{
    arguments::Global,
    exit::{Code, Failure},
    page::Page,
    planning::{Planning, placed},
    print,
    workspace::{self, Workspace},
};

/// What is validated.
pub(crate) struct Options {
    pub paths: Vec<PathBuf>,
    pub platform: Option<PathBuf>,
    pub environment: Option<EnvironmentName>,
    pub environment_type: Option<EnvironmentTypeName>,
    pub app: Option<ApplicationName>,
}

/// The image of containers that get theirs when they are deployed.
const OPEN_IMAGE: &str = "open";

/// Findings that follow where platform documents are missing because they have errors.
const OF_PLATFORM: [&str; 4] = ["unknown-type", "unknown-class", "no-definition", "profile"];

pub(crate) async fn validate(global: &Global, options: &Options) -> Result<Code, Failure> {
    let paths: Vec<PathBuf> = options.paths.iter().chain(&options.platform).cloned().collect();
    let Validation { documents, applications, platform, is_platform_whole, problems } = windlass_document::validate(&paths, &Network);
    let stored = Stored::open(global).await?;
    let mut found = Vec::new();
    let (layers, places) = stored.layers(platform, &mut found).await?;
    for application in &applications {
        let Some(LoadedApplication { model, provenance }) = &application.loaded else { continue };
        let mut provenance = provenance.clone();
        for (document, file) in &places.0 {
            provenance.0.entry(document.clone()).or_insert_with(|| file.clone());
        }
        let name = options.app.clone().unwrap_or_else(|| model.application.clone());
        let model = Model { application: name, ..model.clone() };
        let mut findings = Vec::new();
        for input in stored.inputs(options, &model, &layers).await? {
            let planning = stored.planning();
            findings.push((input.environment_type.clone(), windlass_engine::plan(&input, &planning.planners, &planning.host).diagnostics));
        }
        let is_news =
            |finding: &Diagnostic| application.is_news(finding) && (is_platform_whole || !OF_PLATFORM.contains(&finding.code.as_str()));
        let merged = merged(findings).into_iter().filter(is_news).collect();
        found.extend(placed(merged, &provenance));
    }
    if problems.has_errors() || found.iter().any(|(finding, _)| finding.is_error()) {
        return Err(Failure::found(problems, found));
    }
    if !problems.0.is_empty() {
        print::problems(&problems);
    }
    print::diagnostics(&found);
    let mut page = Page::default();
    page.line(format_args!("{documents} document{} valid", if documents == 1 { " is" } else { "s are" }));
    page.print()?;
    Ok(Code::Done)
}

/// Joins the findings of several environments. An error that holds in some types only is a warning: the application may never be
/// deployed to an environment of such a type.
fn merged(findings: Vec<(EnvironmentTypeName, Vec<Diagnostic>)>) -> Vec<Diagnostic> {
    let environments = findings.len();
    let mut all: BTreeMap<Diagnostic, BTreeSet<String>> = BTreeMap::new();
    let mut counts: BTreeMap<Diagnostic, usize> = BTreeMap::new();
    for (environment_type, found) in findings {
        for finding in found.into_iter().collect::<BTreeSet<_>>() {
            *counts.entry(finding.clone()).or_default() += 1;
            all.entry(finding).or_default().insert(environment_type.to_string());
        }
    }
    let merged = all.into_iter().map(|(finding, types)| {
        if counts.get(&finding) == Some(&environments) || !finding.is_error() {
            return finding;
        }
        let types: Vec<String> = types.iter().map(|name| format!("`{name}`")).collect();
        let message = format!("in environments of type {}: {}", types.join(", "), finding.message);
        Diagnostic { severity: windlass_model::Severity::Warning, message, ..finding }
    });
    merged.collect()
}

/// What is stored, where there is a data folder: validating makes none.
enum Stored {
    Workspace(Box<Workspace>),
    Nothing(Box<Planning>),
}

impl Stored {
    async fn open(global: &Global) -> Result<Self, Failure> {
        if global.data_dir.exists() {
            return Ok(Self::Workspace(Box::new(Workspace::open(global).await?)));
        }
        Ok(Self::Nothing(Box::new(Planning::new()?)))
    }

    fn planning(&self) -> &Planning {
        match self {
            Self::Workspace(workspace) => &workspace.planning,
            Self::Nothing(planning) => planning,
        }
    }

    /// Returns the layers: the platform documents that were given, what is stored, what is built in.
    async fn layers(&self, read: LoadedPlatform, found: &mut Vec<(Diagnostic, Option<String>)>) -> Result<(Layers, Provenance), Failure> {
        let (platform, places, problems) = self.planning().with_components(read);
        found.extend(placed(problems, &places));
        let given = Some((platform, places)).filter(|(platform, _)| !platform.is_empty());
        match self {
            Self::Workspace(workspace) => workspace.layers(given).await,
            Self::Nothing(planning) => {
                let mut provenance = planning.built_in_provenance.clone();
                let mut layers = vec![(LayerName::BuiltIn, Arc::clone(&planning.built_in))];
                if let Some((platform, places)) = given {
                    provenance.0.extend(places.0);
                    layers.insert(0, (LayerName::Given, Arc::new(platform)));
                }
                Ok((Layers(layers), provenance))
            }
        }
    }

    /// Collects what is planned: the environment that was named as it is, or one of each type as they could be.
    async fn inputs(&self, options: &Options, model: &Model, layers: &Layers) -> Result<Vec<PlanInput>, Failure> {
        let Some(environment) = &options.environment else {
            let types = match &options.environment_type {
                Some(one) => {
                    workspace::check_type(one, layers)?;
                    vec![one.clone()]
                }
                None => environment_types(layers),
            };
            let candidates = types.iter().flat_map(|of| environments(model, of).into_iter().map(move |name| (name, of)));
            return Ok(candidates.map(|(name, of)| possible(model, layers, &name, of)).collect());
        };
        let key = workspace::key(&model.application, environment);
        match self {
            Self::Workspace(workspace) => {
                let state = workspace.store.load(&key).await?;
                let of = workspace::environment_type(&key, state.as_ref(), options.environment_type.as_ref(), layers)?;
                let mut input = workspace.plan_input(&key, &of, state, model.clone(), layers.clone()).await?;
                open_images(model, &mut input.last_images);
                Ok(vec![input])
            }
            Self::Nothing(_) => {
                let of = workspace::environment_type(&key, None, options.environment_type.as_ref(), layers)?;
                Ok(vec![possible(model, layers, environment, &of)])
            }
        }
    }
}

/// Lists the environment types of the strongest layer that has some.
fn environment_types(layers: &Layers) -> Vec<EnvironmentTypeName> {
    let strongest = layers.iter().map(|(_, platform)| &platform.environment_types).find(|types| !types.is_empty());
    strongest.into_iter().flat_map(BTreeMap::keys).filter_map(|name| name.as_str().parse().ok()).collect()
}

/// Lists the environments that the application's variations name and that may be of a type, or one that is called as the type.
fn environments(model: &Model, of: &EnvironmentTypeName) -> BTreeSet<EnvironmentName> {
    let mut named = BTreeSet::new();
    for variation in &model.environments {
        let rule = &variation.r#match;
        if rule.environment_type.as_ref().is_some_and(|types| !types.as_slice().contains(of)) {
            continue;
        }
        named.extend(rule.environment.iter().flat_map(OneOrMany::as_slice).cloned());
    }
    if named.is_empty() {
        named.extend(of.as_str().parse::<EnvironmentName>());
    }
    named
}

/// An environment that does not exist yet and has every secret that the documents read.
fn possible(model: &Model, layers: &Layers, name: &EnvironmentName, of: &EnvironmentTypeName) -> PlanInput {
    let mut last_images = BTreeMap::new();
    open_images(model, &mut last_images);
    let (effective, _) = windlass_resolve::effective(model, name, of, &last_images);
    let mut read = names_of_outputs(model);
    let written = layers.iter().filter(|(layer, _)| *layer != LayerName::BuiltIn);
    written.for_each(|(_, platform)| read.extend(names_of_outputs(&platform.definitions)));
    let unknown = read.into_iter().filter(|name| !effective.values.contains_key(name));
    let secrets = unknown.map(|name| (format!("env/{name}"), 1)).collect();
    PlanInput {
        environment: EnvironmentKey { application: model.application.clone(), environment: name.clone() },
        environment_type: of.clone(),
        model: Arc::new(model.clone()),
        layers: layers.clone(),
        recorded: RecordedState::default(),
        claims: Arc::default(),
        secrets,
        last_images,
        previous: None,
        destroy: false,
        follows: None,
    }
}

/// Gives containers an image that get theirs when they are deployed.
fn open_images(model: &Model, images: &mut BTreeMap<String, String>) {
    for (workload, model) in &model.workloads {
        for container in model.score.containers.keys() {
            images.entry(format!("{workload}/{container}")).or_insert_with(|| OPEN_IMAGE.to_owned());
        }
    }
}

/// Lists the names of all outputs that placeholders of documents name: those of the environment are its values and secrets.
fn names_of_outputs(documents: &impl serde::Serialize) -> BTreeSet<String> {
    let value = serde_json::to_value(documents).unwrap_or_default();
    let mut names = BTreeSet::new();
    pointer::visit_texts(&value, &mut |text| {
        if placeholder::is_plain(text) {
            return;
        }
        for segment in placeholder::parse(text) {
            let placeholder::Segment::Reference(reference) = segment else { continue };
            if let [root, _, name, ..] = placeholder::path(reference).as_slice()
                && root == "resources"
            {
                names.insert(name.clone());
            }
        }
    });
    names
}
