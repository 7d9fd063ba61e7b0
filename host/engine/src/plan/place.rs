//! Where findings stand: the document and the field that somebody wrote, found from the node and the part of a driver's request.

use std::collections::BTreeMap;

use windlass_model::{Diagnostic, NodeKey, ResourceKey};
use windlass_resolve::{GraphNode, Maker, NodeKind, Scope};

use super::{Cx, resource::STAGED};

/// Tells in which document, and where, the params of a node stand.
pub(crate) fn params_place(cx: &Cx<'_>, node: &NodeKey, scope: &Scope) -> (String, String) {
    let NodeKey::Resource(key) = node else { return (node.to_string(), String::new()) };
    match scope {
        Scope::Application => ("application".to_owned(), format!("/spec/resources/{}/params", key.id)),
        Scope::Workload(name) => {
            let alias = match cx.graph.nodes.get(&NodeKey::Workload(name.clone())).map(|node| &node.kind) {
                Some(NodeKind::Workload { aliases, .. }) => {
                    aliases.iter().find(|(_, target)| *target == key).map(|(alias, _)| alias.clone())
                }
                _ => None,
            };
            (format!("workload/{name}"), format!("/resources/{}/params", alias.unwrap_or_default()))
        }
        Scope::Definition(owner) => match cx.graph.nodes.get(&NodeKey::Resource(owner.clone())).map(|node| &node.kind) {
            Some(NodeKind::Resource { maker: Maker::Definition { definition, aliases, .. }, .. }) => {
                let place = aliases
                    .iter()
                    .find(|(_, target)| *target == key)
                    .map_or_else(|| "/spec/provisions".to_owned(), |(alias, _)| format!("/spec/resources/{alias}/params"));
                (format!("ResourceDefinition/{}", definition.name()), place)
            }
            _ => (owner.to_string(), String::new()),
        },
    }
}

/// A part of a driver's request, and where in the documents it stands.
pub(crate) struct Place {
    /// The pointer of the part, as the driver sees it.
    pub part: &'static str,
    /// The document.
    pub subject: String,
    /// The pointer in it.
    pub base: String,
}

/// Tells where the params and inputs of a resource stand.
pub(crate) fn places(cx: &Cx<'_>, node: &NodeKey, document: &str) -> Vec<Place> {
    let inputs = Place { part: "/inputs", subject: document.to_owned(), base: "/spec/inputs".to_owned() };
    let params = match cx.graph.nodes.get(node).map(|node| &node.kind) {
        Some(NodeKind::Resource { params: Some((_, scope)), .. }) => {
            let (subject, base) = params_place(cx, node, scope);
            Some(Place { part: "/params", subject, base })
        }
        _ => None,
    };
    std::iter::once(inputs).chain(params).collect()
}

/// Moves a finding about a driver's request to where somebody wrote that.
pub(crate) fn of_request(problem: Diagnostic, node: &NodeKey, places: &[Place]) -> Diagnostic {
    if problem.subject != node.to_string() || problem.code == STAGED {
        return problem;
    }
    let found = places.iter().find_map(|place| Some((place, problem.pointer.strip_prefix(place.part)?)));
    match found.filter(|(_, rest)| rest.is_empty() || rest.starts_with('/')) {
        Some((place, rest)) => {
            let pointer = format!("{}{rest}", place.base);
            problem.on(&place.subject).at(pointer)
        }
        None => problem,
    }
}

/// Moves a finding about a resource to the document that asks for it.
pub(crate) fn of_resource(cx: &Cx<'_>, key: &ResourceKey, problem: Diagnostic) -> Diagnostic {
    let (subject, base) = place_of(cx, key);
    let pointer = format!("{base}{}", problem.pointer);
    problem.on(subject).at(pointer)
}

/// Returns the document that asks for a resource, and where.
fn place_of(cx: &Cx<'_>, key: &ResourceKey) -> (String, String) {
    let node = NodeKey::Resource(key.clone());
    match cx.graph.nodes.get(&node) {
        Some(GraphNode { kind: NodeKind::Resource { params: Some((_, scope)), .. }, .. }) => {
            let (subject, base) = params_place(cx, &node, scope);
            let base = base.strip_suffix("/params").map(str::to_owned);
            (subject, base.unwrap_or_default())
        }
        _ => cx
            .graph
            .nodes
            .iter()
            .find_map(|(other, asking)| asked_by(other, asking, key))
            .unwrap_or_else(|| ("application".to_owned(), format!("/spec/resources/{}", key.id))),
    }
}

/// Returns where a node asks for a resource, if it does.
fn asked_by(node: &NodeKey, asking: &GraphNode<'_>, key: &ResourceKey) -> Option<(String, String)> {
    let alias_of = |aliases: &BTreeMap<String, ResourceKey>| Some(aliases.iter().find(|(_, target)| *target == key)?.0.clone());
    match &asking.kind {
        NodeKind::Workload { aliases, .. } => Some((node.to_string(), format!("/resources/{}", alias_of(aliases)?))),
        NodeKind::Resource { maker: Maker::Definition { definition, aliases, .. }, .. } => {
            Some((format!("ResourceDefinition/{}", definition.name()), format!("/spec/resources/{}", alias_of(aliases)?)))
        }
        NodeKind::Resource { .. } => None,
    }
}
