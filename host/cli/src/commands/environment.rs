//! `env create|list|show|rm`.

use std::collections::BTreeSet;

use windlass_engine::store::EnvironmentState;
use windlass_model::{
    identity::shown,
    name::{ApplicationName, EnvironmentName, EnvironmentTypeName},
    state::{EnvironmentRecord, Status},
};

use crate::{
    arguments::{Environment, Format, Global},
    commands::apply::ask,
    exit::{Code, Failure},
    page::Page,
    print,
    workspace::{self, Workspace},
};

pub(crate) async fn create(
    global: &Global,
    name: &EnvironmentName,
    environment_type: &EnvironmentTypeName,
    app: Option<&ApplicationName>,
) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let application = match app {
        Some(app) => app.clone(),
        None => {
            super::plan::load(
                vec![std::path::PathBuf::from(".")],
                None,
                &crate::arguments::Application {
                    images: Vec::new(),
                    overrides_file: None,
                    override_properties: Vec::new(),
                    platform: None,
                },
            )
            .map_err(|_| {
                Failure::usage("it is not said of which application").hint("say `--app NAME`, or run it in the application's folder")
            })?
            .0
            .application
        }
    };
    let (layers, _) = workspace.layers(None).await?;
    workspace::check_type(environment_type, &layers)?;
    let key = workspace::key(&application, name);
    if workspace.store.create_environment(&EnvironmentRecord { key: key.clone(), environment_type: environment_type.clone() }).await? {
        print::note(&format!("made the environment {key} of type {environment_type}"));
        Ok(Code::Done)
    } else {
        Err(Failure::new(Code::BadInput, format!("the environment `{key}` exists already")))
    }
}

pub(crate) async fn remove(global: &Global, environment: &Environment, yes: bool) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    let state = workspace.state(&key).await?;
    if !state.recorded.is_empty() {
        return Err(not_empty(&state));
    }
    ask(yes, &format!("Forget `{key}` with its history and secrets?"))?;
    let lease = workspace.store.lock(&key).await?;
    if !workspace.store.remove_environment(&key, lease.fence()).await? {
        return Err(not_empty(&workspace.state(&key).await?));
    }
    print::note(&format!("forgot the environment {key}"));
    Ok(Code::Done)
}

fn not_empty(state: &EnvironmentState) -> Failure {
    let (key, records) = (&state.record.key, &state.recorded.actions);
    let things = if records.len() == 1 { "one thing exists".to_owned() } else { format!("{} things exist", records.len()) };
    let failure = Failure::failed(format!("{things} in `{key}` by our doing; nothing was forgotten"));
    if records.values().any(|record| record.status != Status::Retained) {
        return failure.hint(format!("`windlass destroy -e {}` takes them away", key.environment));
    }
    let kept: BTreeSet<String> = records.values().filter_map(|record| record.id.node().ok()).map(|node| format!("`{node}`")).collect();
    let kept = kept.into_iter().collect::<Vec<_>>().join(", ");
    failure.hint(format!("they were kept when they left; `windlass release RESOURCE -e {}` lets go of {kept}", key.environment))
}

pub(crate) async fn list(global: &Global, format: Format) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let records = workspace.store.environments().await?;
    if format != Format::Text {
        print::structured(format, &records)?;
        return Ok(Code::Done);
    }
    let mut rows = Vec::new();
    for record in records {
        let state = workspace.state(&record.key).await?;
        let last = state.last.map_or_else(|| "never".to_owned(), |last| format!("{} {}", last.number, last.status.word()));
        rows.push(vec![record.key.application.to_string(), record.key.environment.to_string(), record.environment_type.to_string(), last]);
    }
    print::table(&["application", "environment", "type", "deployment"], rows)?;
    Ok(Code::Done)
}

pub(crate) async fn show(global: &Global, environment: &Environment, format: Format) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    let state = workspace.state(&key).await?;
    if format != Format::Text {
        // Neither ciphertexts nor keyed hashes are anybody's business.
        let actions: Vec<_> = state
            .recorded
            .actions
            .values()
            .map(|action| windlass_model::state::RecordedAction { resolved: None, mac: None, ..action.clone() })
            .collect();
        print::structured(format, &serde_json::json!({ "environment": state.record, "actions": actions }))?;
        return Ok(Code::Done);
    }
    let mut title = Page::default();
    title.line(format_args!("{key} ({})", state.record.environment_type));
    title.blank();
    title.print()?;
    let rows = state
        .recorded
        .actions
        .values()
        .map(|action| {
            let status = match action.status {
                Status::Intended => "intended",
                Status::Live => "live",
                Status::Uncertain => "uncertain",
                Status::Retained => "retained",
                Status::Deleting => "deleting",
            };
            vec![
                shown(&action.identity),
                status.to_owned(),
                action.connection.to_string(),
                if action.holds_data { "holds data".to_owned() } else { String::new() },
            ]
        })
        .collect();
    print::table(&["object", "status", "connection", ""], rows)?;
    Ok(Code::Done)
}
