//! The types that the host makes itself: values of the environment, and other workloads' Services.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use windlass_model::{Diagnostic, NodeKey, ResourceKey, did_you_mean, plan::PlannedNode};
use windlass_resolve::{GraphNode, HostType, Scope};

use super::{Cx, NodeOutcome, expand::given_secret, resource::params_value};

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
    let params = params_value(cx, &node_key, params, None, outcomes, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let outputs = match host {
        HostType::Environment => environment_outputs(cx),
        HostType::Service | HostType::ServicePort => {
            service_outputs(cx, key, host, &params, node).map_err(|problem| vec![problem.on(&node_key)])?
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
    Ok(NodeOutcome::new(node, Vec::new(), 0))
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
fn service_outputs(
    cx: &Cx<'_>,
    key: &ResourceKey,
    host: HostType,
    params: &Value,
    node: &GraphNode<'_>,
) -> Result<Map<String, Value>, Diagnostic> {
    let by_id = key.id.as_str();
    let own: BTreeSet<&str> = node.workloads.iter().map(windlass_model::name::WorkloadName::as_str).collect();
    let name = params
        .get("workload")
        .and_then(Value::as_str)
        .or_else(|| cx.effective.workloads.contains_key(by_id).then_some(by_id))
        .or_else(|| if own.len() == 1 { own.first().copied() } else { None });
    let Some(name) = name else {
        return Err(Diagnostic::error("service", "it is not said which workload is meant").hint("give `params: { workload: NAME }`"));
    };
    let Some(workload) = cx.effective.workloads.get(name) else {
        let problem = Diagnostic::error("service", format!("there is no workload `{name}`")).at("/params/workload");
        return Err(problem.hint_if(did_you_mean(name, cx.effective.workloads.keys().map(windlass_model::name::WorkloadName::as_str))));
    };
    let service = workload.metadata.annotations.get(SERVICE_NAME_ANNOTATION).map_or(name, String::as_str);
    let ports = workload.service.as_ref().map(|service| &service.ports).filter(|ports| !ports.is_empty());
    let Some(ports) = ports else {
        return Err(
            Diagnostic::error("service", format!("workload `{name}` has no service ports")).hint("add `service: { ports: … }` to it")
        );
    };
    let mut outputs = Map::from_iter([("name".to_owned(), json!(service)), ("hostname".to_owned(), json!(service))]);
    if host == HostType::ServicePort {
        let wanted = match params.get("port") {
            Some(Value::String(name)) => Some(name.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let found = match &wanted {
            Some(wanted) => ports.iter().find(|(name, port)| *name == wanted || port.port.to_string() == *wanted),
            None if ports.len() == 1 => ports.iter().next(),
            None => None,
        };
        let Some((_, port)) = found else {
            let known = ports.iter().map(|(name, port)| format!("{name} ({})", port.port)).collect::<Vec<_>>().join(", ");
            return Err(Diagnostic::error("service-port", format!("workload `{name}` has no port `{}`", wanted.unwrap_or_default()))
                .at("/params/port")
                .hint(format!("ports: {known}")));
        };
        outputs.insert("port".to_owned(), json!(port.port));
    }
    Ok(outputs)
}

/// The annotation by which the Score tools name a workload's Service.
pub(crate) const SERVICE_NAME_ANNOTATION: &str = "k8s.score.dev/service-name";
