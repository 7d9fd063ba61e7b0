//! Pod security: which images run where, and what the plan says of those that do not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use serde_json::Value;
use windlass_suite::binary::Folder;

const STRICT: &str = "apiVersion: windlass.dev/v1alpha1
kind: EnvironmentType
metadata: { name: strict }
spec: { podSecurity: restricted }
";

fn write_score(folder: &Folder, image: &str, annotations: &str) {
    folder.write(
        "job.score.yaml",
        &format!(
            "apiVersion: score.dev/v1b1\nmetadata: {{ name: tool, annotations: {{ {annotations} }} }}\ncontainers: {{ main: {{ image: \"{image}\" }} }}\n"
        ),
    );
}

/// The security contexts of the pod and of its container, and the level that the namespace enforces.
fn security(folder: &Folder) -> (Value, Value, String) {
    let files = folder.files(".windlass/manifests/shop/dev");
    let object = |kind: &str| -> Value { serde_saphyr::from_str(files.iter().find(|(path, _)| path.contains(kind)).unwrap().1).unwrap() };
    let pod = object("deployment")["spec"]["template"]["spec"].clone();
    let level = object("namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].as_str().unwrap().to_owned();
    (pod["securityContext"].clone(), pod["containers"][0]["securityContext"].clone(), level)
}

#[test]
fn public_images_run_as_they_are_unless_the_environment_type_is_strict() {
    let folder = Folder::new();
    write_score(&folder, "docker.io/library/alpine:3", "");
    let deployed = folder.ok("deploy job.score.yaml --app shop -e dev --create-env production --yes");
    let (pod, container, level) = security(&folder);
    assert_eq!((pod.get("runAsNonRoot"), container.get("capabilities"), level.as_str()), (None, None, "baseline"));
    assert!(!deployed.err.contains("runs as root"), "{}", deployed.err);

    let folder = Folder::new();
    folder.write("platform/strict.yaml", STRICT);
    write_score(&folder, "docker.io/library/alpine:3", "");
    let deployed = folder.ok("deploy job.score.yaml --app shop -e dev --create-env strict --platform platform --yes");
    let (pod, container, level) = security(&folder);
    assert_eq!((&pod["runAsNonRoot"], &container["capabilities"]["drop"][0], level.as_str()), (&true.into(), &"ALL".into(), "restricted"));
    let said = format!("{}{}", deployed.out, deployed.err);
    assert!(said.contains("`docker.io/library/alpine:3` runs as root"), "{said}");
    write_score(&folder, "ghcr.io/acme/alpine:3", "");
    let plan = folder.ok("plan job.score.yaml --app shop -e dev --platform platform");
    assert!(!format!("{}{}", plan.out, plan.err).contains("runs as root"), "{}", plan.out);
}

#[test]
fn workloads_choose_a_looser_level_only_where_their_profile_permits_it() {
    let folder = Folder::new();
    folder.write("platform/strict.yaml", STRICT);
    write_score(&folder, "alpine:3", "windlass.dev/pod-security: baseline");
    let refused = folder.run("deploy job.score.yaml --app shop -e dev --create-env strict --platform platform --yes");
    assert!(refused.code == 65 && refused.err.contains("its environment demands `restricted`"), "{}", refused.err);
    folder.write(
        "platform/profile.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: WorkloadProfile\nmetadata: { name: default }\nspec:\n  stages:\n    - name: render\n      driver: { builtin: workload-default }\n      inputs: { pod_security: \"${context.podSecurity}\", workloads_may_loosen: true }\n      grants: [{ import: windlass:kubernetes/objects, kinds: [apps/v1/Deployment] }]\n",
    );
    folder.ok("deploy job.score.yaml --app shop -e dev --create-env strict --platform platform --yes");
    let (pod, container, _) = security(&folder);
    assert_eq!((pod.get("runAsNonRoot"), container.get("capabilities")), (None, None));
    write_score(&folder, "alpine:3", "windlass.dev/pod-security: paranoid");
    let refused = folder.run("plan job.score.yaml --app shop -e dev --platform platform");
    assert!(refused.err.contains("`paranoid` is no Pod Security level"), "{}", refused.err);
}
