//! A plan file says what was approved. What is applied is what this machine plans.

use serde_json::{Value, json};
use windlass_model::Digest;
use windlass_suite::binary::{Folder, application_document};

const WEB: &str = "\
apiVersion: score.dev/v1b1
metadata: { name: web }
service: { ports: { http: { port: 80, targetPort: 8080 } } }
containers:
  main: { image: \"web:1\", variables: { DB: \"${resources.db.host}\", NAME: x } }
resources:
  db: { type: postgres }
";

const PLAN: &str = "plan shop -e dev --create-env development --out plan.json";
const DEPLOY: &str = "deploy plan.json -e dev --yes";

fn application() -> Folder {
    let folder = Folder::new();
    folder.write("shop/windlass.yaml", &application_document("shop"));
    folder.write("shop/web.score.yaml", WEB);
    folder
}

fn file(folder: &Folder) -> Value {
    serde_json::from_str(&folder.read("plan.json")).unwrap()
}

/// Writes an edited plan file beside the honest one.
fn edited(folder: &Folder, edit: impl FnOnce(&mut Value)) {
    let mut file = file(folder);
    edit(&mut file);
    // The schema comes first: it says what the file is.
    let schema = file.as_object_mut().unwrap().remove("schema").unwrap();
    let rest = file.to_string();
    folder.write("edited.json", &format!("{{\"schema\":{schema},{}", rest.strip_prefix('{').unwrap()));
}

/// Finds the workload's node, and an action of a kind in it.
fn action<'f>(file: &'f mut Value, kind: &str) -> &'f mut Value {
    let nodes = file["plan"]["stages"][0]["nodes"].as_array_mut().unwrap();
    let node = nodes.iter_mut().find(|node| node["key"] == "workload/web").unwrap();
    let actions = node["actions"].as_array_mut().unwrap();
    actions.iter_mut().find(|action| action["spec"]["kind"] == kind).unwrap()
}

/// A refusal that names a place; nothing was made.
fn assert_refused(folder: &Folder, what: &str, place: &str) {
    let refused = folder.run("deploy edited.json -e dev --yes");
    assert_eq!(refused.code, 65, "{what}: {}{}", refused.out, refused.err);
    assert!(refused.err.contains(place), "{what}: {}", refused.err);
    assert!(folder.files(".windlass/manifests").is_empty(), "{what}");
}

#[test]
fn a_plan_that_this_machine_does_not_make_is_refused() {
    let folder = application();
    folder.ok(PLAN);
    edited(&folder, |file| action(file, "Deployment")["spec"]["spec"]["template"]["spec"]["containers"][0]["image"] = json!("evil:1"));
    assert_refused(&folder, "another image", "/spec/template/spec/containers/0/image` is \"evil:1\" in the file and \"web:1\" here");
    edited(&folder, |file| {
        let nodes = file["plan"]["stages"][0]["nodes"].as_array_mut().unwrap();
        let node = nodes.iter_mut().find(|node| node["key"] == "workload/web").unwrap();
        let mut binding = node["actions"][0].clone();
        binding["id"] = json!("workload/web:object/binding");
        binding["identity"] = json!("rbac.authorization.k8s.io/ClusterRoleBinding//evil");
        node["actions"].as_array_mut().unwrap().push(binding);
    });
    assert_refused(&folder, "an object of its own", "`/stages/0/nodes/");
    edited(&folder, |file| {
        let password = json!({ "$sealed": [{ "encoding": "json", "origin": { "generated": { "action": "postgres.default#web.db:secret/password", "version": 1 } } }] });
        action(file, "Service")["spec"]["metadata"]["annotations"] = json!({ "password": password });
    });
    assert_refused(&folder, "a password in clear text", "/spec/metadata/annotations`");
    edited(&folder, |file| file["plan"]["secretFlows"] = json!([]));
    assert_refused(&folder, "hidden flows", "`/secretFlows`");
    edited(&folder, |file| {
        file["plan"]["warnings"] = json!([{ "severity": "warning", "code": "x", "message": "m", "pointer": "", "subject": "s" }])
    });
    assert_refused(&folder, "a warning", "`/warnings` is");
    edited(&folder, |file| file["plan"]["policy"] = file["plan"]["model"].clone());
    assert_refused(&folder, "a policy", "`/policy`");
    // None of them left a trace: an honest plan has everything to do, and is applied.
    assert_eq!(folder.run("plan shop -e dev --create-env development --detailed-exitcode").code, 2);
    folder.ok(DEPLOY);
    assert!(folder.files(".windlass/manifests").values().any(|text| text.contains("image: web:1")));
}

#[test]
fn an_edited_model_is_planned_and_compared() {
    let folder = application();
    folder.ok(PLAN);
    let image = |file: &mut Value| file["model"]["workloads"]["web"]["score"]["containers"]["main"]["image"] = json!("evil:1");
    edited(&folder, image);
    assert_refused(&folder, "a model", "\"web:1\" in the file and \"evil:1\" here");
    edited(&folder, |file| {
        image(file);
        file["plan"]["model"] = json!(Digest::of(&file["model"]).unwrap());
    });
    assert_refused(&folder, "a model with its digest", "\"web:1\" in the file and \"evil:1\" here");
}

#[test]
fn documents_of_a_file_are_held_to_the_rules_of_documents() {
    let folder = application();
    folder.ok(PLAN);
    let cases: [(&str, Value, &str); 4] = [
        ("a token", json!("\u{FDD0}st0\u{FDD1}"), "reserved for sealed values"),
        ("an integer that readers round", json!({ "a": 9_007_199_254_740_993_u64 }), "would be rounded"),
        ("deep nesting", (0..70).fold(json!(1), |inner, _| json!([inner])), "nested deeper than 64"),
        ("deeper nesting", (0..125).fold(json!(1), |inner, _| json!([inner])), "levels deep"),
    ];
    for (what, value, reason) in cases {
        edited(&folder, |file| {
            file["model"]["workloads"]["web"]["score"]["resources"]["db"]["params"] = json!({ "x": value });
            file["plan"]["model"] = json!(Digest::of(&file["model"]).unwrap());
        });
        assert_refused(&folder, what, reason);
    }
    edited(&folder, |file| {
        let spec = json!({ "protected": "no" });
        let document = json!({ "apiVersion": "windlass.dev/v1alpha1", "kind": "EnvironmentType", "metadata": { "name": "development" }, "spec": spec });
        file["platform"] = json!({ "environmentTypes": { "development": document } });
    });
    assert_refused(&folder, "a document that does not fit its schema", "plan file edited.json can't be read");
    edited(&folder, |file| {
        let document =
            json!({ "apiVersion": "windlass.dev/v1alpha1", "kind": "EnvironmentType", "metadata": { "name": "other" }, "spec": {} });
        file["platform"] = json!({ "environmentTypes": { "development": document } });
    });
    assert_refused(&folder, "a document under another name", "is called `other`");
}

#[test]
fn connections_and_stored_layers_are_this_machines() {
    let folder = application();
    folder.ok(PLAN);
    let connection = json!({
        "apiVersion": "windlass.dev/v1alpha1", "kind": "Connection", "metadata": { "name": "tf" },
        "spec": { "capability": "terraform", "terraform": { "program": "./evil.sh" } },
    });
    edited(&folder, |file| file["platform"] = json!({ "connections": { "tf": connection } }));
    assert_refused(&folder, "a connection", "can't carry the connection `tf`");
    edited(&folder, |file| file["layers"] = json!([["stored", { "connections": { "tf": connection } }]]));
    assert_refused(&folder, "a stored layer", "unknown field `layers`");
    folder.write("given/c.yaml", &connection.to_string());
    let written = folder.run("plan shop -e dev --create-env development --platform given --out other.json");
    assert_eq!(written.code, 65, "{}", written.err);
    assert!(folder.read("other.json").is_empty());
    // Stored on the machine that deploys, it is used; changed there since the plan was made, the plan is refused.
    folder.write("platform/c.yaml", &connection.to_string());
    folder.ok("platform apply platform");
    folder.ok(PLAN);
    folder.write("platform/c.yaml", &connection.to_string().replace("evil", "other"));
    folder.ok("platform apply platform");
    folder.write("edited.json", &folder.read("plan.json"));
    assert_refused(&folder, "a connection that changed", "`/policy`");
}

#[test]
fn a_given_platform_goes_with_the_file_and_names_no_other_drivers() {
    let folder = application();
    folder.write(
        "given/p.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: mine }\nspec:\n  type: postgres\n  driver: { builtin: template }\n  inputs: { outputs: { host: given.example, port: 5432, name: n, username: u, password: p } }\n  grants:\n    - { import: windlass:kubernetes/objects }\n    - { import: windlass:secrets/generated }\n",
    );
    folder.ok(&format!("{PLAN} --platform given"));
    let other = Folder::new();
    other.write("plan.json", &folder.read("plan.json"));
    // Whatever the file calls a built-in driver: this build's is used.
    edited(&folder, |file| file["platform"]["components"]["builtin:template"] = file["platform"]["components"]["builtin:postgres"].clone());
    other.write("edited.json", &folder.read("edited.json"));
    other.ok("deploy edited.json -e dev --yes");
    assert!(other.files(".windlass/manifests").values().any(|text| text.contains("given.example")));
    edited(&folder, |file| {
        file["platform"]["definitions"]["mine"]["spec"]["inputs"]["outputs"]["host"] = json!("evil.example");
    });
    assert_refused(&folder, "a definition", "\"given.example\" in the file and \"evil.example\" here");
}

#[test]
fn a_file_destroys_exactly_what_this_machine_would_destroy() {
    let folder = application();
    folder.ok("deploy shop -e dev --create-env development --yes");
    let manifests = folder.files(".windlass/manifests");
    folder.ok("plan --destroy -e dev --out plan.json");
    edited(&folder, |file| {
        file["plan"]["destroys"].as_array_mut().unwrap().pop();
    });
    let refused = folder.run("deploy edited.json -e dev --yes");
    assert_eq!(refused.code, 65, "{}", refused.err);
    assert!(refused.err.contains("`/destroys` is"), "{}", refused.err);
    edited(&folder, |file| file["purpose"] = json!("deploy"));
    assert_eq!(folder.run("deploy edited.json -e dev --yes").code, 65);
    assert_eq!(folder.files(".windlass/manifests"), manifests);
    folder.ok(DEPLOY);
    assert!(folder.files(".windlass/manifests").is_empty());
    assert!(folder.ok("history -e dev").out.contains("destroy"));
    let stale = folder.run(DEPLOY);
    assert_eq!(stale.code, 1, "{}", stale.err);
    assert!(stale.err.contains("stale"), "{}", stale.err);
}

#[test]
fn what_cannot_be_planned_here_is_not_applied() {
    let folder = application();
    folder.ok(PLAN);
    // The definition that the plan was made with refuses on this machine.
    folder.write(
        "platform/p.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: pg }\nspec:\n  type: postgres\n  driver: { builtin: postgres }\n  inputs: { unknown: 1 }\n  grants:\n    - { import: windlass:kubernetes/objects, kinds: [v1/Secret] }\n    - { import: windlass:secrets/generated }\n",
    );
    folder.ok("platform apply platform");
    folder.write("edited.json", &folder.read("plan.json"));
    assert_refused(&folder, "a plan that cannot be made", "unknown");
}
