//! Planning: one pure function from model, platform, components and recorded state to a plan.

mod compare;
mod connections;
mod desired;
mod expand;
mod flows;
mod memo;
pub(crate) mod resource;
pub(crate) mod workload;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_model::{
    ActionId, Diagnostic, Digest, NodeKey, Spec,
    application::Model,
    name::{DocumentName, EnvironmentTypeName},
    plan::{Plan, PlannedAction, PlannedDriver, PlannedNode, PlannedStage, SCHEMA, WinningDocument},
    platform::{DriverReference, Grant, LayerName, Layers, OnRemove},
    state::{EnvironmentKey, RecordedState},
};
use windlass_resolve::{Effective, Graph, GraphInput, Maker, NodeKind};

use crate::{
    driver::{DriverContext, DriverHost, World},
    planner::{Authority, Kinds, Planners, SpecContext},
    recorder::RecorderInput,
    tokens::TokenTable,
};

use memo::Memo;

pub use connections::{Connections, DIRECTORY_DEFAULT, claim_of};
pub use desired::platform_documents;

/// Everything that planning may look at: bytes and digests, no path, no handle, no clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanInput {
    /// The environment.
    pub environment: EnvironmentKey,
    /// Its type.
    pub environment_type: EnvironmentTypeName,
    /// The model.
    pub model: Arc<Model>,
    /// The platform.
    pub layers: Layers,
    /// What exists by our doing.
    pub recorded: RecordedState,
    /// Identities that environments own: `CONNECTION IDENTITY` to owner.
    pub claims: BTreeMap<String, String>,
    /// Newest versions of stored secrets, `env/NAME` and `action/ID`.
    pub secrets: BTreeMap<String, u64>,
    /// Images of the last deployment, by `WORKLOAD/CONTAINER`.
    pub last_images: BTreeMap<String, String>,
    /// The plan of the last deployment that succeeded: the memo.
    pub previous: Option<Arc<Plan>>,
    /// Plan the removal of everything.
    pub destroy: bool,
    /// Grants may not exceed those of today's definitions: a rollback.
    pub grants_at_most: Option<BTreeMap<DocumentName, Vec<Grant>>>,
}

/// What planning yields.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanOutput {
    /// The plan, unless there are errors.
    pub plan: Option<Plan>,
    /// Errors, or the plan's warnings again.
    pub diagnostics: Vec<Diagnostic>,
    /// Driver calls that were made.
    pub driver_calls: u64,
}

/// What a node yields to those behind it.
#[derive(Clone, Debug)]
pub(crate) struct NodeOutcome {
    pub node: PlannedNode,
    pub warnings: Vec<Diagnostic>,
    pub driver_calls: u64,
}

impl NodeOutcome {
    fn asked(mut self, request: Digest) -> Self {
        self.node.request = Some(request);
        self
    }
}

/// What every node's planning needs.
pub(crate) struct Cx<'a> {
    pub input: &'a PlanInput,
    pub graph: &'a Graph<'a>,
    pub effective: &'a Effective,
    pub planners: &'a Planners,
    pub host: &'a dyn DriverHost,
    pub connections: &'a Connections<'a>,
    pub data_loss_allowed: bool,
    /// Versions of generated secrets, by action: shared by all calls.
    pub secret_versions: Arc<BTreeMap<String, u64>>,
    /// Digest of the environment type and the connections.
    pub policy: Digest,
    /// Revisions of the planners' rules, by interface.
    pub revisions: BTreeMap<&'static str, u32>,
    /// The answers of the last deployment.
    pub memo: Memo<'a>,
}

/// Plans. Equal input gives an equal plan, byte for byte, whatever the number of threads.
pub fn plan(input: &PlanInput, planners: &Planners, host: &dyn DriverHost) -> PlanOutput {
    match try_plan(input, planners, host) {
        Ok((plan, driver_calls)) => PlanOutput { diagnostics: plan.warnings.clone(), plan: Some(plan), driver_calls },
        Err(mut diagnostics) => {
            diagnostics.sort();
            diagnostics.dedup();
            PlanOutput { plan: None, diagnostics, driver_calls: 0 }
        }
    }
}

fn try_plan(input: &PlanInput, planners: &Planners, host: &dyn DriverHost) -> Result<(Plan, u64), Vec<Diagnostic>> {
    prepare(input, |prepared| {
        let Prepared { effective, graph, connections, documents, components, policy, desired } = prepared;
        let basis = input.recorded.basis().map_err(bug)?;
        let model = input.model.digest().map_err(bug)?;
        let reusable = input.previous.as_deref().filter(|previous| previous.desired == desired && !input.destroy);
        let (mut nodes, mut warnings, driver_calls): (Vec<PlannedNode>, _, _) = match reusable {
            Some(previous) => (
                previous.nodes().cloned().collect(),
                previous.warnings.iter().filter(|warning| !compare::is_comparison(warning)).cloned().collect(),
                0,
            ),
            None if input.destroy => (Vec::new(), Vec::new(), 0),
            None => {
                let mut cx = prepared_cx(input, &prepared, planners, host);
                cx.memo = Memo::new(input.previous.as_deref());
                plan_nodes(&cx)?
            }
        };
        connections.check_uniqueness(&nodes, input)?;
        let destroys = compare::compare(input, planners, &mut nodes, graph, &mut warnings)?;
        let secret_flows = flows::secret_flows(&nodes);
        let plan = Plan {
            schema: SCHEMA.to_owned(),
            application: input.environment.application.clone(),
            environment: input.environment.environment.clone(),
            environment_type: input.environment_type.clone(),
            model,
            platform: Digest::of(documents).map_err(bug)?,
            policy,
            desired,
            basis,
            components: components.clone(),
            images: effective.carried_images.clone(),
            stages: vec![PlannedStage { nodes }],
            destroys,
            secret_flows,
            warnings,
        };
        Ok((plan, driver_calls))
    })
}

/// What is known before any driver is called.
#[derive(Clone, Copy)]
pub(crate) struct Prepared<'a> {
    pub effective: &'a Effective,
    pub graph: &'a Graph<'a>,
    pub connections: &'a Connections<'a>,
    pub documents: &'a BTreeMap<String, Value>,
    pub components: &'a BTreeMap<String, Digest>,
    pub policy: Digest,
    pub desired: Digest,
}

/// Resolves everything and hands it on.
pub(crate) fn prepare<R>(input: &PlanInput, then: impl FnOnce(Prepared<'_>) -> Result<R, Vec<Diagnostic>>) -> Result<R, Vec<Diagnostic>> {
    let environment = &input.environment;
    let (mut effective, problems) =
        windlass_resolve::effective(&input.model, &environment.environment, &input.environment_type, &input.last_images);
    if !problems.is_empty() && !input.destroy {
        return Err(problems);
    }
    if input.destroy {
        effective.workloads.clear();
        effective.resources.clear();
    }
    let graph_input = GraphInput {
        application: &environment.application,
        environment: &environment.environment,
        environment_type: &input.environment_type,
        effective: &effective,
        layers: &input.layers,
    };
    let graph = windlass_resolve::resolve(&graph_input)?;
    let connections = Connections::choose(input)?;
    let documents = platform_documents(&graph, &input.layers);
    let components = desired::components(&graph, &input.layers)?;
    let policy = Digest::of(&(graph.environment_type, connections.settings())).map_err(bug)?;
    let desired = desired::digest(input, &documents, &components, &effective, &policy)?;
    then(Prepared {
        effective: &effective,
        graph: &graph,
        connections: &connections,
        documents: &documents,
        components: &components,
        policy,
        desired,
    })
}

pub(crate) fn prepared_cx<'a>(input: &'a PlanInput, prepared: &Prepared<'a>, planners: &'a Planners, host: &'a dyn DriverHost) -> Cx<'a> {
    let Prepared { effective, graph, connections, policy, .. } = *prepared;
    Cx {
        input,
        graph,
        effective,
        planners,
        host,
        connections,
        policy,
        revisions: planners.descriptors().map(|descriptor| (descriptor.interface, descriptor.revision)).collect(),
        memo: Memo::default(),
        data_loss_allowed: compare::data_loss_allowed(graph),
        secret_versions: Arc::new(
            input.secrets.iter().filter_map(|(name, version)| name.strip_prefix("action/").map(|id| (id.to_owned(), *version))).collect(),
        ),
    }
}

/// Plans all nodes and puts them into topological order.
pub(crate) fn plan_nodes(cx: &Cx<'_>) -> Result<(Vec<PlannedNode>, Vec<Diagnostic>, u64), Vec<Diagnostic>> {
    let mut outcomes = outcomes(cx)?;
    let mut warnings = Vec::new();
    let mut calls = 0;
    let mut nodes = Vec::with_capacity(outcomes.len());
    for key in &cx.graph.order {
        if let Some(outcome) = outcomes.remove(key) {
            calls += outcome.driver_calls;
            warnings.extend(outcome.warnings);
            nodes.push(outcome.node);
        }
    }
    Ok((nodes, warnings, calls))
}

/// Plans nodes level by level; inside a level in parallel, the outcome ordered by key.
pub(crate) fn outcomes(cx: &Cx<'_>) -> Result<BTreeMap<NodeKey, NodeOutcome>, Vec<Diagnostic>> {
    let mut outcomes: BTreeMap<NodeKey, NodeOutcome> = BTreeMap::new();
    let mut errors = Vec::new();
    for level in levels(cx.graph) {
        let results: Vec<(NodeKey, Result<NodeOutcome, Vec<Diagnostic>>)> = level
            .par_iter()
            .map(|key| {
                let blocked = cx.graph.nodes.get(*key).is_some_and(|node| node.edges.iter().any(|edge| !outcomes.contains_key(edge)));
                ((*key).clone(), if blocked { Err(Vec::new()) } else { plan_node(cx, key, &outcomes) })
            })
            .collect();
        for (key, result) in results {
            match result {
                Ok(outcome) => {
                    outcomes.insert(key, outcome);
                }
                // A node whose needs failed says nothing of its own.
                Err(diagnostics) => errors.extend(diagnostics),
            }
        }
    }
    if errors.is_empty() { Ok(outcomes) } else { Err(errors) }
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
            resource::plan_host(cx, resource, *host, params.as_ref(), node, outcomes)
        }
        (NodeKind::Resource { maker: Maker::Definition { .. }, .. }, NodeKey::Resource(resource)) => {
            let call = resource::prepare(cx, resource, outcomes)?;
            let request = cx.resource_request(&call)?;
            match cx.memo.answer(key, request, &call.depends_on) {
                Some(known) => Ok(known),
                None => resource::call(cx, &call).map(|outcome| outcome.asked(request)),
            }
        }
        (NodeKind::Workload { .. }, NodeKey::Workload(name)) => {
            let call = workload::prepare(cx, name, outcomes)?;
            let request = cx.workload_request(&call)?;
            match cx.memo.answer(key, request, &call.depends_on) {
                Some(known) => Ok(known),
                None => workload::call(cx, &call).map(|outcome| outcome.asked(request)),
            }
        }
        _ => Err(vec![Diagnostic::error("bug", "a node of the wrong kind").on(key)]),
    }
}

pub(crate) fn bug(error: impl std::fmt::Display) -> Vec<Diagnostic> {
    vec![Diagnostic::error("canonical", error.to_string())]
}

/// A driver with its component and what it may do.
#[derive(Clone, Debug)]
pub(crate) struct DriverUse<'a> {
    pub reference: &'a DriverReference,
    pub component: Digest,
    pub grants: Vec<Grant>,
    pub world: World,
}

impl<'a> Cx<'a> {
    /// Finds a driver's component and checks its imports against grants, before anything runs.
    pub(crate) fn driver(
        &self,
        owner: &str,
        layer: LayerName,
        reference: &'a DriverReference,
        grants: &[Grant],
        world: World,
    ) -> Result<DriverUse<'a>, Vec<Diagnostic>> {
        let component = desired::component(&self.input.layers, layer, reference).ok_or_else(|| {
            vec![Diagnostic::error("driver-missing", format!("the component `{}` is not to be had", reference.component_key())).on(owner)]
        })?;
        let info = self.host.inspect(&component).map_err(|fault| vec![Diagnostic::from(fault).on(owner)])?;
        if info.world != world {
            return Err(vec![
                Diagnostic::error(
                    "driver-world",
                    format!("the component `{}` implements {:?}, {world:?} is needed", reference.component_key(), info.world),
                )
                .on(owner),
            ]);
        }
        let missing: Vec<Diagnostic> = info
            .privileges
            .iter()
            .filter(|interface| !grants.iter().any(|grant| grant.import == **interface))
            .map(|interface| {
                let fault = crate::driver::DriverFault {
                    driver: reference.component_key(),
                    component,
                    fault: crate::driver::Fault::Import(interface.clone()),
                };
                Diagnostic::from(fault).on(owner).hint(format!("add `- {{ import: {interface} }}` to `grants`, or use another driver"))
            })
            .collect();
        if missing.is_empty() { Ok(DriverUse { reference, component, grants: grants.to_vec(), world }) } else { Err(missing) }
    }

    /// Starts a recording for a driver.
    pub(crate) fn recorder_input(
        &self,
        node: &NodeKey,
        used: &DriverUse<'_>,
        namespace: Option<&str>,
        tokens: TokenTable,
    ) -> Result<RecorderInput, Vec<Diagnostic>> {
        let mut authorities = BTreeMap::new();
        let mut contexts = BTreeMap::new();
        for descriptor in self.planners.descriptors() {
            let grants: Vec<&Grant> = used.grants.iter().filter(|grant| grant.import == descriptor.interface).collect();
            let renders = used.world == World::WorkloadDriver && descriptor.interface == OBJECTS;
            if grants.is_empty() && !renders {
                continue;
            }
            let kinds = grants.iter().flat_map(|grant| grant.kinds.clone()).collect();
            let exceptions = grants.iter().flat_map(|grant| grant.allow.clone()).collect();
            let named = grants.iter().find_map(|grant| grant.connection.as_ref());
            let connection = self.connections.of(descriptor.family, named).map_err(|problem| vec![problem.on(node)])?;
            authorities.insert(
                descriptor.interface.to_owned(),
                Authority { kinds: if renders { Kinds::Workload(kinds) } else { Kinds::Listed(kinds) }, exceptions },
            );
            contexts.insert(descriptor.interface.to_owned(), self.spec_context(namespace, connection.settings.kind()));
        }
        let secret_versions = Arc::clone(&self.secret_versions);
        Ok(RecorderInput { planners: self.planners.clone(), node: node.clone(), authorities, contexts, secret_versions, tokens })
    }

    pub(crate) fn spec_context(&self, namespace: Option<&str>, connection_kind: &'static str) -> SpecContext {
        SpecContext {
            application: self.input.environment.application.to_string(),
            environment: self.input.environment.environment.to_string(),
            namespace: namespace.map(str::to_owned),
            connection_kind,
        }
    }

    pub(crate) fn driver_context(&self, namespace: Option<&str>) -> DriverContext {
        DriverContext {
            application: self.input.environment.application.to_string(),
            environment: self.input.environment.environment.to_string(),
            environment_type: self.input.environment_type.to_string(),
            namespace: namespace.map(str::to_owned),
        }
    }

    /// Returns the namespace, for nodes that come behind the one that makes it.
    pub(crate) fn namespace(&self, key: &NodeKey, outcomes: &BTreeMap<NodeKey, NodeOutcome>) -> Result<Option<String>, Vec<Diagnostic>> {
        let depends = self.graph.nodes.get(key).is_some_and(|node| node.edges.contains(&self.graph.namespace));
        if !depends {
            return Ok(None);
        }
        let output = outcomes.get(&self.graph.namespace).and_then(|outcome| outcome.node.outputs.get("namespace"));
        match output {
            Some(Value::String(namespace)) => Ok(Some(namespace.clone())),
            Some(_) => Err(vec![
                Diagnostic::error("staged", format!("`{key}` needs `namespace`, known only after `{}` is ready", self.graph.namespace))
                    .on(key),
            ]),
            None => Err(vec![Diagnostic::error("namespace", format!("`{}` has no output `namespace`", self.graph.namespace)).on(key)]),
        }
    }

    /// Puts staged actions under a node.
    pub(crate) fn planned_actions(
        &self,
        node: &NodeKey,
        staged: Vec<crate::recorder::StagedAction>,
        grants: &[Grant],
        on_remove: Option<OnRemove>,
        namespace: Option<&str>,
    ) -> Result<Vec<PlannedAction>, Vec<Diagnostic>> {
        let mut actions = Vec::with_capacity(staged.len());
        for action in staged {
            let Some(planner) = self.planners.get(&action.interface) else { continue };
            let named = grants.iter().filter(|grant| grant.import == action.interface).find_map(|grant| grant.connection.as_ref());
            let connection = self.connections.of(planner.descriptor().family, named).map_err(|problem| vec![problem.on(node)])?;
            let id = ActionId::new(node, &action.local);
            let mut depends_on: BTreeSet<ActionId> = action
                .after
                .iter()
                .map(|after| {
                    if after.contains(':') {
                        ActionId::new(node, after.rsplit(':').next().unwrap_or_default())
                    } else {
                        ActionId::new(node, after)
                    }
                })
                .collect();
            depends_on.extend(flows::origins(&action.spec));
            depends_on.remove(&id);
            let context = self.spec_context(namespace, connection.settings.kind());
            actions.push(PlannedAction {
                identity: planner.identity(&action.spec, &id, &context),
                capability: action.interface.clone(),
                connection: connection.name.clone(),
                depends_on: depends_on.into_iter().collect(),
                rank: planner.rank(&action.spec),
                holds_data: planner.holds_data(&action.spec),
                on_remove: OnRemove::Delete,
                change: windlass_model::plan::Change::None,
                fields: Vec::new(),
                spec: Spec::new(&action.spec).map_err(|error| vec![Diagnostic::error("canonical", error.to_string()).on(&id)])?,
                id,
            });
        }
        set_on_remove(&mut actions, on_remove, self.data_loss_allowed);
        Ok(actions)
    }
}

/// What happens when nothing needs a node any more. Without a word in the definition, data and the
/// secrets that guard it stay, unless the environment type lets data go.
fn set_on_remove(actions: &mut [PlannedAction], written: Option<OnRemove>, data_loss_allowed: bool) {
    let holds_data = actions.iter().any(|action| action.holds_data);
    for action in actions {
        action.on_remove = match written {
            Some(written) => written,
            None if data_loss_allowed => OnRemove::Delete,
            None if action.holds_data || (holds_data && action.capability != OBJECTS) => OnRemove::Retain,
            None => OnRemove::Delete,
        };
    }
}

/// The interface through which manifests of workloads go.
pub(crate) const OBJECTS: &str = "windlass:kubernetes/objects";

/// Describes a driver call inside a plan.
pub(crate) fn planned_driver(used: &DriverUse<'_>) -> PlannedDriver {
    PlannedDriver { driver: used.reference.component_key(), component: used.component }
}

/// Describes the winning document of a node.
pub(crate) fn winning(name: &DocumentName, layer: LayerName, rule: Option<&windlass_model::platform::MatchRule>) -> WinningDocument {
    WinningDocument { name: name.clone(), layer, rule: rule.cloned() }
}
