//! The pod template.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass_sdk::{
    names,
    prelude::*,
    workload::{Volume, Workload},
};

use crate::{
    Identity, Inputs, Kind,
    config::{Config, Mount},
    container, object,
    order::{self, Role},
    security::{self, PodSecurity},
};

/// A rendered pod.
pub(crate) struct Pod {
    labels: Value,
    annotations: serde_json::Map<String, Value>,
    fingerprint: Option<Sealable>,
    spec: Value,
    /// Claims that a StatefulSet makes for each pod.
    pub claims: Vec<Value>,
}

impl Pod {
    /// The hash of the template and of everything it reads, as far as that is known by now.
    pub(crate) fn hash(&self) -> String {
        let known = self.fingerprint.as_ref().filter(|fingerprint| !fingerprint.is_sealed());
        names::hash(&json!([self.labels, self.annotations, self.spec, known]).to_string())
    }

    /// The template.
    pub(crate) fn template(self) -> Value {
        let Self { labels, mut annotations, fingerprint, spec, .. } = self;
        if let Some(fingerprint) = fingerprint {
            annotations.insert("windlass.dev/fingerprint".into(), json!(fingerprint));
        }
        let metadata = match annotations.is_empty() {
            true => object([("labels", labels)]),
            false => object([("labels", labels), ("annotations", Value::Object(annotations))]),
        };
        object([("metadata", metadata), ("spec", spec)])
    }
}

/// Volumes of a pod: one for each output of a resource that is mounted.
pub(crate) struct Volumes {
    stateful: bool,
    files: BTreeMap<&'static str, Vec<(String, Option<u32>)>>,
    sources: BTreeMap<String, Value>,
    claims: BTreeMap<String, Value>,
}

impl Volumes {
    /// Notes a mounted file.
    pub(crate) fn file(&mut self, mount: &Mount) {
        let entries = self.files.entry(mount.volume).or_default();
        if !entries.iter().any(|(key, _)| *key == mount.key) {
            entries.push((mount.key.clone(), mount.mode));
        }
    }

    /// Notes the source of a mounted volume and returns the volume's name in the pod.
    pub(crate) fn source(&mut self, volume: &Volume, at: &str) -> Result<String, Diagnostics> {
        let refuse = |message: String| -> Diagnostics {
            Diagnostic::error("volume", message).at(at).hint("use `${resources.ALIAS}` of a resource of type `volume`").into()
        };
        let source = &volume.source.0;
        let (Some(output), Value::Object(fields)) = (&volume.output, source) else {
            let shown = source.as_str().map_or_else(|| source.to_string(), ToOwned::to_owned);
            return Err(refuse(format!("`{shown}` is no volume")));
        };
        let name = volume_name(output);
        match fields.get("claimSpec") {
            Some(_) if !self.stateful => return Err(refuse("a claim for each pod needs a StatefulSet".to_owned())),
            Some(spec) => {
                self.claims.insert(
                    name.clone(),
                    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name }, "spec": spec }),
                );
            }
            None => {
                let mut source = fields.clone();
                source.insert("name".into(), json!(name));
                self.sources.insert(name.clone(), Value::Object(source));
            }
        }
        Ok(name)
    }
}

/// Names a volume by the output that it comes from (`volume.default#web.data/source`), never by its content: a claim of a StatefulSet
/// keeps its name, and with it its data, whatever its size. The hash tells resources apart that share the end of their ids.
fn volume_name(output: &str) -> String {
    let id = output.rsplit_once('/').map_or(output, |(address, _)| address);
    let own = id.rsplit(['#', '.']).next().unwrap_or(id);
    names::name_within(&[own, &names::hash(output)], names::CONTROLLED_CHARS_MAX)
}

/// Renders the pod of a workload.
pub(crate) fn render(
    identity: &Identity,
    workload: &Workload,
    inputs: &Inputs,
    kind: Kind,
    level: PodSecurity,
    config: &mut Config,
) -> Result<Pod, Diagnostics> {
    let (first, main) = order::order(workload);
    let mut volumes =
        Volumes { stateful: kind == Kind::StatefulSet, files: BTreeMap::new(), sources: BTreeMap::new(), claims: BTreeMap::new() };
    let security = security::of_container(level, inputs);
    let mut init_containers = Vec::new();
    let mut containers = Vec::new();
    for (name, role) in &first {
        let Some(container) = workload.containers.get(name) else { continue };
        let mut rendered = container::render(name, container, workload, &security, false, config, &mut volumes)?;
        if let Some(fields) = rendered.as_object_mut() {
            match role {
                Role::Sidecar { healthy } => {
                    fields.insert("restartPolicy".into(), json!("Always"));
                    if let (true, Some(probe)) = (*healthy, container.readiness_probe.as_ref().or(container.liveness_probe.as_ref())) {
                        // The next container starts when this one's startup probe has succeeded.
                        let mut startup = container::probe(probe);
                        if let Some(startup) = startup.as_object_mut() {
                            startup.insert("failureThreshold".into(), json!(60));
                            startup.insert("periodSeconds".into(), json!(2));
                        }
                        fields.insert("startupProbe".into(), startup);
                    }
                }
                Role::Init => {
                    // Init containers have no probes.
                    fields.remove("livenessProbe");
                    fields.remove("readinessProbe");
                }
            }
        }
        init_containers.push(rendered);
    }
    for (index, name) in main.iter().enumerate() {
        if let Some(container) = workload.containers.get(name) {
            containers.push(container::render(name, container, workload, &security, index == 0, config, &mut volumes)?);
        }
    }
    if containers.is_empty() {
        return Err(Diagnostic::error("containers", "every container is waited for by another, none is left to run")
            .at("/workload/containers")
            .into());
    }
    let mut spec = json!({ "automountServiceAccountToken": inputs.service_account.is_some(), "enableServiceLinks": false, "securityContext": security::of_pod(level, inputs) });
    let Some(fields) = spec.as_object_mut() else { return Err(Diagnostic::error("bug", "a pod is an object").into()) };
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    put("containers", Some(Value::Array(containers)));
    put("initContainers", (!init_containers.is_empty()).then_some(Value::Array(init_containers)));
    let mut all: Vec<Value> = config.volumes(&volumes.files);
    all.extend(volumes.sources.into_values());
    put("volumes", (!all.is_empty()).then_some(Value::Array(all)));
    put("restartPolicy", matches!(kind, Kind::Job | Kind::CronJob).then(|| json!("OnFailure")));
    put("serviceAccountName", inputs.service_account.as_ref().map(|account| json!(account)));
    put(
        "imagePullSecrets",
        (!inputs.image_pull_secrets.is_empty()).then(|| inputs.image_pull_secrets.iter().map(|name| json!({ "name": name })).collect()),
    );
    put("nodeSelector", (!inputs.node_selector.is_empty()).then(|| json!(inputs.node_selector)));
    put("tolerations", (!inputs.tolerations.is_empty()).then(|| Value::Array(inputs.tolerations.clone())));
    put("terminationGracePeriodSeconds", inputs.termination_grace_seconds.map(Value::from));
    if matches!(kind, Kind::Deployment | Kind::StatefulSet) {
        let hash_label = if kind == Kind::Deployment { vec!["pod-template-hash"] } else { vec!["controller-revision-hash"] };
        put(
            "topologySpreadConstraints",
            Some(
                json!([{ "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": { "matchLabels": identity.selector }, "matchLabelKeys": hash_label }]),
            ),
        );
    }
    Ok(Pod {
        labels: identity.pod_labels(),
        annotations: crate::pod_annotations(workload),
        fingerprint: config.fingerprint(),
        spec,
        claims: volumes.claims.into_values().collect(),
    })
}
