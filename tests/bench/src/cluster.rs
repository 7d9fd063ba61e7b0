//! Applying a thousand objects to a real API server, beside a bare loop over kube's own client and beside kubectl.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, stream};
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use windlass_cluster::Shared;
use windlass_model::limits;
use windlass_suite::{binary::application_document, cluster::kube_client};

use crate::{
    process::{self, Usage},
    row,
};

const OBJECTS: usize = 1_000;
/// A server that was busy just now goes on with its garbage for a while: nobody is to pay for who came before.
const QUIET: Duration = Duration::from_secs(2);
/// Rounds, in pairs: who comes first finds another server than who comes second, so in one of two we do, and in one the loop. Each
/// is in namespaces of its own, which are gone before the next begins.
const ROUNDS: usize = 10;

/// Compares two rows pair by pair of rounds.
fn by_pairs(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.chunks(2).zip(theirs.chunks(2)).map(|(ours, theirs)| ours.iter().sum::<f64>() / theirs.iter().sum::<f64>()).collect()
}

fn config_map(namespace: &str, index: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("c{index}"), "namespace": namespace },
        "data": { "a": "x".repeat(200), "b": format!("value {index}") },
    })
}

/// Measures everything.
pub(crate) fn run() -> Result<()> {
    let shared = Shared::find()?;
    let (mut first, mut second, mut loops, mut kubectls) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut applying, mut marked) = (Vec::new(), Vec::new());
    let (mut cpu, mut loop_cpu, mut kubectl_cpu) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let folder = application(&shared, round)?;
        let deploy = ["deploy", "app", "-e", "dev", "--create-env", "development", "--yes"];
        let deploying = || {
            std::thread::sleep(QUIET);
            process::run(folder.path(), &deploy)
        };
        let plain = || {
            let objects = (0..OBJECTS).map(|index| config_map(&format!("bench-loop-{round}"), index)).collect();
            bare_loop(&shared, &format!("bench-loop-{round}"), objects)
        };
        let (ours, bare) = if round % 2 == 0 {
            let ours = deploying()?;
            (ours, plain()?)
        } else {
            let bare = plain()?;
            (deploying()?, bare)
        };
        let same = bare_loop(&shared, &format!("bench-same-{round}"), applied(&shared, round)?)?;
        let again = deploying()?;
        let peer = kubectl(&shared, &format!("bench-kubectl-{round}"))?;
        // The loop has its objects in hand when its time begins: that is where a plan is decided.
        applying.push(ours.wall_ms - ours.shown_ms.context("no plan was shown")?);
        marked.push(same.wall_ms);
        first.push(ours.wall_ms);
        cpu.push(ours.cpu_ms);
        second.push(again.wall_ms);
        loops.push(bare.wall_ms);
        loop_cpu.push(bare.cpu_ms);
        kubectls.push(peer.wall_ms);
        kubectl_cpu.push(peer.cpu_ms);
        if round == 0 {
            requests(&shared, "bench-0-dev", folder.path())?;
        }
        let peers = ["loop", "same", "kubectl"].map(|peer| format!("bench-{peer}-{round}"));
        let all: Vec<String> = peers.into_iter().chain([format!("bench-{round}-dev")]).collect();
        // A cluster that deletes four thousand objects is a slower one.
        let delete: Vec<&str> = ["delete", "namespace"].into_iter().chain(all.iter().map(String::as_str)).collect();
        shared.kubectl(&delete, None)?;
    }
    let against_loop = by_pairs(&applying, &loops);
    let against_same = by_pairs(&applying, &marked);
    let whole_against_loop = by_pairs(&first, &loops);
    row("first apply of 1,000 objects, wall, from the plan shown to the end of the command", applying, "ms", "");
    row("the same by a bare loop of 32 requests in flight, wall", loops, "ms", "");
    row("first apply against the bare loop, wall", against_loop, "×", "≤ 1.15");
    row("a bare loop of the objects that we sent, our marks on them, wall", marked, "ms", "");
    row("first apply against the loop of the same objects, wall", against_same, "×", "");
    row("the whole command: start, reading, planning, first apply, wall", first, "ms", "");
    row("the whole command against the bare loop, wall", whole_against_loop, "×", "");
    row("the same by `kubectl apply --server-side`, wall", kubectls, "ms", "");
    row("second apply, wall", second, "ms", "");
    row("first apply, client CPU", cpu, "ms", "");
    row("bare loop, client CPU", loop_cpu, "ms", "");
    row("kubectl, client CPU", kubectl_cpu, "ms", "");
    ready_to_done(&shared)
}

/// One resource of a thousand manifests: nothing to wait for.
fn application(shared: &Shared, round: usize) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    fs::create_dir_all(path.join("app"))?;
    fs::create_dir_all(path.join("platform"))?;
    fs::write(
        path.join("app/application.yaml"),
        format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: Application\nmetadata: {{ name: bench-{round} }}\nspec: {{ resources: {{ many: {{ type: many }} }} }}\n"
        ),
    )?;
    let manifests: serde_json::Map<String, Value> = (0..OBJECTS)
        .map(|index| {
            let mut object = config_map("", index);
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("namespace");
            }
            (format!("c{index}"), object)
        })
        .collect();
    let documents = [
        json!({ "apiVersion": "windlass.dev/v1alpha1", "kind": "Connection", "metadata": { "name": "cluster" },
                "spec": { "capability": "kubernetes", "kubernetes": { "kubeconfig": { "file": shared.kubeconfig() } } } }),
        json!({ "apiVersion": "windlass.dev/v1alpha1", "kind": "ResourceType", "metadata": { "name": "many" }, "spec": {} }),
        json!({ "apiVersion": "windlass.dev/v1alpha1", "kind": "ResourceDefinition", "metadata": { "name": "many" },
                "spec": { "type": "many", "driver": { "builtin": "template" }, "inputs": { "manifests": manifests },
                          "grants": [{ "import": "windlass:kubernetes/objects", "kinds": ["v1/ConfigMap"] }, { "import": "windlass:secrets/generated" }] } }),
    ];
    for (index, document) in documents.iter().enumerate() {
        fs::write(path.join(format!("platform/{index}.json")), serde_json::to_vec(document)?)?;
    }
    process::run(path, &["platform", "apply", "platform"])?;
    Ok(folder)
}

/// What any client would do at least: one request for each object, so many in flight.
fn bare_loop(shared: &Shared, namespace: &str, objects: Vec<Value>) -> Result<Usage> {
    std::thread::sleep(QUIET);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (before, started) = (process::cpu_ms()?, Instant::now());
    runtime.block_on(async {
        let client = kube_client(&shared.kubeconfig()).await;
        let apply = |path: String, body: Value| {
            let client = client.clone();
            async move {
                let request = Request::patch(format!("{path}?fieldManager=loop&force=false&fieldValidation=Strict"))
                    .header(http::header::CONTENT_TYPE, "application/apply-patch+yaml")
                    .body(Body::from(serde_json::to_vec(&body)?))?;
                let answer = client.send(request).await?;
                anyhow::ensure!(answer.status().is_success(), "{}", answer.status());
                Ok(())
            }
        };
        apply(
            format!("/api/v1/namespaces/{namespace}"),
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }),
        )
        .await?;
        let all = objects.into_iter().map(|object| {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            apply(format!("/api/v1/namespaces/{namespace}/configmaps/{name}"), object)
        });
        stream::iter(all.collect::<Vec<_>>())
            .buffer_unordered(limits::CLUSTER_REQUESTS_MAX)
            .collect::<Vec<Result<()>>>()
            .await
            .into_iter()
            .collect::<Result<()>>()
    })?;
    let wall_ms = started.elapsed().as_secs_f64() * 1e3;
    Ok(Usage { wall_ms, shown_ms: None, cpu_ms: process::cpu_ms()? - before })
}

/// What our deployment applied, for another namespace.
fn applied(shared: &Shared, round: usize) -> Result<Vec<Value>> {
    let namespace = format!("bench-{round}-dev");
    let listed = shared.kubectl(&["-n", &namespace, "get", "configmaps", "-l", "windlass.dev/owner", "-o", "json"], None)?;
    let mut listed: Value = serde_json::from_str(&listed)?;
    let mut objects: Vec<Value> = listed.pointer_mut("/items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    anyhow::ensure!(objects.len() == OBJECTS, "{} objects of ours", objects.len());
    for metadata in objects.iter_mut().filter_map(|object| object.get_mut("metadata")?.as_object_mut()) {
        metadata.retain(|field, _| matches!(field.as_str(), "name" | "labels" | "annotations"));
        metadata.insert("namespace".into(), json!(format!("bench-same-{round}")));
    }
    Ok(objects)
}

fn kubectl(shared: &Shared, namespace: &str) -> Result<Usage> {
    shared.kubectl(&["create", "namespace", namespace], None)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("objects.json");
    let items: Vec<Value> = (0..OBJECTS).map(|index| config_map(namespace, index)).collect();
    fs::write(&file, serde_json::to_vec(&json!({ "apiVersion": "v1", "kind": "List", "items": items }))?)?;
    let tool = shared.binaries()?.tool("kubectl");
    process::run_tool(
        folder.path(),
        &tool,
        &[&format!("--kubeconfig={}", shared.kubeconfig().display()), "apply", "--server-side", "-f", &file.display().to_string()],
    )
}

/// Counts by the server's own log what the two deployments and a look for drift asked for.
fn requests(shared: &Shared, namespace: &str, folder: &std::path::Path) -> Result<()> {
    let count = |verbs: &[&str]| -> Result<usize> {
        let log = fs::read_to_string(shared.audit_log())?;
        Ok(log
            .lines()
            .filter(|line| line.contains(namespace) && line.contains("configmaps") && !line.contains("kube-root-ca.crt"))
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event.pointer("/objectRef/namespace").and_then(Value::as_str) == Some(namespace))
            // kubectl names itself; we and the loop don't.
            .filter(|event| event.get("userAgent").and_then(Value::as_str).is_none_or(str::is_empty))
            .filter(|event| event.get("verb").and_then(Value::as_str).is_some_and(|verb| verbs.contains(&verb)))
            .count())
    };
    let changing = ["create", "update", "patch", "delete"];
    let (changes, lists, reads) = (count(&changing)?, count(&["list"])?, count(&["get"])?);
    println!("| changing requests for each object, both applies together | {:.3} | | | 1.000 |", changes as f64 / OBJECTS as f64);
    println!("| lists of ConfigMaps by two applies / single reads | {lists} / {reads} | | | ≤ 2 / 0 |");
    process::run(folder, &["drift", "-e", "dev"])?;
    println!(
        "| requests of a drift read of 1,000 objects: lists / single reads / changes | {} / {} / {} | | | lists only |",
        count(&["list"])? - lists,
        count(&["get"])? - reads,
        count(&changing)? - changes
    );
    Ok(())
}

/// From the moment at which the last object is ready to the end of the command.
fn ready_to_done(shared: &Shared) -> Result<()> {
    let mut samples = Vec::new();
    for round in 0..ROUNDS {
        let folder = application(shared, 100 + round)?;
        fs::remove_file(folder.path().join("platform/1.json"))?;
        fs::remove_file(folder.path().join("platform/2.json"))?;
        process::run(folder.path(), &["platform", "apply", "platform"])?;
        fs::write(folder.path().join("app/application.yaml"), application_document(&format!("ready-{round}")))?;
        fs::write(
            folder.path().join("app/web.score.yaml"),
            "apiVersion: score.dev/v1b1\nmetadata: { name: web, annotations: { windlass.test/scene: slow-ready } }\ncontainers: { main: { image: \"web:1\" } }\n",
        )?;
        let mut child = Command::new(process::binary()?)
            .args(["deploy", "app", "-e", "dev", "--create-env", "development", "--yes"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let namespace = format!("ready-{round}-dev");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ready = runtime.block_on(async {
            use http_body_util::BodyExt as _;
            let client = kube_client(&shared.kubeconfig()).await;
            loop {
                let request = Request::get(format!("/apis/apps/v1/namespaces/{namespace}/deployments/web")).body(Body::empty())?;
                let bytes = client.send(request).await?.into_body().collect().await?.to_bytes();
                let live: Value = serde_json::from_slice(&bytes)?;
                if live.get("kind").and_then(Value::as_str) == Some("Deployment")
                    && windlass_manifest::readiness(&live) == windlass_manifest::Readiness::Current
                {
                    return Ok::<_, anyhow::Error>(Instant::now());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })?;
        anyhow::ensure!(child.wait()?.success(), "the deployment failed");
        samples.push(ready.elapsed().as_secs_f64() * 1e3);
        shared.kubectl(&["delete", "namespace", &namespace, "--wait=false"], None)?;
    }
    row("last object ready to the end of the command", samples, "ms", "≤ 200 ms");
    Ok(())
}
