//! Address space: a command runs where a process may reserve little of it, and drivers of third parties are admitted there, too.

use windlass_suite::binary::{Folder, application_document, components};

const NOTE: &str = "may not reserve much address space";

#[test]
fn commands_run_where_little_address_space_is_left() {
    let folder = Folder::new();
    folder.write("app/application.yaml", &application_document("app"));
    folder.write(
        "app/score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"x:1\", variables: { V: \"${resources.probe.value}\" } } }\nresources: { probe: { type: probe } }\n",
    );
    std::fs::create_dir_all(folder.path().join("platform")).unwrap();
    std::fs::copy(components().join("guests/counter.wasm"), folder.path().join("platform/counter.wasm")).unwrap();
    folder.write(
        "platform/platform.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: probe }\nspec:\n  type: probe\n  driver: { file: counter.wasm }\n  grants: [{ import: windlass:kubernetes/objects, kinds: [v1/ConfigMap] }]\n",
    );
    let scarce = ["bash", "-c", "ulimit -v 2000000; exec \"$@\"", "bash"];
    for line in ["env create dev --type development --app app", "platform apply platform", "deploy app -e dev --yes"] {
        let ran = folder.run_under(&scarce, line, &[]);
        assert_eq!(ran.code, 0, "{line}: {}{}", ran.out, ran.err);
    }
    let ample = folder.ok("plan app -e dev -o json");
    let scarcely = folder.run_under(&scarce, "plan app -e dev -o json", &[]);
    assert_eq!(ample.out, scarcely.out, "the same plan, of other machine code");
    assert!(!ample.err.contains(NOTE), "{}", ample.err);
    // Nothing is set up for commands that call no driver.
    let listed = folder.run_under(&scarce, "env list", &[]);
    assert!(listed.code == 0 && !listed.err.contains(NOTE), "{}", listed.err);
}
