//! Documents with errors: `validate` finds what `deploy` refuses, and both tell everything at once.

use windlass_suite::binary::{Folder, Ran};

/// A workload with the given variables and resources, as YAML flow maps.
fn workload(name: &str, variables: &str, resources: &str) -> String {
    format!(
        "apiVersion: score.dev/v1b1\nmetadata: {{ name: {name} }}\ncontainers:\n  main:\n    image: ghcr.io/acme/{name}:1\n    \
         variables: {variables}\nresources: {resources}\n"
    )
}

fn folder(files: &[(&str, &str)]) -> Folder {
    let folder = Folder::new();
    files.iter().for_each(|(path, text)| folder.write(path, text));
    folder
}

#[track_caller]
fn assert_tells(ran: &Ran, expected: &[&str]) {
    assert_eq!(ran.code, 65, "{}\n{}", ran.out, ran.err);
    for text in expected {
        assert!(ran.err.contains(text), "`{text}` is missing in\n{}", ran.err);
    }
}

#[test]
fn validate_tells_every_error_of_every_layer_in_one_pass() {
    let broken = "apiVersion: score.dev/v1b1\nmetadata: { name: broken }\ncontainers:\n  main:\n    immage: x\n    variables: { A: \"${resources.gone.host}\" }\n";
    let web = workload(
        "web",
        "{ A: \"${externals.db.host}\", B: \"${resources.nope.host}\", C: \"${metadata.nope}\", D: \"${}\", E: \"${resources.cache.hots}\" }",
        "{ db: { type: nosuchtype }, cache: { type: redis }, files: { type: volume, class: golden } }",
    );
    let mounting = "apiVersion: score.dev/v1b1\nmetadata: { name: mounting }\ncontainers:\n  main:\n    image: a:1\n    volumes: { /data: { source: volumes.tmp } }\n";
    let folder = folder(&[
        ("shop/web.score.yaml", &web),
        ("shop/broken.score.yaml", broken),
        ("shop/mounting.score.yaml", mounting),
        ("shop/again.score.yaml", &workload("web", "{}", "{}")),
        ("shop/cut.score.yaml", "apiVersion: score.dev/v1b1\nmetadata: { name: cut"),
    ]);
    let expected = [
        "unknown field `immage`",
        "`${resources.gone.host}`: there is no resource `gone`",
        "`externals` left Score",
        "there is no resource `nope`",
        "the workload's metadata has no such field",
        "cache` has no output `hots`",
        "unknown resource type `nosuchtype`",
        "shop/mounting.score.yaml:6",
        "workload `web` is written twice",
        "shop/cut.score.yaml",
    ];
    assert_tells(&folder.run("validate shop"), &expected);
    assert!(!folder.path().join(".windlass").exists(), "validating keeps no state");
    assert_tells(&folder.run("deploy shop -e dev --create-env development --yes"), &expected);
    assert_tells(&folder.run("plan shop -e dev --create-env development"), &expected);
}

#[test]
fn one_unknown_type_hides_nothing_and_invents_nothing() {
    let variables = "{ HOST: \"${resources.db.host}\", URL: \"x:${resources.db.deep.field}\", TYPO: \"${resources.cache.prot}\" }";
    let resources = "{ db: { type: nosuchtype, params: { size: \"${resources.other.x}\" } }, cache: { type: redis }, site: { type: dns }, way: { type: route, params: { host: \"${resources.db.host}\", path: /, port: 80 } } }";
    let folder = folder(&[("web.score.yaml", &workload("web", variables, resources))]);
    let ran = folder.run("validate web.score.yaml");
    assert_tells(&ran, &["unknown resource type `nosuchtype`", "has no output `prot`", "there is no resource `other`"]);
    assert_eq!(ran.err.matches("error").count(), 3, "{}", ran.err);
}

#[test]
fn a_field_with_an_error_is_told_of_once() {
    let text = "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers:\n  main:\n    image:\n    variables: { A: \"${resources.db.host}\" }\nresources:\n  db: { tpye: postgres }\n";
    let ran = folder(&[("web.score.yaml", text)]).run("validate web.score.yaml");
    assert_tells(&ran, &["unknown field `tpye`", "missing field `type`", "3 errors"]);
    assert!(!ran.err.contains("unknown resource type"), "{}", ran.err);
}

#[test]
fn cycles_are_told_of_beside_everything_else() {
    let resources = "{ a: { type: redis, params: { x: \"${resources.b.host}\" } }, b: { type: redis, params: { x: \"${resources.a.host}\" } }, c: { type: nosuchtype } }";
    let ran = folder(&[("web.score.yaml", &workload("web", "{}", resources))]).run("validate web.score.yaml");
    assert_tells(&ran, &["resources need each other", "web.score.yaml:7", "unknown resource type `nosuchtype`"]);
}

#[test]
fn nothing_to_validate_is_an_error() {
    let folder = folder(&[("empty.yaml", ""), ("comment.yaml", "# nothing\n"), ("other/deployment.yaml", "kind: Deployment\n")]);
    for path in ["empty.yaml", "comment.yaml", "other"] {
        assert_tells(&folder.run(&format!("validate {path}")), &["no", path]);
    }
}

#[test]
fn placeholders_that_never_end_are_warnings() {
    let folder = folder(&[(
        "web.score.yaml",
        &workload("web", "{ HOST: \"${resources.db.host\", DB: \"${resources.db}\" }", "{ db: { type: postgres } }"),
    )]);
    for line in ["validate web.score.yaml", "plan web.score.yaml -e dev --create-env development"] {
        let ran = folder.ok(line);
        assert!(ran.err.contains("web.score.yaml:6") && ran.err.contains("has no `}`"), "{line}: {}", ran.err);
        assert!(ran.err.contains("stands for the address of the resource"), "{line}: {}", ran.err);
    }
}

#[test]
fn validate_goes_by_given_and_stored_platforms() {
    let definition = "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: queue }\nspec:\n  type: queue\n  driver: { builtin: template }\n  inputs: { outputs: { url: \"amqp://queue\" } }\n  grants: [{ import: windlass:kubernetes/objects }, { import: windlass:secrets/generated }]\n";
    let text = workload(
        "web",
        "{ Q: \"${resources.q.url}\", KEY: \"${resources.env.KEY}\" }",
        "{ q: { type: queue }, env: { type: environment } }",
    );
    let folder = folder(&[("web.score.yaml", &text), ("platform/queue.yaml", definition)]);
    assert_tells(&folder.run("validate web.score.yaml"), &["unknown resource type `queue`"]);
    folder.ok("validate .");
    folder.ok("validate web.score.yaml --platform platform");
    folder.ok("platform apply platform");
    folder.ok("validate web.score.yaml");
    // An environment that exists has the secrets that it has.
    folder.ok("env create dev --type development --app web");
    assert_tells(&folder.run("validate web.score.yaml -e dev"), &["has no output `KEY`"]);
    assert_eq!(folder.pipe("secret set KEY -e dev", "k").code, 0);
    folder.ok("validate web.score.yaml -e dev");
}
