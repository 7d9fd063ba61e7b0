//! What must be done before what.

use std::collections::{BTreeMap, BTreeSet};

use windlass_model::{
    ActionId, NodeKey,
    plan::{Plan, PlannedNode},
    state::RecordedAction,
};

/// For each action, the actions that come before it: its own, and those of the nodes that its node uses.
pub(crate) fn needs(plan: &Plan) -> BTreeMap<ActionId, BTreeSet<ActionId>> {
    let nodes: BTreeMap<&NodeKey, &PlannedNode> = plan.nodes().map(|node| (&node.key, node)).collect();
    let mut of_node: BTreeMap<&NodeKey, BTreeSet<ActionId>> = BTreeMap::new();
    let mut needs = BTreeMap::new();
    // Nodes come in topological order: what a node yields to others is known when they ask.
    for node in plan.nodes() {
        let mut before: BTreeSet<ActionId> = BTreeSet::new();
        for edge in &node.depends_on {
            before.extend(of_node.get(edge).into_iter().flatten().cloned());
        }
        for action in &node.actions {
            let own = action.depends_on.iter().filter(|id| *id != &action.id).cloned();
            needs.insert(action.id.clone(), before.iter().cloned().chain(own).collect());
        }
        // A node without actions hands on what it waited for.
        let yields = if node.actions.is_empty() { before } else { node.actions.iter().map(|action| action.id.clone()).collect() };
        if let Some((key, _)) = nodes.get_key_value(&node.key) {
            of_node.insert(key, yields);
        }
    }
    needs
}

/// Chooses the next actions: all that wait for nothing, those of the lowest rank first.
pub(crate) fn ready(pending: &BTreeMap<ActionId, u16>, needs: &BTreeMap<ActionId, BTreeSet<ActionId>>) -> Vec<ActionId> {
    let free: Vec<(&ActionId, u16)> = pending
        .iter()
        .filter(|(id, _)| needs.get(*id).is_none_or(|before| before.iter().all(|other| !pending.contains_key(other))))
        .map(|(id, rank)| (id, *rank))
        .collect();
    let lowest = free.iter().map(|(_, rank)| *rank).min();
    free.into_iter().filter(|(_, rank)| Some(*rank) == lowest).map(|(id, _)| id.clone()).collect()
}

/// Chooses what may be taken away next: what nothing left depends on, the highest rank first.
pub(crate) fn removable(left: &BTreeMap<ActionId, RecordedAction>) -> Vec<ActionId> {
    let needed: BTreeSet<&ActionId> = left.values().flat_map(|action| action.depends_on.iter().filter(|id| **id != action.id)).collect();
    let free: Vec<&RecordedAction> = left.values().filter(|action| !needed.contains(&action.id)).collect();
    // Recorded edges can't form a cycle, but a corrupted record must not hang a removal.
    let free = if free.is_empty() { left.values().collect() } else { free };
    let highest = free.iter().map(|action| action.rank).max();
    free.into_iter().filter(|action| Some(action.rank) == highest).map(|action| action.id.clone()).collect()
}
