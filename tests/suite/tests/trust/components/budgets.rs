//! Host calls are paid for by what they cost the host: each function at its limit and one above it, and the work of applying.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use windlass_model::limits;
use windlass_suite::{
    binary::{Folder, components},
    world::World,
};

const PLAN: &str = "plan app -e dev";
const DEPLOY: &str = "deploy app -e dev --yes";

/// A workload whose resource `probe` is made by one driver.
fn write(folder: &Folder, driver: &Value, inputs: &Value) {
    let workload = json!({
        "apiVersion": "score.dev/v1b1",
        "metadata": { "name": "web" },
        "containers": { "main": { "image": "x:1" } },
        "resources": { "env": { "type": "environment" }, "probe": { "type": "probe" } },
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
    folder.write("platform/platform.json", &definition.to_string());
}

/// What planning says if the guest `costs` asks a function for `n` of something.
fn asked(world: &World, what: &str, n: usize) -> Vec<String> {
    let folder = Folder::new();
    let inputs = json!({ "secret": "${resources.env.API_KEY}", "what": what, "n": n.to_string() });
    write(&folder, &json!({ "file": "costs.wasm" }), &inputs);
    let mut input = world.input(folder.path());
    input.secrets.insert("env/API_KEY".into(), 1);
    world.findings(&input)
}

/// Bytes in plan JSON that the host counts for the fingerprint of one stored secret.
fn fingerprint_bytes() -> usize {
    use windlass_model::sealed::{Encoding, Origin, Sealed};
    let secret =
        Sealed::of(Origin::External { connection: "secrets".into(), reference: "API_KEY".into(), version: Some(1) }, true, Encoding::Text);
    let fingerprint = Origin::Derived { of: [secret].into(), op: "fingerprint".into() };
    Sealed::of(fingerprint, false, Encoding::Text).size().plan_bytes
}

/// Function, the most of it that fits, and the limit that one more passes.
fn table() -> Vec<(&'static str, usize, &'static str)> {
    let chain = limits::SEALED_DEPTH_MAX - 1;
    let written = limits::DRIVER_SEALED_BYTES_MAX / fingerprint_bytes();
    vec![
        ("to-base64", chain, "sealed depth"),
        ("to-url-component", chain, "sealed depth"),
        ("to-json-string", chain, "sealed depth"),
        ("to-yaml-string", chain, "sealed depth"),
        ("scram-sha256", chain, "sealed depth"),
        ("bcrypt", chain, "sealed depth"),
        ("fingerprint", chain, "sealed depth"),
        // 2^9 leaves and the nodes above them are 1,023 parts.
        ("doubling", 9, "sealed parts"),
        ("wide", limits::SEALED_PARTS_MAX - 1, "sealed parts"),
        ("empty", limits::SEALED_PARTS_MAX, "sealed parts"),
        ("concatenation", limits::SEALED_PARTS_MAX / 2, "sealed parts"),
        ("to-text", limits::SEALED_TEXT_BYTES_MAX, "sealed text bytes"),
        ("escapes", (limits::SEALED_TEXT_BYTES_MAX - 2) / 2, "sealed text bytes"),
        ("bcrypt-rounds", limits::DRIVER_HASH_ROUNDS_MAX >> 12, "hash rounds"),
        ("scram-rounds", limits::DRIVER_HASH_ROUNDS_MAX / 32, "hash rounds"),
        ("written", written, "sealed bytes"),
        ("written-spec", written, "sealed bytes"),
        // The object, the list and its items.
        ("answer", limits::DRIVER_VALUES_MAX - 2, "JSON values"),
        ("constructor", limits::DRIVER_VALUES_MAX - 20, "JSON values"),
        ("field", 15, "output bytes"),
        ("after", 15, "output bytes"),
    ]
}

#[test]
fn every_host_function_is_paid_for_up_to_its_limit_and_not_above() {
    // Time is a limit of its own: how fast a machine is decides none of these.
    let world = World::with_call_time(Duration::from_secs(60));
    for (what, most, limit) in table() {
        let passed = format!("driver `file:costs.wasm` (DIGEST) passed the limit `{limit}`");
        let refusal = format!("passes the limit `{limit}`");
        let tells = |found: &[String]| found.iter().any(|text| text.contains(&passed) || text.contains(&refusal));
        let at = asked(&world, what, most);
        assert!(at.iter().all(|text| !text.contains(" the limit `")), "{what}: {at:?}");
        let step = if what == "constructor" { 20 } else { 1 };
        let above = asked(&world, what, most + step);
        assert!(tells(&above) && above.iter().all(|text| text.contains("probe")), "{what} above its limit: {above:?}");
    }
}

#[test]
fn bcrypt_takes_the_costs_of_its_range_and_no_other() {
    let world = World::new();
    for (cost, fits) in [(3, false), (4, true), (12, true), (13, false), (14, false), (31, false)] {
        let found = asked(&world, "bcrypt-cost", cost);
        assert_eq!(found.is_empty(), fits, "{cost}: {found:?}");
        assert!(fits || found[0].contains("bcrypt-cost") && found[0].contains("the cost of bcrypt is 4 to 12"), "{found:?}");
    }
    assert!(asked(&world, "bcrypt-same", 10_000).is_empty(), "an equal hash is made once and paid for once");
}

#[test]
fn origins_that_double_cost_neither_time_nor_memory() {
    let world = World::with_call_time(Duration::from_secs(60));
    for (what, n) in [("doubling", 60), ("fingerprint", 100_000), ("to-json-string", 1_000), ("empty", 500_000), ("concatenation", 500_000)]
    {
        let began = Instant::now();
        let found = asked(&world, what, n);
        assert!(found.iter().any(|text| text.contains(" the limit `sealed ")), "{what}: {found:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: {:?}", began.elapsed());
    }
}

/// An environment `dev` with a secret, and a resource made by the template driver: `text` goes into a Secret.
fn with_secret(value: &str, data: &Value) -> Folder {
    let folder = Folder::new();
    let manifest = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "stringData": data });
    let inputs = json!({ "values": { "key": "${resources.env.API_KEY}" }, "manifests": { "s": manifest } });
    write(&folder, &json!({ "builtin": "template" }), &inputs);
    folder.ok("env create dev --type development --app app");
    assert_eq!(folder.pipe("secret set API_KEY -e dev", value).code, 0);
    folder.ok("platform apply platform");
    folder
}

fn nested(filter: &str, times: usize) -> String {
    format!("{{{{ values.key{} }}}}", format!(" | {filter}").repeat(times))
}

#[test]
fn values_that_grow_when_they_are_put_in_are_refused_before_they_are_made() {
    // Nothing is known of the secret while planning; each level doubles its quotes.
    let quotes = "\"".repeat(1_000);
    let folder = with_secret(&quotes, &json!({ "a": nested("json_string", 9) }));
    folder.ok(PLAN);
    assert_eq!(folder.ok(DEPLOY).code, 0, "512 bytes for each quote fit");
    let folder = with_secret(&quotes, &json!({ "a": nested("json_string", 11) }));
    folder.ok(PLAN);
    let refused = folder.run_limited(DEPLOY, 4 * 1024 * 1024);
    assert!(refused.code != 0 && refused.err.contains("the limit `sealed text bytes` of 1048576"), "{}", refused.err);
    assert!(folder.files(".windlass/manifests/app/dev").keys().all(|name| !name.contains("secret-s")), "nothing was sent");
}

#[test]
fn hashes_stop_at_the_timeout_and_at_ctrl_c() {
    let hashes: serde_json::Map<String, Value> =
        (0..32).map(|index| (format!("k{index}"), json!(format!("{{{{ (values.key ~ '{index}') | bcrypt(12) }}}}")))).collect();
    let folder = with_secret("k-1", &Value::Object(hashes));
    folder.ok(PLAN);
    let began = Instant::now();
    let late = folder.run(&format!("{DEPLOY} --timeout 1s"));
    assert!(late.err.contains("still under way"), "{}{}", late.out, late.err);
    let alone = began.elapsed();

    let mut child = folder.spawn(DEPLOY);
    std::thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    Folder::signal(&child, "INT");
    let status = child.wait().unwrap_or_else(|error| unreachable!("{error}"));
    assert!(!status.success());
    // One hash under way comes to its end, in an unoptimised build within seconds.
    assert!(began.elapsed() < Duration::from_secs(15) && alone < Duration::from_secs(25), "{:?} {alone:?}", began.elapsed());
    assert!(components().exists());
}
