//! Nothing lost, nothing doubled on a real API server: killed at every point, and through everything that a network does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use windlass_cluster::{Cluster, Shared};
use windlass_suite::{
    cluster::Scene,
    kills::Kills,
    proxy::{Fault, FaultProxy, Spoken},
};

const WEB: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
service: { ports: { http: { port: 80, targetPort: 8080 } } }
containers: { main: { image: \"web:IMAGE\", variables: { TOKEN: \"${resources.token.value}\" } } }
resources: { token: { type: token } }
";

/// A generated secret without pods of its own: what is tested here is not how many objects there are.
const TOKEN: &str = "---
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: token }
spec: { outputs: { type: object, properties: { value: { type: string, x-windlass-secret: true } } } }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: token }
spec:
  type: token
  driver: { builtin: template }
  grants: [{ import: windlass:secrets/generated }, { import: windlass:kubernetes/objects }]
  inputs: { secrets: { value: {} }, outputs: { value: \"{{ secrets.value }}\" } }
";

const FIRST: &str = "deploy app -e dev --create-env development --yes";
const NEXT: &str = "deploy app -e dev --yes";

fn furnish(scene: Scene) -> Scene {
    let platform = scene.folder.read("platform/connection.yaml") + TOKEN;
    scene.folder.write("platform/connection.yaml", &platform);
    scene.folder.ok("platform apply platform");
    scene.folder.write("app/web.score.yaml", &WEB.replace("IMAGE", "1"));
    scene
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

fn scene(name: &str) -> Scene {
    furnish(Scene::new(&format!("{name}{}", NUMBER.fetch_add(1, Ordering::SeqCst))))
}

fn deployed(name: &str) -> Scene {
    let scene = scene(name);
    scene.folder.ok(FIRST);
    scene
}

fn settled(scene: &Scene, at: &str) {
    let state: serde_json::Value = serde_json::from_str(&scene.folder.ok("env show -e dev -o json").out).unwrap();
    for action in state["actions"].as_array().unwrap() {
        assert_eq!(action["status"], "live", "{at}: {}", action["id"]);
    }
    let drift = scene.folder.run("drift -e dev --detailed-exitcode");
    assert_eq!(drift.code, 0, "{at}: {}{}", drift.out, drift.err);
    let again = scene.folder.ok("plan app -e dev --detailed-exitcode");
    assert_eq!(again.code, 0, "{at}");
    for (object, times) in scene.made() {
        assert_eq!(times, 1, "{at}: {object} was made {times} times");
    }
}

fn settled_as(scene: &Scene, expected: &[String], at: &str) {
    assert_eq!(scene.objects(), expected, "{at}");
    settled(scene, at);
}

/// Kills at every point, several points side by side: each has a namespace of its own.
fn kill_everywhere(name: &str, prepare: impl Fn() -> Scene + Sync, line: &str, then: &str, settled: impl Fn(&Scene, &str) + Sync) {
    let kills = Kills { name, line, then, waits: true, side_by_side: 4 };
    kills.everywhere(
        prepare,
        |scene| &scene.folder,
        Scene::objects,
        |scene, at| {
            settled(scene, at);
            scene.kubectl(&["delete", "namespace", &scene.namespace, "--wait=false", "--ignore-not-found"]).unwrap();
        },
    );
}

#[test]
fn killed_in_the_first_deployment() {
    kill_everywhere("first deployment", || scene("kf"), FIRST, FIRST, settled);
}

#[test]
fn killed_in_the_second_deployment() {
    let prepare = || {
        let scene = deployed("ks");
        scene.folder.write(
            "app/web.score.yaml",
            &WEB.replace("IMAGE", "2").replace("service: { ports: { http: { port: 80, targetPort: 8080 } } }\n", ""),
        );
        scene
    };
    kill_everywhere("second deployment", prepare, NEXT, NEXT, settled);
}

#[test]
fn killed_in_a_rollback() {
    let prepare = || {
        let scene = deployed("kr");
        scene.folder.write("app/web.score.yaml", &WEB.replace("IMAGE", "2"));
        scene.folder.ok(NEXT);
        scene.folder.write("app/web.score.yaml", &WEB.replace("IMAGE", "1"));
        scene
    };
    kill_everywhere("rollback", prepare, "rollback -e dev 1 --yes", NEXT, settled);
}

#[test]
fn killed_while_everything_is_taken_away() {
    let gone = |scene: &Scene, at: &str| {
        assert!(scene.kubectl(&["get", "namespace", &scene.namespace]).is_err(), "{at}: the namespace is left");
    };
    kill_everywhere("destroy", || deployed("kd"), "destroy -e dev --yes", "destroy -e dev --yes", gone);
}

/// A definition that makes so many ConfigMaps.
fn many(count: usize) -> String {
    let manifests: String = (0..count)
        .map(|number| format!("      c{number}: {{ apiVersion: v1, kind: ConfigMap, metadata: {{ name: c{number} }}, data: {{ number: \"{number}\" }} }}\n"))
        .collect();
    format!(
        "---
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: {{ name: many }}
spec: {{}}
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: {{ name: many }}
spec:
  type: many
  driver: {{ builtin: template }}
  grants: [{{ import: windlass:secrets/generated }}, {{ import: windlass:kubernetes/objects, kinds: [v1/ConfigMap] }}]
  inputs:
    manifests:
{manifests}"
    )
}

#[test]
fn hundreds_are_noted_as_they_are_made_and_each_is_made_once() {
    const COUNT: usize = 900;
    let scene = with_many(Scene::new("many"), COUNT);
    let status = |status: &str| {
        let state: serde_json::Value = serde_json::from_str(&scene.folder.ok("env show -e dev -o json").out).unwrap();
        state["actions"].as_array().unwrap().iter().filter(|action| action["status"] == status).count()
    };

    // The first are sent before the intents of the last are written, and none before its own is.
    let killed = scene.folder.run_with(FIRST, &[("WINDLASS_KILL_AT", "200")]);
    assert_eq!(killed.code, -1, "{}", killed.err);
    let (intended, made) = (status("intended") + status("live"), scene.objects().len());
    assert!((1..=intended).contains(&made) && intended < COUNT, "{made} made, {intended} intended");

    // Each passes four points, the last of them when it was answered.
    let killed = scene.folder.run_with("resume -e dev --yes", &[("WINDLASS_KILL_AT", "2400")]);
    assert_eq!(killed.code, -1, "{}", killed.err);
    let (live, made) = (status("live"), scene.objects().len());
    assert!((250..=made).contains(&live), "{live} of {made} that were made are known");
    assert_eq!(status("intended"), COUNT + 1 - live);

    let ran = scene.folder.ok(FIRST);
    assert_eq!(ran.err.matches("✓ done").count(), COUNT + 1 - live, "{}", ran.err);
    assert_eq!(scene.objects().len(), COUNT);
    settled(&scene, "after the kill");

    // Lines of the log stand for many: none is written for each object.
    let events: Vec<serde_json::Value> =
        scene.folder.ok("events -e dev -o json").out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.len() < COUNT / 4, "{} lines", events.len());
    scene.folder.ok("destroy -e dev --yes");
    assert!(scene.objects().is_empty());
}

/// Puts so many objects into a scene.
fn with_many(scene: Scene, count: usize) -> Scene {
    let application = scene.folder.read("app/application.yaml").replace("spec: {}", "spec: { resources: { many: { type: many } } }");
    scene.folder.write("app/application.yaml", &application);
    scene.folder.write("platform/connection.yaml", &(scene.folder.read("platform/connection.yaml") + &many(count)));
    scene.folder.ok("platform apply platform");
    scene
}

/// Leads a scene's connection through a proxy.
fn through(proxy: &FaultProxy, scene: Scene) -> Scene {
    scene.folder.write("proxy.kubeconfig", &proxy.kubeconfig());
    let settings = format!("kubeconfig: {{ file: {} }}", scene.folder.path().join("proxy.kubeconfig").display());
    let platform = scene.folder.read("platform/connection.yaml");
    let (before, after) = platform.split_once("kubeconfig:").unwrap();
    let rest = after.split_once('}').unwrap().1;
    scene.folder.write("platform/connection.yaml", &format!("{before}{settings}{rest}"));
    scene.folder.ok("platform apply platform");
    scene
}

#[test]
fn requests_share_a_connection_where_the_server_speaks_http_2() {
    const COUNT: usize = 60;
    let opened = |spoken: Spoken, name: &str| {
        let proxy = FaultProxy::start(&Shared::find().unwrap().kubeconfig(), spoken, Fault::Slow(0), usize::MAX);
        let scene = through(&proxy, with_many(Scene::new(name), COUNT));
        scene.folder.ok(FIRST);
        assert_eq!(scene.objects().len(), COUNT, "{spoken:?}");
        let opened = proxy.connections();
        scene.folder.ok("destroy -e dev --yes");
        opened
    };
    assert_eq!(opened(Spoken::Http2, "h2"), 1);
    assert!((2..=33).contains(&opened(Spoken::Http1, "h1")), "no more than there may be requests in flight");
}

#[test]
fn watches_that_the_server_has_forgotten_begin_again() {
    let proxy = FaultProxy::start(&Shared::find().unwrap().kubeconfig(), Spoken::Http2, Fault::WatchExpired, 2);
    let scene = through(&proxy, scene("watch"));
    let slow = "metadata: { name: web, annotations: { windlass.test/scene: slow-ready } }";
    scene.folder.write("app/web.score.yaml", &WEB.replace("IMAGE", "1").replace("metadata: { name: web }", slow));
    scene.folder.ok(FIRST);
    let expected = ["deployment.apps/web", "secret/web-secrets", "service/web"].map(str::to_owned);
    settled_as(&scene, &expected, "watches expired");
    assert!(proxy.hits() > 1, "{} watches met 410", proxy.hits());
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn what_networks_and_servers_do_changes_nothing() {
    let faults =
        [Fault::AnswerLost, Fault::Status(429), Fault::Status(500), Fault::Status(503), Fault::Slow(400), Fault::Cut, Fault::Garbage];
    // Side by side: most of it is waiting for the next try.
    std::thread::scope(|threads| {
        for fault in faults {
            threads.spawn(move || meets(Spoken::Http2, fault));
        }
        // What ends a stream there ends a connection here.
        for fault in [Fault::AnswerLost, Fault::Cut] {
            threads.spawn(move || meets(Spoken::Http1, fault));
        }
    });
}

fn meets(spoken: Spoken, fault: Fault) {
    let proxy = FaultProxy::start(&Shared::find().unwrap().kubeconfig(), spoken, fault, 3);
    let scene = through(&proxy, scene("fault"));
    let expected = ["deployment.apps/web", "secret/web-secrets", "service/web"].map(str::to_owned);
    let ran = scene.folder.run(FIRST);
    assert_eq!(ran.code, 0, "{spoken:?} {fault:?}: {}", ran.err);
    settled_as(&scene, &expected, &format!("{spoken:?} {fault:?}"));
    let ran = scene.folder.run("destroy -e dev --yes");
    assert_eq!(ran.code, 0, "{spoken:?} {fault:?}: {}", ran.err);
    assert!(scene.objects().is_empty(), "{spoken:?} {fault:?}");
    assert!(proxy.hits() > 3, "{spoken:?} {fault:?} was met {} times", proxy.hits());
}

#[test]
fn the_server_dies_in_the_middle_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&Shared::find().unwrap().binaries().unwrap(), folder.path()).unwrap();
    let scene = furnish(Scene::on("restart", cluster.shared()));
    scene.folder.write(
        "app/web.score.yaml",
        &WEB.replace("IMAGE", "1")
            .replace("metadata: { name: web }", "metadata: { name: web, annotations: { windlass.test/scene: slow-ready } }"),
    );
    let mut child = scene.folder.spawn(FIRST);
    scene.wait_for(&["get", "secret/web-secrets"]);
    cluster.restart_server(Duration::from_secs(2)).unwrap();
    assert!(child.wait().unwrap().success(), "{}", scene.folder.ok("events -e dev").out);
    let expected = ["deployment.apps/web", "secret/web-secrets", "service/web"].map(str::to_owned);
    settled_as(&scene, &expected, "after a restart of the server");
}
