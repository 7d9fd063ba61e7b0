//! Applications: an Application document, a folder of Score files or one Score file, as a closed model.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::Value;
use windlass_model::{
    Diagnostic,
    application::{Application, Model, Provenance, SourceFile, WorkloadModel},
    did_you_mean,
    name::{ApplicationName, WorkloadName},
};

use crate::{
    discover::{Discovered, Document, discover_all},
    overrides,
    problem::{Problem, Problems},
    repair::{Repaired, repair},
    schema,
    score::{Changes, ReadWorkload, read_node},
};

/// The code of the problem that nothing names an application.
pub(crate) const NO_NAME: &str = "application-name";

/// What to read, and what the command line changes about it.
#[derive(Clone, Debug, Default)]
pub struct ApplicationInput {
    /// A Score file, a folder or an Application document; several Score files for `render`.
    pub paths: Vec<PathBuf>,
    /// The application's name, where it is not the document's or folder's.
    pub name: Option<ApplicationName>,
    /// `WORKLOAD[/CONTAINER]=REF`, or just `REF` for the only workload.
    pub images: Vec<String>,
    /// Merged over the only Score document.
    pub overrides: Option<Value>,
    /// Set in the only Score document.
    pub properties: Vec<(Vec<String>, Value)>,
}

/// An application as it was read.
#[derive(Clone, Debug)]
pub struct LoadedApplication {
    /// The closed model.
    pub model: Model,
    /// Where everything stands: `workload/NAME` and `application`.
    pub provenance: Provenance,
}

/// What could be read of an application, and everything that is wrong with it.
#[derive(Debug, Default)]
pub struct ReadApplication {
    /// The application; where there are errors, simple values stand in their places. None if too little could be read.
    pub loaded: Option<LoadedApplication>,
    /// Everything that is wrong; with an error among it, the application is only good for looking for more.
    pub problems: Problems,
    /// Places with errors, by document as in the provenance: what else is found there follows from them.
    pub broken: BTreeSet<(String, String)>,
    /// Documents could not be read: what others say about them follows from that.
    pub is_partial: bool,
}

impl ReadApplication {
    /// Returns whether a later finding says something new: what is found at a place with errors, or about documents that could not be
    /// read, follows from those errors.
    #[must_use]
    pub fn is_news(&self, finding: &Diagnostic) -> bool {
        let at = finding.pointer.as_str();
        let is_within = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let is_broken = |place: &str| is_within(at, place) || (!at.is_empty() && is_within(place, at));
        let follows = self.broken.iter().any(|(document, place)| *document == finding.subject && is_broken(place));
        let is_of_others = finding.code.starts_with("service") || finding.code == "unknown-workload";
        let is_override = |problem: &Problem| problem.pointer.starts_with("/spec/environments/");
        let is_known_override = finding.code == "override" && self.problems.0.iter().any(is_override);
        !(follows || is_known_override || self.is_partial && is_of_others)
    }
}

/// Reads an application without errors.
pub fn load_application(input: &ApplicationInput) -> Result<LoadedApplication, Problems> {
    let ReadApplication { loaded, problems, .. } = read_application(input);
    match loaded {
        Some(loaded) => problems.into_result(loaded),
        None => Err(problems.sorted()),
    }
}

/// Reads as much of an application as there is.
#[must_use]
pub fn read_application(input: &ApplicationInput) -> ReadApplication {
    let mut read = ReadApplication::default();
    let mut found = Discovered::default();
    for path in &input.paths {
        let (more, problems) = discover_all(path);
        found.documents.extend(more.documents);
        read.is_partial |= problems.has_errors();
        read.problems.extend(problems);
    }
    if let Err(problems) = assemble(input, found, &mut read) {
        read.problems.extend(problems);
    }
    read.problems = read.problems.sorted();
    read
}

/// Puts an application together.
///
/// # Errors
/// What keeps it from being one; findings about its documents go into `read`.
fn assemble(input: &ApplicationInput, found: Discovered, read: &mut ReadApplication) -> Result<(), Problems> {
    let root = input.paths.first().cloned().unwrap_or_else(|| PathBuf::from("."));
    let (applications, mut workloads): (Vec<_>, Vec<_>) = found
        .documents
        .into_iter()
        .filter(|document| matches!(document.kind, "Workload" | "Application"))
        .partition(|document| document.kind == "Application");
    if let [_, second, ..] = applications.as_slice() {
        return Err(Problem::file(&second.source, "two-applications", "more than one Application document")
            .at(second.node.span, "")
            .hint("name the one that you mean as PATH")
            .into());
    }
    let application = match applications.into_iter().next() {
        Some(document) => {
            let application = read_document(&document, read)?;
            workloads = if root.is_file() { siblings(&document, read) } else { workloads };
            workloads = select(workloads, &document, &application, read);
            Some((document, application))
        }
        None => None,
    };
    if workloads.is_empty() && application.is_none() {
        if read.problems.has_errors() {
            return Ok(());
        }
        return Err(Problem::path(root.display(), "no-workloads", "no Score document is here")
            .hint("a Score document begins with `apiVersion: score.dev/v1b1`; `windlass init` writes one")
            .into());
    }
    check_single(input, &workloads, &mut read.problems);
    let models = read_workloads(input, workloads, read);
    let complete = application.is_some() || input.paths.iter().any(|path| path.is_dir());
    let name = application_name(input, application.as_ref().map(|(_, application)| application), &root, &models)?;
    let mut provenance = Provenance::default();
    let mut model = Model { application: name, workloads: BTreeMap::new(), resources: BTreeMap::new(), environments: Vec::new(), complete };
    if let Some((document, application)) = application {
        provenance.0.insert("application".into(), SourceFile { path: document.source.path.clone(), lines: document.node.lines() });
        check_variations(&document, &application, &models, &mut read.problems);
        model.resources = application.spec.resources;
        model.environments = application.spec.environments;
    }
    for (name, (workload, file)) in models {
        provenance.0.insert(format!("workload/{name}"), file);
        model.workloads.insert(name, workload);
    }
    set_images(&mut model, &input.images, &root, &mut read.problems);
    read.loaded = Some(LoadedApplication { model, provenance });
    Ok(())
}

/// Reads the workloads of an application; one name stands for one workload.
fn read_workloads(input: &ApplicationInput, workloads: Vec<Document>, read: &mut ReadApplication) -> Loaded {
    let mut models: Loaded = BTreeMap::new();
    let changes = Changes { overrides: input.overrides.as_ref(), properties: &input.properties };
    // Trees are bigger than what they become: each goes as soon as it was read.
    for Document { source, path, node, .. } in workloads {
        let folder = path.parent().unwrap_or(Path::new("."));
        let ReadWorkload { workload, node, problems, broken } = read_node(&source, node, folder, &changes);
        read.problems.extend(problems);
        let Some(score) = workload else {
            read.is_partial = true;
            continue;
        };
        let mut name = score.metadata.name.clone();
        if let Some((_, first)) = models.get(&name) {
            let of = first.path.clone();
            read.problems.push(
                Problem::file(&source, "duplicate", format!("workload `{name}` is written twice"))
                    .at(node.span_at("/metadata/name"), "/metadata/name")
                    .hint(format!("the first stands in {of}: give this one another name")),
            );
            let Some(other) = (2..).map_while(|number| format!("{name}-{number}").parse().ok()).find(|name| !models.contains_key(name))
            else {
                continue;
            };
            name = other;
        }
        read.broken.extend(broken.into_iter().filter(|place| !place.is_empty()).map(|place| (format!("workload/{name}"), place)));
        let file = SourceFile { path: source.path.clone(), lines: node.lines() };
        models.insert(name, (WorkloadModel { score, images: BTreeMap::new() }, file));
    }
    models
}

/// Workloads, and where their fields stand.
type Loaded = BTreeMap<WorkloadName, (WorkloadModel, SourceFile)>;

fn read_document(document: &Document, read: &mut ReadApplication) -> Result<Application, Problems> {
    let mut problems = Problems::default();
    let value = document.node.to_value();
    schema::check("Application", &document.source, &document.node, &value, &mut problems);
    let value = if problems.has_errors() {
        let Some(Repaired { value, places }) = repair("Application", value) else { return Err(problems) };
        read.broken.extend(places.into_iter().map(|place| ("application".to_owned(), place)));
        value
    } else {
        value
    };
    match serde_json::from_value(value) {
        Ok(application) => {
            read.problems.extend(problems);
            Ok(application)
        }
        Err(error) => {
            problems.push(Problem::file(&document.source, "invalid", error.to_string()).at(document.node.span, ""));
            Err(problems)
        }
    }
}

/// Reads the Score files beside an Application document.
fn siblings(document: &Document, read: &mut ReadApplication) -> Vec<Document> {
    let folder = document.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (found, problems) = discover_all(folder);
    read.is_partial |= problems.has_errors();
    read.problems.extend(problems);
    found.documents.into_iter().filter(|document| document.kind == "Workload").collect()
}

/// Keeps the workloads that the Application document names.
fn select(workloads: Vec<Document>, document: &Document, application: &Application, read: &mut ReadApplication) -> Vec<Document> {
    let folder = document.path.parent().unwrap_or(Path::new("")).to_path_buf();
    let Some(patterns) = &application.spec.workloads else { return workloads };
    let mut kept: Vec<Document> = Vec::new();
    for (index, pattern) in patterns.iter().enumerate() {
        let wanted = pattern.trim_start_matches("./");
        let mut any = false;
        for workload in &workloads {
            let relative = workload.path.strip_prefix(&folder).unwrap_or(&workload.path).to_string_lossy().replace('\\', "/");
            if wildcard(wanted, relative.trim_start_matches("./")) {
                any = true;
                if !kept.iter().any(|known| known.path == workload.path) {
                    kept.push(workload.clone());
                }
            }
        }
        if !any {
            let at = format!("/spec/workloads/{index}");
            read.is_partial = true;
            read.problems.push(
                Problem::file(&document.source, "no-match", format!("no Score file fits `{pattern}`")).at(document.node.span_at(&at), at),
            );
        }
    }
    kept
}

/// Compares a path with a pattern in which `*` stands for any characters but `/`.
fn wildcard(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(index, _)| index)
                .chain([rest.len()])
                .take_while(|index| !rest.get(..*index).unwrap_or("/").contains('/'))
                .any(|index| wildcard(after, rest.get(index..).unwrap_or("")))
        }),
    }
}

fn application_name(
    input: &ApplicationInput,
    application: Option<&Application>,
    root: &Path,
    models: &Loaded,
) -> Result<ApplicationName, Problems> {
    if let Some(name) = &input.name {
        return Ok(name.clone());
    }
    let (text, what) = match (application, models.keys().next()) {
        (Some(application), _) => (application.metadata.name.to_string(), "the Application document"),
        (None, Some(workload)) if root.is_file() => (workload.to_string(), "the workload"),
        _ => {
            let folder = root.canonicalize().ok();
            let name = folder.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
            (name, "the folder")
        }
    };
    text.parse().map_err(|error| {
        Problem::path(root.display(), NO_NAME, format!("{what} names no application: {error}")).hint("give one with `--app NAME`").into()
    })
}

/// Score's tools allow overrides and a bare image for exactly one file.
fn check_single(input: &ApplicationInput, workloads: &[Document], problems: &mut Problems) {
    let bare = input.images.iter().any(|image| split_image(image).0.is_none());
    if workloads.len() != 1 && (input.overrides.is_some() || !input.properties.is_empty() || bare) {
        problems.push(
            Problem::path(
                input.paths.first().map(|path| path.display().to_string()).unwrap_or_default(),
                "one-workload",
                "overrides and an image without a workload need exactly one Score file",
            )
            .hint("say `--image WORKLOAD=REF`, or name the Score file"),
        );
    }
}

/// Splits `WORKLOAD[/CONTAINER]=REF`; a reference may hold `=` nowhere, so the first one separates.
#[must_use]
pub fn split_image(text: &str) -> (Option<(&str, Option<&str>)>, &str) {
    match text.split_once('=') {
        Some((target, image)) => match target.split_once('/') {
            Some((workload, container)) => (Some((workload, Some(container))), image),
            None => (Some((target, None)), image),
        },
        None => (None, text),
    }
}

fn set_images(model: &mut Model, images: &[String], root: &Path, problems: &mut Problems) {
    for text in images {
        let (target, image) = split_image(text);
        let bad = |message: String| Problem::path(root.display(), "image", message);
        if image.is_empty() || image.contains(char::is_whitespace) {
            problems.push(bad(format!("`{text}` names no image")).hint("WORKLOAD[/CONTAINER]=REF"));
            continue;
        }
        let names: Vec<String> = model.workloads.keys().map(ToString::to_string).collect();
        let workload = match target {
            Some((workload, _)) => model.workloads.iter_mut().find(|(name, _)| name.as_str() == workload).map(|(_, model)| model),
            None => model.workloads.values_mut().next(),
        };
        let Some(workload) = workload else {
            problems.push(bad(format!("`--image {text}`: no such workload")).hint(format!("workloads: {}", names.join(", "))));
            continue;
        };
        let open: Vec<String> = match target.and_then(|(_, container)| container) {
            Some(container) => vec![container.to_owned()],
            None => {
                let dots: Vec<String> = workload
                    .score
                    .containers
                    .iter()
                    .filter(|(_, container)| container.image == ".")
                    .map(|(name, _)| name.clone())
                    .collect();
                if dots.is_empty() && workload.score.containers.len() == 1 && target.is_some() {
                    workload.score.containers.keys().cloned().collect()
                } else {
                    dots
                }
            }
        };
        if open.is_empty() {
            problems.push(
                bad(format!("`--image {text}`: no container of the workload has the image `.`"))
                    .hint("say WORKLOAD/CONTAINER=REF to replace another image"),
            );
        }
        for container in open {
            if workload.score.containers.contains_key(&container) {
                workload.images.insert(container, image.to_owned());
            } else {
                problems.push(
                    bad(format!("`--image {text}`: no container `{container}`"))
                        .hint(format!("containers: {}", workload.score.containers.keys().cloned().collect::<Vec<_>>().join(", "))),
                );
            }
        }
    }
}

/// Checks what variations change, each by itself, so that all errors come at once and with their place.
fn check_variations(document: &Document, application: &Application, models: &Loaded, problems: &mut Problems) {
    for (index, variation) in application.spec.environments.iter().enumerate() {
        let base = format!("/spec/environments/{index}");
        for (field, given) in [
            ("resourceId", variation.r#match.resource_id.is_some()),
            ("workload", variation.r#match.workload.is_some()),
            ("application", variation.r#match.application.is_some()),
        ] {
            if given {
                let at = format!("{base}/match/{field}");
                problems.push(
                    Problem::file(&document.source, "match-field", format!("variations are not matched by `{field}`"))
                        .at(document.node.span_at(&at), at)
                        .hint("use `environment` or `environmentType`"),
                );
            }
        }
        let named =
            variation.overrides.keys().map(|name| ("overrides", name)).chain(variation.workloads.keys().map(|name| ("workloads", name)));
        for (field, name) in named {
            if !models.contains_key(name) {
                let at = format!("{base}/{field}");
                let problem = Problem::file(&document.source, "unknown-workload", format!("no workload `{name}`"))
                    .at(document.node.key_span(&at, name.as_str()), format!("{at}/{name}"));
                problems.push(problem.hint_if(did_you_mean(name.as_str(), models.keys().map(WorkloadName::as_str))));
            }
        }
        for (name, change) in &variation.overrides {
            let Some((model, _)) = models.get(name) else { continue };
            let Ok(mut value) = serde_json::to_value(&model.score) else { continue };
            overrides::merge(&mut value, &Value::Object(change.clone()));
            let mut found = Problems::default();
            let at = format!("{base}/overrides/{name}");
            let Some(node) = document
                .node
                .get("spec")
                .and_then(|spec| spec.get("environments"))
                .and_then(|list| match &list.value {
                    crate::tree::NodeValue::List(items) => items.get(index),
                    _ => None,
                })
                .and_then(|variation| variation.get("overrides"))
                .and_then(|overrides| overrides.get(name.as_str()))
            else {
                continue;
            };
            schema::check("Workload", &document.source, node, &value, &mut found);
            found.0.iter_mut().for_each(|problem| problem.pointer = format!("{at}{}", problem.pointer));
            problems.extend(found);
        }
    }
}
