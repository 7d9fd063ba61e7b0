//! Platform documents of a folder, as one layer.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use jsonschema::PatternOptions;
use serde::de::DeserializeOwned;
use serde_json::Value;
use windlass_model::{
    application::{Provenance, SourceFile},
    limits,
    name::DocumentName,
    platform::{Connection, DriverReference, EnvironmentType, Platform, ResourceDefinition, ResourceType, WorkloadProfile},
    schema_bounds,
};

use crate::{
    discover::{Discovered, Document, discover_all},
    folder::Elsewhere,
    problem::{Problem, Problems, Source},
    remote::{Fetched, Fetcher, Nowhere},
    schema, tree,
};

/// A layer as it was read.
#[derive(Clone, Debug, Default)]
pub struct LoadedPlatform {
    /// The documents; `components` is still empty.
    pub platform: Platform,
    /// Where each stands, by `Kind/name`.
    pub provenance: Provenance,
    /// The component files that definitions name, by `file:PATH` reference.
    pub component_files: BTreeMap<String, PathBuf>,
    /// What was brought from elsewhere.
    pub fetched: Vec<Fetched>,
}

/// Reads all platform documents below a folder; what they name elsewhere is brought by `fetcher`.
pub fn load_platform(folder: &Path, fetcher: &dyn Fetcher) -> Result<LoadedPlatform, Problems> {
    let (found, mut problems) = discover_all(folder);
    let (loaded, more) = read_platform(&found, fetcher);
    problems.extend(more);
    problems.into_result(loaded)
}

/// Reads platform documents from texts: the built-in layer.
pub fn load_platform_sources(sources: &[(&str, &str)]) -> Result<LoadedPlatform, Problems> {
    let mut found = Discovered::default();
    for (path, text) in sources {
        let source = Arc::new(Source { path: (*path).to_owned(), text: (*text).to_owned() });
        for node in tree::parse(&source)? {
            let kind =
                node.get("kind").and_then(tree::Node::as_str).and_then(|kind| schema::KINDS.iter().find(|known| **known == kind)).copied();
            let kind = kind.ok_or_else(|| Problem::file(&source, "unknown-kind", "unknown kind").at(node.span, ""))?;
            found.documents.push(Document { source: Arc::clone(&source), path: PathBuf::from(path), node, kind });
        }
    }
    let (loaded, problems) = read_platform(&found, &Nowhere);
    problems.into_result(loaded)
}

/// Checks one document other than a workload.
pub(crate) fn check_document(document: &Document, problems: &mut Problems) {
    schema::check(document.kind, &document.source, &document.node, &document.node.to_value(), problems);
}

/// Reads the platform documents that have no errors, and tells of the others.
pub(crate) fn read_platform(found: &Discovered, fetcher: &dyn Fetcher) -> (LoadedPlatform, Problems) {
    let mut loaded = LoadedPlatform::default();
    let mut problems = Problems::default();
    let mut elsewhere = Elsewhere { fetcher, fetched: Vec::new() };
    for document in &found.documents {
        let before = problems.0.len();
        if matches!(document.kind, "Workload" | "Application") {
            continue;
        }
        check_document(document, &mut problems);
        if problems.0.len() > before {
            continue;
        }
        match document.kind {
            "ResourceDefinition" => {
                if let Some(definition) = add(
                    &mut loaded.platform.definitions,
                    document,
                    ResourceDefinition::name,
                    &mut problems,
                    (&mut loaded.provenance, &mut elsewhere),
                ) {
                    check_definition(document, &definition, &mut problems);
                    note_component(&mut loaded.component_files, document, &definition.spec.driver);
                }
            }
            "WorkloadProfile" => {
                if let Some(profile) = add(
                    &mut loaded.platform.profiles,
                    document,
                    WorkloadProfile::name,
                    &mut problems,
                    (&mut loaded.provenance, &mut elsewhere),
                ) {
                    profile.spec.stages.iter().for_each(|stage| note_component(&mut loaded.component_files, document, &stage.driver));
                }
            }
            "EnvironmentType" => {
                if let Some(kind) = add(
                    &mut loaded.platform.environment_types,
                    document,
                    EnvironmentType::name,
                    &mut problems,
                    (&mut loaded.provenance, &mut elsewhere),
                ) {
                    kind.spec.workload_stages.iter().for_each(|stage| note_component(&mut loaded.component_files, document, &stage.driver));
                }
            }
            "Connection" => {
                add(&mut loaded.platform.connections, document, Connection::name, &mut problems, (&mut loaded.provenance, &mut elsewhere));
            }
            _ => {
                if let Some(kind) = add(
                    &mut loaded.platform.resource_types,
                    document,
                    ResourceType::name,
                    &mut problems,
                    (&mut loaded.provenance, &mut elsewhere),
                ) {
                    check_type(document, &kind, &mut problems);
                }
            }
        }
    }
    loaded.fetched = elsewhere.fetched;
    (loaded, problems)
}

fn note_component(files: &mut BTreeMap<String, PathBuf>, document: &Document, driver: &DriverReference) {
    if let DriverReference::File(path) = driver {
        files.insert(driver.component_key(), document.path.parent().unwrap_or(Path::new(".")).join(path));
    }
}

fn add<T: DeserializeOwned + Clone>(
    into: &mut BTreeMap<DocumentName, T>,
    document: &Document,
    name: impl Fn(&T) -> &DocumentName,
    problems: &mut Problems,
    (provenance, elsewhere): (&mut Provenance, &mut Elsewhere<'_>),
) -> Option<T> {
    let mut value = document.node.to_value();
    if let Some(inputs) = value.pointer_mut("/spec/inputs") {
        let folder = document.path.parent().unwrap_or(Path::new("."));
        crate::folder::inline(&document.source, &document.node, "/spec/inputs", inputs, folder, (problems, elsewhere));
    }
    let parsed: T = match serde_json::from_value(value) {
        Ok(parsed) => parsed,
        Err(error) => {
            problems.push(Problem::file(&document.source, "invalid", error.to_string()).at(document.node.span, ""));
            return None;
        }
    };
    let name = name(&parsed).clone();
    let key = format!("{}/{name}", document.kind);
    if let Some(first) = provenance.0.get(&key) {
        problems.push(
            Problem::file(&document.source, "duplicate", format!("{} `{name}` is written twice", document.kind))
                .at(document.node.span_at("/metadata/name"), "/metadata/name")
                .hint(format!("the first stands in {}", first.locate("/metadata/name"))),
        );
        return None;
    }
    provenance.0.insert(key, SourceFile { path: document.source.path.clone(), lines: document.node.lines() });
    into.insert(name, parsed.clone());
    Some(parsed)
}

/// Checks what the schema can't say about a definition.
fn check_definition(document: &Document, definition: &ResourceDefinition, problems: &mut Problems) {
    for (index, rule) in definition.spec.r#match.iter().enumerate() {
        if rule.workload.is_some() {
            let at = format!("/spec/match/{index}/workload");
            problems.push(
                Problem::file(&document.source, "match-field", "definitions are not matched by workload")
                    .at(document.node.span_at(&at), at)
                    .hint("use `resourceId`: private ids begin with the workload's name"),
            );
        }
    }
    for (alias, collect) in &definition.spec.collect {
        let at = format!("/spec/collect/{alias}");
        match (&collect.using, collect.used_by) {
            (Some(using), None) if !definition.spec.resources.contains_key(using) => problems.push(
                Problem::file(&document.source, "unknown-alias", format!("`{using}` is no alias of `resources`"))
                    .at(document.node.span_at(&format!("{at}/using")), format!("{at}/using")),
            ),
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) | (None, None) => {
                problems.push(
                    Problem::file(&document.source, "collect", "exactly one of `using` and `usedBy` is needed")
                        .at(document.node.span_at(&at), at),
                );
            }
        }
    }
}

/// Compiles a schema as planning does, with patterns that need no backtracking, if what it costs is bounded.
fn refusal(schema: &Value) -> Result<(), String> {
    schema_bounds::check(schema).map_err(|error| error.to_string())?;
    let patterns = PatternOptions::regex().size_limit(limits::SCHEMA_PATTERN_BYTES_MAX).dfa_size_limit(limits::SCHEMA_PATTERN_BYTES_MAX);
    jsonschema::draft202012::options().with_pattern_options(patterns).build(schema).map(drop).map_err(|error| error.to_string())
}

/// Checks that a type's schemas are schemas.
fn check_type(document: &Document, kind: &ResourceType, problems: &mut Problems) {
    for (field, schema) in [("params", &kind.spec.params), ("outputs", &kind.spec.outputs)] {
        if schema.is_null() {
            continue;
        }
        if let Err(reason) = refusal(schema) {
            let at = format!("/spec/{field}");
            problems.push(
                Problem::file(&document.source, "schema", format!("`{field}` is not a usable JSON Schema: {reason}"))
                    .at(document.node.span_at(&at), at),
            );
        }
    }
}
