//! Secrets in OpenBao: read when a plan is applied, rolled out when they change there, written for agents.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::{Value, json};
use windlass_capability_vault::VaultExecutor;
use windlass_cluster::{Shared, SharedServers};
use windlass_engine::host_access::HostAccess;
use windlass_engine::session::{Executor as _, OpenConnection};
use windlass_model::{
    platform::{ConnectionSettings, Reference, VaultAuth, VaultSettings},
    state::EnvironmentKey,
};
use windlass_suite::{binary::Folder, registry::over_tls};

const MAIL: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers:
  main:
    image: web:1
    variables: { SMTP_PASSWORD: \"${resources.smtp.value}\" }
resources:
  smtp: { type: secret, params: { path: PATH, field: password } }
";

const PLATFORM: &str = "
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: secret }
spec:
  params: { type: object, properties: { path: { type: string }, field: { type: string }, data: { type: object, x-windlass-sealed: true } } }
  outputs: { type: object, properties: { value: { type: string, x-windlass-secret: true }, path: { type: string }, agent_path: { type: string } } }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: secret-vault }
spec:
  type: secret
  driver: { builtin: secret-vault }
  grants: [{ import: windlass:secrets/external, paths: [secret/*] }]
";

/// Talks to the server's API as anybody would.
fn bao(method: &str, path: &str, body: &Value) -> Value {
    let (address, token) = SharedServers::find().unwrap().vault();
    let output = Command::new("curl")
        .args(["-sS", "-X", method, "-H", &format!("X-Vault-Token: {token}"), "-d", &body.to_string()])
        .arg(format!("{address}/v1/{path}"))
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

fn scene(name: &str, auth: &str) -> (Folder, String) {
    let (address, token) = SharedServers::find().unwrap().vault();
    let folder = Folder::new();
    let path = format!("t{}-{name}", std::process::id());
    folder.write("token", token);
    folder.write("shop/web.score.yaml", &MAIL.replace("PATH", &path));
    folder.write("platform/platform.yaml", PLATFORM);
    folder.write("platform/connection.yaml", &format!(
        "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: vault }}\nspec:\n  capability: vault\n  vault: {{ address: \"{address}\", auth: {auth}, insecure: true }}\n"
    ));
    folder.ok("platform apply platform");
    (folder, path)
}

fn secret_of(folder: &Folder) -> String {
    folder
        .files(".windlass/manifests/shop/dev")
        .into_iter()
        .find(|(path, _)| path.contains("web-secrets"))
        .map(|(_, text)| text)
        .unwrap_or_default()
}

#[test]
fn what_others_keep_is_read_and_followed() {
    let (folder, path) = scene("read", "{ token: { file: token } }");
    let missing = folder.run("deploy shop -e dev --create-env development --yes --app shop");
    assert!(missing.err.contains(&format!("Vault holds nothing at `secret/{path}`")), "{}", missing.err);
    bao("POST", &format!("secret/data/{path}"), &json!({ "data": { "password": "first-value" } }));
    folder.ok("deploy shop -e dev --yes --app shop");
    assert!(secret_of(&folder).contains("first-value"), "{}", secret_of(&folder));
    let deployment =
        |folder: &Folder| folder.files(".windlass/manifests/shop/dev").into_iter().find(|(path, _)| path.contains("deployment")).unwrap().1;
    let before = deployment(&folder);
    // The same there: read, nothing is sent.
    folder.ok("deploy shop -e dev --yes --app shop");
    assert_eq!(deployment(&folder), before);
    // Another there: announced as pending, and rolled out.
    bao("POST", &format!("secret/data/{path}"), &json!({ "data": { "password": "second-value" } }));
    let plan = folder.ok("plan shop -e dev --app shop");
    assert!(plan.out.contains("only if"), "{}", plan.out);
    folder.ok("deploy shop -e dev --yes --app shop");
    assert!(secret_of(&folder).contains("second-value"));
    assert_ne!(deployment(&folder), before, "the pods are rolled");
    // A field that is not there.
    folder.write("shop/web.score.yaml", &MAIL.replace("PATH", &path).replace("field: password", "field: passwort"));
    let missing = folder.run("deploy shop -e dev --yes --app shop");
    assert!(missing.err.contains("has no field `passwort`"), "{}", missing.err);
}

/// Over TLS: an authority that nobody named is told at once and never retried, one that the connection names is trusted.
#[test]
fn a_certificate_that_nobody_vouches_for_is_told_at_once() {
    let (folder, path) = scene("tls", "{ token: { file: token } }");
    bao("POST", &format!("secret/data/{path}"), &json!({ "data": { "password": "over-tls" } }));
    let (address, _) = SharedServers::find().unwrap().vault();
    let over_tls = over_tls(address.trim_start_matches("http://"), &folder.path().join("authority.pem"));
    let connection = folder.read("platform/connection.yaml").replace(&address, &format!("https://{over_tls}"));
    folder.write("platform/connection.yaml", &connection);
    folder.ok("platform apply platform");
    let began = Instant::now();
    let refused = folder.run("deploy shop -e dev --create-env development --yes --app shop");
    assert!(refused.code == 1 && refused.err.contains("the server is not trusted") && refused.err.contains("`caCert`"), "{}", refused.err);
    assert!(began.elapsed() < Duration::from_secs(15), "it was retried for {:?}", began.elapsed());
    folder.write("platform/connection.yaml", &connection.replace("auth:", "caCert: { file: authority.pem }, auth:"));
    folder.ok("platform apply platform");
    folder.ok("deploy shop -e dev --yes --app shop");
    assert!(secret_of(&folder).contains("over-tls"), "{}", secret_of(&folder));
}

#[test]
fn what_is_ours_is_written_marked_and_removed_and_others_stay() {
    let (folder, path) = scene("write", "{ token: { file: token } }");
    let written =
        MAIL.replace("variables: { SMTP_PASSWORD: \"${resources.smtp.value}\" }", "variables: { WHERE: \"${resources.smtp.path}\" }");
    folder.write(
        "shop/web.score.yaml",
        &written
            .replace("path: PATH, field: password", &format!("path: {path}, data: {{ password: \"${{resources.env.PASSWORD}}\" }}"))
            .replace("resources:\n", "resources:\n  env: { type: environment }\n"),
    );
    folder.ok("env create dev --type development --app shop");
    assert_eq!(folder.pipe("secret set PASSWORD -e dev --app shop", "ours-1").code, 0);
    bao("POST", &format!("secret/data/{path}"), &json!({ "data": { "password": "theirs" } }));
    bao("POST", &format!("secret/metadata/{path}"), &json!({ "custom_metadata": { "team": "mail" } }));
    let refused = folder.run("deploy shop -e dev --yes --app shop");
    assert!(refused.err.contains("exists, and Windlass did not make it"), "{}", refused.err);
    folder.ok(&format!("deploy shop -e dev --yes --app shop --take-ownership entry/secret/{path}"));
    let data = bao("GET", &format!("secret/data/{path}"), &json!({}));
    assert_eq!(data["data"]["data"]["password"], "ours-1", "{data}");
    assert_eq!(data["data"]["metadata"]["version"], 2);
    assert_eq!(data["data"]["metadata"]["custom_metadata"]["team"], "mail", "what others noted stays: {data}");
    assert!(folder.ok("deploy shop -e dev --yes --app shop").err.contains("nothing was written"));
    // Somebody writes over it: named and healed.
    bao("POST", &format!("secret/data/{path}"), &json!({ "data": { "password": "meddled" } }));
    assert_eq!(folder.run("drift -e dev --app shop --detailed-exitcode").code, 2);
    folder.ok("deploy shop -e dev --yes --app shop");
    assert_eq!(bao("GET", &format!("secret/data/{path}"), &json!({}))["data"]["data"]["password"], "ours-1");
    // Somebody deletes the version that counts: its metadata stays, and it is written again.
    bao("DELETE", &format!("secret/data/{path}"), &json!({}));
    assert_eq!(folder.run("drift -e dev --app shop --detailed-exitcode").code, 2);
    folder.ok("deploy shop -e dev --yes --app shop");
    assert_eq!(bao("GET", &format!("secret/data/{path}"), &json!({}))["data"]["data"]["password"], "ours-1");
    // What can't be looked at is told, and hides nothing of the rest.
    let (token, manifest) = (folder.read("token"), ".windlass/manifests/shop/dev/shop-dev/deployment.apps-web.yaml");
    let text = folder.read(manifest);
    folder.write(manifest, &text.replace("web:1", "web:2"));
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let half = folder.run("drift -e dev --app shop --detailed-exitcode");
    assert_eq!(half.code, 1, "{}", half.out);
    assert!(half.out.contains("unseen   connection `vault`: the token of Vault"), "{}", half.out);
    assert!(half.out.contains("apps/Deployment/shop-dev/web"), "{}", half.out);
    let told: Value = serde_json::from_str(&folder.run("drift -e dev --app shop -o json").out).unwrap();
    assert_eq!(told[1]["state"], "unseen", "{told}");
    folder.write("token", &token);
    folder.write(manifest, &text);
    folder.ok("destroy -e dev --yes --app shop");
    assert!(bao("GET", &format!("secret/metadata/{path}"), &json!({}))["data"].is_null());
}

#[test]
fn a_role_logs_in_and_a_wrong_one_is_told() {
    bao("POST", "sys/auth/approle", &json!({ "type": "approle" }));
    bao("POST", "sys/policies/acl/reader", &json!({ "policy": "path \"secret/data/*\" { capabilities = [\"read\"] }" }));
    bao("POST", "auth/approle/role/windlass", &json!({ "token_policies": "reader" }));
    let role = bao("GET", "auth/approle/role/windlass/role-id", &json!({}))["data"]["role_id"].as_str().unwrap().to_owned();
    let secret = bao("POST", "auth/approle/role/windlass/secret-id", &json!({}))["data"]["secret_id"].as_str().unwrap().to_owned();
    let (folder, path) = scene("role", &format!("{{ appRole: {{ roleId: {role}, secretId: {{ file: secret-id }} }} }}"));
    bao("POST", &format!("secret/data/{path}"), &json!({ "data": { "password": "by-role" } }));
    folder.write("secret-id", "wrong");
    let refused = folder.run("deploy shop -e dev --create-env development --yes --app shop");
    assert!(refused.err.contains("logging in to Vault"), "{}", refused.err);
    folder.write("secret-id", &secret);
    folder.ok("deploy shop -e dev --yes --app shop");
    assert!(secret_of(&folder).contains("by-role"));
}

fn connection(auth: VaultAuth, mounts: &[&str]) -> OpenConnection {
    let mounts = mounts.iter().map(ToString::to_string).collect();
    let vault =
        VaultSettings { address: SharedServers::find().unwrap().vault().0, namespace: None, mounts, ca_cert: None, auth, insecure: true };
    let environment = EnvironmentKey { application: "shop".parse().unwrap(), environment: "dev".parse().unwrap() };
    OpenConnection {
        name: "vault".parse().unwrap(),
        settings: ConnectionSettings::Vault { vault },
        environment,
        access: HostAccess::open(),
    }
}

#[test]
fn mounts_with_slashes_are_named_by_the_connection() {
    let team = format!("team{}", std::process::id());
    let (kv, deep) = (format!("{team}s/kv"), format!("{team}s/deep/er"));
    for mount in [&team, &kv, &deep] {
        bao("POST", &format!("sys/mounts/{mount}"), &json!({ "type": "kv", "options": { "version": "2" } }));
        // A new mount takes a moment until it is one of version 2.
        let is_written = |_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            !bao("POST", &format!("{mount}/data/app"), &json!({ "data": { "where": mount } }))["data"]["version"].is_null()
        };
        assert!((0..200).any(is_written), "{mount}");
    }
    let folder = Folder::new();
    folder.write("token", SharedServers::find().unwrap().vault().1);
    let token = || VaultAuth::Token(Reference::File(folder.path().join("token").display().to_string()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let session = VaultExecutor::default().open(&connection(token(), &[&kv, &format!("{deep}/")])).await.unwrap();
        for mount in [&team, &kv, &deep] {
            let read = session.read(&[&format!("{mount}/app#where")]).await.remove(0);
            assert_eq!(read.unwrap().expose(), mount);
        }
        let unaware = VaultExecutor::default().open(&connection(token(), &[])).await.unwrap();
        let missing = unaware.read(&[&format!("{kv}/app#where")]).await.remove(0).unwrap_err();
        assert!(missing.hint.unwrap().contains("`mounts` of the connection"), "{}", missing.message);
    });
}

#[test]
fn a_token_that_runs_out_is_replaced() {
    bao("POST", "sys/auth/approle", &json!({ "type": "approle" }));
    bao("POST", "sys/policies/acl/reader", &json!({ "policy": "path \"secret/data/*\" { capabilities = [\"read\"] }" }));
    bao("POST", "auth/approle/role/brief", &json!({ "token_policies": "reader", "token_ttl": "2s", "token_max_ttl": "2s" }));
    let role_id = bao("GET", "auth/approle/role/brief/role-id", &json!({}))["data"]["role_id"].as_str().unwrap().to_owned();
    let secret = bao("POST", "auth/approle/role/brief/secret-id", &json!({}))["data"]["secret_id"].as_str().unwrap().to_owned();
    let path = format!("t{}-brief", std::process::id());
    bao("POST", &format!("secret/data/{path}"), &json!({ "data": { "password": "long-lived" } }));
    let folder = Folder::new();
    folder.write("secret-id", &secret);
    let secret_id = Reference::File(folder.path().join("secret-id").display().to_string());
    let connection = connection(VaultAuth::AppRole { mount: None, role_id, secret_id }, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let session = VaultExecutor::default().open(&connection).await.unwrap();
        let reference = format!("secret/{path}#password");
        let read = async || session.read(&[&reference]).await.remove(0);
        assert_eq!(read().await.unwrap().expose(), "long-lived");
        tokio::time::sleep(std::time::Duration::from_secs(6)).await;
        assert_eq!(read().await.unwrap().expose(), "long-lived");
        // Where no other one is given, that is said.
        tokio::time::sleep(std::time::Duration::from_secs(6)).await;
        folder.write("secret-id", "withdrawn");
        let refused = read().await.unwrap_err();
        assert!(refused.message.contains("another token was not given: logging in to Vault"), "{refused}");
    });
}

/// A definition that names the secret where it is needed, without a resource for it.
const REFERENCE: &str = "
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: mailbox }
spec: { outputs: { type: object, properties: { host: { type: string }, password: { type: string, x-windlass-secret: true } } } }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: mailbox }
spec:
  type: mailbox
  driver: { builtin: template }
  grants: [{ import: windlass:kubernetes/objects }, { import: windlass:secrets/generated }]
  inputs:
    values: { password: \"vault:secret/PATH#password\" }
    outputs: { host: mail.example, password: \"{{ values.password }}\" }
";

#[test]
fn a_reference_in_a_definition_is_read_and_followed() {
    let (folder, path) = scene("reference", "{ token: { file: token } }");
    folder.write("platform/mailbox.yaml", &REFERENCE.replace("PATH", &path));
    folder.ok("platform apply platform");
    folder.write(
        "shop/web.score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"web:1\", variables: { SMTP_PASSWORD: \"${resources.mail.password}\" } } }\nresources: { mail: { type: mailbox } }\n",
    );
    let missing = folder.run("deploy shop -e dev --create-env development --yes --app shop");
    assert!(missing.err.contains(&format!("Vault holds nothing at `secret/{path}`")), "{}", missing.err);
    bao("POST", &format!("secret/data/{path}"), &json!({ "data": { "password": "first-value" } }));
    folder.ok("deploy shop -e dev --yes --app shop");
    assert!(secret_of(&folder).contains("first-value"), "{}", secret_of(&folder));
    let deployment =
        |folder: &Folder| folder.files(".windlass/manifests/shop/dev").into_iter().find(|(path, _)| path.contains("deployment")).unwrap().1;
    let before = deployment(&folder);
    // The same there: read, nothing is sent.
    let plan = folder.ok("plan shop -e dev --app shop");
    assert!(plan.out.contains(&format!("only if «vault secret/{path}#password» changes")), "{}", plan.out);
    folder.ok("deploy shop -e dev --yes --app shop");
    assert_eq!(deployment(&folder), before);
    // Another there: rolled out.
    bao("POST", &format!("secret/data/{path}"), &json!({ "data": { "password": "second-value" } }));
    folder.ok("deploy shop -e dev --yes --app shop");
    assert!(secret_of(&folder).contains("second-value"));
    assert_ne!(deployment(&folder), before, "the pods are rolled");
    // Nothing of it is kept in clear.
    for (file, text) in folder.files(".windlass") {
        assert!(!text.contains("second-value") || file.contains("web-secrets"), "{file}");
    }
}

/// A key of an identity provider, made for a test.
struct Provider {
    key: EcdsaKeyPair,
    random: SystemRandom,
    /// In PEM.
    public: String,
}

impl Provider {
    fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        let public = rcgen::KeyPair::try_from(document.as_ref()).unwrap().public_key_pem();
        Self { key, random, public }
    }

    /// Signs a token.
    fn token(&self, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&json!({ "alg": "ES256", "typ": "JWT" })), part(claims));
        let signature = self.key.sign(&self.random, text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[test]
fn a_token_of_a_ci_system_logs_in() {
    let (folder, path) = scene("jwt", "{ jwt: { role: ci, token: { file: ci.jwt } } }");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = |project: &str| {
        let times = json!({ "iat": now - 60, "nbf": now - 60, "exp": now + 600 });
        let mut claims = json!({ "iss": "https://ci.example", "aud": "windlass", "sub": "job-1", "project": project });
        claims.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        claims
    };
    let provider = Provider::new();
    bao("POST", "sys/auth/jwt", &json!({ "type": "jwt" }));
    bao("POST", "auth/jwt/config", &json!({ "jwt_validation_pubkeys": [provider.public], "bound_issuer": "https://ci.example" }));
    bao("POST", "sys/policies/acl/reader", &json!({ "policy": "path \"secret/data/*\" { capabilities = [\"read\"] }" }));
    let role = json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["windlass"], "bound_claims": { "project": "shop" }, "token_policies": "reader" });
    bao("POST", "auth/jwt/role/ci", &role);
    bao("POST", &format!("secret/data/{path}"), &json!({ "data": { "password": "by-jwt" } }));
    folder.write("ci.jwt", &provider.token(&claims("other")));
    let refused = folder.run("deploy shop -e dev --create-env development --yes --app shop");
    assert!(refused.err.contains("logging in to Vault"), "{}", refused.err);
    folder.write("ci.jwt", &provider.token(&claims("shop")));
    folder.ok("deploy shop -e dev --yes --app shop");
    assert!(secret_of(&folder).contains("by-jwt"));
}

#[test]
fn an_account_of_the_cluster_logs_in() {
    // The server asks the real API server whose token it is.
    let shared = Shared::find().unwrap();
    let (folder, path) = scene("account", "{ kubernetes: { role: windlass, token: { file: account.jwt } } }");
    let namespace = format!("t{}-account", std::process::id());
    shared.kubectl(&["create", "namespace", &namespace], None).unwrap();
    shared.kubectl(&["-n", &namespace, "create", "serviceaccount", "windlass"], None).unwrap();
    let token = |account: &str| shared.kubectl(&["-n", &namespace, "create", "token", account], None).unwrap().trim().to_owned();
    let config = |path: &str| shared.kubectl(&["config", "view", "--raw", "-o", &format!("jsonpath={{{path}}}")], None).unwrap();
    let authority = {
        use base64::engine::general_purpose::STANDARD;
        String::from_utf8(STANDARD.decode(config(".clusters[0].cluster.certificate-authority-data")).unwrap()).unwrap()
    };
    bao("POST", "sys/auth/kubernetes", &json!({ "type": "kubernetes" }));
    let reviewer = config(".users[0].user.token");
    let settings = json!({ "kubernetes_host": config(".clusters[0].cluster.server"), "kubernetes_ca_cert": authority, "token_reviewer_jwt": reviewer });
    bao("POST", "auth/kubernetes/config", &settings);
    bao("POST", "sys/policies/acl/reader", &json!({ "policy": "path \"secret/data/*\" { capabilities = [\"read\"] }" }));
    let role =
        json!({ "bound_service_account_names": "windlass", "bound_service_account_namespaces": namespace, "token_policies": "reader" });
    bao("POST", "auth/kubernetes/role/windlass", &role);
    bao("POST", &format!("secret/data/{path}"), &json!({ "data": { "password": "by-account" } }));
    folder.write("account.jwt", &token("default"));
    let refused = folder.run("deploy shop -e dev --create-env development --yes --app shop");
    assert!(refused.err.contains("logging in to Vault"), "{}", refused.err);
    folder.write("account.jwt", &token("windlass"));
    folder.ok("deploy shop -e dev --yes --app shop");
    assert!(secret_of(&folder).contains("by-account"));
    shared.kubectl(&["delete", "namespace", &namespace, "--wait=false"], None).unwrap();
}
