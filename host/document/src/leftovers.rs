//! Fields of earlier versions of Score, of other tools and of other levels of a Score document, and where their content stands.

use windlass_model::pointer;

/// A field that people write and Score does not have.
struct Leftover {
    /// The level at which people write it: a JSON Pointer in which `*` stands for any name.
    level: &'static str,
    name: &'static str,
    /// Where its content stands.
    remedy: &'static str,
}

const fn leftover(level: &'static str, name: &'static str, remedy: &'static str) -> Leftover {
    Leftover { level, name, remedy }
}

const CONTAINER: &str = "/containers/*";
const RESOURCE: &str = "/resources/*";
const TIMING: &str = "Score's probes are `exec` and `httpGet`; Kubernetes' defaults decide their timing";

const LEFTOVERS: [Leftover; 29] = [
    leftover("", "kind", "`apiVersion` alone says what a Score document is: remove `kind`"),
    leftover("", "spec", "the fields of a Score document stand at the top: move what `spec` holds there"),
    leftover("", "name", "the workload's name is `metadata.name`"),
    leftover("", "annotations", "the workload's annotations are `metadata.annotations`"),
    leftover("", "labels", "Score has no labels; annotations are `metadata.annotations`"),
    leftover("", "image", "an image belongs to a container: `containers: { main: { image: … } }`"),
    leftover("", "container", "the field is `containers`: a map of containers by name"),
    leftover("", "variables", "variables belong to a container: `containers: { main: { variables: … } }`"),
    leftover("", "env", "variables belong to a container: `containers: { main: { variables: … } }`"),
    leftover("", "ports", "ports belong to the Service: `service: { ports: { http: { port: 8080 } } }`"),
    leftover("", "volumes", "volumes belong to a container, and name a resource of type `volume`"),
    leftover("", "dependencies", "what a workload needs are its `resources`"),
    leftover("", "externals", "`externals` became `resources`"),
    leftover("", "environments", "what varies between environments stands in an Application document"),
    leftover("", "overrides", "overrides stand in an Application document, or in a file given with `--overrides-file`"),
    leftover("", "extensions", "Score has no extensions; what the platform adds stands in a WorkloadProfile or a ResourceDefinition"),
    leftover(CONTAINER, "env", "environment variables are `variables: { NAME: value }`"),
    leftover(CONTAINER, "environment", "environment variables are `variables: { NAME: value }`"),
    leftover(CONTAINER, "ports", "ports belong to the Service: `service: { ports: { http: { port: 8080 } } }` at the top of the document"),
    leftover(CONTAINER, "entrypoint", "the entry point is `command`"),
    leftover(CONTAINER, "volumeMounts", "mounts are `volumes: { /path: { source: \"${resources.ALIAS}\" } }`"),
    leftover(CONTAINER, "mounts", "mounts are `volumes: { /path: { source: \"${resources.ALIAS}\" } }`"),
    leftover(CONTAINER, "depends_on", "the container that is waited for names the one that waits in `before`"),
    leftover(RESOURCE, "properties", "`properties` left Score: outputs follow from the type, what is asked for stands in `params`"),
    leftover(RESOURCE, "default", "Score has no default values; a definition of the platform decides them"),
    leftover("/containers/*/livenessProbe", "periodSeconds", TIMING),
    leftover("/containers/*/readinessProbe", "periodSeconds", TIMING),
    leftover("/containers/*/livenessProbe", "initialDelaySeconds", TIMING),
    leftover("/containers/*/readinessProbe", "initialDelaySeconds", TIMING),
];

/// Returns what a field of a Score document that Score does not have was replaced by; `level` is a JSON Pointer.
pub(crate) fn remedy(level: &str, name: &str) -> Option<&'static str> {
    let found = LEFTOVERS.iter().find(|leftover| leftover.name == name && pointer::matches(leftover.level, level));
    found.map(|leftover| leftover.remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_known_at_their_level() {
        assert!(remedy("", "kind").is_some());
        assert!(remedy("/containers/main", "env").is_some_and(|remedy| remedy.contains("variables")));
        assert!(remedy("/resources/db", "properties").is_some());
        assert_eq!(remedy("/service", "kind"), None);
        assert_eq!(remedy("/containers/main/files", "env"), None);
        assert_eq!(remedy("/resources", "properties"), None);
    }
}
