//! Deployments that correct what an earlier one broke on a cluster.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure here is the test's")]

use windlass_cluster::Shared;
use windlass_suite::cluster::Scene;

/// A workload; `annotations` say what it becomes and what its pods do, `container` what they are given.
fn web(annotations: &str, container: &str) -> String {
    format!(
        "apiVersion: score.dev/v1b1\nmetadata: {{ name: web, annotations: {{ {annotations} }} }}\ncontainers: {{ main: {{ image: \"web:1\", {container} }} }}\n"
    )
}

#[test]
fn pods_that_were_refused_do_not_fail_the_deployment_that_corrects_them() {
    let scene = Scene::new("refused");
    let memory = |amount: &str| web("", &format!("resources: {{ limits: {{ memory: {amount} }} }}"));
    let deploy = |amount: &str| {
        scene.folder.write("app/web.score.yaml", &memory(amount));
        scene.folder.run("deploy app -e dev --yes")
    };
    scene.folder.write("app/web.score.yaml", &memory("32Mi"));
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let range =
        "apiVersion: v1\nkind: LimitRange\nmetadata: { name: small }\nspec: { limits: [{ type: Container, max: { memory: 64Mi } }] }\n";
    Shared::find().unwrap().kubectl(&["-n", &scene.namespace, "apply", "-f", "-"], Some(range)).unwrap();
    for amount in ["128Mi", "256Mi"] {
        let refused = deploy(amount);
        assert_eq!(refused.code, 1, "{}", refused.err);
        assert!(refused.err.contains("maximum memory usage per Container is 64Mi"), "{}", refused.err);
    }
    // The Deployment goes on to say so for a while.
    let corrected = deploy("48Mi");
    assert_eq!(corrected.code, 0, "{}", corrected.err);
    // The reason goes away, and not the template.
    assert_eq!(deploy("96Mi").code, 1);
    scene.kubectl(&["-n", &scene.namespace, "delete", "limitrange", "small"]).unwrap();
    scene.kubectl(&["-n", &scene.namespace, "delete", "replicasets", "--all"]).unwrap();
    let mended = deploy("96Mi");
    assert_eq!(mended.code, 0, "{}", mended.err);
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn a_pod_that_holds_up_a_stateful_set_is_named() {
    let scene = Scene::new("stuck");
    let set = "k8s.score.dev/kind: StatefulSet";
    scene.folder.write("app/web.score.yaml", &web(&format!("{set}, windlass.test/scene: crash-loop"), ""));
    let broken = scene.folder.run("deploy app -e dev --create-env development --yes");
    assert_eq!(broken.code, 1, "{}", broken.err);
    scene.folder.write("app/web.score.yaml", &web(set, ""));
    let stuck = scene.folder.run("deploy app -e dev --yes");
    assert_eq!(stuck.code, 1, "{}", stuck.err);
    let remedy = format!("kubectl -n {} delete pod web-0", scene.namespace);
    for part in [
        "its pod `web-0` has an earlier template (revision `web-",
        "keeps ending (CrashLoopBackOff, exit code 3",
        &remedy,
        "no route to db",
    ] {
        assert!(stuck.err.contains(part), "{part}: {}", stuck.err);
    }
    // The remedy works; kubectl itself may wait for the next pod of that name.
    scene.kubectl(&remedy.split(' ').skip(1).chain(["--wait=false"]).collect::<Vec<_>>()).unwrap();
    scene.folder.ok("deploy app -e dev --yes");
    scene.folder.ok("destroy -e dev --yes");
}
