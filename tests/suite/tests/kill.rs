//! `kill -9` at every point of a deployment, and again while resuming: the same end state, each file
//! written once, nothing half-written left.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use windlass_suite::{binary::Folder, kills::Kills};

const FIRST: &str = "deploy app -e dev --create-env development --yes";

const WEB: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
service: { ports: { http: { port: 80 } } }
containers:
  main:
    image: web:IMAGE
    variables: { PASSWORD: \"${resources.cache.password}\" }
resources:
  cache: { type: redis }
";

fn application(image: &str) -> Folder {
    let folder = Folder::new();
    folder.write("app/web.score.yaml", &WEB.replace("IMAGE", image));
    folder
}

/// The objects of an environment: generated values differ between runs, so only their places are compared.
fn objects(folder: &Folder) -> Vec<String> {
    let files = folder.files(".windlass/manifests");
    assert!(files.keys().all(|name| !name.contains("windlass-tmp")), "a temporary file is left: {:?}", files.keys());
    files.keys().cloned().collect()
}

fn settled(folder: &Folder, at: &str) {
    let state: serde_json::Value = serde_json::from_str(&folder.ok("env show -e dev -o json").out).unwrap();
    for action in state["actions"].as_array().unwrap() {
        assert_eq!(action["status"], "live", "{at}: {}", action["id"]);
    }
    // The inventory, the state and the files agree: another deployment finds nothing to do.
    let plan = folder.run("plan app -e dev --detailed-exitcode --refresh");
    assert_eq!(plan.code, 0, "{at}: {}\n{}", plan.out, plan.err);
    assert!(plan.err.contains("everything is as it was left"), "{at}: {}", plan.err);
    // One password, everywhere the same: it was made once.
    let files = folder.files(".windlass/manifests");
    let passwords: std::collections::BTreeSet<&str> = files
        .iter()
        .filter(|(name, _)| name.contains("/secret-"))
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| line.trim().strip_prefix("password: ").or_else(|| line.trim().strip_prefix("main.PASSWORD: ")))
        .collect();
    assert!(passwords.len() <= 1, "{at}: {passwords:?}");
}

/// Nothing waits here, so every point comes.
fn kill_everywhere(name: &str, prepare: impl Fn() -> Folder + Sync, line: &str, then: &str, settled: impl Fn(&Folder, &str) + Sync) {
    let kills = Kills { name, line, then, waits: false, side_by_side: 1 };
    kills.everywhere(prepare, |folder| folder, objects, settled);
}

fn deployed() -> Folder {
    let folder = application("1");
    folder.ok(FIRST);
    folder
}

#[test]
fn first_deployment() {
    kill_everywhere("first deployment", || application("1"), FIRST, FIRST, settled);
}

#[test]
fn second_deployment() {
    let prepare = || {
        let folder = deployed();
        folder.write("app/web.score.yaml", &WEB.replace("IMAGE", "2").replace("service: { ports: { http: { port: 80 } } }\n", ""));
        folder
    };
    kill_everywhere("second deployment", prepare, "deploy app -e dev --yes", "deploy app -e dev --yes", settled);
}

#[test]
fn destroy() {
    let gone = |folder: &Folder, at: &str| assert!(objects(folder).is_empty(), "{at}: {:?}", objects(folder));
    kill_everywhere("destroy", deployed, "destroy -e dev --yes", "destroy -e dev --yes", gone);
}

#[test]
fn resume_finishes_the_old_plan() {
    let expected = objects(&deployed());
    // Points before the deployment is on record leave nothing to resume.
    for at in [6, 9, 12, 15] {
        let folder = application("1");
        assert_eq!(folder.run_with(FIRST, &[("WINDLASS_KILL_AT", &at.to_string())]).code, -1);
        assert!(folder.ok("status -e dev").out.contains("interrupted"), "killed at {at}");
        folder.run_with("resume -e dev", &[("WINDLASS_KILL_AT", "4")]);
        folder.ok("resume -e dev");
        assert_eq!(objects(&folder), expected, "resumed after a kill at {at}");
        settled(&folder, &format!("resumed after a kill at {at}"));
        assert_eq!(folder.run("resume -e dev").code, 1, "nothing is under way any more");
    }
}

/// Deploys where the disk takes no more behind so many KiB; tells whether that was enough, and how far it came.
fn deployed_within(kib: u64, expected: &[String]) -> (bool, String) {
    let line = "deploy app -e dev --yes";
    let folder = application("1");
    folder.ok("env create dev --type development --app app");
    let full = folder.run_limited(line, kib);
    if full.code != 0 {
        assert!(full.code == 1 && full.err.contains("the store failed while "), "{kib} KiB: {} {}", full.code, full.err);
        // There is room again.
        folder.ok(line);
    }
    assert_eq!(objects(&folder), expected, "the disk was full behind {kib} KiB");
    settled(&folder, &format!("the disk was full behind {kib} KiB"));
    (full.code == 0, full.err)
}

#[test]
fn a_full_disk_loses_nothing() {
    let expected = objects(&deployed());
    // Towards where it is just enough: there it fails between effects.
    let (mut low, mut high) = (256, 16 * 1024);
    let mut failed = Vec::new();
    while high - low > 8 {
        let kib = u64::midpoint(low, high);
        let (is_enough, said) = deployed_within(kib, &expected);
        if is_enough {
            high = kib;
        } else {
            low = kib;
            failed.push(said);
        }
    }
    // A command that ended has emptied the log, or not: that moves the place by what it had written, and it may have been stepped over.
    let is_between = |said: &String| said.contains("✓ done");
    for kib in (high.saturating_sub(256)..high + 256).step_by(16) {
        if failed.iter().any(is_between) {
            break;
        }
        let (is_enough, said) = deployed_within(kib, &expected);
        failed.extend((!is_enough).then_some(said));
    }
    assert!(failed.iter().any(|said| said.contains("beginning the deployment")), "{failed:?}");
    assert!(failed.iter().any(is_between), "{failed:?}");
}

#[test]
fn a_deployment_that_kills_the_process_is_held() {
    let folder = application("1");
    assert_eq!(folder.run_with(FIRST, &[("WINDLASS_KILL_AT", "8")]).code, -1);
    for _ in 0..3 {
        assert_eq!(folder.run_with("resume -e dev", &[("WINDLASS_KILL_AT", "2")]).code, -1);
    }
    let held = folder.run("resume -e dev");
    assert_eq!(held.code, 1);
    assert!(held.err.contains("is held: the process died 3 times"), "{}", held.err);
    // A new deployment takes over.
    folder.ok("deploy app -e dev --yes");
}
