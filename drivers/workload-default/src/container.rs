//! One container of a pod.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use windlass_sdk::{
    kubernetes::literal,
    prelude::*,
    workload::{Container, Probe, Workload},
};

use crate::{config::Config, pod::Volumes};

/// Renders a container.
pub(crate) fn render(
    name: &str,
    container: &Container,
    workload: &Workload,
    security: &Value,
    is_main: bool,
    config: &mut Config,
    volumes: &mut Volumes,
) -> Result<Value, Diagnostics> {
    let mut out = json!({ "name": name, "image": container.image, "securityContext": security });
    let Some(fields) = out.as_object_mut() else { return Ok(out) };
    let mut put = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(field.to_owned(), value);
        }
    };
    put("command", container.command.as_deref().map(literals));
    put("args", container.args.as_deref().map(literals));
    let env: Vec<Value> = container.variables.iter().map(|(variable, value)| config.variable(name, variable, value)).collect();
    put("env", (!env.is_empty()).then_some(Value::Array(env)));
    put("resources", container.resources.as_ref().filter(|resources| !resources.is_null()).map(amounts));
    put("livenessProbe", container.liveness_probe.as_ref().map(probe));
    put("readinessProbe", container.readiness_probe.as_ref().map(probe));
    if is_main {
        // Several ports of a Service may lead to one of the container.
        let mut known = BTreeSet::new();
        let ports: Vec<Value> = workload
            .service
            .iter()
            .flat_map(|service| &service.ports)
            .map(|(name, port)| (name, port.target(), port.protocol()))
            .filter(|(_, target, protocol)| known.insert((*target, *protocol)))
            .map(|(name, target, protocol)| match is_port_name(name) {
                true => json!({ "name": name, "containerPort": target, "protocol": protocol }),
                false => json!({ "containerPort": target, "protocol": protocol }),
            })
            .collect();
        put("ports", (!ports.is_empty()).then_some(Value::Array(ports)));
    }
    let mut mounts = Vec::new();
    for (path, file) in &container.files {
        let mount = config.file(name, path, file)?;
        mounts.push(json!({ "name": mount.volume, "mountPath": path, "subPath": mount.key, "readOnly": true }));
        volumes.file(&mount);
    }
    for (path, volume) in &container.volumes {
        let volume_name = volumes.source(volume, &format!("/workload/containers/{name}/volumes"))?;
        let mut mount = json!({ "name": volume_name, "mountPath": path });
        if let Some(mount) = mount.as_object_mut() {
            mount.extend(volume.path.as_ref().map(|path| ("subPath".to_owned(), json!(path))));
            mount.extend(volume.read_only.filter(|read_only| *read_only).map(|read_only| ("readOnly".to_owned(), json!(read_only))));
        }
        mounts.push(mount);
    }
    put("volumeMounts", (!mounts.is_empty()).then_some(Value::Array(mounts)));
    Ok(out)
}

/// Writes words of a command so that Kubernetes passes them on unchanged.
fn literals(words: &[String]) -> Value {
    words.iter().map(|word| literal(word)).collect()
}

/// Score writes a thousand as `K`, Kubernetes as `k`; everything else is the same.
fn amounts(resources: &Value) -> Value {
    let mut resources = resources.clone();
    for list in ["limits", "requests"] {
        if let Some(Value::String(memory)) = resources.pointer_mut(&format!("/{list}/memory"))
            && let Some(number) = memory.strip_suffix('K')
        {
            *memory = format!("{number}k");
        }
    }
    resources
}

/// Names of ports are shorter in pods than in Services, hold no two `-` in a row, and are no numbers (RFC 6335).
fn is_port_name(name: &str) -> bool {
    name.len() <= 15 && !name.contains("--") && name.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Score's probes are those of Kubernetes, by the same names; Kubernetes takes one action, and Score prefers `exec`.
pub(crate) fn probe(probe: &Probe) -> Value {
    match (&probe.exec, &probe.http_get) {
        (Some(exec), _) => json!({ "exec": command(exec) }),
        (None, Some(http_get)) => json!({ "httpGet": request(http_get) }),
        (None, None) => json!({}),
    }
}

/// Score's `host` is a `Host` header, where Kubernetes would connect to that host. A header of that name that is given stays.
fn request(http_get: &Value) -> Value {
    let mut request = http_get.clone();
    let Some(fields) = request.as_object_mut() else { return request };
    let Some(host) = fields.remove("host").filter(|host| !host.is_null()) else { return request };
    let headers = fields.entry("httpHeaders").or_insert_with(|| json!([]));
    if let Some(headers) = headers.as_array_mut() {
        let is_host = |header: &Value| header.get("name").and_then(Value::as_str).is_some_and(|name| name.eq_ignore_ascii_case("host"));
        if !headers.iter().any(is_host) {
            headers.push(json!({ "name": "Host", "value": host }));
        }
    }
    request
}

/// The kubelet expands commands of probes as it does those of containers.
fn command(exec: &Value) -> Value {
    let mut exec = exec.clone();
    if let Some(Value::Array(words)) = exec.get_mut("command") {
        for word in words {
            if let Value::String(text) = word {
                *text = literal(text);
            }
        }
    }
    exec
}
