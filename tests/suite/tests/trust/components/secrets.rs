//! Secrets and the drivers that pass them on: no driver learns about a value, no two drivers share one by its name.

use std::fs;

use serde_json::{Value, json};
use windlass_suite::{
    binary::{Folder, Ran, components},
    world::World,
};

const SECRETS: &str = "{ import: windlass:kubernetes/objects, kinds: [v1/Secret] }, { import: windlass:secrets/generated }";

/// Plans a workload by a profile of two stages, each of which generates a secret.
fn staged(first: &str, second: &str) -> (World, windlass_engine::PlanOutput) {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap_or_else(|error| unreachable!("{error}"));
    let write = |path: &str, text: String| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder.path())).unwrap_or_else(|error| unreachable!("{error}"));
        fs::write(path, text).unwrap_or_else(|error| unreachable!("{error}"));
    };
    write("app/score.yaml", "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: x } }\n".to_owned());
    let stage = |name: &str, key: &str| {
        format!(
            "    - name: {name}\n      driver: {{ file: stage-generated.wasm }}\n      inputs: {{ key: {key}, name: {name} }}\n      grants: [{SECRETS}]\n"
        )
    };
    write(
        "platform/profile.yaml",
        format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: WorkloadProfile\nmetadata: {{ name: default }}\nspec:\n  stages:\n{}{}",
            stage("one", first),
            stage("two", second)
        ),
    );
    let output = world.plan(&world.input(folder.path()));
    (world, output)
}

#[test]
fn stages_do_not_share_a_generated_secret_by_its_name() {
    let (_, output) = staged("key", "key");
    let told: Vec<String> = output.diagnostics.iter().map(|diagnostic| format!("{} {diagnostic}", diagnostic.code)).collect();
    assert!(output.plan.is_none() && told == ["duplicate-action workload/web: `secret/key` is staged twice"], "{told:?}");
    let (_, output) = staged("key", "other");
    let plan = output.plan.unwrap_or_else(|| unreachable!("{:?}", output.diagnostics));
    let secrets = plan.actions().filter(|action| action.capability == "windlass:secrets/generated").count();
    assert_eq!(secrets, 2, "names of their own are no conflict");
}

/// An application whose environment has the secret `API_KEY`, used by a resource `probe` and by a variable.
fn application(driver: &Value, inputs: &Value, outputs: &Value, variable: &str) -> Folder {
    let folder = Folder::new();
    let workload = json!({
        "apiVersion": "score.dev/v1b1",
        "metadata": { "name": "web" },
        "containers": { "main": { "image": "web:1", "variables": { "KEY": variable } } },
        "resources": { "env": { "type": "environment" }, "probe": { "type": "probe" } },
    });
    let kind = json!({
        "apiVersion": "windlass.dev/v1alpha1",
        "kind": "ResourceType",
        "metadata": { "name": "probe" },
        "spec": { "outputs": { "type": "object", "properties": outputs } },
    });
    let definition = json!({
        "apiVersion": "windlass.dev/v1alpha1",
        "kind": "ResourceDefinition",
        "metadata": { "name": "probe" },
        "spec": {
            "type": "probe",
            "driver": driver,
            "resources": { "env": { "type": "environment" } },
            "inputs": inputs,
            "grants": [
                { "import": "windlass:kubernetes/objects", "kinds": ["v1/ConfigMap", "v1/Secret"] },
                { "import": "windlass:secrets/generated" },
            ],
        },
    });
    folder.write("app/score.json", &workload.to_string());
    folder.write("platform/type.json", &kind.to_string());
    folder.write("platform/definition.json", &definition.to_string());
    folder.ok("env create dev --type development --app app");
    folder.ok("platform apply platform");
    folder
}

/// Deploys with a value that does not fit; what is told of it.
fn told(folder: &Folder, value: &str) -> String {
    assert_eq!(folder.pipe("secret set API_KEY -e dev", value).code, 0);
    let Ran { code, err, .. } = folder.run("deploy app -e dev --yes");
    assert_eq!(code, 1, "{value}: {err}");
    let line = err.lines().find(|line| line.starts_with("error:")).unwrap_or_default();
    let (_, said) = line.split_once(" failed: ").unwrap_or_else(|| unreachable!("{err}"));
    // The number of the version tells nothing about the value.
    (1..=3).fold(said.to_owned(), |said, version| said.replace(&format!(" (version {version})"), ""))
}

/// A driver asks one question with each rule, and the message is the answer: it may say no more than no.
#[test]
fn a_refused_secret_is_told_alike_whatever_it_is() {
    let strict = json!({ "file": components().join("guests/strict-input.wasm") });
    let template = json!({ "builtin": "template" });
    let key = "${resources.env.API_KEY}";
    let port = json!({ "port": { "type": "integer", "x-windlass-secret": true } });
    let typed = json!({ "values": { "key": key }, "outputs": { "port": "{{ values.key }}" } });
    let none = json!({ "values": {} });
    for (folder, values, place) in [
        // A pattern of a driver's schema.
        (application(&strict, &json!({ "secret": key }), &json!({}), "x"), ["hunter2", "12345", "12 4"], "`/inputs/secret`"),
        // The type that an output has.
        (application(&template, &typed, &port, "${resources.probe.port}"), ["hunter2", "54.5", "[1]"], "`/stringData/"),
        // A field, and what it holds where it stands in text.
        (application(&template, &none, &json!({}), "${resources.env.API_KEY.a}"), ["hunter2", "{}", "[1]"], "`/stringData/"),
        (application(&template, &none, &json!({}), "x${resources.env.API_KEY.a}"), ["hunter2", "{}", "[1]"], "`/stringData/"),
    ] {
        let said: Vec<String> = values.iter().map(|value| told(&folder, value)).collect();
        assert!(said.iter().all(|text| *text == said[0]), "{said:#?}");
        assert!(said[0].contains("API_KEY") && said[0].contains(place), "{said:?}");
        for quoted in ["hunter2", "pattern", "match", "integer", "list", "no field", "[0-9]"] {
            assert!(!said[0].contains(quoted), "{quoted}: {said:?}");
        }
    }
}
