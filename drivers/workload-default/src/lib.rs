//! Renders a workload as Kubernetes objects: the profile that everything else builds on.

mod check;
mod config;
mod container;
mod order;
mod paths;
mod pod;
mod security;

use std::collections::BTreeMap;

pub use security::PodSecurity;

use serde_json::{Map, Value, json};
use windlass_sdk::{
    names::{self, label_value},
    prelude::*,
    resource::Context,
    workload::Workload,
};

/// The annotation by which the Score tools choose the kind.
const KIND: &str = "k8s.score.dev/kind";
/// The annotation by which the Score tools name the Service.
const SERVICE_NAME: &str = "k8s.score.dev/service-name";
/// The schedule of a CronJob.
const SCHEDULE: &str = "windlass.dev/schedule";

/// What a deployment waits for: that a Job completes, or that it has started.
const WAIT_FOR: &str = "windlass.dev/wait-for";

/// What a stage may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// Pods of a Deployment or StatefulSet. Not rendered if nothing is said, so that an autoscaler may own it.
    #[serde(default)]
    pub replicas: Option<u32>,
    /// The kind, where the workload's annotation names none: `Deployment` if nothing is said.
    #[serde(default)]
    pub kind: Option<Kind>,
    /// The schedule of a CronJob, where the workload's annotation `windlass.dev/schedule` gives none.
    #[serde(default)]
    pub schedule: Option<String>,
    /// The service account of the pods.
    #[serde(default)]
    pub service_account: Option<String>,
    /// Secrets for pulling images.
    #[serde(default)]
    pub image_pull_secrets: Vec<String>,
    /// The Pod Security level of the pods: `baseline` if nothing is said; `${context.podSecurity}` is the one of the environment type.
    #[serde(default)]
    pub pod_security: Option<PodSecurity>,
    /// Workloads may run with `baseline` by the annotation `windlass.dev/pod-security`, where the level is `restricted`.
    #[serde(default)]
    pub workloads_may_loosen: bool,
    /// The user that containers run as, where the image's own is root or a name.
    #[serde(default)]
    pub run_as_user: Option<u32>,
    /// Containers may write to volumes only.
    #[serde(default)]
    pub read_only_root_filesystem: bool,
    /// Labels of nodes that pods may run on.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations of the pods, in the words of Kubernetes.
    #[serde(default)]
    pub tolerations: Vec<Value>,
    /// Seconds between the request to end and the end.
    #[serde(default)]
    pub termination_grace_seconds: Option<u32>,
}

/// The object that runs the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Kind {
    /// Interchangeable pods.
    Deployment,
    /// Pods with a name and volumes of their own.
    StatefulSet,
    /// Pods that end.
    Job,
    /// Jobs by schedule.
    CronJob,
}

/// The driver.
#[derive(Debug)]
pub struct WorkloadDefault;

impl WorkloadProfile for WorkloadDefault {
    const SUMMARY: &'static str = "renders a workload as Deployment, StatefulSet, Job or CronJob with Service, ConfigMaps and Secret";
    type Inputs = Inputs;

    fn render(request: RenderRequest<Inputs>) -> Result<Manifests, Diagnostics> {
        let RenderRequest { context, name, mut workload, inputs, manifests: mut out } = request;
        check::check(&mut workload)?;
        let kind = kind_of(&workload, &inputs)?;
        let level = security::level(&workload, &inputs)?;
        let identity = Identity::new(&context, &name, &workload);
        let mut config = config::Config::new(&name);
        let pod = pod::render(&identity, &workload, &inputs, kind, level, &mut config)?;
        out.extend(config.manifests(&identity));
        let ports = service_ports(&workload);
        if !ports.is_empty() {
            let spec = object([("selector", identity.selector.clone()), ("ports", Value::Array(ports))]);
            out.push(manifest("v1", "Service", identity.metadata(&identity.service), spec));
        }
        out.push(match kind {
            Kind::Deployment => deployment(&identity, &inputs, pod),
            Kind::StatefulSet => stateful_set(&identity, &inputs, pod),
            Kind::Job => job(&identity, &workload, pod),
            Kind::CronJob => cron_job(&identity, &workload, &inputs, pod)?,
        });
        Ok(Manifests { manifests: out, warnings: security::warnings(level, &workload, &inputs) })
    }
}

/// Names, labels and selectors of a workload's objects.
pub(crate) struct Identity {
    pub name: String,
    pub service: String,
    pub namespace: String,
    pub labels: Value,
    pub selector: Value,
}

impl Identity {
    fn new(context: &Context, name: &str, workload: &Workload) -> Self {
        let mut labels = json!({
            "app.kubernetes.io/name": label_value(name),
            "app.kubernetes.io/instance": names::name(&[name, &context.environment]),
            "app.kubernetes.io/part-of": context.application,
            "app.kubernetes.io/managed-by": "windlass",
        });
        if let (Some(version), Some(labels)) =
            (workload.containers.values().next().and_then(|container| version(&container.image)), labels.as_object_mut())
        {
            labels.insert("app.kubernetes.io/version".into(), json!(version));
        }
        Self {
            name: name.to_owned(),
            service: workload.metadata.annotations.get(SERVICE_NAME).cloned().unwrap_or_else(|| name.to_owned()),
            namespace: context.namespace.clone().unwrap_or_default(),
            labels,
            // Never more than this: selectors can't be changed later.
            selector: json!({ "windlass.dev/application": context.application, "windlass.dev/environment": context.environment, "windlass.dev/workload": name }),
        }
    }

    /// The name of a StatefulSet or CronJob.
    fn controlled(&self) -> String {
        names::name_within(&[&self.name], names::CONTROLLED_CHARS_MAX)
    }

    pub(crate) fn metadata(&self, name: &str) -> Value {
        let mut labels = self.labels.clone();
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("windlass.dev/workload".into(), json!(self.name));
        }
        json!({ "name": name, "namespace": self.namespace, "labels": labels })
    }

    pub(crate) fn pod_labels(&self) -> Value {
        let mut labels = self.labels.clone();
        if let (Some(all), Some(selector)) = (labels.as_object_mut(), self.selector.as_object()) {
            all.extend(selector.clone());
        }
        labels
    }
}

/// The tag of an image, if it can be a label value; a digest never is a version.
fn version(image: &str) -> Option<String> {
    let image = image.split('@').next()?;
    let (_, tag) = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
    (label_value(tag) == tag).then(|| tag.to_owned())
}

fn kind_of(workload: &Workload, inputs: &Inputs) -> Result<Kind, Diagnostics> {
    match workload.metadata.annotations.get(KIND).map(String::as_str) {
        None => Ok(inputs.kind.unwrap_or(Kind::Deployment)),
        Some("Deployment") => Ok(Kind::Deployment),
        Some("StatefulSet") => Ok(Kind::StatefulSet),
        Some("Job") => Ok(Kind::Job),
        Some("CronJob") => Ok(Kind::CronJob),
        Some(other) => Err(Diagnostic::error("kind", format!("`{other}` is no kind of workload"))
            .at("/workload/metadata/annotations/k8s.score.dev~1kind")
            .hint("Deployment, StatefulSet, Job or CronJob")
            .into()),
    }
}

fn service_ports(workload: &Workload) -> Vec<Value> {
    workload
        .service
        .iter()
        .flat_map(|service| &service.ports)
        .map(|(name, port)| json!({ "name": name, "port": port.port, "targetPort": port.target(), "protocol": port.protocol() }))
        .collect()
}

/// Makes an object of parts that are moved into it; `json!` copies what stands in it, and a pod is large.
pub(crate) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn manifest(api_version: &str, kind: &str, metadata: Value, spec: Value) -> Value {
    object([("apiVersion", api_version.into()), ("kind", kind.into()), ("metadata", metadata), ("spec", spec)])
}

fn put(spec: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(value), Some(spec)) = (value, spec.as_object_mut()) {
        spec.insert(name.to_owned(), value);
    }
}

fn deployment(identity: &Identity, inputs: &Inputs, pod: pod::Pod) -> Value {
    let mut spec = object([("selector", json!({ "matchLabels": identity.selector })), ("template", pod.template())]);
    put(&mut spec, "replicas", inputs.replicas.map(Value::from));
    manifest("apps/v1", "Deployment", identity.metadata(&identity.name), spec)
}

fn stateful_set(identity: &Identity, inputs: &Inputs, mut pod: pod::Pod) -> Value {
    let claims = std::mem::take(&mut pod.claims);
    let mut spec = object([
        ("serviceName", json!(identity.service)),
        ("selector", json!({ "matchLabels": identity.selector })),
        ("template", pod.template()),
    ]);
    put(&mut spec, "replicas", inputs.replicas.map(Value::from));
    put(&mut spec, "volumeClaimTemplates", (!claims.is_empty()).then_some(Value::Array(claims)));
    manifest("apps/v1", "StatefulSet", identity.metadata(&identity.controlled()), spec)
}

/// A Job's template can't be changed: its name carries the hash of the template and of the files and variables that it reads, so that a
/// change makes a new Job. What is known only later changes the template's fingerprint, and the host makes the Job anew under its name.
fn job(identity: &Identity, workload: &Workload, pod: pod::Pod) -> Value {
    let name = names::name(&[&identity.name, &pod.hash()]);
    let template = pod.template();
    let mut metadata = identity.metadata(&name);
    let wait_for = workload.metadata.annotations.get(WAIT_FOR).map(|wait_for| json!({ WAIT_FOR: wait_for }));
    put(&mut metadata, "annotations", wait_for);
    manifest("batch/v1", "Job", metadata, object([("backoffLimit", 3.into()), ("template", template)]))
}

fn cron_job(identity: &Identity, workload: &Workload, inputs: &Inputs, pod: pod::Pod) -> Result<Value, Diagnostics> {
    let Some(schedule) = workload.metadata.annotations.get(SCHEDULE).or(inputs.schedule.as_ref()) else {
        return Err(Diagnostic::error("schedule", "a CronJob needs a schedule")
            .at("/workload/metadata/annotations")
            .hint(format!("add the annotation `{SCHEDULE}: \"0 3 * * *\"`"))
            .into());
    };
    let job = object([("backoffLimit", 3.into()), ("template", pod.template())]);
    let spec = object([("schedule", json!(schedule)), ("concurrencyPolicy", "Forbid".into()), ("jobTemplate", object([("spec", job)]))]);
    Ok(manifest("batch/v1", "CronJob", identity.metadata(&identity.controlled()), spec))
}

/// Annotations that belong to the pod: all but those that steer tools.
pub(crate) fn pod_annotations(workload: &Workload) -> Map<String, Value> {
    workload
        .metadata
        .annotations
        .iter()
        .filter(|(key, _)| !["k8s.score.dev/", "compose.score.dev/", "windlass.dev/"].iter().any(|prefix| key.starts_with(prefix)))
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect()
}

windlass_sdk::export_workload!(WorkloadDefault);

#[cfg(test)]
mod tests;
