//! What planning lets through, the server takes: workloads of all shapes that Score allows.

use proptest::{
    collection::{btree_map, vec},
    option::weighted,
    prelude::*,
    sample::select,
    strategy::ValueTree as _,
    test_runner::TestRunner,
};
use serde_json::{Map, Value, json};
use windlass_suite::cluster::Scene;

const CASES: usize = 60;

const NAMES: [&str; 9] = ["a", "web", "x1", "8080", "a-b", "9-a", "0", "metrics-endpoint-port", "nnnnnnnnnnnnnnn"];
const TEXTS: [&str; 16] = ["", "x", "true", "1.5", "a b", "ü", "\n", "$(HOME)", "$$", "a: b", "- x", "\"", "#c", "\t", "null", "0x1f"];
const PATHS: [&str; 12] =
    ["/a", "/etc/x.conf", "/data", "/data/sub", "/data/../x", "/a b/c", "/ü", "/etc/", "/a/./b", "//x", "/x:y", "rel/p"];
const VARIABLES: [&str; 10] = ["A", "a.b", "A-B", "1", "_", "A B", "A:B", "A,", "$A", "Ü"];

fn text() -> impl Strategy<Value = String> {
    select(&TEXTS[..]).prop_map(str::to_owned)
}

fn named<V: Strategy<Value = Value> + 'static>(
    names: &'static [&'static str],
    value: V,
    most: usize,
) -> impl Strategy<Value = Map<String, Value>> {
    btree_map(select(names), value, 0..=most).prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Leaves out what is nothing.
fn some(fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
}

fn ports() -> impl Strategy<Value = Map<String, Value>> {
    let port =
        (1..9_u16, weighted(0.5, 8080..8082_u16), weighted(0.5, select(&["TCP", "UDP"][..]))).prop_map(|(port, target, protocol)| {
            some([("port", Some(json!(port))), ("targetPort", target.map(Value::from)), ("protocol", protocol.map(Value::from))])
        });
    named(&NAMES, port, 3)
}

fn probe() -> impl Strategy<Value = Value> {
    let header = (select(&["X-A", "x_y", "A"][..]), text()).prop_map(|(name, value)| json!({ "name": name, "value": value }));
    let http_get = (select(&["/", "x", "/a?b=c#d", "/ü"][..]), weighted(0.3, select(&["HTTP", "HTTPS"][..])), vec(header, 0..2)).prop_map(
        |(path, scheme, headers)| {
            let headers = (!headers.is_empty()).then(|| json!(headers));
            some([("path", Some(json!(path))), ("port", Some(json!(80))), ("scheme", scheme.map(Value::from)), ("httpHeaders", headers)])
        },
    );
    prop_oneof![
        3 => http_get.prop_map(|http_get| json!({ "httpGet": http_get })),
        1 => vec(text(), 0..3).prop_map(|command| json!({ "exec": { "command": command } })),
    ]
}

fn resources() -> impl Strategy<Value = Value> {
    let amounts = || {
        (
            weighted(0.6, select(&["1", "0.5", "100m", "1.25", "2000m"][..])),
            weighted(0.6, select(&["64Mi", "128M", "1.5Gi", "512000K"][..])),
        )
            .prop_map(|(cpu, memory)| some([("cpu", cpu.map(Value::from)), ("memory", memory.map(Value::from))]))
    };
    (weighted(0.6, amounts()), weighted(0.3, amounts())).prop_map(|(limits, requests)| some([("limits", limits), ("requests", requests)]))
}

fn container() -> impl Strategy<Value = Value> {
    let file = (prop_oneof![4 => text().prop_map(|text| json!({ "content": text, "noExpand": true })), 1 => Just(json!({ "binaryContent": "AAEC" }))], weighted(0.4, select(&["0644", "755", "0000"][..])))
        .prop_map(|(mut file, mode)| {
            file.as_object_mut().unwrap().extend(mode.map(|mode| ("mode".to_owned(), json!(mode))));
            file
        });
    let volume = (weighted(0.3, select(&["a", "a/b", "a/", "a..b", "../a", "ü"][..])), weighted(0.3, any::<bool>())).prop_map(
        |(path, read_only)| {
            some([("source", Some(json!("${resources.v}"))), ("path", path.map(Value::from)), ("readOnly", read_only.map(Value::from))])
        },
    );
    (
        named(&VARIABLES, text().prop_map(|text| json!(text.replace('$', "$$"))), 3),
        named(&PATHS, file, 3),
        named(&PATHS, volume, 1),
        weighted(0.3, vec(text(), 0..3)),
        resources(),
        weighted(0.3, probe()),
        weighted(0.3, probe()),
    )
        .prop_map(|(variables, files, volumes, command, resources, liveness, readiness)| {
            some([
                ("image", Some(json!("ghcr.io/acme/web:1.2_3"))),
                ("variables", Some(variables.into())),
                ("files", Some(files.into())),
                ("volumes", Some(volumes.into())),
                ("command", command.map(|command| json!(command))),
                ("resources", Some(resources)),
                ("livenessProbe", liveness),
                ("readinessProbe", readiness),
            ])
        })
}

fn workload(number: usize) -> impl Strategy<Value = Value> {
    let kind = select(&["Deployment", "Deployment", "StatefulSet", "Job", "CronJob"][..]);
    let name = select(&["w", "w", "w", "9w"][..]).prop_map(move |first| format!("{first}{number}"));
    let annotation = weighted(0.2, (select(&["example.com/x", "a b"][..]), text()));
    (name, kind, annotation, ports(), named(&["main", "a", "9", "b-c"], container(), 2)).prop_map(
        |(name, kind, annotation, ports, mut containers)| {
            containers.entry("main").or_insert_with(|| json!({ "image": "web:1" }));
            let mut annotations = json!({ "k8s.score.dev/kind": kind, "windlass.dev/schedule": "*/5 1-3 * * MON" });
            annotations.as_object_mut().unwrap().extend(annotation.map(|(key, text)| (key.to_owned(), json!(text))));
            json!({
                "apiVersion": "score.dev/v1b1",
                "metadata": { "name": name, "annotations": annotations },
                "service": { "ports": ports },
                "containers": containers,
                "resources": { "v": { "type": "volume" } },
            })
        },
    )
}

#[test]
fn what_planning_lets_through_the_server_takes() {
    let scene = Scene::new("accepted");
    scene.kubectl(&["create", "namespace", &scene.namespace]).unwrap();
    let mut runner = TestRunner::deterministic();
    let (mut manifests, mut refused) = (String::new(), 0);
    for number in 0..CASES {
        let workload = workload(number).new_tree(&mut runner).unwrap().current();
        scene.folder.write("score.yaml", &workload.to_string());
        let rendered = scene.folder.run("render score.yaml");
        match rendered.code {
            0 => manifests.push_str(&format!("{}---\n", rendered.out)),
            65 | 5 => refused += 1,
            code => unreachable!("{code}: {}\n{workload}", rendered.err),
        }
    }
    assert!((CASES / 10..CASES * 2 / 3).contains(&refused), "{refused} of {CASES} are refused");
    let here = format!("  namespace: {}", scene.namespace);
    let manifests: Vec<&str> = manifests.lines().map(|line| if line.starts_with("  namespace: ") { &here } else { line }).collect();
    scene.try_out(&manifests.join("\n")).unwrap();
    scene.kubectl(&["delete", "namespace", &scene.namespace, "--wait=false"]).unwrap();
}
