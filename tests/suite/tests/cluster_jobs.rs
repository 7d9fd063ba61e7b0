//! Jobs on a cluster: they are waited for, their failures are told, and what completed is done.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use serde_json::Value;
use windlass_suite::cluster::Scene;

/// A workload that runs to its end, as its scene plays it.
fn job(scene: &str, more: &str) -> String {
    let annotations = format!(
        "k8s.score.dev/kind: Job{}{more}",
        if scene.is_empty() { String::new() } else { format!(", windlass.test/scene: {scene}") }
    );
    format!(
        "apiVersion: score.dev/v1b1\nmetadata: {{ name: migrate, annotations: {{ {annotations} }} }}\ncontainers: {{ main: {{ image: \"migrate:1\" }} }}\n"
    )
}

/// Returns the Jobs of the scene's namespace.
fn jobs(scene: &Scene) -> Vec<Value> {
    let listed = scene.kubectl(&["-n", &scene.namespace, "get", "jobs", "-o", "json"]).unwrap();
    serde_json::from_str::<Value>(&listed).unwrap()["items"].as_array().unwrap().clone()
}

fn has_condition(job: &Value, kind: &str) -> bool {
    job["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|found| found["type"] == kind && found["status"] == "True"))
}

#[test]
fn a_job_is_waited_for_until_it_completes() {
    let scene = Scene::new("jobdone");
    scene.folder.write("app/migrate.score.yaml", &job("slow-ready", ""));
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    assert!(has_condition(&jobs(&scene)[0], "Complete"), "{}", jobs(&scene)[0]);
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn a_failed_job_fails_the_deployment_and_runs_again_with_the_next() {
    let scene = Scene::new("jobfailed");
    scene.folder.write("app/migrate.score.yaml", &job("crash-loop", ""));
    for _ in 0..2 {
        let failed = scene.folder.run("deploy app -e dev --create-env development --yes");
        assert_eq!(failed.code, 1, "{}", failed.err);
        assert!(failed.err.contains("BackoffLimitExceeded") && failed.err.contains("pod `migrate-"), "{}", failed.err);
        assert!(failed.err.contains("exit code 3"), "{}", failed.err);
        assert!(failed.err.contains("panic: no route to db.internal"), "the last lines of its log are told: {}", failed.err);
    }
    assert_eq!(scene.made().iter().filter(|(object, _)| object.starts_with("jobs/")).map(|(_, times)| *times).sum::<usize>(), 2);
    assert!(scene.folder.ok("status -e dev").out.contains("failed"));
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn a_job_that_never_ends_is_named_until_the_time_is_up() {
    let scene = Scene::new("jobslow");
    scene.folder.write("app/migrate.score.yaml", &job("never-ready", ""));
    let late = scene.folder.run("deploy app -e dev --create-env development --yes --timeout 5s");
    assert_eq!(late.code, 4, "{}", late.err);
    assert!(late.err.contains("0 of 1 pods completed"), "{}", late.err);
    // Its start may be enough.
    scene.folder.write("app/migrate.score.yaml", &job("never-ready", ", windlass.dev/wait-for: started"));
    scene.folder.ok("deploy app -e dev --yes");
    scene.folder.write("app/migrate.score.yaml", &job("never-ready", ", windlass.dev/wait-for: whenever"));
    let refused = scene.folder.run("plan app -e dev");
    assert!(refused.err.contains("`windlass.dev/wait-for` is `completion` or `started`"), "{}", refused.err);
    scene.folder.ok("destroy -e dev --yes");
}

/// A Job that the cluster deletes as soon as it has ended.
const SHORT_LIVED: &str = "---
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: seed }
spec: {}
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: seed }
spec:
  type: seed
  driver: { builtin: template }
  grants: [{ import: windlass:kubernetes/objects, kinds: [batch/v1/Job] }, { import: windlass:secrets/generated }]
  inputs:
    manifests:
      job:
        apiVersion: batch/v1
        kind: Job
        metadata: { name: seed }
        spec:
          ttlSecondsAfterFinished: 1
          template:
            spec:
              restartPolicy: Never
              securityContext: { runAsNonRoot: true, runAsUser: 1, seccompProfile: { type: RuntimeDefault } }
              containers: [{ name: main, image: \"seed:1\", securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } } }]
";

#[test]
fn a_job_that_completed_is_done_when_the_cluster_has_deleted_it() {
    let scene = Scene::new("jobttl");
    scene.folder.write("platform/connection.yaml", &(scene.folder.read("platform/connection.yaml") + SHORT_LIVED));
    scene.folder.ok("platform apply platform");
    scene.folder.write(
        "app/web.score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"web:1\" } }\nresources: { seed: { type: seed } }\n",
    );
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    scene.wait_for(&["wait", "--for=delete", "job/seed", "--timeout=20s"]);
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0);
    let again = scene.folder.ok("deploy app -e dev --yes");
    assert!(again.err.contains("nothing was written"), "{}", again.err);
    assert_eq!(scene.made().get("jobs/seed"), Some(&1));
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn a_job_runs_again_when_what_it_reads_changes() {
    let scene = Scene::new("jobreads");
    let migrate = |sql: &str| {
        job("slow-ready", "").replace(
            "image: \"migrate:1\"",
            &format!(
                "image: \"migrate:1\", files: {{ /sql: {{ content: {sql} }} }}, variables: {{ KEY: \"${{resources.env.API_KEY}}\" }} }} }}\nresources: {{ env: {{ type: environment"
            ),
        )
    };
    let deploy = |sql: &str| {
        scene.folder.write("app/migrate.score.yaml", &migrate(sql));
        scene.folder.ok("deploy app -e dev --yes");
        let job = jobs(&scene).pop().unwrap();
        (job["metadata"]["name"].clone(), job["metadata"]["uid"].clone())
    };
    scene.folder.ok("env create dev --type development");
    assert_eq!(scene.folder.pipe("secret set API_KEY -e dev", "k-1").code, 0);
    let first = deploy("one");
    assert_eq!(deploy("one"), first);
    let other_file = deploy("two");
    assert_ne!(other_file.1, first.1, "another file, another Job");
    assert_eq!(scene.folder.pipe("secret set API_KEY -e dev", "k-2").code, 0);
    let plan = scene.folder.ok("plan app -e dev").out;
    assert!(plan.contains("batch/Job/") && plan.contains("`/spec/template` of a Job can't be changed"), "{plan}");
    assert_ne!(deploy("two").1, other_file.1, "another secret, another Job");
    assert_eq!(jobs(&scene).len(), 1);
    scene.folder.ok("destroy -e dev --yes");
}
