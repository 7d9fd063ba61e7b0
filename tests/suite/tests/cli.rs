//! The command line: the README's tour, what people see, exit codes.

use std::process::Stdio;

use windlass_suite::binary::{Folder, root, stable};

const WEB: &str = "\
apiVersion: score.dev/v1b1
metadata:
  name: web
service:
  ports:
    http: { port: 80, targetPort: 8080 }
containers:
  main:
    image: .
    variables:
      DB: postgres://${resources.db.username}:${resources.db.password}@${resources.db.host}/${resources.db.name}
      KEY: ${resources.env.API_KEY}
resources:
  db: { type: postgres }
  env: { type: environment }
";

fn application() -> Folder {
    let folder = Folder::new();
    folder.write("shop/web.score.yaml", WEB);
    folder.ok("env create dev --type staging --app shop");
    assert_eq!(folder.pipe("secret set API_KEY -e dev", "k-1").code, 0);
    folder
}

#[test]
fn the_tour_of_the_readme() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let folder = Folder::new();
    let mut count = 0;
    for block in readme.split("```sh tour\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            folder.ok(line.strip_prefix("windlass ").unwrap());
            count += 1;
        }
    }
    assert!(count >= 18, "{count} commands");
}

#[test]
fn the_picture_of_the_readme() {
    let folder = Folder::new();
    folder.copy("examples/shop", "shop");
    folder.ok("platform apply shop/platform");
    let drawn = folder.ok("graph shop -e development --type development --image web=x").out;
    assert_eq!(drawn, std::fs::read_to_string(root().join("examples/shop/graph.svg")).unwrap());
}

#[test]
fn what_people_see() {
    let folder = application();
    insta::assert_snapshot!("plan", stable(&folder.run("plan shop -e dev --image web=web:1")));
    insta::assert_snapshot!("deploy", stable(&folder.run("deploy shop -e dev --image web=web:1 --yes")));
    insta::assert_snapshot!("again", stable(&folder.run("deploy shop -e dev --yes")));
    assert_eq!(folder.pipe("secret set API_KEY -e dev", "k-2").code, 0);
    insta::assert_snapshot!("rotated", stable(&folder.run("deploy shop -e dev --image web=web:2 --yes")));
    insta::assert_snapshot!("status", stable(&folder.run("status -e dev")));
    insta::assert_snapshot!("history", stable(&folder.run("history -e dev")));
    insta::assert_snapshot!("events", stable(&folder.run("events 2 -e dev")));
    insta::assert_snapshot!("environments", stable(&folder.run("env list")));
    insta::assert_snapshot!("environment", stable(&folder.run("env show -e dev")));
    insta::assert_snapshot!("secrets", stable(&folder.run("secret list -e dev")));
    insta::assert_snapshot!("explain_field", stable(&folder.run("explain Service/shop-dev/web#/spec/ports/0/port -e dev")));
    insta::assert_snapshot!("explain_variable", stable(&folder.run("explain apps/Deployment/shop-dev/web#/env/KEY -e dev")));
    insta::assert_snapshot!(
        "explain_input",
        stable(&folder.run("explain PersistentVolumeClaim/shop-dev/postgres-web-db-data#/storage -e dev"))
    );
    insta::assert_snapshot!("explain_resource", stable(&folder.run("explain postgres#web.db -e dev")));
    insta::assert_snapshot!("explain_unknown", stable(&folder.run("explain Service/shop-dev/wbe -e dev")));
    insta::assert_snapshot!("graph_mermaid", stable(&folder.run("graph -e dev --format mermaid")));
    insta::assert_snapshot!("rollback", stable(&folder.run("rollback -e dev --yes")));
    insta::assert_snapshot!("platform_list", stable(&folder.run("platform list")));
    // No secret in anything that was printed or kept in the open.
    let files = folder.files(".windlass");
    assert!(
        files.iter().filter(|(name, _)| !name.contains("manifests/")).all(|(_, text)| !text.contains("k-2")),
        "a secret lies in the open"
    );
}

/// The commands beside the main way: what they say of things as they are, as they were changed, and as they are not.
#[test]
fn what_people_see_on_other_ways() {
    let folder = Folder::new();
    insta::assert_snapshot!("init", stable(&folder.run("init shop")));
    insta::assert_snapshot!("init_workload", stable(&folder.run("init shop --workload api --with postgres,environment")));
    let folder = application();
    insta::assert_snapshot!("validate_fine", stable(&folder.run("validate shop")));
    insta::assert_snapshot!("env_create", stable(&folder.run("env create other --type development --app shop")));
    insta::assert_snapshot!("secret_set", stable(&folder.pipe("secret set TOKEN -e dev", "t-1\n")));
    insta::assert_snapshot!("secret_set_again", stable(&folder.pipe("secret set TOKEN -e dev", "t-2")));
    insta::assert_snapshot!("secret_rm", stable(&folder.run("secret rm TOKEN -e dev")));
    insta::assert_snapshot!("secret_rm_unknown", stable(&folder.run("secret rm TOKEN -e dev")));
    insta::assert_snapshot!("resume_nothing", stable(&folder.run("resume -e dev")));
    assert_eq!(folder.run_with("deploy shop -e dev --image web=web:1 --yes", &[("WINDLASS_KILL_AT", "9")]).code, -1);
    insta::assert_snapshot!("status_interrupted", stable(&folder.run("status -e dev")));
    insta::assert_snapshot!("resume", stable(&folder.run("resume -e dev")));
    insta::assert_snapshot!("drift_none", stable(&folder.run("drift -e dev")));
    let service = ".windlass/manifests/shop/dev/shop-dev/service-web.yaml";
    folder.write(service, &folder.read(service).replace("port: 80", "port: 81"));
    std::fs::remove_file(folder.path().join(".windlass/manifests/shop/dev/shop-dev/deployment.apps-web.yaml")).unwrap();
    insta::assert_snapshot!("drift", stable(&folder.run("drift -e dev --detailed-exitcode")));
    // A plan that changes nothing is not all that a deployment would do.
    assert_eq!(folder.run("plan shop -e dev --image web=web:1 --detailed-exitcode").code, 0);
    for format in ["text", "json", "yaml"] {
        let refreshed = folder.run(&format!("plan shop -e dev --image web=web:1 --refresh --detailed-exitcode -o {format}"));
        assert_eq!(refreshed.code, 2, "{}", refreshed.err);
        assert_eq!(format != "text", refreshed.out.contains("/spec/ports/0/port"), "{}", refreshed.out);
    }
    folder.ok("deploy shop -e dev --yes --take-ownership Service/shop-dev/web");
    insta::assert_snapshot!("deletable", stable(&folder.run("deletable postgres#web.db -e dev")));
    insta::assert_snapshot!("deletable_all", stable(&folder.run("deletable -e dev")));
    insta::assert_snapshot!("secret_rm_used", stable(&folder.run("secret rm API_KEY -e dev")));
    assert_eq!(folder.ok("secret list -e dev").out.lines().count(), 2, "nobody confirmed, nothing was forgotten");
    insta::assert_snapshot!("adopt_nothing", stable(&folder.run("adopt --all -e dev --path shop --yes")));
    insta::assert_snapshot!("rotate", stable(&folder.run("rotate postgres#web.db -e dev --yes")));
    folder.write(
        "platform/dns.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: dns-dev }\nspec:\n  type: dns\n  driver: { builtin: dns-static }\n  inputs: { domain: dev.example.com }\n",
    );
    insta::assert_snapshot!("platform_apply", stable(&folder.run("platform apply platform")));
    insta::assert_snapshot!("platform_show", stable(&folder.run("platform show dns-dev")));
    insta::assert_snapshot!("platform_show_unknown", stable(&folder.run("platform show dns-devv")));
    insta::assert_snapshot!("secret_rm_confirmed", stable(&folder.run("secret rm API_KEY -e dev --yes")));
    insta::assert_snapshot!("secret_missing", stable(&folder.run("plan shop -e dev")));
    insta::assert_snapshot!("destroy_planned", stable(&folder.run("plan shop -e dev --destroy")));
    insta::assert_snapshot!("destroy", stable(&folder.run("destroy -e dev --yes")));
    insta::assert_snapshot!("release", stable(&folder.run("release postgres#web.db -e dev")));
    insta::assert_snapshot!("release_unknown", stable(&folder.run("release postgres#web.db -e dev")));
    folder.ok("release k8s-namespace#default -e dev");
    insta::assert_snapshot!("env_rm", stable(&folder.run("env rm -e dev --yes")));
    insta::assert_snapshot!("inspect", stable(&folder.run("driver inspect route")));
}

#[test]
fn manifests_hold_what_was_planned() {
    let folder = application();
    folder.ok("deploy shop -e dev --image web=web:1 --yes");
    let files = folder.files(".windlass/manifests/shop/dev");
    let secret = &files["shop-dev/secret-web-secrets.yaml"];
    assert!(secret.contains("main.env.KEY: k-1"), "{secret}");
    insta::assert_snapshot!(
        "deployment",
        files["shop-dev/deployment.apps-web.yaml"].lines().filter(|line| !line.contains("fingerprint")).collect::<Vec<_>>().join("\n")
    );
    insta::assert_snapshot!("files", files.keys().cloned().collect::<Vec<_>>().join("\n"));
}

#[test]
fn strangers_files_stay() {
    let folder = application();
    folder.write(".windlass/manifests/shop/dev/shop-dev/service-web.yaml", "mine: true\n");
    let refused = folder.run("deploy shop -e dev --image web=web:1 --yes");
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("exists and is not ours"), "{}", refused.err);
    assert_eq!(folder.read(".windlass/manifests/shop/dev/shop-dev/service-web.yaml"), "mine: true\n");
    folder.ok("deploy shop -e dev --image web=web:1 --yes --take-ownership Service/shop-dev/web");
    // An edit of ours is seen, refused, and overwritten only when asked.
    folder.write(".windlass/manifests/shop/dev/shop-dev/service-web.yaml", "edited: true\n");
    let refused = folder.run("deploy shop -e dev --yes");
    assert!(refused.err.contains("somebody edited"), "{}", refused.err);
    folder.ok("deploy shop -e dev --yes --take-ownership Service/shop-dev/web");
    // What vanished is restored; data that vanished is not.
    std::fs::remove_file(folder.path().join(".windlass/manifests/shop/dev/shop-dev/service-web.yaml")).unwrap();
    assert!(folder.ok("deploy shop -e dev --yes").err.contains("restoring"));
    std::fs::remove_file(folder.path().join(".windlass/manifests/shop/dev/shop-dev/persistentvolumeclaim-postgres-web-db-data.yaml"))
        .unwrap();
    let stopped = folder.run("deploy shop -e dev --yes");
    assert_eq!(stopped.code, 1);
    assert!(stopped.err.contains("held data and is gone"), "{}", stopped.err);
}

#[test]
fn nobody_has_to_listen() {
    let folder = application();
    let words = ["deploy", "shop", "-e", "dev", "--image", "web=web:1", "--yes"];
    let mut child = folder.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // What `2>&1 | head -0` does.
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!folder.files(".windlass/manifests/shop/dev").is_empty());
    assert!(folder.ok("history -e dev").out.contains("succeeded"));
}

#[test]
fn elements_of_lists_are_told_by_their_names() {
    let folder = application();
    folder.ok("deploy shop -e dev --image web=web:1 --yes");
    let more = WEB
        .replace("      KEY:", "      LOG_LEVEL: info\n      KEY:")
        .replace("targetPort: 8080 }\n", "targetPort: 8080 }\n    admin: { port: 9090, targetPort: 9090 }\n")
        + "  data: { type: volume }\n";
    folder.write(
        "shop/web.score.yaml",
        &more.replace("    variables:", "    volumes: { /data: { source: '${resources.data}' } }\n    variables:"),
    );
    insta::assert_snapshot!("elements", stable(&folder.run("plan shop -e dev")));
}

#[test]
fn data_is_guarded() {
    let folder = application();
    folder.ok("deploy shop -e dev --image web=web:1 --yes");
    folder.write(
        "shop/web.score.yaml",
        &WEB.replace("  db: { type: postgres }\n", "").replace(
            "      DB: postgres://${resources.db.username}:${resources.db.password}@${resources.db.host}/${resources.db.name}\n",
            "",
        ),
    );
    insta::assert_snapshot!("removed", stable(&folder.run("plan shop -e dev")));
    folder.ok("deploy shop -e dev --yes");
    let kept = folder.files(".windlass/manifests/shop/dev");
    assert!(kept.contains_key("shop-dev/persistentvolumeclaim-postgres-web-db-data.yaml"), "data is retained: {:?}", kept.keys());
    assert!(!kept.contains_key("shop-dev/statefulset.apps-postgres-web-db.yaml"));
    // It returns, and is attached again with its old password.
    folder.write("shop/web.score.yaml", WEB);
    folder.ok("deploy shop -e dev --yes");
    // A definition that says `delete` needs a word from somebody.
    folder.write(
        "platform/p.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: pg }\nspec:\n  type: postgres\n  driver: { builtin: postgres }\n  onRemove: delete\n  inputs: { storage_class: other }\n  grants:\n    - { import: windlass:kubernetes/objects, kinds: [v1/Secret, v1/Service, v1/PersistentVolumeClaim, apps/v1/StatefulSet] }\n    - { import: windlass:secrets/generated }\n",
    );
    insta::assert_snapshot!("platform_diff", stable(&folder.run("platform diff platform --detailed-exitcode")));
    folder.ok("platform apply platform");
    let refused = folder.run("deploy shop -e dev --yes");
    assert_eq!(refused.code, 5, "{}", refused.err);
    insta::assert_snapshot!("guarded", stable(&refused));
    folder.ok("deploy shop -e dev --yes --allow-destroy");
}

#[test]
fn plan_files() {
    let folder = application();
    let planned = folder.ok("plan shop -e dev --image web=web:1 --out plan.json -o json");
    let plan: serde_json::Value = serde_json::from_str(&planned.out).unwrap();
    assert_eq!(plan["schema"], "windlass.dev/plan/v1alpha1");
    assert_eq!(serde_json::to_string(&plan).unwrap() + "\n", planned.out, "canonical: sorted, without spaces");
    assert!(!planned.out.contains("k-1"));
    folder.ok("deploy plan.json -e dev --yes");
    let stale = folder.run("deploy plan.json -e dev --yes");
    assert_eq!(stale.code, 1);
    assert!(stale.err.contains("stale"), "{}", stale.err);
    // Another machine: an empty basis matches a store without that environment.
    let other = Folder::new();
    other.write("plan.json", &folder.read("plan.json"));
    assert!(other.run("deploy plan.json -e dev --yes").err.contains("API_KEY"), "secrets don't travel");
    other.write("tampered.json", &folder.read("plan.json").replace("\"port\":80", "\"port\":81"));
    assert_eq!(other.run("deploy tampered.json -e dev --yes").code, 65);
}

#[test]
fn several_repositories_announce_their_images_at_once() {
    let folder = Folder::new();
    let names = ["a", "b", "c", "d"];
    for name in names {
        folder.write(
            &format!("{name}.score.yaml"),
            &format!("apiVersion: score.dev/v1b1\nmetadata: {{ name: {name} }}\ncontainers: {{ main: {{ image: . }} }}\n"),
        );
    }
    folder.ok("env create dev --type development --app shop");
    for round in 1..=2 {
        let builds: Vec<_> = names
            .iter()
            .map(|name| folder.spawn(&format!("deploy {name}.score.yaml -e dev --app shop --image {name}={name}:{round} --yes")))
            .collect();
        for mut build in builds {
            assert!(build.wait().unwrap().success(), "each waits for its turn, and plans again for what is there by then");
        }
        for name in names {
            let manifest = folder.read(&format!(".windlass/manifests/shop/dev/shop-dev/deployment.apps-{name}.yaml"));
            assert!(manifest.contains(&format!("image: {name}:{round}")), "{manifest}");
        }
    }
    assert_eq!(folder.ok("history -e dev").out.matches("succeeded").count(), 8);
}

#[test]
fn what_is_called_another_way_moves() {
    let folder = Folder::new();
    let web = |alias: &str| {
        folder.write(
            "app/web.score.yaml",
            &format!("apiVersion: score.dev/v1b1\nmetadata: {{ name: web }}\ncontainers: {{ main: {{ image: \"web:1\" }} }}\nresources: {{ {alias}: {{ type: thing }} }}\n"),
        );
    };
    let platform = |action: &str, value: &str| {
        folder.write(
            "platform/thing.yaml",
            &format!(
                "apiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: {{ name: thing }}\nspec: {{}}\n---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: thing }}\nspec:\n  type: thing\n  driver: {{ builtin: template }}\n  inputs: {{ manifests: {{ {action}: {{ apiVersion: v1, kind: ConfigMap, metadata: {{ name: fixed }}, data: {{ a: {value} }} }} }} }}\n  grants: [{{ import: windlass:kubernetes/objects, kinds: [v1/ConfigMap] }}, {{ import: windlass:secrets/generated }}]\n"
            ),
        );
        folder.ok("platform apply platform");
    };
    web("first");
    platform("one", "x");
    folder.ok("deploy app -e dev --create-env development --yes");
    // The same object by another action, by another resource, by both and with another value: never made again, never taken away.
    let steps = [("first", "two", "x"), ("second", "two", "x"), ("third", "three", "z")];
    for (alias, action, value) in steps {
        web(alias);
        platform(action, value);
        let plan = folder.ok("plan app -e dev").out;
        assert!(plan.contains("~ update   ConfigMap/app-dev/fixed") && !plan.contains("Taken away"), "{plan}");
        let deployed = folder.ok("deploy app -e dev --yes");
        assert!(!deployed.err.contains("deleted"), "{}", deployed.err);
        assert!(folder.read(".windlass/manifests/app/dev/app-dev/configmap-fixed.yaml").contains(&format!("a: {value}")));
        assert_eq!(folder.run("plan app -e dev --detailed-exitcode").code, 0);
        assert_eq!(folder.run("drift -e dev --detailed-exitcode").code, 0);
    }
    folder.ok("rollback -e dev 1 --yes");
    assert!(folder.read(".windlass/manifests/app/dev/app-dev/configmap-fixed.yaml").contains("a: x"));
    // Two that change their places would take each other away: refused, before anything is done.
    let both = |first: &str, second: &str| {
        let text = folder.read("platform/thing.yaml");
        let (before, _) = text.split_once("inputs:").unwrap();
        let manifest = |name: &str| format!("{{ apiVersion: v1, kind: ConfigMap, metadata: {{ name: {name} }}, data: {{ a: x }} }}");
        folder.write(
            "platform/thing.yaml",
            &format!(
                "{before}inputs: {{ manifests: {{ one: {}, two: {} }} }}\n  grants: [{{ import: windlass:kubernetes/objects, kinds: [v1/ConfigMap] }}, {{ import: windlass:secrets/generated }}]\n",
                manifest(first),
                manifest(second)
            ),
        );
        folder.ok("platform apply platform");
    };
    web("first");
    both("fixed", "other");
    folder.ok("deploy app -e dev --yes");
    both("other", "fixed");
    let refused = folder.run("deploy app -e dev --yes");
    assert!(refused.code == 65 && refused.err.contains("can't change their places"), "{}", refused.err);
    assert_eq!(folder.run("drift -e dev --detailed-exitcode").code, 0);
    folder.ok("destroy -e dev --yes");
    assert!(folder.files(".windlass/manifests").is_empty());
}

#[test]
fn a_terminal_is_asked_and_shows_no_secret() {
    let folder = application();
    let stored = folder.on_terminal("secret set TOKEN -e dev --app shop", "typed-by-hand\n");
    assert_eq!(stored.code, 0, "{}", stored.out);
    assert!(stored.out.contains("Value of TOKEN (not shown):") && stored.out.contains("stored version 1"), "{}", stored.out);
    assert!(!stored.out.contains("typed-by-hand"), "{}", stored.out);
    assert_eq!(folder.on_terminal("secret set TOKEN -e dev --app shop", "\n").code, 65);
    // Half a character at the limit is a value that is too long, not one that is no text.
    let long = folder.pipe("secret set TOKEN -e dev --app shop", &format!("a{}", "\u{2603}".repeat(174_763)));
    assert!(long.code == 65 && long.err.contains("longer than"), "{}", long.err);
    let refused = folder.on_terminal("deploy shop -e dev --image web=web:1", "n\n");
    assert!(refused.code == 1 && refused.out.contains("Apply this plan? [y/N]"), "{}", refused.out);
    assert!(folder.ok("history -e dev").out.lines().count() <= 1, "nothing was deployed");
    let confirmed = folder.on_terminal("deploy shop -e dev --image web=web:1", "y\n");
    assert_eq!(confirmed.code, 0, "{}", confirmed.out);
}

/// A private key without its last line break is refused by the programs that read it.
#[test]
fn secret_set_keeps_the_bytes_of_standard_input() {
    let folder = application();
    let stored = |options: &str, given: &str| {
        let ran = folder.pipe(&format!("secret set API_KEY -e dev{options}"), given);
        assert_eq!(ran.code, 0, "{}", ran.err);
        folder.ok("deploy shop -e dev --image web=web:1 --yes");
        let secrets = folder.files(".windlass/manifests").into_iter().filter(|(name, _)| name.contains("secret-"));
        let mut values = secrets.filter_map(|(_, text)| {
            let object: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
            object["stringData"].as_object()?.values().find_map(|value| value.as_str()?.strip_prefix("of:").map(str::to_owned))
        });
        (values.next().unwrap(), ran.err)
    };
    let key = "of:-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n";
    assert_eq!(stored("", key).0, &key[3..]);
    let (value, told) = stored("", "of:plain\r\n");
    assert!(value == "plain\r\n" && told.contains("`--trim` drops it"), "{value:?} {told}");
    assert_eq!(stored("", "of:plain").0, "plain");
    let (value, told) = stored(" --trim", "of:plain\r\n\n");
    assert!(value == "plain" && !told.contains("line break"), "{value:?} {told}");
    let empty = folder.pipe("secret set API_KEY -e dev --trim", "\n");
    assert!(empty.code == 65 && empty.err.contains("is empty"), "{}", empty.err);
}

#[test]
fn what_is_wrong_with_many_is_said_once() {
    let folder = Folder::new();
    for index in 1..=8 {
        let text = format!(
            "apiVersion: score.dev/v1b1\nmetadata: {{ name: w{index} }}\ncontainers: {{ main: {{ image: \"a:1\" }} }}\nresources: {{ x: {{ type: queue }} }}\n"
        );
        folder.write(&format!("shop/w{index}.score.yaml"), &text);
    }
    insta::assert_snapshot!("alike", stable(&folder.run("plan shop -e dev --create-env development")));
}

#[test]
fn a_destroyed_environment_can_be_forgotten() {
    let folder = application();
    let deploy = "deploy shop -e preview --create-env development --image web=web:1 --yes";
    folder.ok("env create preview --type development --app shop");
    folder.pipe("secret set API_KEY -e preview", "k-1");
    folder.ok(deploy);
    let refused = folder.run("env rm -e preview --yes");
    insta::assert_snapshot!("env_rm_refused", stable(&refused));
    folder.ok("deploy shop -e dev --image web=web:1 --yes");
    folder.ok("destroy -e dev --yes");
    insta::assert_snapshot!("env_rm_kept", stable(&folder.run("env rm -e dev --yes")));
    folder.ok("destroy -e preview --yes");
    assert_eq!(folder.run("env rm -e preview").code, 64, "nobody is there to confirm");
    assert!(folder.ok("env rm -e preview --yes").err.contains("forgot the environment shop/preview"));
    assert!(!folder.ok("env list").out.contains("preview"));
    assert_eq!(folder.run("history -e preview").code, 65);
    // One of the same name begins anew, without the secrets of the old one.
    let anew = folder.run(deploy);
    assert!(anew.code == 65 && anew.err.contains("API_KEY"), "{}", anew.err);
    folder.ok("env create preview --type development --app shop");
    folder.pipe("secret set API_KEY -e preview", "k-2");
    folder.ok(deploy);
    assert!(folder.ok("status -e preview").out.contains("1 succeeded"));
}

#[test]
fn a_change_of_the_platform_is_told_once() {
    let folder = Folder::new();
    let maps = |level: &str, more: &str| {
        let level = format!("level: {{ apiVersion: v1, kind: ConfigMap, metadata: {{ name: level }}, data: {{ level: {level} }} }}");
        format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: {{ name: config }}\nspec: {{}}\n---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: config }}\nspec:\n  type: config\n  onRemove: retain\n  driver: {{ builtin: template }}\n  inputs: {{ manifests: {{ {level}{more} }} }}\n  grants: [{{ import: windlass:kubernetes/objects, kinds: [v1/ConfigMap] }}, {{ import: windlass:secrets/generated }}]\n"
        )
    };
    folder.write("score.yaml", "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"web:1\" } }\nresources: { c: { type: config } }\n");
    folder.write("platform/config.yaml", &maps("low", ", old: { apiVersion: v1, kind: ConfigMap, metadata: { name: old } }"));
    folder.ok("platform apply platform");
    for environment in ["blue", "dev", "green"] {
        folder.ok(&format!("deploy score.yaml -e {environment} --create-env development --yes"));
    }
    folder.write("platform/config.yaml", &maps("high", ", new: { apiVersion: v1, kind: ConfigMap, metadata: { name: new } }"));
    let told = stable(&folder.run("platform diff platform"));
    let data: serde_json::Value = serde_json::from_str(&folder.ok("platform diff platform -o json").out).unwrap();
    insta::assert_snapshot!("platform_diff_of_many", told + &serde_json::to_string_pretty(&data).unwrap());
    assert!(folder.ok("plan score.yaml -e dev --platform platform").out.contains("- retain   ConfigMap/web-dev/old"));
}

/// Nobody stored it: what a deployment was given is what its environment goes on with.
#[test]
fn a_given_platform_goes_on_with_its_environment() {
    let folder = Folder::new();
    let image = |image: &str| {
        format!(
            "apiVersion: score.dev/v1b1\nmetadata: {{ name: web }}\ncontainers: {{ main: {{ image: \"{image}\" }} }}\nresources: {{ c: {{ type: config }} }}\n"
        )
    };
    let level = |level: &str| {
        let manifest = format!("{{ apiVersion: v1, kind: ConfigMap, metadata: {{ name: level }}, data: {{ level: {level} }} }}");
        format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: {{ name: config }}\nspec: {{}}\n---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: config }}\nspec:\n  type: config\n  driver: {{ builtin: template }}\n  inputs: {{ manifests: {{ level: {manifest} }} }}\n  grants: [{{ import: windlass:kubernetes/objects, kinds: [v1/ConfigMap] }}, {{ import: windlass:secrets/generated }}]\n"
        )
    };
    let shown = || {
        let of = |file: &str| folder.read(&format!(".windlass/manifests/web/dev/web-dev/{file}.yaml"));
        let line =
            |text: String, field: &str| text.lines().find(|line| line.contains(field)).unwrap().trim_start_matches([' ', '-']).to_owned();
        [line(of("configmap-level"), "level: "), line(of("deployment.apps-web"), "image: ")].join(", ")
    };
    for (number, word) in [("1", "low"), ("2", "high")] {
        folder.write("score.yaml", &image(&format!("web:{number}")));
        folder.write("given/config.yaml", &level(word));
        folder.ok("deploy score.yaml -e dev --create-env development --platform given --yes");
    }
    assert_eq!(shown(), "level: high, image: web:2");
    folder.ok("rollback -e dev --yes");
    assert_eq!(shown(), "level: low, image: web:1");
    folder.ok("rollback 2 -e dev --yes");
    assert_eq!(shown(), "level: high, image: web:2");
    let history = folder.ok("history -e dev").out;
    assert_eq!(history.matches("with --platform").count(), 4, "{history}");
    // Without one, the platform is what is stored.
    let refused = folder.run("deploy score.yaml -e dev --yes").err;
    assert!(refused.contains("unknown resource type `config`") && refused.contains("Deployment 4 was made with `--platform`"), "{refused}");
    folder.ok("platform apply given");
    assert!(!folder.ok("deploy score.yaml -e dev --yes").err.contains("--platform"), "it is the same");
    folder.write("given/config.yaml", &level("higher"));
    folder.ok("platform apply given");
    assert!(folder.ok("deploy score.yaml -e dev --yes").err.contains("give it again if that is not meant"));
    folder.write("score.yaml", &image("web:3"));
    assert!(!folder.ok("deploy score.yaml -e dev --yes").err.contains("--platform"), "the newest went without");
    folder.ok("destroy -e dev --yes");
}

#[test]
fn bad_input_and_usage() {
    let folder = application();
    folder.write("bad/score.yaml", "apiVersion: score.dev/v1b1\nmetadata:\n  name: Web\ncontainers:\n  main:\n    imgae: x\n    variables: { A: 1.10 }\n    before: { nobody: { ready: soon } }\nresources:\n  db: { type: postgres, clas: x }\n");
    insta::assert_snapshot!("validate", stable(&folder.run("validate bad")));
    folder.write(
        "connections/all.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: { name: modules }\nspec:\n  capability: terraform\n  terraform:\n    cliconfig: tfrc\n    environment: { A: { env: true }, B: { evn: X }, C: { file: /x, env: Y } }\n---\napiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: { name: databases }\nspec:\n  capability: postgres\n  postgres: { hots: a, user: b, port: many }\n",
    );
    insta::assert_snapshot!("connections", stable(&folder.run("validate connections")));
    folder.write("semantic/score.yaml", "apiVersion: score.dev/v1b1\nmetadata: { name: api }\ncontainers:\n  main:\n    image: x\n    variables: { A: \"${resources.dbb.host}\", B: \"${resources.db.hots}\", C: \"${context.x}\", D: \"$${fine}\" }\nresources:\n  db: { type: postgres }\n  cache: { type: rediss }\n");
    insta::assert_snapshot!("unknown_type", stable(&folder.run("plan semantic -e dev --create-env development")));
    folder.write("semantic/score.yaml", &folder.read("semantic/score.yaml").replace("rediss", "redis"));
    insta::assert_snapshot!("placeholders", stable(&folder.run("plan semantic -e dev --create-env development")));
    insta::assert_snapshot!("missing_environment", stable(&folder.run("plan shop -e prod --image web=x")));
    insta::assert_snapshot!("missing_image", stable(&folder.run("plan shop -e dev")));
    insta::assert_snapshot!("wrong_type", stable(&folder.run("env create x --type developmnt --app shop")));
    insta::assert_snapshot!(
        "unconfirmed",
        stable(&folder.run("deploy shop -e dev --image web=web:1")).lines().last().unwrap_or_default().to_owned()
    );
    assert_eq!(folder.run("deploy").code, 64);
    assert_eq!(folder.run("nonsense").code, 64);
    assert_eq!(folder.run("schema Wrkload").code, 64);
    for kind in ["Workload", "Application", "ResourceDefinition", "ResolvedWorkload"] {
        let schema: serde_json::Value = serde_json::from_str(&folder.ok(&format!("schema {kind}")).out).unwrap();
        assert!(schema["properties"].is_object(), "{kind}");
    }
    assert_eq!(folder.run("validate nowhere").code, 65);
    assert_eq!(folder.run("plan shop -e dev --image web=x --detailed-exitcode").code, 2);
    assert_eq!(folder.run("--help").code, 0);
    folder.ok("completions bash");
    folder.ok("man man");
    assert!(folder.files("man").len() > 10);
}

#[test]
fn help() {
    let folder = Folder::new();
    insta::assert_snapshot!("help", folder.ok("--help").out);
    insta::assert_snapshot!("help_deploy", folder.ok("deploy --help").out);
}

#[test]
fn score_files_as_they_are_in_the_wild() {
    let folder = Folder::new();
    folder.write("app/config.txt", "from ${metadata.name}\n");
    folder.write(
        "app/score.yaml",
        "apiVersion: score.dev/v1b1
metadata:
  name: hello-world
  annotations: { my.org/version: \"0.1\" }
  region: eu
containers:
  hello:
    image: .
    command: [\"/bin/sh\", \"-c\", \"echo ${HOME} $(FRIEND)\"]
    variables:
      FRIEND: World!
      ESCAPED: $${not.a.reference}
      REGION: ${metadata.region}
      DOTTED: ${metadata.annotations.my\\.org/version}
    files:
      - target: /etc/hello/one.txt
        mode: \"0440\"
        content: [\"first\", \"second ${metadata.name}\"]
      - target: /etc/hello/two.txt
        source: config.txt
      - target: /etc/hello/raw.txt
        content: ${metadata.name}
        noExpand: true
    volumes:
      - target: /data
        source: ${resources.data}
        read_only: true
    resources: { limits: { memory: 128Mi, cpu: \"0.5\" } }
resources:
  data: { type: volume }
  Upper: { type: dns, class: default }
",
    );
    let rendered = folder.ok("render app/score.yaml --image busybox:1 --override-property metadata.annotations.team=a");
    insta::assert_snapshot!("render", rendered.out);
    folder.ok("deploy app -e dev --create-env development --image hello-world=busybox:1 --yes");
    // JSON wherever YAML.
    folder.write("json/score.json", r#"{"apiVersion": "score.dev/v1b1", "metadata": {"name": "j"}, "containers": {"c": {"image": "x"}}}"#);
    folder.ok("render json/score.json -n team-a --generate-namespace -o out.yaml");
    assert!(folder.read("out.yaml").contains("namespace: team-a"));
}

#[test]
fn init_writes_what_deploys() {
    let folder = Folder::new();
    folder.ok("init app");
    folder.ok("init app --workload api --with postgres,mysql,mongodb,redis,amqp,s3,dns,route,environment,volume");
    folder.ok("validate app");
    let plan = folder.ok("plan app -e dev --create-env development --image api=api:1");
    assert!(plan.out.contains("workload/api"), "{}", plan.out);
    assert_eq!(folder.run("init app").code, 65, "nothing is overwritten");
    assert_eq!(folder.run("init app --workload x --with postgress").code, 64);
}

#[test]
fn appended_stages_reach_every_workload() {
    let folder = Folder::new();
    let component = windlass_suite::binary::components().join("example-team-labels.wasm");
    folder.write("platform/x", "");
    std::fs::copy(component, folder.path().join("platform/labels.wasm")).unwrap();
    folder.write(
        "platform/platform.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: EnvironmentType\nmetadata: { name: labelled }\nspec:\n  dataLoss: allow\n  workloadStages:\n    - name: labels\n      driver: { file: labels.wasm }\n      inputs: { labels: { team: \"${context.application}\" } }\n      grants: [{ import: windlass:kubernetes/objects, kinds: [apps/v1/Deployment] }]\n---\napiVersion: windlass.dev/v1alpha1\nkind: WorkloadProfile\nmetadata: { name: own }\nspec:\n  match: [{ workload: api }]\n  extends: base\n---\napiVersion: windlass.dev/v1alpha1\nkind: WorkloadProfile\nmetadata: { name: base }\nspec:\n  stages: [{ name: render, driver: { builtin: workload-default }, inputs: { replicas: 3 }, grants: [{ import: windlass:kubernetes/objects, kinds: [apps/v1/Deployment] }] }]\n",
    );
    for name in ["web", "api"] {
        folder.write(
            &format!("app/{name}.yaml"),
            &format!("apiVersion: score.dev/v1b1\nmetadata: {{ name: {name} }}\ncontainers: {{ main: {{ image: x }} }}\n"),
        );
    }
    folder.ok("platform apply platform");
    folder.ok("deploy app -e dev --create-env labelled --yes");
    let files = folder.files(".windlass/manifests/app/dev/app-dev");
    for name in ["web", "api"] {
        assert_eq!(files[&format!("deployment.apps-{name}.yaml")].matches("team: app").count(), 2, "{name}");
    }
    assert!(files["deployment.apps-api.yaml"].contains("replicas: 3"));
    assert!(folder.ok("explain workload/api -e dev").out.contains("own (stored), platform/platform.yaml:"));
    // A file that is no component is refused before anything is stored.
    folder.write("broken/labels.wasm", "this is no component");
    folder.write("broken/p.yaml", "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: x }\nspec: { type: x, driver: { file: labels.wasm } }\n");
    assert_eq!(folder.run("platform apply broken").code, 65);
}

#[test]
fn only_whose_question_changed_is_asked_again() {
    let folder = application();
    folder.write("shop/other.score.yaml", &WEB.replace("name: web", "name: other").replace("image: .", "image: other:1"));
    folder.ok("deploy shop -e dev --image web=web:1 --yes");
    let calls = |line: &str| {
        let ran = folder.run_with(line, &[("WINDLASS_COUNT_CALLS", "1")]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.err.lines().find_map(|line| line.strip_prefix("driver calls: ")).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(calls("plan shop -e dev"), 0, "nothing changed");
    folder.write("shop/web.score.yaml", &WEB.replace("      KEY:", "      MORE: x\n      KEY:"));
    assert_eq!(calls("plan shop -e dev"), 1, "one workload changed");
    // A definition changes: its resources are asked; workloads only where an output moved.
    folder.write(
        "given/p.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: pg }\nspec:\n  type: postgres\n  driver: { builtin: postgres }\n  inputs: { storage: 2Gi }\n  grants:\n    - { import: windlass:kubernetes/objects, kinds: [v1/Secret, v1/Service, v1/PersistentVolumeClaim, apps/v1/StatefulSet] }\n    - { import: windlass:secrets/generated }\n",
    );
    assert_eq!(calls("plan shop -e dev --platform given"), 3, "two databases and the changed workload");
    // What is reused is what would have been made: a fresh installation makes the same plan of it.
    let plan = |folder: &Folder| {
        let plan: serde_json::Value = serde_json::from_str(&folder.ok("plan shop -e dev -o json").out).unwrap();
        plan["stages"][0]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|node| node["actions"].as_array().cloned().unwrap_or_default())
            .map(|action| action["spec"].clone())
            .collect::<Vec<_>>()
    };
    let reused = plan(&folder);
    let fresh = application();
    fresh.write("shop/other.score.yaml", &folder.read("shop/other.score.yaml"));
    fresh.write("shop/web.score.yaml", &folder.read("shop/web.score.yaml").replace("image: .", "image: web:1"));
    assert_eq!(plan(&fresh), reused);
}

#[test]
fn what_cannot_be_deleted_stays_with_what_it_needs_and_the_rest_goes() {
    let folder = Folder::new();
    for name in ["api", "web", "worker"] {
        let service = if name == "worker" { "" } else { "service: { ports: { http: { port: 80 } } }\n" };
        let score = format!("apiVersion: score.dev/v1b1\nmetadata: {{ name: {name} }}\n{service}containers: {{ main: {{ image: x }} }}\n");
        folder.write(&format!("app/{name}.yaml"), &score);
    }
    folder.ok("deploy app -e dev --create-env development --yes");
    let below = ".windlass/manifests/app/dev";
    let edited = ["service-api.yaml", "service-web.yaml"].map(|name| format!("{below}/app-dev/{name}"));
    let written = edited.clone().map(|path| folder.read(&path));
    for (path, text) in edited.iter().zip(&written) {
        folder.write(path, &format!("{text}# by hand\n"));
    }
    let refused = folder.run("destroy -e dev --yes");
    assert_eq!(refused.code, 1);
    insta::assert_snapshot!("not_deleted", stable(&refused));
    let left: Vec<String> = folder.files(below).into_keys().filter(|path| !path.starts_with('.')).collect();
    assert_eq!(left, ["_cluster/namespace-app-dev.yaml", "app-dev/service-api.yaml", "app-dev/service-web.yaml"]);
    assert!(edited.iter().all(|path| folder.read(path).ends_with("# by hand\n")), "nothing of it is lost");
    for (path, text) in edited.iter().zip(&written) {
        folder.write(path, text);
    }
    folder.ok("destroy -e dev --yes");
    assert!(folder.files(below).into_keys().all(|path| path.starts_with('.')));
}
