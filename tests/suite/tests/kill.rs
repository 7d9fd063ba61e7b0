//! `kill -9` at every point of a deployment, and again while resuming: the same end state, each file
//! written once, nothing half-written left.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use std::sync::atomic::{AtomicU64, Ordering};

use windlass_suite::{
    binary::Folder,
    kills::{Kills, points},
};

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
        .filter_map(|line| line.trim().strip_prefix("password: ").or_else(|| line.trim().strip_prefix("main.env.PASSWORD: ")))
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

/// Killed at every point of a deployment, and of each of these again at every point of the command that resumes it.
#[test]
fn resume_finishes_the_old_plan() {
    let expected = objects(&deployed());
    let total = points(&application("1"), FIRST);
    let (next, resumed) = (AtomicU64::new(1), AtomicU64::new(0));
    let until_all_are_killed = || {
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            if at > total {
                return;
            }
            let cut_off = application("1");
            assert_eq!(cut_off.run_with(FIRST, &[("WINDLASS_KILL_AT", &at.to_string())]).code, -1);
            // Points before the deployment is on record leave nothing to resume, and after its end nothing is under way.
            if !cut_off.run("status -e dev").out.contains("interrupted") {
                assert_ne!(cut_off.run("resume -e dev").code, 0, "killed at {at}: nothing is under way");
                continue;
            }
            let copy = || {
                let folder = Folder::new();
                folder.copy_from(cut_off.path());
                folder
            };
            let last = points(&copy(), "resume -e dev");
            for again in 1..=last {
                let folder = copy();
                let told = format!("killed at {at}, resumed and killed at {again} of {last}");
                assert_eq!(folder.run_with("resume -e dev", &[("WINDLASS_KILL_AT", &again.to_string())]).code, -1, "{told}");
                // The last point is behind the end.
                let ran = folder.run("resume -e dev");
                assert!(ran.code == 0 || ran.err.contains("nothing is under way"), "{told}: {}", ran.err);
                assert_eq!(objects(&folder), expected, "{told}");
                settled(&folder, &told);
                resumed.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(until_all_are_killed);
        }
    });
    eprintln!("| first deployment | {total} points | resumed and killed again {} times |", resumed.load(Ordering::SeqCst));
    assert!(resumed.load(Ordering::SeqCst) > total, "{resumed:?}");
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
