//! Explains by intervening: planning is pure and cheap, so one leaf of the documents is changed at a time, the node is planned
//! again, and the field either moves or it does not.

mod documents;
mod field;
mod probe;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;
use windlass_model::{
    ActionId, Diagnostic, NodeKey,
    name::WorkloadName,
    plan::{PlannedDriver, PlannedNode, WinningDocument},
    platform::LayerName,
    sealed::Sealed,
};
use windlass_resolve::{Graph, GraphInput, Maker, NodeKind, graph};

use self::documents::{Document, Leaf, changed, leaves};
use crate::{
    driver::DriverHost,
    plan::{self, Cx, Memo, NodeOutcome, PlanInput},
    planner::Planners,
};

/// Places that an ambiguous pointer may mean, as far as the error names them.
const PLACES_SHOWN: usize = 5;

/// So many other values of a leaf move nothing before it is no cause.
const WITHOUT_EFFECT: usize = 2;

/// Why something is as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The node.
    pub node: NodeKey,
    /// The action, if one was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionId>,
    /// The pointer, if one was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The document that won.
    pub definition: Option<WinningDocument>,
    /// The documents that lost, and why.
    pub lost: Vec<LostDocument>,
    /// The drivers.
    pub drivers: Vec<PlannedDriver>,
    /// The nodes that it uses.
    pub depends_on: Vec<NodeKey>,
    /// What it yields.
    pub outputs: serde_json::Map<String, Value>,
    /// The values in documents that decide it, the nearest first.
    pub causes: Vec<Cause>,
}

/// A document that did not win.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LostDocument {
    /// Its layer.
    pub layer: LayerName,
    /// Its name.
    pub name: String,
    /// The first thing by which it lost.
    pub why: String,
}

/// A value in a document that something follows from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// The document: `workload/NAME`, `application`, `ResourceDefinition/NAME`, `--image WORKLOAD/CONTAINER`.
    pub document: String,
    /// The field in it.
    pub pointer: String,
    /// What stands there.
    pub value: Value,
    /// How it is known.
    pub relation: Relation,
}

/// How a value in a document decides another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Relation {
    /// Another value there gives another value here.
    Decides,
    /// Every other value that was tried is refused where this is made, so nothing would be here.
    DependsOn,
}

/// What is explained.
#[derive(Clone, Copy)]
struct Target<'t> {
    node: &'t NodeKey,
    action: Option<&'t ActionId>,
    pointer: &'t str,
}

/// Explains a node, one of its actions, or a field of that. Elements of lists are named by their place or their key, and a pointer
/// may be the end of one.
pub fn explain(
    input: &PlanInput,
    planners: &Planners,
    host: &dyn DriverHost,
    node: &NodeKey,
    action: Option<&ActionId>,
    at: Option<&str>,
) -> Result<Explanation, Vec<Diagnostic>> {
    plan::prepare(input, planners, |prepared| {
        let cx = plan::prepared_cx(input, &prepared, planners, host);
        if !cx.graph.nodes.contains_key(node) {
            return Err(vec![Diagnostic::error("unknown-node", format!("`{node}` is not part of this environment"))]);
        }
        let order = around(cx.graph, node);
        let (outcomes, problems) = plan::outcomes_of(&cx, &order.iter().cloned().collect());
        if !problems.is_empty() {
            return Err(problems);
        }
        let Some(outcome) = outcomes.get(node) else {
            return Err(vec![Diagnostic::error("unknown-node", format!("`{node}` is not part of this environment"))]);
        };
        let planned = outcome.node.clone();
        let pointer = at.map(|at| resolved(&planned, action, at)).transpose()?;
        let target = Target { node, action, pointer: pointer.as_deref().unwrap_or("") };
        let value = if action.is_some() || pointer.is_some() { target.value(&planned) } else { None };
        let causes = match &value {
            Some(value) => causes(&cx, target, value, &order, &outcomes),
            None => Vec::new(),
        };
        Ok(Explanation {
            lost: lost(input, &cx, node),
            node: node.clone(),
            action: action.cloned(),
            pointer,
            value,
            definition: planned.definition,
            drivers: planned.drivers,
            depends_on: planned.depends_on,
            outputs: planned.outputs,
            causes,
        })
    })
}

/// Lists a node and everything that it depends on, nearest first.
fn around(graph: &Graph<'_>, node: &NodeKey) -> Vec<NodeKey> {
    let mut known = BTreeSet::from([node]);
    let mut todo = VecDeque::from([node]);
    let mut found = Vec::new();
    while let Some(key) = todo.pop_front() {
        found.push(key.clone());
        let edges = graph.nodes.get(key).into_iter().flat_map(|node| &node.edges);
        todo.extend(edges.filter(|edge| known.insert(edge)));
    }
    found
}

/// Finds the one place that a pointer means.
fn resolved(node: &PlannedNode, action: Option<&ActionId>, at: &str) -> Result<String, Vec<Diagnostic>> {
    let all = whole(node, action).unwrap_or_default();
    if field::find(&all, at).is_some() {
        return Ok(at.to_owned());
    }
    let places = field::ending_with(&all, at);
    match places.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(vec![Diagnostic::error("unknown-field", format!("there is nothing at `{at}`"))]),
        several => {
            let some: Vec<String> = several.iter().take(PLACES_SHOWN).map(|place| format!("`{place}`")).collect();
            let message = format!("`{at}` may be {}", some.join(" or "));
            Err(vec![Diagnostic::error("unknown-field", message).hint("give more of the pointer")])
        }
    }
}

/// Returns the spec of an action, or the outputs of a node.
fn whole(node: &PlannedNode, action: Option<&ActionId>) -> Option<Value> {
    match action {
        Some(id) => Some(node.actions.iter().find(|action| action.id == *id)?.spec.to_value()),
        None => Some(Value::Object(node.outputs.clone())),
    }
}

impl Target<'_> {
    /// Returns what stands there.
    fn value(&self, node: &PlannedNode) -> Option<Value> {
        field::find(&whole(node, self.action)?, self.pointer).cloned()
    }

    /// Returns what stands there after a change of documents. Actions are called by names, so a workload of another name has others,
    /// in the same order.
    fn value_after(&self, before: &PlannedNode, after: &PlannedNode) -> Option<Value> {
        let id = match self.action {
            Some(id) if before.key != after.key => {
                let place = before.actions.iter().position(|action| action.id == *id)?;
                Some(&after.actions.get(place)?.id)
            }
            action => action,
        };
        Target { node: &after.key, action: id, pointer: self.pointer }.value(after)
    }
}

fn lost(input: &PlanInput, cx: &Cx<'_>, node: &NodeKey) -> Vec<LostDocument> {
    let NodeKey::Resource(key) = node else { return Vec::new() };
    let Some(NodeKind::Resource { maker: Maker::Definition { layer, definition, rule, .. }, .. }) =
        cx.graph.nodes.get(node).map(|node| &node.kind)
    else {
        return Vec::new();
    };
    let graph_input = GraphInput {
        application: &input.environment.application,
        environment: &input.environment.environment,
        environment_type: &input.environment_type,
        effective: cx.effective,
        layers: &input.layers,
    };
    graph::candidates(&graph_input, key, Some((layer, definition.name(), rule.as_ref())))
        .into_iter()
        .filter_map(|(layer, definition, lost)| {
            lost.map(|lost| LostDocument { layer, name: definition.name().to_string(), why: lost.to_string() })
        })
        .collect()
}

/// Changes each leaf in turn and sees whether the value moves.
fn causes(cx: &Cx<'_>, target: Target<'_>, value: &Value, order: &[NodeKey], outcomes: &BTreeMap<NodeKey, NodeOutcome>) -> Vec<Cause> {
    let leaves = leaves(cx, order);
    let tried = leaves.par_iter().map(|leaf| (leaf, Trial { cx, target, value, outcomes }.relation(leaf)));
    let mut found: Vec<(&Leaf, Relation)> = tried.filter_map(|(leaf, relation)| Some((leaf, relation?))).collect();
    // Stable: leaves come nearest first.
    found.sort_by_key(|(leaf, relation)| (*relation, !stands_in(&leaf.value, value)));
    let cause = |(leaf, relation): (&Leaf, Relation)| Cause {
        document: leaf.document.name(),
        pointer: leaf.pointer.clone(),
        value: leaf.value.clone(),
        relation,
    };
    found.into_iter().map(cause).collect()
}

/// Returns whether a leaf is what stands in a field, or a part of its text.
fn stands_in(leaf: &Value, value: &Value) -> bool {
    match (leaf, value) {
        (Value::String(leaf), Value::String(value)) => value == leaf || (leaf.len() > 2 && value.contains(leaf.as_str())),
        (leaf, value) => leaf == value,
    }
}

/// What stands in the field with another value of a leaf.
enum Answer {
    /// The plan is sound.
    Planned(Option<Value>),
    /// Something is wrong with a node. What stands in the field may follow from that node's outputs, which are sealed values then.
    Refused(Option<Value>),
}

fn holds_sealed(value: &Value) -> bool {
    match value {
        Value::Object(fields) => Sealed::from_json(value).is_some() || fields.values().any(holds_sealed),
        Value::Array(items) => items.iter().any(holds_sealed),
        _ => false,
    }
}

/// One question: does a field move with a leaf?
struct Trial<'c, 'a> {
    cx: &'c Cx<'a>,
    target: Target<'c>,
    value: &'c Value,
    outcomes: &'c BTreeMap<NodeKey, NodeOutcome>,
}

impl Trial<'_, '_> {
    fn relation(&self, leaf: &Leaf) -> Option<Relation> {
        let schemas: Vec<(&Value, String)> = leaf.schemas.iter().map(|(schema, at)| (schema.as_ref(), at.clone())).collect();
        let probes = match &leaf.document {
            Document::Secret(_) => vec![Value::from(leaf.value.as_u64().unwrap_or_default() + 1)],
            _ => probe::probes(&leaf.value, &schemas),
        };
        let mut without_effect = 0;
        let mut refused = Vec::new();
        for other in probes {
            match changed(self.cx.input, leaf, other).map_or(Answer::Refused(None), |input| self.answer(&input, leaf)) {
                Answer::Planned(after) if after.as_ref() != Some(self.value) => return Some(Relation::Decides),
                Answer::Planned(_) => without_effect += 1,
                Answer::Refused(after) => refused.push(after),
            }
            if without_effect == WITHOUT_EFFECT {
                return None;
            }
        }
        if without_effect > 0 { None } else { self.relation_of_refused(&refused) }
    }

    /// Judges a leaf for which no other value is taken, by what would stand in the field each time, where that was made at all:
    /// another node may be what refuses the value.
    fn relation_of_refused(&self, refused: &[Option<Value>]) -> Option<Relation> {
        let made = || refused.iter().flatten();
        if made().any(|after| after != self.value && !holds_sealed(after)) {
            return Some(Relation::Decides);
        }
        let is_untouched = refused.is_empty() || made().any(|after| after == self.value);
        (!is_untouched).then_some(Relation::DependsOn)
    }

    /// Plans the node again, with what it depends on.
    fn answer(&self, input: &PlanInput, leaf: &Leaf) -> Answer {
        let node = self.node_after(input, leaf);
        let before = self.outcomes.get(self.target.node).map(|outcome| &outcome.node);
        let answer: Result<Answer, Vec<Diagnostic>> = plan::prepare(input, self.cx.planners, |prepared| {
            let mut cx = plan::prepared_cx(input, &prepared, self.cx.planners, self.cx.host);
            cx.memo = Memo::of(self.outcomes.values().map(|outcome| &outcome.node));
            let (outcomes, problems) = plan::outcomes_of(&cx, &around(cx.graph, &node).into_iter().collect());
            let after = outcomes.get(&node).map(|outcome| &outcome.node);
            let value = before.zip(after).and_then(|(before, after)| self.target.value_after(before, after));
            Ok(if problems.is_empty() { Answer::Planned(value) } else { Answer::Refused(value) })
        });
        answer.unwrap_or(Answer::Refused(None))
    }

    /// Returns the node's key in a changed input: a workload may have another name there.
    fn node_after(&self, input: &PlanInput, leaf: &Leaf) -> NodeKey {
        let NodeKey::Workload(name) = self.target.node else { return self.target.node.clone() };
        if leaf.document != Document::Workload(name.clone()) || input.model.workloads.contains_key(name) {
            return self.target.node.clone();
        }
        let is_new = |new: &&WorkloadName| !self.cx.input.model.workloads.contains_key(*new);
        NodeKey::Workload(input.model.workloads.keys().find(is_new).unwrap_or(name).clone())
    }
}
