//! The resource graph of one environment: nodes, edges, and who is made by what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};
use windlass_model::{
    Diagnostic, NodeKey, ResourceKey,
    name::{ApplicationName, ClassName, DocumentName, EnvironmentName, EnvironmentTypeName, ResourceId, WorkloadName},
    platform::{
        Collect, EnvironmentType, LayerName, Layers, MatchRule, MatchSubject, Need, ResourceDefinition, Stage, UsedBy, WorkloadProfile,
    },
    score::{self, Workload},
};

use crate::{
    effective::Effective,
    matching::{self, Choice, Lost},
    nearest::nearest,
    placeholder,
};

/// What resolution starts from.
#[derive(Clone, Copy, Debug)]
pub struct GraphInput<'a> {
    /// The application.
    pub application: &'a ApplicationName,
    /// The environment.
    pub environment: &'a EnvironmentName,
    /// Its type.
    pub environment_type: &'a EnvironmentTypeName,
    /// The model as the environment sees it.
    pub effective: &'a Effective,
    /// The platform.
    pub layers: &'a Layers,
}

/// The resource graph.
#[derive(Clone, Debug)]
pub struct Graph<'a> {
    /// All nodes.
    pub nodes: BTreeMap<NodeKey, GraphNode<'a>>,
    /// Topological order; nodes that don't depend on each other are ordered by key.
    pub order: Vec<NodeKey>,
    /// The environment type's document, if it still exists.
    pub environment_type: Option<&'a EnvironmentType>,
    /// The node that makes the namespace.
    pub namespace: NodeKey,
}

/// One node.
#[derive(Clone, Debug)]
pub struct GraphNode<'a> {
    /// What it is.
    pub kind: NodeKind<'a>,
    /// The nodes whose outputs it uses.
    pub edges: BTreeSet<NodeKey>,
    /// The workloads that name it, sorted.
    pub workloads: BTreeSet<WorkloadName>,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum NodeKind<'a> {
    /// A resource.
    Resource {
        /// What it is asked for, with placeholders, and the scope in which they stand.
        params: Option<(&'a Map<String, Value>, Scope)>,
        /// Who makes it.
        maker: Maker<'a>,
    },
    /// A workload.
    Workload {
        /// The document.
        workload: &'a Workload,
        /// Its resources by alias.
        aliases: BTreeMap<String, ResourceKey>,
        /// The profile that won.
        profile: Option<(LayerName, &'a WorkloadProfile, Option<MatchRule>)>,
        /// The pipeline, appended stages last.
        stages: Vec<(LayerName, &'a Stage)>,
    },
}

/// Where placeholders of params stand: which aliases they may use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// In the Application document.
    Application,
    /// In a workload.
    Workload(WorkloadName),
    /// In the definition of a node.
    Definition(ResourceKey),
}

/// Who makes a resource.
#[derive(Clone, Debug)]
pub enum Maker<'a> {
    /// A definition.
    Definition {
        /// Its layer.
        layer: LayerName,
        /// The document.
        definition: &'a ResourceDefinition,
        /// The rule that fitted.
        rule: Option<MatchRule>,
        /// The nodes behind its aliases.
        aliases: BTreeMap<String, ResourceKey>,
        /// The node that co-provisioned it.
        provisioner: Option<ResourceKey>,
        /// The nodes that its reverse queries found, sorted.
        collected: BTreeMap<String, Vec<ResourceKey>>,
    },
    /// The host itself.
    Host(HostType),
}

/// The types that need no driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostType {
    /// Values and secrets of the environment.
    Environment,
    /// Another workload's Service.
    Service,
    /// A port of another workload's Service.
    ServicePort,
}

impl HostType {
    fn of(r#type: &str) -> Option<Self> {
        match r#type {
            "environment" => Some(Self::Environment),
            "service" => Some(Self::Service),
            "service-port" => Some(Self::ServicePort),
            _ => None,
        }
    }
}

/// A reference to a resource that is still to be looked at.
struct Wanted<'a> {
    key: ResourceKey,
    params: Option<(&'a Map<String, Value>, Scope)>,
    by: Option<NodeKey>,
    workload: Option<WorkloadName>,
    provisioner: Option<ResourceKey>,
    /// Where the reference stands, for errors.
    subject: String,
    pointer: String,
}

/// Resolves the graph; all problems at once.
pub fn resolve<'a>(input: &GraphInput<'a>) -> Result<Graph<'a>, Vec<Diagnostic>> {
    let mut builder = Builder { input: *input, nodes: BTreeMap::new(), problems: Vec::new(), queue: VecDeque::new() };
    builder.run()
}

struct Builder<'a> {
    input: GraphInput<'a>,
    nodes: BTreeMap<NodeKey, GraphNode<'a>>,
    problems: Vec<Diagnostic>,
    queue: VecDeque<Wanted<'a>>,
}

impl<'a> Builder<'a> {
    fn run(&mut self) -> Result<Graph<'a>, Vec<Diagnostic>> {
        let namespace = namespace_key();
        let environment_type = self.environment_type();
        let effective = self.input.effective;
        for (name, workload) in &effective.workloads {
            self.add_workload(name, workload, environment_type);
        }
        for (id, resource) in &effective.resources {
            let key = ResourceKey { r#type: resource.r#type.clone(), class: resource.class.clone().unwrap_or_default(), id: id.clone() };
            self.queue.push_back(Wanted {
                key,
                params: resource.params.as_ref().map(|params| (params, Scope::Application)),
                by: None,
                workload: None,
                provisioner: None,
                subject: "application".into(),
                pointer: format!("/spec/resources/{id}"),
            });
        }
        self.queue.push_back(Wanted {
            key: namespace.clone(),
            params: None,
            by: None,
            workload: None,
            provisioner: None,
            subject: "environment".into(),
            pointer: String::new(),
        });
        while let Some(wanted) = self.queue.pop_front() {
            self.add_resource(wanted);
        }
        if !self.problems.is_empty() {
            return Err(std::mem::take(&mut self.problems));
        }
        self.collect();
        self.add_param_edges();
        self.add_namespace_edges(&NodeKey::Resource(namespace.clone()));
        let order = self.order();
        if !self.problems.is_empty() {
            return Err(std::mem::take(&mut self.problems));
        }
        Ok(Graph { nodes: std::mem::take(&mut self.nodes), order, environment_type, namespace: NodeKey::Resource(namespace) })
    }

    fn environment_type(&self) -> Option<&'a EnvironmentType> {
        let name = self.input.environment_type.as_str();
        // `--platform DIR` never shadows a stored type: the stored and built-in layers are asked first.
        let layers = &self.input.layers.0;
        let find = |given: bool| {
            layers.iter().filter(move |(layer, _)| (*layer == LayerName::Given) == given).find_map(|(_, platform)| {
                platform.environment_types.iter().find(|(key, _)| key.as_str() == name).map(|(_, document)| document)
            })
        };
        let stored = layers.iter().filter(|(layer, _)| *layer == LayerName::Stored).find_map(|(_, platform)| {
            platform.environment_types.iter().find(|(key, _)| key.as_str() == name).map(|(_, document)| document)
        });
        stored.or_else(|| find(true)).or_else(|| find(false))
    }

    fn add_workload(&mut self, name: &WorkloadName, workload: &'a Workload, environment_type: Option<&'a EnvironmentType>) {
        let node = NodeKey::Workload(name.clone());
        let mut aliases = BTreeMap::new();
        for (alias, resource) in &workload.resources {
            let pointer = format!("/resources/{alias}");
            let Some(key) = self.score_key(name, alias, resource, &pointer) else { continue };
            aliases.insert(alias.clone(), key.clone());
            self.queue.push_back(Wanted {
                key,
                params: resource.params.as_ref().map(|params| (params, Scope::Workload(name.clone()))),
                by: Some(node.clone()),
                workload: Some(name.clone()),
                provisioner: None,
                subject: node.to_string(),
                pointer,
            });
        }
        let (profile, stages) = self.pipeline(name, workload, environment_type);
        let edges = aliases.values().cloned().map(NodeKey::Resource).collect();
        self.nodes
            .insert(node, GraphNode { kind: NodeKind::Workload { workload, aliases, profile, stages }, edges, workloads: BTreeSet::new() });
    }

    fn score_key(&mut self, workload: &WorkloadName, alias: &str, resource: &score::Resource, pointer: &str) -> Option<ResourceKey> {
        let class = resource.class.clone().unwrap_or_default();
        let id = match &resource.id {
            Some(id) => id.clone(),
            None if HostType::of(resource.r#type.as_str()) == Some(HostType::Environment) && !self.is_defined("environment", &class) => {
                "environment".to_owned()
            }
            None => format!("{workload}.{alias}"),
        };
        match ResourceId::try_from(id) {
            Ok(id) => Some(ResourceKey { r#type: resource.r#type.clone(), class, id }),
            Err(error) => {
                self.problems.push(Diagnostic::error("resource-id", error.to_string()).on(format!("workload/{workload}")).at(pointer));
                None
            }
        }
    }

    fn is_defined(&self, r#type: &str, class: &ClassName) -> bool {
        self.input.layers.iter().any(|(_, platform)| {
            platform
                .definitions
                .values()
                .any(|definition| definition.spec.r#type.as_str() == r#type && definition.spec.classes().contains(class))
        })
    }

    fn subject<'s>(&'s self, resource: Option<&'s ResourceKey>, workload: Option<&'s WorkloadName>) -> MatchSubject<'s> {
        MatchSubject {
            application: self.input.application,
            environment: self.input.environment,
            environment_type: self.input.environment_type,
            resource,
            workload,
        }
    }

    fn pipeline(
        &mut self,
        name: &WorkloadName,
        workload: &Workload,
        environment_type: Option<&'a EnvironmentType>,
    ) -> (Option<(LayerName, &'a WorkloadProfile, Option<MatchRule>)>, Vec<(LayerName, &'a Stage)>) {
        let wanted = workload.metadata.annotations.get(score::PROFILE_ANNOTATION).cloned();
        let subject = self.subject(None, Some(name));
        let mut found = None;
        let mut problem = None;
        for (layer, platform) in &self.input.layers.0 {
            let candidates = platform
                .profiles
                .iter()
                .filter(|(profile, _)| wanted.as_ref().is_none_or(|wanted| profile.as_str() == wanted))
                .map(|(_, profile)| (profile, profile.spec.r#match.as_slice()));
            match matching::choose(candidates, &subject) {
                Choice::Won(won) => {
                    found = Some((*layer, won.document, won.rule));
                    break;
                }
                Choice::Tie(first, second) => {
                    problem =
                        Some(tie("profiles", first.document.name(), first.rule.as_ref(), second.document.name(), second.rule.as_ref()));
                    break;
                }
                Choice::Nothing => {}
            }
        }
        if let Some(problem) = problem {
            self.problems.push(problem.on(format!("workload/{name}")));
            return (None, Vec::new());
        }
        let Some((layer, profile, rule)) = found else {
            let names: Vec<&str> =
                self.input.layers.iter().flat_map(|(_, platform)| platform.profiles.keys().map(DocumentName::as_str)).collect();
            self.problems.push(
                match &wanted {
                    Some(wanted) => {
                        let problem = Diagnostic::error("profile", format!("no profile `{wanted}` applies here"))
                            .at(format!("/metadata/annotations/{}", windlass_model::pointer::escape(score::PROFILE_ANNOTATION)));
                        match nearest(wanted, names.into_iter()) {
                            Some(near) if near != wanted => problem.hint(format!("did you mean `{near}`?")),
                            _ => problem,
                        }
                    }
                    None => Diagnostic::error("profile", "no workload profile applies here")
                        .hint("write a WorkloadProfile without `match`, or use the built-in platform"),
                }
                .on(format!("workload/{name}")),
            );
            return (None, Vec::new());
        };
        let mut stages = Vec::new();
        let mut chain: Vec<&DocumentName> = vec![profile.name()];
        let mut at = profile;
        let mut lists = vec![(layer, &profile.spec.stages)];
        while let Some(base) = &at.spec.extends {
            if chain.contains(&base) {
                self.problems.push(
                    Diagnostic::error(
                        "profile-cycle",
                        format!(
                            "profiles extend each other: {} -> {base}",
                            chain.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" -> ")
                        ),
                    )
                    .on(format!("workload/{name}")),
                );
                break;
            }
            let Some((layer, document)) =
                self.input.layers.0.iter().find_map(|(layer, platform)| platform.profiles.get(base).map(|document| (*layer, document)))
            else {
                self.problems.push(
                    Diagnostic::error("profile", format!("profile `{}` extends `{base}`, which does not exist", at.name()))
                        .on(format!("workload/{name}")),
                );
                break;
            };
            chain.push(base);
            lists.push((layer, &document.spec.stages));
            at = document;
        }
        for (layer, list) in lists.into_iter().rev() {
            stages.extend(list.iter().map(|stage| (layer, stage)));
        }
        if let Some(document) = environment_type {
            let layer = self
                .input
                .layers
                .0
                .iter()
                .find(|(_, platform)| platform.environment_types.values().any(|known| std::ptr::eq(known, document)))
                .map_or(LayerName::BuiltIn, |(layer, _)| *layer);
            stages.extend(document.spec.workload_stages.iter().map(|stage| (layer, stage)));
        }
        if stages.is_empty() {
            self.problems
                .push(Diagnostic::error("profile", format!("profile `{}` has no stage", profile.name())).on(format!("workload/{name}")));
        }
        (Some((layer, profile, rule)), stages)
    }

    fn add_resource(&mut self, wanted: Wanted<'a>) {
        let node = NodeKey::Resource(wanted.key.clone());
        if let Some(known) = self.nodes.get_mut(&node) {
            known.workloads.extend(wanted.workload.clone());
            if let NodeKind::Resource { params, .. } = &mut known.kind {
                match (&*params, wanted.params) {
                    (_, None) => {}
                    (None, Some(given)) => *params = Some(given),
                    (Some(first), Some(second)) => {
                        let first = first.clone();
                        if canonical_params(&self.nodes, &first) != canonical_params(&self.nodes, &second) {
                            self.problems.push(
                                Diagnostic::error("params-differ", format!("`{}` is asked for with different params", wanted.key))
                                    .on(wanted.subject)
                                    .at(format!("{}/params", wanted.pointer))
                                    .hint("give the params once, or the same everywhere"),
                            );
                        }
                    }
                }
            }
            return;
        }
        let Some(maker) = self.maker(&wanted) else { return };
        let mut edges = BTreeSet::new();
        if let Maker::Definition { definition, aliases, provisioner, .. } = &maker {
            edges.extend(aliases.values().cloned().map(NodeKey::Resource));
            edges.extend(provisioner.clone().map(NodeKey::Resource));
            let definition: &'a ResourceDefinition = definition;
            let aliases = aliases.clone();
            for (alias, need) in &definition.spec.resources {
                let Some(key) = aliases.get(alias) else { continue };
                self.queue.push_back(need_of(
                    key.clone(),
                    need,
                    &wanted.key,
                    Some(node.clone()),
                    None,
                    &format!("ResourceDefinition/{}", definition.name()),
                    format!("/spec/resources/{alias}"),
                ));
            }
            for (alias, need) in &definition.spec.provisions {
                let key = need_key(need, &wanted.key, alias);
                self.queue.push_back(need_of(
                    key,
                    need,
                    &wanted.key,
                    None,
                    Some(wanted.key.clone()),
                    &format!("ResourceDefinition/{}", definition.name()),
                    format!("/spec/provisions/{alias}"),
                ));
            }
        }
        let _ = wanted.by;
        self.nodes.insert(
            node,
            GraphNode {
                kind: NodeKind::Resource { params: wanted.params, maker },
                edges,
                workloads: wanted.workload.into_iter().collect(),
            },
        );
    }

    /// Finds who makes a resource: the strongest layer that knows the address decides.
    fn maker(&mut self, wanted: &Wanted<'a>) -> Option<Maker<'a>> {
        let key = &wanted.key;
        let subject = self.subject(Some(key), None);
        let mut known_type = false;
        for (layer, platform) in &self.input.layers.0 {
            let candidates: Vec<&'a ResourceDefinition> = platform
                .definitions
                .values()
                .filter(|definition| definition.spec.r#type == key.r#type && definition.spec.classes().contains(&key.class))
                .collect();
            known_type |= platform.definitions.values().any(|definition| definition.spec.r#type == key.r#type);
            if candidates.is_empty() {
                continue;
            }
            return match matching::choose(candidates.iter().map(|definition| (*definition, definition.spec.r#match.as_slice())), &subject) {
                Choice::Won(won) => {
                    let definition = won.document;
                    let aliases =
                        definition.spec.resources.iter().map(|(alias, need)| (alias.clone(), need_key(need, key, alias))).collect();
                    Some(Maker::Definition {
                        layer: *layer,
                        definition,
                        rule: won.rule,
                        aliases,
                        provisioner: wanted.provisioner.clone(),
                        collected: BTreeMap::new(),
                    })
                }
                Choice::Tie(first, second) => {
                    let problem =
                        tie("definitions", first.document.name(), first.rule.as_ref(), second.document.name(), second.rule.as_ref());
                    self.problems.push(problem.on(format!("`{key}`")));
                    None
                }
                Choice::Nothing => {
                    let reasons: Vec<String> = candidates
                        .iter()
                        .map(|definition| {
                            format!("`{}`: {}", definition.name(), matching::why_lost(&definition.spec.r#match, &subject, None))
                        })
                        .collect();
                    self.problems.push(
                        Diagnostic::error(
                            "no-definition",
                            format!("no definition of `{}.{}` applies to `{key}` here", key.r#type, key.class),
                        )
                        .on(wanted.subject.clone())
                        .at(wanted.pointer.clone())
                        .hint(reasons.join("; ")),
                    );
                    None
                }
            };
        }
        if let (Some(host), true) = (HostType::of(key.r#type.as_str()), key.class.is_default()) {
            return Some(Maker::Host(host));
        }
        let problem = if known_type {
            let mut classes: Vec<String> = self
                .input
                .layers
                .iter()
                .flat_map(|(_, platform)| platform.definitions.values())
                .filter(|definition| definition.spec.r#type == key.r#type)
                .flat_map(|definition| definition.spec.classes())
                .map(|class| class.to_string())
                .collect();
            classes.sort();
            classes.dedup();
            Diagnostic::error("unknown-class", format!("resource type `{}` has no class `{}`", key.r#type, key.class))
                .hint(format!("classes: {}", classes.join(", ")))
        } else {
            let mut types: Vec<&str> = self
                .input
                .layers
                .iter()
                .flat_map(|(_, platform)| platform.definitions.values())
                .map(|definition| definition.spec.r#type.as_str())
                .chain(["environment", "service", "service-port"])
                .collect();
            types.sort_unstable();
            types.dedup();
            let problem = Diagnostic::error("unknown-type", format!("unknown resource type `{}`", key.r#type));
            match nearest(key.r#type.as_str(), types.iter().copied()) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint("write a ResourceDefinition for it; `windlass platform list` shows the known types"),
            }
        };
        self.problems.push(problem.on(wanted.subject.clone()).at(format!("{}/type", wanted.pointer)));
        None
    }

    /// Answers the reverse queries; they add edges, never nodes.
    fn collect(&mut self) {
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
    fn add_param_edges(&mut self) {
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
    fn add_namespace_edges(&mut self, namespace: &NodeKey) {
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
            let driven = !matches!(node.kind, NodeKind::Resource { maker: Maker::Host(_), .. });
            if driven && !before.contains(key) {
                node.edges.insert(namespace.clone());
            }
        }
    }

    /// Orders the nodes; what remains is a cycle, shown with its path.
    fn order(&mut self) -> Vec<NodeKey> {
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
        while let Some(key) = ready.pop_first() {
            order.push(key.clone());
            for user in users.get(key).into_iter().flatten() {
                if let Some(count) = waiting.get_mut(*user) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert(user);
                    }
                }
            }
        }
        if order.len() < self.nodes.len() {
            let left: BTreeSet<&NodeKey> = waiting.iter().filter(|(_, count)| **count > 0).map(|(key, _)| *key).collect();
            let path = cycle_path(&self.nodes, &left);
            self.problems.push(
                Diagnostic::error("cycle", format!("resources need each other: {}", path.join(" -> ")))
                    .hint("break the loop with a third resource that both need"),
            );
        }
        order
    }
}

/// Walks along edges among unordered nodes until one comes again.
fn cycle_path(nodes: &BTreeMap<NodeKey, GraphNode<'_>>, left: &BTreeSet<&NodeKey>) -> Vec<String> {
    let mut path: Vec<&NodeKey> = left.first().copied().into_iter().collect();
    while let Some(next) = path.last().and_then(|last| nodes.get(*last)).and_then(|node| node.edges.iter().find(|edge| left.contains(edge)))
    {
        if let Some(start) = path.iter().position(|key| *key == next) {
            let cycle = path.get(start..).unwrap_or_default();
            let turn = cycle.iter().enumerate().min_by_key(|(_, key)| **key).map_or(0, |(index, _)| index);
            let mut names: Vec<String> = cycle.iter().cycle().skip(turn).take(cycle.len()).map(ToString::to_string).collect();
            names.extend(names.first().cloned());
            return names;
        }
        path.push(next);
    }
    path.iter().map(ToString::to_string).collect()
}

fn namespace_key() -> ResourceKey {
    let id = ResourceId::try_from("default".to_owned());
    let r#type = windlass_model::name::ResourceTypeName::try_from("k8s-namespace".to_owned());
    match (r#type, id) {
        (Ok(r#type), Ok(id)) => ResourceKey { r#type, class: ClassName::default_class(), id },
        _ => unreachable!("both texts are valid names"),
    }
}

fn tie(
    what: &str,
    first: &DocumentName,
    first_rule: Option<&MatchRule>,
    second: &DocumentName,
    second_rule: Option<&MatchRule>,
) -> Diagnostic {
    let show = |rule: Option<&MatchRule>| rule.and_then(|rule| serde_json::to_string(rule).ok()).unwrap_or_else(|| "everywhere".to_owned());
    Diagnostic::error("tie", format!("two {what} apply equally: `{first}` ({}) and `{second}` ({})", show(first_rule), show(second_rule)))
        .hint("make one of the rules more specific: resourceId > environment > application > environmentType")
}

fn need_key(need: &Need, by: &ResourceKey, alias: &str) -> ResourceKey {
    let id = match &need.id {
        Some(id) => id.clone(),
        None if HostType::of(need.r#type.as_str()) == Some(HostType::Environment) => fixed_id("environment", by),
        None => fixed_id(&format!("{}.{}.{alias}", by.r#type, by.id), by),
    };
    ResourceKey { r#type: need.r#type.clone(), class: need.class.clone().unwrap_or_default(), id }
}

fn fixed_id(text: &str, fallback: &ResourceKey) -> ResourceId {
    ResourceId::try_from(text.to_owned()).unwrap_or_else(|_| fallback.id.clone())
}

fn need_of<'a>(
    key: ResourceKey,
    need: &'a Need,
    owner: &ResourceKey,
    by: Option<NodeKey>,
    provisioner: Option<ResourceKey>,
    subject: &str,
    pointer: String,
) -> Wanted<'a> {
    Wanted {
        key,
        params: need.params.as_ref().map(|params| (params, Scope::Definition(owner.clone()))),
        by,
        workload: None,
        provisioner,
        subject: subject.to_owned(),
        pointer,
    }
}

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

/// Lists the nodes that params refer to.
fn params_edges(nodes: &BTreeMap<NodeKey, GraphNode<'_>>, params: &Map<String, Value>, scope: &Scope) -> BTreeSet<NodeKey> {
    let mut edges = BTreeSet::new();
    for value in params.values() {
        windlass_model::pointer::visit_strings(value, &mut |_, _, text| {
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
fn references(text: &str) -> Vec<Vec<String>> {
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
fn canonical_params(nodes: &BTreeMap<NodeKey, GraphNode<'_>>, (params, scope): &(&Map<String, Value>, Scope)) -> Value {
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

/// Tells, for every definition of an address, whether it won and if not, why.
#[must_use]
pub fn candidates<'a>(
    input: &GraphInput<'a>,
    key: &ResourceKey,
    winner: Option<(&LayerName, &DocumentName, Option<&MatchRule>)>,
) -> Vec<(LayerName, &'a ResourceDefinition, Option<Lost>)> {
    let subject = MatchSubject {
        application: input.application,
        environment: input.environment,
        environment_type: input.environment_type,
        resource: Some(key),
        workload: None,
    };
    let mut out = Vec::new();
    for (layer, platform) in &input.layers.0 {
        for definition in platform
            .definitions
            .values()
            .filter(|definition| definition.spec.r#type == key.r#type && definition.spec.classes().contains(&key.class))
        {
            let lost = match winner {
                Some((won_layer, won, _)) if won_layer == layer && won == definition.name() => None,
                Some((won_layer, _, _)) if won_layer < layer => Some(Lost::Hidden { by: won_layer.label() }),
                Some((_, _, rule)) => Some(matching::why_lost(&definition.spec.r#match, &subject, rule)),
                None => Some(matching::why_lost(&definition.spec.r#match, &subject, None)),
            };
            out.push((*layer, definition, lost));
        }
    }
    out
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
