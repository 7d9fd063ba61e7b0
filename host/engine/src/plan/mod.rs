//! Planning: one pure function from model, platform, components and recorded state to a plan.

mod compare;
mod connections;
mod cx;
mod desired;
mod expand;
mod flows;
mod host;
mod memo;
mod nodes;
mod params;
pub(crate) mod place;
mod reference;
mod references;
pub(crate) mod rendering;
pub(crate) mod resource;
mod rollback;
mod stage;
mod target;
mod unencoded;
pub(crate) mod workload;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_model::{
    ActionId, Diagnostic, Digest,
    application::Model,
    name::{DocumentName, EnvironmentTypeName},
    plan::{KnownValue, Need, Plan, PlannedDriver, PlannedNode, SCHEMA, WinningDocument},
    platform::{LayerName, Layers},
    state::{EnvironmentKey, RecordedState},
};
use windlass_resolve::{Effective, Graph, GraphInput};

use crate::{driver::DriverHost, planner::Planners};

pub(crate) use compare::Moves;
pub(crate) use cx::Cx;
use cx::DriverUse;
pub(crate) use desired::{component, resource_type};
use expand::Expansion;
pub(crate) use memo::Memo;
use nodes::{Answers, plan_nodes};
pub(crate) use nodes::{is_behind_broken, outcomes, outcomes_of};
pub(crate) use place::params_place;

pub use connections::{Connections, DIRECTORY_DEFAULT, claim_of};
pub use desired::platform_documents;
pub use reference::stores;
pub(crate) use reference::{Kept, kept, kept_by, may_be_kept};
pub use rollback::rolled_back;
pub use stage::incomplete;

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
    pub claims: Arc<BTreeMap<String, String>>,
    /// Newest versions of stored secrets, `env/NAME` and `action/ID`.
    pub secrets: BTreeMap<String, u64>,
    /// Images of the last deployment, by `WORKLOAD/CONTAINER`.
    pub last_images: BTreeMap<String, String>,
    /// The plan of the last deployment that succeeded: the memo.
    pub previous: Option<Arc<Plan>>,
    /// Plan the removal of everything.
    pub destroy: bool,
    /// The stage before, if this is not the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Follows>,
}

/// The stage before: its plan, and what was done in this deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Follows {
    /// The plan.
    pub plan: Digest,
    /// Actions that were changed since the deployment began: they are not changed again, and what uses them may be.
    pub done: BTreeSet<ActionId>,
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
    /// Recorded values that its driver looked at.
    pub values: Vec<KnownValue>,
    /// What its driver must look at and nobody knows yet.
    pub needs: Vec<Need>,
    /// It, or something that it depends on, is planned when this stage is ready.
    pub is_later: bool,
    pub soundness: Soundness,
}

/// Whether a plan can come of a node, or only more findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Soundness {
    #[default]
    Sound,
    /// A node that it depends on is broken.
    BehindBroken,
    /// It could not be planned.
    Broken,
}

impl NodeOutcome {
    fn asked(mut self, request: Digest) -> Self {
        self.node.request = Some(request);
        self
    }

    pub(crate) fn new(node: PlannedNode, warnings: Vec<Diagnostic>, driver_calls: u64) -> Self {
        Self { node, warnings, driver_calls, values: Vec::new(), needs: Vec::new(), is_later: false, soundness: Soundness::Sound }
    }
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
    prepare_with_problems(input, planners, |prepared, mut problems| {
        if !problems.is_empty() {
            let cx = prepared_cx(input, &prepared, planners, host);
            problems.extend(outcomes(&cx).err().into_iter().flatten());
            return Err(problems);
        }
        let Prepared { effective, graph, connections, documents, components, policy, desired } = prepared;
        let basis = input.recorded.basis().map_err(bug)?;
        let model = input.model.digest().map_err(bug)?;
        let reusable = input
            .previous
            .as_deref()
            .filter(|previous| previous.desired == desired && !input.destroy && stage::still_holds(previous, input, planners));
        let Answers { mut stages, mut values, mut warnings, driver_calls } = match reusable {
            Some(previous) => Answers {
                stages: previous.stages.clone(),
                values: previous.values.clone(),
                warnings: previous.warnings.iter().filter(|warning| !compare::is_comparison(warning)).cloned().collect(),
                driver_calls: 0,
            },
            None if input.destroy => Answers { stages: stage::stages(Vec::new()), ..Answers::default() },
            None => {
                let mut cx = prepared_cx(input, &prepared, planners, host);
                cx.memo = Memo::new(input.previous.as_deref());
                let mut answers = plan_nodes(&cx)?;
                answers.warnings.extend(graph.warnings.iter().cloned());
                answers
            }
        };
        values.sort_by(|a, b| (&a.action, &a.output).cmp(&(&b.action, &b.output)));
        values.dedup();
        connections.check_uniqueness(stages.iter().flat_map(|stage| &stage.nodes), input, planners)?;
        let destroys = compare::compare(input, planners, &mut stages, graph, &mut warnings)?;
        let secret_flows = flows::secret_flows(stages.iter().flat_map(|stage| &stage.nodes));
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
            follows: input.follows.as_ref().map(|follows| follows.plan),
            images: effective.carried_images.clone(),
            stages,
            values,
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
    pub effective: &'a Effective<'a>,
    pub graph: &'a Graph<'a>,
    pub connections: &'a Connections<'a>,
    pub documents: &'a BTreeMap<String, Value>,
    pub components: &'a BTreeMap<String, Digest>,
    pub policy: Digest,
    pub desired: Digest,
}

/// Resolves everything and hands it on if nothing is wrong.
pub(crate) fn prepare<R>(
    input: &PlanInput,
    planners: &Planners,
    then: impl FnOnce(Prepared<'_>) -> Result<R, Vec<Diagnostic>>,
) -> Result<R, Vec<Diagnostic>> {
    prepare_with_problems(input, planners, |prepared, problems| if problems.is_empty() { then(prepared) } else { Err(problems) })
}

/// Resolves everything and hands it on, with everything that is wrong with it.
fn prepare_with_problems<R>(
    input: &PlanInput,
    planners: &Planners,
    then: impl FnOnce(Prepared<'_>, Vec<Diagnostic>) -> Result<R, Vec<Diagnostic>>,
) -> Result<R, Vec<Diagnostic>> {
    let environment = &input.environment;
    let (mut effective, mut problems) =
        windlass_resolve::effective(&input.model, &environment.environment, &input.environment_type, &input.last_images);
    if input.destroy {
        problems.clear();
        effective.workloads.clear();
        effective.resources = std::borrow::Cow::default();
    }
    let graph_input = GraphInput {
        application: &environment.application,
        environment: &environment.environment,
        environment_type: &input.environment_type,
        effective: &effective,
        layers: &input.layers,
    };
    let mut graph = windlass_resolve::resolve(&graph_input);
    problems.append(&mut graph.problems);
    let connections = match Connections::choose(input) {
        Ok(connections) => connections,
        Err(more) => return Err(problems.into_iter().chain(more).collect()),
    };
    let documents = platform_documents(&graph, &input.layers);
    let components = match desired::components(&graph, &input.layers) {
        Ok(components) => components,
        Err(more) => return Err(problems.into_iter().chain(more).collect()),
    };
    let named = desired::granted(&documents, "connection");
    let policy = Digest::of(&(graph.environment_type, connections.policy(&named))).map_err(bug)?;
    let desired = desired::digest(
        input,
        &documents,
        &components,
        &effective,
        &policy,
        &planners.revisions(desired::granted(&documents, "import").into_iter()),
    )?;
    let prepared = Prepared {
        effective: &effective,
        graph: &graph,
        connections: &connections,
        documents: &documents,
        components: &components,
        policy,
        desired,
    };
    then(prepared, problems)
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
        expansion: Expansion::default(),
        memo: Memo::default(),
        budget: Arc::default(),
        types: Mutex::default(),
        data_loss_allowed: compare::data_loss_allowed(graph),
        secret_versions: Arc::new(
            input.secrets.iter().filter_map(|(name, version)| name.strip_prefix("action/").map(|id| (id.to_owned(), *version))).collect(),
        ),
    }
}

pub(crate) fn bug(error: impl std::fmt::Display) -> Vec<Diagnostic> {
    vec![Diagnostic::error("canonical", error.to_string())]
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
