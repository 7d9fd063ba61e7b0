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
    sealed::visit(spec, &mut |_, sealed| {
        for part in sealed.sealed() {
            part.origin.visit(&mut |origin| match origin {
                Origin::Action { id, .. } | Origin::Generated { action: id, .. } => {
                    found.insert(id.clone());
                }
                Origin::Output { .. } | Origin::External { .. } | Origin::Derived { .. } => {}
            });
        }
    });
    found
}

/// Lists where each secret goes.
pub(crate) fn secret_flows(nodes: &[PlannedNode]) -> Vec<SecretFlow> {
    let mut flows = BTreeSet::new();
    for action in nodes.iter().flat_map(|node| &node.actions) {
        sealed::visit(&action.spec, &mut |pointer, sealed| {
            for part in sealed.sealed().filter(|part| part.secret) {
                flows.insert(SecretFlow { from: part.origin.label(), to: action.id.clone(), pointer: pointer.to_owned() });
            }
        });
    }
    flows.into_iter().collect()
}
