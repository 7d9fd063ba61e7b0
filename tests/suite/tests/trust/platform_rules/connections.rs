//! A connection acts only where its `match` fits, whoever names it.

use windlass_suite::binary::Folder;

const SCORE: &str =
    "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: web:1 } }\nresources: { note: { type: note } }\n";
const CREATE: &str = "deploy shop -e dev --create-env development --yes --app shop";
const REFUSED: &str =
    "connection `production` does not apply to this environment: environmentType is `development`, the rule wants `production`";

fn connection(name: &str, environment_type: &str) -> String {
    format!(
        "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: {name} }}\nspec: {{ match: [{{ environmentType: {environment_type} }}], capability: directory, directory: {{ path: {name} }} }}\n"
    )
}

/// A definition whose driver stages a ConfigMap through a connection.
fn note(connection: &str) -> String {
    format!(
        "apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: {{ name: note }}
spec:
  type: note
  driver: {{ builtin: template }}
  inputs: {{ manifests: {{ note: {{ apiVersion: v1, kind: ConfigMap, metadata: {{ name: note }}, data: {{ a: b }} }} }} }}
  grants: [{{ import: windlass:kubernetes/objects, kinds: [v1/ConfigMap]{connection} }}, {{ import: windlass:secrets/generated }}]
"
    )
}

/// Stores one connection for development and one for production.
fn scene() -> Folder {
    let folder = Folder::new();
    folder.write("shop/web.score.yaml", SCORE);
    folder.write("stored/development.yaml", &connection("development", "development"));
    folder.write("stored/production.yaml", &connection("production", "production"));
    folder
}

#[test]
fn a_given_definition_acts_through_no_connection_of_other_environments() {
    let folder = scene();
    folder.ok("platform apply stored");
    folder.write("given/note.yaml", &note(", connection: production"));
    for line in ["plan shop -e dev --create-env development --app shop --platform given", &format!("{CREATE} --platform given")] {
        let refused = folder.run(line);
        assert!(refused.code != 0 && refused.err.contains(REFUSED), "{line}: {}", refused.err);
    }
    assert!(folder.files(".windlass/production").is_empty());
    folder.write("given/note.yaml", &note(", connection: development"));
    folder.ok(&format!("{CREATE} --platform given"));
    assert!(!folder.files(".windlass/development").is_empty());
}

#[test]
fn a_stage_and_a_stored_definition_are_held_to_the_same_rule() {
    let folder = scene();
    folder.write("stored/note.yaml", &note(", connection: production"));
    folder.ok("platform apply stored");
    assert!(folder.run(CREATE).err.contains(REFUSED));
    folder.write("stored/note.yaml", &note(""));
    folder.write(
        "stored/profile.yaml",
        "apiVersion: windlass.dev/v1alpha1
kind: WorkloadProfile
metadata: { name: elsewhere }
spec:
  match: [{ environmentType: development }]
  stages:
    - { name: render, driver: { builtin: workload-default }, grants: [{ import: windlass:kubernetes/objects, connection: production }] }
",
    );
    folder.ok("platform apply stored");
    let refused = folder.run(CREATE);
    assert!(refused.err.contains(REFUSED), "{}", refused.err);
}

#[test]
fn a_cluster_takes_no_credentials_of_a_connection_that_applies_elsewhere() {
    let folder = scene();
    folder.write("stored/development.yaml", "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: { name: cluster }\nspec: { match: [{ environmentType: development }], capability: kubernetes, kubernetes: { eks: { cluster: x, region: eu-central-1, connection: production } } }\n");
    folder.write("stored/production.yaml", "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: { name: production }\nspec: { match: [{ environmentType: production }], capability: aws, aws: { region: eu-central-1, profile: production } }\n");
    folder.write("stored/note.yaml", &note(""));
    folder.ok("platform apply stored");
    let refused = folder.run("plan shop -e dev --create-env development --app shop");
    assert!(refused.code != 0 && refused.err.contains(REFUSED), "{}", refused.err);
}

#[test]
fn a_connection_that_no_longer_applies_makes_nothing_and_removes_what_it_made() {
    let folder = scene();
    folder.write("stored/note.yaml", &note(", connection: development"));
    folder.ok("platform apply stored");
    folder.ok(CREATE);
    assert!(!folder.files(".windlass/development").is_empty());
    folder.write("stored/development.yaml", &connection("development", "staging"));
    folder.ok("platform apply stored");
    // The model did not change: the stored plan is not taken for an answer.
    for line in ["plan shop -e dev --app shop", "deploy shop -e dev --yes --app shop"] {
        let refused = folder.run(line);
        assert!(
            refused.code != 0 && refused.err.contains("connection `development` does not apply"),
            "{line}: {}{}",
            refused.out,
            refused.err
        );
        assert!(refused.err.contains("can still be removed"), "{}", refused.err);
    }
    folder.ok("drift -e dev --app shop");
    folder.ok("destroy -e dev --app shop --yes");
    assert!(
        folder.files(".windlass/development").iter().all(|(path, _)| !path.contains("note")),
        "{:?}",
        folder.files(".windlass/development")
    );
}

#[test]
fn resume_does_not_go_on_through_a_connection_that_no_longer_applies() {
    let folder = scene();
    folder.write("stored/note.yaml", &note(", connection: development"));
    folder.ok("platform apply stored");
    let points = (1..60).find(|at| {
        let _ = std::fs::remove_dir_all(folder.path().join(".windlass"));
        folder.ok("platform apply stored");
        folder.run_with(CREATE, &[("WINDLASS_KILL_AT", &at.to_string())]);
        folder.run("status -e dev --app shop").out.contains("resume")
    });
    assert!(points.is_some(), "the deployment was killed while it was under way");
    folder.write("stored/development.yaml", &connection("development", "staging"));
    folder.ok("platform apply stored");
    let refused = folder.run("resume -e dev --app shop --yes");
    assert!(refused.code != 0 && refused.err.contains("connection `development` does not apply"), "{}", refused.err);
    folder.write("stored/development.yaml", &connection("development", "development"));
    folder.ok("platform apply stored");
    folder.ok("resume -e dev --app shop --yes");
}
