//! `platform apply|list|show`.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};
use windlass_engine::driver::{ComponentSource as _, DriverHost as _};
use windlass_model::{
    application::Provenance,
    platform::{DriverReference, LayerName, Layers, Platform},
};

use crate::{
    arguments::{Format, Global},
    exit::{Code, Failure},
    page::Page,
    print,
    workspace::Workspace,
};

pub(crate) async fn apply(global: &Global, folder: &Path) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let (platform, provenance) = workspace.planning.load(folder)?;
    register(&workspace, &platform, &provenance)?;
    guard_connections(&workspace, &platform).await?;
    let mut documents = BTreeMap::new();
    for digest in platform.components.values() {
        if let Some(bytes) = workspace.planning.components.bytes(digest) {
            documents.insert(*digest, bytes);
        }
    }
    workspace.store.put_documents(documents).await?;
    workspace.store.put_platform(&platform, &provenance).await?;
    print::note(&format!("stored {}", contents(&platform)));
    Ok(Code::Done)
}

/// Says what a platform holds: `2 definitions, 1 connection`.
fn contents(platform: &Platform) -> String {
    let counts = [
        (platform.definitions.len(), "definition"),
        (platform.profiles.len(), "profile"),
        (platform.environment_types.len(), "environment type"),
        (platform.connections.len(), "connection"),
        (platform.resource_types.len(), "resource type"),
    ];
    let held = counts.into_iter().filter(|(count, _)| *count > 0);
    let named: Vec<String> = held.map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" })).collect();
    if named.is_empty() { "an empty platform".to_owned() } else { named.join(", ") }
}

/// Describes every driver once, so that a broken component is refused before it is stored.
fn register(workspace: &Workspace, platform: &Platform, provenance: &Provenance) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for definition in platform.definitions.values() {
        if let Some(digest) = platform.component(&definition.spec.driver)
            && let Err(fault) = workspace.planning.host.describe(&digest)
        {
            problems
                .push(windlass_model::Diagnostic::from(fault).on(format!("ResourceDefinition/{}", definition.name())).at("/spec/driver"));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(crate::planning::located(problems, provenance)) }
}

/// A connection with live actions can't be removed: they could not be taken away any more.
async fn guard_connections(workspace: &Workspace, platform: &Platform) -> Result<(), Failure> {
    let (before, _) = workspace.store.platform().await?;
    for name in before.connections.keys().filter(|name| !platform.connections.contains_key(*name)) {
        for record in workspace.store.environments().await? {
            let state = workspace.state(&record.key).await?;
            let live = state.recorded.actions.values().filter(|action| action.connection == *name).count();
            if live > 0 {
                return Err(Failure::new(
                    Code::Policy,
                    format!("the connection `{name}` can't be removed: {live} objects of `{}` were made through it", record.key),
                )
                .hint("move or destroy them first"));
            }
        }
    }
    Ok(())
}

/// Lists `(kind, name, layer, about, document)` of all layers.
fn documents(layers: &Layers) -> Vec<(&'static str, String, LayerName, String, Value)> {
    let value = |document: Result<Value, serde_json::Error>| document.unwrap_or(Value::Null);
    let mut out = Vec::new();
    for (layer, platform) in layers.iter() {
        for document in platform.definitions.values() {
            let classes = document.spec.classes().iter().map(ToString::to_string).collect::<Vec<_>>().join("|");
            out.push((
                "ResourceDefinition",
                document.name().to_string(),
                layer,
                format!("{}.{classes} by {}", document.spec.r#type, driver(&document.spec.driver)),
                value(serde_json::to_value(document)),
            ));
        }
        for document in platform.profiles.values() {
            let stages = document.spec.stages.iter().map(|stage| driver(&stage.driver)).collect::<Vec<_>>().join(" → ");
            out.push(("WorkloadProfile", document.name().to_string(), layer, stages, value(serde_json::to_value(document))));
        }
        for document in platform.environment_types.values() {
            let about = if document.spec.protected == Some(true) { "protected" } else { "" };
            out.push(("EnvironmentType", document.name().to_string(), layer, about.to_owned(), value(serde_json::to_value(document))));
        }
        for document in platform.connections.values() {
            out.push((
                "Connection",
                document.name().to_string(),
                layer,
                document.spec.settings().map_or("", |settings| settings.kind()).to_owned(),
                value(serde_json::to_value(document)),
            ));
        }
        for document in platform.resource_types.values() {
            out.push((
                "ResourceType",
                document.name().to_string(),
                layer,
                document.spec.description.clone().unwrap_or_default(),
                value(serde_json::to_value(document)),
            ));
        }
    }
    out
}

fn driver(reference: &DriverReference) -> String {
    reference.component_key()
}

pub(crate) async fn list(global: &Global, format: Format) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let (layers, _) = workspace.layers(None).await?;
    let documents = documents(&layers);
    if format != Format::Text {
        print::structured(
            format,
            &documents
                .iter()
                .map(|(kind, name, layer, about, _)| json!({ "kind": kind, "name": name, "layer": layer, "about": about }))
                .collect::<Vec<_>>(),
        )?;
        return Ok(Code::Done);
    }
    let rows =
        documents.into_iter().map(|(kind, name, layer, about, _)| vec![kind.to_owned(), name, layer.label().to_owned(), about]).collect();
    print::table(&["kind", "name", "layer", "about"], rows)?;
    Ok(Code::Done)
}

pub(crate) async fn show(global: &Global, name: &str, format: Format) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let (layers, provenance) = workspace.layers(None).await?;
    let documents = documents(&layers);
    let found: Vec<_> = documents.iter().filter(|(kind, known, ..)| known == name || format!("{kind}/{known}") == name).collect();
    if found.is_empty() {
        let failure = Failure::new(Code::BadInput, format!("there is no document `{name}`"));
        let near = windlass_model::did_you_mean(name, documents.iter().map(|(_, known, ..)| known.as_str()));
        return Err(failure.hint(near.unwrap_or_else(|| "`windlass platform list` shows all".to_owned())));
    }
    if format != Format::Text {
        print::structured(format, &found.iter().map(|(.., document)| document).collect::<Vec<_>>())?;
        return Ok(Code::Done);
    }
    for (kind, name, layer, _, document) in found {
        let file = provenance.0.get(&format!("{kind}/{name}")).map(|file| file.path.clone()).unwrap_or_else(|| "the store".to_owned());
        let mut about = Page::default();
        about.line(format_args!("# {} layer, from {file}", layer.label()));
        if let Some(reference) =
            document.pointer("/spec/driver").and_then(|driver| serde_json::from_value::<DriverReference>(driver.clone()).ok())
            && let Some(digest) = layers.iter().find_map(|(_, platform)| platform.component(&reference))
        {
            about.line(format_args!("# component {}", crate::planning::component_line(&workspace.planning, &digest)));
        }
        about.print()?;
        print::structured(Format::Yaml, document)?;
    }
    Ok(Code::Done)
}
