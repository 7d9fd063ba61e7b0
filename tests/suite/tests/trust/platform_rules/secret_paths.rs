//! A path in a store of secrets that a developer names lies below the environment's prefix, or stands in the grant.

use windlass_suite::binary::Folder;

const CONNECTION: &str = "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: { name: vault }\nspec: { capability: vault, vault: { address: \"https://127.0.0.1:1\", auth: { token: { env: VAULT_TOKEN } } } }\n";

/// Plans a lookup or an entry and returns what is said.
fn planned(prefix: &str, grant: &str, params: &str) -> (i32, String) {
    let folder = Folder::new();
    folder.write("platform/vault.yaml", CONNECTION);
    folder.write("platform/secret.yaml", &format!(
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: secret }}\nspec: {{ type: secret, driver: {{ builtin: secret-vault }}, inputs: {{ {prefix} }}, grants: [{{ import: windlass:secrets/external{grant} }}] }}\n---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: {{ name: secret }}\nspec: {{ params: {{ type: object, properties: {{ path: {{ type: string }}, field: {{ type: string }}, data: {{ type: object }} }} }}, outputs: {{ type: object, properties: {{ value: {{ type: string, x-windlass-secret: true }}, path: {{ type: string }}, agent_path: {{ type: string }} }} }} }}\n"
    ));
    folder.write("app/web.score.yaml", &format!("apiVersion: score.dev/v1b1\nmetadata: {{ name: web }}\ncontainers: {{ main: {{ image: \"x:1\" }} }}\nresources: {{ s: {{ type: secret, params: {params} }} }}\n"));
    folder.ok("platform apply platform");
    let ran = folder.run("plan app -e dev --create-env development --app shop");
    (ran.code, ran.out + &ran.err)
}

const READ: &str = "{ path: \"payments/production/card\", field: key }";
const WRITE: &str = "{ path: \"payments/production/card\", data: { key: mine } }";

#[test]
fn paths_of_other_environments_are_refused() {
    for params in [READ, WRITE] {
        let (code, told) = planned("", "", params);
        assert!(code != 0 && told.contains("the path `secret/payments/production/card` is not one of this environment"), "{told}");
        assert!(told.contains("MOUNT/shop/dev/") && told.contains("`paths`"), "{told}");
    }
    for own in ["{ path: shop/dev/smtp, field: key }", "{ path: shop/dev/smtp, data: { key: mine } }"] {
        assert_eq!(planned("", "", own).0, 0, "{own}");
    }
}

#[test]
fn a_prefix_of_the_environment_or_a_grant_makes_room() {
    for params in [READ, WRITE] {
        assert_eq!(planned("prefix: \"${context.application}/${context.environment}\"", "", params).0, 0, "{params}");
        assert_eq!(planned("", ", paths: [secret/payments/production/*]", params).0, 0, "{params}");
        assert_ne!(planned("", ", paths: [secret/payments/development/*]", params).0, 0, "{params}");
    }
}
