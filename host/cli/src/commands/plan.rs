//! `plan`, and the planning that `deploy` does first.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use windlass_document::{
    ApplicationInput, LoadedApplication, OtherFile, PlanFile, Purpose, ReadApplication, other_files, parse_property, read_application,
};
use windlass_engine::apply::Drift;
use windlass_model::{
    application::{Model, Provenance},
    canonical,
    diagnostic::Diagnostic,
    event::Verb,
    state::EnvironmentKey,
};

use crate::{
    arguments::{Application, Applying, Format, Global, Planning},
    exit::{Code, Failure},
    plan_file, print,
    workspace::{self, Planned, Workspace},
};

/// Options of `plan` alone.
pub(crate) struct Options {
    pub out: Option<PathBuf>,
    pub destroy: bool,
    pub refresh: bool,
    pub preview: bool,
    pub detailed_exitcode: bool,
}

/// Reads an application without errors, as the command line changes it.
pub(crate) fn load(
    paths: Vec<PathBuf>,
    app: Option<&windlass_model::name::ApplicationName>,
    application: &Application,
) -> Result<(Model, Provenance), Failure> {
    let ReadApplication { loaded, problems, .. } = read(paths, app, application)?;
    let loaded = loaded.map_or_else(|| Err(problems.clone()), |loaded| problems.clone().into_result(loaded))?;
    Ok((loaded.model, loaded.provenance))
}

/// Reads as much of an application as there is, as the command line changes it.
fn read(
    paths: Vec<PathBuf>,
    app: Option<&windlass_model::name::ApplicationName>,
    application: &Application,
) -> Result<ReadApplication, Failure> {
    let overrides = match &application.overrides_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::new(Code::BadInput, format!("{} can't be read: {error}", path.display())))?;
            let source = Arc::new(windlass_document::Source { path: path.display().to_string(), text });
            windlass_document::parse(&source)?.first().map(windlass_document::Node::to_value)
        }
        None => None,
    };
    let properties = application
        .override_properties
        .iter()
        .map(|text| parse_property(text))
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::usage(format!("--override-property: {error}")))?;
    let read = read_application(&ApplicationInput { paths, name: app.cloned(), images: application.images.clone(), overrides, properties });
    for OtherFile { path, tool } in read.loaded.iter().flat_map(|loaded| other_files(&loaded.provenance)) {
        print::note(&format!("note: {} is a file for {tool}; it is not read", path.display()));
    }
    Ok(read)
}

/// Plans a deployment of what a path holds; documents with errors are planned too, for what else is wrong.
pub(crate) async fn plan_path(workspace: &Workspace, path: &Path, planning: &Planning) -> Result<Planned, Failure> {
    let mut read = read(vec![path.to_path_buf()], planning.environment.app.as_ref(), &planning.application)?;
    let loaded = read.loaded.take();
    if !read.problems.has_errors() {
        let LoadedApplication { model, provenance } = loaded.ok_or_else(|| Failure::from(read.problems.clone()))?;
        return plan_model(workspace, model, provenance, planning).await;
    }
    let planned = match loaded {
        Some(LoadedApplication { model, provenance }) => plan_model(workspace, model, provenance, planning).await.err(),
        None => None,
    };
    Err(Failure::with_problems(read.problems.clone(), planned, |finding| read.is_news(finding)))
}

/// Plans a deployment of a model.
async fn plan_model(workspace: &Workspace, model: Model, mut provenance: Provenance, planning: &Planning) -> Result<Planned, Failure> {
    let key = workspace::key(&model.application, &planning.environment.env);
    let given = planning.application.platform.as_deref().map(|folder| workspace.planning.load(folder)).transpose()?;
    let is_given = given.is_some();
    let (layers, places) = workspace.layers(given).await?;
    let state = workspace.store.load(&key).await?;
    let environment_type = workspace::environment_type(&key, state.as_ref(), planning.create_env.as_ref(), &layers)?;
    let model = match state.as_ref().and_then(|state| state.last.as_ref()).filter(|_| !model.complete && !planning.prune) {
        Some(last) => {
            let documents = workspace.store.documents_of(&key, last.number).await?;
            let before: Provenance = workspace.read("provenance", &documents.provenance).await?;
            for (document, file) in before.0 {
                provenance.0.entry(document).or_insert(file);
            }
            model.over(workspace.read("model", &last.model).await?)
        }
        None => model,
    };
    for (document, file) in places.0 {
        provenance.0.entry(document).or_insert(file);
    }
    let last = state.as_ref().and_then(|state| state.last.as_ref());
    let given_before = last.filter(|last| last.given_platform && !is_given).map(|last| last.number);
    let input = workspace.plan_input(&key, &environment_type, state, model, layers).await?;
    let planned = finish(workspace, input, provenance);
    if let Some(number) = given_before.filter(|_| planned.as_ref().map_or(true, |planned| planned.plan.has_changes())) {
        print::note(&format!(
            "Deployment {} was made with `--platform`, this one goes by the platform that is stored: give it again if that is not meant.",
            number
        ));
    }
    let planned = planned?;
    let lacking = if planning.complete { windlass_engine::plan::incomplete(&planned.plan) } else { Vec::new() };
    if lacking.is_empty() { Ok(planned) } else { Err(crate::planning::located(lacking, &planned.provenance)) }
}

/// Collects what the last deployment was made of, with today's platform.
pub(crate) async fn again(workspace: &Workspace, key: &EnvironmentKey) -> Result<(windlass_engine::PlanInput, Provenance), Failure> {
    let state = workspace.state(key).await?;
    let (layers, mut provenance) = workspace.todays_layers(key).await?;
    let model = match &state.last {
        Some(last) => {
            let documents = workspace.store.documents_of(key, last.number).await?;
            let before: Provenance = workspace.read("provenance", &documents.provenance).await?;
            for (document, file) in before.0 {
                provenance.0.entry(document).or_insert(file);
            }
            workspace.read("model", &last.model).await?
        }
        None => Model {
            application: key.application.clone(),
            workloads: std::collections::BTreeMap::new(),
            resources: std::collections::BTreeMap::new(),
            environments: Vec::new(),
            complete: true,
        },
    };
    let environment_type = state.record.environment_type.clone();
    Ok((workspace.plan_input(key, &environment_type, Some(state), model, layers).await?, provenance))
}

/// Plans the removal of everything in an environment.
pub(crate) async fn plan_destroy(workspace: &Workspace, key: &EnvironmentKey) -> Result<Planned, Failure> {
    let (mut input, provenance) = again(workspace, key).await?;
    input.destroy = true;
    finish(workspace, input, provenance)
}

pub(crate) fn finish(workspace: &Workspace, input: windlass_engine::PlanInput, provenance: Provenance) -> Result<Planned, Failure> {
    let (plan, driver_calls) = workspace.planning.plan(&input, &provenance)?;
    Ok(Planned { input, plan: Arc::new(plan), provenance, driver_calls, is_exact: false })
}

pub(crate) async fn plan(
    global: &Global,
    path: Option<&Path>,
    planning: &Planning,
    format: Format,
    options: &Options,
) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let planned = match (path, options.destroy) {
        (Some(path), false) => plan_path(&workspace, path, planning).await?,
        (path, true) => {
            let key = match path {
                Some(path) => workspace::key(
                    &load(vec![path.to_path_buf()], planning.environment.app.as_ref(), &planning.application)?.0.application,
                    &planning.environment.env,
                ),
                None => workspace.find(&planning.environment).await?,
            };
            plan_destroy(&workspace, &key).await?
        }
        (None, false) => return Err(Failure::usage("PATH is missing").hint("a Score file, a folder or an Application document")),
    };
    let drift = if options.refresh { Some(refresh(&workspace, &planned).await?) } else { None };
    match &drift {
        Some(drift) if format != Format::Text => show_with_drift(&planned, drift, format)?,
        _ => show(&planned, format)?,
    }
    if std::env::var_os("WINDLASS_COUNT_CALLS").is_some() {
        print::note(&format!("driver calls: {}", planned.driver_calls));
    }
    if let Some(drift) = &drift {
        report(drift, &planned, format);
    }
    if options.preview {
        preview(&workspace, &planned).await?;
    }
    if let Some(out) = &options.out {
        let components = planned.foreign_components(&workspace.planning);
        let purpose = if planned.input.destroy { Purpose::Destroy } else { Purpose::Deploy };
        let (plan, model) = (planned.plan.as_ref().clone(), planned.input.model.as_ref().clone());
        let platform = workspace::given(&planned.input.layers).filter(|_| purpose == Purpose::Deploy).cloned();
        let components = components.iter().map(|(digest, bytes)| (digest, bytes.as_ref()));
        let file = PlanFile::new(purpose, plan, model, platform, planned.provenance.clone(), components)
            .map_err(|error| plan_file::refused(&error, out))?;
        plan_file::write(&file, out)?;
        print::note(&format!("plan written to {}", out.display()));
    }
    let has_drifted = drift.as_ref().is_some_and(|drift| !drift.found.is_empty());
    // What could not be looked at may be anything.
    if let Some(error) = drift.and_then(|drift| drift.unseen.into_iter().next()) {
        return Err(error.into());
    }
    let changes = planned.plan.has_changes() || has_drifted;
    Ok(if options.detailed_exitcode && changes { Code::Changes } else { Code::Done })
}

/// Shows a plan and what it warns of; JSON is the plan itself, canonical.
pub(crate) fn show(planned: &Planned, format: Format) -> Result<(), Failure> {
    let plan = &planned.plan;
    match format {
        Format::Text => {
            print::plan(plan)?.print()?;
            let place = |warning: &Diagnostic| planned.provenance.0.get(&warning.subject).map(|file| file.locate(&warning.pointer));
            print::diagnostics(&plan.warnings.iter().map(|warning| (warning.clone(), place(warning))).collect::<Vec<_>>());
            Ok(())
        }
        Format::Json => {
            let text = String::from_utf8(plan.to_canonical().map_err(Failure::failed)?).map_err(Failure::failed)?;
            print::json(&(text + "\n"))
        }
        Format::Yaml => print::structured(format, plan),
    }
}

/// Lets programs that plan themselves say what they would do: with credentials, so it is a report of its own.
async fn preview(workspace: &Workspace, planned: &Planned) -> Result<(), Failure> {
    let request = workspace.request(planned, Verb::Read, &Applying::default(), None)?;
    let told = workspace.engine().preview(&request).await?;
    if told.is_empty() {
        print::note("Nothing in this plan is planned by a program of its own.");
    }
    for (id, lines) in told {
        print::note(&format!("What {id} would do:"));
        lines.iter().for_each(|line| print::note(&format!("  {line}")));
    }
    Ok(())
}

/// Looks at what exists; what is found is no part of the plan.
async fn refresh(workspace: &Workspace, planned: &Planned) -> Result<Drift, Failure> {
    if planned.input.recorded.is_empty() {
        return Ok(Drift::default());
    }
    Ok(workspace.engine().drift(&workspace::actor(), &planned.input.environment).await?)
}

/// Tells people what a look shows; as data it stands beside the plan.
fn report(drift: &Drift, planned: &Planned, format: Format) {
    if planned.input.recorded.is_empty() {
        print::note("In the world: nothing was deployed yet.");
    } else if format == Format::Text {
        super::drift::report(drift).tell();
    }
}

/// Writes a plan as data with what a look shows under `drift`; the digest of the plan does not cover that.
fn show_with_drift(planned: &Planned, drift: &Drift, format: Format) -> Result<(), Failure> {
    let mut value = serde_json::to_value(planned.plan.as_ref()).map_err(Failure::failed)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("drift".to_owned(), super::drift::entries(drift).into());
    }
    if format != Format::Json {
        return print::structured(format, &value);
    }
    let bytes = canonical::to_vec(&value).map_err(Failure::failed)?;
    print::json(&(String::from_utf8(bytes).map_err(Failure::failed)? + "\n"))
}
