//! What a node is asked, as a digest: if the last deployment asked the same, its answer is taken again.
//!
//! Drivers are pure, so everything that decides a node's actions and outputs is in the digest: components, grants,
//! connections, the type's schema, and the revisions of the planners that normalise and check.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::Value;
use windlass_model::{
    Diagnostic, Digest, NodeKey,
    plan::{Plan, PlannedNode},
    platform::{ConnectionSettings, Grant, OnRemove},
};

use super::{Cx, DriverUse, NodeOutcome, bug, compare, params, resource::ResourceCall, workload::WorkloadCall};

/// The nodes of the last deployment, and what was said about each.
#[derive(Debug, Default)]
pub(crate) struct Memo<'a> {
    nodes: HashMap<&'a NodeKey, &'a PlannedNode>,
    warnings: HashMap<&'a str, Vec<&'a Diagnostic>>,
}

impl<'a> Memo<'a> {
    pub(crate) fn new(previous: Option<&'a Plan>) -> Self {
        let Some(plan) = previous else { return Self::default() };
        let mut warnings: HashMap<&str, Vec<&Diagnostic>> = HashMap::new();
        for warning in plan.warnings.iter().filter(|warning| !compare::is_comparison(warning) && !is_found_again(warning)) {
            warnings.entry(warning.subject.as_str()).or_default().push(warning);
        }
        Self { nodes: plan.nodes().map(|node| (&node.key, node)).collect(), warnings }
    }

    /// Takes nodes as they were answered, without what was said about them.
    pub(crate) fn of(nodes: impl Iterator<Item = &'a PlannedNode>) -> Self {
        Self { nodes: nodes.map(|node| (&node.key, node)).collect(), warnings: HashMap::new() }
    }

    /// Returns the earlier answer to the same question.
    pub(crate) fn answer(&self, key: &NodeKey, request: Digest, depends_on: &[NodeKey]) -> Option<NodeOutcome> {
        let known = self.nodes.get(key).filter(|known| known.request == Some(request))?;
        let warnings = self.warnings.get(key.to_string().as_str()).into_iter().flatten().map(|warning| (*warning).clone()).collect();
        let node = PlannedNode { depends_on: depends_on.to_vec(), ..(*known).clone() };
        Some(NodeOutcome::new(node, warnings, 0))
    }
}

/// Returns whether a warning is found before any driver is asked: it is found again each time.
fn is_found_again(warning: &Diagnostic) -> bool {
    matches!(warning.code.as_str(), "unknown-class" | params::UNKNOWN)
}

/// What decides every node of an environment alike.
#[derive(Serialize)]
struct Common<'a> {
    environment: &'a windlass_model::state::EnvironmentKey,
    environment_type: &'a str,
    namespace: Option<&'a str>,
    policy: &'a Digest,
    /// Of the interfaces that the node's drivers may use.
    revisions: BTreeMap<&'static str, u32>,
    /// Versions of this node's own generated secrets.
    versions: BTreeMap<&'a str, u64>,
}

#[derive(Serialize)]
struct Driver<'a> {
    reference: String,
    component: Digest,
    grants: &'a [Grant],
    /// What stands behind the connections that grants name; the others are part of the policy.
    connections: Vec<Option<&'a ConnectionSettings>>,
}

impl Cx<'_> {
    fn asked<'u>(&'u self, used: &'u DriverUse<'_>) -> Driver<'u> {
        let named = used.grants.iter().filter_map(|grant| grant.connection.as_ref());
        Driver {
            reference: used.reference.component_key(),
            component: used.component,
            grants: &used.grants,
            connections: named.map(|name| self.connections.usable(name).ok().map(|(_, settings)| settings)).collect(),
        }
    }

    fn common<'c>(&'c self, key: &str, namespace: Option<&'c str>, used: &[&DriverUse<'_>]) -> Common<'c> {
        let prefix = format!("{key}:");
        Common {
            environment: &self.input.environment,
            environment_type: self.input.environment_type.as_str(),
            namespace,
            policy: &self.policy,
            revisions: self.planners.revisions(used.iter().flat_map(|used| &used.grants).map(|grant| grant.import.as_str())),
            versions: self
                .secret_versions
                .range(prefix.clone()..)
                .take_while(|(id, _)| id.starts_with(&prefix))
                .filter(|(_, version)| **version > 1)
                .map(|(id, version)| (id.as_str(), *version))
                .collect(),
        }
    }

    /// Digests what a resource's driver is asked.
    pub(crate) fn resource_request(&self, call: &ResourceCall<'_>) -> Result<Digest, Vec<Diagnostic>> {
        let key = call.key.to_string();
        let kind = super::desired::resource_type(&self.input.layers, call.key.r#type.as_str());
        let outputs: Option<&Value> = kind.map(|kind| &kind.spec.outputs);
        let on_remove: Option<OnRemove> = call.definition.spec.on_remove;
        let name = (call.definition.name(), call.layer, &call.rule);
        digest(&(
            self.common(&key, call.namespace.as_deref(), &[&call.used]),
            self.asked(&call.used),
            name,
            (&key, &call.workloads, &call.params, &call.inputs),
            (outputs, on_remove, self.data_loss_allowed),
        ))
    }

    /// Digests what a workload's pipeline is asked.
    pub(crate) fn workload_request(&self, call: &WorkloadCall<'_>) -> Result<Digest, Vec<Diagnostic>> {
        let key = NodeKey::Workload(call.name.clone()).to_string();
        let stages: Vec<_> = call.stages.iter().map(|stage| (&stage.stage.name, self.asked(&stage.used), &stage.inputs)).collect();
        let used: Vec<&DriverUse<'_>> = call.stages.iter().map(|stage| &stage.used).collect();
        digest(&(self.common(&key, call.namespace.as_deref(), &used), &call.definition, &call.workload, stages, self.data_loss_allowed))
    }
}

/// Fields of structs have one order, so these bytes are one for each question: no sorting is needed.
fn digest<T: Serialize>(question: &T) -> Result<Digest, Vec<Diagnostic>> {
    Digest::of_json(question).map_err(bug)
}
