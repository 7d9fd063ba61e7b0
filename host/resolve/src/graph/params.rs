//! Params refer to other resources: which, and whether two referrers ask for the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use windlass_model::{NodeKey, ResourceKey, placeholder};

use super::{GraphNode, Maker, NodeKind, Scope};

/// Returns the resource behind an alias of a scope.
#[must_use]
pub fn alias<'n>(nodes: &'n BTreeMap<NodeKey, GraphNode<'_>>, scope: &Scope, alias: &str) -> Option<&'n ResourceKey> {
    match scope {
        Scope::Application => nodes.keys().find_map(|key| match key {
            NodeKey::Resource(resource) if resource.id.as_str() == alias => Some(resource),
            _ => None,
        }),
        Scope::Workload(name) => match &nodes.get(&NodeKey::Workload(name.clone()))?.kind {
            NodeKind::Workload { aliases, .. } => aliases.get(alias),
            NodeKind::Resource { .. } => None,
        },
        Scope::Definition(key) => match &nodes.get(&NodeKey::Resource(key.clone()))?.kind {
            NodeKind::Resource { maker: Maker::Definition { aliases, provisioner, .. }, .. } => {
                aliases.get(alias).or(provisioner.as_ref().filter(|_| alias == "provisioner"))
            }
            _ => None,
        },
    }
}

/// Returns the document that asks for a resource with params, and the pointer in it.
pub(super) fn place(nodes: &BTreeMap<NodeKey, GraphNode<'_>>, node: &NodeKey) -> Option<(String, String)> {
    let (NodeKey::Resource(key), NodeKind::Resource { params: Some((_, scope)), .. }) = (node, &nodes.get(node)?.kind) else { return None };
    match scope {
        Scope::Application => Some(("application".to_owned(), format!("/spec/resources/{}/params", key.id))),
        Scope::Workload(name) => {
            let NodeKind::Workload { aliases, .. } = &nodes.get(&NodeKey::Workload(name.clone()))?.kind else { return None };
            let (alias, _) = aliases.iter().find(|(_, target)| *target == key)?;
            Some((format!("workload/{name}"), format!("/resources/{alias}/params")))
        }
        Scope::Definition(owner) => {
            let NodeKind::Resource { maker: Maker::Definition { definition, .. }, .. } =
                &nodes.get(&NodeKey::Resource(owner.clone()))?.kind
            else {
                return None;
            };
            Some((format!("ResourceDefinition/{}", definition.name()), "/spec".to_owned()))
        }
    }
}

/// Lists the nodes that params refer to.
pub(super) fn params_edges(nodes: &BTreeMap<NodeKey, GraphNode<'_>>, params: &Map<String, Value>, scope: &Scope) -> BTreeSet<NodeKey> {
    let mut edges = BTreeSet::new();
    for value in params.values() {
        windlass_model::pointer::visit_texts(value, &mut |text| {
            for reference in references(text) {
                match reference.first().map(String::as_str) {
                    Some("resources") => {
                        edges.extend(reference.get(1).and_then(|name| alias(nodes, scope, name)).cloned().map(NodeKey::Resource))
                    }
                    Some("outputs") => {
                        if let Scope::Definition(owner) = scope {
                            edges.insert(NodeKey::Resource(owner.clone()));
                        }
                    }
                    _ => {}
                }
            }
        });
    }
    edges
}

/// Lists the references of a text.
pub(super) fn references(text: &str) -> Vec<Vec<String>> {
    if placeholder::is_plain(text) {
        return Vec::new();
    }
    placeholder::parse(text)
        .iter()
        .filter_map(|segment| match segment {
            placeholder::Segment::Reference(reference) => Some(placeholder::path(reference)),
            placeholder::Segment::Text(_) => None,
        })
        .collect()
}

/// Writes params with addresses in the place of aliases, so that those of two referrers can be compared.
pub(super) fn canonical_params(nodes: &BTreeMap<NodeKey, GraphNode<'_>>, (params, scope): &(&Map<String, Value>, Scope)) -> Value {
    fn rewrite(nodes: &BTreeMap<NodeKey, GraphNode<'_>>, scope: &Scope, value: &Value) -> Value {
        match value {
            Value::String(text) if !placeholder::is_plain(text) => Value::Array(
                placeholder::parse(text)
                    .iter()
                    .map(|segment| match segment {
                        placeholder::Segment::Text(text) => Value::String(text.to_string()),
                        placeholder::Segment::Reference(reference) => {
                            let mut path = placeholder::path(reference);
                            if let [root, name, ..] = path.as_mut_slice()
                                && root == "resources"
                                && let Some(key) = alias(nodes, scope, name)
                            {
                                *name = key.to_string();
                            }
                            Value::from(path)
                        }
                    })
                    .collect(),
            ),
            Value::Array(items) => Value::Array(items.iter().map(|item| rewrite(nodes, scope, item)).collect()),
            Value::Object(fields) => Value::Object(fields.iter().map(|(key, item)| (key.clone(), rewrite(nodes, scope, item))).collect()),
            other => other.clone(),
        }
    }
    Value::Object(params.iter().map(|(key, value)| (key.clone(), rewrite(nodes, scope, value))).collect())
}
