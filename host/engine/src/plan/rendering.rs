//! The pipeline of one workload: each stage is asked in turn, and answers with its own grant for every object that it adds,
//! changes or removes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use windlass_model::{
    ActionId, Diagnostic, NodeKey, limits,
    plan::{Constraint, PlannedNode},
    platform::permits_key,
    pointer::{escape, find},
    score::PROFILE_ANNOTATION,
};
use windlass_resolve::{misleading_placeholders, unusable_images};

use super::{
    Cx, NodeOutcome, OBJECTS, is_behind_broken,
    place::{Place, of_request},
    references::{self, Claim, Sources},
    resource::{answered, staged_sentence, token_label},
    unencoded,
    workload::{StageCall, WorkloadCall},
};
use crate::{
    driver::{Body, DriverFault, DriverRequest, Fault},
    planner::Authority,
    recorder::{Recorder, StagedAction, token_problem},
    tokens::TokenTable,
};

/// Annotations of a workload that steer its rendering and give no rights.
const STEERING: [&str; 4] = [PROFILE_ANNOTATION, "windlass.dev/schedule", "windlass.dev/pod-security", "windlass.dev/wait-for"];

/// An object between two stages, normalised and admitted.
struct Object {
    local: String,
    spec: Value,
    /// The stage that made it what it is, by its place in the pipeline.
    stage: usize,
}

/// Calls the pipeline. Without `outcomes`, names are not held to what the node may use, as in [`super::resource::call`].
pub(crate) fn call(
    cx: &Cx<'_>,
    call: &WorkloadCall<'_>,
    outcomes: Option<&BTreeMap<NodeKey, NodeOutcome>>,
) -> Result<NodeOutcome, Vec<Diagnostic>> {
    let node = NodeKey::Workload(call.name.clone());
    let score = cx.effective.workloads.get(&call.name);
    let mut warnings: Vec<Diagnostic> = score.into_iter().flat_map(|score| unusable_images(score)).collect();
    warnings.extend(score.into_iter().flat_map(|score| misleading_placeholders(score)));
    warnings.extend(unencoded::warnings(&call.workload, ""));
    warnings.extend(withheld(call));
    let mut warnings: Vec<Diagnostic> = warnings.into_iter().map(|warning| warning.on(&node)).collect();
    let mut objects: Vec<Object> = Vec::new();
    let mut staged: Vec<(StagedAction, &[_])> = Vec::new();
    let mut constraints = Vec::new();
    let mut claims = Vec::new();
    for (index, stage) in call.stages.iter().enumerate() {
        let rendered = call_stage(cx, call, stage, &objects, &node)?;
        let grants = stage.used.grants.as_slice();
        claims.extend(cx.claims(&node, &rendered.recorder.actions, grants));
        objects =
            Admission { cx, call, index, recorder: &rendered.recorder, node: &node }.admit(rendered.manifests, objects, &mut claims)?;
        staged.extend(rendered.recorder.actions.into_iter().map(|action| (action, grants)));
        constraints.extend(rendered.constraints);
        warnings.extend(rendered.warnings);
    }
    staged.extend(objects.into_iter().map(|Object { local, spec, stage }| {
        let grants = call.stages.get(stage).map_or(&[] as &[_], |stage| stage.used.grants.as_slice());
        (StagedAction { interface: OBJECTS.to_owned(), local, spec, after: Vec::new() }, grants)
    }));
    let actions = cx.planned_actions(&node, staged, None, call.namespace.as_deref())?;
    // Names of what could not be planned are known to nothing.
    let references = match outcomes.filter(|outcomes| !is_behind_broken(cx, &node, outcomes)) {
        Some(outcomes) => references::check(&actions, &claims, Sources { depends_on: &call.depends_on, outcomes })?,
        None => Vec::new(),
    };
    Ok(NodeOutcome::new(PlannedNode { actions, constraints, references, ..call.unasked() }, warnings, call.stages.len() as u64))
}

/// What a stage made of the objects before it.
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
    before: &[Object],
    node: &NodeKey,
) -> Result<Rendered, Vec<Diagnostic>> {
    let component = &stage.used.component;
    let named = |problem: Diagnostic| problem.on(node);
    let schemas = cx.schemas_of(node, &stage.used)?;
    let mut tokens = TokenTable::default();
    let inputs = tokens.open(&stage.inputs);
    let mut workload = tokens.open(&call.workload);
    confine(&mut workload, stage);
    let manifests: Vec<String> = before.iter().map(|object| tokens.open(&object.spec).to_string()).collect();
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
        manifests,
    };
    let recorder = Recorder::new(cx.recorder_input(node, &stage.used, &std::sync::Arc::default(), call.namespace.as_deref(), tokens)?);
    let (result, mut recorder) = cx.host.call(component, &request, recorder);
    let places = [Place { part: "/workload", subject: node.to_string(), base: String::new() }];
    let place = |problem: Diagnostic| of_request(problem, node, &places);
    let answer = answered(result, &recorder, node).map_err(|problems| problems.into_iter().map(place).collect::<Vec<_>>())?;
    let warnings = answer.warnings.iter().cloned().map(|warning| place(named(warning))).collect();
    let Body::Manifests(texts) = answer.body else {
        return Err(vec![named(Diagnostic::error("driver-answer", "the driver gave outputs instead of manifests"))]);
    };
    let manifests = read(&texts, &mut recorder, stage, node)?;
    Ok(Rendered { manifests, recorder, constraints, warnings })
}

/// Reads the manifests of an answer.
fn read(texts: &[String], recorder: &mut Recorder, stage: &StageCall<'_>, node: &NodeKey) -> Result<Vec<Value>, Vec<Diagnostic>> {
    let driver = stage.used.reference.component_key();
    if texts.len() + recorder.actions.len() > limits::ACTIONS_MAX {
        let fault = Fault::Limit { limit: "manifests and actions of one stage", value: limits::ACTIONS_MAX.to_string() };
        return Err(vec![Diagnostic::from(DriverFault { driver, component: stage.used.component, fault }).on(node)]);
    }
    let mut manifests = Vec::with_capacity(texts.len());
    let mut problems = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let parsed: Result<Value, Diagnostic> =
            serde_json::from_str(text).map_err(|error| Diagnostic::error("driver-answer", format!("manifest {index} is no JSON: {error}")));
        let closed = parsed.and_then(|value: Value| {
            windlass_model::canonical::check(&value)
                .map_err(|error| Diagnostic::error("driver-answer", format!("manifest {index}: {error}")))?;
            recorder.close(value).map_err(|errors| token_problem(&errors))
        });
        match closed {
            Ok(value) => manifests.push(value),
            Err(problem) => {
                problems.push(Diagnostic { message: format!("driver `{driver}`: {}", problem.message), ..problem }.on(node));
            }
        }
    }
    if problems.is_empty() { Ok(manifests) } else { Err(problems) }
}

/// Keeps from a stage the annotations of a workload whose keys its grant would not let it write.
fn confine(workload: &mut Value, stage: &StageCall<'_>) {
    let Some(annotations) = workload.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    if annotations.keys().any(|key| key.contains('/')) {
        let authority = Authority::of(&stage.used.grants, OBJECTS);
        annotations.retain(|key, _| is_passed_on(&authority, key));
    }
}

fn is_passed_on(authority: &Authority, key: &str) -> bool {
    STEERING.contains(&key) || permits_key(&authority.metadata, key)
}

/// Warns of annotations that no stage of the pipeline is given.
fn withheld(call: &WorkloadCall<'_>) -> Vec<Diagnostic> {
    let annotations = find(&call.workload, "/metadata/annotations").and_then(Value::as_object);
    let is_domain = |key: &&String| key.contains('/') && !STEERING.contains(&key.as_str());
    let keys: Vec<&String> = annotations.into_iter().flatten().map(|(key, _)| key).filter(is_domain).collect();
    if keys.is_empty() {
        return Vec::new();
    }
    let authorities: Vec<Authority> = call.stages.iter().map(|stage| Authority::of(&stage.used.grants, OBJECTS)).collect();
    keys.into_iter()
        .filter(|key| !authorities.iter().any(|authority| is_passed_on(authority, key)))
        .map(|key| {
            Diagnostic::warning(
                "annotation-withheld",
                format!("the annotation `{key}` is left out: the workload profile does not permit it"),
            )
            .at(format!("/metadata/annotations/{}", escape(key)))
            .hint("a stage of the profile permits it with `metadata` in its grant of `windlass:kubernetes/objects`")
        })
        .collect()
}

/// The check of what one stage made of the objects before it.
struct Admission<'a, 'c> {
    cx: &'a Cx<'c>,
    call: &'a WorkloadCall<'c>,
    index: usize,
    recorder: &'a Recorder,
    node: &'a NodeKey,
}

impl Admission<'_, '_> {
    /// Admits objects that the stage added, changed or removed; others stay as an earlier stage was granted them.
    fn admit(&self, manifests: Vec<Value>, before: Vec<Object>, claims: &mut Vec<Claim>) -> Result<Vec<Object>, Vec<Diagnostic>> {
        let mut known: BTreeMap<String, Object> = before.into_iter().map(|object| (object.local.clone(), object)).collect();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut objects = Vec::with_capacity(manifests.len());
        let mut problems = Vec::new();
        for manifest in manifests {
            let field = |at: &str| find(&manifest, at).and_then(Value::as_str).unwrap_or("unknown").to_owned();
            let local = format!("object/{}.{}", field("/kind").to_lowercase(), field("/metadata/name"));
            if !seen.insert(local.clone()) {
                problems.push(Diagnostic::error("duplicate-action", format!("`{local}` is rendered twice")).on(self.node));
                continue;
            }
            match known.remove(&local) {
                Some(same) if same.spec == manifest => objects.push(same),
                earlier => {
                    let (spec, found) = self.recorder.admit(OBJECTS, "object", manifest, earlier.as_ref().map(|object| &object.spec));
                    let moved = self.moved(earlier.as_ref())?;
                    problems.extend(self.placed(&local, found.into_iter().chain(moved).collect()));
                    claims.extend(self.claims(&local, &spec, earlier.as_ref()));
                    objects.push(Object { local, spec, stage: self.index });
                }
            }
        }
        for Object { local, spec, .. } in known.into_values() {
            let (_, found) = self.recorder.admit(OBJECTS, "object", spec.clone(), Some(&spec));
            problems.extend(self.placed(&local, found));
        }
        if problems.is_empty() { Ok(objects) } else { Err(problems) }
    }

    /// Says of findings which object, and where there are several stages which of them, they are about.
    fn placed(&self, local: &str, found: Vec<Diagnostic>) -> impl Iterator<Item = Diagnostic> {
        let stage = self.call.stages.get(self.index).filter(|_| self.call.stages.len() > 1).map(|stage| stage.stage.name.clone());
        let subject = format!("{}:{local}", self.node);
        found.into_iter().map(move |problem| {
            let message = match &stage {
                Some(stage) => format!("stage `{stage}`: {}", problem.message),
                None => problem.message.clone(),
            };
            Diagnostic { message, ..problem }.on(&subject)
        })
    }

    /// Refuses to carry an object of an earlier stage to another connection.
    fn moved(&self, earlier: Option<&Object>) -> Result<Option<Diagnostic>, Vec<Diagnostic>> {
        let (Some(earlier), Some(planner)) = (earlier, self.cx.planners.get(OBJECTS)) else { return Ok(None) };
        let connection = |stage: usize| {
            let grants = self.call.stages.get(stage).map_or(&[] as &[_], |stage| stage.used.grants.as_slice());
            self.cx.connection(self.node, OBJECTS, planner.descriptor().family, grants).map(|(name, _)| name)
        };
        let (first, own) = (connection(earlier.stage)?, connection(self.index)?);
        let problem = || {
            Diagnostic::error(
                "stage-connection",
                format!("an earlier stage made it through the connection `{first}`, this one acts through `{own}`"),
            )
            .hint("let both stages name the same `connection` in their grants")
        };
        Ok((first != own).then(problem))
    }

    /// Lists references that the stage added to an object.
    fn claims(&self, local: &str, spec: &Value, earlier: Option<&Object>) -> Vec<Claim> {
        let (Some(planner), Some(stage)) = (self.cx.planners.get(OBJECTS), self.call.stages.get(self.index)) else { return Vec::new() };
        let inherited = earlier.map(|object| planner.references(&object.spec)).unwrap_or_default();
        let references = planner.references(spec).into_iter();
        let is_new = |reference: &windlass_model::reference::Reference| {
            !inherited
                .iter()
                .any(|known| known.kind == reference.kind && known.namespace == reference.namespace && known.name == reference.name)
        };
        let mut references = references.filter(is_new).peekable();
        if references.peek().is_none() {
            return Vec::new();
        }
        let authority = std::sync::Arc::new(Authority::of(&stage.used.grants, OBJECTS));
        references
            .map(|reference| Claim { action: ActionId::new(self.node, local), reference, authority: std::sync::Arc::clone(&authority) })
            .collect()
    }
}
