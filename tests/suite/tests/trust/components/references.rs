//! Names: a driver refers only to objects of its node, to those whose names came in as values, and to those that its grant lists.

use serde_json::{Value, json};
use windlass_suite::binary::{Folder, Ran, application_document};

const SCORE: &str = "apiVersion: score.dev/v1b1
metadata: { name: web }
containers:
  main:
    image: \"x:1\"
    variables: { PASSWORD: \"${resources.db.password}\", PROBE: \"${resources.probe.value}\" }
resources:
  db: { type: postgres }
  probe: { type: probe }
";

/// Plans a `probe` that a template makes: its manifests and outputs, the entries of its grant, and more documents beside it.
fn plan(manifests: &Value, outputs: &Value, grant: &str, more: &str) -> Ran {
    let folder = Folder::new();
    folder.write("app/application.yaml", &application_document("app"));
    folder.write("app/score.yaml", SCORE);
    let inputs = json!({ "manifests": manifests, "outputs": outputs });
    let document = format!(
        "apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: {{ name: probe }}
spec:
  type: probe
  driver: {{ builtin: template }}
  inputs: {inputs}
  grants:
    - {{ import: windlass:kubernetes/objects, {grant} }}
    - {{ import: windlass:secrets/generated }}
{more}"
    );
    folder.write("platform/platform.yaml", &document);
    folder.run("plan app -e dev --create-env development --platform platform -o json")
}

fn refused(ran: &Ran, why: &str, at: &str) {
    assert_ne!(ran.code, 0, "{at}: {}", ran.out);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains(why) && said.contains(at), "{why} {at}: {said}");
}

const POD: &str = "kinds: [apps/v1/Deployment, v1/Secret, v1/ConfigMap]";

fn deployment(pod: &Value) -> Value {
    let mut spec = json!({ "containers": [{ "name": "x", "image": "evil.example/x:1" }] });
    spec.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
    let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": spec });
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "thief" }, "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": template } })
}

#[test]
fn secrets_of_other_nodes_are_refused_by_name() {
    for (pod, at) in [
        (
            json!({ "volumes": [{ "name": "v", "secret": { "secretName": "web-secrets" } }] }),
            "/spec/template/spec/volumes/0/secret/secretName",
        ),
        (
            json!({ "volumes": [{ "name": "v", "projected": { "sources": [{ "secret": { "name": "postgres-web-db" } }] } }] }),
            "/volumes/0/projected/sources/0/secret/name",
        ),
        (json!({ "imagePullSecrets": [{ "name": "web-secrets" }] }), "/imagePullSecrets/0/name"),
        (
            json!({ "containers": [{ "name": "x", "image": "x", "envFrom": [{ "secretRef": { "name": "web-secrets" } }] }] }),
            "/containers/0/envFrom/0/secretRef/name",
        ),
        (
            json!({ "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "postgres-web-db-data" } }] }),
            "/volumes/0/persistentVolumeClaim/claimName",
        ),
        (json!({ "serviceAccountName": "admin" }), "/spec/template/spec/serviceAccountName"),
    ] {
        refused(&plan(&json!({ "thief": deployment(&pod) }), &json!({ "value": "x" }), POD, ""), "is neither of this node", at);
    }
}

#[test]
fn secrets_of_the_node_and_of_the_grant_are_permitted() {
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "own" }, "stringData": { "a": "b" } });
    let own = deployment(&json!({ "volumes": [{ "name": "v", "secret": { "secretName": "own" } }] }));
    let ran = plan(&json!({ "secret": secret, "pod": own }), &json!({ "value": "x" }), POD, "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let listed = deployment(&json!({ "imagePullSecrets": [{ "name": "registry" }], "serviceAccountName": "thief-account" }));
    let grant = format!("{POD}, uses: [Secret/registry, \"ServiceAccount/thief-*\"]");
    let ran = plan(&json!({ "pod": listed }), &json!({ "value": "x" }), &grant, "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let plan: Value = serde_json::from_str(&ran.out).unwrap();
    let flows = plan["secretFlows"].to_string();
    assert!(flows.contains("Secret/registry") && flows.contains("imagePullSecrets"), "{flows}");
}

/// A second resource that makes a Secret, and yields its name or keeps it to itself.
fn maker(outputs: &str) -> String {
    format!(
        "  resources: {{ maker: {{ type: maker }} }}
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: {{ name: maker }}
spec:
  type: maker
  driver: {{ builtin: template }}
  inputs:
    manifests:
      secret: {{ apiVersion: v1, kind: Secret, metadata: {{ name: made }}, stringData: {{ a: b }} }}
    outputs: {outputs}
  grants:
    - {{ import: windlass:kubernetes/objects, kinds: [v1/Secret] }}
    - {{ import: windlass:secrets/generated }}
"
    )
}

#[test]
fn secrets_come_in_as_outputs_of_the_resource_that_makes_them() {
    let thief = |name: &str| json!({ "thief": deployment(&json!({ "volumes": [{ "name": "v", "secret": { "secretName": name } }] })) });
    let value = json!({ "value": "${resources.maker.secret}" });
    let ran = plan(&thief("${resources.maker.secret}"), &value, POD, &maker("{ secret: made }"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let plan_of: Value = serde_json::from_str(&ran.out).unwrap();
    let flows = plan_of["secretFlows"].to_string();
    assert!(flows.contains("object/secret") && flows.contains("/volumes/0/secret/secretName"), "{flows}");
    // A name that the maker does not yield, and one that it yields without making it.
    refused(&plan(&thief("made"), &json!({ "value": "x" }), POD, &maker("{ secret: other }")), "is neither of this node", "secretName");
    refused(&plan(&thief("web-secrets"), &value, POD, &maker("{ secret: web-secrets }")), "is neither of this node", "secretName");
}

#[test]
fn secrets_of_other_kinds_are_refused_by_name() {
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "i" },
        "spec": { "tls": [{ "secretName": "web-secrets" }] },
    });
    let account =
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "a" }, "secrets": [{ "name": "web-secrets" }] });
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": { "name": "g" },
        "spec": { "gatewayClassName": "x", "listeners": [{ "name": "a", "port": 443, "protocol": "HTTPS", "tls": { "certificateRefs": [{ "name": "web-secrets" }] } }] },
    });
    let widget = json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "w" }, "spec": { "auth": { "passwordSecretRef": { "name": "web-secrets" } } } });
    for (manifest, kind) in [
        (ingress, "networking.k8s.io/v1/Ingress"),
        (account, "v1/ServiceAccount"),
        (gateway, "gateway.networking.k8s.io/v1/Gateway"),
        (widget, "{ apiVersion: example.com/v1, kind: Widget, plural: widgets, scope: Namespaced }"),
    ] {
        refused(
            &plan(&json!({ "m": manifest }), &json!({ "value": "x" }), &format!("kinds: [{kind}]"), ""),
            "is neither of this node",
            "web-secrets",
        );
    }
}

#[test]
fn hosts_are_those_of_the_environment_or_of_the_grant() {
    let ingress = |host: &str| json!({ "i": { "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "i" }, "spec": { "rules": [{ "host": host }] } } });
    let kinds = "kinds: [networking.k8s.io/v1/Ingress]";
    let value = json!({ "value": "x" });
    refused(&plan(&ingress("shop.example.com"), &value, kinds, ""), "is not of a `dns` resource", "shop.example.com");
    refused(&plan(&ingress(""), &value, kinds, ""), "every host name", "/spec/rules/0");
    let listed = plan(&ingress("shop.example.com"), &value, &format!("{kinds}, hosts: [\"*.example.com\"]"), "");
    assert_eq!(listed.code, 0, "{}", listed.err);
    let dns = "  resources: { name: { type: dns } }\n";
    let own = plan(&ingress("${resources.name.host}"), &value, kinds, dns);
    assert_eq!(own.code, 0, "{}", own.err);
    let beneath = plan(&ingress("api.${resources.name.host}"), &value, kinds, dns);
    assert_eq!(beneath.code, 0, "{}", beneath.err);
    refused(&plan(&ingress("shop.example.com"), &value, kinds, dns), "is not of a `dns` resource", "shop.example.com");
}

/// A deployment whose pods carry labels, and nothing of which refers to another object.
fn labelled(labels: &Value) -> Value {
    let mut manifest = deployment(&json!({}));
    let own = json!({ "a": "b" });
    for (at, more) in [("/spec/template/metadata/labels", labels), ("/spec/selector/matchLabels", &own)] {
        manifest.pointer_mut(at).unwrap().as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    manifest
}

#[test]
fn pods_do_not_answer_for_another_node() {
    for (label, value, why) in [
        ("workload", "web", "`windlass.dev/workload` belongs to the objects of workloads"),
        ("application", "other", "`windlass.dev/application` may only be `app` here"),
        ("environment", "production", "`windlass.dev/environment` may only be `dev` here"),
        ("owner", "app/dev", "`windlass.dev/owner` is written by the host alone"),
    ] {
        let thief = labelled(&json!({ format!("windlass.dev/{label}"): value }));
        let ran = plan(&json!({ "thief": thief }), &json!({ "value": "x" }), POD, "");
        refused(&ran, why, &format!("/spec/template/metadata/labels/windlass.dev~1{label}"));
    }
    // The Service of the database selects by this one.
    let thief = labelled(
        &json!({ "windlass.dev/application": "app", "windlass.dev/environment": "dev", "windlass.dev/resource": "postgres-web-db" }),
    );
    let ran = plan(&json!({ "thief": thief }), &json!({ "value": "x" }), POD, "");
    refused(&ran, "is claimed twice", "windlass.dev/resource=postgres-web-db in app-dev");
    let own = labelled(
        &json!({ "windlass.dev/application": "app", "windlass.dev/environment": "dev", "windlass.dev/resource": "probe-web-probe" }),
    );
    let ran = plan(&json!({ "own": own }), &json!({ "value": "x" }), POD, "");
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}

#[test]
fn controllers_do_not_write_the_secret_of_another_node() {
    let certificate = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": { "name": "c" },
        "spec": { "secretName": "postgres-web-db", "dnsNames": ["x.example"], "issuerRef": { "name": "i" } },
    });
    let grant =
        "hosts: [x.example], kinds: [{ apiVersion: cert-manager.io/v1, kind: Certificate, plural: certificates, scope: Namespaced }]";
    let ran = plan(&json!({ "c": certificate }), &json!({ "value": "x" }), grant, "");
    refused(&ran, "is claimed twice", "`Secret/app-dev/postgres-web-db`");
    let mut own = certificate.clone();
    own["spec"]["secretName"] = json!("probe-tls");
    let ran = plan(&json!({ "c": own }), &json!({ "value": "x" }), grant, "");
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}
