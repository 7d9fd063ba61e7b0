//! Modules of Terraform without a grant to execute: what they read, start, and let out.

use std::os::unix::fs::PermissionsExt as _;

use windlass_cluster::SharedServers;
use windlass_suite::binary::{Folder, Ran};

/// A value that a module takes as a secret.
const CANARY: &str = "canary-9b41e6f0";

const SCORE: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers: { main: { image: \"web:1\", variables: { VALUE: \"${resources.leak.value}\" } } }
resources: { leak: { type: leak } }
";

const PLATFORM: &str = "
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: leak }
spec: { outputs: { type: object, properties: { value: { type: string MARK } } } }
---
apiVersion: windlass.dev/v1alpha1
kind: Connection
metadata: { name: terraform }
spec: { capability: terraform, terraform: { program: PROGRAM, cliConfig: CONFIG SETTINGS } }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: leak }
spec:
  type: leak
  driver: { builtin: terraform-module }
  resources: { env: { type: environment } }
  inputs:
    module: { $folder: m }
    variables: { secret: \"${resources.env.TOKEN}\" }
    outputs: { value: { output: value } }
    holds_data: false
  grants: [{ import: windlass:terraform/modules ALLOW }]
";

/// A module that yields what it takes, and nothing else.
const MODULE: &str = "
variable \"secret\" { type = string }
output \"value\" { value = \"clear-${nonsensitive(var.secret)}\" }
";

struct Scene {
    folder: Folder,
}

impl Scene {
    /// Makes a platform with one module, and an environment with a secret.
    fn new(files: &[(&str, &str)], settings: &str, allow: &str) -> Self {
        let servers = SharedServers::find().unwrap();
        let folder = Folder::new();
        let platform = PLATFORM
            .replace("PROGRAM", &servers.terraform())
            .replace("CONFIG", &servers.cli_config().display().to_string())
            .replace("SETTINGS", settings)
            // A type says which of its outputs are secrets.
            .replace("MARK", if allow.contains("declassify") { "" } else { ", x-windlass-secret: true" })
            .replace("ALLOW", allow);
        folder.write("shop/web.score.yaml", SCORE);
        folder.write("platform/platform.yaml", &platform);
        for (path, text) in files {
            folder.write(&format!("platform/m/{path}"), text);
        }
        folder.ok("platform apply platform");
        folder.ok("env create dev --type development --app shop");
        assert_eq!(folder.pipe("secret set TOKEN -e dev --app shop", CANARY).code, 0);
        Self { folder }
    }

    fn with(text: &str) -> Self {
        Self::new(&[("main.tf", &format!("{MODULE}{text}"))], "", "")
    }

    fn deploy(&self) -> Ran {
        self.folder.run("deploy shop -e dev --yes")
    }

    /// Asserts that the secret stands nowhere in clear but in the manifest of the Secret that the workload reads.
    fn keeps_its_secret(&self, ran: &Ran) {
        for text in [&ran.out, &ran.err] {
            assert!(!text.contains(CANARY), "{text}");
        }
        for (path, text) in self.folder.files(".windlass") {
            assert!(!text.contains(CANARY) || path.contains("secret"), "{path}: {text}");
        }
    }
}

#[test]
fn files_outside_of_a_module_are_not_read() {
    for text in [
        "output \"key\" { value = file(\"../../key\") }\n",
        "locals { path = \"/etc/passwd\" }\noutput \"key\" { value = file(local.path) }\n",
        "output \"key\" { value = templatestring(var.secret, {}) }\n",
        "data \"terraform_remote_state\" \"x\" {\n  backend = \"http\"\n  config  = { address = \"http://127.0.0.1:9\" }\n}\n",
        "module \"m\" {\n  source = \"../../other\"\n}\n",
    ] {
        let refused = Scene::with(text).folder.run("plan shop -e dev");
        assert_eq!(refused.code, 5, "{text}: {}", refused.err);
        assert!(refused.err.contains("the module reaches beyond its own files") && refused.err.contains("[execute]"), "{}", refused.err);
    }
}

#[test]
fn files_that_programs_read_unasked_are_not_taken() {
    for path in ["x.auto.tfvars", "terraform.tfstate", "terraform.d/plugins/x.json", "zz_override.tf"] {
        let refused = Scene::new(&[("main.tf", MODULE), (path, "{}")], "", "").folder.run("plan shop -e dev");
        assert!(refused.code != 0 && refused.err.contains("a file of a module can't be called"), "{path}: {}", refused.err);
    }
}

#[test]
fn a_value_that_a_module_makes_public_stays_a_secret() {
    let scene = Scene::with("");
    let done = scene.deploy();
    assert_eq!(done.code, 0, "{}", done.err);
    scene.keeps_its_secret(&done);
    let files = scene.folder.files(".windlass/manifests/shop/dev");
    let deployment = files.iter().find(|(path, _)| path.contains("deployment")).map(|(_, text)| text.clone()).unwrap_or_default();
    assert!(!deployment.contains("clear-"), "{deployment}");
    for command in ["env show -e dev --app shop", "explain leak#web.leak -e dev --app shop", "drift -e dev --app shop"] {
        scene.keeps_its_secret(&scene.folder.run(command));
    }
}

#[test]
fn a_type_that_takes_a_public_value_gets_none_of_a_module_with_secrets() {
    let scene = Scene::with("");
    let platform = scene.folder.read("platform/platform.yaml").replace(", x-windlass-secret: true", "");
    scene.folder.write("platform/platform.yaml", &platform);
    scene.folder.ok("platform apply platform");
    let refused = scene.deploy();
    assert!(refused.code != 0 && refused.err.contains("the output `value` holds a secret"), "{}", refused.err);
    scene.keeps_its_secret(&refused);
}

#[test]
fn a_grant_to_declassify_shows_what_a_module_yields() {
    let scene = Scene::new(&[("main.tf", MODULE)], "", ", allow: [declassify]");
    let done = scene.deploy();
    assert_eq!(done.code, 0, "{}", done.err);
    let files = scene.folder.files(".windlass/manifests/shop/dev");
    // Values that are known late come to a container by a ConfigMap.
    assert!(files.iter().any(|(path, text)| path.contains("configmap") && text.contains(&format!("clear-{CANARY}"))), "{files:?}");
}

#[test]
fn messages_of_a_program_hold_no_secret() {
    for text in [
        // Conditions of a module's own, with words of its own.
        "resource \"terraform_data\" \"x\" {\n  lifecycle {\n    precondition {\n      condition     = var.secret == \"\"\n      error_message = \"it is ${nonsensitive(var.secret)}\"\n    }\n  }\n}\n",
        "output \"checked\" {\n  value = 1\n  precondition {\n    condition     = var.secret == \"\"\n    error_message = nonsensitive(var.secret)\n  }\n}\n",
        // Keys of instances stand in addresses, and addresses in progress.
        "resource \"terraform_data\" \"x\" {\n  for_each = toset([nonsensitive(var.secret)])\n}\nresource \"terraform_data\" \"y\" {\n  depends_on = [terraform_data.x]\n  lifecycle {\n    precondition {\n      condition     = tobool(nonsensitive(var.secret))\n      error_message = \"x\"\n    }\n  }\n}\n",
    ] {
        let scene = Scene::with(text);
        let failed = scene.deploy();
        assert_ne!(failed.code, 0, "{text}");
        assert!(failed.err.contains("main.tf:") && failed.err.contains("allow: [declassify]"), "{}", failed.err);
        scene.keeps_its_secret(&failed);
        scene.keeps_its_secret(&scene.folder.run("plan shop -e dev --preview"));
    }
}

/// Providers run as programs; those whose whole purpose are files need a grant, and the others run confined.
#[test]
fn providers_read_files_of_their_module_alone() {
    let provider = "terraform {\n  required_providers {\n    files = { source = \"providers.test/hashicorp/local\" }\n  }\n}\n";
    let reads = |path: &str| format!("{provider}{MODULE}data \"local_file\" \"x\" {{\n  provider = files\n  filename = \"{path}\"\n}}\n");
    // Without a grant, the text alone is refused.
    let refused = Scene::new(&[("main.tf", &reads("../../key"))], "", "").folder.run("plan shop -e dev");
    assert!(refused.code == 5 && refused.err.contains("the data source `local_file`"), "{}", refused.err);
    // A provider that is not refused runs, confined.
    let random = provider.replace("hashicorp/local", "hashicorp/random").replace("files =", "random =");
    let done =
        Scene::new(&[("main.tf", &format!("{random}{MODULE}resource \"random_id\" \"x\" {{\n  byte_length = 4\n}}\n"))], "", "").deploy();
    assert_eq!(done.code, 0, "{}", done.err);
    // What writes is refused like what reads.
    let writes = format!(
        "{provider}{MODULE}resource \"local_file\" \"x\" {{\n  provider = files\n  filename = \"../../planted\"\n  content  = \"x\"\n}}\n"
    );
    let refused = Scene::new(&[("main.tf", &writes)], "", "").folder.run("plan shop -e dev");
    assert!(refused.code == 5 && refused.err.contains("resource `local_file`"), "{}", refused.err);
}

/// Runs a shell in the place of the program: it shows what a confined program can do.
#[test]
fn a_confined_program_touches_its_own_folders() {
    let folder = Folder::new();
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    folder.write("key", CANARY);
    let request = serde_json::json!({
        "parent": std::process::id(),
        "confinement": { "read": [], "start": ["/bin", "/usr", "/lib", "/lib64"], "write": [work, "/dev/null"] },
    });
    let run = |script: &str| {
        let mut command = folder.command(&["confined", &request.to_string(), "/bin/sh", "-c", script]);
        command.output().unwrap()
    };
    let refused = run(&format!("cat {}/key", folder.path().display()));
    assert!(!refused.status.success() && !String::from_utf8_lossy(&refused.stdout).contains(CANARY), "{refused:?}");
    for script in [
        format!("echo x > {}/planted", folder.path().display()),
        format!("printf '#!/bin/sh\\n' > {0}/p; chmod +x {0}/p; exec {0}/p", work.display()),
        "cat /etc/passwd".to_owned(),
        "cat /proc/1/environ".to_owned(),
    ] {
        assert!(!run(&script).status.success(), "{script}");
    }
    assert!(run(&format!("echo x > {0}/made && cat {0}/made > /dev/null", work.display())).status.success());
    // The parent that the request names must be the parent: nothing outlives it.
    let orphan = request.to_string().replace(&std::process::id().to_string(), "1");
    assert!(!folder.command(&["confined", &orphan, "/bin/true"]).output().unwrap().status.success());
}

/// A provider is a child of the program, and the kernel confines it alike.
#[test]
fn a_confined_provider_reads_no_file_outside() {
    let servers = SharedServers::find().unwrap();
    let folder = Folder::new();
    let at = |path: &str| folder.path().join(path).display().to_string();
    folder.write("key", CANARY);
    folder.write("plugins/.keep", "");
    folder.write(
        "work/main.tf",
        "terraform {\n  required_providers {\n    local = { source = \"providers.test/hashicorp/local\" }\n  }\n}\ndata \"local_file\" \"x\" {\n  filename = \"../key\"\n}\noutput \"x\" { value = data.local_file.x.content }\n",
    );
    let program = std::fs::canonicalize(servers.terraform()).unwrap();
    let config = servers.cli_config();
    let mirror = config.parent().unwrap().join("mirror");
    let run = |start: &str, lent: &[String]| {
        let mut read: Vec<String> = ["/lib", "/lib64", "/usr/lib", "/etc"].map(str::to_owned).to_vec();
        read.push(config.display().to_string());
        read.extend_from_slice(lent);
        let confinement = serde_json::json!({
            "read": read, "start": [&program, &mirror, &folder.path().join("plugins")], "write": [at("work"), at("plugins"), "/dev/null".to_owned()],
        });
        let request = serde_json::json!({ "parent": std::process::id(), "confinement": confinement }).to_string();
        let mut command = folder.command(&["confined", &request, &program.display().to_string(), start, "-no-color"]);
        command.current_dir(folder.path().join("work")).envs([("TMPDIR", at("work")), ("HOME", at("work"))]);
        command.envs([("TF_CLI_CONFIG_FILE", config.display().to_string()), ("TF_PLUGIN_CACHE_DIR", at("plugins"))]);
        let ran = command.env("CHECKPOINT_DISABLE", "1").output().unwrap();
        (ran.status.success(), format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr)))
    };
    let (is_set_up, said) = run("init", &[]);
    assert!(is_set_up, "{said}");
    let (_, said) = run("plan", &[]);
    assert!(said.contains("permission denied") && !said.contains(CANARY), "{said}");
    let (_, said) = run("plan", &[at("key")]);
    assert!(said.contains(CANARY), "the rule decides, and nothing else: {said}");
}

#[test]
fn the_user_s_own_settings_are_not_asked() {
    let scene = Scene::with("");
    // What an earlier run could have left in the folder that was HOME, and settings of the user.
    let home = scene.folder.path().join("home");
    for (path, text) in [(".terraformrc", "provider_installation {"), (".tofurc", "provider_installation {"), (".gitconfig", "[")] {
        scene.folder.write(&format!("home/{path}"), text);
    }
    let home = home.display().to_string();
    let variables = [("HOME", home.as_str()), ("TF_CLI_ARGS", "-no-such-flag"), ("TF_CLI_CONFIG_FILE", "/none"), ("TF_LOG", "trace")];
    let done = scene.folder.run_with("deploy shop -e dev --yes", &variables);
    assert_eq!(done.code, 0, "{}", done.err);
    let left: Vec<_> = std::fs::read_dir(scene.folder.path().join(".windlass/terraform"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "home"))
        .collect();
    assert_eq!(left.len(), 1);
    let mode = left.first().unwrap().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn variables_of_the_program_itself_are_not_lent() {
    let scene = Scene::new(&[("main.tf", MODULE)], ", environment: { TF_CLI_ARGS: { env: HOME } }", "");
    let refused = scene.deploy();
    assert!(refused.code != 0 && refused.err.contains("the variable `TF_CLI_ARGS` is the host's"), "{}", refused.err);
}

#[test]
fn pins_are_commits_and_digests() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    for source in [
        format!("git::https://example.com/m.git?xref={commit}&ref=main"),
        "git::https://example.com/m.git//@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef?ref=main".to_owned(),
        format!("https://example.com/m?checksum=sha256:{commit}{}", &commit[..24]),
    ] {
        let refused = Scene::with(&format!("module \"m\" {{\n  source = \"{source}\"\n}}\n")).folder.run("plan shop -e dev");
        assert!(refused.code != 0 && refused.err.contains("which may be another one tomorrow"), "{source}: {}", refused.err);
    }
}

/// A package that is pinned can call one that is not, hold links, and read files.
#[test]
fn a_module_that_is_brought_is_held_to_the_same_rules() {
    for (files, said) in [
        (
            vec![
                ("main.tf", "module \"n\" {\n  source = \"./n\"\n}\n"),
                ("n/main.tf", "locals {\n  x = file(\"../../../../../key\")\n}\n"),
            ],
            "reaches beyond its own files",
        ),
        (vec![("main.tf", "locals {\n  x = file(\"windlass.auto.tfvars.json\")\n}\n")], "reaches beyond its own files"),
        (vec![("main.tf", ""), ("link", "-> ../../../../../key")], "leads out of the modules"),
    ] {
        let scene = Scene::with("");
        for (path, text) in files {
            match text.strip_prefix("-> ") {
                Some(target) => std::os::unix::fs::symlink(target, scene.folder.path().join("called").join(path)).unwrap(),
                None => scene.folder.write(&format!("called/{path}"), text),
            }
        }
        scene.folder.git("called", &["init", "--quiet", "."]);
        scene.folder.git("called", &["add", "."]);
        scene.folder.git("called", &["commit", "--quiet", "-m", "one"]);
        let commit = scene.folder.git("called", &["rev-parse", "HEAD"]);
        let called = scene.folder.path().join("called");
        let call = format!("module \"called\" {{\n  source = \"git::file://{}?ref={commit}\"\n}}\n", called.display());
        scene.folder.write("platform/m/main.tf", &format!("{MODULE}{call}"));
        scene.folder.ok("platform apply platform");
        let refused = scene.deploy();
        assert!(refused.code != 0 && refused.err.contains(said), "{said}: {}", refused.err);
        scene.keeps_its_secret(&refused);
    }
}
