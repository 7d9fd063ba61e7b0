//! The nodes of a plan: level by level, each with what those before it yield.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use windlass_model::{
    Diagnostic, NodeKey,
    plan::{KnownValue, PlannedStage},
};
use windlass_resolve::{Graph, Maker, NodeKind};

use super::{Cx, NodeOutcome, Soundness, host, rendering, resource, stage, workload};

/// What all nodes came to.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub stages: Vec<PlannedStage>,
    pub values: Vec<KnownValue>,
    pub warnings: Vec<Diagnostic>,
    pub driver_calls: u64,
}

/// Plans all nodes and puts them into topological order.
pub(super) fn plan_nodes(cx: &Cx<'_>) -> Result<Answers, Vec<Diagnostic>> {
    let mut outcomes = outcomes(cx)?;
    let mut answers = Answers::default();
    let mut ordered = Vec::with_capacity(outcomes.len());
    for key in &cx.graph.order {
        if let Some(mut outcome) = outcomes.remove(key) {
            answers.driver_calls += outcome.driver_calls;
            answers.warnings.append(&mut outcome.warnings);
            answers.values.append(&mut outcome.values);
            ordered.push(outcome);
        }
    }
    Ok(Answers { stages: stage::stages(ordered), ..answers })
}

/// Plans nodes level by level; inside a level in parallel, the outcome ordered by key. A node that can't be planned yields sealed
/// values that nothing fills, so that all others are checked too.
///
/// # Errors
/// What is wrong with the nodes, in the order in which they are planned.
pub(crate) fn outcomes(cx: &Cx<'_>) -> Result<BTreeMap<NodeKey, NodeOutcome>, Vec<Diagnostic>> {
    let (outcomes, errors) = outcomes_where(cx, |_| true);
    if errors.is_empty() { Ok(outcomes) } else { Err(errors) }
}

/// Plans some nodes: with each, everything that it depends on must be among them. Returns their outcomes and what is wrong with the
/// nodes, in the order in which they are planned.
pub(crate) fn outcomes_of(cx: &Cx<'_>, nodes: &BTreeSet<NodeKey>) -> (BTreeMap<NodeKey, NodeOutcome>, Vec<Diagnostic>) {
    outcomes_where(cx, |key| nodes.contains(key))
}

fn outcomes_where(cx: &Cx<'_>, is_wanted: impl Fn(&NodeKey) -> bool) -> (BTreeMap<NodeKey, NodeOutcome>, Vec<Diagnostic>) {
    let mut outcomes: BTreeMap<NodeKey, NodeOutcome> = BTreeMap::new();
    let mut errors = Vec::new();
    for mut level in levels(cx.graph) {
        level.retain(|key| is_wanted(key));
        let results: Vec<(NodeKey, Result<NodeOutcome, Vec<Diagnostic>>)> =
            level.par_iter().map(|key| ((*key).clone(), plan_node(cx, key, &outcomes))).collect();
        for (key, result) in results {
            let mut outcome = result.unwrap_or_else(|diagnostics| {
                errors.extend(diagnostics);
                cx.broken(&key)
            });
            let edges = || cx.graph.nodes.get(&key).into_iter().flat_map(|node| &node.edges);
            outcome.is_later |= edges().filter_map(|edge| outcomes.get(edge)).any(|before| before.is_later);
            if outcome.soundness == Soundness::Sound && is_behind_broken(cx, &key, &outcomes) {
                outcome.soundness = Soundness::BehindBroken;
            }
            outcomes.insert(key, outcome);
        }
    }
    (outcomes, errors)
}

/// Returns whether something is wrong with a node that another depends on; of a cycle, one was not planned yet.
pub(crate) fn is_behind_broken(cx: &Cx<'_>, key: &NodeKey, outcomes: &BTreeMap<NodeKey, NodeOutcome>) -> bool {
    let edges = cx.graph.nodes.get(key).into_iter().flat_map(|node| &node.edges);
    edges.map(|edge| outcomes.get(edge)).any(|before| before.is_none_or(|before| before.soundness != Soundness::Sound))
}

fn levels<'g>(graph: &'g Graph<'_>) -> Vec<Vec<&'g NodeKey>> {
    let mut level_of: BTreeMap<&NodeKey, usize> = BTreeMap::new();
    let mut levels: Vec<Vec<&NodeKey>> = Vec::new();
    for key in &graph.order {
        let level = graph
            .nodes
            .get(key)
            .into_iter()
            .flat_map(|node| &node.edges)
            .filter_map(|edge| level_of.get(edge))
            .max()
            .map_or(0, |level| level + 1);
        level_of.insert(key, level);
        if levels.len() <= level {
            levels.resize_with(level + 1, Vec::new);
        }
        if let Some(list) = levels.get_mut(level) {
            list.push(key);
        }
    }
    levels
}

fn plan_node(cx: &Cx<'_>, key: &NodeKey, outcomes: &BTreeMap<NodeKey, NodeOutcome>) -> Result<NodeOutcome, Vec<Diagnostic>> {
    let Some(node) = cx.graph.nodes.get(key) else { return Err(vec![Diagnostic::error("bug", "the graph lost a node").on(key)]) };
    match (&node.kind, key) {
        (NodeKind::Resource { params, maker: Maker::Host(host) }, NodeKey::Resource(resource)) => {
            host::plan_host(cx, resource, *host, params.as_ref(), node, outcomes)
        }
        (NodeKind::Resource { params, maker: Maker::Unknown }, NodeKey::Resource(_)) => {
            let mut problems = Vec::new();
            resource::params_value(cx, key, params.as_ref(), None, outcomes, &mut problems);
            Err(problems)
        }
        (NodeKind::Resource { maker: Maker::Definition { .. }, .. }, NodeKey::Resource(resource)) => {
            let mut call = resource::prepare(cx, resource, outcomes)?;
            let stage::Settled { values, needs } = std::mem::take(&mut call.settled);
            if !needs.is_empty() {
                return Ok(cx.staged(call.unasked(), needs));
            }
            let request = cx.resource_request(&call)?;
            let warnings = std::mem::take(&mut call.warnings);
            let mut answer = match cx.memo.answer(key, request, &call.depends_on) {
                Some(known) => known,
                // A misspelt param may be why the driver refuses.
                None => match resource::call(cx, &call, Some(outcomes)) {
                    Ok(answer) => answer.asked(request),
                    Err(problems) => return Err(problems.into_iter().chain(warnings).collect()),
                },
            };
            answer.warnings.extend(warnings);
            Ok(NodeOutcome { values, ..answer })
        }
        (NodeKind::Workload { stages, .. }, NodeKey::Workload(name)) => {
            let mut call = workload::prepare(cx, name, outcomes)?;
            if stages.is_empty() {
                return Err(Vec::new());
            }
            let stage::Settled { values, needs } = std::mem::take(&mut call.settled);
            if !needs.is_empty() {
                return Ok(cx.staged(call.unasked(), needs));
            }
            let request = cx.workload_request(&call)?;
            let answer = match cx.memo.answer(key, request, &call.depends_on) {
                Some(known) => known,
                None => rendering::call(cx, &call, Some(outcomes))?.asked(request),
            };
            Ok(NodeOutcome { values, ..answer })
        }
        _ => Err(vec![Diagnostic::error("bug", "a node of the wrong kind").on(key)]),
    }
}
