//! The manifest policy: what ordinary workloads need passes, everything else needs an exception, whoever wrote it.

use windlass_suite::binary::{Folder, application_document};

const SCORE: &str = "apiVersion: score.dev/v1b1
metadata:
  name: web
  annotations:
    k8s.score.dev/kind: Deployment
    team: storefront
    container.apparmor.security.beta.kubernetes.io/main: unconfined
    iam.amazonaws.com/role: arn:aws:iam::1:role/admin
    vault.hashicorp.com/role: production
    windlass.dev/mark: forged
containers: { main: { image: \"x:1\" } }
";

fn application() -> Folder {
    let folder = Folder::new();
    folder.write("app/application.yaml", &application_document("app"));
    folder.write("app/score.yaml", SCORE);
    folder
}

#[test]
fn annotations_of_developers_give_no_rights() {
    let folder = application();
    let ran = folder.ok("plan app -e dev --create-env development -o json");
    let plan: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let stages = plan["stages"].to_string();
    for key in ["apparmor", "iam.amazonaws.com", "vault.hashicorp.com", "windlass.dev/mark"] {
        assert!(!stages.contains(key), "{key}: {stages}");
        assert!(plan["warnings"].to_string().contains(key), "{key}: {}", plan["warnings"]);
    }
    assert!(stages.contains("\"team\":\"storefront\""), "{stages}");
}

#[test]
fn a_profile_passes_on_the_annotations_that_it_lists() {
    let folder = application();
    folder.write(
        "platform/profile.yaml",
        "apiVersion: windlass.dev/v1alpha1
kind: WorkloadProfile
metadata: { name: vault }
spec:
  stages:
    - name: render
      driver: { builtin: workload-default }
      grants: [{ import: windlass:kubernetes/objects, kinds: [apps/v1/Deployment], metadata: [vault.hashicorp.com/] }]
",
    );
    let ran = folder.ok("plan app -e dev --create-env development --platform platform -o json");
    let plan: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let stages = plan["stages"].to_string();
    assert!(stages.contains("vault.hashicorp.com/role") && !stages.contains("iam.amazonaws.com"), "{stages}");
}

#[test]
fn a_profile_grants_no_kind_that_it_does_not_list() {
    let folder = application();
    folder.write(
        "platform/profile.yaml",
        "apiVersion: windlass.dev/v1alpha1
kind: WorkloadProfile
metadata: { name: none }
spec: { stages: [{ name: render, driver: { builtin: workload-default } }] }
",
    );
    let ran = folder.run("plan app -e dev --create-env development --platform platform");
    assert_ne!(ran.code, 0, "{}", ran.out);
    assert!(ran.err.contains("apps/v1/Deployment") && ran.err.contains("kinds"), "{}", ran.err);
}
