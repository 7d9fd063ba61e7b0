//! A real API server behind the same seam: applied, waited for, explained, healed, pruned, removed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

#[path = "cluster/accepted.rs"]
mod accepted;

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use windlass_cluster::Shared;
use windlass_suite::{binary::Folder, cluster::Scene};

const WEB: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
service: { ports: { http: { port: 80, targetPort: 8080 } } }
containers:
  main:
    image: web:1
    variables: { PASSWORD: \"${resources.cache.password}\", LEVEL: info }
resources:
  cache: { type: redis }
";

#[test]
fn the_main_job_on_a_cluster() {
    let scene = Scene::new("job");
    scene.folder.write("app/web.score.yaml", WEB);
    let first = scene.folder.ok("deploy app -e dev --create-env development --yes");
    assert!(first.err.contains("succeeded"), "{}", first.err);
    // Everything is ready, ours, and holds what was planned.
    let deployment = scene.get("deployment/web");
    assert_eq!(deployment["status"]["readyReplicas"], 1);
    assert_eq!(
        deployment["metadata"]["annotations"]["windlass.dev/mark"].as_str().unwrap().split('/').skip(1).collect::<Vec<_>>(),
        [scene.application.as_str(), "dev"]
    );
    let secret = scene.get("secret/web-secrets");
    assert!(secret["data"]["main.env.PASSWORD"].is_string() && secret.get("stringData").is_none());
    // Once more: nothing to do, no changing request.
    let before = scene.changes();
    let again = scene.folder.ok("deploy app -e dev --yes");
    assert!(again.err.contains("nothing was written"), "{}", again.err);
    assert_eq!(scene.changes(), before, "a deployment without changes sent something");
    // One variable: one object.
    scene.folder.write("app/web.score.yaml", &WEB.replace("info", "debug"));
    scene.folder.ok("deploy app -e dev --yes");
    assert_eq!(scene.changes() - before, 1);
    assert_eq!(scene.get("deployment/web")["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"], "debug");
    // Back, and away.
    scene.folder.ok("rollback -e dev --yes");
    assert_eq!(scene.get("deployment/web")["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"], "info");
    let gone = scene.folder.ok("destroy -e dev --yes");
    assert!(gone.err.contains("succeeded"), "{}", gone.err);
    assert!(scene.kubectl(&["get", "namespace", &scene.namespace]).is_err(), "the namespace is still there");
}

/// Numbers as names, several that lead to one, long names, one number twice.
const PORTS: &str = "{ 8080: { port: 8080 }, www: { port: 80, targetPort: 8080 }, the-metrics-of-it-all: { port: 9090 }, dns: { port: 53, protocol: UDP }, dns-tcp: { port: 53 } }";

/// Score's names are as long as a label; controllers put more behind those of what they run, and write that into labels.
#[test]
fn names_of_full_length_and_ports_of_all_kinds() {
    let scene = Scene::new("names");
    let long = |letter: &str| letter.repeat(63);
    let (set, cron, db) = (long("s"), long("c"), long("d"));
    for (name, kind) in [(&set, "StatefulSet"), (&cron, "CronJob")] {
        let annotations = format!("{{ k8s.score.dev/kind: {kind}, windlass.dev/schedule: \"0 0 1 1 *\" }}");
        let container = format!("  {}: {{ image: web:1, variables: {{ P: \"${{resources.db.password}}\" }} }}", long("m"));
        let text = format!(
            "apiVersion: score.dev/v1b1\nmetadata: {{ name: {name}, annotations: {annotations} }}\nservice: {{ ports: {PORTS} }}\ncontainers:\n{container}\nresources:\n  db: {{ type: postgres, id: {db} }}\n"
        );
        scene.folder.write(&format!("app/{kind}.score.yaml"), &text);
    }
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let sets = scene.kubectl(&["-n", &scene.namespace, "get", "statefulset", "-o", "jsonpath={.items[*].status.readyReplicas}"]).unwrap();
    assert_eq!(sets, "1 1");
    scene.folder.ok("destroy -e dev --yes");
}

/// What is built in was written without a server at hand: each type's objects are ones that a cluster takes.
#[test]
fn every_built_in_type() {
    let scene = Scene::new("types");
    let listed: serde_json::Value = serde_json::from_str(&scene.folder.ok("platform list -o json").out).unwrap();
    // Dapr's kinds are not in the test cluster; nobody answers routes there; the namespace is asked for by everything.
    let is_here = |name: &&str| !name.starts_with("dapr-") && !matches!(*name, "route" | "k8s-namespace");
    let names = listed.as_array().unwrap().iter().filter(|listed| listed["kind"] == "ResourceType" && listed["layer"] == "builtIn");
    let names: Vec<&str> = names.map(|listed| listed["name"].as_str().unwrap()).filter(is_here).collect();
    assert!(names.len() >= 15, "{names:?}");
    let (mut resources, mut variables) = (String::new(), String::new());
    for name in names {
        let params = match name {
            "endpoint" => ", params: { workload: other, port: http }",
            "horizontal-pod-autoscaler" => ", params: { minReplicas: 1, maxReplicas: 3 }",
            "service" => ", params: { workload: other }",
            "service-port" => ", params: { workload: other, port: http }",
            _ => "",
        };
        resources.push_str(&format!("  {name}: {{ type: {name}{params} }}\n"));
        let shown: serde_json::Value = serde_json::from_str(&scene.folder.ok(&format!("platform show {name} -o json")).out).unwrap();
        let kind = shown.as_array().unwrap().iter().find(|document| document["kind"] == "ResourceType").unwrap();
        // A volume's source is a map, and stands where volumes are.
        let outputs = kind["spec"]["outputs"]["properties"].as_object().into_iter().flatten().filter(|_| name != "volume");
        for (output, _) in outputs {
            let variable = format!("{name}_{output}").replace('-', "_").to_uppercase();
            variables.push_str(&format!("      {variable}: ${{resources.{name}.{output}}}\n"));
        }
    }
    let head = |name: &str| {
        format!("apiVersion: score.dev/v1b1\nmetadata: {{ name: {name} }}\nservice: {{ ports: {{ http: {{ port: 8080 }} }} }}\n")
    };
    let volumes = "    volumes: { /data: { source: \"${resources.volume}\" } }\n";
    scene.folder.write("app/other.score.yaml", &format!("{}containers: {{ main: {{ image: \"other:1\" }} }}\n", head("other")));
    scene.folder.write(
        "app/all.score.yaml",
        &format!("{}containers:\n  main:\n    image: all:1\n    variables:\n{variables}{volumes}resources:\n{resources}", head("all")),
    );
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let container = &scene.get("deployment/all")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"].as_array().unwrap().len(), variables.lines().count());
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0);
    scene.folder.ok("destroy -e dev --yes");
}

/// The contract works in one namespace: two of it must not meet there.
static CONTRACT: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn the_contract_of_every_sink() {
    let _alone = CONTRACT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    use windlass_capability_kubernetes::{ClusterOptions, KubernetesExecutor};
    use windlass_model::platform::{ConnectionSettings, KubernetesSettings, Reference};
    let scene = Scene::new("contract");
    scene.kubectl(&["create", "namespace", "shop-dev"]).ok();
    let kubeconfig = Shared::find().unwrap().kubeconfig().display().to_string();
    let settings = ConnectionSettings::Kubernetes {
        kubernetes: KubernetesSettings { kubeconfig: Some(Reference::File(kubeconfig)), ..KubernetesSettings::default() },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(windlass_suite::contract::check(&KubernetesExecutor::new(ClusterOptions::default()), &settings));
    scene.kubectl(&["delete", "namespace", "shop-dev"]).unwrap();
}

/// Plays an account that knows the test cluster by name.
struct Known {
    cluster: windlass_engine::session::CloudCluster,
    token: String,
    signed: std::sync::atomic::AtomicUsize,
}

#[async_trait::async_trait]
impl windlass_engine::session::TokenSource for Known {
    async fn cluster(
        &self,
        _: &windlass_model::platform::EksSettings,
        _: &windlass_engine::session::OpenConnection,
    ) -> Result<windlass_engine::session::CloudCluster, windlass_engine::session::CapabilityError> {
        Ok(self.cluster.clone())
    }

    async fn token(
        &self,
        _: &windlass_model::platform::EksSettings,
        _: &windlass_engine::session::OpenConnection,
    ) -> Result<windlass_engine::session::Secret, windlass_engine::session::CapabilityError> {
        self.signed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(windlass_engine::session::Secret::new(self.token.clone()))
    }
}

#[test]
fn a_cluster_that_an_account_knows_by_name_passes_the_same_contract() {
    use windlass_capability_kubernetes::{ClusterOptions, KubernetesExecutor};
    use windlass_model::platform::{ConnectionSettings, EksSettings, KubernetesSettings};
    let _alone = CONTRACT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let scene = Scene::new("eks");
    scene.kubectl(&["create", "namespace", "shop-dev"]).ok();
    let kubeconfig = kube::config::Kubeconfig::read_from(Shared::find().unwrap().kubeconfig()).unwrap();
    let cluster = kubeconfig.clusters[0].cluster.clone().unwrap();
    let known = std::sync::Arc::new(Known {
        cluster: windlass_engine::session::CloudCluster {
            server: cluster.server.unwrap(),
            authority: cluster.certificate_authority_data.unwrap(),
        },
        token: std::fs::read_to_string(Shared::find().unwrap().kubeconfig())
            .unwrap()
            .split("token: ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned(),
        signed: std::sync::atomic::AtomicUsize::new(0),
    });
    let eks = EksSettings { cluster: "development".into(), region: "eu-central-1".into(), connection: None, aws: None };
    let settings = ConnectionSettings::Kubernetes { kubernetes: KubernetesSettings { eks: Some(eks), ..KubernetesSettings::default() } };
    let executor = KubernetesExecutor::new(ClusterOptions::default()).with_tokens(known.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(windlass_suite::contract::check(&executor, &settings));
    assert_eq!(known.signed.load(std::sync::atomic::Ordering::SeqCst), 2, "once to find out, once for all requests");
    scene.kubectl(&["delete", "namespace", "shop-dev"]).unwrap();
}

/// The workload without its resource.
fn alone() -> String {
    WEB.replace("resources:\n  cache: { type: redis }\n", "").replace("PASSWORD: \"${resources.cache.password}\", ", "")
}

/// The same, playing a scene.
fn with_scene(scene: &str) -> String {
    alone().replace("metadata: { name: web }", &format!("metadata: {{ name: web, annotations: {{ windlass.test/scene: {scene} }} }}"))
}

#[test]
fn failures_are_told_with_container_and_reason() {
    for (name, wanted, log) in [
        ("image-pull-error", "container `main`: ImagePullBackOff: Back-off pulling image \"web:1\"", ""),
        ("crash-loop", "container `main` keeps ending (CrashLoopBackOff, exit code 3, 4 restarts)", "panic: no route to db.internal"),
    ] {
        let scene = Scene::new(name);
        scene.folder.write("app/web.score.yaml", &with_scene(name));
        let failed = scene.folder.run("deploy app -e dev --create-env development --yes");
        assert_eq!(failed.code, 1, "{}", failed.err);
        assert!(failed.err.contains(wanted), "{}", failed.err);
        assert!(failed.err.contains(log), "the last lines of its log are told: {}", failed.err);
        assert!(!failed.err.contains("reading configuration"), "and no more than those: {}", failed.err);
        // Mended: the new pods count, not the old ones.
        scene.folder.write("app/web.score.yaml", &alone());
        scene.folder.ok("deploy app -e dev --yes");
        scene.folder.ok("destroy -e dev --yes");
    }
}

/// A pod that a definition stages itself, ready after three seconds.
const BARE_POD: &str = "---
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: bare }
spec: { outputs: { type: object, properties: { name: { type: string } } } }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: bare }
spec:
  type: bare
  driver: { builtin: template }
  grants: [{ import: windlass:kubernetes/objects, kinds: [v1/Pod], metadata: [windlass.test/] }, { import: windlass:secrets/generated }]
  inputs:
    manifests:
      pod:
        apiVersion: v1
        kind: Pod
        metadata: { name: bare, annotations: { windlass.test/scene: slow-ready } }
        spec:
          securityContext: { runAsNonRoot: true, runAsUser: 1, seccompProfile: { type: RuntimeDefault } }
          containers: [{ name: main, image: \"bare:1\", securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } } }]
    outputs: { name: bare }
";

#[test]
fn pods_of_ours_and_pods_behind_workloads_are_watched_apart() {
    let scene = Scene::new("bare");
    scene.folder.write("platform/connection.yaml", &(scene.folder.read("platform/connection.yaml") + BARE_POD));
    scene.folder.ok("platform apply platform");
    scene.folder.write(
        "app/application.yaml",
        &(scene.folder.read("app/application.yaml").replace("spec: {}", "spec: { resources: { bare: { type: bare } } }")),
    );
    scene.folder.write("app/web.score.yaml", &with_scene("crash-loop"));
    let failed = scene.folder.run("deploy app -e dev --create-env development --yes");
    assert_eq!(failed.code, 1, "{}", failed.err);
    assert!(failed.err.contains("container `main` keeps ending (CrashLoopBackOff"), "the workload's pods are seen: {}", failed.err);
    assert_eq!(scene.get("pod/bare")["status"]["phase"], "Running", "and ours is waited for: {}", failed.err);
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn what_takes_long_goes_on_after_the_time_is_up() {
    let scene = Scene::new("slow");
    scene.folder.write("app/web.score.yaml", &with_scene("never-ready"));
    let out_of_time = scene.folder.run("deploy app -e dev --create-env development --yes --timeout 2s");
    assert_eq!(out_of_time.code, 4, "{}", out_of_time.err);
    // Ready or available: what its pod has not become yet depends on the moment.
    let awaited = format!("still under way\n  │ `apps/Deployment/{}/web`: 0 of 1 pods ", scene.namespace);
    assert!(out_of_time.err.contains(&awaited), "what it waits for is named: {}", out_of_time.err);
    assert!(scene.folder.ok("status -e dev").out.contains("interrupted, or under way"));
    scene.folder.write("app/web.score.yaml", &with_scene("slow-ready"));
    let done = scene.folder.ok("deploy app -e dev --yes");
    assert!(done.err.contains("note      apps/Deployment/"), "progress is shown: {}", done.err);
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn strangers_objects_stay() {
    let scene = Scene::new("strangers");
    scene.folder.write("app/web.score.yaml", &alone());
    scene.kubectl(&["create", "namespace", &scene.namespace]).unwrap();
    let refused = scene.folder.run("deploy app -e dev --create-env development --yes");
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains(&format!("`Namespace/{}`: it exists and is not ours", scene.namespace)), "{}", refused.err);
    // What was meant and never made is still to be created.
    let planned = scene.folder.ok("plan app -e dev").out;
    assert!(planned.contains("to create") && !planned.contains("update"), "{planned}");
    scene.folder.ok(&format!("deploy app -e dev --yes --take-ownership Namespace/{}", scene.namespace));
    // What other tools took over stays theirs, even over our mark.
    scene.folder.write("app/web.score.yaml", &alone().replace("port: 80,", "port: 81,"));
    for (verb, mark, of) in [
        ("annotate", "argocd.argoproj.io/tracking-id=shop:/Service:x/web", "Argo CD (application `shop`)"),
        ("label", "kustomize.toolkit.fluxcd.io/name=shop", "Flux (Kustomization `/shop`)"),
        ("label", "helm.toolkit.fluxcd.io/name=shop", "Flux (HelmRelease `/shop`)"),
        ("annotate", "meta.helm.sh/release-name=shop", "Helm (release `/shop`)"),
    ] {
        let on_service = |change: &str| scene.kubectl(&["-n", &scene.namespace, verb, "service/web", change]).unwrap();
        on_service(mark);
        let refused = scene.folder.run("deploy app -e dev --yes");
        assert!(refused.err.contains(&format!("it belongs to {of}")), "{}", refused.err);
        assert_eq!(scene.get("service/web")["spec"]["ports"][0]["port"], 80, "nothing was changed");
        on_service(&format!("{}-", mark.split('=').next().unwrap()));
    }
    scene.folder.ok("deploy app -e dev --yes");
    // A namespace with something of somebody's stays.
    scene.kubectl(&["-n", &scene.namespace, "create", "configmap", "theirs", "--from-literal=a=b"]).unwrap();
    let gone = scene.folder.ok("destroy -e dev --yes");
    assert!(gone.err.contains("ConfigMap `theirs`, which is not ours"), "{}", gone.err);
    assert!(scene.kubectl(&["-n", &scene.namespace, "get", "configmap", "theirs"]).is_ok());
    assert!(scene.kubectl(&["-n", &scene.namespace, "get", "deployment", "web"]).is_err());
    scene.kubectl(&["delete", "namespace", &scene.namespace, "--wait=false"]).unwrap();
}

#[test]
fn drift_of_ours_is_named_and_healed() {
    let scene = Scene::new("drift");
    scene.folder.write("app/web.score.yaml", WEB);
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0);
    // Fields that others own are none of our business.
    scene.kubectl(&["-n", &scene.namespace, "scale", "deployment/web", "--replicas=2"]).unwrap();
    scene.kubectl(&["-n", &scene.namespace, "label", "service/web", "team=x"]).unwrap();
    let restricted = json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
    let proxy = json!({ "name": "proxy", "image": "proxy:1", "securityContext": restricted });
    let sidecar = json!([{ "op": "add", "path": "/spec/template/spec/containers/-", "value": proxy }]).to_string();
    scene.kubectl(&["-n", &scene.namespace, "patch", "deployment/web", "--type=json", "-p", &sidecar, "--field-manager=injector"]).unwrap();
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0, "{}", scene.folder.run("drift -e dev").out);
    // Ours are.
    scene.kubectl(&["-n", &scene.namespace, "set", "image", "deployment/web", "main=web:evil"]).unwrap();
    scene.kubectl(&["-n", &scene.namespace, "delete", "service", "web"]).unwrap();
    let seen = scene.folder.run("drift -e dev --detailed-exitcode");
    assert_eq!(seen.code, 2);
    assert!(seen.out.contains("/spec/template/spec/containers/0/image: \"web:1\" → \"web:evil\"  by kubectl-set"), "{}", seen.out);
    assert!(seen.out.contains(&format!("gone     Service/{}/web", scene.namespace)), "{}", seen.out);
    let healed = scene.folder.ok("deploy app -e dev --yes");
    assert!(healed.err.contains("restoring"), "{}", healed.err);
    assert_eq!(scene.get("deployment/web")["spec"]["template"]["spec"]["containers"][0]["image"], "web:1");
    assert_eq!(scene.get("deployment/web")["spec"]["replicas"], 2);
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0);
    scene.folder.ok("destroy -e dev --yes");
}

/// Somebody tidies up while deployments are under way: each ends, and the last one finds everything as it should be.
#[test]
fn what_somebody_deletes_meanwhile_is_made_again() {
    let scene = Scene::new("tidy");
    scene.folder.write("app/web.score.yaml", WEB);
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let deleted = std::thread::scope(|people| {
        let tidying = people.spawn(|| {
            let mut deleted = 0;
            while !is_over.load(Ordering::SeqCst) {
                for object in ["service/web", "deployment/web", "secret/web-secrets"] {
                    deleted += u32::from(scene.kubectl(&["-n", &scene.namespace, "delete", object, "--wait=false"]).is_ok());
                }
            }
            deleted
        });
        for image in 2..6 {
            scene.folder.write("app/web.score.yaml", &WEB.replace("web:1", &format!("web:{image}")));
            let ran = scene.folder.run("deploy app -e dev --yes --timeout 20s");
            // What is deleted again and again may be too late, and is told; nothing else may happen.
            assert!(ran.code == 0 || ran.code == 1 || ran.code == 4, "{}{}", ran.out, ran.err);
            assert!(!ran.err.contains("panicked"), "{}", ran.err);
        }
        is_over.store(true, Ordering::SeqCst);
        tidying.join().unwrap()
    });
    assert!(deleted > 3, "{deleted} were deleted");
    scene.folder.ok("deploy app -e dev --yes");
    assert_eq!(scene.get("deployment/web")["spec"]["template"]["spec"]["containers"][0]["image"], "web:5");
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0);
    assert!(scene.folder.ok("deploy app -e dev --yes").err.contains("nothing was written"));
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn what_admission_refuses_is_told_before_anything_is_changed() {
    let scene = Scene::new("admission");
    scene.folder.write("app/web.score.yaml", WEB);
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let name = format!("no-latest-{}", scene.namespace);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": name },
        "spec": {
            "matchConstraints": { "resourceRules": [{ "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"] }] },
            "validations": [{
                "expression": "object.spec.template.spec.containers.all(c, !c.image.endsWith(':latest'))",
                "message": "images need a tag of their own",
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": name },
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": scene.namespace } } },
        },
    });
    Shared::find().unwrap().kubectl(&["apply", "-f", "-"], Some(&format!("{policy}\n---\n{binding}"))).unwrap();
    let latest = WEB.replace("web:1", "web:latest").replace("port: 80", "port: 81");
    assert_ne!(latest, WEB);
    scene.folder.write("app/web.score.yaml", &latest);
    // The server takes a moment until it knows a policy.
    let refused = (0..60)
        .find_map(|_| {
            let dry = scene.kubectl(&["-n", &scene.namespace, "set", "image", "deployment/web", "main=x:latest", "--dry-run=server"]);
            std::thread::sleep(std::time::Duration::from_millis(250));
            dry.is_err().then(|| scene.folder.run("deploy app -e dev --yes"))
        })
        .unwrap();
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("images need a tag of their own") && refused.err.contains(&name), "{}", refused.err);
    assert_eq!(scene.get("service/web")["spec"]["ports"][0]["port"], 80, "nothing was changed");
    Shared::find().unwrap().kubectl(&["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", &name], None).unwrap();
    scene.folder.ok("destroy -e dev --yes");
}

/// Whoever makes it: a template says one key for both.
#[test]
fn a_namespace_that_is_called_another_way_leaves_nothing_behind() {
    let scene = Scene::new("rename");
    scene.folder.write("app/web.score.yaml", &alone());
    let called = |name: &str| {
        let manifest = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        let definition = json!({
            "apiVersion": "windlass.dev/v1alpha1",
            "kind": "ResourceDefinition",
            "metadata": { "name": "namespace" },
            "spec": {
                "type": "k8s-namespace",
                "driver": { "builtin": "template" },
                "inputs": { "manifests": { "namespace": manifest }, "outputs": { "namespace": name } },
                "grants": [
                    { "import": "windlass:kubernetes/objects", "kinds": ["v1/Namespace"], "allow": ["clusterScoped"] },
                    { "import": "windlass:secrets/generated" },
                ],
            },
        });
        scene.folder.write("platform/namespace.json", &definition.to_string());
        scene.folder.ok("platform apply platform");
        scene.folder.ok("deploy app -e dev --create-env development --yes")
    };
    let names = ["one", "two"].map(|name| format!("{}-{name}", scene.namespace));
    let exists = |name: &str| scene.kubectl(&["get", "namespace", name]).is_ok();
    called(&names[0]);
    assert!(exists(&names[0]));
    let moved = called(&names[1]);
    assert!(moved.err.contains(&format!("deleted   Namespace/{}", names[0])), "{}", moved.err);
    assert!(!exists(&names[0]) && exists(&names[1]));
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0);
    scene.folder.ok("destroy -e dev --yes");
    assert!(!exists(&names[1]));
}

#[test]
fn a_server_that_is_not_the_one_is_told_soon() {
    let text = std::fs::read_to_string(Shared::find().unwrap().kubeconfig()).unwrap();
    let port = text.split("127.0.0.1:").nth(1).unwrap().lines().next().unwrap().to_owned();
    let mut stranger = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    stranger.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = stranger.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
    let ours = text.lines().find_map(|line| line.trim().strip_prefix("certificate-authority-data: ")).unwrap();
    let untrusted = text.replace(ours, &windlass_cluster::encode(authority.as_bytes()));
    // Nobody listens on the first port.
    let unreached = text.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:1");
    let scene = Scene::with_connection("stranger", "kubeconfig: { env: WRONG_KUBECONFIG }");
    scene.folder.write("app/web.score.yaml", &alone());
    for (kubeconfig, told) in [(untrusted, "the API server is not trusted"), (unreached, "the API server can't be reached")] {
        assert_ne!(kubeconfig, text);
        let ran = scene.folder.run_with("deploy app -e dev --create-env development --yes", &[("WRONG_KUBECONFIG", &kubeconfig)]);
        assert!(ran.code == 1 && ran.err.contains(told), "{}", ran.err);
    }
}

/// Finds the way to run a program with mounts of its own: root's, or that of a user who may act as root among his own. In a container there may be none.
fn mounts_apart() -> Option<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--map-root-user", "--mount"]];
    WAYS.into_iter().find(|way| {
        let mut tried = std::process::Command::new(way[0]);
        tried.args(&way[1..]).args(["mount", "-t", "tmpfs", "none", "/run"]).stderr(std::process::Stdio::null());
        tried.status().is_ok_and(|status| status.success())
    })
}

/// Without a kubeconfig it is what Kubernetes gives to every pod: a token and an authority in files, the server in the environment.
#[test]
fn a_process_inside_the_cluster_needs_no_kubeconfig() {
    let shared = Shared::find().unwrap();
    let scene = Scene::with_connection("inside", "");
    scene.folder.write("app/web.score.yaml", &alone());
    let line = "deploy app -e dev --create-env development --yes";
    let outside = scene.folder.run(line);
    assert_eq!(outside.code, 1, "{}", outside.err);
    assert!(outside.err.contains("does not run inside a cluster"), "{}", outside.err);
    let kubeconfig: Value = serde_saphyr::from_str(&std::fs::read_to_string(shared.kubeconfig()).unwrap()).unwrap();
    let cluster = &kubeconfig["clusters"][0]["cluster"];
    let authority = windlass_cluster::decode(cluster["certificate-authority-data"].as_str().unwrap()).unwrap();
    scene.folder.write("pod/ca.crt", &String::from_utf8(authority).unwrap());
    scene.folder.write("pod/token", kubeconfig["users"][0]["user"]["token"].as_str().unwrap());
    scene.folder.write("pod/namespace", "default");
    let port = cluster["server"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    // The files are where every pod has them, and for this process alone.
    let place = "mount -t tmpfs none /run && mkdir -p /var/run/secrets/kubernetes.io && cp -r pod /var/run/secrets/kubernetes.io/serviceaccount && exec \"$@\"";
    let Some(apart) = mounts_apart() else {
        eprintln!("not run to its end: this machine lets nobody mount anything apart from others");
        return;
    };
    let inside = |line: &str| {
        let pod: Vec<&str> = apart.iter().copied().chain(["sh", "-c", place, "sh"]).collect();
        let ran = scene.folder.run_under(&pod, line, &[("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", &port)]);
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    };
    inside(line);
    assert_eq!(scene.get("deployment/web")["metadata"]["name"], "web");
    inside("destroy -e dev --yes");
    assert!(scene.kubectl(&["get", "namespace", &scene.namespace]).is_err(), "the namespace is still there");
}

#[test]
fn conflicts_name_the_other_manager() {
    let scene = Scene::new("conflict");
    let web = alone();
    scene.folder.write("app/web.score.yaml", &web);
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    scene.kubectl(&["-n", &scene.namespace, "set", "env", "deployment/web", "LEVEL=theirs"]).unwrap();
    scene.folder.write("app/web.score.yaml", &web.replace("info", "debug"));
    let refused = scene.folder.run("deploy app -e dev --yes");
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("conflict with \"kubectl-set\""), "{}", refused.err);
    scene.folder.ok(&format!("deploy app -e dev --yes --take-ownership apps/Deployment/{}/web", scene.namespace));
    assert_eq!(scene.get("deployment/web")["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"], "debug");
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn what_was_recorded_is_deleted_when_all_documents_are_gone() {
    let scene = Scene::new("gone");
    scene.folder.write("app/web.score.yaml", WEB);
    // Definitions and connection come with the command alone: nothing of them is stored.
    let connection = scene.folder.read("platform/connection.yaml");
    scene.folder.write(
        "empty/type.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: EnvironmentType\nmetadata: { name: development }\nspec: { dataLoss: allow }\n",
    );
    scene.folder.ok("platform apply empty");
    scene.folder.write("given/connection.yaml", &connection);
    scene.folder.ok("deploy app -e dev --create-env development --yes --platform given");
    std::fs::remove_dir_all(scene.folder.path().join("given")).unwrap();
    // A stored connection can't go while something was made through it.
    scene.folder.ok("destroy -e dev --yes");
    assert!(scene.kubectl(&["get", "namespace", &scene.namespace]).is_err(), "the namespace is still there");
}

#[test]
fn a_deferred_address_reaches_the_container() {
    // The built-in definitions know names before objects exist; a load balancer's address is known only afterwards.
    let scene = Scene::new("address");
    let platform = scene.folder.read("platform/connection.yaml")
        + "---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: balancer }\nspec:\n  type: endpoint\n  driver: { builtin: template }\n  grants: [{ import: windlass:kubernetes/objects, kinds: [v1/Service], allow: [externalAddresses] }, { import: windlass:secrets/generated }]\n  inputs:\n    manifests:\n      balancer:\n        apiVersion: v1\n        kind: Service\n        metadata: { name: balancer }\n        spec: { type: LoadBalancer, selector: { a: b }, ports: [{ name: http, port: 80 }] }\n    outputs: { ip: \"{{ field('balancer', '/status/loadBalancer/ingress/0/ip') }}\" }\n---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: { name: endpoint }\nspec: { outputs: { type: object, properties: { ip: { type: string } } } }\n";
    scene.folder.write("platform/connection.yaml", &platform);
    scene.folder.ok("platform apply platform");
    scene.folder.write(
        "app/web.score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"web:1\", variables: { IP: \"${resources.e.ip}\" } } }\nresources: { e: { type: endpoint } }\n",
    );
    let folder = scene.folder.path().to_path_buf();
    let namespace = scene.namespace.clone();
    let helper = std::thread::spawn(move || {
        // Somebody's controller gives the address while the deployment waits.
        let shared = Shared::find().unwrap();
        for _ in 0..200 {
            let patched = shared.kubectl(
                &[
                    "-n",
                    &namespace,
                    "patch",
                    "service/balancer",
                    "--subresource=status",
                    "--type=merge",
                    "-p",
                    r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.7"}]}}}"#,
                ],
                None,
            );
            if patched.is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("the service never came, in {}", folder.display());
    });
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    helper.join().unwrap();
    assert_eq!(scene.get("configmap/web-files")["data"]["main.env.IP"], "192.0.2.7");
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn ctrl_c_stops_between_actions_and_the_next_deploy_goes_on() {
    let scene = Scene::new("ctrlc");
    scene.folder.write("app/web.score.yaml", &with_scene("never-ready"));
    // What a terminal sends, and what CI sends to a job that it ends.
    for signal in ["INT", "TERM"] {
        let mut child = scene.folder.spawn("deploy app -e dev --create-env development --yes");
        scene.wait_for(&["get", "deployment/web"]);
        Folder::wait_beside(&mut child, || scene.folder.ok("status -e dev").out.contains("under way"));
        Folder::signal(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(130), "once: stopped between two actions");
    }
    assert_eq!(scene.folder.ok("history -e dev").out.matches("cancelled").count(), 2);
    let mut child = scene.folder.spawn("deploy app -e dev --yes");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    // A second deployment of the same environment says who is at it, and waits for as long as it may.
    let second = scene.folder.run("deploy app -e dev --yes --timeout 1s");
    assert_eq!(second.code, 1);
    assert!(second.err.contains("is being changed by another process") && second.err.contains("waiting for its end"), "{}", second.err);
    let mut stopped = scene.folder.spawn("deploy app -e dev --yes");
    let mut waiting = scene.folder.spawn("deploy app -e dev --yes");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    Folder::signal(&stopped, "INT");
    assert_eq!(stopped.wait().unwrap().code(), Some(130), "who waits has nothing to end first");
    scene.folder.write("app/web.score.yaml", &alone());
    Folder::signal(&child, "INT");
    Folder::signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(waiting.wait().unwrap().success(), "its turn came, with what is there by then");
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn the_permissions_that_we_publish_are_enough_and_needed() {
    let shared = Shared::find().unwrap();
    let permissions = std::fs::read_to_string(windlass_suite::binary::root().join("examples/cluster/permissions.yaml")).unwrap();
    shared.kubectl(&["apply", "-f", "-"], Some(&permissions)).unwrap();
    let plain = alone();
    // A user who may do nothing is told what is missing.
    let limited = Scene::with_connection("rbac", &format!("kubeconfig: {{ file: {} }}", shared.limited_kubeconfig().display()));
    limited.folder.write("app/web.score.yaml", &plain);
    let refused = limited.folder.run("deploy app -e dev --create-env development --yes");
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("User \"limited\" cannot list resource \"namespaces\""), "{}", refused.err);
    // The administrator acts as the published account: that is all that this deployment has.
    let account = "impersonate: { user: \"system:serviceaccount:windlass:windlass\", groups: [\"system:serviceaccounts\"] }";
    let scene = Scene::with_connection("account", &format!("kubeconfig: {{ file: {} }}, {account}", shared.kubeconfig().display()));
    scene.folder.write("app/web.score.yaml", WEB);
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0);
    scene.folder.ok("destroy -e dev --yes");
    assert!(scene.kubectl(&["get", "namespace", &scene.namespace]).is_err(), "the namespace is still there");
}

#[test]
fn kubeconfigs_that_name_programs_are_refused() {
    let shared = Shared::find().unwrap();
    let text = std::fs::read_to_string(shared.kubeconfig()).unwrap();
    let scene = Scene::with_connection("exec", "kubeconfig: { env: EXEC_KUBECONFIG }");
    scene.folder.write("app/web.score.yaml", &alone());
    let exec = text.replace(
        "user: { token: test-administrator }",
        "user: { exec: { apiVersion: client.authentication.k8s.io/v1, command: touch, args: [ran], interactiveMode: Never } }",
    );
    assert_ne!(exec, text);
    let line = "deploy app -e dev --create-env development --yes";
    let refused = scene.folder.run_with(line, &[("EXEC_KUBECONFIG", &exec)]);
    assert!(refused.err.contains("names programs or files of this machine: exec"), "{}", refused.err);
    assert!(!scene.folder.path().join("ran").exists(), "the program was run");
    // Where it is allowed, it is run for what it says, and for a certificate that it might have: not for each client anew.
    let credential =
        r#"{ "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": { "token": "test-administrator" } }"#;
    scene.folder.write("credentials.sh", &format!("echo run >> runs\necho '{credential}'\n"));
    let allowed = exec.replace("command: touch, args: [ran]", "command: sh, args: [credentials.sh]");
    let ran = scene.folder.run_with(&format!("--allow-local-credentials {line}"), &[("EXEC_KUBECONFIG", &allowed)]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(scene.folder.read("runs").lines().count(), 2);
    // The text itself in a variable is fine.
    assert_eq!(scene.folder.run_with(line, &[("EXEC_KUBECONFIG", &text)]).code, 0);
    assert_eq!(scene.folder.run_with("destroy -e dev --yes", &[("EXEC_KUBECONFIG", &text)]).code, 0);
}

#[test]
fn every_workload_gets_what_its_environment_type_appends() {
    let scene = Scene::new("stages");
    let platform = scene.folder.read("platform/connection.yaml")
        + "---\napiVersion: windlass.dev/v1alpha1\nkind: EnvironmentType\nmetadata: { name: development }\nspec:\n  dataLoss: allow\n  workloadStages:\n    - { name: apm, driver: { builtin: observability }, inputs: { datadog: { admission: true }, opentelemetry: { inject: java } }, grants: [{ import: windlass:kubernetes/objects, kinds: [apps/v1/Deployment, apps/v1/StatefulSet], metadata: [admission.datadoghq.com/, instrumentation.opentelemetry.io/] }] }\n    - { name: vault, driver: { builtin: vault-sidecar }, inputs: { role: \"{application}-{workload}\", secrets: { db: \"kv/{environment}/db\" } }, grants: [{ import: windlass:kubernetes/objects, kinds: [apps/v1/Deployment, apps/v1/StatefulSet], metadata: [vault.hashicorp.com/] }] }\n";
    scene.folder.write("platform/connection.yaml", &platform);
    scene.folder.ok("platform apply platform");
    scene.folder.write("app/web.score.yaml", &alone());
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let pod = scene.get("deployment/web")["spec"]["template"]["metadata"].clone();
    assert_eq!(pod["labels"]["tags.datadoghq.com/service"], "web");
    assert_eq!(pod["labels"]["tags.datadoghq.com/version"], "1");
    assert_eq!(pod["annotations"]["instrumentation.opentelemetry.io/inject-java"], "true");
    assert_eq!(pod["annotations"]["vault.hashicorp.com/role"], format!("{}-web", scene.application));
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn kinds_that_windlass_does_not_know_are_found_and_waited_for() {
    let scene = Scene::new("widget");
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: { name: widgets.test.windlass.dev }\nspec:\n  group: test.windlass.dev\n  scope: Namespaced\n  names: { kind: Widget, plural: widgets, singular: widget }\n  versions: [{ name: v1, served: true, storage: true, subresources: { status: {} }, schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } } }]\n";
    let platform = scene.folder.read("platform/connection.yaml")
        + "---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: { name: widget }\nspec: { outputs: { type: object, properties: { url: { type: string } } } }\n---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: widget }\nspec:\n  type: widget\n  driver: { builtin: template }\n  grants: [{ import: windlass:kubernetes/objects, kinds: [{ apiVersion: test.windlass.dev/v1, kind: Widget, plural: widgets, scope: Namespaced, readable: [/status/url] }] }, { import: windlass:secrets/generated }]\n  inputs:\n    manifests: { widget: { apiVersion: test.windlass.dev/v1, kind: Widget, metadata: { name: w }, spec: { size: 1 } } }\n    outputs: { url: \"{{ field('widget', '/status/url') }}\" }\n";
    scene.folder.write("platform/connection.yaml", &platform);
    scene.folder.ok("platform apply platform");
    scene.folder.write(
        "app/web.score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"web:1\", variables: { URL: \"${resources.w.url}\" } } }\nresources: { w: { type: widget } }\n",
    );
    let unknown = scene.folder.run("deploy app -e dev --create-env development --yes");
    assert!(unknown.err.contains("the cluster does not know `test.windlass.dev/v1`"), "{}", unknown.err);
    Shared::find().unwrap().kubectl(&["apply", "-f", "-"], Some(definition)).unwrap();
    scene.wait_for(&["get", "widgets"]);
    let child = scene.folder.spawn("deploy app -e dev --yes");
    scene.wait_for(&[
        "patch",
        "widgets/w",
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"url":"http://w","conditions":[{"type":"Ready","status":"True"}]}}"#,
    ]);
    let mut child = child;
    assert!(child.wait().unwrap().success(), "{}", scene.folder.ok("events -e dev").out);
    assert_eq!(scene.get("configmap/web-files")["data"]["main.env.URL"], "http://w");
    // The kind goes, and its objects with it: nothing is left to delete.
    scene.kubectl(&["delete", "crd", "widgets.test.windlass.dev"]).unwrap();
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn the_tour_of_the_readme() {
    let root = windlass_suite::binary::root();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let connection = std::fs::read_to_string(root.join("examples/cluster/connection.yaml")).unwrap();
    let folder = Folder::new();
    let kubeconfig = Shared::find().unwrap().kubeconfig().display().to_string();
    let block = readme.split("```sh cluster\n").nth(1).unwrap().split("```").next().unwrap();
    let lines: Vec<&str> = block.lines().map(|line| line.strip_prefix("windlass ").unwrap()).collect();
    assert!(lines.len() >= 6 && readme.contains("kubernetes: { kubeconfig: { env: KUBECONFIG } }"));
    for line in lines {
        let ran = folder.run_with(line, &[("KUBECONFIG", &kubeconfig)]);
        assert_eq!(ran.code, 0, "windlass {line}\n{}\n{}", ran.out, ran.err);
        if line.starts_with("init") {
            folder.write("shop/platform/cluster.yaml", &connection);
        }
    }
}

#[test]
fn routes_wait_for_every_parent() {
    let scene = Scene::new("route");
    scene.folder.write(
        "app/web.score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: web }\nservice: { ports: { http: { port: 80 } } }\ncontainers: { main: { image: \"web:1\" } }\nresources:\n  dns: { type: dns }\n  route: { type: route, params: { host: \"${resources.dns.host}\", path: /, port: 80 } }\n",
    );
    let mut child = scene.folder.spawn("deploy app -e dev --create-env development --yes");
    scene.wait_for(&["get", "httproutes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let name = scene.kubectl(&["-n", &scene.namespace, "get", "httproutes", "-o", "jsonpath={.items[0].metadata.name}"]).unwrap();
    assert!(child.try_wait().unwrap().is_none(), "nobody has accepted the route yet");
    let parent = |accepted: &str| {
        format!(
            r#"{{"status":{{"parents":[{{"controllerName":"test.windlass.dev/gateway","parentRef":{{"name":"gateway"}},"conditions":[{{"type":"Accepted","status":"{accepted}","reason":"R","message":"","lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":1}},{{"type":"ResolvedRefs","status":"True","reason":"R","message":"","lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":1}}]}}]}}}}"#
        )
    };
    let route = format!("httproutes/{name}");
    scene.wait_for(&["patch", &route, "--subresource=status", "--type=merge", "-p", &parent("False")]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "the parent refused the route");
    scene.wait_for(&["patch", &route, "--subresource=status", "--type=merge", "-p", &parent("True")]);
    assert!(child.wait().unwrap().success(), "{}", scene.folder.ok("events -e dev").out);
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn a_quota_that_is_used_up_is_named() {
    let scene = Scene::new("quota");
    let web = alone();
    scene.folder.write("app/web.score.yaml", &web);
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    scene.kubectl(&["-n", &scene.namespace, "create", "quota", "small", "--hard=pods=1"]).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    scene.folder.write("app/web.score.yaml", &web.replace("web:1", "web:2"));
    let refused = scene.folder.run("deploy app -e dev --yes");
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("exceeded quota: small"), "{}", refused.err);
    scene.kubectl(&["-n", &scene.namespace, "delete", "quota", "small"]).unwrap();
    scene.folder.ok("rollback -e dev --yes");
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn what_can_not_be_changed_is_replaced_and_planned_so() {
    let scene = Scene::new("replace");
    let connection = scene.folder.read("platform/connection.yaml");
    let platform = |value: &str| {
        scene.folder.write(
            "platform/connection.yaml",
            &format!("{connection}---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: {{ name: fixed }}\nspec: {{}}\n---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: fixed }}\nspec:\n  type: fixed\n  driver: {{ builtin: template }}\n  grants: [{{ import: windlass:kubernetes/objects, kinds: [v1/ConfigMap] }}, {{ import: windlass:secrets/generated }}]\n  inputs:\n    manifests: {{ map: {{ apiVersion: v1, kind: ConfigMap, metadata: {{ name: fixed }}, immutable: true, data: {{ a: {value} }} }} }}\n"),
        );
        scene.folder.ok("platform apply platform");
    };
    platform("one");
    let application = scene.folder.read("app/application.yaml").replace("spec: {}", "spec: { resources: { f: { type: fixed } } }");
    scene.folder.write("app/application.yaml", &application);
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let before = scene.get("configmap/fixed");
    platform("two");
    let plan = scene.folder.ok("plan app -e dev");
    assert!(plan.out.contains("replace") && plan.out.contains("the ConfigMap is immutable"), "{}", plan.out);
    scene.folder.ok("deploy app -e dev --yes");
    let after = scene.get("configmap/fixed");
    assert_eq!(after["data"]["a"], "two");
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    scene.folder.ok("destroy -e dev --yes");
}
