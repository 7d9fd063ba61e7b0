use serde_json::json;

use super::*;

fn told(from: &Value, to: &Value) -> String {
    let change = Changed { pointer: "", from: Some(from), to: Some(to), by: None };
    shown(&lines([change], Some(to)))
}

fn shown(lines: &[Line]) -> String {
    lines.iter().map(|Line { depth, sign, text }| format!("{}{sign} {text}\n", "  ".repeat(*depth))).collect()
}

fn pod(main: &Value) -> Value {
    json!({ "spec": { "containers": [main] } })
}

#[test]
fn elements_are_named_by_their_keys() {
    let from = pod(&json!({ "name": "main", "image": "web:1", "env": [
        { "name": "GREETING", "value": "hello" }, { "name": "OLD", "value": "1" }, { "name": "SAME", "value": "x" },
    ], "ports": [{ "containerPort": 80, "protocol": "TCP" }] }));
    let to = pod(&json!({ "name": "main", "image": "web:2", "env": [
        { "name": "GREETING", "value": "hi" }, { "name": "LOG_LEVEL", "value": "info" }, { "name": "SAME", "value": "x" },
        { "name": "KEY", "valueFrom": { "secretKeyRef": { "key": "k", "name": "s" } } },
    ], "ports": [{ "containerPort": 80, "protocol": "TCP" }, { "containerPort": 9090 }] }));
    insta::assert_snapshot!(told(&from, &to), @r#"
    ~ /spec/containers main
      ~ env GREETING: "hello" → "hi"
      - env OLD = "1"
      + env LOG_LEVEL = "info"
      + env KEY = {"valueFrom":{"secretKeyRef":{"key":"k","name":"s"}}}
      ~ image: "web:1" → "web:2"
      + ports 9090
    "#);
}

#[test]
fn long_elements_are_written_field_by_field() {
    let main = json!({ "name": "main", "image": "web:1" });
    let proxy = json!({ "name": "proxy", "image": format!("registry.example.com/{}", "proxy/".repeat(20)), "args": ["-v"],
        "env": [{ "name": "LEVEL", "value": "info" }] });
    let (from, to) = (json!({ "containers": [main] }), json!({ "containers": [main, proxy] }));
    insta::assert_snapshot!(told(&from, &to).replace(&"proxy/".repeat(20), "PATH"), @r#"
    + /containers proxy
      + args = ["-v"]
      + env LEVEL = "info"
      + image = "registry.example.com/PATH"
    "#);
    assert!(told(&to, &from).starts_with("- /containers proxy\n  - args"));
}

#[test]
fn elements_without_a_key_are_compared_by_place() {
    let args =
        |level: &str| (0..40).map(|index| format!("--flag-{index}")).chain([level.to_owned(), "--end".to_owned()]).collect::<Vec<_>>();
    let more = [args("--level=info"), vec!["--more".to_owned()]].concat();
    insta::assert_snapshot!(told(&json!({ "args": args("--level=info") }), &json!({ "args": args("--level=debug") })), @r#"~ /args/40: "--level=info" → "--level=debug""#);
    insta::assert_snapshot!(told(&json!({ "args": args("--level=info") }), &json!({ "args": more })), @r#"+ /args/42 = "--more""#);
    insta::assert_snapshot!(told(&json!({ "args": ["a"] }), &json!({ "args": ["a", "b"] })), @r#"~ /args: ["a"] → ["a","b"]"#);
    let twice = |values: &[&str]| json!({ "env": values.iter().map(|value| json!({ "name": "A", "value": value, "about": "x".repeat(50) })).collect::<Vec<_>>() });
    insta::assert_snapshot!(told(&twice(&["1", "2"]), &twice(&["1", "3"])), @r#"~ /env/1/value: "2" → "3""#);
}

#[test]
fn another_order_is_told() {
    let list = |names: &[&str]| json!({ "initContainers": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() });
    insta::assert_snapshot!(told(&list(&["a", "b"]), &list(&["b", "a", "c"])), @r"
    + /initContainers c
    ~ /initContainers in another order: a, b → b, a, c
    ");
}

#[test]
fn secrets_are_named_by_their_origins() {
    let password = json!({ "$sealed": [{ "encoding": "text", "origin": { "generated": { "action": "postgres#db:secret/password", "version": 1 } }, "secret": true }] });
    let to = json!({ "env": [{ "name": "PASSWORD", "value": password }] });
    let from = json!({ "env": [{ "name": "OTHER", "value": "1" }] });
    insta::assert_snapshot!(told(&from, &to), @r#"
    - /env OTHER = "1"
    + /env PASSWORD = "«secret postgres#db:secret/password»"
    "#);
}

#[test]
fn values_made_of_the_same_origins_in_another_way_are_told() {
    let hash = |text: &str| {
        let password =
            json!({ "encoding": "text", "origin": { "generated": { "action": "db:secret/password", "version": 1 } }, "secret": true });
        json!({ "hash": { "$sealed": [{ "encoding": "text", "origin": { "derived": { "of": [[text, password]], "op": "fingerprint" } } }] } })
    };
    insta::assert_snapshot!(told(&hash("a"), &hash("b")), @r#"~ /hash: "«deferred fingerprint(db:secret/password)»" (made otherwise)"#);
}

#[test]
fn pointers_into_lists_become_keys_where_the_whole_is_known() {
    let whole = json!({ "containers": [{ "name": "main", "env": [{ "name": "A", "value": "2" }] }] });
    let (old, new) = (json!("1"), json!("2"));
    let change = Changed { pointer: "/containers/0/env/0/value", from: Some(&old), to: Some(&new), by: Some("kubectl") };
    insta::assert_snapshot!(shown(&lines([change], Some(&whole))), @r#"
    ~ /containers main
      ~ env A: "1" → "2"  by kubectl
    "#);
    insta::assert_snapshot!(shown(&lines([change], None)), @r#"~ /containers/0/env/0/value: "1" → "2"  by kubectl"#);
}

#[test]
fn texts_of_many_lines_are_told_line_by_line() {
    let text = |port: u16| json!({ "data": { "a/b": format!("{}port: {port}\n", "same: line\n".repeat(10)) } });
    insta::assert_snapshot!(told(&text(80), &text(81)), @r"
    ~ /data/a~1b:
      - port: 80
      + port: 81
    ");
}
