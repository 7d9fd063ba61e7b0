//! `cargo xtask bench`: a table with medians and spread. Ratios are against a floor in the same run.

mod cloud;
mod cluster;
mod kills;
mod native;
mod process;
mod workload;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use windlass_engine::{
    driver::{DriverContext, DriverHost as _, DriverRequest},
    recorder::{Recorder, RecorderInput},
    tokens::TokenTable,
};
use windlass_suite::world::World;

use crate::process::{Usage, run};

/// Samples of a fast figure.
const SAMPLES: usize = 15;

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    println!("| figure | median | min | max | target |\n|---|---|---|---|---|");
    if is_wanted("call") {
        call()?;
    }
    if is_wanted("plan") {
        planning()?;
    }
    if is_wanted("native") {
        native_price()?;
    }
    if is_wanted("start") {
        cold_start()?;
    }
    if is_wanted("noop") {
        no_op()?;
    }
    if is_wanted("cluster") {
        cluster::run()?;
    }
    if is_wanted("cloud") {
        cloud::run()?;
    }
    if is_wanted("kills") {
        kills::run()?;
    }
    if is_wanted("journal") {
        journal()?;
    }
    if is_wanted("diff") {
        platform_diff()?;
    }
    Ok(())
}

fn row(figure: &str, mut samples: Vec<f64>, unit: &str, target: &str) -> f64 {
    samples.sort_by(f64::total_cmp);
    let at = |index: usize| samples.get(index).copied().unwrap_or(f64::NAN);
    let median = at(samples.len() / 2);
    // Of a ratio a tenth is much.
    let digits = if unit == "×" { 2 } else { 1 };
    let most = at(samples.len().saturating_sub(1));
    println!("| {figure} | {median:.digits$} {unit} | {:.digits$} | {most:.digits$} | {target} |", at(0));
    median
}

/// How often a deployment waits for the disk before, between and behind its effects.
fn journal() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let score = |image: &str| {
        format!(
            "apiVersion: score.dev/v1b1\nmetadata: {{ name: web }}\nservice: {{ ports: {{ http: {{ port: 80 }} }} }}\n\
             containers: {{ main: {{ image: \"web:{image}\", variables: {{ PASSWORD: \"${{resources.db.password}}\" }} }} }}\n\
             resources: {{ db: {{ type: postgres }} }}\n"
        )
    };
    std::fs::create_dir(path.join("app"))?;
    std::fs::write(path.join("app/web.score.yaml"), score("1"))?;
    run(path, &["env", "create", "dev", "--type", "development", "--app", "app"])?;
    let deploy = ["deploy", "app", "-e", "dev", "--yes"];
    let (first_syncs, first_commits) = process::syncs(path, &deploy)?;
    std::fs::write(path.join("app/web.score.yaml"), score("2"))?;
    let (next_syncs, next_commits) = process::syncs(path, &deploy)?;
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let figure = |name: &str, count: usize, target: &str| row(name, vec![count as f64], "", target);
    figure("first deployment of 9 actions in 9 waves: syncs of the log (commits and a checkpoint)", first_commits, "3 + 1");
    figure("first deployment of 9 actions: fsyncs, files of the folder included", first_syncs, "–");
    figure("another image, 1 action: syncs of the log (commits and a checkpoint)", next_commits, "3 + 1");
    figure("another image, 1 action: fsyncs, files of the folder included", next_syncs, "–");
    Ok(())
}

/// One driver call of 4 KB in and out on a fresh instance, teardown included.
fn call() -> Result<()> {
    let world = World::new();
    let component = world.digests.get("builtin:dns-static").context("dns-static is not built")?;
    world.host.describe(component)?;
    let one = |inputs: &str| -> Result<Duration> {
        let recorder = Recorder::new(RecorderInput {
            planners: world.planners.clone(),
            node: "dns#web.dns".parse()?,
            authorities: std::collections::BTreeMap::new(),
            contexts: std::collections::BTreeMap::new(),
            secret_versions: std::sync::Arc::default(),
            tokens: TokenTable::default(),
            budget: std::sync::Arc::default(),
        });
        let context = DriverContext {
            application: "shop".into(),
            environment: "dev".into(),
            environment_type: "development".into(),
            namespace: Some("shop-dev".into()),
        };
        let request = DriverRequest::Define {
            context,
            key: ("dns".into(), "default".into(), "web.dns".into()),
            workloads: vec!["x".repeat(40); 90],
            params: "{}".into(),
            inputs: inputs.to_owned(),
        };
        let started = Instant::now();
        let (result, _) = world.host.call(component, &request, recorder);
        let elapsed = started.elapsed();
        result.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(elapsed)
    };
    for (name, inputs) in [("small", r#"{"host":"shop.example"}"#.to_owned())] {
        for _ in 0..200 {
            one(&inputs)?;
        }
        let mut samples = Vec::new();
        for _ in 0..SAMPLES {
            let mut total = Duration::ZERO;
            for _ in 0..200 {
                total += one(&inputs)?;
            }
            samples.push(total.as_secs_f64() * 1e6 / 200.0);
        }
        row(&format!("one driver call, 4 KB in ({name} answer), fresh instance"), samples, "µs", "≤ 40 µs");
    }
    Ok(())
}

/// W(N) in a new process.
fn planning() -> Result<()> {
    let mut medians = Vec::new();
    for (count, repeats) in [(1, 7), (10, 7), (100, 7), (1_000, 5), (10_000, 1)] {
        let folder = workload::write(count)?;
        let command = ["plan", "app", "-e", "dev", "--create-env", "development", "-o", "json"];
        run(folder.path(), &command)?;
        let samples: Vec<Usage> = (0..repeats).map(|_| run(folder.path(), &command)).collect::<Result<_>>()?;
        row(&format!("W({count}) wall"), samples.iter().map(|usage| usage.wall_ms).collect(), "ms", "");
        let cpu = row(
            &format!("W({count}) CPU"),
            samples.iter().map(|usage| usage.cpu_ms).collect(),
            "ms",
            if count == 1_000 { "≤ 400 ms" } else { "" },
        );
        row(&format!("W({count}) peak memory"), vec![process::peak_mib(folder.path(), &command)?], "MiB", "");
        medians.push((f64::from(u32::try_from(count)?), cpu));
    }
    if let [(_, start), .., (n1, cpu1), (n2, cpu2)] = medians.as_slice() {
        let exponent = ((cpu2 - start) / (cpu1 - start)).ln() / (n2 / n1).ln();
        println!("| growth exponent 1,000 → 10,000 | {exponent:.2} | | | ≤ 1.1 |");
    }
    Ok(())
}

/// The same drivers linked natively.
fn native_price() -> Result<()> {
    let world = World::new();
    let folder = workload::write(1_000)?;
    let input = world.input(folder.path());
    let native = native::NativeHost::new(&world)?;
    let time = |plan: &dyn Fn() -> windlass_engine::PlanOutput| -> Result<f64> {
        let started = process::cpu_ms()?;
        let output = plan();
        anyhow::ensure!(output.plan.is_some(), "{:?}", output.diagnostics.first());
        Ok(process::cpu_ms()? - started)
    };
    let mut ratios = Vec::new();
    let (mut wasm_samples, mut native_samples) = (Vec::new(), Vec::new());
    time(&|| world.plan(&input))?;
    time(&|| windlass_engine::plan(&input, &world.planners, &native))?;
    for _ in 0..7 {
        let wasm = time(&|| world.plan(&input))?;
        let plain = time(&|| windlass_engine::plan(&input, &world.planners, &native))?;
        ratios.push(wasm / plain);
        wasm_samples.push(wasm);
        native_samples.push(plain);
    }
    row("plan of W(1,000), CPU, drivers in Wasm", wasm_samples, "ms", "");
    row("plan of W(1,000), CPU, drivers linked natively", native_samples, "ms", "");
    row("price of Wasm", ratios, "×", "≤ 2.0");
    Ok(())
}

/// From nothing but compiled code on disk to the first rendered workload.
fn cold_start() -> Result<()> {
    let folder = workload::write(1)?;
    let command = ["render", "app"];
    run(folder.path(), &command)?;
    let samples: Vec<f64> = (0..SAMPLES).map(|_| run(folder.path(), &command).map(|usage| usage.wall_ms)).collect::<Result<_>>()?;
    row("cold start to the first rendered workload", samples, "ms", "≤ 60 ms");
    Ok(())
}

/// Nothing changed; one changed.
fn no_op() -> Result<()> {
    let folder = workload::write(1_000)?;
    run(folder.path(), &["deploy", "app", "-e", "dev", "--create-env", "development", "--yes"])?;
    let before = std::fs::metadata(folder.path().join(".windlass/state.db-wal")).map(|metadata| metadata.len()).unwrap_or(0);
    let plan: Vec<Usage> = (0..5).map(|_| run(folder.path(), &["plan", "app", "-e", "dev", "-o", "json"])).collect::<Result<_>>()?;
    row("no-op plan of W(1,000), CPU", plan.iter().map(|usage| usage.cpu_ms).collect(), "ms", "");
    println!("| driver calls of a no-op plan | {} | | | 0 |", process::driver_calls(folder.path(), &["plan", "app", "-e", "dev"])?);
    let deploy: Vec<Usage> = (0..5).map(|_| run(folder.path(), &["deploy", "app", "-e", "dev", "--yes"])).collect::<Result<_>>()?;
    row("no-op deploy of W(1,000), CPU", deploy.iter().map(|usage| usage.cpu_ms).collect(), "ms", "");
    let deployments = process::output(folder.path(), &["history", "-e", "dev", "-o", "json"])?;
    let deployments: Vec<serde_json::Value> = serde_json::from_str(&deployments)?;
    let after = std::fs::metadata(folder.path().join(".windlass/state.db-wal")).map(|metadata| metadata.len()).unwrap_or(0);
    println!("| deployments recorded by five no-op deploys | {} | | | 0 |", deployments.len() - 1);
    println!("| growth of the write-ahead log by them | {} bytes | | | 0 |", after.saturating_sub(before));
    workload::touch(folder.path())?;
    let one = run(folder.path(), &["plan", "app", "-e", "dev", "-o", "json"])?;
    row("plan after one change in 1,000, CPU", vec![one.cpu_ms], "ms", "");
    Ok(())
}

/// A definition changed: what would change in 1,000 environments.
fn platform_diff() -> Result<()> {
    let folder = workload::write(1)?;
    workload::platform(folder.path(), "1Gi")?;
    run(folder.path(), &["platform", "apply", "platform"])?;
    for index in 0..1_000 {
        run(folder.path(), &["deploy", "app", "-e", &format!("e{index}"), "--create-env", "development", "--yes"])?;
    }
    workload::platform(folder.path(), "2Gi")?;
    let samples: Vec<f64> =
        (0..3).map(|_| run(folder.path(), &["platform", "diff", "platform"]).map(|usage| usage.wall_ms)).collect::<Result<_>>()?;
    row("platform diff over 1,000 environments", samples, "ms", "");
    Ok(())
}
