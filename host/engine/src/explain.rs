//! Explains by intervening: drivers are pure and cheap, so one leaf of the request is changed at a time,
//! the driver is called again, and the field either moves or it does not.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use windlass_model::{
    ActionId, Diagnostic, NodeKey,
    plan::{PlannedDriver, PlannedNode, WinningDocument},
    pointer::{self, Pointer},
    sealed::Sealed,
};
use windlass_resolve::{GraphInput, Maker, NodeKind, graph};

use crate::{
    driver::DriverHost,
    plan::{self, Cx, NodeOutcome, PlanInput},
    planner::Planners,
};

/// Leaves of a request that are tried; more than the largest honest workload has.
const LEAVES_MAX: usize = 2_000;

/// Why something is as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The node.
    pub node: NodeKey,
    /// The action, if one was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionId>,
    /// The pointer, if one was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The document that won.
    pub definition: Option<WinningDocument>,
    /// The documents that lost, and why.
    pub lost: Vec<LostDocument>,
    /// The drivers.
    pub drivers: Vec<PlannedDriver>,
    /// The nodes that it uses.
    pub depends_on: Vec<NodeKey>,
    /// What it yields.
    pub outputs: serde_json::Map<String, Value>,
    /// The leaves of the request that move the value.
    pub causes: Vec<Leaf>,
}

/// A document that did not win.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LostDocument {
    /// Its layer.
    pub layer: windlass_model::platform::LayerName,
    /// Its name.
    pub name: String,
    /// The first thing by which it lost.
    pub why: String,
}

/// A leaf of a request, as its document has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leaf {
    /// The document: `workload/NAME`, `application`, `ResourceDefinition/NAME`.
    pub document: String,
    /// The field in it.
    pub pointer: String,
    /// What it was when the driver was called.
    pub value: Value,
}

/// Explains a node, one of its actions, or a field of that.
pub fn explain(
    input: &PlanInput,
    planners: &Planners,
    host: &dyn DriverHost,
    node: &NodeKey,
    action: Option<&ActionId>,
    at: Option<&str>,
) -> Result<Explanation, Vec<Diagnostic>> {
    plan::prepare(input, planners, |prepared| {
        let cx = plan::prepared_cx(input, &prepared, planners, host);
        let outcomes = plan::outcomes(&cx)?;
        let Some(outcome) = outcomes.get(node) else {
            return Err(vec![Diagnostic::error("unknown-node", format!("`{node}` is not part of this environment"))]);
        };
        let planned = outcome.node.clone();
        let value = match (action, at) {
            (None, None) => None,
            (action, at) => field(&planned, action, at.unwrap_or("")),
        };
        if at.is_some() && value.is_none() {
            return Err(vec![Diagnostic::error("unknown-field", format!("there is nothing at `{}`", at.unwrap_or_default()))]);
        }
        let causes = match &value {
            Some(value) => causes(&cx, node, &outcomes, action, at.unwrap_or(""), value)?,
            None => Vec::new(),
        };
        Ok(Explanation {
            lost: lost(input, &cx, node),
            node: node.clone(),
            action: action.cloned(),
            pointer: at.map(str::to_owned),
            value,
            definition: planned.definition,
            drivers: planned.drivers,
            depends_on: planned.depends_on,
            outputs: planned.outputs,
            causes,
        })
    })
}

/// Finds what was asked about: a field of an action's spec, or an output.
fn field(node: &PlannedNode, action: Option<&ActionId>, at: &str) -> Option<Value> {
    match action {
        Some(id) => node.actions.iter().find(|action| action.id == *id)?.spec.to_value().pointer(at).cloned(),
        None => {
            let mut steps = pointer::steps(at).into_iter();
            let output = node.outputs.get(&steps.next()?)?;
            let rest: String = steps.map(|step| format!("/{}", pointer::escape(&step))).collect();
            output.pointer(&rest).cloned()
        }
    }
}

fn lost(input: &PlanInput, cx: &Cx<'_>, node: &NodeKey) -> Vec<LostDocument> {
    let NodeKey::Resource(key) = node else { return Vec::new() };
    let Some(NodeKind::Resource { maker: Maker::Definition { layer, definition, rule, .. }, .. }) =
        cx.graph.nodes.get(node).map(|node| &node.kind)
    else {
        return Vec::new();
    };
    let graph_input = GraphInput {
        application: &input.environment.application,
        environment: &input.environment.environment,
        environment_type: &input.environment_type,
        effective: cx.effective,
        layers: &input.layers,
    };
    graph::candidates(&graph_input, key, Some((layer, definition.name(), rule.as_ref())))
        .into_iter()
        .filter_map(|(layer, definition, lost)| {
            lost.map(|lost| LostDocument { layer, name: definition.name().to_string(), why: lost.to_string() })
        })
        .collect()
}

/// Changes each leaf in turn and sees whether the value moves.
fn causes(
    cx: &Cx<'_>,
    node: &NodeKey,
    outcomes: &BTreeMap<NodeKey, NodeOutcome>,
    action: Option<&ActionId>,
    at: &str,
    value: &Value,
) -> Result<Vec<Leaf>, Vec<Diagnostic>> {
    let mut found = Vec::new();
    match node {
        NodeKey::Resource(key) => {
            if !matches!(cx.graph.nodes.get(node).map(|node| &node.kind), Some(NodeKind::Resource { maker: Maker::Definition { .. }, .. }))
            {
                return Ok(found);
            }
            let call = plan::resource::prepare(cx, key, outcomes)?;
            let moved = |changed: &plan::resource::ResourceCall<'_>| {
                plan::resource::call(cx, changed, None).is_ok_and(|outcome| field(&outcome.node, action, at).as_ref() != Some(value))
            };
            for (pointer, leaf, other) in changes(&call.inputs) {
                if let Some(inputs) = replaced(&call.inputs, &pointer, other)
                    && moved(&plan::resource::ResourceCall { inputs, ..call.clone() })
                {
                    found.push(Leaf {
                        document: format!("ResourceDefinition/{}", call.definition.name()),
                        pointer: format!("/spec/inputs{pointer}"),
                        value: leaf,
                    });
                }
            }
            let scope = match cx.graph.nodes.get(node).map(|node| &node.kind) {
                Some(NodeKind::Resource { params: Some((_, scope)), .. }) => Some(scope.clone()),
                _ => None,
            };
            for (pointer, leaf, other) in changes(&call.params) {
                if let (Some(params), Some(scope)) = (replaced(&call.params, &pointer, other), &scope)
                    && moved(&plan::resource::ResourceCall { params, ..call.clone() })
                {
                    let (document, base) = plan::place::params_place(cx, node, scope);
                    found.push(Leaf { document, pointer: format!("{base}{pointer}"), value: leaf });
                }
            }
        }
        NodeKey::Workload(name) => {
            let call = plan::workload::prepare(cx, name, outcomes)?;
            for (pointer, leaf, other) in changes(&call.workload) {
                if let Some(workload) = replaced(&call.workload, &pointer, other)
                    && plan::rendering::call(cx, &plan::workload::WorkloadCall { workload, ..call.clone() }, None)
                        .is_ok_and(|outcome| field(&outcome.node, action, at).as_ref() != Some(value))
                {
                    found.push(Leaf { document: node.to_string(), pointer, value: leaf });
                }
            }
            for (index, stage) in call.stages.iter().enumerate() {
                for (pointer, leaf, other) in changes(&stage.inputs) {
                    let mut changed = call.clone();
                    if let (Some(inputs), Some(stage)) = (replaced(&stage.inputs, &pointer, other), changed.stages.get_mut(index)) {
                        stage.inputs = inputs;
                        if plan::rendering::call(cx, &changed, None)
                            .is_ok_and(|outcome| field(&outcome.node, action, at).as_ref() != Some(value))
                        {
                            let profile = call
                                .definition
                                .as_ref()
                                .map_or_else(String::new, |definition| format!("WorkloadProfile/{}", definition.name));
                            found.push(Leaf { document: profile, pointer: format!("/spec/stages/{index}/inputs{pointer}"), value: leaf });
                        }
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Lists leaves with another value that probably fits the same schema.
fn changes(value: &Value) -> Vec<(String, Value, Value)> {
    fn walk(value: &Value, at: &Pointer<'_>, out: &mut Vec<(String, Value, Value)>) {
        if out.len() >= LEAVES_MAX {
            return;
        }
        if Sealed::from_json(value).is_some() {
            out.push((at.to_string(), value.clone(), Value::String("windlass-explains".to_owned())));
            return;
        }
        let other = match value {
            Value::Null => return,
            Value::Bool(value) => Value::Bool(!value),
            Value::Number(number) => Value::from(number.as_u64().map_or(7, |number| if number > 60_000 { number - 1 } else { number + 1 })),
            Value::String(text) => {
                Value::String(if text.ends_with(|c: char| c.is_ascii_digit()) { format!("{text}1") } else { format!("{text}x") })
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    walk(item, &at.element(index), out);
                }
                return;
            }
            Value::Object(fields) => {
                for (key, item) in fields {
                    walk(item, &at.field(key), out);
                }
                return;
            }
        };
        out.push((at.to_string(), value.clone(), other));
    }
    let mut out = Vec::new();
    walk(value, &Pointer::Root, &mut out);
    out
}

fn replaced(value: &Value, at: &str, other: Value) -> Option<Value> {
    let mut copy = value.clone();
    *copy.pointer_mut(at)? = other;
    Some(copy)
}
