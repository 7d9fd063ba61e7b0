//! Score documents: deprecated forms are turned into the current one, then everything is checked.

use std::{path::Path, sync::Arc};

use serde_json::Value;
use windlass_model::{did_you_mean, score::Workload};

use crate::{
    overrides,
    problem::{Problem, Problems, Source},
    repair::{Repaired, repair},
    schema, source_files,
    tree::{Key, Node, NodeValue},
};

/// Changes given on the command line, in the order in which they act: overrides, properties.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes<'a> {
    pub overrides: Option<&'a Value>,
    pub properties: &'a [(Vec<String>, Value)],
}

/// Reads one Score document with the files that it names.
pub fn load_score(source: &Arc<Source>, folder: &Path) -> Result<(Workload, Node), Problems> {
    let mut nodes = crate::tree::parse(source)?;
    if nodes.len() != 1 {
        return Err(
            Problem::file(source, "one-document", format!("a Score file holds one document, this one holds {}", nodes.len())).into()
        );
    }
    let ReadWorkload { workload, node, problems, .. } = read_node(source, nodes.swap_remove(0), folder, &Changes::default());
    match workload {
        Some(workload) => problems.into_result((workload, node)),
        None => Err(problems.sorted()),
    }
}

/// What could be read of a Score document.
#[derive(Debug)]
pub(crate) struct ReadWorkload {
    /// The workload; if there are errors, simple values stand in their places. None if it has another shape altogether.
    pub workload: Option<Workload>,
    /// The document.
    pub node: Node,
    /// Everything that is wrong with it.
    pub problems: Problems,
    /// The places that are wrong.
    pub broken: Vec<String>,
}

/// Checks one parsed Score document and brings its files in.
pub(crate) fn read_node(source: &Arc<Source>, mut node: Node, folder: &Path, changes: &Changes<'_>) -> ReadWorkload {
    let mut problems = Problems::default();
    upgrade(source, &mut node, &mut problems);
    let mut value = node.to_value();
    if let Some(given) = changes.overrides {
        overrides::merge(&mut value, given);
    }
    for (path, given) in changes.properties {
        if let Err(reason) = overrides::set_property(&mut value, path, given.clone()) {
            problems.push(Problem::file(source, "override-property", reason));
        }
    }
    let mut of_schema = Problems::default();
    schema::check("Workload", source, &node, &value, &mut of_schema);
    check_containers(source, &node, &value, &mut problems);
    source_files::inline(source, &node, &mut value, folder, &mut problems);
    let beside_schema: Vec<String> = problems.0.iter().map(|problem| problem.pointer.clone()).collect();
    problems.extend(of_schema);
    if !problems.has_errors() {
        let workload = serde_json::from_value(value)
            .map_err(|error| problems.push(Problem::file(source, "invalid", error.to_string()).at(node.span, "")))
            .ok();
        return ReadWorkload { workload, node, problems, broken: Vec::new() };
    }
    let Some(Repaired { value, places }) = repair("Workload", value) else {
        return ReadWorkload { workload: None, node, problems, broken: Vec::new() };
    };
    let broken = beside_schema.into_iter().chain(places).collect();
    ReadWorkload { workload: serde_json::from_value(value).ok(), node, problems, broken }
}

/// Turns lists of files and volumes into maps, joins contents given as lines.
fn upgrade(source: &Arc<Source>, node: &mut Node, problems: &mut Problems) {
    let Some(containers) = node.get_mut("containers") else { return };
    let NodeValue::Map(containers) = &mut containers.value else { return };
    for (name, container) in containers {
        for field in ["files", "volumes"] {
            let at = format!("/containers/{}/{field}", name.text);
            if let Some(entries) = container.get_mut(field) {
                list_to_map(source, entries, &at, problems);
                if field == "files"
                    && let NodeValue::Map(files) = &mut entries.value
                {
                    files.iter_mut().for_each(|(_, file)| join_lines(file));
                }
                if field == "volumes"
                    && let NodeValue::Map(volumes) = &mut entries.value
                {
                    volumes.iter_mut().for_each(|(_, volume)| rename(volume, "read_only", "readOnly"));
                }
            }
        }
    }
}

fn list_to_map(source: &Arc<Source>, entries: &mut Node, at: &str, problems: &mut Problems) {
    let NodeValue::List(items) = &mut entries.value else { return };
    let mut fields: Vec<(Key, Node)> = Vec::new();
    for (index, mut item) in std::mem::take(items).into_iter().enumerate() {
        let NodeValue::Map(entry) = &mut item.value else {
            problems.push(Problem::file(source, "wrong-type", "expected a map with `target`").at(item.span, format!("{at}/{index}")));
            continue;
        };
        let Some(position) = entry.iter().position(|(key, _)| key.text == "target") else {
            problems.push(Problem::file(source, "missing-field", "missing field `target`").at(item.span, format!("{at}/{index}")));
            continue;
        };
        let (_, target) = entry.remove(position);
        match target.value {
            NodeValue::String(text) if fields.iter().any(|(key, _)| key.text == text) => {
                problems.push(
                    Problem::file(source, "duplicate", format!("`{text}` is mounted twice"))
                        .at(target.span, format!("{at}/{index}/target")),
                );
            }
            NodeValue::String(text) => fields.push((Key { text, span: target.span }, item)),
            _ => problems.push(Problem::file(source, "wrong-type", "expected a string").at(target.span, format!("{at}/{index}/target"))),
        }
    }
    entries.value = NodeValue::Map(fields);
}

fn join_lines(file: &mut Node) {
    let Some(content) = file.get_mut("content") else { return };
    if let NodeValue::List(lines) = &content.value
        && let Some(lines) = lines.iter().map(Node::as_str).collect::<Option<Vec<_>>>()
    {
        content.value = NodeValue::String(lines.join("\n"));
    }
}

fn rename(node: &mut Node, from: &str, to: &str) {
    if let NodeValue::Map(fields) = &mut node.value {
        for (key, _) in fields.iter_mut().filter(|(key, _)| key.text == from) {
            to.clone_into(&mut key.text);
        }
    }
}

/// Checks `before`: known containers, none waiting for itself, no cycle.
fn check_containers(source: &Arc<Source>, node: &Node, value: &Value, problems: &mut Problems) {
    let Some(containers) = value.get("containers").and_then(Value::as_object) else { return };
    let waits = |name: &str| -> Vec<String> {
        containers
            .get(name)
            .and_then(|c| c.get("before"))
            .and_then(Value::as_object)
            .map(|before| before.keys().cloned().collect())
            .unwrap_or_default()
    };
    for name in containers.keys() {
        for other in waits(name) {
            let at = format!("/containers/{name}/before");
            let span = node.key_span(&at, &other);
            if !containers.contains_key(&other) {
                let problem =
                    Problem::file(source, "unknown-container", format!("container `{name}` waits for `{other}`, which does not exist"))
                        .at(span, format!("{at}/{other}"));
                problems.push(problem.hint_if(did_you_mean(&other, containers.keys().map(String::as_str))));
            }
        }
        let mut path = vec![name.clone()];
        if let Some(cycle) = find_cycle(name, &mut path, &waits)
            && cycle.first() == cycle.iter().min()
        {
            problems.push(
                Problem::file(
                    source,
                    "container-cycle",
                    format!(
                        "containers wait for each other: {}",
                        cycle.iter().chain(cycle.first()).cloned().collect::<Vec<_>>().join(" -> ")
                    ),
                )
                .at(node.key_span("/containers", name), format!("/containers/{name}/before")),
            );
        }
    }
}

/// Follows `before` from a container back to itself.
fn find_cycle(start: &str, path: &mut Vec<String>, waits: &impl Fn(&str) -> Vec<String>) -> Option<Vec<String>> {
    let last = path.last()?.clone();
    for next in waits(&last) {
        if next == start {
            return Some(path.clone());
        }
        if !path.contains(&next) {
            path.push(next);
            if let Some(found) = find_cycle(start, path, waits) {
                return Some(found);
            }
            path.pop();
        }
    }
    None
}
