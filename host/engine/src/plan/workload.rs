//! One workload node: its placeholders resolved, its drivers found.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use windlass_model::{
    Diagnostic, NodeKey, ResourceKey,
    name::WorkloadName,
    placeholder::{self, Segment},
    plan::{PlannedNode, WinningDocument},
    platform::Stage,
    pointer::escape,
    score::Workload,
};
use windlass_resolve::{
    GraphNode, NodeKind, Scope,
    expand::{self, ExpandError},
};

use super::{
    Cx, DriverUse, NodeOutcome,
    expand::Lookup,
    planned_driver,
    resource::{diagnostic, expand_value},
    stage::{Fields, Settled},
    winning,
};
use crate::driver::World;

/// A pipeline that is ready.
#[derive(Clone, Debug)]
pub(crate) struct WorkloadCall<'a> {
    pub name: WorkloadName,
    pub definition: Option<WinningDocument>,
    /// The resolved workload in plan JSON.
    pub workload: Value,
    pub stages: Vec<StageCall<'a>>,
    pub namespace: Option<String>,
    pub depends_on: Vec<NodeKey>,
    /// What plain fields hold of recorded values, and what they lack.
    pub settled: Settled,
}

impl WorkloadCall<'_> {
    /// Describes the node without the drivers' word.
    pub(crate) fn unasked(&self) -> PlannedNode {
        PlannedNode {
            key: NodeKey::Workload(self.name.clone()),
            definition: self.definition.clone(),
            drivers: self.stages.iter().map(|stage| planned_driver(&stage.used)).collect(),
            depends_on: self.depends_on.clone(),
            actions: Vec::new(),
            constraints: Vec::new(),
            outputs: Map::new(),
            references: Vec::new(),
            request: None,
        }
    }
}

/// One stage of it.
#[derive(Clone, Debug)]
pub(crate) struct StageCall<'a> {
    pub stage: &'a Stage,
    pub used: DriverUse<'a>,
    pub inputs: Value,
}

/// Resolves placeholders and finds the drivers.
pub(crate) fn prepare<'a>(
    cx: &Cx<'a>,
    name: &WorkloadName,
    outcomes: &BTreeMap<NodeKey, NodeOutcome>,
) -> Result<WorkloadCall<'a>, Vec<Diagnostic>> {
    let key = NodeKey::Workload(name.clone());
    let Some(GraphNode { kind: NodeKind::Workload { workload, aliases, profile, stages }, edges, .. }) = cx.graph.nodes.get(&key) else {
        return Err(vec![Diagnostic::error("bug", "not a workload").on(&key)]);
    };
    let namespace = cx.namespace(&key, outcomes)?;
    let mut problems = Vec::new();
    let lookup = Lookup::new(cx, outcomes, Scope::Workload(name.clone()), namespace.value);
    let mut resolved = resolve_workload(&lookup, workload, aliases, &key, &mut problems);
    let mut calls = Vec::new();
    let owner = profile.as_ref().map_or_else(|| key.to_string(), |(_, profile, _)| format!("WorkloadProfile/{}", profile.name()));
    for (layer, stage) in stages {
        let inputs = stage_inputs(&lookup, stage, &owner, &mut problems);
        match cx.driver(&owner, *layer, &stage.driver, &stage.grants, World::WorkloadDriver) {
            Ok(used) => calls.push(StageCall { stage, used, inputs }),
            Err(more) => problems.extend(more),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut settled = namespace.settled;
    for StageCall { used, inputs, .. } in &mut calls {
        let mut fields = [
            Fields { value: inputs, base: "/inputs", schema: |schemas| &schemas.inputs },
            Fields { value: &mut resolved, base: "", schema: |schemas| &schemas.params },
        ];
        settled.extend(cx.settle(&key, used, &mut fields, outcomes)?);
    }
    let definition = profile.as_ref().map(|(layer, profile, rule)| winning(profile.name(), *layer, rule.as_ref()));
    Ok(WorkloadCall {
        name: name.clone(),
        definition,
        workload: resolved,
        stages: calls,
        namespace: namespace.name,
        depends_on: edges.iter().cloned().collect(),
        settled,
    })
}

/// Inputs of a stage may use `${context.…}`; they belong to the platform, not to the workload.
fn stage_inputs(lookup: &Lookup<'_, '_>, stage: &Stage, owner: &str, problems: &mut Vec<Diagnostic>) -> Value {
    let namespace_key = match &lookup.cx.graph.namespace {
        NodeKey::Resource(key) => key.clone(),
        NodeKey::Workload(_) => return Value::Object(stage.inputs.clone()),
    };
    let definition = Lookup::new(lookup.cx, lookup.outcomes, Scope::Definition(namespace_key), lookup.namespace.clone());
    expand_value(&definition, &Value::Object(stage.inputs.clone()), owner, &format!("/spec/stages/{}/inputs", stage.name), problems)
}

/// Replaces placeholders where Score says that they act: variables, file contents, volume sources.
fn resolve_workload(
    lookup: &Lookup<'_, '_>,
    workload: &Workload,
    aliases: &BTreeMap<String, ResourceKey>,
    key: &NodeKey,
    problems: &mut Vec<Diagnostic>,
) -> Value {
    let mut value = match serde_json::to_value(workload) {
        Ok(value) => windlass_model::sealed::escape(value),
        Err(error) => {
            problems.push(Diagnostic::error("bug", error.to_string()).on(key));
            return Value::Null;
        }
    };
    let subject = key.to_string();
    let Value::Object(fields) = &mut value else { return value };
    fields.insert(
        "resources".into(),
        Value::Object(aliases.iter().map(|(alias, key)| (alias.clone(), Value::String(key.to_string()))).collect::<Map<_, _>>()),
    );
    let Some(Value::Object(containers)) = fields.get_mut("containers") else { return value };
    for (name, container) in containers {
        let base = format!("/containers/{}", escape(name));
        if let Some(Value::Object(variables)) = container.get_mut("variables") {
            for (variable, text) in variables {
                expand_text(lookup, text, &subject, &format!("{base}/variables/{}", escape(variable)), problems);
            }
        }
        if let Some(Value::Object(files)) = container.get_mut("files") {
            for (target, file) in files {
                let literal = file.get("noExpand").and_then(Value::as_bool).unwrap_or(false);
                if let Some(content) = file.get_mut("content").filter(|_| !literal) {
                    expand_text(lookup, content, &subject, &format!("{base}/files/{}/content", escape(target)), problems);
                }
            }
        }
        if let Some(Value::Object(volumes)) = container.get_mut("volumes") {
            for (target, volume) in volumes {
                let Value::Object(volume) = volume else { continue };
                let at = format!("{base}/volumes/{}/source", escape(target));
                if let Err(error) = resolve_volume(lookup, aliases, volume) {
                    problems.push(diagnostic(error, &subject, at));
                }
            }
        }
    }
    value
}

fn expand_text(lookup: &Lookup<'_, '_>, value: &mut Value, subject: &str, at: &str, problems: &mut Vec<Diagnostic>) {
    let Some(text) = value.as_str() else { return };
    match expand::text(text, &mut |path| lookup.get(path)) {
        Ok(expanded) => *value = expanded,
        Err(error) => problems.push(diagnostic(error, subject, at.to_owned())),
    }
}

/// Replaces the source of a volume by the output that its placeholder names, `source` if it names none, and says which it is.
fn resolve_volume(
    lookup: &Lookup<'_, '_>,
    aliases: &BTreeMap<String, ResourceKey>,
    volume: &mut Map<String, Value>,
) -> Result<(), ExpandError> {
    let Some(text) = volume.get("source").and_then(Value::as_str).map(|text| text.trim().to_owned()) else { return Ok(()) };
    let segments = placeholder::parse(&text);
    let [Segment::Reference(reference)] = segments.as_slice() else {
        let source = expand::text(&text, &mut |path| lookup.get(path))?;
        volume.insert("source".into(), source);
        return Ok(());
    };
    let mut path = placeholder::path(reference);
    if path.len() == 2 {
        path.push("source".to_owned());
    }
    let source = lookup.get(&path)?;
    let output = match path.as_slice() {
        [_, alias, output @ ..] => aliases.get(alias).map(|key| format!("{key}/{}", output.join("."))),
        _ => None,
    };
    volume.insert("source".into(), source);
    if let Some(output) = output {
        volume.insert("output".into(), Value::String(output));
    }
    Ok(())
}
