//! Stages of a pipeline: each answers with its own grant for the objects that it adds, changes or removes.

use serde_json::{Value, json};
use windlass_suite::binary::{Folder, Ran, application_document, components};

const KINDS: &str = "apps/v1/Deployment, apps/v1/StatefulSet, batch/v1/Job, batch/v1/CronJob, v1/Service, v1/ConfigMap, v1/Secret";

/// A stage of a third party with its inputs and the entries of its grant; no grant at all where these are empty.
struct ThirdParty {
    inputs: Value,
    grant: &'static str,
}

/// Plans a workload whose profile renders it, lets a third party's stage edit it, and appends a stage with far-reaching rights.
fn plan(stage: &ThirdParty, rendering: &str, workload: &str) -> Ran {
    let folder = Folder::new();
    folder.write("app/application.yaml", &application_document("app"));
    folder.write("app/score.yaml", workload);
    folder.write("platform/x", "");
    std::fs::copy(components().join("guests/stage-edit.wasm"), folder.path().join("platform/stage.wasm")).unwrap();
    std::fs::copy(components().join("example-team-labels.wasm"), folder.path().join("platform/labels.wasm")).unwrap();
    let grants = match stage.grant {
        "" => "[]".to_owned(),
        entries => format!("[{{ import: windlass:kubernetes/objects, {entries} }}]"),
    };
    let document = format!(
        "apiVersion: windlass.dev/v1alpha1
kind: WorkloadProfile
metadata: {{ name: pipeline }}
spec:
  stages:
    - {{ name: render, driver: {{ builtin: workload-default }}, grants: [{{ import: windlass:kubernetes/objects, {rendering} }}] }}
    - {{ name: third-party, driver: {{ file: stage.wasm }}, inputs: {inputs}, grants: {grants} }}
---
apiVersion: windlass.dev/v1alpha1
kind: EnvironmentType
metadata: {{ name: development }}
spec:
  dataLoss: allow
  workloadStages:
    - name: platform
      driver: {{ file: labels.wasm }}
      inputs: {{ labels: {{}} }}
      grants:
        - import: windlass:kubernetes/objects
          kinds: [{KINDS}, v1/Pod, rbac.authorization.k8s.io/v1/RoleBinding]
          allow: [privilegedPods, rbac, scheduling, volumes, otherFields]
          metadata: [\"*\"]
          uses: [\"Secret/*\", \"ServiceAccount/*\"]
---
apiVersion: windlass.dev/v1alpha1
kind: Connection
metadata: {{ name: here }}
spec: {{ capability: directory, directory: {{ path: here }}, match: [{{ environment: dev }}] }}
---
apiVersion: windlass.dev/v1alpha1
kind: Connection
metadata: {{ name: elsewhere }}
spec: {{ capability: directory, directory: {{ path: elsewhere }}, match: [{{ environmentType: development }}] }}
",
        inputs = stage.inputs
    );
    folder.write("platform/platform.yaml", &document);
    folder.run("plan app -e dev --create-env development --platform platform -o json")
}

const WEB: &str =
    "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"x:1\", files: { /etc/a: { content: a } } } }\n";

fn rendering() -> String {
    format!("kinds: [{KINDS}]")
}

fn refused(stage: &ThirdParty, wanted: &str) {
    let ran = plan(stage, &rendering(), WEB);
    assert_ne!(ran.code, 0, "{}", ran.out);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("third-party") && said.contains(wanted), "{wanted}: {said}");
}

fn planned(stage: &ThirdParty) -> Value {
    let ran = plan(stage, &rendering(), WEB);
    assert_eq!(ran.code, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

fn binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "evil" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" }, "subjects": [],
    })
}

#[test]
fn a_stage_adds_with_its_own_grant() {
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "evil" }, "spec": { "hostPID": true, "containers": [] } });
    refused(&ThirdParty { inputs: json!({ "add": [pod.clone()] }), grant: "" }, "is not granted");
    refused(&ThirdParty { inputs: json!({ "add": [binding()] }), grant: "" }, "a RoleBinding may not be staged");
    refused(&ThirdParty { inputs: json!({ "add": [pod] }), grant: "kinds: [v1/Pod]" }, "may not share the host's namespaces");
    let config = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "extra" } });
    refused(&ThirdParty { inputs: json!({ "add": [config.clone()] }), grant: "" }, "is not granted");
    let plan = planned(&ThirdParty { inputs: json!({ "add": [config] }), grant: "kinds: [v1/ConfigMap]" });
    assert!(plan.to_string().contains("configmap.extra"));
}

#[test]
fn a_stage_changes_with_its_own_grant() {
    let spec = |fields: Value| json!({ "merge": { "Deployment": { "spec": { "template": fields } } } });
    let replicas = json!({ "merge": { "Deployment": { "spec": { "replicas": 7 } } } });
    refused(&ThirdParty { inputs: replicas.clone(), grant: "" }, "is not granted");
    for (fields, why) in [
        (json!({ "spec": { "hostNetwork": true } }), "may not share the host's namespaces"),
        (json!({ "spec": { "nodeName": "control-plane-1" } }), "may not choose its node"),
        (
            json!({ "metadata": { "annotations": { "vault.hashicorp.com/role": "production" } } }),
            "does not list `vault.hashicorp.com/role`",
        ),
        (json!({ "spec": { "serviceAccountName": "admin" } }), "the ServiceAccount `admin`"),
    ] {
        let stage = ThirdParty { inputs: spec(fields), grant: "kinds: [apps/v1/Deployment]" };
        let ran = plan(&stage, &rendering(), WEB);
        assert_ne!(ran.code, 0, "{why}: {}", ran.out);
        assert!(format!("{}{}", ran.out, ran.err).contains(why), "{why}: {}", ran.err);
    }
    let plan = planned(&ThirdParty { inputs: replicas, grant: "kinds: [apps/v1/Deployment]" });
    assert!(plan.to_string().contains("\"replicas\":7"));
}

#[test]
fn a_stage_removes_with_its_own_grant() {
    refused(&ThirdParty { inputs: json!({ "drop": "ConfigMap" }), grant: "kinds: [apps/v1/Deployment]" }, "is not granted");
    let plan = planned(&ThirdParty { inputs: json!({ "drop": "ConfigMap" }), grant: "kinds: [v1/ConfigMap]" });
    assert!(!plan.to_string().contains("object/configmap."));
}

#[test]
fn a_stage_may_leave_everything_without_a_grant() {
    let plan = planned(&ThirdParty { inputs: json!({}), grant: "" });
    assert!(plan.to_string().contains("object/deployment.web"));
}

#[test]
fn a_stage_keeps_what_an_earlier_one_was_granted() {
    let workload = WEB.replace("metadata: { name: web }", "metadata: { name: web, annotations: { example.com/team: a } }");
    let stage =
        ThirdParty { inputs: json!({ "merge": { "Deployment": { "spec": { "replicas": 2 } } } }), grant: "kinds: [apps/v1/Deployment]" };
    let ran = plan(&stage, &format!("{}, metadata: [example.com/]", rendering()), &workload);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("example.com/team"), "{}", ran.out);
}

#[test]
fn a_stage_may_not_carry_objects_to_another_connection() {
    let patch = json!({ "merge": { "Deployment": { "spec": { "replicas": 2 } } } });
    let stage = ThirdParty { inputs: patch, grant: "kinds: [apps/v1/Deployment], connection: elsewhere" };
    refused(&stage, "through the connection `here`");
}

#[test]
fn manifests_of_one_stage_are_limited() {
    let limit = windlass_model::limits::ACTIONS_MAX as u64;
    let copies = |count: u64| ThirdParty { inputs: json!({ "copies": count }), grant: "kinds: [v1/ConfigMap]" };
    // Deployment and ConfigMap of the rendering stage count, too.
    let ran = plan(&copies(limit - 2), &rendering(), WEB);
    assert_eq!(ran.code, 0, "{}", ran.err);
    refused_by_limit(&plan(&copies(limit - 1), &rendering(), WEB));
}

fn refused_by_limit(ran: &Ran) {
    assert_ne!(ran.code, 0);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("manifests and actions of one stage"), "{}", &said[..said.len().min(2_000)]);
}
