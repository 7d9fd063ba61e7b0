//! Snapshots of what workloads become.

use serde_json::{Value, json};
use windlass_sdk::harness::render;

use super::*;

fn workload(more: Value) -> Value {
    let mut base = json!({ "apiVersion": "score.dev/v1b1", "metadata": { "name": "web" }, "containers": { "main": { "image": "ghcr.io/acme/web:1.2.3" } } });
    merge(&mut base, more);
    base
}

fn merge(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            more.into_iter().for_each(|(key, value)| merge(base.entry(key).or_insert(Value::Null), value))
        }
        (base, more) => *base = more,
    }
}

#[test]
fn a_web_service_with_everything() {
    insta::assert_json_snapshot!(render::<WorkloadDefault>(json!({
        "inputs": { "replicas": 2, "service_account": "web", "image_pull_secrets": ["registry"], "run_as_user": 1000, "read_only_root_filesystem": true, "node_selector": { "disk": "ssd" }, "tolerations": [{ "operator": "Exists" }], "termination_grace_seconds": 20 },
        "workload": workload(json!({
            "metadata": { "annotations": { "example.com/team": "a", "k8s.score.dev/service-name": "shop-web" } },
            "service": { "ports": { "http": { "port": 80, "targetPort": 8080 }, "a-very-long-port-name": { "port": 9000, "protocol": "UDP" } } },
            "containers": { "main": {
                "command": ["/bin/web"], "args": ["--greet", "$(NAME)"],
                "variables": { "NAME": "shop", "URL": "postgres://app:«secret db.password»@db:5432/app", "LATE": { "$deferred": "lb.ip" } },
                "files": {
                    "/etc/web/open.conf": { "content": "listen 8080\n", "mode": "0644" },
                    "/etc/web/mixed.conf": { "content": "password=«secret db.password»\n" },
                    "/etc/web/logo.png": { "binaryContent": "AAEC", "noExpand": true }
                },
                "volumes": { "/data": { "source": { "persistentVolumeClaim": { "claimName": "data" } }, "output": "volume#web.data/source", "path": "web", "readOnly": true }, "/tmp": { "source": { "emptyDir": {} }, "output": "volume#web.tmp/source" } },
                "resources": { "limits": { "memory": "128000K" }, "requests": { "cpu": "100m", "memory": "64Mi" } },
                "livenessProbe": { "httpGet": { "path": "/live", "port": 8080 } },
                "readinessProbe": { "exec": { "command": ["/bin/ready"] } }
            } }
        })),
    })));
}

#[test]
fn containers_in_order() {
    insta::assert_json_snapshot!(render::<WorkloadDefault>(json!({ "workload": workload(json!({ "containers": {
        "main": { "before": { "proxy": { "ready": "healthy" }, "migrate": { "ready": "complete" } } },
        "proxy": { "image": "proxy:1", "readinessProbe": { "httpGet": { "path": "/", "port": 1 } } },
        "migrate": { "image": "web:1", "before": { "proxy": { "ready": "started" } }, "livenessProbe": { "exec": { "command": ["x"] } } }
    } })) })));
}

#[test]
fn other_kinds() {
    let kind = |kind: &str, more: Value| {
        let mut workload = workload(json!({ "metadata": { "annotations": { "k8s.score.dev/kind": kind } } }));
        merge(&mut workload, more);
        render::<WorkloadDefault>(json!({ "workload": workload }))
    };
    insta::assert_json_snapshot!([
        kind(
            "StatefulSet",
            json!({ "containers": { "main": { "volumes": { "/data": { "source": { "claimSpec": { "accessModes": ["ReadWriteOnce"] } }, "output": "volume#web.data/source" } } } } })
        ),
        kind("Job", json!({ "containers": { "main": { "variables": { "P": { "$secret": "p" } } } } })),
        kind("CronJob", json!({ "metadata": { "annotations": { "windlass.dev/schedule": "0 3 * * *" } } })),
        kind("CronJob", json!({})),
        kind("Daemon", json!({})),
        kind(
            "Deployment",
            json!({ "containers": { "main": { "volumes": { "/data": { "source": "somewhere" }, "/d": { "source": { "claimSpec": {} }, "output": "volume#web.d/source" } } } } })
        ),
    ]);
}

/// Longer names are refused for a CronJob, and a StatefulSet of such a name gets no pods.
#[test]
fn long_names_leave_room_for_a_controllers_suffix() {
    let long = "w".repeat(63);
    let object = |kind: &str| {
        let annotations = json!({ "k8s.score.dev/kind": kind, "windlass.dev/schedule": "0 3 * * *" });
        let outcome =
            render::<WorkloadDefault>(json!({ "workload": workload(json!({ "metadata": { "name": long, "annotations": annotations } })) }));
        outcome.manifests.into_iter().find(|manifest| manifest["kind"] == kind).unwrap()
    };
    for kind in ["StatefulSet", "CronJob"] {
        assert_eq!(object(kind)["metadata"]["name"].as_str().map(str::len), Some(names::CONTROLLED_CHARS_MAX), "{kind}");
    }
    let set = object("StatefulSet");
    assert_eq!(set.pointer("/spec/selector/matchLabels/windlass.dev~1workload"), Some(&json!(long)));
    assert_eq!(object("Deployment")["metadata"]["name"], long);
}

#[test]
fn a_jobs_name_changes_with_its_template_only() {
    let job = |image: &str| {
        render::<WorkloadDefault>(json!({ "workload": workload(json!({ "metadata": { "annotations": { "k8s.score.dev/kind": "Job" } }, "containers": { "main": { "image": image } } })) })).manifests[0]["metadata"]["name"].clone()
    };
    assert_eq!(job("a:1"), job("a:1"));
    assert_ne!(job("a:1"), job("a:2"));
}

#[test]
fn exec_is_preferred_and_host_is_a_header() {
    let probe = |probe: Value| {
        let probes = json!({ "containers": { "main": { "livenessProbe": probe } } });
        let outcome = render::<WorkloadDefault>(json!({ "workload": workload(probes) }));
        outcome.manifests[0].pointer("/spec/template/spec/containers/0/livenessProbe").cloned().unwrap_or_default()
    };
    let get = |more: Value| {
        let mut get = json!({ "path": "/", "port": 80 });
        merge(&mut get, more);
        json!({ "httpGet": get })
    };
    let mut both = get(json!({}));
    merge(&mut both, json!({ "exec": { "command": ["/bin/check"] } }));
    assert_eq!(probe(both), json!({ "exec": { "command": ["/bin/check"] } }));
    let host = json!({ "name": "Host", "value": "a.example" });
    let more = json!({ "name": "X", "value": "1" });
    assert_eq!(probe(get(json!({ "host": "a.example" }))), get(json!({ "httpHeaders": [host] })));
    assert_eq!(probe(get(json!({ "host": "a.example", "httpHeaders": [more] }))), get(json!({ "httpHeaders": [more, host] })));
    let own = json!([{ "name": "host", "value": "own" }]);
    assert_eq!(probe(get(json!({ "host": "a.example", "httpHeaders": own }))), get(json!({ "httpHeaders": own })));
}

#[test]
fn ports_with_two_dashes_have_no_name_in_the_pod() {
    let outcome = render::<WorkloadDefault>(json!({ "workload": workload(json!({ "service": { "ports": { "a--b": { "port": 80 } } } })) }));
    assert_eq!(outcome.manifests[0].pointer("/spec/ports/0/name"), Some(&json!("a--b")));
    let ports = outcome.manifests[1].pointer("/spec/template/spec/containers/0/ports");
    assert_eq!(ports, Some(&json!([{ "containerPort": 80, "protocol": "TCP" }])));
}

#[test]
fn several_ports_lead_to_one() {
    let ports = json!({
        "8080": { "port": 8080 }, "alias": { "port": 80, "targetPort": 8080 }, "dns": { "port": 53, "protocol": "UDP" }, "dns-tcp": { "port": 53 },
    });
    let outcome = render::<WorkloadDefault>(json!({ "workload": workload(json!({ "service": { "ports": ports } })) }));
    assert_eq!(
        outcome.manifests[1].pointer("/spec/template/spec/containers/0/ports"),
        Some(&json!([
            { "containerPort": 8080, "protocol": "TCP" },
            { "name": "dns", "containerPort": 53, "protocol": "UDP" },
            { "name": "dns-tcp", "containerPort": 53, "protocol": "TCP" },
        ]))
    );
}

#[test]
fn what_kubernetes_would_refuse_is_said_at_once() {
    insta::assert_json_snapshot!(render::<WorkloadDefault>(json!({ "workload": workload(json!({
        "metadata": { "name": "7zip" },
        "service": { "ports": { "a": { "port": 80, "targetPort": 1 }, "b": { "port": 80, "targetPort": 2, "protocol": "TCP" }, "c": { "port": 80, "protocol": "UDP" } } },
        "containers": { "main": {
            "files": { "/data/a": { "content": "x" }, "//data/./b": { "content": "x" }, "data/b/": { "content": "y" }, "/a/../../b": { "content": "x" }, "/": { "content": "x" } },
            "volumes": { "/data/a": { "source": { "emptyDir": {} } }, "/up": { "source": { "emptyDir": {} }, "path": "a/../.." }, "/in": { "source": { "emptyDir": {} }, "path": "a..b/c" } },
            "resources": { "requests": { "cpu": "1.5", "memory": "128Mi" }, "limits": { "cpu": "1500m", "memory": "128M" } },
            "variables": { "GRÖSSE": "1", "a b.c-d": "2" },
            "livenessProbe": { "exec": { "command": [] } },
            "readinessProbe": { "httpGet": { "path": "/", "port": 1, "httpHeaders": [{ "name": "X-A", "value": "" }, { "name": "x_b", "value": "" }] } },
        } },
    })) })));
}

fn rendered(container: Value) -> Value {
    let outcome = render::<WorkloadDefault>(json!({ "workload": workload(json!({ "containers": { "main": container } })) }));
    assert_eq!(outcome.diagnostics, [], "{container}");
    json!(outcome.manifests)
}

fn pod(manifests: &Value) -> &Value {
    let workload = manifests.as_array().unwrap().iter().find(|manifest| manifest["kind"] == "Deployment").unwrap();
    &workload["spec"]["template"]["spec"]
}

/// Variables and files are different things, also where their names are alike.
#[test]
fn secret_variables_and_files_keep_their_values() {
    let secret = |name: &str| json!(format!("«secret {name}»"));
    let manifests = rendered(json!({
        "variables": { "token": secret("variable"), "etc_a": secret("etc_a") },
        "files": {
            "/token": { "content": secret("file") },
            "/env.token": { "content": secret("env.token") },
            "/etc/a": { "content": secret("etc/a") },
            "/etc_a": { "content": secret("etc_a file") },
            (format!("/etc_a.{}", names::hash("etc/a"))): { "content": secret("hash") },
        },
    }));
    let data = manifests[0]["stringData"].as_object().unwrap();
    assert_eq!(data.len(), 7, "{data:?}");
    let item = |path: &str| {
        let mounts = pod(&manifests)["containers"][0]["volumeMounts"].as_array().unwrap();
        let key = mounts.iter().find(|mount| mount["mountPath"] == path).unwrap()["subPath"].as_str().unwrap().to_owned();
        data[&key].clone()
    };
    assert_eq!(item("/token"), secret("file"));
    assert_eq!(item("/etc/a"), secret("etc/a"));
    for variable in pod(&manifests)["containers"][0]["env"].as_array().unwrap() {
        let key = variable["valueFrom"]["secretKeyRef"]["key"].as_str().unwrap();
        assert_eq!(data[key], secret(if variable["name"] == "token" { "variable" } else { "etc_a" }));
    }
}

#[test]
fn paths_have_one_form() {
    let manifests = rendered(json!({
        "files": { "etc//app/./a.conf": { "content": "a" } },
        "volumes": {
            "srv/": { "source": { "emptyDir": {} }, "output": "volume#web.a/source", "path": "/" },
            "/var//lib": { "source": { "emptyDir": {} }, "output": "volume#web.a/source", "path": "/sub/./folder/" },
        },
    }));
    let mounts = pod(&manifests)["containers"][0]["volumeMounts"].as_array().unwrap();
    let places: Vec<_> =
        mounts.iter().map(|mount| (mount["mountPath"].as_str().unwrap(), mount["subPath"].as_str().unwrap_or("-"))).collect();
    let key = mounts[0]["subPath"].as_str().unwrap();
    assert_eq!(places, [("/etc/app/a.conf", key), ("/srv", "-"), ("/var/lib", "sub/folder")]);
    assert_eq!(manifests[0]["data"][key], "a");
}

/// Kubernetes expands what stands in the pod, and nothing that it reads from a Secret or ConfigMap.
#[test]
fn dollars_reach_the_process_by_every_way() {
    let text = "a$$b $(PRICE) $HOME";
    let escaped = "a$$$$b $$(PRICE) $HOME";
    let manifests = rendered(json!({
        "command": [text], "args": [text],
        "variables": { "OPEN": text, "SECRET": format!("{text}«secret s»"), "LATE": format!("{text}«deferred lb.ip»") },
        "livenessProbe": { "exec": { "command": [text] } },
    }));
    let container = &pod(&manifests)["containers"][0];
    for at in ["/command/0", "/args/0", "/livenessProbe/exec/command/0"] {
        assert_eq!(container.pointer(at), Some(&json!(escaped)), "{at}");
    }
    let env = |name: &str| container["env"].as_array().unwrap().iter().find(|variable| variable["name"] == name).unwrap().clone();
    assert_eq!(env("OPEN")["value"], escaped);
    assert_eq!(env("SECRET").pointer("/valueFrom/secretKeyRef/key"), Some(&json!("main.env.SECRET")));
    assert_eq!(env("LATE").pointer("/valueFrom/configMapKeyRef/key"), Some(&json!("main.env.LATE")));
    assert_eq!(manifests[0]["data"]["main.env.LATE"], format!("{text}«deferred lb.ip»"));
    assert_eq!(manifests[1]["stringData"]["main.env.SECRET"], format!("{text}«secret s»"));
}

#[test]
fn volumes_are_named_by_resource() {
    let volume = |output: &str, source: Value| json!({ "source": source, "output": output });
    let manifests = rendered(json!({ "volumes": {
        "/data": volume("volume#web.data/source", json!({ "emptyDir": {} })),
        "/again": volume("volume#web.data/source", json!({ "emptyDir": {} })),
        "/shared": volume("volume#data/source", json!({ "emptyDir": {} })),
        "/fast": volume("volume.fast#web.data/source", json!({ "emptyDir": {} })),
        "/wal": volume("volume#web.data/wal", json!({ "emptyDir": {} })),
    } }));
    let pod = pod(&manifests);
    assert_eq!(pod["volumes"].as_array().unwrap().len(), 4);
    let mounted = |path: &str| {
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        mounts.iter().find(|mount| mount["mountPath"] == path).unwrap()["name"].clone()
    };
    assert_eq!(mounted("/data"), mounted("/again"));
    let names = ["/data", "/shared", "/fast", "/wal"].map(mounted);
    assert!(names.iter().enumerate().all(|(index, name)| !names[..index].contains(name)), "{names:?}");
}

/// The claims of a StatefulSet belong to it by name: with another one, its pods would start with empty volumes.
#[test]
fn claims_of_pods_keep_their_names_whatever_their_size() {
    let claims = |size: &str| {
        let claim = |output: &str| json!({ "source": { "claimSpec": { "resources": { "requests": { "storage": size } } } }, "output": format!("volume#web.{output}/source") });
        let volumes = json!({ "/data": claim("data"), "/wal": claim("wal") });
        let workload = workload(
            json!({ "metadata": { "annotations": { "k8s.score.dev/kind": "StatefulSet" } }, "containers": { "main": { "volumes": volumes } } }),
        );
        let outcome = render::<WorkloadDefault>(json!({ "workload": workload }));
        let claims = outcome.manifests[0]["spec"]["volumeClaimTemplates"].as_array().unwrap().clone();
        claims.into_iter().map(|claim| claim["metadata"]["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(claims("1Gi").len(), 2);
    assert_eq!(claims("1Gi"), claims("2Gi"));
}

/// A value that is known only later does not hide a change of the others.
#[test]
fn fingerprints_cover_known_values_beside_late_ones() {
    let fingerprint = |content: &str| {
        let manifests = rendered(json!({ "variables": { "LATE": { "$deferred": "lb.ip" } }, "files": { "/a": { "content": content } } }));
        manifests[1].pointer("/spec/template/metadata/annotations/windlass.dev~1fingerprint").cloned().unwrap()
    };
    assert_eq!(fingerprint("1"), fingerprint("1"));
    assert_ne!(fingerprint("1"), fingerprint("2"));
}
