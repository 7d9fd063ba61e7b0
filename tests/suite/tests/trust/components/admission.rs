//! Components and schemas are admitted once, in a process of their own, before anything of them is used.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use windlass_model::limits;
use windlass_suite::binary::Folder;

const SCORE: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers: { main: { image: x } }
resources: { probe: { type: probe } }
";

const PLATFORM: &str = "
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: probe }
spec: { type: probe, driver: { file: probe.wasm }, inputs: { secret: x }, grants: [] }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: probe }
spec: { outputs: { type: object, additionalProperties: true } }
";

/// A folder with an application that needs a resource of one component, and folders of its own for compiled code and its key.
fn scene(component: &[u8]) -> Folder {
    let scene = Folder::new();
    scene.write("app/score.yaml", SCORE);
    scene.write("platform/platform.yaml", PLATFORM);
    fs::write(scene.path().join("platform/probe.wasm"), component).unwrap();
    scene
}

/// Runs a command line with code and key in folders of the scene.
fn run(scene: &Folder, line: &str) -> (i32, String) {
    let (cache, state) = (scene.path().join("cache"), scene.path().join("state"));
    let variables = [("XDG_CACHE_HOME", cache.to_str().unwrap()), ("XDG_STATE_HOME", state.to_str().unwrap())];
    let ran = scene.run_with(line, &variables);
    (ran.code, format!("{}{}", ran.out, ran.err))
}

/// Makes a component of a module's functions; its inputs schema is given.
fn component(inputs_schema: &str, functions: &str) -> Vec<u8> {
    let escaped = inputs_schema.replace('\\', "\\\\").replace('"', "\\\"");
    let bytes = inputs_schema.len();
    let module = wat::parse_str(format!(
        r#"(module
            (memory (export "memory") 20)
            (global $top (mut i32) (i32.const 1200000))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
                (global.set $top (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            (data (i32.const 2048) "{{\"x-windlass-sealed\":true}}")
            (data (i32.const 4096) "{escaped}")
            (func (export "windlass:driver/resource-definition@0.1.0#describe") (result i32)
                (i32.store (i32.const 1024) (i32.const 2048)) (i32.store (i32.const 1028) (i32.const 26))
                (i32.store (i32.const 1032) (i32.const 4096)) (i32.store (i32.const 1036) (i32.const {bytes}))
                (i32.store (i32.const 1040) (i32.const 2048)) (i32.store (i32.const 1044) (i32.const 26))
                (i32.store (i32.const 1048) (i32.const 2048)) (i32.store (i32.const 1052) (i32.const 26))
                (i32.const 1024))
            (func (export "windlass:driver/resource-definition@0.1.0#define") (param i32) (result i32) (unreachable))
            {functions})"#
    ));
    let mut module = module.unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(windlass_suite::binary::root().join("wit/driver")).unwrap();
    let world = resolve.select_world(&[package], Some("resource-driver")).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
    wit_component::ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

/// Functions with many locals in many nested loops: a compiler needs minutes for them.
fn slow_to_compile(locals: usize, loops: usize) -> String {
    let mut text = format!("(func (param i32) (result i32) (local {})\n", "i32 ".repeat(locals));
    text.push_str(&"loop ".repeat(loops));
    for local in 1..=locals {
        text.push_str(&format!("local.get {local} local.get {} i32.add local.set {local}\n", 1 + (local * 7) % locals));
    }
    text.push_str(&"local.get 0 br_if 0 end\n".repeat(loops));
    text + "local.get 1)\n"
}

/// Every command that reads a component.
const READERS: [&str; 5] = [
    "driver inspect platform/probe.wasm",
    "plan app -e dev --create-env development --platform platform",
    "deploy app -e dev --create-env development --platform platform --yes",
    "platform apply platform",
    "platform diff platform -e dev",
];

#[test]
fn a_component_that_compiles_for_minutes_is_refused_with_the_limit() {
    let scene = scene(&component("true", &slow_to_compile(5_000, 200)));
    let started = Instant::now();
    let (code, text) = run(&scene, READERS[0]);
    assert_ne!(code, 0, "{text}");
    assert!(text.contains("probe.wasm"), "{text}");
    assert!(text.contains("passed the limit `admission "), "{text}");
    assert!(started.elapsed() < limits::ADMISSION_TIME_MAX + Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn schemas_without_bounds_are_refused_by_every_command() {
    let mut definitions = Vec::new();
    for link in 0..40 {
        let next = link + 1;
        definitions.push(format!(r##""a{link}": {{ "allOf": [{{ "$ref": "#/$defs/a{next}" }}, {{ "$ref": "#/$defs/a{next}" }}] }}"##));
    }
    let schema = format!(r##"{{ "$ref": "#/$defs/a0", "$defs": {{ {}, "a40": {{ "type": "object" }} }} }}"##, definitions.join(", "));
    let scene = scene(&component(&schema, ""));
    for reader in READERS {
        let started = Instant::now();
        let (code, text) = run(&scene, reader);
        assert_ne!(code, 0, "{reader}: {text}");
        assert!(text.contains("passes the limit `schema steps for one value` of 2000"), "{reader}: {text}");
        assert!(text.contains("probe.wasm"), "{reader}: {text}");
        assert!(started.elapsed() < Duration::from_mins(1), "{reader}: {:?}", started.elapsed());
    }
}

#[test]
fn every_kind_of_endless_or_backtracking_schema_is_refused() {
    for (schema, reason) in [
        (r##"{ "$anchor": "a", "allOf": [{ "$ref": "#a" }] }"##, "`$anchor` at `#` is not supported"),
        (r##"{ "$dynamicAnchor": "a", "allOf": [{ "$dynamicRef": "#a" }] }"##, "`$dynamicAnchor` at `#` is not supported"),
        (
            r#"{ "$id": "https://x.example/s", "allOf": [{ "$ref": "https://x.example/s" }] }"#,
            "the reference `https://x.example/s` is not supported",
        ),
        (r##"{ "$ref": "#/%24defs/A", "$defs": { "A": { "$ref": "#/$defs/A" } } }"##, "the reference `#/%24defs/A` is not supported"),
        (r##"{ "allOf": [{ "items": { "$ref": "#" } }, { "items": { "$ref": "#" } }] }"##, "more than once for one value"),
        (r##"{ "x-windlass-sealed": true, "dependentSchemas": { "secret": { "$ref": "#" } } }"##, "refers to itself without end"),
        (r#"{ "properties": { "secret": { "type": "string", "pattern": "^(?!hun)" } } }"#, "\"^(?!hun)\" is not a \"regex\""),
        (r#"{ "patternProperties": { "^(?=s)": true } }"#, "is not a \"regex\""),
    ] {
        let (code, text) = run(&scene(&component(schema, "")), READERS[0]);
        assert_ne!(code, 0, "{schema}: {text}");
        assert!(text.contains(reason), "{schema}: {text}");
    }
}

#[test]
fn schemas_of_resource_types_are_bounded_and_linear_too() {
    for (schema, reason) in [
        (r##"{ allOf: [{ $ref: "#" }] }"##, "refers to itself without end"),
        (r#"{ type: object, properties: { value: { type: string, pattern: "^(?!hun)" } } }"#, "is not a \"regex\""),
    ] {
        let scene = scene(&component("true", ""));
        let platform = PLATFORM.replace("outputs: { type: object, additionalProperties: true }", &format!("outputs: {schema}"));
        scene.write("platform/platform.yaml", &platform);
        for reader in ["platform apply platform", "validate platform"] {
            let (code, text) = run(&scene, reader);
            assert_ne!(code, 0, "{reader}: {text}");
            assert!(text.contains(reason), "{reader}: {text}");
        }
    }
}

#[test]
fn an_admission_is_kept_and_asked_for_once() {
    let scene = scene(&component("true", ""));
    let (code, first) = run(&scene, READERS[0]);
    assert_eq!(code, 0, "{first}");
    let code = scene.path().join("cache/windlass/code");
    let kept = || fs::read_dir(&code).unwrap().count();
    assert_eq!(kept(), 2, "code and facts");
    assert_eq!(run(&scene, READERS[0]), (0, first));
    assert_eq!(kept(), 2);
}

#[test]
fn compiled_code_in_a_folder_of_others_is_neither_read_nor_written() {
    let scene = scene(&component("true", ""));
    let shared = scene.path().join("cache/windlass/code");
    fs::create_dir_all(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    let (code, text) = run(&scene, READERS[0]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(fs::read_dir(&shared).unwrap().count(), 0);
}

#[test]
fn compiled_code_of_another_installation_is_replaced() {
    let bytes = component("true", "");
    let (theirs, ours) = (scene(&bytes), scene(&bytes));
    assert_eq!(run(&theirs, READERS[0]).0, 0);
    // The whole cache of another user, with a key that vouches for it.
    ours.copy_from(theirs.path());
    fs::remove_dir_all(ours.path().join("state")).unwrap();
    let (code, text) = run(&ours, READERS[0]);
    assert_eq!(code, 0, "{text}");
    let mut compared = 0;
    for entry in fs::read_dir(theirs.path().join("cache/windlass/code")).unwrap() {
        let path = entry.unwrap().path();
        let own = ours.path().join("cache/windlass/code").join(path.file_name().unwrap());
        assert_ne!(fs::read(&path).unwrap(), fs::read(own).unwrap(), "{}", path.display());
        compared += 1;
    }
    assert_eq!(compared, 2, "code and facts");
}

#[test]
fn the_admitting_process_dies_with_its_parent() {
    let scene = scene(&component("true", &slow_to_compile(5_000, 200)));
    let mut parent = scene.command(&["driver", "inspect", "platform/probe.wasm"]);
    parent
        .env("XDG_CACHE_HOME", scene.path().join("cache"))
        .env("XDG_STATE_HOME", scene.path().join("state"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut parent = parent.spawn().unwrap();
    let children = || {
        let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &parent.id().to_string()]).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    let child = loop {
        match children().first() {
            Some(child) => break child.clone(),
            None if Instant::now() > deadline => panic!("no process was started"),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    // The child sets its limits before it reads the component.
    std::thread::sleep(Duration::from_secs(2));
    parent.kill().unwrap();
    parent.wait().unwrap();
    let alive = || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while alive() {
        assert!(Instant::now() < deadline, "the child outlives its parent");
        std::thread::sleep(Duration::from_millis(20));
    }
}
