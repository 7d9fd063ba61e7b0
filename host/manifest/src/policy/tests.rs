//! The policy as a whole; rows of its tables stand in `fields::tests`.

use serde_json::json;
use windlass_model::sealed::{Encoding, Origin, Sealed};

use super::*;

const CONTEXT: PolicyContext<'_> =
    PolicyContext { application: "shop", environment: "dev", workload: Some("web"), namespace: Some("shop-dev"), before: None };

fn workload(manifest: Value) -> Vec<String> {
    checked(&manifest, &[]).iter().map(|problem| format!("{} {}", problem.code, problem.pointer)).collect()
}

/// Checks a manifest as if a grant listed its kind, where that is a built-in one of namespaces.
fn checked(manifest: &Value, exceptions: &[PolicyException]) -> Vec<Diagnostic> {
    let text = |field: &str| manifest.get(field).and_then(Value::as_str).unwrap_or_default();
    let known = find(text("apiVersion"), text("kind")).filter(|kind| kind.scope == Scope::Namespaced);
    let kinds: Vec<KindGrant> = known.map(|kind| KindGrant::Name(format!("{}/{}", text("apiVersion"), kind.kind))).into_iter().collect();
    check(manifest, &PolicyInput { kinds: &kinds, exceptions, metadata: &[] }, &CONTEXT)
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop-dev"}, "spec": {"template": {"spec": spec}}})
}

#[test]
fn refuses_what_would_reach_beyond_the_namespace() {
    let object = |api: &str, kind: &str, more: Value| {
        let mut value = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x", "namespace": "shop-dev"}});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    };
    let cases = [
        object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", json!({"metadata": {"name": "x"}})),
        object("rbac.authorization.k8s.io/v1", "RoleBinding", json!({})),
        object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", json!({"metadata": {"name": "x"}})),
        object("v1", "Namespace", json!({"metadata": {"name": "other"}})),
        object("v1", "Secret", json!({"type": "kubernetes.io/service-account-token"})),
        object("v1", "ConfigMap", json!({"metadata": {"name": "x", "namespace": "kube-system"}})),
        object("v1", "ConfigMap", json!({"metadata": {"name": "x", "namespace": "other"}})),
        object("v1", "ConfigMap", json!({"metadata": {"name": "x", "namespace": "shop-dev", "labels": {"windlass.dev/owner": "me"}}})),
        object(
            "v1",
            "ConfigMap",
            json!({"metadata": {"name": "x", "namespace": "shop-dev", "finalizers": ["a/b"], "ownerReferences": []}}),
        ),
        object(
            "v1",
            "ConfigMap",
            json!({"metadata": {"name": "x", "namespace": "shop-dev", "annotations": {"argocd.argoproj.io/tracking-id": "x"}}}),
        ),
        object("example.com/v1", "Widget", json!({})),
        pod(
            json!({"hostNetwork": true, "containers": [{"securityContext": {"privileged": true, "capabilities": {"add": ["SYS_ADMIN", "NET_BIND_SERVICE"]}}, "ports": [{"hostPort": 80}]}], "volumes": [{"hostPath": {"path": "/"}}]}),
        ),
        pod(json!({
            "securityContext": {
                "seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"}, "seLinuxOptions": {"user": "root", "type": "spc_t"},
                "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}, {"name": "kernel.msgmax", "value": "1"}], "windowsOptions": {"hostProcess": true},
            },
            "containers": [{
                "securityContext": {"procMount": "Unmasked", "seccompProfile": {"type": "Unconfined"}},
                "livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}, "lifecycle": {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}},
            }],
        })),
        object(
            "apps/v1",
            "StatefulSet",
            json!({"spec": {
                "template": {"metadata": {"finalizers": ["a/b"]}, "spec": {"containers": []}},
                "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"windlass.dev/owner": "me"}, "ownerReferences": []}}],
            }}),
        ),
        object("batch/v1", "CronJob", json!({"spec": {"jobTemplate": {"metadata": {"annotations": {"windlass.dev/mark": "x"}}}}})),
        json!({"apiVersion": "v1", "kind": "ConfigMap"}),
        object("v1", "ConfigMap", json!({"metadata": {"name": "Not Valid", "namespace": "shop-dev", "labels": {"a": "sha256:x"}}})),
    ];
    insta::assert_json_snapshot!(cases.map(workload));
}

#[test]
fn pods_of_declared_kinds_are_pods() {
    let declared = json!([{ "apiVersion": "v1", "kind": "PodTemplate", "plural": "podtemplates", "scope": "Namespaced" }]);
    let kinds: Vec<KindGrant> = serde_json::from_value(declared).unwrap();
    let template = json!({
        "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x", "namespace": "shop-dev"},
        "template": {"metadata": {"labels": {"windlass.dev/owner": "me"}}, "spec": {"hostPID": true, "containers": []}},
    });
    let found = check(&template, &PolicyInput { kinds: &kinds, exceptions: &[], metadata: &[] }, &CONTEXT);
    let found: Vec<String> = found.iter().map(|problem| format!("{} {}", problem.code, problem.pointer)).collect();
    assert_eq!(found, ["policy-our-label /template/metadata/labels/windlass.dev~1owner", "policy-privileged-pod /template/spec/hostPID"]);
}

#[test]
fn accepts_near_misses() {
    assert!(workload(pod(json!({"hostNetwork": false, "containers": [{"securityContext": {"privileged": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}, "ports": [{"containerPort": 80}]}], "volumes": [{"emptyDir": {}}]}))).is_empty());
    assert!(workload(json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": "x", "namespace": "shop-dev", "labels": {"windlass.dev/workload": "web"}}})).is_empty());
}

/// A value that is known only when something else is made, as plans write it.
fn later() -> Value {
    let origin = Origin::Output { node: "a.default#b".parse().unwrap(), name: "paused".into() };
    Sealed::of(origin, false, Encoding::Json).to_json()
}

#[test]
fn what_the_policy_goes_by_is_known_while_planning() {
    let mut spec = json!({"containers": [{"image": later(), "env": [{"name": "A", "value": later()}], "ports": [{"containerPort": later()}]}], "nodeSelector": {"a": later()}});
    assert!(workload(pod(spec.clone())).is_empty(), "{:?}", workload(pod(spec)));
    for (at, value) in [
        ("/hostNetwork", later()),
        ("/volumes", later()),
        ("/volumes", json!([later()])),
        ("/volumes", json!([{"hostPath": {"path": later()}}])),
        ("/securityContext", later()),
        ("/containers", later()),
        ("/containers/0", later()),
        ("/containers/0/securityContext", later()),
        ("/containers/0/securityContext", json!({"privileged": later()})),
        ("/containers/0/securityContext", json!({"capabilities": {"add": [later()]}})),
        ("/containers/0/ports", later()),
        ("/containers/0/ports", json!([{"hostPort": later()}])),
        ("/containers/0/livenessProbe", json!({"httpGet": {"host": later()}})),
        ("/initContainers", later()),
    ] {
        spec = json!({"containers": [{"image": "web:1"}]});
        match at.rsplit_once("/containers/0").map(|(_, rest)| rest.trim_start_matches('/')) {
            Some("") => spec["containers"][0] = value,
            Some(field) => spec["containers"][0][field] = value,
            None => spec[&at[1..]] = value,
        }
        let found = workload(pod(spec.clone()));
        assert!(found.iter().any(|problem| problem.starts_with("policy-")), "{at} passes: {spec}");
        let allowed = [PolicyException::PrivilegedPods, PolicyException::Volumes, PolicyException::OtherFields];
        // As a whole these could name Secrets of other nodes, which no exception lifts.
        let is_whole =
            ["/volumes", "/containers", "/containers/0", "/initContainers"].contains(&at) && !spec.to_string().contains("hostPath");
        assert_eq!(checked(&pod(spec), &allowed).is_empty(), !is_whole, "{at}");
    }
    let deployment = |more: Value| {
        let mut value = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x", "namespace": "shop-dev"}});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        workload(value)
    };
    for whole in [
        json!({"spec": later()}),
        json!({"spec": {"jobTemplate": later()}}),
        json!({"spec": {"jobTemplate": {"spec": {"template": later()}}}}),
        json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": later()}}}}}),
        json!({"metadata": {"name": "x", "namespace": "shop-dev", "annotations": later()}}),
        json!({"spec": {"jobTemplate": {"spec": {"template": {"metadata": later()}}}}}),
        json!({"spec": {"volumeClaimTemplates": later()}}),
        json!({"spec": {"volumeClaimTemplates": [later()]}}),
        json!({"spec": {"volumeClaimTemplates": [{"metadata": {"labels": later()}}]}}),
    ] {
        assert!(deployment(whole.clone()).iter().any(|problem| problem.starts_with("policy-unknown")), "{whole}");
    }
}

#[test]
fn keys_of_controllers_need_a_grant_and_are_inherited_unchanged() {
    let annotated = |key: &str, value: &str| pod_with(json!({ "annotations": { key: value } }));
    let vault = annotated("vault.hashicorp.com/role", "production");
    let at = "/spec/template/metadata/annotations/vault.hashicorp.com~1role";
    assert_eq!(workload(vault.clone()), [format!("policy-metadata-key {at}")]);
    let kinds = [KindGrant::Name("apps/v1/Deployment".into())];
    let granted = ["vault.hashicorp.com/".to_owned()];
    assert!(check(&vault, &PolicyInput { kinds: &kinds, exceptions: &[], metadata: &granted }, &CONTEXT).is_empty());
    let input = PolicyInput { kinds: &kinds, exceptions: &[], metadata: &[] };
    assert!(check(&vault, &input, &PolicyContext { before: Some(&vault), ..CONTEXT }).is_empty());
    let other = annotated("vault.hashicorp.com/role", "development");
    assert_eq!(check(&vault, &input, &PolicyContext { before: Some(&other), ..CONTEXT }).len(), 1);
    for key in ["team", "prometheus.io/scrape", "app.kubernetes.io/name"] {
        assert!(workload(annotated(key, "x")).is_empty(), "{key}");
    }
    let labelled = pod_with(json!({ "labels": { "azure.workload.identity/use": "true" } }));
    assert_eq!(workload(labelled), ["policy-metadata-key /spec/template/metadata/labels/azure.workload.identity~1use"]);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop-dev", "annotations": {"external-dns.alpha.kubernetes.io/hostname": "x"}}});
    assert_eq!(workload(service), ["policy-metadata-key /metadata/annotations/external-dns.alpha.kubernetes.io~1hostname"]);
}

#[test]
fn annotations_may_not_unconfine_a_container() {
    for key in ["container.apparmor.security.beta.kubernetes.io/web", "seccomp.security.alpha.kubernetes.io/pod"] {
        let annotated = |value: &str| pod_with(json!({ "annotations": { key: value } }));
        assert_eq!(workload(annotated("unconfined")).len(), 1, "{key}");
        assert!(checked(&annotated("unconfined"), &[PolicyException::PrivilegedPods]).is_empty());
        assert!(workload(annotated("runtime/default")).is_empty());
    }
}

#[test]
fn nothing_is_granted_without_being_listed() {
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "shop-dev"}});
    let found = check(&config, &PolicyInput { kinds: &[], exceptions: &[], metadata: &[] }, &CONTEXT);
    assert_eq!(found.iter().map(|problem| problem.code.as_str()).collect::<Vec<_>>(), ["kind-not-granted"]);
}

fn pod_with(metadata: Value) -> Value {
    let spec = json!({"template": {"metadata": metadata, "spec": {"containers": []}}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop-dev"}, "spec": spec})
}
