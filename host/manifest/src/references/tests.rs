//! Rows of what counts as a reference, and of what does not.

use serde_json::{Value, json};

use super::*;

fn found(api_version: &str, kind: &str, more: &Value) -> Vec<String> {
    let mut manifest = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "x", "namespace": "shop-dev" } });
    manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let name = |reference: &Reference| match &reference.name {
        ReferenceName::Text(name) => name.clone(),
        ReferenceName::Sealed(sealed) => format!("<{}>", sealed.label()),
    };
    references(&manifest)
        .iter()
        .map(|reference| {
            format!(
                "{} {}/{} {}",
                reference.kind.as_str(),
                reference.namespace.as_deref().unwrap_or("-"),
                name(reference),
                reference.pointer
            )
        })
        .collect()
}

#[test]
fn secrets_are_seen_wherever_a_pod_names_them() {
    for (more, at) in [
        (
            json!({ "volumes": [{ "name": "a", "secret": { "secretName": "s", "items": [{ "key": "k", "path": "p" }] } }] }),
            "/volumes/0/secret/secretName",
        ),
        (
            json!({ "volumes": [{ "name": "a", "projected": { "sources": [{ "secret": { "name": "s" } }] } }] }),
            "/volumes/0/projected/sources/0/secret/name",
        ),
        (
            json!({ "volumes": [{ "name": "a", "csi": { "nodePublishSecretRef": { "name": "s" } } }] }),
            "/volumes/0/csi/nodePublishSecretRef/name",
        ),
        (json!({ "volumes": [{ "name": "a", "azureFile": { "secretName": "s" } }] }), "/volumes/0/azureFile/secretName"),
        (json!({ "imagePullSecrets": [{ "name": "s" }] }), "/imagePullSecrets/0/name"),
        (json!({ "containers": [{ "envFrom": [{ "secretRef": { "name": "s" } }] }] }), "/containers/0/envFrom/0/secretRef/name"),
        (
            json!({ "initContainers": [{ "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }] }] }),
            "/initContainers/0/env/0/valueFrom/secretKeyRef/name",
        ),
    ] {
        let cron = json!({ "spec": { "jobTemplate": { "spec": { "template": { "spec": more } } } } });
        assert_eq!(found("batch/v1", "CronJob", &cron), [format!("Secret shop-dev/s /spec/jobTemplate/spec/template/spec{at}")]);
        assert_eq!(found("v1", "Pod", &json!({ "spec": more })), [format!("Secret shop-dev/s /spec{at}")]);
    }
}

#[test]
fn claims_and_accounts_are_seen() {
    let pod =
        json!({ "spec": { "serviceAccountName": "admin", "volumes": [{ "name": "a", "persistentVolumeClaim": { "claimName": "c" } }] } });
    assert_eq!(
        found("v1", "Pod", &pod),
        [
            "ServiceAccount shop-dev/admin /spec/serviceAccountName",
            "PersistentVolumeClaim shop-dev/c /spec/volumes/0/persistentVolumeClaim/claimName"
        ]
    );
    assert!(found("v1", "Pod", &json!({ "spec": { "serviceAccountName": "default", "serviceAccount": "" } })).is_empty());
}

#[test]
fn secrets_of_other_kinds_are_seen() {
    for (api, kind, more, at) in [
        ("v1", "ServiceAccount", json!({ "secrets": [{ "name": "s" }] }), "/secrets/0/name"),
        ("v1", "ServiceAccount", json!({ "imagePullSecrets": [{ "name": "s" }] }), "/imagePullSecrets/0/name"),
        ("networking.k8s.io/v1", "Ingress", json!({ "spec": { "tls": [{ "secretName": "s" }] } }), "/spec/tls/0/secretName"),
        (
            "gateway.networking.k8s.io/v1",
            "Gateway",
            json!({ "spec": { "listeners": [{ "tls": { "certificateRefs": [{ "name": "s" }] } }] } }),
            "/spec/listeners/0/tls/certificateRefs/0/name",
        ),
        (
            "example.com/v1",
            "Widget",
            json!({ "spec": { "auth": { "passwordSecretRef": { "name": "s", "key": "k" } } } }),
            "/spec/auth/passwordSecretRef/name",
        ),
        ("example.com/v1", "Widget", json!({ "spec": { "target": { "kind": "Secret", "name": "s" } } }), "/spec/target/name"),
        (
            "dapr.io/v1alpha1",
            "Component",
            json!({ "spec": { "metadata": [{ "name": "p", "secretKeyRef": { "name": "s", "key": "k" } }] } }),
            "/spec/metadata/0/secretKeyRef/name",
        ),
        (
            "networking.istio.io/v1",
            "DestinationRule",
            json!({ "spec": { "trafficPolicy": { "tls": { "credentialName": "s" } } } }),
            "/spec/trafficPolicy/tls/credentialName",
        ),
        (
            "external-secrets.io/v1",
            "PushSecret",
            json!({ "spec": { "selector": { "secret": { "name": "s" } } } }),
            "/spec/selector/secret/name",
        ),
    ] {
        assert_eq!(found(api, kind, &more), [format!("Secret shop-dev/s {at}")], "{kind}");
    }
}

#[test]
fn what_only_looks_like_a_reference_is_none() {
    for (api, kind, more) in [
        ("v1", "ConfigMap", json!({ "data": { "secretName": "s" } })),
        ("v1", "Secret", json!({ "stringData": { "secret": "s" } })),
        ("v1", "ResourceQuota", json!({ "spec": { "hard": { "secrets": "10" } } })),
        (
            "v1",
            "Pod",
            json!({ "spec": { "nodeSelector": { "my-secret": "x" }, "containers": [{ "name": "secret", "env": [{ "name": "A_SECRET", "value": "x" }] }] } }),
        ),
        (
            "external-secrets.io/v1",
            "ExternalSecret",
            json!({ "spec": { "secretStoreRef": { "name": "vault" }, "target": { "name": "own" }, "data": [{ "secretKey": "password", "remoteRef": { "key": "x" } }] } }),
        ),
        (
            "cert-manager.io/v1",
            "Certificate",
            json!({ "spec": { "secretName": "own", "issuerRef": { "name": "i", "kind": "ClusterIssuer" } } }),
        ),
    ] {
        assert!(found(api, kind, &more).is_empty(), "{kind}: {:?}", found(api, kind, &more));
    }
}

#[test]
fn names_of_other_namespaces_are_foreign() {
    let api = "gateway.networking.k8s.io/v1";
    let route = json!({ "spec": {
        "hostnames": ["a.b"], "parentRefs": [{ "name": "public", "namespace": "infra" }, { "name": "own", "namespace": "shop-dev" }],
        "rules": [{ "backendRefs": [{ "name": "web", "namespace": "other" }], "filters": [{ "requestMirror": { "backendRef": { "name": "m", "namespace": "other" } } }] }],
    } });
    assert_eq!(
        found(api, "HTTPRoute", &route),
        [
            "Gateway infra/public /spec/parentRefs/0/name",
            "Service other/web /spec/rules/0/backendRefs/0/name",
            "Service other/m /spec/rules/0/filters/0/requestMirror/backendRef/name",
            "host name shop-dev/a.b /spec/hostnames/0",
        ]
    );
    let gateway = json!({ "spec": { "listeners": [{ "tls": { "certificateRefs": [{ "name": "s", "namespace": "kube-system" }] } }] } });
    assert_eq!(found(api, "Gateway", &gateway), ["Secret kube-system/s /spec/listeners/0/tls/certificateRefs/0/name"]);
}

#[test]
fn hosts_are_claimed_by_routes_and_by_their_absence() {
    let (ingress, route) = (("networking.k8s.io/v1", "Ingress"), ("gateway.networking.k8s.io/v1", "HTTPRoute"));
    let host = |(api, kind): (&str, &str), more: Value| found(api, kind, &more);
    assert_eq!(
        host(ingress, json!({ "spec": { "rules": [{ "host": "a.b" }, {}] } })),
        ["host name shop-dev/a.b /spec/rules/0/host", "host name shop-dev/* /spec/rules/1"]
    );
    assert_eq!(host(ingress, json!({ "spec": { "defaultBackend": {} } })), ["host name shop-dev/* /spec/defaultBackend"]);
    assert_eq!(host(ingress, json!({ "spec": { "tls": [{ "hosts": ["a.b"] }] } })), ["host name shop-dev/a.b /spec/tls/0/hosts/0"]);
    assert_eq!(host(route, json!({ "spec": {} })), ["host name shop-dev/* /spec"]);
    let certificate = ("cert-manager.io/v1", "Certificate");
    assert_eq!(host(certificate, json!({ "spec": { "dnsNames": ["a.b", "local"] } })), ["host name shop-dev/a.b /spec/dnsNames/0"]);
    assert!(host(("gateway.networking.k8s.io/v1", "Gateway"), json!({ "spec": { "listeners": [{ "name": "http" }] } })).is_empty());
}

#[test]
fn controllers_make_secrets() {
    let made = |api: &str, kind: &str, spec: Value| {
        yields(&json!({ "apiVersion": api, "kind": kind, "metadata": { "name": "x", "namespace": "n" }, "spec": spec }))
    };
    assert_eq!(made("cert-manager.io/v1", "Certificate", json!({ "secretName": "s" })), ["/Secret/n/s"]);
    assert_eq!(made("external-secrets.io/v1", "ExternalSecret", json!({})), ["/Secret/n/x"]);
    assert!(made("cert-manager.io/v1", "Certificate", json!({})).is_empty());
    assert!(made("other.io/v1", "Certificate", json!({ "secretName": "s" })).is_empty());
}

#[test]
fn rules_of_traefik_claim_the_hosts_that_they_name() {
    for (rule, claimed) in [
        ("Host(`a.example.com`)", &["a.example.com"][..]),
        ("Host(`a.example.com`, `b.example.com`) && PathPrefix(`/x`)", &["a.example.com", "b.example.com"]),
        ("PathPrefix(`/x`) && HostSNI(`*`)", &["*"]),
        ("Host(`a.example.com`) || Host(`b.example.com`)", &["*"]),
        ("!Host(`a.example.com`)", &["*"]),
        ("HostRegexp(`.+`)", &["*"]),
        ("PathPrefix(`/`)", &["*"]),
        ("(Host(`a.example.com`))", &["*"]),
    ] {
        let manifest = json!({
            "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "metadata": { "name": "r", "namespace": "n" },
            "spec": { "routes": [{ "kind": "Rule", "match": rule, "services": [] }] },
        });
        let hosts: Vec<String> = references(&manifest)
            .into_iter()
            .filter(|reference| reference.kind == ReferenceKind::Host)
            .filter_map(|reference| if let ReferenceName::Text(name) = reference.name { Some(name) } else { None })
            .collect();
        assert_eq!(hosts, claimed, "{rule}");
    }
}
