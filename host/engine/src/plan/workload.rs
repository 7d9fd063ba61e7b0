//! One workload node: its placeholders resolved, its pipeline called stage by stage, its manifests as actions.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use windlass_model::{
    Diagnostic, NodeKey,
    name::{DocumentName, WorkloadName},
    plan::{Constraint, PlannedNode, WinningDocument},
    platform::{LayerName, Stage},
    pointer::escape,
    score::Workload,
};
use windlass_resolve::{GraphNode, NodeKind, Scope, expand, unusable_images};

use super::{
    Cx, DriverUse, NodeOutcome, OBJECTS,
    expand::Lookup,
    planned_driver,
    resource::{Place, answered, diagnostic, expand_value, placed, staged_sentence, token_label},
    stage::{Fields, Settled},
    unencoded, winning,
};
use crate::{
    driver::{Body, DriverRequest, World},
    recorder::{Recorder, StagedAction, token_problem},
    tokens::TokenTable,
};

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
        match cx.driver(
            &owner,
            *layer,
            &stage.driver,
            &stage_grants(cx, profile.as_ref().map(|(_, profile, _)| profile.name()), *layer, stage),
            World::WorkloadDriver,
        ) {
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
        let more = cx
            .settle(used, &mut fields, outcomes)
            .map_err(|problems| problems.into_iter().map(|problem| problem.on(&key)).collect::<Vec<_>>())?;
        settled.extend(more);
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

fn stage_grants(cx: &Cx<'_>, profile: Option<&DocumentName>, _: LayerName, stage: &Stage) -> Vec<windlass_model::platform::Grant> {
    match profile {
        Some(profile) => cx.grants(profile, &stage.grants),
        None => stage.grants.clone(),
    }
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
    aliases: &BTreeMap<String, windlass_model::ResourceKey>,
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
                if let Some(source) = volume.get_mut("source") {
                    *source = volume_source(lookup, source, &subject, &format!("{base}/volumes/{}/source", escape(target)), problems);
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

/// `${resources.x}` as a volume means what the resource yields as its source.
fn volume_source(lookup: &Lookup<'_, '_>, source: &Value, subject: &str, at: &str, problems: &mut Vec<Diagnostic>) -> Value {
    let text = source.as_str().unwrap_or_default().trim();
    let whole =
        text.strip_prefix("${resources.").and_then(|rest| rest.strip_suffix('}')).filter(|alias| !alias.contains(['.', '{', '}', '$']));
    match whole {
        Some(alias) => {
            let path = ["resources".to_owned(), alias.to_owned(), "source".to_owned()];
            lookup.get(&path).unwrap_or_else(|error| {
                problems.push(diagnostic(error, subject, at.to_owned()));
                Value::Null
            })
        }
        None => expand_value(lookup, source, subject, at, problems),
    }
}

/// Calls the pipeline.
pub(crate) fn call(cx: &Cx<'_>, call: &WorkloadCall<'_>) -> Result<NodeOutcome, Vec<Diagnostic>> {
    let node = NodeKey::Workload(call.name.clone());
    let mut manifests: Vec<Value> = Vec::new();
    let mut staged: Vec<StagedAction> = Vec::new();
    let score = cx.effective.workloads.get(&call.name);
    let mut warnings: Vec<Diagnostic> =
        score.into_iter().flat_map(|score| unusable_images(score)).map(|warning| warning.on(&node)).collect();
    warnings.extend(unencoded::warnings(&call.workload, "").into_iter().map(|warning| warning.on(&node)));
    let mut last: Option<Recorder> = None;
    let mut constraints = Vec::new();
    for stage in &call.stages {
        let rendered = call_stage(cx, call, stage, &manifests, &node)?;
        manifests = rendered.manifests;
        staged.extend(rendered.recorder.actions.iter().cloned());
        constraints.extend(rendered.constraints);
        warnings.extend(rendered.warnings);
        last = Some(rendered.recorder);
    }
    if let Some(recorder) = &last {
        staged.extend(rendered_actions(recorder, manifests, &node)?);
    }
    let grants: Vec<_> = call.stages.iter().flat_map(|stage| stage.used.grants.clone()).collect();
    let actions = cx.planned_actions(&node, staged, &grants, None, call.namespace.as_deref())?;
    Ok(NodeOutcome::new(PlannedNode { actions, constraints, ..call.unasked() }, warnings, call.stages.len() as u64))
}

/// What a stage made of the manifests before it.
struct Rendered {
    manifests: Vec<Value>,
    recorder: Recorder,
    constraints: Vec<Constraint>,
    warnings: Vec<Diagnostic>,
}

fn call_stage(
    cx: &Cx<'_>,
    call: &WorkloadCall<'_>,
    stage: &StageCall<'_>,
    before: &[Value],
    node: &NodeKey,
) -> Result<Rendered, Vec<Diagnostic>> {
    let component = &stage.used.component;
    let named = |problem: Diagnostic| problem.on(node);
    let description = cx.host.describe(component).map_err(|fault| vec![named(fault.into())])?;
    let schemas = cx.planners.schemas.driver(component, &description).map_err(|error| {
        vec![named(Diagnostic::error("driver-schema", format!("driver `{}`: {error}", stage.used.reference.component_key())))]
    })?;
    let mut tokens = TokenTable::default();
    let inputs = tokens.open(&stage.inputs);
    let workload = tokens.open(&call.workload);
    let manifests: Vec<Value> = before.iter().map(|manifest| tokens.open(manifest)).collect();
    let label = token_label(&tokens);
    let mut problems: Vec<Diagnostic> = schemas.inputs.check(&inputs, &format!("/stages/{}/inputs", stage.stage.name), &label);
    problems.extend(schemas.params.check(&workload, "", &label));
    if !problems.is_empty() {
        return Err(problems.into_iter().map(|problem| staged_sentence(problem.on(node), node)).collect());
    }
    let mut constraints = schemas.inputs.constraints(&inputs, &format!("/stages/{}/inputs", stage.stage.name), &tokens);
    constraints.extend(schemas.params.constraints(&workload, "/workload", &tokens));
    let request = DriverRequest::Render {
        context: cx.driver_context(call.namespace.as_deref()),
        name: call.name.to_string(),
        workload: workload.to_string(),
        inputs: inputs.to_string(),
        manifests: manifests.iter().map(ToString::to_string).collect(),
    };
    let recorder = Recorder::new(cx.recorder_input(node, &stage.used, call.namespace.as_deref(), tokens)?);
    let (result, recorder) = cx.host.call(component, &request, recorder);
    let places = [Place { part: "/workload", subject: node.to_string(), base: String::new() }];
    let place = |problem: Diagnostic| placed(problem, node, &places);
    let answer = answered(result, &recorder, node).map_err(|problems| problems.into_iter().map(place).collect::<Vec<_>>())?;
    let warnings = answer.warnings.iter().cloned().map(|warning| place(named(warning))).collect();
    let Body::Manifests(texts) = answer.body else {
        return Err(vec![named(Diagnostic::error("driver-answer", "the driver gave outputs instead of manifests"))]);
    };
    let mut rendered = Vec::with_capacity(texts.len());
    let mut problems = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let parsed: Result<Value, Diagnostic> =
            serde_json::from_str(text).map_err(|error| Diagnostic::error("driver-answer", format!("manifest {index} is no JSON: {error}")));
        let closed = parsed.and_then(|value: Value| {
            windlass_model::canonical::check(&value)
                .map_err(|error| Diagnostic::error("driver-answer", format!("manifest {index}: {error}")))?;
            recorder.tokens.close(value).map_err(|errors| token_problem(&errors))
        });
        match closed {
            Ok(value) => rendered.push(value),
            Err(problem) => problems.push(
                Diagnostic { message: format!("driver `{}`: {}", stage.used.reference.component_key(), problem.message), ..problem }
                    .on(node),
            ),
        }
    }
    if problems.is_empty() { Ok(Rendered { manifests: rendered, recorder, constraints, warnings }) } else { Err(problems) }
}

/// Turns rendered manifests into actions: checked like everything that is staged.
fn rendered_actions(recorder: &Recorder, manifests: Vec<Value>, node: &NodeKey) -> Result<Vec<StagedAction>, Vec<Diagnostic>> {
    let mut actions: Vec<StagedAction> = Vec::with_capacity(manifests.len());
    let mut problems = Vec::new();
    for manifest in manifests {
        let field = |at: &str| windlass_model::pointer::find(&manifest, at).and_then(Value::as_str).unwrap_or("unknown").to_owned();
        let local = format!("object/{}.{}", field("/kind").to_lowercase(), field("/metadata/name"));
        let (spec, found) = recorder.admit(OBJECTS, "object", manifest);
        problems.extend(found.into_iter().map(|problem| problem.on(format!("{node}:{local}"))));
        if actions.iter().any(|action| action.local == local) {
            problems.push(Diagnostic::error("duplicate-action", format!("`{local}` is rendered twice")).on(node));
        }
        actions.push(StagedAction { interface: OBJECTS.to_owned(), local, spec, after: Vec::new() });
    }
    if problems.is_empty() { Ok(actions) } else { Err(problems) }
}
