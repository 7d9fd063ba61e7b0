//! Built-in resource types: something makes each thing that an output names, before the deployment is ready.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests: a failure here is the test's")]

use serde_json::Value;
use windlass_suite::binary::Folder;

/// Writes a workload with one resource and a variable for one of its outputs.
fn write_score(folder: &Folder, resource: &str, output: &str) {
    folder.write(
        "main.score.yaml",
        &format!(
            "apiVersion: score.dev/v1b1\nmetadata: {{ name: main }}\ncontainers: {{ main: {{ image: \"ghcr.io/acme/main:1\", variables: {{ OUTPUT: \"${{resources.thing.{output}}}\" }} }} }}\nresources: {{ thing: {resource} }}\n"
        ),
    );
}

/// Returns what a resource's output names, as the workload reads it, and the objects.
fn rendered(resource: &str, output: &str) -> (String, Vec<Value>) {
    let folder = Folder::new();
    write_score(&folder, resource, output);
    let text = folder.ok("render main.score.yaml -o -").out;
    let objects: Vec<Value> = text
        .split("---\n")
        .map(|document| serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}")))
        .collect();
    let workload = objects.iter().find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == "main").unwrap();
    let value = workload["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap().to_owned();
    (value, objects)
}

fn pod<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    &objects.iter().find(|object| object["kind"] == kind).unwrap()["spec"]["template"]["spec"]
}

#[test]
fn a_bucket_is_a_folder_of_the_drive_before_its_server_starts() {
    let (bucket, objects) = rendered("{ type: s3 }", "bucket");
    let step = &pod(&objects, "StatefulSet")["initContainers"][0];
    assert_eq!(step["command"], serde_json::json!(["mkdir", "-p", format!("/data/{bucket}")]));
    assert_eq!(step["volumeMounts"], pod(&objects, "StatefulSet")["containers"][0]["volumeMounts"]);
}

#[test]
fn a_model_is_pulled_before_its_server_starts() {
    let (model, objects) = rendered("{ type: llm-model, params: { model: \"qwen3:0.6b\", context_size: 8192 } }", "model");
    let pod = pod(&objects, "StatefulSet");
    let step = &pod["initContainers"][0];
    let env = |container: &Value, name: &str| {
        container["env"].as_array().unwrap().iter().find(|variable| variable["name"] == name).unwrap()["value"].clone()
    };
    assert!(step["args"][0].as_str().unwrap().contains("ollama pull \"$MODEL\""));
    assert_eq!((env(step, "MODEL"), model.as_str()), (Value::from("qwen3:0.6b"), "qwen3:0.6b"));
    assert_eq!(env(step, "OLLAMA_MODELS"), env(&pod["containers"][0], "OLLAMA_MODELS"));
    assert_eq!(env(&pod["containers"][0], "OLLAMA_CONTEXT_LENGTH"), "8192");
}

#[test]
fn a_topic_is_made_by_a_job() {
    let (topic, objects) = rendered("{ type: kafka-topic }", "name");
    let script = pod(&objects, "Job")["containers"][0]["args"][0].as_str().unwrap();
    assert!(script.contains(&format!("--create --if-not-exists --topic {topic} ")), "{script}");
    // What the broker keeps lies on its volume.
    let server = &pod(&objects, "StatefulSet")["containers"][0];
    let folder = server["env"].as_array().unwrap().iter().find(|variable| variable["name"] == "KAFKA_LOG_DIRS").unwrap()["value"].clone();
    let mount = server["volumeMounts"][0]["mountPath"].as_str().unwrap();
    assert!(folder.as_str().unwrap().starts_with(&format!("{mount}/")), "{folder}");
}

#[test]
fn a_subscription_names_its_broker() {
    let folder = Folder::new();
    write_score(&folder, "{ type: dapr-subscription }", "name");
    let refused = folder.run("render main.score.yaml -o -");
    assert!(refused.code == 65 && refused.err.contains("missing field `pubsub`"), "{}", refused.err);
}
