//! Hostile components: each contained with a finding that names driver, digest and limit, while others plan on.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure here is the test's")]

use std::{fs, path::Path};

use windlass_suite::world::World;

const APPLICATION: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers: { main: { image: x } }
resources:
  env: { type: environment }
  probe: { type: probe, params: {} }
";

/// Documents in which a type `probe` is made by one component.
fn documents(folder: &Path, component: &str, grants: &str) {
    fs::create_dir_all(folder.join("app")).unwrap();
    fs::create_dir_all(folder.join("platform")).unwrap();
    fs::write(folder.join("app/score.yaml"), APPLICATION).unwrap();
    fs::write(
        folder.join("platform/platform.yaml"),
        format!(
            "apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: {{ name: probe }}
spec:
  type: probe
  driver: {{ file: {component}.wasm }}
  inputs: {{ secret: \"${{resources.env.API_KEY}}\" }}
  resources: {{ env: {{ type: environment }} }}
  grants: [{grants}]
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: {{ name: probe }}
spec:
  outputs: {{ type: object, additionalProperties: false, properties: {{ value: {{ type: string }}, port: {{ type: integer }}, secret: {{ type: string, x-windlass-secret: true }} }} }}
---
apiVersion: windlass.dev/v1alpha1
kind: Connection
metadata: {{ name: cluster }}
spec: {{ capability: kubernetes, kubernetes: {{ context: test }} }}
"
        ),
    )
    .unwrap();
}

const OBJECTS: &str = "{ import: windlass:kubernetes/objects, kinds: [v1/ConfigMap, v1/Secret, apps/v1/Deployment] }";
const OBJECTS_AND_SECRETS: &str = "{ import: windlass:kubernetes/objects, kinds: [v1/ConfigMap] }, { import: windlass:secrets/generated }";

fn findings(world: &World, component: &str, grants: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path(), component, grants);
    let mut input = world.input(folder.path());
    input.secrets.insert("env/API_KEY".into(), 1);
    world.findings(&input)
}

#[test]
fn each_is_contained_and_named() {
    let world = World::new();
    let guests: Vec<String> =
        world.digests.keys().filter_map(|name| name.strip_prefix("file:")?.strip_suffix(".wasm")).map(str::to_owned).collect();
    assert!(guests.len() >= 28, "{guests:?}");
    let mut table = std::collections::BTreeMap::new();
    for guest in &guests {
        let grants = match guest.as_str() {
            "ungranted-import" => "",
            // It asks for what its inputs say: nothing here.
            "costs" => OBJECTS_AND_SECRETS,
            _ => OBJECTS,
        };
        let found = findings(&world, guest, grants);
        assert_eq!(
            found.is_empty(),
            matches!(guest.as_str(), "honest" | "counter" | "costs" | "deferred-output" | "nested-sealed" | "strict-input"),
            "{guest}: {found:?}"
        );
        table.insert(guest.clone(), found);
        // Whoever comes next is not disturbed.
        assert!(findings(&world, "honest", OBJECTS).is_empty(), "after {guest}");
    }
    insta::assert_json_snapshot!(table);
}

#[test]
fn others_plan_on_while_one_spins() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path(), "honest", OBJECTS);
    let mut input = world.input(folder.path());
    input.secrets.insert("env/API_KEY".into(), 1);
    let expected = world.plan(&input).plan.unwrap();
    std::thread::scope(|scope| {
        let spinning = scope.spawn(|| findings(&world, "endless-loop", OBJECTS));
        let mut honest = 0;
        while !spinning.is_finished() {
            assert_eq!(world.plan(&input).plan.as_ref(), Some(&expected));
            honest += 1;
        }
        assert!(honest > 3, "honest plans went on: {honest}");
        assert!(spinning.join().unwrap()[0].contains("`call time`"));
    });
}

#[test]
fn an_instance_remembers_nothing() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path(), "counter", OBJECTS);
    let input = world.input(folder.path());
    let mut input = input;
    input.secrets.insert("env/API_KEY".into(), 1);
    for _ in 0..50 {
        let plan = world.plan(&input).plan.unwrap();
        let node = plan.nodes().find(|node| node.key.to_string().starts_with("probe")).unwrap();
        assert_eq!(node.outputs["value"], "call 1");
    }
}

/// A component written by hand: what no Rust compiler emits.
fn by_hand(define: &str) -> Vec<u8> {
    let module = wat::parse_str(format!(
        r#"(module
            (memory (export "memory") 2)
            (table $table 1 funcref)
            (global $top (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
                (global.set $top (local.get $at))
                (global.set $top (i32.add (global.get $top) (local.get 3)))
                (local.get $at))
            (data (i32.const 2048) "{{\"x-windlass-sealed\":true}}")
            (func (export "windlass:driver/resource-definition@0.1.0#describe") (result i32)
                (i32.store (i32.const 1024) (i32.const 2048)) (i32.store (i32.const 1028) (i32.const 26))
                (i32.store (i32.const 1032) (i32.const 2048)) (i32.store (i32.const 1036) (i32.const 26))
                (i32.store (i32.const 1040) (i32.const 2048)) (i32.store (i32.const 1044) (i32.const 26))
                (i32.store (i32.const 1048) (i32.const 2048)) (i32.store (i32.const 1052) (i32.const 26))
                (i32.const 1024))
            (func (export "windlass:driver/resource-definition@0.1.0#define") (param i32) (result i32)
                {define}
                (unreachable))
        )"#
    ))
    .unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(windlass_suite::binary::root().join("wit/driver")).unwrap();
    let world = resolve.select_world(&[package], Some("resource-driver")).unwrap();
    let mut module = module;
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
    wit_component::ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

#[test]
fn tables_answers_and_files_that_no_compiler_emits() {
    let mut world = World::new();
    for (name, bytes) in [
        ("table_bomb", by_hand("(loop $again (drop (table.grow $table (ref.null func) (i32.const 1000))) (br $again))")),
        (
            "huge_pointer",
            by_hand(
                "(i32.store (i32.const 1024) (i32.const 0)) (i32.store (i32.const 1028) (i32.const 2147483647)) (i32.store (i32.const 1032) (i32.const 2147483647)) (return (i32.const 1024))",
            ),
        ),
        ("grow_memory", by_hand("(loop $again (drop (memory.grow (i32.const 16))) (br $again))")),
        ("bad_discriminant", by_hand("(i32.store (i32.const 1024) (i32.const 77)) (return (i32.const 1024))")),
        ("wrong_world", b"\0asm\x0d\0\x01\0".to_vec()),
        ("core_module", b"\0asm\x01\0\0\0".to_vec()),
        ("random_bytes", b"this is no component at all".to_vec()),
        ("truncated", by_hand("").split_at(200).0.to_vec()),
    ] {
        world.add(&format!("file:{name}.wasm"), bytes);
        let found = findings(&world, name, OBJECTS);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        insta::assert_snapshot!(name, found[0]);
    }
}

#[test]
fn a_deferred_value_passes_where_it_may_be_sealed_and_stages_what_must_know_it() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path(), "deferred-output", OBJECTS);
    fs::write(
        folder.path().join("app/score.yaml"),
        APPLICATION.replace(
            "containers: { main: { image: x } }",
            "containers: { main: { image: x, variables: { LB: \"http://${resources.probe.value}\" } } }",
        ),
    )
    .unwrap();
    let mut input = world.input(folder.path());
    input.secrets.insert("env/API_KEY".into(), 1);
    let plan = world.plan(&input).plan.unwrap();
    let values = plan.actions().find(|action| action.identity.contains("ConfigMap") && action.identity.contains("web")).unwrap();
    assert_eq!(
        windlass_model::sealed::displayed(&values.spec.to_value()["data"]["main.env.LB"]),
        "http://«deferred probe.default#web.probe:object/config./status/ip»"
    );
    assert!(values.depends_on.iter().any(|id| id.as_str() == "probe.default#web.probe:object/config"), "data is an edge");
    // `dns-static` must read its host.
    let dns = "---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: dns }\nspec:\n  type: dns\n  driver: { builtin: dns-static }\n  resources: { lb: { type: probe } }\n  inputs: { host: \"${resources.lb.value}\" }\n";
    let platform = folder.path().join("platform/platform.yaml");
    fs::write(&platform, fs::read_to_string(&platform).unwrap() + dns).unwrap();
    fs::write(folder.path().join("app/score.yaml"), APPLICATION.replace("  probe: { type: probe, params: {} }", "  dns: { type: dns }"))
        .unwrap();
    let mut input = world.input(folder.path());
    input.secrets.insert("env/API_KEY".into(), 1);
    let plan = world.plan(&input).plan.unwrap();
    assert!(plan.actions().all(|action| !action.id.as_str().starts_with("dns")), "it is planned in a later stage");
    let lacking: Vec<String> = windlass_engine::plan::incomplete(&plan).into_iter().map(|problem| problem.message).collect();
    assert_eq!(
        lacking,
        [
            "`dns.default#web.dns` needs `/spec/inputs/host`, known only after `probe.default#dns.web.dns.lb:object/config` is ready (`/status/ip`)"
        ]
    );
    // A secret there is an error that names the field.
    fs::write(
        &platform,
        fs::read_to_string(&platform)
            .unwrap()
            .replace("resources: { lb: { type: probe } }", "resources: { env: { type: environment } }")
            .replace("${resources.lb.value}", "${resources.env.API_KEY}"),
    )
    .unwrap();
    let mut input = world.input(folder.path());
    input.secrets.insert("env/API_KEY".into(), 1);
    assert_eq!(
        world.findings(&input),
        [
            "secret-in-open-field ResourceDefinition/dns: a secret can't stand in this field: the driver must read it (at `/spec/inputs/host`)"
        ]
    );
}

/// A driver that asks WASI for the time and for randomness, and answers with the random number's digits.
fn asks_wasi() -> Vec<u8> {
    let module = wat::parse_str(
        r#"(module
            (import "wasi:clocks/wall-clock@0.2.0" "now" (func $now (param i32)))
            (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
            (memory (export "memory") 2)
            (global $top (mut i32) (i32.const 8192))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
                (global.set $top (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            (data (i32.const 2048) "{\"x-windlass-sealed\":true}")
            (data (i32.const 3072) "{\"value\":\"0000000000000000\"}")
            (func (export "windlass:driver/resource-definition@0.1.0#describe") (result i32)
                (i32.store (i32.const 1024) (i32.const 2048)) (i32.store (i32.const 1028) (i32.const 26))
                (i32.store (i32.const 1032) (i32.const 2048)) (i32.store (i32.const 1036) (i32.const 26))
                (i32.store (i32.const 1040) (i32.const 2048)) (i32.store (i32.const 1044) (i32.const 26))
                (i32.store (i32.const 1048) (i32.const 2048)) (i32.store (i32.const 1052) (i32.const 26))
                (i32.const 1024))
            (func (export "windlass:driver/resource-definition@0.1.0#define") (param i32) (result i32)
                (local $value i64) (local $index i32)
                (call $now (i32.const 4096))
                (if (i64.ne (i64.load (i32.const 4096)) (i64.const 0)) (then (unreachable)))
                (local.set $value (call $random))
                (loop $digits
                    (i32.store8 (i32.add (i32.const 3082) (local.get $index)) (i32.add (i32.const 97) (i32.and (i32.wrap_i64 (local.get $value)) (i32.const 15))))
                    (local.set $value (i64.shr_u (local.get $value) (i64.const 4)))
                    (local.set $index (i32.add (local.get $index) (i32.const 1)))
                    (br_if $digits (i32.lt_u (local.get $index) (i32.const 16))))
                (i32.store8 (i32.const 1024) (i32.const 0))
                (i32.store (i32.const 1028) (i32.const 3072)) (i32.store (i32.const 1032) (i32.const 28))
                (i32.store (i32.const 1036) (i32.const 4)) (i32.store (i32.const 1040) (i32.const 0))
                (i32.const 1024))
        )"#,
    )
    .unwrap();
    let mut resolve = wit_parser::Resolve::default();
    resolve.push_dir(windlass_suite::binary::root().join("wit/driver")).unwrap();
    let clocks =
        "package wasi:clocks@0.2.0; interface wall-clock { record datetime { seconds: u64, nanoseconds: u32 } now: func() -> datetime; }";
    resolve.push_str("clocks.wit", clocks).unwrap();
    resolve.push_str("random.wit", "package wasi:random@0.2.0; interface random { get-random-u64: func() -> u64; }").unwrap();
    let world = "package test:wasi; world asks { import wasi:clocks/wall-clock@0.2.0; import wasi:random/random@0.2.0; export windlass:driver/resource-definition@0.1.0; }";
    let package = resolve.push_str("world.wit", world).unwrap();
    let world = resolve.select_world(&[package], Some("asks")).unwrap();
    let mut module = module;
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
    wit_component::ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

#[test]
fn wasi_is_there_with_nothing_behind_it() {
    let mut world = World::new();
    world.add("file:asks-wasi.wasm", asks_wasi());
    let value = |key: &str| {
        let folder = tempfile::tempdir().unwrap();
        documents(folder.path(), "asks-wasi", "");
        fs::write(folder.path().join("app/score.yaml"), APPLICATION.replace("  probe: {", &format!("  {key}: {{"))).unwrap();
        let mut input = world.input(folder.path());
        input.secrets.insert("env/API_KEY".into(), 1);
        let output = world.plan(&input);
        let plan = output.plan.unwrap_or_else(|| panic!("{:#?}", output.diagnostics));
        plan.nodes().find(|node| node.key.to_string().starts_with("probe")).unwrap().outputs["value"].clone()
    };
    // No grant is needed; equal requests draw equal numbers, others draw others.
    assert_eq!(value("one"), value("one"));
    assert_ne!(value("one"), value("two"));
}

/// A component with further core instances of one more module, as toolchains with shared libraries emit them.
fn padded(component: &[u8], module: &str, instances: u8) -> Vec<u8> {
    let mut depth = 0;
    let mut modules = 0;
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            wasmparser::Payload::ModuleSection { .. } => {
                modules += u8::from(depth == 0);
                depth += 1;
            }
            wasmparser::Payload::ComponentSection { .. } => depth += 1,
            wasmparser::Payload::End(_) => depth -= 1,
            _ => {}
        }
    }
    let section = |id: u8, content: Vec<u8>| {
        let (low, high) = (content.len() % 128, content.len() / 128);
        [vec![id, 0x80 | u8::try_from(low).unwrap(), u8::try_from(high).unwrap()], content].concat()
    };
    let module = wat::parse_str(module).unwrap();
    let instance = [0x00, modules, 0x00];
    let list = [vec![instances], instance.repeat(instances.into())].concat();
    [component.to_vec(), section(1, module), section(2, list)].concat()
}

/// A component that does its work, and has nothing of its own beside it.
fn honest() -> Vec<u8> {
    fs::read(windlass_suite::binary::components().join("guests/honest.wasm")).unwrap()
}

#[test]
fn calls_wait_for_a_place_where_components_have_many_instances() {
    let mut world = World::new();
    world.add("file:many.wasm", padded(&honest(), "(module)", 60));
    let folder = tempfile::tempdir().unwrap();
    documents(folder.path(), "many", OBJECTS);
    let probes: String = (0..40).map(|index| format!("  p{index}: {{ type: probe }}\n")).collect();
    fs::write(folder.path().join("app/score.yaml"), format!("{APPLICATION}{probes}")).unwrap();
    let mut input = world.input(folder.path());
    input.secrets.insert("env/API_KEY".into(), 1);
    assert_eq!(world.findings(&input), [""; 0]);
    world.add("file:too-many.wasm", padded(&honest(), "(module)", 64));
    let found = findings(&world, "too-many", OBJECTS);
    assert!(found.len() == 1 && found[0].contains("64"), "{found:?}");
}

#[test]
fn toolchains_may_use_several_memories_and_tail_calls() {
    let mut world = World::new();
    for (name, module) in [
        ("memories", "(module (memory 1) (memory 1) (func (memory.copy 0 1 (i32.const 0) (i32.const 0) (i32.const 1))))"),
        ("tails", "(module (func $f (param i32) (result i32) (return_call $f (local.get 0))))"),
    ] {
        world.add(&format!("file:{name}.wasm"), padded(&honest(), module, 1));
        assert_eq!(findings(&world, name, OBJECTS), [""; 0], "{name}");
    }
}
