//! What is stored is acted on only if it can be read back, and was written under the installation's key.

use windlass_suite::binary::{Folder, application_document, components};

const WEB: &str = "\
apiVersion: score.dev/v1b1
metadata: { name: web }
containers: { main: { image: \"web:1\" } }
";

fn application() -> Folder {
    let folder = Folder::new();
    folder.write("shop/windlass.yaml", &application_document("shop"));
    folder.write("shop/web.score.yaml", WEB);
    folder
}

#[test]
fn a_store_is_refused_under_another_key_and_without_its_key() {
    let folder = application();
    folder.ok("deploy shop -e dev --create-env development --yes");
    let key = folder.read(".windlass/key");
    std::fs::remove_file(folder.path().join(".windlass/key")).unwrap();
    let missing = folder.run("plan shop -e dev");
    assert_eq!(missing.code, 1, "{}", missing.err);
    assert!(missing.err.contains("key is missing") && missing.err.contains("--key-file"), "{}", missing.err);
    assert!(!folder.path().join(".windlass/key").exists(), "no new key takes its place");
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for line in ["plan shop -e dev", "deploy shop -e dev --yes", "destroy -e dev --yes", "env list", "history -e dev", "drift -e dev"] {
        let refused = folder.run_with(line, &[("WINDLASS_KEY", other)]);
        assert_eq!(refused.code, 1, "{line}: {}", refused.err);
        assert!(refused.err.contains("does not verify under the key"), "{line}: {}", refused.err);
    }
    assert_eq!(folder.run_with("plan shop -e dev --detailed-exitcode", &[("WINDLASS_KEY", key.trim())]).code, 0);
}

#[test]
fn a_value_that_could_not_be_read_back_breaks_no_environment() {
    let folder = application();
    folder.ok("deploy shop -e dev --create-env development --yes");
    std::fs::create_dir_all(folder.path().join("given")).unwrap();
    std::fs::copy(components().join("guests/nested-sealed.wasm"), folder.path().join("given/nested.wasm")).unwrap();
    let definition = |levels: usize| {
        let text = format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: nested }}\nspec:\n  type: nested\n  driver: {{ file: nested.wasm }}\n  resources: {{ env: {{ type: environment }} }}\n  inputs: {{ levels: \"{levels}\", secret: \"${{resources.env.KEY}}\" }}\n  grants: [{{ import: windlass:kubernetes/objects, kinds: [v1/Secret] }}]\n"
        );
        folder.write("given/p.yaml", &text);
    };
    folder.write("shop/web.score.yaml", &format!("{WEB}resources: {{ nested: {{ type: nested }} }}\n"));
    folder.ok("env create test --type development --app shop");
    assert_eq!(folder.pipe("secret set KEY -e test", "hunter2").code, 0);
    for levels in [25, 60, 100, 500] {
        definition(levels);
        let refused = folder.run("deploy shop -e test --platform given --yes");
        assert_ne!(refused.code, 0, "{levels} levels: {}", refused.out);
        assert!(!refused.err.contains("recursion limit") && !refused.err.contains("panicked"), "{}", refused.err);
        assert!(!folder.files(".windlass/manifests").keys().any(|name| name.contains("nested")), "{levels} levels");
        for line in ["explain workload/web -e dev", "env show -e dev", "platform diff given", "plan --destroy -e dev", "graph -e dev"] {
            folder.ok(line);
        }
    }
    definition(3);
    folder.ok("deploy shop -e test --platform given --yes");
    let secret = folder.files(".windlass/manifests").into_iter().find(|(name, _)| name.contains("nested")).unwrap().1;
    assert!(secret.contains("WVVoV2RXUkhWbmxOWnowOQ=="), "{secret}");
    folder.ok("destroy -e test --yes");
}
