//! Pod security: the level that a workload runs with, and its rules.

use serde_json::{Value, json};
use windlass_sdk::{
    diagnostic::escaped,
    prelude::*,
    workload::{Container, Workload},
};

use crate::Inputs;

/// The annotation by which a workload chooses its level.
pub(crate) const LEVEL: &str = "windlass.dev/pod-security";

/// Official images whose user is root, or has a name that the kubelet can't tell from root.
const ROOT_IMAGES: [&str; 40] = [
    "alpine",
    "adminer",
    "almalinux",
    "amazonlinux",
    "bash",
    "busybox",
    "caddy",
    "cassandra",
    "composer",
    "couchdb",
    "debian",
    "eclipse-temurin",
    "fedora",
    "gcc",
    "ghost",
    "golang",
    "gradle",
    "haproxy",
    "httpd",
    "influxdb",
    "mariadb",
    "maven",
    "memcached",
    "mongo",
    "mysql",
    "nats",
    "neo4j",
    "nginx",
    "node",
    "perl",
    "php",
    "postgres",
    "python",
    "rabbitmq",
    "redis",
    "registry",
    "ruby",
    "rust",
    "ubuntu",
    "wordpress",
];
/// Registries and folders that the official images are pulled from.
const OFFICIAL: [&str; 7] = [
    "",
    "library/",
    "docker.io/",
    "docker.io/library/",
    "index.docker.io/library/",
    "public.ecr.aws/docker/library/",
    "mirror.gcr.io/library/",
];

/// A level of the Kubernetes Pod Security standards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// Known escapes are refused; images may run as root.
    #[default]
    Baseline,
    /// Containers run as a user other than root, without capabilities.
    Restricted,
}

/// Returns the level of a workload: its profile's, or the one of its annotation, which may be stricter, and looser if the profile
/// permits that.
pub(crate) fn level(workload: &Workload, inputs: &Inputs) -> Result<PodSecurity, Diagnostics> {
    let demanded = inputs.pod_security.unwrap_or_default();
    let Some(text) = workload.metadata.annotations.get(LEVEL) else { return Ok(demanded) };
    let refuse = |message: String, hint: &str| -> Diagnostics {
        let at = format!("/workload/metadata/annotations/{}", escaped(LEVEL));
        Diagnostic::error("pod-security", message).at(at).hint(hint).into()
    };
    let chosen = match text.as_str() {
        "baseline" => PodSecurity::Baseline,
        "restricted" => PodSecurity::Restricted,
        other => return Err(refuse(format!("`{other}` is no Pod Security level"), "`baseline` or `restricted`")),
    };
    if chosen < demanded && !inputs.workloads_may_loosen {
        return Err(refuse(
            "the workload asks for `baseline`, and its environment demands `restricted`".to_owned(),
            "remove the annotation; or let the workload profile permit it with the input `workloads_may_loosen: true`",
        ));
    }
    Ok(chosen)
}

/// Returns the security context of a pod.
pub(crate) fn of_pod(level: PodSecurity, inputs: &Inputs) -> Value {
    let mut security = json!({ "seccompProfile": { "type": "RuntimeDefault" } });
    if let Some(fields) = security.as_object_mut() {
        fields.extend((level == PodSecurity::Restricted).then(|| ("runAsNonRoot".to_owned(), json!(true))));
        fields.extend(inputs.run_as_user.map(|user| ("runAsUser".to_owned(), json!(user))));
    }
    security
}

/// Returns the security context of a container.
pub(crate) fn of_container(level: PodSecurity, inputs: &Inputs) -> Value {
    let mut security = json!({ "allowPrivilegeEscalation": false });
    if let Some(fields) = security.as_object_mut() {
        fields.extend((level == PodSecurity::Restricted).then(|| ("capabilities".to_owned(), json!({ "drop": ["ALL"] }))));
        fields.extend(inputs.read_only_root_filesystem.then(|| ("readOnlyRootFilesystem".to_owned(), json!(true))));
    }
    security
}

/// Warns of images that are known to run as root, where pods may not.
pub(crate) fn warnings(level: PodSecurity, workload: &Workload, inputs: &Inputs) -> Vec<Diagnostic> {
    if level == PodSecurity::Baseline || inputs.run_as_user.is_some_and(|user| user != 0) {
        return Vec::new();
    }
    let runs_as_root = |(_, container): &(&String, &Container)| is_root_image(&container.image);
    let warning = |(name, container): (&String, &Container)| {
        Diagnostic::warning(
            "root-image",
            format!("`{}` runs as root, and with the Pod Security level `restricted` it does not start", container.image),
        )
        .at(format!("/workload/containers/{}/image", escaped(name)))
        .hint(format!(
            "use an image with a numeric user of its own, the input `run_as_user` of the workload profile, or the annotation `{LEVEL}: baseline`, if the profile permits it"
        ))
    };
    workload.containers.iter().filter(runs_as_root).map(warning).collect()
}

/// Returns whether an image is an official one whose user is root.
fn is_root_image(image: &str) -> bool {
    let image = image.split('@').next().unwrap_or_default();
    let repository = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(image, |(repository, _)| repository);
    OFFICIAL.iter().any(|prefix| repository.strip_prefix(prefix).is_some_and(|name| ROOT_IMAGES.contains(&name)))
}
