//! AWS Secrets Manager behind `windlass:secrets/external`: read, written, owned, brought back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use windlass_cluster::SharedServers;
use windlass_suite::{
    aws::{Account, AwsProxy, Verdict},
    binary::Folder,
};

const MAIL: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers:
  main: { image: \"web:1\", variables: { SMTP_PASSWORD: \"${resources.smtp.value}\" } }
resources:
  smtp: { type: secret, params: { path: PATH, field: password } }
";

const OURS: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers:
  main: { image: \"web:1\", variables: { WHERE: \"${resources.smtp.path}\" } }
resources:
  env: { type: environment }
  smtp: { type: secret, params: { path: PATH, data: { password: \"${resources.env.PASSWORD}\" } } }
";

const PLATFORM: &str = "
apiVersion: windlass.dev/v1alpha1
kind: Connection
metadata: { name: secrets-manager }
spec:
  capability: secretsManager
  secretsManager: { region: eu-central-1, endpoint: \"ENDPOINT\", insecure: true }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: secret }
spec:
  type: secret
  driver: { builtin: secret-vault }
  inputs: {}
  grants: [{ import: windlass:secrets/external, paths: [secret/*] }]
";

struct Store {
    folder: Folder,
    proxy: AwsProxy,
    account: Account,
    name: String,
}

fn store(name: &str, score: &str) -> Store {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let proxy = AwsProxy::start(&endpoint, |_, _| Verdict::Pass);
    let folder = Folder::new();
    // The driver puts its mount before the path: here it is the first part of the name.
    let path = format!("{name}-{}", std::process::id());
    folder.write("shop/web.score.yaml", &score.replace("PATH", &path));
    folder.write("platform/platform.yaml", &PLATFORM.replace("ENDPOINT", &proxy.endpoint()));
    folder.ok("platform apply platform");
    folder.ok("env create dev --type development --app shop");
    Store { account: Account::open(&endpoint), folder, proxy, name: format!("secret/{path}") }
}

fn written(folder: &Folder) -> String {
    folder.files(".windlass/manifests/shop/dev").into_iter().find(|(path, _)| path.contains("web-secrets")).unwrap().1
}

#[test]
fn what_others_keep_is_read_and_followed() {
    let Store { folder, account, name, proxy: _proxy } = store("smtp", MAIL);
    let missing = folder.run("deploy shop -e dev --yes --app shop");
    assert!(missing.err.contains(&format!("Secrets Manager holds nothing at `{name}`")), "{}", missing.err);
    account.write_secret(&name, r#"{"password":"first-value"}"#);
    folder.ok("deploy shop -e dev --yes --app shop");
    assert!(written(&folder).contains("first-value"));
    account.write_secret(&name, r#"{"password":"second-value"}"#);
    folder.ok("deploy shop -e dev --yes --app shop");
    assert!(written(&folder).contains("second-value"));
    account.write_secret(&name, r#"{"user":"x"}"#);
    let missing = folder.run("deploy shop -e dev --yes --app shop");
    assert!(missing.err.contains("has no field `password`"), "{}", missing.err);
}

#[test]
fn what_is_ours_is_written_marked_healed_and_removed_and_others_stay() {
    let Store { folder, proxy, account, name } = store("ours", OURS);
    assert_eq!(folder.pipe("secret set PASSWORD -e dev --app shop", "ours-1").code, 0);
    account.write_secret(&name, r#"{"password":"theirs"}"#);
    let refused = folder.run("deploy shop -e dev --yes --app shop");
    assert!(refused.err.contains("exists, and Windlass did not make it"), "{}", refused.err);
    folder.ok(&format!("adopt secret#web.smtp=entry/{name} -e dev --app shop --path shop --yes"));
    assert_eq!(account.read_secret(&name).unwrap(), r#"{"password":"ours-1"}"#);
    let changes = proxy.changes().len();
    assert!(folder.ok("deploy shop -e dev --yes --app shop").err.contains("nothing was written"));
    assert_eq!(proxy.changes().len(), changes, "{:?}", proxy.changes());
    // Somebody writes over it: named and healed.
    account.write_secret(&name, r#"{"password":"meddled"}"#);
    assert_eq!(folder.run("drift -e dev --app shop --detailed-exitcode").code, 2);
    folder.ok("deploy shop -e dev --yes --app shop");
    assert_eq!(account.read_secret(&name).unwrap(), r#"{"password":"ours-1"}"#);
    folder.ok("destroy -e dev --yes --app shop");
    assert!(account.read_secret(&name).is_none());
    // Until its days of grace are over, the same name is brought back.
    folder.ok("deploy shop -e dev --yes --app shop");
    assert_eq!(account.read_secret(&name).unwrap(), r#"{"password":"ours-1"}"#);
}
