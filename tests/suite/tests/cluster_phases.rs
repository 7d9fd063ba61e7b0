//! What becomes of objects on a cluster beside deployments: their version is served no longer, they are being deleted.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure here is the test's")]

use windlass_cluster::Shared;
use windlass_suite::cluster::Scene;

/// A resource of these manifests, in an application of one workload.
fn with_manifests(scene: &Scene, kinds: &str, allow: &str, manifests: &str) {
    let definition = format!(
        "---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: {{ name: raw }}\nspec: {{}}\n---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: raw }}\nspec:\n  type: raw\n  driver: {{ builtin: template }}\n  grants: [{{ import: windlass:kubernetes/objects, kinds: [{kinds}], allow: [{allow}] }}, {{ import: windlass:secrets/generated }}]\n  inputs: {{ manifests: {manifests} }}\n"
    );
    scene.folder.write("platform/connection.yaml", &(scene.folder.read("platform/connection.yaml") + &definition));
    scene.folder.ok("platform apply platform");
    scene.folder.write(
        "app/web.score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"web:1\" } }\nresources: { r: { type: raw } }\n",
    );
}

/// A definition of Gizmos that serves some of its versions.
fn serve(group: &str, scope: &str, served: [bool; 2]) {
    let version = |name: &str, served: bool| {
        format!(
            "{{ name: {name}, served: {served}, storage: {}, schema: {{ openAPIV3Schema: {{ type: object, x-kubernetes-preserve-unknown-fields: true }} }} }}",
            name == "v1"
        )
    };
    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{ name: gizmos.{group} }}\nspec:\n  group: {group}\n  scope: {scope}\n  names: {{ kind: Gizmo, plural: gizmos, singular: gizmo }}\n  versions: [{}, {}]\n",
        version("v1alpha1", served[0]),
        version("v1", served[1]),
    );
    let shared = Shared::find().unwrap();
    shared.kubectl(&["apply", "-f", "-"], Some(&definition)).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    for (name, served) in [("v1alpha1", served[0]), ("v1", served[1])] {
        // Paths come and go a moment after the definition.
        while shared.kubectl(&["get", "--raw", &format!("/apis/{group}/{name}/gizmos")], None).is_ok() != served {
            assert!(std::time::Instant::now() < until, "{group}/{name}");
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
}

#[test]
fn objects_whose_version_is_served_no_longer_are_never_gone() {
    for scope in ["Namespaced", "Cluster"] {
        let scene = Scene::new(&format!("unserved{}", scope.to_lowercase()));
        let group = format!("{}.windlass.test", scene.application);
        serve(&group, scope, [true, true]);
        with_manifests(
            &scene,
            &format!("{{ apiVersion: {group}/v1alpha1, kind: Gizmo, plural: gizmos, scope: {scope} }}"),
            if scope == "Cluster" { "clusterScoped" } else { "" },
            &format!(
                "{{ gizmo: {{ apiVersion: {group}/v1alpha1, kind: Gizmo, metadata: {{ name: {}-g }}, spec: {{ size: 1 }} }} }}",
                scene.application
            ),
        );
        let allowed = scene.folder.run("deploy app -e dev --create-env development --yes");
        assert_eq!(allowed.code, 0, "{}", allowed.err);
        let gizmo = format!("gizmos.{group}/{}-g", scene.application);

        // Another version of it is served: it is the same object.
        serve(&group, scope, [false, true]);
        let same = scene.folder.run("drift -e dev --detailed-exitcode");
        assert_eq!(same.code, 0, "{}{}", same.out, same.err);

        // None is: it can't be looked at, and everything else can.
        serve(&group, scope, [false, false]);
        scene.kubectl(&["-n", &scene.namespace, "delete", "deployment", "web"]).unwrap();
        let unseen = scene.folder.run("drift -e dev");
        assert_eq!(unseen.code, 1, "{}{}", unseen.out, unseen.err);
        assert!(unseen.out.contains("unseen") && unseen.out.contains("serves no version of it"), "{}", unseen.out);
        assert!(unseen.out.contains(&format!("gone     apps/Deployment/{}/web", scene.namespace)), "{}", unseen.out);
        let stays = scene.folder.run("destroy -e dev --yes");
        assert_eq!(stays.code, 1, "{}", stays.err);
        assert!(stays.err.contains("can't be deleted") && stays.err.contains("serves no version of it"), "{}", stays.err);

        serve(&group, scope, [false, true]);
        scene.folder.ok("destroy -e dev --yes");
        assert!(scene.kubectl(&["-n", &scene.namespace, "get", &gizmo]).is_err(), "{scope}");
        scene.wait_for_gone();
        scene.kubectl(&["delete", "crd", &format!("gizmos.{group}")]).unwrap();
    }
}

#[test]
fn what_is_being_deleted_is_waited_for_and_made_anew() {
    let scene = Scene::new("leaving");
    with_manifests(&scene, "v1/ConfigMap", "", "{ c: { apiVersion: v1, kind: ConfigMap, metadata: { name: c }, data: { a: b } } }");
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let hold = |finalizers: &str| {
        let patch = format!("{{\"metadata\":{{\"finalizers\":{finalizers}}}}}");
        scene.kubectl(&["-n", &scene.namespace, "patch", "configmap/c", "--type=merge", "-p", &patch]).unwrap();
    };
    hold("[\"windlass.test/hold\"]");
    scene.kubectl(&["-n", &scene.namespace, "delete", "configmap/c", "--wait=false"]).unwrap();
    let leaving = scene.folder.run("drift -e dev --detailed-exitcode");
    assert_eq!(leaving.code, 2, "{}{}", leaving.out, leaving.err);
    assert!(
        leaving.out.contains(&format!("deleting ConfigMap/{}/c", scene.namespace)) && leaving.out.contains("windlass.test/hold"),
        "{}",
        leaving.out
    );
    let held = scene.folder.run("deploy app -e dev --yes --timeout 3s");
    assert_eq!(held.code, 4, "{}", held.err);
    assert!(held.err.contains("being deleted, held by the finalizer windlass.test/hold"), "{}", held.err);
    let mut child = scene.folder.spawn("deploy app -e dev --yes");
    std::thread::sleep(std::time::Duration::from_secs(1));
    hold("[]");
    assert!(child.wait().unwrap().success(), "{}", scene.folder.ok("events -e dev").out);
    assert_eq!(scene.get("configmap/c")["metadata"].get("deletionTimestamp"), None);

    // A namespace takes with it what is inside.
    scene.kubectl(&["-n", &scene.namespace, "create", "configmap", "stuck"]).unwrap();
    let stuck = |finalizers: &str| {
        let patch = format!("{{\"metadata\":{{\"finalizers\":{finalizers}}}}}");
        scene.kubectl(&["-n", &scene.namespace, "patch", "configmap/stuck", "--type=merge", "-p", &patch]).unwrap();
    };
    stuck("[\"windlass.test/hold\"]");
    scene.kubectl(&["delete", "namespace", &scene.namespace, "--wait=false"]).unwrap();
    let leaving = scene.folder.run("drift -e dev --detailed-exitcode");
    assert_eq!(leaving.code, 2, "{}{}", leaving.out, leaving.err);
    assert!(leaving.out.contains(&format!("deleting Namespace/{}", scene.namespace)), "{}", leaving.out);
    let mut child = scene.folder.spawn("deploy app -e dev --yes");
    std::thread::sleep(std::time::Duration::from_secs(1));
    stuck("[]");
    assert!(child.wait().unwrap().success(), "{}", scene.folder.ok("events -e dev").out);
    assert_eq!(scene.get("configmap/c")["data"]["a"], "b");
    assert_eq!(scene.get("deployment/web")["status"]["readyReplicas"], 1);
    scene.folder.ok("destroy -e dev --yes");
}
