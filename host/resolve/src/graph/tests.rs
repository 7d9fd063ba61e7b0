//! The graph: edges, sharing, co-provisioning, reverse queries, and errors with their paths.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};
use windlass_model::{
    Diagnostic, NodeKey,
    application::SharedResource,
    name::WorkloadName,
    platform::{LayerName, Layers, Platform, ResourceDefinition, WorkloadProfile},
    score::Workload,
};

use super::{GraphInput, resolve};
use crate::effective::Effective;

fn definition(name: &str, spec: Value) -> ResourceDefinition {
    let mut spec = spec;
    spec["driver"] = json!({ "builtin": "x" });
    serde_json::from_value(
        json!({ "apiVersion": "windlass.dev/v1alpha1", "kind": "ResourceDefinition", "metadata": { "name": name }, "spec": spec }),
    )
    .unwrap()
}

fn platform(definitions: &[ResourceDefinition]) -> Platform {
    let profile: WorkloadProfile = serde_json::from_value(json!({ "apiVersion": "windlass.dev/v1alpha1", "kind": "WorkloadProfile", "metadata": { "name": "default" }, "spec": { "stages": [{ "name": "render", "driver": { "builtin": "x" } }] } })).unwrap();
    let namespace = definition("namespace", json!({ "type": "k8s-namespace" }));
    Platform {
        definitions: definitions.iter().cloned().chain([namespace]).map(|definition| (definition.name().clone(), definition)).collect(),
        profiles: BTreeMap::from([(profile.name().clone(), profile)]),
        ..Platform::default()
    }
}

fn workload(name: &str, resources: Value) -> (WorkloadName, Workload) {
    let workload: Workload = serde_json::from_value(json!({ "apiVersion": "score.dev/v1b1", "metadata": { "name": name }, "containers": { "main": { "image": "x" } }, "resources": resources })).unwrap();
    (workload.metadata.name.clone(), workload)
}

/// Resolves and shows nodes with their edges, or the problems.
fn shown(effective: &Effective<'_>, layers: &Layers) -> Vec<String> {
    let (application, environment, environment_type) = ("shop".parse().unwrap(), "dev".parse().unwrap(), "development".parse().unwrap());
    let input = GraphInput { application: &application, environment: &environment, environment_type: &environment_type, effective, layers };
    let graph = resolve(&input);
    if !graph.problems.is_empty() {
        let hint = |problem: &Diagnostic| problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        return graph.problems.iter().map(|problem| format!("{}: {problem}{}", problem.code, hint(problem))).collect();
    }
    let edges = |key: &NodeKey| -> Vec<String> {
        graph.nodes[key].edges.iter().filter(|edge| **edge != graph.namespace).map(ToString::to_string).collect()
    };
    graph.order.iter().map(|key| format!("{key} -> {}", edges(key).join(", "))).collect()
}

fn resolved(workloads: Vec<(WorkloadName, Workload)>, shared: Value, definitions: &[ResourceDefinition]) -> Vec<String> {
    let resources: BTreeMap<_, SharedResource> = serde_json::from_value(shared).unwrap();
    let workloads = workloads.into_iter().map(|(name, workload)| (name, Cow::Owned(workload))).collect();
    let effective = Effective { workloads, resources: Cow::Owned(resources), ..Effective::default() };
    shown(&effective, &Layers(vec![(LayerName::BuiltIn, Arc::new(platform(definitions)))]))
}

#[test]
fn private_shared_needed_and_co_provisioned() {
    let definitions = [
        definition(
            "pg",
            json!({ "type": "postgres", "resources": { "defaults": { "type": "environment" } }, "inputs": { "size": "${resources.defaults.SIZE}" }, "provisions": { "backup": { "type": "bucket", "params": { "of": "${outputs.host}" } } } }),
        ),
        definition("bucket", json!({ "type": "bucket" })),
        definition("dns", json!({ "type": "dns" })),
        definition("route", json!({ "type": "route" })),
    ];
    insta::assert_debug_snapshot!(resolved(
        vec![
            workload(
                "web",
                json!({ "db": { "type": "postgres", "id": "main" }, "dns": { "type": "dns" }, "route": { "type": "route", "params": { "host": "${resources.dns.host}" } } })
            ),
            workload("api", json!({ "db": { "type": "postgres", "id": "main" }, "own": { "type": "postgres" } })),
        ],
        json!({ "files": { "type": "bucket" } }),
        &definitions
    ));
}

#[test]
fn reverse_queries_add_edges() {
    let definitions = [
        definition("dns", json!({ "type": "dns", "provisions": { "ingress": { "type": "ingress" } } })),
        definition("route", json!({ "type": "route" })),
        definition("ingress", json!({ "type": "ingress", "collect": { "routes": { "type": "route", "using": "provisioner" } } })),
        definition("role", json!({ "type": "role", "collect": { "policies": { "type": "policy", "usedBy": "consumers" } } })),
        definition("policy", json!({ "type": "policy" })),
    ];
    let route = |alias: &str| json!({ "dns": { "type": "dns", "id": "public" }, (alias): { "type": "route", "params": { "host": "${resources.dns.host}" } } });
    insta::assert_debug_snapshot!(resolved(
        vec![
            workload("a", route("x")),
            workload("b", route("y")),
            workload("c", json!({ "role": { "type": "role" }, "p1": { "type": "policy" }, "p2": { "type": "policy" } }))
        ],
        json!({}),
        &definitions
    ));
}

#[test]
fn errors_name_what_and_how_to_mend() {
    let definitions = [
        definition("a", json!({ "type": "a", "resources": { "b": { "type": "b", "id": "x" } } })),
        definition("b", json!({ "type": "b", "resources": { "a": { "type": "a", "id": "x" } } })),
        definition("prod", json!({ "type": "postgres", "match": [{ "environmentType": "production" }] })),
        definition("one", json!({ "type": "dns", "match": [{ "application": "shop" }] })),
        definition("two", json!({ "type": "dns", "match": [{ "application": ["shop", "bank"] }] })),
        definition("fast", json!({ "type": "redis", "class": ["fast", "large"] })),
        definition("bucket", json!({ "type": "bucket" })),
    ];
    insta::assert_debug_snapshot!([
        resolved(vec![workload("web", json!({ "a": { "type": "a", "id": "x" } }))], json!({}), &definitions),
        resolved(
            vec![workload(
                "web",
                json!({ "db": { "type": "postgres" }, "dns": { "type": "dns" }, "cache": { "type": "redis" }, "typo": { "type": "bukket" } })
            )],
            json!({}),
            &definitions
        ),
        resolved(
            vec![
                workload("a", json!({ "s": { "type": "bucket", "id": "same", "params": { "size": 1 } } })),
                workload("b", json!({ "s": { "type": "bucket", "id": "same", "params": { "size": 2 } } })),
                workload("c", json!({ "s": { "type": "bucket", "id": "same" } }))
            ],
            json!({}),
            &definitions
        ),
    ]);
}

/// Resources that all collect each other through a shared one.
fn collectors(count: usize) -> Vec<String> {
    let definitions = [
        definition("hub", json!({ "type": "hub" })),
        definition(
            "spoke",
            json!({ "type": "spoke", "resources": { "hub": { "type": "hub", "id": "hub" } }, "collect": { "all": { "type": "spoke", "using": "hub" } } }),
        ),
    ];
    let spokes: serde_json::Map<String, Value> = (0..count).map(|index| (format!("s{index}"), json!({ "type": "spoke" }))).collect();
    resolved(vec![], Value::Object(spokes), &definitions)
}

#[test]
fn reverse_queries_find_a_limited_number_of_resources() {
    let refused = collectors(1_001);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("reverse queries find more than 1000000 resources"), "{refused:?}");
}

#[test]
fn wide_definitions_are_no_bombs() {
    let wide = |count: usize| {
        let needs: serde_json::Map<String, Value> = (0..count).map(|index| (format!("n{index}"), json!({ "type": "leaf" }))).collect();
        let definitions =
            [definition("wide", json!({ "type": "wide", "resources": needs })), definition("leaf", json!({ "type": "leaf" }))];
        resolved(vec![workload("web", json!({ "w": { "type": "wide" } }))], json!({}), &definitions)
    };
    assert!(wide(1_000).len() > 1_000);
    let refused = wide(1_001);
    assert!(refused[0].contains("because of `wide.default#web.w`: wide.default#web.w -> n"), "{refused:?}");
}

proptest! {
    /// Whatever the names of documents and workloads, and so the order of maps: the same graph.
    #[test]
    fn order_of_documents_never_matters(names in prop::collection::btree_set("[a-z]{1,6}", 4), turn in 0_usize..4) {
        let kinds = ["p", "q", "r", "s"];
        let specs = [json!({ "type": "p", "resources": { "n": { "type": "q", "id": "q" } } }), json!({ "type": "q", "resources": { "n": { "type": "r", "id": "r" } } }), json!({ "type": "r" }), json!({ "type": "s", "resources": { "n": { "type": "p", "id": "p" } } })];
        let names: Vec<&String> = names.iter().collect();
        let named = |shift: usize| -> Vec<ResourceDefinition> { specs.iter().enumerate().map(|(index, spec)| definition(&format!("d-{}", names[(index + shift) % 4]), spec.clone())).collect() };
        let resources: Value = kinds.iter().map(|kind| ((*kind).to_owned(), json!({ "type": kind, "id": kind.repeat(2) }))).collect::<serde_json::Map<_, _>>().into();
        let first = resolved(vec![workload("web", resources.clone())], json!({}), &named(0));
        let second = resolved(vec![workload("web", resources)], json!({}), &named(turn));
        prop_assert_eq!(first, second);
    }
}
