//! No text of a document, a driver or a server acts on the terminal or the CI log in which it is shown.

use windlass_suite::binary::{Folder, Ran, application_document, components};

/// Every control and direction character that a YAML document can hold in a quoted scalar, and the forged lines of CI services.
fn hostile() -> String {
    let controls = (0x01..=0x1Fu32).chain(0x7F..=0x9F).chain([0x061C, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF]);
    let directions = (0x202A..=0x202E).chain(0x2060..=0x2069);
    let escaped: String = controls.chain(directions).map(|code| format!("\\u{code:04x}")).collect();
    format!("x{escaped}\\e]0;title\\a\\n::add-mask::y\\n##[group]z\\r\\n")
}

/// What must not be in any text for people or machines, and how each line may not begin.
fn assert_harmless(place: &str, line: &str, ran: &Ran) {
    for (stream, text) in [("stdout", &ran.out), ("stderr", &ran.err)] {
        for c in text.chars() {
            let is_direction = matches!(c, '\u{61C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}');
            assert!(c == '\n' || !(c.is_control() || is_direction), "{place}: `{line}` writes {c:?} to {stream}:\n{text:?}");
        }
        let forged = text.lines().find(|line| line.trim_start().starts_with("::") || line.contains("##["));
        assert_eq!(forged, None, "{place}: `{line}` on {stream}:\n{text}");
    }
}

/// Places of documents into which a developer or a platform team can write any text.
const SCORE: &str = "\
apiVersion: score.dev/v1b1
metadata: { name: web, annotations: { example.com/note: \"@annotation\" } }
service: { ports: { http: { port: 80, targetPort: 8080 } } }
containers:
  main:
    image: \"@image\"
    command: [\"@command\"]
    variables: { VALUE: \"@value\", \"@variable\": x }
    files: { \"@target\": { content: \"@content\" } }
    volumes: { \"@mount\": { source: \"@source\" } }
resources:
  env: { type: environment }
  \"@alias\": { type: \"@type\", class: \"@class\", id: \"@id\", params: { \"@param\": \"@argument\" }, metadata: { \"@key\": 1 } }
";

/// Lines that exist for one of the places only.
const PLACES: [&str; 17] = [
    "@annotation",
    "@image",
    "@command",
    "@value",
    "@variable",
    "@target",
    "@content",
    "@mount",
    "@source",
    "@alias",
    "@type",
    "@class",
    "@id",
    "@param",
    "@argument",
    "@key",
    "@nothing",
];

const COMMANDS: [&str; 13] = [
    "validate app",
    "plan app -e dev --create-env development",
    "plan app -e dev --create-env development -o json",
    "plan app -e dev --create-env development -o yaml",
    "render app",
    "graph app -e dev --type development --format dot",
    "graph app -e dev --type development --format mermaid",
    "deploy app -e dev --create-env development --yes",
    "status -e dev",
    "events -e dev",
    "events -e dev -o json",
    "env show -e dev -o yaml",
    "explain workload/web -e dev",
];

/// Writes the document with hostile text in one place and harmless text, or nothing, in the others.
fn document(place: &str) -> String {
    let needed = |line: &str| match PLACES.iter().filter(|known| line.contains(**known)).count() {
        0 => true,
        _ if line.contains("@alias") => ["@alias", "@type", "@class", "@id", "@param", "@argument", "@key"].contains(&place),
        _ if line.contains("@mount") => ["@mount", "@source"].contains(&place),
        _ => true,
    };
    let harmless = [
        ("@type", "volume"),
        ("@class", "default"),
        ("@source", "${resources.env}"),
        ("@target", "/etc/x"),
        ("@mount", "/data"),
        ("@variable", "OTHER"),
        ("@image", "web:1"),
    ];
    let text: String = SCORE.lines().filter(|line| needed(line)).map(|line| format!("{line}\n")).collect();
    let text = text.replace(place, &hostile());
    let text = harmless.iter().fold(text, |text, (name, value)| text.replace(name, value));
    PLACES.iter().fold(text, |text, name| text.replace(name, &name.replace('@', "")))
}

#[test]
fn no_command_lets_text_of_a_score_file_act() {
    let mut deployed = 0;
    for place in PLACES {
        let folder = Folder::new();
        folder.write("app/application.yaml", &application_document("shop"));
        folder.write("app/web.score.yaml", &document(place));
        for command in COMMANDS {
            let ran = folder.run(command);
            assert_harmless(place, command, &ran);
            deployed += usize::from(command.starts_with("deploy") && ran.code == 0);
        }
    }
    assert!(deployed >= 4, "hostile text arrived in {deployed} deployments only");
}

const PLATFORM: &str = "\
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: probe }
spec: { outputs: { type: object, description: \"@description\", properties: { \"@output\": { type: string } } } }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: probe, annotations: { \"@label\": x } }
spec:
  type: probe
  driver: { file: escape-schema.wasm }
  inputs: { \"@input\": \"@value\", \"a\\e[2Jb\": y }
---
apiVersion: windlass.dev/v1alpha1
kind: Connection
metadata: { name: cluster }
spec: { capability: kubernetes, kubernetes: { context: \"@context\" }, match: [ { environment: \"@match\" } ] }
";

#[test]
fn no_command_lets_text_of_a_platform_or_a_driver_act() {
    for place in ["@description", "@output", "@label", "@input", "@value", "@context", "@match", "@nothing"] {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.path().join("platform")).unwrap();
        std::fs::copy(components().join("guests/escape-schema.wasm"), folder.path().join("platform/escape-schema.wasm")).unwrap();
        let text = PLATFORM.replace(place, &hostile());
        let names = ["@description", "@output", "@label", "@input", "@value", "@context", "@match"];
        folder.write("platform/platform.yaml", &names.iter().fold(text, |text, name| text.replace(name, &name.replace('@', ""))));
        folder.write("app/application.yaml", &application_document("shop"));
        folder.write("app/web.score.yaml", "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: web:1 } }\nresources: { probe: { type: probe } }\n");
        for command in [
            "driver inspect platform/escape-schema.wasm",
            "driver inspect platform/escape-schema.wasm -o json",
            "driver inspect platform/escape-schema.wasm -o yaml",
            "plan app -e dev --create-env development --platform platform",
            "platform apply platform",
            "platform list",
            "platform show probe",
            "platform show cluster",
            "platform diff platform",
            "plan app -e dev --create-env development",
            "deploy app -e dev --create-env development --yes",
            "explain probe#web.probe -e dev",
        ] {
            assert_harmless(place, command, &folder.run(command));
        }
    }
}

#[test]
fn a_problem_shows_the_line_of_a_document_without_what_acts_in_it() {
    let folder = Folder::new();
    folder.write("web.score.yaml", "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: x, imagine: \"\u{9b}31m\u{202e}\" } } # \u{2066}\n");
    let ran = folder.run("validate web.score.yaml");
    assert_harmless("comment", "validate", &ran);
    assert!(ran.err.contains("imagine: \""), "{}", ran.err);
}

#[test]
fn names_of_files_do_not_act() {
    let folder = Folder::new();
    folder.write("we\u{1b}[2J\n::add-mask::x.score.yaml", "apiVersion: score.dev/v1b1\nmetadata: {}\n");
    for line in ["validate .", "plan . -e dev --create-env development", "driver inspect x\u{1b}[2J.wasm"] {
        assert_harmless("file name", line, &folder.run(line));
    }
}
