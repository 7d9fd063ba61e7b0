//! Sealed values, rule by rule: what stands where, who may look, what becomes of it.
//!
//! What drivers do on purpose (tokens cut, forged, re-encoded, in names and diagnostics) is in `guests.rs`; what is deferred in `stages.rs`
//! and `terraform.rs`; what other systems keep in `vault.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use serde_json::{Value, json};
use windlass_suite::binary::{Folder, Ran, components, stable};

const PLAN: &str = "plan app -e dev";
const DEPLOY: &str = "deploy app -e dev --yes";

/// A workload with variables, and a resource `probe` of the type that [`probe`] defines.
fn workload(containers: &Value) -> String {
    json!({
        "apiVersion": "score.dev/v1b1",
        "metadata": { "name": "web" },
        "containers": containers,
        "resources": { "env": { "type": "environment" }, "probe": { "type": "probe" } },
    })
    .to_string()
}

fn main_container(variables: &Value) -> Value {
    json!({ "main": { "image": "web:1", "variables": variables } })
}

/// An application whose environment `dev` has the secret `API_KEY`.
fn application(variables: &Value, value: &str) -> Folder {
    let folder = Folder::new();
    folder.write("app/score.json", &workload(&main_container(variables)));
    folder.ok("env create dev --type development --app app");
    assert_eq!(folder.pipe("secret set API_KEY -e dev", value).code, 0);
    folder
}

/// Defines the type `probe`: its outputs, and who makes it of which inputs.
fn probe(folder: &Folder, outputs: &Value, driver: &Value, inputs: &Value) {
    let documents = [
        json!({
            "apiVersion": "windlass.dev/v1alpha1",
            "kind": "ResourceType",
            "metadata": { "name": "probe" },
            "spec": { "outputs": { "type": "object", "additionalProperties": false, "properties": outputs } },
        }),
        json!({
            "apiVersion": "windlass.dev/v1alpha1",
            "kind": "ResourceDefinition",
            "metadata": { "name": "probe" },
            "spec": {
                "type": "probe",
                "driver": driver,
                "resources": { "env": { "type": "environment" } },
                "inputs": inputs,
                "grants": [
                    { "import": "windlass:kubernetes/objects", "kinds": ["v1/ConfigMap", "v1/Secret", "v1/Service", "apps/v1/Deployment"] },
                    { "import": "windlass:secrets/generated" },
                ],
            },
        }),
    ];
    for (name, document) in ["type", "definition"].iter().zip(documents) {
        folder.write(&format!("platform/{name}.json"), &document.to_string());
    }
    folder.ok("platform apply platform");
}

fn template(folder: &Folder, outputs: &Value, inputs: &Value) {
    probe(folder, outputs, &json!({ "builtin": "template" }), inputs);
}

/// The value of `main`'s variable, as it was planned.
fn variable(plan: &Value, name: &str) -> Value {
    let actions = plan["stages"][0]["nodes"].as_array().unwrap().iter().flat_map(|node| node["actions"].as_array().into_iter().flatten());
    let deployment = actions.map(|action| &action["spec"]).find(|spec| spec["kind"] == "Deployment").unwrap();
    let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    variables.iter().find(|variable| variable["name"] == name).unwrap().clone()
}

fn planned(folder: &Folder) -> Value {
    serde_json::from_str(&folder.ok(&format!("{PLAN} -o json")).out).unwrap()
}

fn refused(ran: &Ran, with: &str) {
    assert_eq!(ran.code, 65, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains(with), "{with}: {}", ran.err);
}

#[test]
fn a_plan_tells_nothing_of_the_values() {
    let variables = json!({ "KEY": "${resources.env.API_KEY}", "URL": "https://x:${resources.env.API_KEY}@host/" });
    let plan = |value| {
        let folder = application(&variables, value);
        template(&folder, &json!({}), &json!({}));
        let plan = folder.ok(&format!("{PLAN} -o json")).out;
        assert!(!plan.contains(value), "{plan}");
        plan
    };
    assert_eq!(plan("k-1"), plan("another value, and a much longer one"));
}

/// Every place that names, addresses or selects something, and every sink that is no sink for secrets.
#[test]
fn no_sealed_value_stands_where_it_would_be_a_name() {
    let folder = application(&json!({}), "k-1");
    let service = |more: Value| {
        let mut service =
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 80 }] } });
        for (pointer, value) in more.as_object().unwrap() {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let mut at = &mut service;
            for step in parent.split('/').skip(1) {
                at = at.as_object_mut().unwrap().entry(step).or_insert_with(|| json!({}));
            }
            at[key] = value.clone();
        }
        service
    };
    let secret = "{{ secrets.password }}";
    let mut told = String::new();
    for (pointer, value) in [
        ("/metadata/name", secret),
        ("/metadata/namespace", secret),
        ("/metadata/labels/team", secret),
        ("/metadata/annotations/note", secret),
        ("/spec/selector/app", secret),
        ("/kind", secret),
        ("/apiVersion", secret),
        ("/spec/externalName", secret),
        ("/metadata/name", "{{ secrets.password | fingerprint }}"),
        ("/metadata/labels/team", "{{ secrets.password | fingerprint }}"),
        ("/spec/selector/app", "{{ secrets.password | base64 }}"),
    ] {
        let manifest = service(json!({ pointer: value }));
        template(&folder, &json!({}), &json!({ "secrets": { "password": {} }, "manifests": { "s": manifest } }));
        let ran = folder.run(PLAN);
        assert_eq!(ran.code, 65, "{pointer}: {}{}", ran.out, ran.err);
        told += &format!("{pointer} = {value}\n{}\n", stable(&ran));
    }
    insta::assert_snapshot!("names", told);
}

#[test]
fn placeholders_act_only_where_score_says() {
    let folder = application(&json!({}), "k-1");
    template(&folder, &json!({ "host": { "type": "string" } }), &json!({ "outputs": { "host": "db.example" } }));
    let text = "${resources.probe.host}";
    folder.write(
        "app/score.json",
        &json!({
            "apiVersion": "score.dev/v1b1",
            "metadata": { "name": "web", "annotations": { "note": text } },
            "containers": { "main": {
                "image": "web:1",
                "command": ["sh", text],
                "args": ["-c", "echo ${HOME} ${resources.probe.host}"],
                "variables": { "HOST": text, "ESCAPED": "$${resources.probe.host}", "SHELL": "$HOME" },
                "files": {
                    "/etc/a": { "content": text },
                    "/etc/b": { "content": text, "noExpand": true },
                    "/etc/c": { "binaryContent": "JHtyZXNvdXJjZXMucHJvYmUuaG9zdH0=" },
                },
            } },
            "resources": { "env": { "type": "environment" }, "probe": { "type": "probe" } },
        })
        .to_string(),
    );
    insta::assert_snapshot!("where", folder.ok("render app --platform platform").out);
}

/// In text a value is a scalar without quotes; a whole string of a typed field takes the value's own type.
#[test]
fn text_or_typed() {
    let outputs = json!({
        "port": { "type": "integer" }, "on": { "type": "boolean" }, "name": { "type": "string" }, "list": { "type": "array" },
    });
    let whole = |name: &str| json!({ "V": format!("${{resources.probe.{name}}}") });
    let folder = application(&whole("port"), "k-1");
    // What a driver yields becomes what the type says.
    template(&folder, &outputs, &json!({ "outputs": { "port": "5432", "on": "true", "name": 7, "list": ["a", 1] } }));
    for (name, shown) in [("port", "5432"), ("on", "true"), ("name", "7"), ("list", r#"["a",1]"#)] {
        folder.write("app/score.json", &workload(&main_container(&whole(name))));
        assert_eq!(variable(&planned(&folder), "V")["value"], shown, "{name} in text");
    }
    // A typed field: the params of another resource.
    template(
        &folder,
        &outputs,
        &json!({ "outputs": {
            "port": "{{ params.port + 1 if params.port is number else 0 }}",
            "on": "{{ params.on is boolean }}",
            "name": "{{ params.name is string }}",
            "list": "{{ params.list }}",
        } }),
    );
    folder.write(
        "app/score.json",
        &json!({
            "apiVersion": "score.dev/v1b1",
            "metadata": { "name": "web" },
            "containers": main_container(&json!({ "PORT": "${resources.b.port}", "ON": "${resources.b.on}", "NAME": "${resources.b.name}", "FIRST": "${resources.b.list.0}" })),
            "resources": {
                "a": { "type": "probe", "params": { "port": 1, "on": true, "name": "x", "list": ["first"] } },
                "b": { "type": "probe", "params": {
                    "port": "${resources.a.port}", "on": "${resources.a.on}", "name": "${resources.a.name}", "list": "${resources.a.list}",
                } },
            },
        })
        .to_string(),
    );
    let plan = planned(&folder);
    for (name, shown) in [("PORT", "3"), ("ON", "true"), ("NAME", "true"), ("FIRST", "first")] {
        assert_eq!(variable(&plan, name)["value"], shown, "{name} keeps its type");
    }
    // What does not become what the type says is refused.
    template(&folder, &outputs, &json!({ "outputs": { "port": "many", "on": true, "name": "x", "list": [] } }));
    refused(&folder.run(PLAN), "/port");
}

#[test]
fn what_a_driver_must_read_is_no_secret_and_its_field_is_named() {
    let folder = application(&json!({}), "k-1");
    probe(
        &folder,
        &json!({ "host": { "type": "string" }, "url": { "type": "string" } }),
        &json!({ "builtin": "dns-static" }),
        &json!({ "host": "${resources.env.API_KEY}" }),
    );
    let ran = folder.run(PLAN);
    refused(&ran, "a secret can't stand in this field");
    assert!(ran.err.contains("/spec/inputs/host"), "{}", ran.err);
}

/// Planned for any value, held to the driver's schema when there is one: before the first effect.
#[test]
fn a_value_that_its_driver_does_not_take_is_refused_before_anything_is_sent() {
    let folder = application(&json!({}), "no pin");
    let driver = json!({ "file": components().join("guests/strict-input.wasm") });
    probe(&folder, &json!({ "value": { "type": "string" } }), &driver, &json!({ "secret": "${resources.env.API_KEY}" }));
    let plan = planned(&folder);
    let node = plan["stages"][0]["nodes"].as_array().unwrap().iter().find(|node| node["key"] == "probe.default#web.probe").unwrap();
    assert_eq!(node["constraints"][0]["pointer"], "/inputs/secret");
    assert_eq!(node["constraints"][0]["schema"]["pattern"], "^[0-9]{4}$");
    let ran = folder.run(DEPLOY);
    assert_eq!(ran.code, 1, "{}", ran.err);
    insta::assert_snapshot!("misfit", ran.err.lines().filter(|line| !line.starts_with("  ✓")).collect::<Vec<_>>().join("\n"));
    assert!(!ran.err.contains("no pin"), "{}", ran.err);
    assert!(folder.files(".windlass/manifests").is_empty(), "nothing was sent");
    assert_eq!(folder.pipe("secret set API_KEY -e dev", "1234").code, 0);
    folder.ok(DEPLOY);
    assert!(folder.files(".windlass/manifests").values().any(|text| text.contains("pin: \"1234\"")));
}

#[test]
fn a_secret_output_says_so_in_its_type() {
    let folder = application(&json!({}), "k-1");
    let inputs = json!({ "secrets": { "password": {} }, "outputs": { "password": "{{ secrets.password }}" } });
    template(&folder, &json!({ "password": { "type": "string" } }), &inputs);
    refused(&folder.run(PLAN), "x-windlass-secret");
    template(&folder, &json!({ "password": { "type": "string", "x-windlass-secret": true } }), &inputs);
    folder.ok(PLAN);
}

#[test]
fn what_is_read_of_an_object_is_open_only_where_somebody_says_so() {
    let folder = application(&json!({}), "k-1");
    // What an object has in the world, only a cluster knows.
    let connection = json!({
        "apiVersion": "windlass.dev/v1alpha1",
        "kind": "Connection",
        "metadata": { "name": "cluster" },
        "spec": { "capability": "kubernetes", "kubernetes": { "context": "test" } },
    });
    folder.write("platform/connection.json", &connection.to_string());
    let read = |api_version: &str, kind: &str, pointer: &str| {
        let manifest = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "o" } });
        let field = format!("{{{{ field('o', '{pointer}') }}}}");
        template(&folder, &json!({ "v": { "type": "string" } }), &json!({ "manifests": { "o": manifest }, "outputs": { "v": field } }));
        let widget = json!({ "apiVersion": "example.com/v1", "kind": "Widget", "plural": "widgets", "scope": "Namespaced", "readable": ["/status/url"] });
        let other = json!({ "apiVersion": "example.com/v2", "kind": "Widget", "plural": "widgets", "scope": "Namespaced" });
        let text = folder.read("platform/definition.json").replace("[\"v1/ConfigMap\"", &format!("[{widget},{other},\"v1/ConfigMap\""));
        folder.write("platform/definition.json", &text);
        folder.ok("platform apply platform");
        folder.run(PLAN)
    };
    for (api_version, kind, pointer) in
        [("v1", "Service", "/spec/clusterIP"), ("v1", "ConfigMap", "/data/x"), ("example.com/v1", "Widget", "/status/url")]
    {
        let ran = read(api_version, kind, pointer);
        assert_eq!(ran.code, 0, "{kind}{pointer}: {}", ran.err);
    }
    for (api_version, kind, pointer) in [
        ("v1", "Secret", "/data/x"),
        ("v1", "Secret", "/metadata/uid"),
        ("example.com/v1", "Widget", "/status/token"),
        ("example.com/v2", "Widget", "/status/url"),
    ] {
        refused(&read(api_version, kind, pointer), "x-windlass-secret");
    }
}

#[test]
fn derived_values_stay_the_same_and_differ_between_uses() {
    let folder = application(&json!({}), "k-1");
    let user = "{{ secrets.password | bcrypt(4) }}";
    let data = json!({ "hash": user, "again": user, "scram": "{{ secrets.password | scram_sha256 }}", "plain": "{{ secrets.password }}" });
    let manifest = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "hashes" }, "stringData": data });
    template(&folder, &json!({}), &json!({ "secrets": { "password": {} }, "manifests": { "s": manifest } }));
    let hashes = || {
        let files = folder.files(".windlass/manifests/app/dev");
        let text = &files.iter().find(|(name, _)| name.contains("secret-hashes")).unwrap().1;
        let manifest: Value = serde_saphyr::from_str(text).unwrap();
        ["hash", "again", "scram", "plain"].map(|name| manifest["stringData"][name].as_str().unwrap().to_owned())
    };
    folder.ok(DEPLOY);
    let [hash, again, scram, plain] = hashes();
    assert!(hash.starts_with("$2") && hash == again, "{hash} {again}");
    assert!(scram.starts_with("SCRAM-SHA-256$"), "{scram}");
    // 32 letters and digits, where nobody says otherwise.
    assert!(plain.len() == 32 && plain.chars().all(|c| c.is_ascii_alphanumeric()), "{plain}");
    // Equal secret, equal result: nothing changes, today or tomorrow.
    assert!(folder.ok(DEPLOY).err.contains("nothing was written"));
    assert_eq!(folder.run("drift -e dev --detailed-exitcode").code, 0);
    std::fs::remove_dir_all(folder.path().join(".windlass/manifests/app/dev/app-dev")).unwrap();
    folder.ok(DEPLOY);
    assert_eq!(hashes(), [hash, again, scram, plain]);
}

#[test]
fn pods_roll_when_a_secret_does_and_jobs_are_not_made_again() {
    let kind = |kind: &str, image: &str| {
        json!({
            "apiVersion": "score.dev/v1b1",
            "metadata": { "name": "web", "annotations": { "k8s.score.dev/kind": kind } },
            "containers": { "main": { "image": image, "variables": { "KEY": "${resources.env.API_KEY}" } } },
            "resources": { "env": { "type": "environment" } },
        })
        .to_string()
    };
    let folder = application(&json!({}), "k-1");
    let fingerprint = || {
        let files = folder.files(".windlass/manifests/app/dev");
        let deployment = files.iter().find(|(name, _)| name.contains("deployment.apps")).unwrap().1.clone();
        let text = deployment.lines().find(|line| line.contains("windlass.dev/fingerprint")).unwrap().trim().to_owned();
        assert!(!text.contains("k-1") && !text.contains("k-2"), "{text}");
        text
    };
    folder.write("app/score.json", &kind("Deployment", "web:1"));
    folder.ok(DEPLOY);
    let first = fingerprint();
    assert_eq!(folder.pipe("secret set API_KEY -e dev", "k-2").code, 0);
    let plan = folder.ok(PLAN).out;
    assert!(plan.contains("API_KEY (version 2)") && plan.contains("2 to update"), "{plan}");
    folder.ok(DEPLOY);
    assert_ne!(first, fingerprint());
    // A Job's template can't be changed: it would be another Job.
    folder.write("app/score.json", &kind("Job", "web:1"));
    folder.ok(DEPLOY);
    let jobs =
        || -> Vec<String> { folder.files(".windlass/manifests/app/dev").into_keys().filter(|name| name.contains("job.batch")).collect() };
    let job = jobs();
    assert_eq!(job.len(), 1, "{job:?}");
    assert_eq!(folder.pipe("secret set API_KEY -e dev", "k-3").code, 0);
    folder.ok(DEPLOY);
    assert_eq!(jobs(), job);
}

#[test]
fn a_url_that_holds_what_others_gave_unencoded_warns() {
    let warned = |text: &str| {
        let folder = application(&json!({ "URL": text }), "k-1");
        template(&folder, &json!({}), &json!({}));
        folder.ok(PLAN).err
    };
    let url = warned("postgres://app:${resources.env.API_KEY}@db/app");
    assert!(url.contains("warning") && url.contains("URL"), "{url}");
    let document = warned("{\"key\": \"${resources.env.API_KEY}\"}");
    assert!(document.contains("warning") && document.contains("JSON"), "{document}");
    assert!(!warned("plain ${resources.env.API_KEY}").contains("warning"));
}

/// A literal `$sealed` of somebody's own is text like any other.
#[test]
fn the_key_that_marks_sealed_values_may_be_written_by_people() {
    let folder = application(&json!({}), "k-1");
    let own = json!({ "$sealed": [{ "origin": { "external": { "connection": "secrets", "reference": "API_KEY" } } }], "$$sealed": "x" });
    let manifest =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "own" }, "data": { "text": "{{ values.own | tojson }}" } });
    template(&folder, &json!({}), &json!({ "values": { "own": own }, "manifests": { "m": manifest } }));
    folder.ok(DEPLOY);
    let files = folder.files(".windlass/manifests/app/dev");
    let text = &files.iter().find(|(name, _)| name.contains("configmap-own")).unwrap().1;
    assert!(text.contains("$sealed") && text.contains("API_KEY") && !text.contains("k-1"), "{text}");
}

#[test]
fn a_rollback_uses_todays_secrets() {
    let folder = application(&json!({ "KEY": "${resources.env.API_KEY}" }), "k-1");
    template(&folder, &json!({}), &json!({}));
    let value = || {
        let files = folder.files(".windlass/manifests/app/dev");
        files.iter().find(|(name, _)| name.contains("secret-web-secrets")).unwrap().1.clone()
    };
    folder.ok(DEPLOY);
    folder.write("app/score.json", &workload(&json!({ "main": { "image": "web:2", "variables": { "KEY": "${resources.env.API_KEY}" } } })));
    folder.ok(DEPLOY);
    assert_eq!(folder.pipe("secret set API_KEY -e dev", "k-2").code, 0);
    folder.ok("rollback -e dev --yes");
    assert!(value().contains("main.env.KEY: k-2"), "{}", value());
    assert!(folder.files(".windlass/manifests/app/dev").values().any(|text| text.contains("image: web:1")));
}

#[test]
fn people_write_no_token() {
    let folder = application(&json!({ "V": "\u{FDD0}sj0\u{FDD1}" }), "k-1");
    template(&folder, &json!({}), &json!({}));
    refused(&folder.run(PLAN), "U+FDD0");
    // Nor does a stored value become one: it is text wherever it goes.
    let folder = application(&json!({ "KEY": "${resources.env.API_KEY}" }), "\u{FDD0}sj0\u{FDD1}");
    template(&folder, &json!({}), &json!({}));
    folder.ok(DEPLOY);
    let files = folder.files(".windlass/manifests/app/dev");
    assert!(files.values().any(|text| text.contains("\u{FDD0}sj0\u{FDD1}") || text.contains("\\uFDD0sj0")), "{files:?}");
}
