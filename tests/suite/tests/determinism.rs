//! The same plan, byte for byte: 100 runs, any order, any parallelism, another folder, a child that owns nothing.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure here is the test's")]

use std::{collections::BTreeMap, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use windlass_engine::driver::ComponentSource as _;
use windlass_suite::{
    binary::{Folder, root},
    world::World,
};

fn shop(folder: &std::path::Path) {
    let copy = |from: std::path::PathBuf, to: std::path::PathBuf| {
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    copy(root().join("examples/shop"), folder.join("app"));
    copy(root().join("examples/shop/platform"), folder.join("platform"));
}

#[test]
fn one_plan_however_it_is_made() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    shop(folder.path());
    let mut input = world.input(folder.path());
    input.last_images.insert("web/main".into(), "web:1".into());
    input.secrets.insert("env/API_KEY".into(), 3);
    let output = world.plan(&input);
    let expected = output.plan.unwrap_or_else(|| panic!("{:#?}", output.diagnostics)).to_canonical().unwrap();
    for threads in [1, 2, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for _ in 0..34 {
            let plan = pool.install(|| world.plan(&input)).plan.unwrap();
            assert_eq!(plan.to_canonical().unwrap(), expected, "with {threads} threads");
        }
    }
    // Another folder, files under other names, another order of documents.
    let other = tempfile::tempdir().unwrap();
    shop(other.path());
    std::fs::rename(other.path().join("app/web.score.yaml"), other.path().join("app/aaa.score.yaml")).unwrap();
    let text = std::fs::read_to_string(other.path().join("platform/platform.yaml")).unwrap();
    let mut documents: Vec<&str> = text.split("\n---\n").collect();
    documents.reverse();
    std::fs::write(other.path().join("platform/platform.yaml"), format!("# a comment\n{}\n", documents.join("\n---\n"))).unwrap();
    let mut moved = world.input(other.path());
    moved.last_images.clone_from(&input.last_images);
    moved.secrets.clone_from(&input.secrets);
    assert_eq!(world.plan(&moved).plan.unwrap().to_canonical().unwrap(), expected);
    // A child process with nothing but the input.
    let components: BTreeMap<&String, String> = world
        .digests
        .iter()
        .filter(|(name, _)| name.starts_with("builtin:"))
        .map(|(name, digest)| (name, STANDARD.encode(world.components.bytes(digest).unwrap())))
        .collect();
    let request = serde_json::to_vec(&serde_json::json!({ "input": input, "components": components })).unwrap();
    let empty = Folder::new();
    let mut child = empty.command(&["plan-worker"]).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &request).unwrap();
    let answer = child.wait_with_output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(serde_json::to_vec(&answer["plan"]).unwrap(), expected);
    assert!(empty.files("").is_empty(), "the worker wrote something");
}

#[test]
fn an_unchanged_model_calls_no_driver() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    shop(folder.path());
    let mut input = world.input(folder.path());
    input.last_images.insert("web/main".into(), "web:1".into());
    let first = world.plan(&input);
    assert!(first.driver_calls > 5);
    input.previous = first.plan.map(std::sync::Arc::new);
    let second = world.plan(&input);
    assert_eq!(second.driver_calls, 0);
    assert_eq!(second.plan.map(std::sync::Arc::new), input.previous);
    input.last_images.insert("web/main".into(), "web:2".into());
    assert!(world.plan(&input).driver_calls > 0);
}

#[test]
fn every_well_known_type_can_be_deployed() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("app")).unwrap();
    let platform = world.platform(&root().join("host/cli/platform"));
    let params = |name: &str| match name {
        "route" => ", params: { host: shop.example, port: 80 }",
        "dapr-subscription" => ", params: { pubsub: events, topic: orders }",
        "endpoint" | "service" | "service-port" => ", params: { workload: web }",
        _ => "",
    };
    let resources: String = platform
        .resource_types
        .keys()
        .filter(|name| name.as_str() != "k8s-namespace")
        .map(|name| format!("  r-{name}: {{ type: {name}{} }}\n", params(name.as_str())))
        .collect();
    std::fs::write(folder.path().join("app/score.yaml"), format!("apiVersion: score.dev/v1b1\nmetadata: {{ name: web }}\nservice: {{ ports: {{ http: {{ port: 80 }} }} }}\ncontainers: {{ main: {{ image: x }} }}\nresources:\n{resources}")).unwrap();
    let output = world.plan(&world.input(folder.path()));
    let plan = output.plan.unwrap_or_else(|| panic!("{:#?}", output.diagnostics));
    // Every output that a type promises is there.
    for (name, kind) in &platform.resource_types {
        let node = plan
            .nodes()
            .find(|node| node.key.to_string().starts_with(&format!("{name}.default#")))
            .unwrap_or_else(|| panic!("no node of type {name}"));
        let promised = kind.spec.outputs["properties"].as_object().cloned().unwrap_or_default();
        for output in promised.keys() {
            assert!(node.outputs.contains_key(output), "{name} has no output {output}: {:?}", node.outputs);
        }
    }
}
