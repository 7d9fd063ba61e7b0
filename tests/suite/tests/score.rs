//! Score as people write it: what a Score file means is what is made of it, and what cannot be made is an error with its place.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests: a failure here is the test's")]

use serde_json::Value;
use windlass_suite::binary::{Folder, stable};

/// The kinds of a shop: a front end that calls others, others that call each other, a load generator that no workload calls.
/// `(workload, name of its port, port, target port, workloads that it calls)`
const SHOP: [(&str, &str, u16, u16, &[&str]); 11] = [
    ("storefront", "http", 80, 8080, &["catalogue", "rates", "basket", "hints", "parcel", "till", "banner"]),
    ("till", "grpc", 5050, 5051, &["catalogue", "parcel", "cashier", "letters", "rates", "basket"]),
    ("basket", "grpc", 7070, 7070, &[]),
    ("catalogue", "grpc", 3550, 3551, &[]),
    ("rates", "grpc", 7000, 7001, &[]),
    ("hints", "grpc", 8080, 8081, &["catalogue"]),
    ("parcel", "grpc", 50051, 50052, &["till"]),
    ("cashier", "grpc", 50052, 50051, &[]),
    ("letters", "grpc", 5000, 8080, &[]),
    ("banner", "grpc", 9555, 9556, &[]),
    ("load", "metrics", 9090, 9091, &["storefront"]),
];

/// Writes one Score file for each workload of the shop, with one resource of a type for each workload that it calls.
fn shop(folder: &Folder, params: impl Fn(&str, u16) -> String, value: impl Fn(&str, u16) -> String, kind: &str) {
    let port_of = |name: &str| SHOP.iter().find(|known| known.0 == name).unwrap().2;
    for (name, port, number, target, calls) in SHOP {
        let (mut variables, mut resources) = (String::new(), String::new());
        for called in calls {
            let number = port_of(called);
            variables.push_str(&format!("      {}_ADDR: {}\n", called.to_uppercase(), value(called, number)));
            resources.push_str(&format!("  {called}: {{ type: {kind}{} }}\n", params(called, number)));
        }
        let variables = if calls.is_empty() { String::new() } else { format!("    variables:\n{variables}") };
        let resources = if calls.is_empty() { String::new() } else { format!("resources:\n{resources}") };
        folder.write(
            &format!("shop/{name}.score.yaml"),
            &format!(
                "apiVersion: score.dev/v1b1\nmetadata: {{ name: {name}{} }}\nservice: {{ ports: {{ {port}: {{ port: {number}, targetPort: {target} }} }} }}\ncontainers:\n  main:\n    image: ghcr.io/acme/{name}:1\n{variables}{resources}",
                if name == "basket" { ", annotations: { k8s.score.dev/service-name: basket-cache }" } else { "" },
            ),
        );
    }
}

/// Returns the objects that a folder of documents renders to.
fn rendered(folder: &Folder, path: &str) -> Vec<Value> {
    let text = folder.ok(&format!("render {path} -o -")).out;
    text.split("---\n").map(|document| serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}"))).collect()
}

/// Holds every address of the shop to the Services that are made.
fn check_addresses(folder: &Folder, shown: impl Fn(&str, u16) -> String) {
    let objects = rendered(folder, "shop");
    let find = |kind: &str, name: &str| {
        objects
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("{kind} {name}"))
    };
    let mut seen = 0;
    for (name, _, _, _, calls) in SHOP {
        let container = &find("Deployment", name)["spec"]["template"]["spec"]["containers"][0];
        for called in calls {
            let service = if *called == "basket" { "basket-cache" } else { called };
            let port = u16::try_from(find("Service", service)["spec"]["ports"][0]["port"].as_u64().unwrap()).unwrap();
            let variable = format!("{}_ADDR", called.to_uppercase());
            let value = container["env"].as_array().unwrap().iter().find(|variable_of| variable_of["name"] == variable.as_str()).unwrap();
            assert_eq!(value["value"], shown(service, port), "{name} {variable}");
            seen += 1;
        }
    }
    assert_eq!(seen, 16);
}

#[test]
fn services_named_by_alias_lead_to_their_workload() {
    let folder = Folder::new();
    shop(&folder, |_, _| String::new(), |name, port| format!("\"${{resources.{name}.name}}:{port}\""), "service");
    check_addresses(&folder, |service, port| format!("{service}:{port}"));
}

#[test]
fn endpoints_named_by_alias_lead_to_their_workload() {
    let folder = Folder::new();
    shop(&folder, |_, port| format!(", params: {{ port: {port} }}"), |name, _| format!("\"${{resources.{name}.url}}/v1\""), "endpoint");
    check_addresses(&folder, |service, port| format!("http://{service}:{port}/v1"));
}

#[test]
fn ports_of_services_named_by_alias_are_those_of_their_workload() {
    let folder = Folder::new();
    let value = |name: &str, _| format!("\"${{resources.{name}.hostname}}:${{resources.{name}.port}}\"");
    shop(&folder, |_, _| String::new(), value, "service-port");
    check_addresses(&folder, |service, port| format!("{service}:{port}"));
}

/// A workload with the resources and the port given.
fn workload(name: &str, more: &str, resources: &str) -> String {
    format!(
        "apiVersion: score.dev/v1b1\nmetadata: {{ name: {name}{more} }}\nservice: {{ ports: {{ web: {{ port: 80, targetPort: 8080 }}, admin: {{ port: 9000 }} }} }}\ncontainers: {{ main: {{ image: \"{name}:1\" }} }}\n{}",
        if resources.is_empty() { String::new() } else { format!("resources:\n{resources}") },
    )
}

/// Returns what `plan` says of an application of `web` with the resources given, and `api` beside it.
fn refused(resources: &str) -> String {
    let folder = Folder::new();
    folder.write("shop/api.score.yaml", &workload("api", "", ""));
    folder.write("shop/web.score.yaml", &workload("web", "", resources));
    folder.write("shop/job.score.yaml", "apiVersion: score.dev/v1b1\nmetadata: { name: job }\ncontainers: { main: { image: job:1 } }\n");
    let ran = folder.run("plan shop -e dev --create-env development");
    assert_eq!(ran.code, 65, "{}", ran.err);
    stable(&ran)
}

#[test]
fn a_target_that_does_not_exist_is_an_error_with_its_place() {
    insta::assert_snapshot!(refused(
        "  apo: { type: service }
  nothing: { type: endpoint }
  job: { type: service }
  a: { type: service, params: { workload: apii } }
  api: { type: service-port }
  b: { type: service-port, params: { workload: api, port: 81 } }
  c: { type: endpoint, params: { workload: api, port: 8080 } }
  d: { type: horizontal-pod-autoscaler, params: { workload: apo } }
"
    ));
}

#[test]
fn a_target_that_is_not_deployed_yet_is_an_error() {
    let folder = Folder::new();
    folder.write("web.score.yaml", &workload("web", "", "  api: { type: service }\n"));
    folder.write("api.score.yaml", &workload("api", "", ""));
    let ran = folder.run("deploy web.score.yaml --app shop -e dev --create-env development --yes");
    assert_eq!(ran.code, 65);
    insta::assert_snapshot!(stable(&ran));
    folder.ok("deploy api.score.yaml --app shop -e dev --create-env development --yes");
    folder.ok("deploy web.score.yaml --app shop -e dev --yes");
}

#[test]
fn a_disabled_target_is_an_error() {
    let folder = Folder::new();
    folder.write("shop/web.score.yaml", &workload("web", "", "  api: { type: service }\n"));
    folder.write("shop/api.score.yaml", &workload("api", "", ""));
    folder.write(
        "shop/application.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: Application\nmetadata: { name: shop }\nspec:\n  environments: [{ match: { environment: dev }, workloads: { api: { enabled: false } } }]\n",
    );
    let ran = folder.run("plan shop -e dev --create-env development");
    assert_eq!(ran.code, 65);
    insta::assert_snapshot!(stable(&ran));
}

#[test]
fn shared_resources_name_their_target_by_id() {
    let folder = Folder::new();
    folder.write("shop/api.score.yaml", &workload("api", "", ""));
    folder.write(
        "shop/web.score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"web:1\", variables: { A: \"${resources.x.name}\", B: \"${resources.y.url}\" } } }\nresources:\n  x: { type: service, id: api }\n  y: { type: endpoint, id: some.api, params: { port: admin } }\n",
    );
    let objects = rendered(&folder, "shop");
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == "web").unwrap();
    let env = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(env[0]["value"], "api");
    assert_eq!(env[1]["value"], "http://api:9000");
}

#[test]
fn an_autoscaler_scales_the_kind_that_runs_the_workload() {
    let folder = Folder::new();
    let scaler = "  scaler: { type: horizontal-pod-autoscaler, params: { maxReplicas: 5 } }\n";
    folder.write("shop/web.score.yaml", &workload("web", "", scaler));
    folder.write("shop/db.score.yaml", &workload("db", ", annotations: { k8s.score.dev/kind: StatefulSet }", scaler));
    let objects = rendered(&folder, "shop");
    let mut targets: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"] == "HorizontalPodAutoscaler")
        .map(|scaler| &scaler["spec"]["scaleTargetRef"])
        .collect();
    targets.sort_by_key(|target| target["name"].to_string());
    assert_eq!(targets.len(), 2);
    for (target, (kind, name)) in targets.iter().zip([("StatefulSet", "db"), ("Deployment", "web")]) {
        assert_eq!((&target["kind"], &target["name"]), (&Value::from(kind), &Value::from(name)));
    }
}

/// A definition of routes as the platform team writes it: Ingresses, and one Ingress of many.
const INGRESSES: &str = "\
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: KIND }
spec:
  type: route
  driver: { builtin: route }
  inputs: { kind: KIND }
  grants: [{ import: windlass:kubernetes/objects, kinds: [networking.k8s.io/v1/Ingress], hosts: [\"*\"] }]
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: all }
spec:
  type: ingress
  driver: { builtin: route }
  collect: { routes: { type: route, usedBy: consumers } }
  inputs: { routes: \"${collect.routes}\" }
  grants: [{ import: windlass:kubernetes/objects, kinds: [networking.k8s.io/v1/Ingress], hosts: [\"*\"] }]
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: ingress }
spec: { outputs: { type: object } }
";

#[test]
fn routes_lead_to_the_service_that_is_made() {
    let routes = "  own: { type: route, params: { host: a.example, path: /, port: web } }\n  other: { type: route, params: { host: a.example, path: /admin, port: \"9000\", workload: api } }\n";
    let backends = [("a.example/", "shop-front", 80), ("a.example/admin", "api", 9000)];
    for kind in ["httpRoute", "ingress", "collected"] {
        let folder = Folder::new();
        let all = if kind == "collected" { "  all: { type: ingress }\n" } else { "" };
        folder.write(
            "shop/web.score.yaml",
            &workload("web", ", annotations: { k8s.score.dev/service-name: shop-front }", &format!("{routes}{all}")),
        );
        folder.write("shop/api.score.yaml", &workload("api", "", ""));
        folder.write("platform/routes.yaml", &INGRESSES.replace("KIND", kind));
        let platform = if kind == "httpRoute" { "" } else { " --platform platform" };
        let objects = rendered(&folder, &format!("shop{platform}"));
        let mut found: Vec<(String, String, u64)> = Vec::new();
        for spec in objects.iter().map(|object| &object["spec"]) {
            for rule in spec["rules"].as_array().into_iter().flatten() {
                for backend in rule["backendRefs"].as_array().into_iter().flatten() {
                    let address =
                        format!("{}{}", spec["hostnames"][0].as_str().unwrap(), rule["matches"][0]["path"]["value"].as_str().unwrap());
                    found.push((address, backend["name"].as_str().unwrap().into(), backend["port"].as_u64().unwrap()));
                }
                for path in rule["http"]["paths"].as_array().into_iter().flatten() {
                    let service = &path["backend"]["service"];
                    let address = format!("{}{}", rule["host"].as_str().unwrap(), path["path"].as_str().unwrap());
                    found.push((address, service["name"].as_str().unwrap().into(), service["port"]["number"].as_u64().unwrap()));
                }
            }
        }
        found.sort();
        let found: Vec<(&str, &str, u64)> =
            found.iter().map(|(address, service, port)| (address.as_str(), service.as_str(), *port)).collect();
        assert_eq!(found, backends, "{kind}");
        let services: Vec<&str> = objects
            .iter()
            .filter(|object| object["kind"] == "Service")
            .map(|service| service["metadata"]["name"].as_str().unwrap())
            .collect();
        assert!(found.iter().all(|(_, service, _)| services.contains(service)), "{services:?}");
    }
}

#[test]
fn a_route_that_leads_nowhere_is_an_error_with_its_place() {
    insta::assert_snapshot!(refused(
        "  a: { type: route, params: { host: a.example, path: /, port: 81 } }
  b: { type: route, params: { host: a.example, path: /, port: http } }
  c: { type: route, params: { host: a.example, path: /, port: 8080 } }
  d: { type: route, params: { host: a.example, path: /, port: 80, workload: apo } }
  e: { type: route, params: { host: a.example, path: /, port: 80, workload: job } }
  f: { type: route, params: { host: \"${resources.name.host}+\", path: /, port: 80 } }
  g: { type: route, params: { host: A.example, path: api/, port: 80 } }
  h: { type: route, params: { host: \"${resources.env.NOT_SET}\", path: /, port: 80 } }
  i: { type: route, params: { host: a.example, path: / } }
  j: { type: route, params: { host: a.example, path: /, port: [80] } }
  name: { type: dns }
  env: { type: environment }
"
    ));
}

#[test]
fn a_shared_route_says_which_workload_it_leads_to() {
    let folder = Folder::new();
    let shared = "  shared: { type: route, id: front }\n";
    folder.write("shop/web.score.yaml", &workload("web", "", shared));
    folder.write("shop/api.score.yaml", &workload("api", "", shared));
    let document = |workload: &str| {
        format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: Application\nmetadata: {{ name: shop }}\nspec:\n  resources:\n    front: {{ type: route, params: {{ host: a.example, port: 80{workload} }} }}\n"
        )
    };
    folder.write("shop/application.yaml", &document(""));
    let ran = folder.run("plan shop -e dev --create-env development");
    assert_eq!(ran.code, 65);
    insta::assert_snapshot!(stable(&ran));
    folder.write("shop/application.yaml", &document(", workload: api"));
    let objects = rendered(&folder, "shop");
    let route = objects.iter().find(|object| object["kind"] == "HTTPRoute").unwrap();
    assert_eq!(route["spec"]["rules"][0]["backendRefs"][0]["name"], "api");
}

/// A definition of the platform team reads the same answers as the built-in ones.
#[test]
fn definitions_read_the_target_of_their_resource() {
    let folder = Folder::new();
    folder.write(
        "platform/peer.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: peer }\nspec:\n  type: peer\n  driver: { builtin: template }\n  inputs:\n    outputs: { to: \"${context.target.kind}/${context.target.name}/${context.target.service}/${context.target.port}\", from: \"${context.workload.kind}/${context.workload.name}\" }\n  grants: [{ import: windlass:kubernetes/objects }, { import: windlass:secrets/generated }]\n",
    );
    folder.write("shop/api.score.yaml", &workload("api", ", annotations: { k8s.score.dev/service-name: back }", ""));
    folder.write(
        "shop/web.score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: web, annotations: { k8s.score.dev/kind: StatefulSet } }\ncontainers: { main: { image: \"web:1\", variables: { TO: \"${resources.api.to}\", FROM: \"${resources.api.from}\" } } }\nresources: { api: { type: peer, params: { port: admin } } }\n",
    );
    let objects = rendered(&folder, "shop --platform platform");
    let set = objects.iter().find(|object| object["kind"] == "StatefulSet").unwrap();
    let env = &set["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!((&env[1]["value"], &env[0]["value"]), (&"Deployment/api/back/9000".into(), &"StatefulSet/web".into()));
}

#[test]
fn the_specification_is_taken_by_its_word() {
    let folder = Folder::new();
    folder.write(
        "shop/web.score.yaml",
        "apiVersion: score.dev/v1b1
metadata: { name: we--b, owner: { team: core, on-call: [ann] } }
service: { ports: { a--b: { port: 80 } } }
containers:
  ma--in:
    image: web:1
    variables: { OWNER: \"${metadata.owner}\", HOST: \"${resources.d--b.host}\" }
    resources: { limits: { memory: 0.5Gi, cpu: \".5\" }, requests: { memory: 0.25Gi } }
    livenessProbe: { httpGet: { path: /, port: 80 }, exec: { command: [/bin/check] } }
    readinessProbe: { httpGet: { path: /, port: 80, host: web.example } }
resources: { d--b: { type: dns } }
",
    );
    let objects = rendered(&folder, "shop");
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    insta::assert_json_snapshot!(container);
}

#[test]
fn annotations_are_text() {
    let folder = Folder::new();
    folder.write(
        "web.score.yaml",
        "apiVersion: score.dev/v1b1
metadata:
  name: web
  annotations: { replicas: 1 }
containers: { main: { image: web:1 } }
resources:
  db: { type: postgres, metadata: { annotations: { size: 2 } } }
",
    );
    let ran = folder.run("validate web.score.yaml");
    assert_eq!(ran.code, 65);
    insta::assert_snapshot!(stable(&ran));
}

#[test]
fn fields_that_score_does_not_have_are_named_as_what_they_are() {
    let folder = Folder::new();
    folder.write("shop/web.score.yaml", &workload("web", "", ""));
    folder.write("shop/kind.score.yaml", &workload("api", "", "").replace("metadata:", "kind: Workload\nmetadata:"));
    let ran = folder.run("plan shop -e dev --create-env development");
    assert_eq!(ran.code, 65, "a document with a `kind` is not skipped: {}", ran.out);
    insta::assert_snapshot!("kind", stable(&ran));
    folder.write(
        "old.score.yaml",
        "apiVersion: score.dev/v1b1
metadata: { name: old }
name: old
spec: {}
x-team: core
containers:
  main:
    image: old:1
    env: { A: b }
    ports: [{ port: 80 }]
    variables: { DB: \"${externals.db.host}\" }
    livenessProbe: { httpGet: { path: /, port: 80 }, periodSeconds: 5 }
resources: { db: { type: postgres, properties: { host: } } }
",
    );
    let ran = folder.run("validate old.score.yaml");
    assert_eq!(ran.code, 65);
    insta::assert_snapshot!("leftovers", stable(&ran));
    folder.write(
        "externals.score.yaml",
        &workload("web", "", "  db: { type: postgres }\n")
            .replace("image: \"web:1\"", "image: \"web:1\", variables: { DB: \"${externals.db.host}\" }"),
    );
    let ran = folder.run("plan externals.score.yaml -e dev --create-env development");
    assert_eq!(ran.code, 65);
    insta::assert_snapshot!("externals", stable(&ran));
}

#[test]
fn a_template_that_was_not_rendered_is_named_as_one() {
    let folder = Folder::new();
    folder.write("shop/web.score.yaml", &workload("web", "", "").replace("name: web", "name: {{ name }}"));
    folder.write("shop/api.score.yaml", &workload("api", "", "").replace("api:1", "ghcr.io/${{ github.repository }}:1"));
    // A chart that knows the annotations of the Score tools is no file of ours.
    folder.write("shop/chart.yaml", "metadata: { annotations: { k8s.score.dev/kind: Job } }\n{{- if .Values.x }}\n");
    let ran = folder.run("plan shop -e dev --create-env development");
    assert_eq!(ran.code, 65);
    insta::assert_snapshot!(stable(&ran));
}

#[test]
fn files_of_other_tools_are_named_in_a_note() {
    let folder = Folder::new();
    folder.write("shop/web.score.yaml", &workload("web", "", ""));
    folder.write("shop/docker-compose.yaml", "services: {}\n");
    folder.write("shop/web.provisioners.yaml", "- uri: template://x\n");
    folder.write("other/Chart.yaml", "name: x\n");
    let ran = folder.ok("plan shop -e dev --create-env development");
    insta::assert_snapshot!(ran.err);
}

#[test]
fn an_unknown_class_is_made_by_the_default_definition() {
    let folder = Folder::new();
    let container =
        "containers: { main: { image: \"web:1\", variables: { DB: \"${resources.db.host}\", PEER: \"${resources.web.name}\" } } }";
    let resources = "  db: { type: postgres, class: small }\n  web: { type: service, class: odd }\n";
    folder.write("shop/web.score.yaml", &workload("web", "", resources).replace("containers: { main: { image: \"web:1\" } }", container));
    let first = folder.ok("plan shop -e dev --create-env development");
    insta::assert_snapshot!(stable(&first));
    // The warning stays as long as the class is unknown, and goes with it.
    folder.ok("deploy shop -e dev --create-env development --yes");
    let explained = folder.ok("explain postgres.small#web.db -e dev");
    assert!(explained.out.contains("postgres"), "{}", explained.out);
    let again = folder.ok("plan shop -e dev");
    assert_eq!(again.err.matches("no class `small`").count(), 1, "{}", again.err);
    folder.write(
        "platform/small.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: small }\nspec:\n  type: postgres\n  class: small\n  driver: { builtin: postgres }\n  grants: [{ import: windlass:kubernetes/objects, kinds: [v1/Secret, v1/Service, v1/PersistentVolumeClaim, apps/v1/StatefulSet] }, { import: windlass:secrets/generated }]\n",
    );
    folder.ok("platform apply platform");
    let known = folder.ok("plan shop -e dev");
    assert!(!format!("{}{}", known.out, known.err).contains("no class `small`"), "{}{}", known.out, known.err);
}

#[test]
fn unknown_params_are_warnings_whatever_the_driver_is() {
    let folder = Folder::new();
    let resources = "  cache: { type: redis, params: { name: web-cache } }
  db: { type: postgres, params: { size: 1Gi } }
  sql: { type: mysql, params: { size: 1Gi } }
  llm: { type: llm-model, params: { modle: x } }
  api: { type: service, params: { workload: web, prt: 1 } }
  route: { type: route, params: { host: a.example, path: /, port: 80, service: other } }
";
    folder.write("shop/web.score.yaml", &workload("web", "", resources));
    insta::assert_snapshot!(stable(&folder.ok("plan shop -e dev --create-env development")));
    // A misspelt param that a driver needs is told beside what the driver says.
    folder.write("shop/web.score.yaml", &workload("web", "", "  route: { type: route, params: { hots: a.example, port: 80 } }\n"));
    let ran = folder.run("plan shop -e dev --create-env development");
    assert_eq!(ran.code, 65);
    insta::assert_snapshot!("misspelt_param", stable(&ran));
}
