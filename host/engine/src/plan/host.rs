//! The types that the host makes itself: values of the environment, and other workloads' Services.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use windlass_model::{Diagnostic, NodeKey, ResourceKey, plan::PlannedNode};
use windlass_resolve::{GraphNode, HostType, Scope};

use super::{
    Cx, NodeOutcome,
    expand::given_secret,
    params::take_unknown,
    place,
    resource::params_value,
    target::{Choice, Target},
};

/// Plans a type that the host makes itself.
pub(crate) fn plan_host(
    cx: &Cx<'_>,
    key: &ResourceKey,
    host: HostType,
    params: Option<&(&Map<String, Value>, Scope)>,
    node: &GraphNode<'_>,
    outcomes: &BTreeMap<NodeKey, NodeOutcome>,
) -> Result<NodeOutcome, Vec<Diagnostic>> {
    let node_key = NodeKey::Resource(key.clone());
    let mut problems = Vec::new();
    let mut params = params_value(cx, &node_key, params, None, outcomes, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let warnings = take_unknown(cx, key, &Map::new(), None, &mut params);
    let outputs = match host {
        HostType::Environment => environment_outputs(cx),
        HostType::Service | HostType::ServicePort => {
            service_outputs(cx, key, host, &params).map_err(|problem| vec![place::of_resource(cx, key, problem)])?
        }
    };
    let node = PlannedNode {
        key: node_key,
        definition: None,
        drivers: Vec::new(),
        depends_on: node.edges.iter().cloned().collect(),
        actions: Vec::new(),
        constraints: Vec::new(),
        outputs,
        references: Vec::new(),
        request: None,
    };
    Ok(NodeOutcome::new(node, warnings, 0))
}

/// Values of the environment, and its secrets over them.
fn environment_outputs(cx: &Cx<'_>) -> Map<String, Value> {
    let mut outputs: Map<String, Value> =
        cx.effective.values.iter().map(|(name, value)| (name.clone(), windlass_model::sealed::escape(value.clone()))).collect();
    for (name, version) in &cx.input.secrets {
        if let Some(name) = name.strip_prefix("env/") {
            outputs.insert(name.to_owned(), given_secret(name, *version));
        }
    }
    outputs
}

/// The Service of another workload, by the naming rule: no edge to its rendering, so calls in both directions are no cycle.
fn service_outputs(cx: &Cx<'_>, key: &ResourceKey, host: HostType, params: &Value) -> Result<Map<String, Value>, Diagnostic> {
    let target = Target::find(cx, key, params, Choice::ByName)?;
    let service = target.service()?;
    let mut outputs = Map::from_iter([("name".to_owned(), json!(service)), ("hostname".to_owned(), json!(service))]);
    if host == HostType::ServicePort {
        outputs.insert("port".to_owned(), json!(target.port(params.get("port"))?));
    }
    Ok(outputs)
}
