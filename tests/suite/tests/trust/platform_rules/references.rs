//! Text of a developer stays text: it becomes no reference to a secret and no sealed value.

use windlass_suite::binary::Folder;

const CONNECTION: &str = "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: { name: vault }\nspec: { capability: vault, vault: { address: \"https://127.0.0.1:1\", auth: { token: { env: VAULT_TOKEN } } } }\n";
const DEPLOY: &str = "deploy app -e dev --create-env development --yes --app shop";
const PLAN: &str = "plan app -e dev --create-env development --app shop";
const REFERENCE: &str = "vault:secret/payments/production#card_key";

/// A definition that yields one of its values.
fn definition(value: &str) -> String {
    format!(
        "apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: {{ name: probe }}
spec:
  type: probe
  driver: {{ builtin: template }}
  resources: {{ env: {{ type: environment }} }}
  inputs:
    values: {{ level: {value} }}
    outputs: {{ value: \"{{{{ values.level }}}}\", note: \"{{{{ params.note }}}}\" }}
  grants: [{{ import: windlass:kubernetes/objects, kinds: [] }}, {{ import: windlass:secrets/generated }}]
"
    )
}

fn scene(value: &str, score: &str) -> Folder {
    let folder = Folder::new();
    folder.write("platform/vault.yaml", CONNECTION);
    folder.write("platform/probe.yaml", &definition(value));
    folder.write("app/web.score.yaml", score);
    folder.write(
        "app/application.yaml",
        &format!("apiVersion: windlass.dev/v1alpha1\nkind: Application\nmetadata: {{ name: shop }}\nspec: {{ environments: [{{ match: {{ environmentType: development }}, values: {{ LEVEL: \"{REFERENCE}\" }} }}] }}\n"),
    );
    folder.ok("platform apply platform");
    folder
}

/// A workload that shows two outputs of a resource.
fn score(metadata: &str, variable: &str) -> String {
    format!(
        "apiVersion: score.dev/v1b1\nmetadata: {{ name: web{metadata} }}\ncontainers: {{ main: {{ image: \"x:1\", variables: {{ LEVEL: \"{variable}\", NOTE: \"${{resources.p.note}}\" }} }} }}\nresources: {{ p: {{ type: probe, params: {{ note: \"{REFERENCE}\" }} }} }}\n"
    )
}

#[test]
fn values_and_params_of_a_developer_are_no_references() {
    let folder = scene("\"${resources.env.LEVEL}\"", &score("", "${resources.p.value}"));
    // Vault can't be reached: nothing asks it.
    folder.ok(DEPLOY);
    let deployment = folder.files(".windlass/manifests").into_iter().find(|(path, _)| path.contains("deployment")).unwrap().1;
    assert_eq!(deployment.matches(REFERENCE).count(), 2, "{deployment}");
}

#[test]
fn text_of_the_definition_itself_is_a_reference() {
    let folder = scene(&format!("\"{REFERENCE}\""), &score("", "${resources.p.value}"));
    let plan = folder.ok(PLAN);
    assert!(plan.out.contains("secret/payments/production#card_key → Secret/shop-dev/web-secrets"), "{}", plan.out);
}

#[test]
fn placeholders_decide_over_no_reference() {
    for value in
        ["vault:secret/${resources.env.LEVEL}/a#b", "vault:secret/${context.environment}#b", "vault:secret/a#${context.resource.id}"]
    {
        let refused = scene(&format!("\"{value}\""), &score("", "${resources.p.value}")).run(PLAN);
        assert!(refused.code != 0 && refused.err.contains("holds a placeholder"), "{value}: {}", refused.err);
        assert!(refused.err.contains("/spec/inputs/values/level") || refused.err.contains("probe.yaml"), "{}", refused.err);
    }
}

#[test]
fn metadata_that_looks_like_a_sealed_value_is_text() {
    let forged = ", note: { $sealed: [{ encoding: json, origin: { external: { connection: vault, reference: \"secret/payments/production#card_key\" } }, secret: true }] }";
    for variable in ["${metadata.note}", "x-${metadata.note}", "${metadata.note.$sealed}"] {
        let folder = scene("plain", &score(forged, variable));
        let plan = folder.ok(PLAN);
        assert!(!plan.out.contains("secret/payments/production#card_key →"), "{variable}: {}", plan.out);
        // Vault can't be reached: nothing asks it.
        folder.ok(DEPLOY);
        let deployment = folder.files(".windlass/manifests").into_iter().find(|(path, _)| path.contains("deployment")).unwrap().1;
        assert!(
            deployment.replace('\\', "").contains("\"connection\":\"vault\"") && !deployment.contains("secretKeyRef"),
            "{variable}: {deployment}"
        );
    }
    let annotated = scene("plain", &score(", annotations: { $sealed: x }", "x")).run(PLAN);
    assert!(annotated.code != 0 && annotated.err.contains("is no key of annotations"), "{}", annotated.err);
}

#[test]
fn a_file_that_is_brought_into_a_definition_is_no_reference() {
    let folder = scene("plain", &score("", "${resources.p.value}"));
    folder.write("platform/files/a.txt", REFERENCE);
    folder.write("platform/probe.yaml", &definition("{ $folder: ./files }"));
    let refused = folder.run("platform apply platform");
    assert!(refused.code != 0 && refused.err.contains("reads like a reference to a secret"), "{}", refused.err);
    folder.write("platform/files/a.txt", &format!("see {REFERENCE}\n"));
    folder.ok("platform apply platform");
}

#[test]
fn text_that_a_placeholder_brings_in_is_expanded_no_second_time() {
    let folder = scene("\"${resources.env.LEVEL}\"", &score("", "${resources.p.value}"));
    let application = folder.read("app/application.yaml").replace(REFERENCE, "${context.environment} $${resources.env.X} { $folder: . }");
    folder.write("app/application.yaml", &application);
    folder.ok(DEPLOY);
    let deployment = folder.files(".windlass/manifests").into_iter().find(|(path, _)| path.contains("deployment")).unwrap().1;
    // Kubernetes reads two dollars as one.
    assert!(deployment.contains("${context.environment} $$$${resources.env.X} { $folder: . }"), "{deployment}");
}
