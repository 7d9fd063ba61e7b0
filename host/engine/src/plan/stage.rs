//! Staged nodes: what a driver must look at and nobody knows yet is planned when the stage before is ready.
//!
//! A plan decides its first stage and says of the rest what can be said: the nodes whose drivers could not be asked, with what
//! each needs, and their dependents with tokens of the outputs that the types declare. When the first stage is ready, the same
//! input is planned again; what was deferred is recorded then, and stands in plain fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use windlass_model::{
    ActionId, Diagnostic, Digest, NodeKey,
    plan::{KnownValue, Need, Plan, PlannedAction, PlannedNode, PlannedStage, StagedNode},
    sealed::{self, Encoding, Origin, Sealed, View},
    state::{RecordedAction, Status},
};

use super::{Cx, DriverUse, Follows, NodeOutcome, PlanInput, Soundness, desired, flows};
use crate::{
    planner::Planners,
    schema,
    tokens::{self, TokenTable},
};

/// Values are put in again and again until nothing changes: a schema may show a field only when another is known.
const PASSES_MAX: usize = 8;

/// What was found out about the plain fields of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settled {
    /// Values that stand in plain fields now.
    pub values: Vec<KnownValue>,
    /// Values that are not known yet.
    pub needs: Vec<Need>,
}

/// The namespace of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespace {
    /// Its name, where it is known.
    pub name: Option<String>,
    /// What `${context.namespace}` stands for; none for what the namespace itself depends on.
    pub value: Option<Value>,
    /// What was looked at for that, and what is not known yet.
    pub settled: Settled,
}

/// What is known of a sealed value.
enum Known {
    /// What it stands for, and what was looked at for that.
    All(Value, Vec<KnownValue>),
    /// These origins have no value yet.
    Not(Vec<Origin>),
    /// It is not what it was asked for.
    Refused(Diagnostic),
}

/// What was found on the way to a value.
#[derive(Default)]
struct Found {
    values: Vec<KnownValue>,
    missing: Vec<Origin>,
    refused: Option<Diagnostic>,
}

/// Params or inputs of a call, with what describes them.
pub(crate) struct Fields<'v> {
    pub value: &'v mut Value,
    /// Where they stand.
    pub base: &'static str,
    pub schema: fn(&schema::DriverSchemas) -> &schema::TokenSchema,
}

impl Settled {
    /// Takes what was found out about something else of the same call.
    pub(crate) fn extend(&mut self, more: Self) {
        self.values.extend(more.values);
        self.needs.extend(more.needs);
    }
}

impl Cx<'_> {
    /// Puts recorded values into plain fields, where the action that yields them stays as it is.
    pub(crate) fn settle(
        &self,
        node: &NodeKey,
        used: &DriverUse<'_>,
        fields: &mut [Fields<'_>],
        outcomes: &BTreeMap<NodeKey, NodeOutcome>,
    ) -> Result<Settled, Vec<Diagnostic>> {
        let mut settled = Settled::default();
        if !fields.iter().any(|fields| holds_deferred(fields.value)) {
            return Ok(settled);
        }
        let schemas = self.schemas_of(node, used)?;
        for Fields { value, base, schema } in fields {
            let mut needs = Vec::new();
            for _ in 0..PASSES_MAX {
                let open = TokenTable::default().open(value);
                let problems = schema(&schemas).check(&open, base, &|_| None);
                let mut has_changed = false;
                needs.clear();
                for problem in problems.into_iter().filter(|problem| problem.code == "staged") {
                    let Some(slot) = problem.pointer.strip_prefix(*base).and_then(|at| value.pointer_mut(at)) else { continue };
                    let Some(sealed) = Sealed::from_json(slot) else { continue };
                    match self.known(&sealed, outcomes) {
                        Known::All(known, values) => {
                            *slot = known;
                            settled.values.extend(values);
                            has_changed = true;
                        }
                        Known::Not(missing) => {
                            needs.extend(missing.into_iter().map(|of| Need { of, pointer: problem.pointer.clone() }));
                        }
                        Known::Refused(why) => return Err(vec![why.on(node).at(problem.pointer)]),
                    }
                }
                if !has_changed {
                    break;
                }
            }
            settled.needs.append(&mut needs);
        }
        settled.needs.sort();
        settled.needs.dedup();
        Ok(settled)
    }

    /// Finds the namespace, for nodes that come behind the one that makes it. A module or an object may tell it only when it is there.
    pub(crate) fn namespace(&self, key: &NodeKey, outcomes: &BTreeMap<NodeKey, NodeOutcome>) -> Result<Namespace, Vec<Diagnostic>> {
        let maker = &self.graph.namespace;
        if !self.graph.nodes.get(key).is_some_and(|node| node.edges.contains(maker)) {
            return Ok(Namespace::default());
        }
        let refuse = |message: String| Err(vec![Diagnostic::error("namespace", message).on(key)]);
        let known = outcomes.get(maker);
        let Some(value) = known.and_then(|outcome| outcome.node.outputs.get("namespace")) else {
            if known.is_none_or(|outcome| outcome.soundness == Soundness::Broken) {
                let value = unfilled(maker, "namespace");
                let needs = vec![Need { of: unknown(maker, "namespace"), pointer: "/context/namespace".to_owned() }];
                return Ok(Namespace { name: None, value: Some(value), settled: Settled { values: Vec::new(), needs } });
            }
            return refuse(format!("`{maker}` has no output `namespace`"));
        };
        let (value, settled) = match Sealed::from_json(value) {
            None => (value.clone(), Settled::default()),
            Some(sealed) if sealed.is_secret() => {
                return refuse(format!("the output `namespace` of `{maker}` is secret, and a name is not"));
            }
            Some(sealed) => match self.known(&sealed, outcomes) {
                Known::All(known, values) => (known, Settled { values, needs: Vec::new() }),
                Known::Not(missing) => {
                    let needs = missing.into_iter().map(|of| Need { of, pointer: "/context/namespace".to_owned() }).collect();
                    return Ok(Namespace { name: None, value: Some(value.clone()), settled: Settled { values: Vec::new(), needs } });
                }
                Known::Refused(why) => return Err(vec![why.on(key)]),
            },
        };
        match &value {
            Value::String(name) => Ok(Namespace { name: Some(name.clone()), value: Some(value), settled }),
            other => refuse(format!("the output `namespace` of `{maker}` is no text: {other}")),
        }
    }

    /// Finds what a sealed value stands for.
    fn known(&self, sealed: &Sealed, outcomes: &BTreeMap<NodeKey, NodeOutcome>) -> Known {
        let mut found = Found::default();
        // The world wrote it: what looks like a sealed value of ours is none.
        let known = sealed.known(|origin| self.value(origin, outcomes, &mut found).map(sealed::escape));
        match (found.refused, known) {
            (Some(why), _) => Known::Refused(why),
            (None, Some(known)) => Known::All(known, found.values),
            (None, None) => Known::Not(found.missing),
        }
    }

    /// Finds what an origin stands for. What is derived can't be looked at, but for a field of what can.
    fn value(&self, origin: &Origin, outcomes: &BTreeMap<NodeKey, NodeOutcome>, found: &mut Found) -> Option<Value> {
        match origin {
            Origin::Action { id, output } => {
                let Some(value) = self.settled(id, outcomes).and_then(|record| record.outputs.get(output)) else {
                    found.missing.push(origin.clone());
                    return None;
                };
                if holds_reserved(value) {
                    let message = format!("the value of `{}` holds characters that are reserved", origin.label());
                    found.refused = Some(Diagnostic::error("reserved-characters", message));
                }
                found.values.push(KnownValue { action: id.clone(), output: output.clone(), value: value.clone() });
                Some(value.clone())
            }
            Origin::Derived { op, of } => {
                let (Some(view), [of]) = (View::of(op), of.as_ref()) else { return None };
                let value = of.known(|origin| self.value(origin, outcomes, found))?;
                match view.look(value, &of.label()) {
                    Ok(value) => Some(value),
                    Err(why) => {
                        found.refused = Some(Diagnostic::error("unknown-output", why));
                        None
                    }
                }
            }
            Origin::Output { .. } => {
                found.missing.push(origin.clone());
                None
            }
            Origin::Generated { .. } | Origin::External { .. } => None,
        }
    }

    /// Returns the record of an action that this plan leaves as it is.
    fn settled(&self, id: &ActionId, outcomes: &BTreeMap<NodeKey, NodeOutcome>) -> Option<&RecordedAction> {
        let record = self.input.recorded.actions.get(id)?;
        let planned = outcomes.get(&id.node().ok()?)?.node.actions.iter().find(|planned| planned.id == *id)?;
        let is_same = record.status == Status::Live && is_as_planned(record, planned);
        let is_done = self.input.follows.as_ref().is_some_and(|follows| follows.done.contains(id));
        let is_unmoved = || {
            let reads = self.planners.get(&planned.capability).is_none_or(|planner| planner.reads(id.kind()));
            !reads
                && super::kept(&planned.spec).is_empty()
                && flows::origins(&planned.spec.to_value()).iter().all(|origin| origin == id || self.settled(origin, outcomes).is_some())
        };
        (is_same && (is_done || is_unmoved())).then_some(record)
    }

    /// Returns the compiled schemas of a node's driver; what is wrong with them is a finding about the node.
    pub(crate) fn schemas_of(
        &self,
        node: &NodeKey,
        used: &DriverUse<'_>,
    ) -> Result<std::sync::Arc<schema::DriverSchemas>, Vec<Diagnostic>> {
        let description = self.host.describe(&used.component).map_err(|fault| vec![Diagnostic::from(fault).on(node)])?;
        let problem = |error| Diagnostic::error("driver-schema", format!("driver `{}`: {error}", used.reference.component_key())).on(node);
        self.planners.schemas.driver(&used.component, &description).map_err(|error| vec![problem(error)])
    }

    /// Stands for a node that can't be planned: what comes behind it finds what its type yields, filled by nothing.
    pub(crate) fn broken(&self, key: &NodeKey) -> NodeOutcome {
        let node = PlannedNode {
            key: key.clone(),
            definition: None,
            drivers: Vec::new(),
            depends_on: Vec::new(),
            actions: Vec::new(),
            constraints: Vec::new(),
            outputs: Map::new(),
            references: Vec::new(),
            request: None,
        };
        NodeOutcome { soundness: Soundness::Broken, ..self.staged(node, Vec::new()) }
    }

    /// Says of a node whose driver can't be asked yet what can be said: that it is there, and what its type yields.
    pub(crate) fn staged(&self, node: PlannedNode, needs: Vec<Need>) -> NodeOutcome {
        let declared = match &node.key {
            NodeKey::Resource(key) => desired::resource_type(&self.input.layers, key.r#type.as_str()).map(|kind| &kind.spec.outputs),
            NodeKey::Workload(_) => None,
        };
        let names = declared.and_then(|declared| declared.get("properties")).and_then(Value::as_object);
        let output = |name: &String| {
            let secret = declared.is_some_and(|declared| schema::is_secret_output(declared, name));
            let origin = unknown(&node.key, name);
            (name.clone(), Sealed::of(origin, secret, Encoding::Json).to_json())
        };
        let outputs: Map<String, Value> = names.into_iter().flat_map(Map::keys).map(output).collect();
        NodeOutcome { needs, is_later: true, ..NodeOutcome::new(PlannedNode { outputs, ..node }, Vec::new(), 0) }
    }
}

/// The origin of an output that only its driver could tell.
fn unknown(node: &NodeKey, output: &str) -> Origin {
    Origin::Output { name: output.to_owned(), node: node.to_string() }
}

/// The value of an output of a node that can't be planned.
pub(crate) fn unfilled(node: &NodeKey, output: &str) -> Value {
    Sealed::of(unknown(node, output), false, Encoding::Json).to_json()
}

/// Tells whether an action stands recorded as it is planned.
fn is_as_planned(record: &RecordedAction, planned: &PlannedAction) -> bool {
    record.spec == planned.spec && record.identity == planned.identity && record.connection == planned.connection
}

/// Tells whether a value holds what tokens are made of, in whatever spelling.
fn holds_reserved(value: &Value) -> bool {
    match value {
        Value::String(text) => tokens::refuse(text).is_err(),
        Value::Array(items) => items.iter().any(holds_reserved),
        Value::Object(fields) => fields.iter().any(|(name, field)| tokens::refuse(name).is_err() || holds_reserved(field)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Tells whether anything in a value comes from an action and is no secret.
fn holds_deferred(value: &Value) -> bool {
    let mut found = false;
    sealed::visit(value, &mut |_, sealed| found |= sealed.sealed().any(|part| !part.secret));
    found
}

/// Tells whether a plan that looked at values holds still: each is recorded as it was then.
pub(crate) fn still_holds(previous: &Plan, input: &PlanInput, planners: &Planners) -> bool {
    previous.staged().next().is_none()
        && previous.values.iter().all(|KnownValue { action, output, value }| {
            let reads = || {
                previous
                    .action(action)
                    .and_then(|planned| planners.get(&planned.capability))
                    .is_none_or(|planner| planner.reads(action.kind()))
            };
            let is_live = |record: &&RecordedAction| {
                record.status == Status::Live && previous.action(action).is_some_and(|planned| is_as_planned(record, planned))
            };
            input.recorded.actions.get(action).filter(is_live).and_then(|record| record.outputs.get(output)) == Some(value) && !reads()
        })
}

/// Parts outcomes into what is decided now and what a later plan decides; both in the given order.
pub(crate) fn stages(outcomes: Vec<NodeOutcome>) -> Vec<PlannedStage> {
    let (mut now, mut later) = (PlannedStage::default(), PlannedStage::default());
    for NodeOutcome { node, needs, is_later, .. } in outcomes {
        let stage = if is_later { &mut later } else { &mut now };
        if !needs.is_empty() {
            stage.staged.push(StagedNode { key: node.key.clone(), needs });
        }
        stage.nodes.push(node);
    }
    if later.nodes.is_empty() { vec![now] } else { vec![now, later] }
}

/// Says what keeps a plan from being complete.
#[must_use]
pub fn incomplete(plan: &Plan) -> Vec<Diagnostic> {
    plan.staged()
        .flat_map(|node| node.needs.iter().map(move |need| (node, need)))
        .map(|(node, need)| {
            let (what, after) = described(&need.of);
            Diagnostic::error("staged", format!("`{}` needs `{}`, known only after `{after}` is ready{what}", node.key, need.pointer))
                .on(&node.key)
                .hint("without `--complete` it is planned then; or give the value in the definition")
        })
        .collect()
}

/// Names an origin's output, if it says more than its node, and the node or action.
fn described(origin: &Origin) -> (String, String) {
    match origin {
        Origin::Action { id, output } => (format!(" (`{output}`)"), id.to_string()),
        Origin::Output { name, node } => (format!(" (`{name}`)"), node.clone()),
        other => (String::new(), other.label()),
    }
}

impl Follows {
    /// Goes on behind a plan whose first stage is ready.
    #[must_use]
    pub fn behind(digest: Digest, plan: &Plan, before: Option<&Self>) -> Self {
        let changed = plan.actions().filter(|action| action.change.is_change()).map(|action| action.id.clone());
        Self { plan: digest, done: before.into_iter().flat_map(|before| before.done.iter().cloned()).chain(changed).collect() }
    }
}
