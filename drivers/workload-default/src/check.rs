//! What Score allows and Kubernetes refuses: said while planning, with where it stands.

use std::collections::BTreeMap;

use serde_json::Value;
use windlass_sdk::{
    prelude::*,
    workload::{Container, Probe, Workload},
};

/// Looks for everything at once.
pub(crate) fn check(workload: &Workload) -> Result<(), Diagnostics> {
    let mut problems = Vec::new();
    ports(workload, &mut problems);
    for (name, container) in &workload.containers {
        let base = format!("/workload/containers/{name}");
        targets(container, &base, &mut problems);
        amounts(container, &base, &mut problems);
        for (field, probe) in [("livenessProbe", &container.liveness_probe), ("readinessProbe", &container.readiness_probe)] {
            if probe.as_ref().is_some_and(runs_nothing) {
                problems.push(Diagnostic::error("probe", "the probe runs no command").at(format!("{base}/{field}/exec/command")));
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems)) }
}

/// A Service listens once on a port.
fn ports(workload: &Workload, problems: &mut Vec<Diagnostic>) {
    let mut known: BTreeMap<(u16, &str), &str> = BTreeMap::new();
    for (name, port) in workload.service.iter().flat_map(|service| &service.ports) {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if let Some(other) = known.insert((port.port, protocol), name) {
            problems.push(
                Diagnostic::error("port", format!("`{other}` and `{name}` are both port {} of {protocol}", port.port))
                    .at(format!("/workload/service/ports/{name}/port")),
            );
        }
    }
}

/// A path is mounted once, and what is mounted lies within its volume.
fn targets(container: &Container, base: &str, problems: &mut Vec<Diagnostic>) {
    let escaped = |path: &str| path.replace('~', "~0").replace('/', "~1");
    for path in container.files.keys().filter(|path| container.volumes.contains_key(*path)) {
        problems.push(
            Diagnostic::error("mount", format!("`{path}` is both a file and a volume")).at(format!("{base}/files/{}", escaped(path))),
        );
    }
    for (target, volume) in &container.volumes {
        if let Some(path) = volume.path.as_deref().filter(|path| path.starts_with('/') || path.split('/').any(|part| part == "..")) {
            problems.push(
                Diagnostic::error("mount", format!("`{path}` leads out of the volume"))
                    .at(format!("{base}/volumes/{}/path", escaped(target)))
                    .hint("a path within the volume, without `/` before it"),
            );
        }
    }
}

/// What is requested fits into the limit.
fn amounts(container: &Container, base: &str, problems: &mut Vec<Diagnostic>) {
    let Some(resources) = &container.resources else { return };
    for what in ["cpu", "memory"] {
        let text = |list: &str| resources.pointer(&format!("/{list}/{what}")).and_then(Value::as_str);
        let (Some(request), Some(limit)) = (text("requests"), text("limits")) else { continue };
        if amount(request).zip(amount(limit)).is_some_and(|(request, limit)| request > limit) {
            problems.push(
                Diagnostic::error("resources", format!("{request} of {what} are requested, and {limit} are the limit"))
                    .at(format!("{base}/resources/requests/{what}")),
            );
        }
    }
}

/// Reads a quantity as Score writes it.
fn amount(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let factor = match unit {
        "" => 1.0,
        "m" => 1e-3,
        "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0_f64.powi(2),
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

fn runs_nothing(probe: &Probe) -> bool {
    let command = probe.exec.as_ref().and_then(|exec| exec.get("command")).and_then(Value::as_array);
    probe.http_get.is_none() && command.is_some_and(Vec::is_empty)
}
