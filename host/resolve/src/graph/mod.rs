//! The resource graph of one environment: nodes, edges, and who is made by what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};
use windlass_model::{
    Diagnostic, NodeKey, ResourceKey,
    name::{ApplicationName, ClassName, DocumentName, EnvironmentName, EnvironmentTypeName, ResourceId, WorkloadName},
    platform::{EnvironmentType, LayerName, Layers, MatchRule, MatchSubject, Need, ResourceDefinition, Stage, WorkloadProfile},
    score::{self, Workload},
};

use crate::effective::Effective;

mod growth;
mod maker;
mod order;
mod params;
mod pipeline;

use growth::{Growth, Lineage};
pub use maker::candidates;
pub use params::alias;
use params::{canonical_params, params_edges};

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
    pub effective: &'a Effective<'a>,
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
    /// Everything that is wrong with it. Nodes without a maker are part of the graph, so that the others can be checked; a graph
    /// that exceeds a limit has no nodes.
    pub problems: Vec<Diagnostic>,
    /// What is resolved otherwise than it was written.
    pub warnings: Vec<Diagnostic>,
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
    /// Neither: a problem of the graph tells why.
    Unknown,
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
    workload: Option<WorkloadName>,
    provisioner: Option<ResourceKey>,
    /// Through which needs of definitions it came.
    lineage: Lineage<'a>,
    /// Where the reference stands, for errors.
    subject: String,
    pointer: String,
}

/// Resolves the graph, with all problems at once.
pub fn resolve<'a>(input: &GraphInput<'a>) -> Graph<'a> {
    let mut builder = Builder {
        input: *input,
        nodes: BTreeMap::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
        queue: VecDeque::new(),
        growth: Growth::default(),
    };
    builder.run()
}

struct Builder<'a> {
    input: GraphInput<'a>,
    nodes: BTreeMap<NodeKey, GraphNode<'a>>,
    problems: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    queue: VecDeque<Wanted<'a>>,
    growth: Growth,
}

impl<'a> Builder<'a> {
    fn run(&mut self) -> Graph<'a> {
        let namespace = namespace_key();
        let environment_type = self.environment_type();
        let effective = self.input.effective;
        for (name, workload) in &effective.workloads {
            self.add_workload(name, workload, environment_type);
        }
        for (id, resource) in effective.resources.iter() {
            let key = ResourceKey { r#type: resource.r#type.clone(), class: resource.class.clone().unwrap_or_default(), id: id.clone() };
            self.queue.push_back(Wanted {
                key,
                params: resource.params.as_ref().map(|params| (params, Scope::Application)),
                workload: None,
                provisioner: None,
                lineage: Lineage::default(),
                subject: "application".into(),
                pointer: format!("/spec/resources/{id}"),
            });
        }
        self.queue.push_back(Wanted {
            key: namespace.clone(),
            params: None,
            workload: None,
            provisioner: None,
            lineage: Lineage::default(),
            subject: "environment".into(),
            pointer: String::new(),
        });
        while let Some(wanted) = self.queue.pop_front() {
            self.add_resource(wanted);
            if self.growth.has_stopped() {
                self.nodes.clear();
                break;
            }
        }
        self.collect();
        self.add_param_edges();
        self.add_namespace_edges(&NodeKey::Resource(namespace.clone()));
        let order = self.order();
        Graph {
            nodes: std::mem::take(&mut self.nodes),
            order,
            environment_type,
            namespace: NodeKey::Resource(namespace),
            problems: std::mem::take(&mut self.problems),
            warnings: std::mem::take(&mut self.warnings),
        }
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
                workload: Some(name.clone()),
                provisioner: None,
                lineage: Lineage::default(),
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
                // Placeholders of the alias are no errors of their own.
                let id = ResourceId::try_from(format!("{workload}.{alias}")).ok()?;
                Some(ResourceKey { r#type: resource.r#type.clone(), class, id })
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
        if let Err(problem) = self.growth.admit(&wanted.key, &wanted.lineage) {
            self.problems.push(problem.on(wanted.subject).at(wanted.pointer));
            return;
        }
        let maker = self.maker(&wanted).unwrap_or(Maker::Unknown);
        let mut edges = BTreeSet::new();
        if let Maker::Definition { definition, aliases, provisioner, .. } = &maker {
            edges.extend(aliases.values().cloned().map(NodeKey::Resource));
            edges.extend(provisioner.clone().map(NodeKey::Resource));
            let definition: &'a ResourceDefinition = definition;
            let aliases = aliases.clone();
            let lineage = wanted.lineage.through(&wanted.key);
            for (alias, need) in &definition.spec.resources {
                let Some(key) = aliases.get(alias) else { continue };
                self.queue.push_back(need_of(
                    key.clone(),
                    need,
                    &wanted.key,
                    None,
                    lineage.need(alias),
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
                    Some(wanted.key.clone()),
                    lineage.need(alias),
                    &format!("ResourceDefinition/{}", definition.name()),
                    format!("/spec/provisions/{alias}"),
                ));
            }
        }
        self.nodes.insert(
            node,
            GraphNode {
                kind: NodeKind::Resource { params: wanted.params, maker },
                edges,
                workloads: wanted.workload.into_iter().collect(),
            },
        );
    }
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
    provisioner: Option<ResourceKey>,
    lineage: Lineage<'a>,
    subject: &str,
    pointer: String,
) -> Wanted<'a> {
    Wanted {
        key,
        params: need.params.as_ref().map(|params| (params, Scope::Definition(owner.clone()))),
        workload: None,
        provisioner,
        lineage,
        subject: subject.to_owned(),
        pointer,
    }
}

#[cfg(test)]
mod tests;
