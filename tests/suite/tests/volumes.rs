//! Volumes and their data: what a change of a size, of a name or of a version does to what is on them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests: a failure here is the test's")]

use serde_json::Value;
use windlass_suite::binary::{Folder, Ran};

/// A type whose volumes are claims of each pod.
const PER_POD: &str = "apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: disk }
spec:
  params: { type: object, properties: { size: { type: string } } }
  outputs: { type: object, properties: { source: { type: object }, journal: { type: object } } }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: disk }
spec:
  type: disk
  driver: { builtin: template }
  inputs:
    outputs:
      source: { claimSpec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: \"{{ params.size }}\" } } } }
      journal: { claimSpec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: \"{{ params.size }}\" } } } }
  grants:
    - { import: windlass:kubernetes/objects }
    - { import: windlass:secrets/generated }
";

fn write_score(folder: &Folder, kind: &str, volumes: &str, resources: &str) {
    folder.write(
        "store.score.yaml",
        &format!(
            "apiVersion: score.dev/v1b1\nmetadata: {{ name: store, annotations: {{ k8s.score.dev/kind: {kind} }} }}\ncontainers:\n  main:\n    image: ghcr.io/acme/store:1\n    volumes: {{ {volumes} }}\nresources: {{ {resources} }}\n"
        ),
    );
}

fn deploy(folder: &Folder, more: &str) -> Ran {
    folder.run(&format!("deploy store.score.yaml --app shop -e dev --yes {more}"))
}

fn pod_of(folder: &Folder, kind: &str) -> Value {
    let files = folder.files(".windlass/manifests/shop/dev");
    let (_, text) = files.iter().find(|(path, _)| path.contains(kind)).unwrap_or_else(|| panic!("{kind} of {:?}", files.keys()));
    let object: Value = serde_saphyr::from_str(text).unwrap();
    object["spec"].clone()
}

#[test]
fn claims_grow_in_place_and_never_shrink() {
    let folder = Folder::new();
    let sized = |size: &str| {
        write_score(
            &folder,
            "Deployment",
            "/data: { source: \"${resources.data}\" }",
            &format!("data: {{ type: volume, params: {{ size: {size} }} }}"),
        );
    };
    sized("1Gi");
    assert_eq!(deploy(&folder, "--create-env staging").code, 0);
    sized("2Gi");
    let plan = folder.ok("plan store.score.yaml --app shop -e dev").out;
    assert!(plan.contains("\"1Gi\" → \"2Gi\"") && !plan.contains("replace"), "{plan}");
    assert_eq!(deploy(&folder, "").code, 0);
    sized("1500Mi");
    let refused = folder.run("plan store.score.yaml --app shop -e dev");
    assert_eq!(refused.code, 65, "{}", refused.err);
    assert!(refused.err.contains("the volume can't shrink from 2Gi to 1500Mi"), "{}", refused.err);
}

#[test]
fn resources_have_volumes_of_their_own_that_keep_their_names() {
    let folder = Folder::new();
    folder.write("platform/disk.yaml", PER_POD);
    let sized = |size: &str| {
        let volumes = "/data: { source: \"${resources.data}\" }, /log: { source: \"${resources.log}\" }, /journal: { source: \"${resources.data.journal}\" }";
        let disk = format!("{{ type: disk, params: {{ size: {size} }} }}");
        write_score(&folder, "StatefulSet", volumes, &format!("data: {disk}, log: {disk}"));
    };
    let claims = || {
        let claims = pod_of(&folder, "statefulset")["volumeClaimTemplates"].as_array().unwrap().clone();
        claims.iter().map(|claim| claim["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    sized("3Gi");
    assert_eq!(deploy(&folder, "--create-env staging --platform platform").code, 0);
    let before = claims();
    assert_eq!(before.len(), 3, "{before:?}");
    sized("6Gi");
    let refused = deploy(&folder, "--platform platform");
    assert_eq!(refused.code, 5, "{}", refused.err);
    assert!(refused.out.contains("start again on the claims that they have"), "{}", refused.out);
    assert_eq!(deploy(&folder, "--platform platform --allow-destroy").code, 0);
    assert_eq!(claims(), before);
    sized("3Gi");
    let shrunk = deploy(&folder, "--platform platform --allow-destroy");
    assert!(shrunk.code == 65 && shrunk.err.contains("can't shrink from 6Gi to 3Gi"), "{}", shrunk.err);
}

/// No server of PostgreSQL opens the data of another major version.
#[test]
fn major_versions_of_a_database_are_refused_on_its_volume() {
    let folder = Folder::new();
    let version = |version: &str| {
        folder.write(
            "store.score.yaml",
            &format!(
                "apiVersion: score.dev/v1b1\nmetadata: {{ name: store }}\ncontainers: {{ main: {{ image: \"ghcr.io/acme/store:1\" }} }}\nresources: {{ db: {{ type: postgres, params: {{ version: \"{version}\" }} }} }}\n"
            ),
        );
    };
    version("16.4");
    assert_eq!(deploy(&folder, "--create-env development").code, 0);
    version("16.9-alpine");
    assert_eq!(deploy(&folder, "").code, 0);
    for other in ["17", "15.1"] {
        version(other);
        let refused = deploy(&folder, "");
        let major = other.split('.').next().unwrap();
        assert_eq!(refused.code, 65, "{}", refused.err);
        assert!(
            refused.err.contains(&format!("the volume holds data of PostgreSQL 16, which PostgreSQL {major} may not open")),
            "{}",
            refused.err
        );
        assert!(refused.err.contains("a second resource with PostgreSQL"), "{}", refused.err);
    }
}
