//! Where sealed values come from and where they go.

use std::collections::BTreeSet;

use serde_json::Value;
use windlass_model::{
    ActionId,
    plan::{PlannedNode, SecretFlow},
    sealed::{self, Origin},
};

/// Lists the actions that a spec's values come from.
pub(crate) fn origins(spec: &Value) -> BTreeSet<ActionId> {
    let mut found = BTreeSet::new();
    sealed::visit_origins(spec, &mut |origin| match origin {
        Origin::Action { id, .. } | Origin::Generated { action: id, .. } => {
            found.insert(id.clone());
        }
        Origin::Output { .. } | Origin::External { .. } | Origin::Derived { .. } => {}
    });
    found
}

/// Lists where each secret goes.
pub(crate) fn secret_flows<'p>(nodes: impl Iterator<Item = &'p PlannedNode>) -> Vec<SecretFlow> {
    let mut flows = Vec::new();
    for node in nodes {
        flows.extend(node.references.iter().cloned());
        node_flows(node, &mut flows);
    }
    flows.sort_by(|a, b| (&a.from, &a.to, &a.pointer).cmp(&(&b.from, &b.to, &b.pointer)));
    flows.dedup();
    flows
}

fn node_flows(node: &PlannedNode, flows: &mut Vec<SecretFlow>) {
    for action in node.actions.iter().filter(|action| action.spec.may_be_sealed()) {
        sealed::visit(&action.spec.to_value(), &mut |pointer, sealed| {
            for part in sealed.sealed().filter(|part| part.secret) {
                flows.push(SecretFlow { from: part.origin.label(), to: action.id.clone(), pointer: pointer.to_owned() });
            }
        });
    }
}
