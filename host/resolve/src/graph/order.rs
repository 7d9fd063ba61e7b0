//! Edges that follow from all nodes together, and the order: what remains is a cycle, shown with its path.

use std::collections::{BTreeMap, BTreeSet};

use windlass_model::{
    Diagnostic, NodeKey, ResourceKey,
    limits::COLLECTED_MAX,
    platform::{Collect, ResourceDefinition, UsedBy},
};

use super::{Builder, GraphNode, Maker, NodeKind, params, params_edges};

impl Builder<'_> {
    /// Answers the reverse queries; they add edges, never nodes.
    pub(super) fn collect(&mut self) {
        let mut users: BTreeMap<NodeKey, BTreeSet<NodeKey>> = BTreeMap::new();
        for (key, node) in &self.nodes {
            for edge in &node.edges {
                users.entry(edge.clone()).or_default().insert(key.clone());
            }
            if let NodeKind::Resource { params: Some((params, scope)), .. } = &node.kind {
                for edge in params_edges(&self.nodes, params, scope) {
                    users.entry(edge).or_default().insert(key.clone());
                }
            }
        }
        let mut found: Vec<(NodeKey, String, Vec<ResourceKey>)> = Vec::new();
        let mut collected = 0;
        for (key, node) in &self.nodes {
            let NodeKind::Resource { maker: Maker::Definition { definition, aliases, provisioner, .. }, .. } = &node.kind else { continue };
            for (alias, query) in &definition.spec.collect {
                let fits = |candidate: &NodeKey| match candidate {
                    NodeKey::Resource(resource)
                        if resource.r#type == query.r#type
                            && query.class.as_ref().is_none_or(|class| *class == resource.class)
                            && candidate != key =>
                    {
                        Some(resource.clone())
                    }
                    _ => None,
                };
                let mut keys: Vec<ResourceKey> = match query {
                    Collect { using: Some(using), .. } => {
                        let target = aliases.get(using).or(provisioner.as_ref().filter(|_| using == "provisioner"));
                        target
                            .and_then(|target| users.get(&NodeKey::Resource(target.clone())))
                            .into_iter()
                            .flatten()
                            .filter_map(fits)
                            .collect()
                    }
                    Collect { used_by: Some(UsedBy::Consumers), .. } => users
                        .get(key)
                        .into_iter()
                        .flatten()
                        .filter_map(|consumer| self.nodes.get(consumer))
                        .flat_map(|consumer| &consumer.edges)
                        .filter_map(fits)
                        .collect(),
                    Collect { .. } => Vec::new(),
                };
                keys.sort();
                keys.dedup();
                collected += keys.len();
                if collected > COLLECTED_MAX {
                    self.problems.push(too_much_collected(key, definition, alias));
                    return;
                }
                found.push((key.clone(), alias.clone(), keys));
            }
        }
        for (key, alias, keys) in found {
            if let Some(GraphNode { kind: NodeKind::Resource { maker: Maker::Definition { collected, .. }, .. }, edges, .. }) =
                self.nodes.get_mut(&key)
            {
                edges.extend(keys.iter().cloned().map(NodeKey::Resource));
                collected.insert(alias, keys);
            }
        }
    }

    /// Placeholders in params are edges of the resource that is asked for.
    pub(super) fn add_param_edges(&mut self) {
        let mut found = Vec::new();
        for (key, node) in &self.nodes {
            if let NodeKind::Resource { params: Some((params, scope)), .. } = &node.kind {
                found.push((key.clone(), params_edges(&self.nodes, params, scope)));
            }
        }
        for (key, edges) in found {
            if let Some(node) = self.nodes.get_mut(&key) {
                node.edges.extend(edges);
            }
        }
    }

    /// Every node with a driver knows the namespace, except what the namespace itself needs.
    pub(super) fn add_namespace_edges(&mut self, namespace: &NodeKey) {
        let mut before = BTreeSet::from([namespace.clone()]);
        let mut todo = vec![namespace.clone()];
        while let Some(key) = todo.pop() {
            for edge in self.nodes.get(&key).into_iter().flat_map(|node| &node.edges) {
                if before.insert(edge.clone()) {
                    todo.push(edge.clone());
                }
            }
        }
        for (key, node) in &mut self.nodes {
            let driven = !matches!(node.kind, NodeKind::Resource { maker: Maker::Host(_) | Maker::Unknown, .. });
            if driven && !before.contains(key) {
                node.edges.insert(namespace.clone());
            }
        }
    }

    /// Orders the nodes. Each cycle is a problem, shown with its path, and goes on with one of its nodes.
    pub(super) fn order(&mut self) -> Vec<NodeKey> {
        let mut waiting: BTreeMap<&NodeKey, usize> = BTreeMap::new();
        let mut users: BTreeMap<&NodeKey, Vec<&NodeKey>> = BTreeMap::new();
        for (key, node) in &self.nodes {
            let edges = node.edges.iter().filter(|edge| self.nodes.contains_key(*edge));
            waiting.insert(key, 0);
            for edge in edges {
                *waiting.entry(key).or_default() += 1;
                users.entry(edge).or_default().push(key);
            }
        }
        let mut ready: BTreeSet<&NodeKey> = waiting.iter().filter(|(_, count)| **count == 0).map(|(key, _)| *key).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut cycles = Vec::new();
        while let Some(key) = ready.pop_first().or_else(|| first_of_cycle(&self.nodes, &mut waiting, &mut cycles)) {
            order.push(key.clone());
            for user in users.get(key).into_iter().flatten() {
                if let Some(count) = waiting.get_mut(*user).filter(|count| **count > 0) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert(user);
                    }
                }
            }
        }
        self.problems.extend(cycles);
        order
    }
}

/// Takes a node out of a cycle among those that still wait, and tells of the cycle.
fn first_of_cycle<'n>(
    nodes: &'n BTreeMap<NodeKey, GraphNode<'_>>,
    waiting: &mut BTreeMap<&'n NodeKey, usize>,
    cycles: &mut Vec<Diagnostic>,
) -> Option<&'n NodeKey> {
    let left: BTreeSet<&NodeKey> = waiting.iter().filter(|(_, count)| **count > 0).map(|(key, _)| *key).collect();
    let cycle = cycle_path(nodes, &left);
    let first = *cycle.first()?;
    waiting.insert(first, 0);
    let path: Vec<String> = cycle.iter().chain([&first]).map(ToString::to_string).collect();
    let problem = Diagnostic::error("cycle", format!("resources need each other: {}", path.join(" -> ")))
        .hint("break the loop with a third resource that both need");
    cycles.push(match cycle.iter().find_map(|key| params::place(nodes, key)) {
        Some((document, pointer)) => problem.on(document).at(pointer),
        None => problem,
    });
    Some(first)
}

fn too_much_collected(key: &NodeKey, definition: &ResourceDefinition, alias: &str) -> Diagnostic {
    Diagnostic::error("graph-size", format!("reverse queries find more than {COLLECTED_MAX} resources; `{key}` collects one too many"))
        .on(format!("ResourceDefinition/{}", definition.name()))
        .at(format!("/spec/collect/{alias}"))
        .hint("each user of a shared resource collects all others: let one shared resource collect them")
}

/// Walks along edges among unordered nodes until one comes again, and returns the cycle from its smallest key on.
fn cycle_path<'n>(nodes: &'n BTreeMap<NodeKey, GraphNode<'_>>, left: &BTreeSet<&'n NodeKey>) -> Vec<&'n NodeKey> {
    let mut path: Vec<&NodeKey> = left.first().copied().into_iter().collect();
    while let Some(next) = path.last().and_then(|last| nodes.get(*last)).and_then(|node| node.edges.iter().find(|edge| left.contains(edge)))
    {
        if let Some(start) = path.iter().position(|key| *key == next) {
            let cycle = path.get(start..).unwrap_or_default();
            let turn = cycle.iter().enumerate().min_by_key(|(_, key)| **key).map_or(0, |(index, _)| index);
            return cycle.iter().cycle().skip(turn).take(cycle.len()).copied().collect();
        }
        path.push(next);
    }
    path
}
