//! What Score allows and Kubernetes refuses: said while planning, with where it stands.

use std::collections::BTreeMap;

use serde_json::Value;
use windlass_sdk::{
    diagnostic::escaped,
    prelude::*,
    workload::{Container, Probe, Workload},
};

use crate::{SERVICE_NAME, paths};

/// Reports all findings at once; paths have their one form afterwards.
pub(crate) fn check(workload: &mut Workload) -> Result<(), Diagnostics> {
    let mut problems = Vec::new();
    ports(workload, &mut problems);
    service_name(workload, &mut problems);
    for (name, container) in &mut workload.containers {
        let base = format!("/workload/containers/{name}");
        paths::normalise(container, &base, &mut problems);
        amounts(container, &base, &mut problems);
        variables(container, &base, &mut problems);
        for (field, asked) in [("livenessProbe", &container.liveness_probe), ("readinessProbe", &container.readiness_probe)] {
            if let Some(asked) = asked {
                probe(asked, &format!("{base}/{field}"), &mut problems);
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems)) }
}

/// A Service listens once on a port.
fn ports(workload: &Workload, problems: &mut Vec<Diagnostic>) {
    let mut known: BTreeMap<(u16, &str), &str> = BTreeMap::new();
    for (name, port) in workload.service.iter().flat_map(|service| &service.ports) {
        let protocol = port.protocol();
        if let Some(other) = known.insert((port.port, protocol), name) {
            problems.push(
                Diagnostic::error("port", format!("`{other}` and `{name}` are both port {} of {protocol}", port.port))
                    .at(format!("/workload/service/ports/{name}/port")),
            );
        }
    }
}

/// A Service's name begins with a letter, a workload's need not.
fn service_name(workload: &Workload, problems: &mut Vec<Diagnostic>) {
    let is_needed = workload.service.as_ref().is_some_and(|service| !service.ports.is_empty());
    let is_named = workload.metadata.annotations.contains_key(SERVICE_NAME);
    let name = &workload.metadata.name;
    if is_needed && !is_named && !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        problems.push(
            Diagnostic::error("service-name", format!("`{name}` can't name a Service, which begins with a letter"))
                .at("/workload/metadata/name")
                .hint(format!("name the Service by the annotation `{SERVICE_NAME}`")),
        );
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

fn variables(container: &Container, base: &str, problems: &mut Vec<Diagnostic>) {
    for name in container.variables.keys().filter(|name| !name.bytes().all(|byte| matches!(byte, b' '..=b'~'))) {
        problems.push(
            Diagnostic::error("variable", format!("`{name}` is no name of a variable"))
                .at(format!("{base}/variables/{}", escaped(name)))
                .hint("printable ASCII without `=`"),
        );
    }
}

fn probe(probe: &Probe, base: &str, problems: &mut Vec<Diagnostic>) {
    let command = probe.exec.as_ref().and_then(|exec| exec.get("command")).and_then(Value::as_array);
    if command.is_some_and(Vec::is_empty) {
        problems.push(Diagnostic::error("probe", "the probe runs no command").at(format!("{base}/exec/command")));
    }
    let headers = probe.http_get.as_ref().and_then(|http_get| http_get.get("httpHeaders")).and_then(Value::as_array);
    for (index, header) in headers.into_iter().flatten().enumerate() {
        if let Some(name) = header.get("name").and_then(Value::as_str).filter(|name| name.contains('_')) {
            problems.push(
                Diagnostic::error("probe", format!("`{name}` is no name of a header"))
                    .at(format!("{base}/httpGet/httpHeaders/{index}/name"))
                    .hint("letters, digits and `-`"),
            );
        }
    }
}
