//! One row of the tables each: what is refused, where, and what lifts it.

use serde_json::{Value, json};
use windlass_model::platform::{KindGrant, PolicyException};

use crate::policy::{PolicyContext, PolicyInput, check};

fn found(api_version: &str, kind: &str, more: &Value, exceptions: &[PolicyException]) -> Vec<String> {
    let mut manifest = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "x", "namespace": "shop-dev" } });
    manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let kinds = [KindGrant::Name(format!("{api_version}/{kind}"))];
    let input = PolicyInput { kinds: &kinds, exceptions, metadata: &[] };
    let context =
        PolicyContext { application: "shop", environment: "dev", workload: Some("web"), namespace: Some("shop-dev"), before: None };
    check(&manifest, &input, &context).iter().map(|problem| format!("{} {}", problem.code, problem.pointer)).collect()
}

/// Asserts that something is refused at a place, and passes with the exception.
fn lifted(api_version: &str, kind: &str, more: Value, at: &str, by: PolicyException) {
    assert_eq!(found(api_version, kind, &more, &[]), [format!("policy-field {at}")], "{kind} {more}");
    assert!(found(api_version, kind, &more, &[by]).is_empty(), "{kind} {more} with {by:?}");
}

#[test]
fn services_stay_inside_the_cluster() {
    let by = PolicyException::ExternalAddresses;
    for (field, value, at) in [
        ("externalIPs", json!(["10.96.0.10"]), "/spec/externalIPs"),
        ("externalName", json!("vault.prod.svc"), "/spec/externalName"),
        ("type", json!("ExternalName"), "/spec/type"),
        ("type", json!("LoadBalancer"), "/spec/type"),
        ("type", json!("NodePort"), "/spec/type"),
        ("loadBalancerIP", json!("10.0.0.1"), "/spec/loadBalancerIP"),
        ("clusterIP", json!("10.96.0.10"), "/spec/clusterIP"),
        ("clusterIPs", json!(["10.96.0.10"]), "/spec/clusterIPs/0"),
        ("ports", json!([{ "port": 80, "nodePort": 30_000 }]), "/spec/ports/0/nodePort"),
    ] {
        lifted("v1", "Service", json!({ "spec": { field: value } }), at, by);
    }
    let ordinary =
        json!({ "spec": { "type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "selector": {}, "ports": [{ "port": 80 }] } });
    assert!(found("v1", "Service", &ordinary, &[]).is_empty());
    lifted("v1", "Endpoints", json!({ "subsets": [] }), "", by);
    lifted("discovery.k8s.io/v1", "EndpointSlice", json!({ "endpoints": [] }), "", by);
}

#[test]
fn pods_choose_neither_nodes_nor_priorities() {
    for (field, value) in [
        ("nodeName", json!("control-plane-1")),
        ("priority", json!(1)),
        ("priorityClassName", json!("system-node-critical")),
        ("preemptionPolicy", json!("Never")),
        ("runtimeClassName", json!("none")),
        ("schedulerName", json!("other")),
    ] {
        lifted("v1", "Pod", json!({ "spec": { "containers": [], field: value } }), &format!("/spec/{field}"), PolicyException::Scheduling);
    }
    for toleration in [
        json!({ "operator": "Exists" }),
        json!({ "key": "", "operator": "Exists" }),
        json!({ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }),
        json!({ "key": "node.kubernetes.io/unschedulable" }),
    ] {
        lifted(
            "v1",
            "Pod",
            json!({ "spec": { "containers": [], "tolerations": [toleration] } }),
            "/spec/tolerations/0",
            PolicyException::Scheduling,
        );
    }
    let ordinary = json!([{ "key": "gpu", "operator": "Exists" }, { "key": "node.kubernetes.io/not-ready", "tolerationSeconds": 30 }]);
    assert!(found("v1", "Pod", &json!({ "spec": { "containers": [], "tolerations": ordinary } }), &[]).is_empty());
}

#[test]
fn volumes_are_of_the_namespace() {
    for kind in ["csi", "nfs", "iscsi", "flexVolume", "gitRepo", "ephemeral", "rbd", "image", "some-later-kind"] {
        let volume = json!({ "name": "x", kind: {} });
        let template = json!({ "spec": { "template": { "spec": { "containers": [], "volumes": [volume] } } } });
        lifted("apps/v1", "Deployment", template, "/spec/template/spec/volumes/0", PolicyException::Volumes);
    }
    let sources = json!([{ "secret": { "name": "x" } }, { "serviceAccountToken": { "path": "t", "audience": "vault" } }]);
    let volumes = json!([{ "name": "a", "projected": { "sources": sources } }]);
    let at = "/spec/volumes/0/projected/sources/1/serviceAccountToken/audience";
    lifted("v1", "Pod", json!({ "spec": { "containers": [], "volumes": volumes } }), at, PolicyException::TokenAudiences);
    let ordinary =
        json!([{ "name": "a", "emptyDir": {} }, { "name": "b", "secret": { "secretName": "x" } }, { "name": "c", "configMap": {} }]);
    assert!(found("v1", "Pod", &json!({ "spec": { "containers": [], "volumes": ordinary } }), &[]).is_empty());
}

#[test]
fn claims_choose_neither_volume_nor_content() {
    for field in ["volumeName", "selector", "dataSource", "dataSourceRef"] {
        let spec = json!({ field: "x" });
        lifted("v1", "PersistentVolumeClaim", json!({ "spec": spec }), &format!("/spec/{field}"), PolicyException::Volumes);
        let at = format!("/spec/volumeClaimTemplates/0/spec/{field}");
        lifted("apps/v1", "StatefulSet", json!({ "spec": { "volumeClaimTemplates": [{ "spec": spec }] } }), &at, PolicyException::Volumes);
    }
}

#[test]
fn gateways_take_routes_of_their_namespace() {
    let (api, by) = ("gateway.networking.k8s.io/v1", PolicyException::ForeignNamespaces);
    let listeners = json!([{ "name": "http", "allowedRoutes": { "namespaces": { "from": "All" } } }]);
    lifted(api, "Gateway", json!({ "spec": { "listeners": listeners } }), "/spec/listeners/0/allowedRoutes/namespaces/from", by);
    lifted("gateway.networking.k8s.io/v1beta1", "ReferenceGrant", json!({ "spec": {} }), "", by);
    lifted(api, "Gateway", json!({ "spec": { "addresses": [] } }), "/spec/addresses", PolicyException::ExternalAddresses);
}

#[test]
fn fields_that_no_table_names_need_an_exception() {
    let by = PolicyException::OtherFields;
    for (kind, api, more, at) in [
        ("Pod", "v1", json!({ "spec": { "containers": [], "shareProcessNamespace": true } }), "/spec/shareProcessNamespace"),
        ("Pod", "v1", json!({ "spec": { "containers": [], "hostUsers": false } }), "/spec/hostUsers"),
        ("Pod", "v1", json!({ "spec": { "containers": [{ "volumeDevices": [] }] } }), "/spec/containers/0/volumeDevices"),
        ("Service", "v1", json!({ "spec": { "later": 1 } }), "/spec/later"),
        ("Job", "batch/v1", json!({ "spec": { "managedBy": "x/y" } }), "/spec/managedBy"),
        (
            "CronJob",
            "batch/v1",
            json!({ "spec": { "jobTemplate": { "spec": { "managedBy": "x/y" } } } }),
            "/spec/jobTemplate/spec/managedBy",
        ),
        ("Ingress", "networking.k8s.io/v1", json!({ "spec": { "defaultBackend": { "resource": {} } } }), "/spec/defaultBackend/resource"),
        (
            "Gateway",
            "gateway.networking.k8s.io/v1",
            json!({ "spec": { "infrastructure": { "parametersRef": {} } } }),
            "/spec/infrastructure/parametersRef",
        ),
        (
            "HTTPRoute",
            "gateway.networking.k8s.io/v1",
            json!({ "spec": { "rules": [{ "filters": [{ "extensionRef": {} }] }] } }),
            "/spec/rules/0/filters/0/extensionRef",
        ),
    ] {
        lifted(api, kind, more, at, by);
    }
}

#[test]
fn pods_anywhere_in_other_kinds_are_pods() {
    let declared = json!([{ "apiVersion": "example.com/v1", "kind": "Farm", "plural": "farms", "scope": "Namespaced" }]);
    let kinds: Vec<KindGrant> = serde_json::from_value(declared).unwrap();
    let pod = json!({ "hostPID": true, "nodeName": "n", "containers": [] });
    let farm = json!({
        "apiVersion": "example.com/v1", "kind": "Farm", "metadata": { "name": "x", "namespace": "shop-dev" },
        "spec": { "fields": [{ "template": { "metadata": { "annotations": { "vault.hashicorp.com/role": "x" } }, "spec": pod } }] },
    });
    let input = PolicyInput { kinds: &kinds, exceptions: &[], metadata: &[] };
    let found = check(
        &farm,
        &input,
        &PolicyContext { application: "shop", environment: "dev", workload: Some("web"), namespace: Some("shop-dev"), before: None },
    );
    let found: Vec<String> = found.iter().map(|problem| format!("{} {}", problem.code, problem.pointer)).collect();
    let base = "/spec/fields/0/template";
    assert_eq!(
        found,
        [
            format!("policy-metadata-key {base}/metadata/annotations/vault.hashicorp.com~1role"),
            format!("policy-privileged-pod {base}/spec/hostPID"),
            format!("policy-field {base}/spec/nodeName"),
        ]
    );
}
