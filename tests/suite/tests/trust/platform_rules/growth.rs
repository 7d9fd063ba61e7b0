//! Graphs and texts that grow without an end are refused while they grow, with the path.

use windlass_suite::binary::Folder;

const SCORE: &str = "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"x:1\" } }\nresources: { probe: { type: probe } }\n";

fn refused(definitions: &str) -> String {
    let folder = Folder::new();
    folder.write("app/score.yaml", SCORE);
    folder.write("platform/p.yaml", definitions);
    let ran = folder.run("plan app -e dev --create-env development --app shop --platform platform");
    assert_ne!(ran.code, 0, "{}", ran.out);
    ran.err
}

fn definition(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: {name} }}\nspec: {{ type: {name}, driver: {{ builtin: dns-static }}, inputs: {{ domain: x }}, {spec} }}\n"
    )
}

#[test]
fn a_type_that_needs_itself_is_refused_with_the_path() {
    let twice = refused(&definition("probe", "resources: { a: { type: probe }, b: { type: probe } }"));
    assert!(twice.contains("more than 1000 resources because of `probe.default#web.probe`: probe.default#web.probe -> b -> b"), "{twice}");
    let once = refused(&definition("probe", "resources: { a: { type: probe } }"));
    assert!(once.contains("more than 32 levels deep: probe.default#web.probe -> a -> a -> a -> a -> … -> a -> a -> a -> a"), "{once}");
}

#[test]
fn types_that_provision_each_other_are_refused_with_the_path() {
    let all = definition("probe", "provisions: { a: { type: other }, b: { type: other } }")
        + &definition("other", "provisions: { c: { type: probe } }");
    let refused = refused(&all);
    assert!(refused.contains("because of `probe.default#web.probe`: probe.default#web.probe -> b -> c"), "{refused}");
}

#[test]
fn text_that_doubles_at_each_level_is_refused() {
    let level = |index: usize| {
        let (name, needs) = (if index == 0 { "probe".to_owned() } else { format!("d{index}") }, index + 1);
        format!(
            "---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: {name} }}\nspec: {{ type: {name}, driver: {{ builtin: template }}, resources: {{ n: {{ type: d{needs} }} }}, inputs: {{ values: \"${{resources.n.text}}${{resources.n.text}}\", outputs: {{ text: \"{{{{ values }}}}\" }} }}, grants: [{{ import: windlass:kubernetes/objects, kinds: [] }}, {{ import: windlass:secrets/generated }}] }}\n"
        )
    };
    let last = format!(
        "---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: last }}\nspec: {{ type: d12, driver: {{ builtin: template }}, inputs: {{ outputs: {{ text: \"{}\" }} }}, grants: [{{ import: windlass:kubernetes/objects, kinds: [] }}, {{ import: windlass:secrets/generated }}] }}\n",
        "x".repeat(50_000)
    );
    let refused = refused(&((0..12).map(level).collect::<String>() + &last));
    assert!(refused.contains("passes the limit `sealed text bytes` of 1048576 when its placeholders are put in"), "{refused}");
}
