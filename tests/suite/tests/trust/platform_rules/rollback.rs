//! A rollback brings documents of then back, with the rights of today.

use windlass_suite::binary::{Folder, application_document};

/// A definition that makes a ConfigMap in a namespace of another team, which takes an exception.
const WIDE: &str = "\
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: note }
spec:
  type: note
  driver: { builtin: template }
  inputs:
    manifests:
      note: { apiVersion: v1, kind: ConfigMap, metadata: { name: note, namespace: shared }, data: { a: b } }
  grants:
    - { import: windlass:kubernetes/objects, kinds: [v1/ConfigMap], allow: [foreignNamespaces] }
    - { import: windlass:secrets/generated }
";
const TYPE: &str = "---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: { name: note }\nspec: { params: { type: object }, outputs: { type: object } }\n";

/// Two deployments: the first with the exception, the second without the resource.
fn deployed() -> Folder {
    let folder = Folder::new();
    folder.write("shop/windlass.yaml", &application_document("shop"));
    let web = "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"web:1\" } }\n";
    folder.write("shop/web.score.yaml", &format!("{web}resources: {{ note: {{ type: note }} }}\n"));
    folder.write("platform/p.yaml", &format!("{WIDE}{TYPE}"));
    folder.ok("platform apply platform");
    folder.ok("deploy shop -e dev --create-env development --yes");
    assert!(folder.files(".windlass/manifests").keys().any(|name| name.contains("shared/")));
    folder.write("shop/web.score.yaml", web);
    folder.ok("deploy shop -e dev --yes");
    folder
}

fn roll_back(folder: &Folder, platform: &str) -> windlass_suite::binary::Ran {
    folder.write("platform/p.yaml", platform);
    folder.ok("platform apply platform");
    folder.run("rollback -e dev --yes")
}

#[test]
fn a_rollback_does_not_restore_an_exception_that_was_revoked() {
    let folder = deployed();
    let refused = roll_back(&folder, &format!("{}{TYPE}", WIDE.replace(", allow: [foreignNamespaces]", "")));
    assert_eq!(refused.code, 5, "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("shared"), "{}", refused.err);
    assert!(!folder.files(".windlass/manifests").keys().any(|name| name.contains("shared/")));
}

#[test]
fn a_definition_that_is_gone_keeps_no_right() {
    let folder = deployed();
    let refused = roll_back(&folder, TYPE.trim_start_matches("---\n"));
    assert_ne!(refused.code, 0, "{}", refused.out);
    assert!(refused.err.contains("windlass:kubernetes/objects"), "{}", refused.err);
    assert!(!folder.files(".windlass/manifests").keys().any(|name| name.contains("shared/")));
}

#[test]
fn a_rollback_keeps_the_rights_that_still_stand() {
    let folder = deployed();
    let kept = roll_back(&folder, &format!("{WIDE}{TYPE}"));
    assert_eq!(kept.code, 0, "{}{}", kept.out, kept.err);
    assert!(folder.files(".windlass/manifests").keys().any(|name| name.contains("shared/")));
}
