//! What a server takes, as far as it can be known without one: names, keys, sizes, quantities.

use std::{borrow::Cow, fmt::Arguments};

use serde_json::Value;
use windlass_model::{Diagnostic, limits, pointer};

use crate::{quantity, schedule};

/// Where an object says what it, its pods and what is made of its templates are called.
const METADATA: [&str; 5] = [
    "/metadata",
    "/spec/template/metadata",
    "/spec/jobTemplate/metadata",
    "/spec/jobTemplate/spec/template/metadata",
    "/template/metadata",
];
/// Where the volumes of each pod of a StatefulSet are described.
pub(crate) const CLAIMS: &str = "/spec/volumeClaimTemplates";
/// Where the pods of all kinds are.
pub(crate) const PODS: [&str; 4] = ["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/template/spec"];
/// Returns where pods are in a manifest; `is_foreign` looks everywhere, because the shape of the kind is not known.
pub(crate) fn pods(manifest: &Value, is_foreign: bool) -> Vec<String> {
    let is_pod = |value: &Value| value.get("containers").is_some();
    let mut found: Vec<String> =
        PODS.iter().filter(|at| pointer::find(manifest, at).is_some_and(is_pod)).map(|&at| at.to_owned()).collect();
    if is_foreign && let Some(fields) = manifest.as_object() {
        for (key, value) in fields {
            pods_below(value, &format!("/{}", pointer::escape(key)), &mut found);
        }
    }
    found
}

fn pods_below(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if fields.get("containers").is_some_and(Value::is_array) && !found.iter().any(|known| known == at) {
                found.push(at.to_owned());
            }
            fields.iter().for_each(|(key, value)| pods_below(value, &format!("{at}/{}", pointer::escape(key)), found));
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| pods_below(item, &format!("{at}/{index}"), found)),
        _ => {}
    }
}

/// The lists of containers of a pod.
pub(crate) const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Checks one manifest; everything that is wrong is a finding.
pub(crate) fn check(manifest: &Value, api_version: &str, kind: &str, name: &str, problems: &mut Vec<Diagnostic>) {
    check_name(api_version, kind, name, "/metadata/name", problems);
    // A driver or a module says what it is called, and it becomes a part of paths.
    if let Some(namespace) = pointer::find(manifest, "/metadata/namespace").and_then(Value::as_str) {
        check_name("v1", "Namespace", namespace, "/metadata/namespace", problems);
    }
    check_labels(manifest, problems);
    if api_version == "v1" && matches!(kind, "ConfigMap" | "Secret") {
        check_data(manifest, kind, problems);
    }
    for at in PODS {
        let Some(pod) = pointer::find(manifest, at).filter(|pod| pod.get("containers").is_some()) else { continue };
        for (index, volume) in items(pod.get("volumes")) {
            check_part("volume", volume, format_args!("{at}/volumes/{index}"), problems);
        }
        for list in CONTAINERS {
            for (index, container) in items(pod.get(list)) {
                check_amounts(container.get("resources"), || format!("{at}/{list}/{index}/resources"), problems);
                check_part("container", container, format_args!("{at}/{list}/{index}"), problems);
                check_container(container, format_args!("{at}/{list}/{index}"), problems);
            }
        }
    }
    if kind == "Service" {
        for (index, port) in items(pointer::find(manifest, "/spec/ports")) {
            check_port(port.get("port"), format_args!("/spec/ports/{index}/port"), problems);
        }
    }
    let schedule = pointer::find(manifest, "/spec/schedule").and_then(Value::as_str).filter(|_| kind == "CronJob");
    if let Some((schedule, why)) = schedule.and_then(|schedule| Some((schedule, schedule::wrong(schedule)?))) {
        problems.push(
            Diagnostic::error("manifest-schedule", format!("`{schedule}` is no schedule: {why}"))
                .at("/spec/schedule")
                .hint("write it as `0 3 * * *`: every day at 3 o'clock"),
        );
    }
    if kind == "PersistentVolumeClaim" {
        check_amounts(pointer::find(manifest, "/spec/resources"), || "/spec/resources".to_owned(), problems);
    }
    let templates = pointer::find(manifest, CLAIMS).and_then(Value::as_array);
    for (index, template) in templates.into_iter().flatten().enumerate() {
        let base = || format!("{CLAIMS}/{index}/spec/resources");
        check_amounts(template.pointer("/spec/resources"), base, problems);
    }
}

fn items(list: Option<&Value>) -> impl Iterator<Item = (usize, &Value)> {
    list.and_then(Value::as_array).into_iter().flatten().enumerate()
}

/// Checks what a part of a pod is called; what is known only later is not.
fn check_part(what: &str, part: &Value, at: Arguments<'_>, problems: &mut Vec<Diagnostic>) {
    let Some(name) = part.get("name").and_then(Value::as_str) else { return };
    if name.len() > limits::LABEL_CHARS_MAX || !is_label(name) {
        problems.push(
            Diagnostic::error("manifest-name", format!("`{name}` is no name of a {what}"))
                .at(format!("{at}/name"))
                .hint(format!("at most {} lower-case letters, digits and `-`", limits::LABEL_CHARS_MAX)),
        );
    }
}

fn check_container(container: &Value, at: Arguments<'_>, problems: &mut Vec<Diagnostic>) {
    for (index, port) in items(container.get("ports")) {
        check_port(port.get("containerPort"), format_args!("{at}/ports/{index}/containerPort"), problems);
        let name = port.get("name").and_then(Value::as_str);
        if let Some(name) = name.filter(|name| !is_port_name(name)) {
            problems.push(
                Diagnostic::error("manifest-name", format!("`{name}` is no name of a port"))
                    .at(format!("{at}/ports/{index}/name"))
                    .hint(format!("at most {} lower-case letters, digits and `-`, one letter among them", limits::PORT_NAME_CHARS_MAX)),
            );
        }
    }
    for (index, variable) in items(container.get("env")) {
        let name = variable.get("name").and_then(Value::as_str);
        if let Some(name) = name.filter(|name| !is_variable_name(name)) {
            problems.push(
                Diagnostic::error("manifest-name", format!("`{name}` is no name of an environment variable"))
                    .at(format!("{at}/env/{index}/name"))
                    .hint("printable ASCII characters without `=`"),
            );
        }
    }
}

fn check_port(port: Option<&Value>, at: Arguments<'_>, problems: &mut Vec<Diagnostic>) {
    let Some(port) = port.filter(|port| port.as_number().is_some_and(|port| !port.as_u64().is_some_and(|port| matches!(port, 1..=65_535))))
    else {
        return;
    };
    problems.push(Diagnostic::error("manifest-port", format!("`{port}` is no port")).at(at.to_string()).hint("1 to 65535"));
}

fn is_port_name(name: &str) -> bool {
    name.len() <= limits::PORT_NAME_CHARS_MAX
        && is_label(name)
        && !name.contains("--")
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

fn check_name(api_version: &str, kind: &str, name: &str, at: &str, problems: &mut Vec<Diagnostic>) {
    let (is_written_so, chars_max, letters): (fn(&str) -> bool, usize, &str) = match kind {
        _ if api_version.starts_with("rbac.authorization.k8s.io/") => {
            (is_role_name, limits::OBJECT_NAME_CHARS_MAX, "letters, digits, `-`, `_`, `.` and `:`")
        }
        "Service" => (is_host_label, limits::LABEL_CHARS_MAX, "lower-case letters, digits and `-`, a letter first"),
        "Namespace" | "Job" => (is_label, limits::LABEL_CHARS_MAX, "lower-case letters, digits and `-`"),
        "StatefulSet" | "CronJob" => (is_label, limits::CONTROLLED_NAME_CHARS_MAX, "lower-case letters, digits and `-`"),
        _ => (is_subdomain, limits::OBJECT_NAME_CHARS_MAX, "lower-case letters, digits, `-` and `.`"),
    };
    if name.len() > chars_max || !is_written_so(name) {
        problems.push(
            Diagnostic::error("manifest-name", format!("`{name}` is no name of a {kind}"))
                .at(at)
                .hint(format!("at most {chars_max} {letters}")),
        );
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Names of Services are older than the rule that digits may come first (RFC 1035).
fn is_host_label(text: &str) -> bool {
    is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// Any segment of a path would do for the server; these are what people write, and none of them ends the segment.
fn is_role_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

/// Finds everything that says what something is called, with its place; also beside pods that stand elsewhere.
pub(crate) fn metadata<'m>(manifest: &'m Value, pods: &[String]) -> Vec<(Cow<'static, str>, &'m Value)> {
    let beside = pods.iter().filter_map(|pod| pod.strip_suffix("/spec")).map(|base| format!("{base}/metadata"));
    let others = beside.filter(|base| !METADATA.contains(&base.as_str())).map(Cow::Owned);
    let bases = METADATA.into_iter().map(Cow::Borrowed).chain(others);
    let own = bases.filter_map(|base| pointer::find(manifest, &base).map(|metadata| (base, metadata)));
    let claims = pointer::find(manifest, CLAIMS).and_then(Value::as_array).into_iter().flatten().enumerate();
    own.chain(claims.filter_map(|(index, claim)| Some((Cow::Owned(format!("{CLAIMS}/{index}/metadata")), claim.get("metadata")?))))
        .collect()
}

/// Tells whether something is called at a place, or what stands there says so.
pub(crate) fn is_naming(at: &str) -> bool {
    let base = at.strip_suffix("/labels").or_else(|| at.strip_suffix("/annotations")).unwrap_or(at);
    let claim = base.strip_prefix(CLAIMS).map(|rest| rest.trim_end_matches("/metadata"));
    METADATA.contains(&base) || claim.is_some_and(|index| index.split('/').count() <= 2)
}

fn check_labels(manifest: &Value, problems: &mut Vec<Diagnostic>) {
    for (base, metadata) in metadata(manifest, &[]) {
        let annotations = metadata.get("annotations").and_then(Value::as_object).into_iter().flatten();
        let bytes: usize = annotations.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
        let most = limits::ANNOTATIONS_BYTES_MAX;
        if bytes > most {
            problems.push(
                Diagnostic::error("manifest-size", format!("annotations of {bytes} bytes: Kubernetes takes {most}"))
                    .at(format!("{base}/annotations"))
                    .hint("put what is big into a ConfigMap"),
            );
        }
        for field in ["labels", "annotations"] {
            for (key, value) in metadata.get(field).and_then(Value::as_object).into_iter().flatten() {
                let place = || format!("{base}/{field}/{}", pointer::escape(key));
                if !is_qualified_name(key) {
                    problems.push(
                        Diagnostic::error("manifest-key", format!("`{key}` is no key of {field}"))
                            .at(place())
                            .hint("at most 63 letters, digits, `-`, `_` and `.`, behind a domain and `/` if need be"),
                    );
                }
                if field == "labels" {
                    match value.as_str() {
                        Some(text) if is_label_value(text) => {}
                        Some(text) => problems.push(
                            Diagnostic::error(
                                "manifest-label",
                                format!("`{text}` is no label value: at most 63 letters, digits, `-`, `_` and `.`"),
                            )
                            .at(place()),
                        ),
                        None => problems.push(Diagnostic::error("manifest-label", "a label value is text").at(place())),
                    }
                }
            }
        }
    }
}

/// A key of labels and annotations: `[DOMAIN/]NAME`.
fn is_qualified_name(key: &str) -> bool {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    domain.is_none_or(|domain| domain.len() <= limits::OBJECT_NAME_CHARS_MAX && is_subdomain(domain))
        && !name.is_empty()
        && is_label_value(name)
}

fn is_label_value(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= limits::LABEL_CHARS_MAX
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Holds keys and size of a ConfigMap or Secret to what the server takes. What is sealed has no size yet.
fn check_data(manifest: &Value, kind: &str, problems: &mut Vec<Diagnostic>) {
    let mut bytes = 0;
    for (field, is_encoded) in [("data", kind == "Secret"), ("stringData", false), ("binaryData", true)] {
        for (key, value) in manifest.get(field).and_then(Value::as_object).into_iter().flatten() {
            let length = value.as_str().map_or(0, str::len);
            bytes += if is_encoded { length / 4 * 3 } else { length };
            if !is_data_key(key) {
                problems.push(
                    Diagnostic::error("manifest-key", format!("`{key}` is no key of a {kind}"))
                        .at(format!("/{field}/{}", pointer::escape(key)))
                        .hint(format!("at most {} letters, digits, `-`, `_` and `.`", limits::OBJECT_NAME_CHARS_MAX)),
                );
            }
        }
    }
    let most = limits::OBJECT_DATA_BYTES_MAX;
    if bytes > most {
        problems.push(
            Diagnostic::error("manifest-size", format!("a {kind} of {bytes} bytes: Kubernetes takes {most}"))
                .hint("bring what is big in the image, or put it on a volume"),
        );
    }
}

fn is_data_key(key: &str) -> bool {
    (1..=limits::OBJECT_NAME_CHARS_MAX).contains(&key.len())
        && !matches!(key, "." | "..")
        && !key.starts_with("..")
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Holds limits and requests to what is a quantity; there is no storage of nothing.
fn check_amounts(resources: Option<&Value>, at: impl Fn() -> String, problems: &mut Vec<Diagnostic>) {
    let Some(resources) = resources else { return };
    for list in ["limits", "requests"] {
        for (name, amount) in resources.get(list).and_then(Value::as_object).into_iter().flatten() {
            let is_nothing = |text: &str| !text.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
            let Some(text) = amount.as_str().filter(|text| quantity::parse(text).is_none() || (name == "storage" && is_nothing(text)))
            else {
                continue;
            };
            problems.push(
                Diagnostic::error("manifest-quantity", format!("`{text}` is no amount of {name}"))
                    .at(format!("{}/{list}/{}", at(), pointer::escape(name)))
                    .hint("a number and its unit: `100m`, `128Mi`, `2Gi`, `10G`"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(api_version: &str, kind: &str, name: &str, more: Value) -> Vec<String> {
        let mut manifest = json!({ "metadata": { "name": name } });
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut problems = Vec::new();
        check(&manifest, api_version, kind, name, &mut problems);
        problems.iter().map(|problem| format!("{} {}", problem.code, problem.pointer)).collect()
    }

    #[test]
    fn names_are_held_to_what_their_kind_bears() {
        let named = |kind: &str, name: &str| {
            let api = match kind {
                "StatefulSet" => "apps/v1",
                "CronJob" | "Job" => "batch/v1",
                "Role" => "rbac.authorization.k8s.io/v1",
                _ => "v1",
            };
            found(api, kind, name, json!({})).is_empty()
        };
        for (kind, most) in [("StatefulSet", 52), ("CronJob", 52), ("Job", 63), ("Service", 63), ("ConfigMap", 253)] {
            assert!(named(kind, &"x".repeat(most)) && !named(kind, &"x".repeat(most + 1)), "{kind}");
        }
        assert!(named("Secret", "a.b") && !named("Service", "a.b") && !named("Secret", "a..b") && !named("Secret", "-a"));
        assert!(named("Service", "a9") && !named("Service", "9a") && named("Job", "9a"));
        assert!(named("Role", "Read:all"));
        for bad in ["", "..", "a/b", "a?force=true", "a#b", "a b", "a%2fb"] {
            assert!(!named("Role", bad), "{bad}");
        }
    }

    #[test]
    fn namespaces_are_labels() {
        let placed = |namespace: &str| found("v1", "Secret", "x", json!({ "metadata": { "name": "x", "namespace": namespace } }));
        assert!(placed("team-1").is_empty());
        for bad in ["", "../kube-system", "a.b", "A", &"x".repeat(64)] {
            assert_eq!(placed(bad), ["manifest-name /metadata/namespace"], "{bad}");
        }
    }

    #[test]
    fn keys_are_qualified_names() {
        for good in ["a", "A_b.c-9", "example.com/team", "ad.datadoghq.com/main.logs"] {
            assert!(is_qualified_name(good), "{good}");
        }
        let long = "x".repeat(limits::LABEL_CHARS_MAX + 1);
        for bad in ["", "/", "a/", "/b", "a b", "x/y/z", "Example.com/a", "-a", "a_", &long] {
            assert!(!is_qualified_name(bad), "{bad}");
        }
        let annotated = json!({ "spec": { "template": { "metadata": { "annotations": { "a b": "c" } } } } });
        assert_eq!(found("apps/v1", "Deployment", "x", annotated), ["manifest-key /spec/template/metadata/annotations/a b"]);
    }

    #[test]
    fn data_is_held_to_what_the_server_takes() {
        let object = |kind: &str, fields: Value| found("v1", kind, "x", fields);
        let (most, half) = ("x".repeat(limits::OBJECT_DATA_BYTES_MAX), "x".repeat(limits::OBJECT_DATA_BYTES_MAX / 2));
        assert!(object("ConfigMap", json!({ "data": { "a": most } })).is_empty());
        assert_eq!(object("ConfigMap", json!({ "data": { "a": half, "b": half, "c": "x" } })), ["manifest-size "]);
        // Four characters of base64 are three bytes.
        assert!(object("Secret", json!({ "data": { "a": most, "b": "x".repeat(300_000) } })).is_empty());
        assert_eq!(object("Secret", json!({ "stringData": { "a": most, "b": "x" } })), ["manifest-size "]);
        let keys = json!({ "data": { "a/b": "x", "..c": "x", "d.e": "x" } });
        assert_eq!(object("ConfigMap", keys), ["manifest-key /data/..c", "manifest-key /data/a~1b"]);
    }

    #[test]
    fn annotations_and_parts_of_pods_are_held_to_what_the_server_takes() {
        let annotated = |bytes: usize| json!({ "metadata": { "name": "x", "annotations": { "a": "x".repeat(bytes - 1) } } });
        assert!(found("v1", "ConfigMap", "x", annotated(limits::ANNOTATIONS_BYTES_MAX)).is_empty());
        assert_eq!(found("v1", "ConfigMap", "x", annotated(limits::ANNOTATIONS_BYTES_MAX + 1)), ["manifest-size /metadata/annotations"]);
        let with = |container: Value| {
            let pod = json!({ "spec": { "template": { "spec": { "containers": [container] } } } });
            found("apps/v1", "Deployment", "x", pod).join(", ").replace("/spec/template/spec/containers/0", "")
        };
        let fine = json!({ "name": "main", "ports": [{ "containerPort": 65535, "name": "http-8080" }], "env": [{ "name": "a.b/c-1" }] });
        assert_eq!(with(fine), "");
        assert_eq!(with(json!({ "name": "Main" })), "manifest-name /name");
        for name in ["-a", "1234", "a--b", "sixteen-chars-xy"] {
            assert_eq!(with(json!({ "ports": [{ "name": name }] })), "manifest-name /ports/0/name", "{name}");
        }
        for port in [json!(0), json!(65536), json!(-1), json!(8.5)] {
            assert_eq!(with(json!({ "ports": [{ "containerPort": port }] })), "manifest-port /ports/0/containerPort", "{port}");
        }
        assert_eq!(with(json!({ "env": [{ "name": "A=B" }, { "name": "" }] })), "manifest-name /env/0/name, manifest-name /env/1/name");
        let service = json!({ "spec": { "ports": [{ "port": 70000 }, { "port": 80 }] } });
        assert_eq!(found("v1", "Service", "x", service), ["manifest-port /spec/ports/0/port"]);
    }

    #[test]
    fn amounts_are_quantities() {
        for good in ["1", "0.5", ".5", "1.", "100m", "128Mi", "5k", "1e3", "1E-3", "2Gi"] {
            assert!(quantity::parse(good).is_some(), "{good}");
        }
        for bad in ["", ".", "lots", "10K", "1.2.3", "1e", "1 Gi", "Mi", "-1", "1mi"] {
            assert!(quantity::parse(bad).is_none(), "{bad}");
        }
        let claim = |size: &str| json!({ "spec": { "resources": { "requests": { "storage": size } } } });
        let storage = ["manifest-quantity /spec/resources/requests/storage"];
        assert_eq!(found("v1", "PersistentVolumeClaim", "x", claim("0Gi")), storage);
        assert_eq!(found("v1", "PersistentVolumeClaim", "x", claim("lots")), storage);
        assert!(found("v1", "PersistentVolumeClaim", "x", claim("10Gi")).is_empty());
        let limits = json!({ "cpu": "0", "memory": "1KB" });
        let pod = json!({ "spec": { "template": { "spec": { "containers": [{ "resources": { "limits": limits } }] } } } });
        let memory = "manifest-quantity /spec/template/spec/containers/0/resources/limits/memory";
        assert_eq!(found("apps/v1", "Deployment", "x", pod), [memory]);
    }
}
