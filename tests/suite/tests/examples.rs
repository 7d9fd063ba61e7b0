//! One application, three platforms: the Score files of `examples/cloud` are the same for all of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use windlass_suite::binary::{Folder, components};

#[test]
fn the_same_score_files_fit_three_platforms() {
    let mut shown = String::new();
    for (platform, environment) in [("local", "development"), ("aws-development", "development"), ("aws-production", "production")] {
        let folder = Folder::new();
        folder.copy("examples/cloud", ".");
        folder.ok(&format!("validate shop {platform}"));
        let line = format!(
            "plan shop -e {environment} --create-env {environment} --platform {platform} --image api=ghcr.io/windlass-examples/api:1.0.0"
        );
        let plan = folder.ok(&line).out;
        // The digest covers the components, which every build makes anew.
        let body: Vec<&str> = plan.lines().filter(|line| !line.starts_with("Plan ")).collect();
        shown.push_str(&format!("── {platform}\n{}\n\n", body.join("\n")));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_driver_in_javascript_is_a_driver_like_any_other() {
    let component = components().join("example-dns-javascript.wasm");
    assert!(component.exists(), "`cargo xtask test` builds {}", component.display());
    let folder = Folder::new();
    folder.write(
        "platform/dns.yaml",
        &format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: dns-javascript }}\nspec:\n  type: dns\n  driver: {{ file: {} }}\n  inputs: {{ domain: example.org }}\n",
            component.display()
        ),
    );
    let score = |params: &str| {
        format!(
            "apiVersion: score.dev/v1b1\nmetadata: {{ name: web }}\ncontainers: {{ main: {{ image: \"web:1\", variables: {{ HOST: \"${{resources.dns.host}}\" }} }} }}\nresources: {{ dns: {{ type: dns, params: {params} }} }}\n"
        )
    };
    folder.write("shop/web.score.yaml", &score("{ label: www }"));
    let inspected = folder.ok(&format!("driver inspect {}", component.display())).out;
    assert!(inspected.contains("privileges  none") && inspected.contains("imports     windlass:driver/sealed@0.1.0"), "{inspected}");
    folder.ok("platform apply platform");
    folder.ok("deploy shop -e dev --create-env development --yes");
    assert!(folder.files(".windlass/manifests").values().any(|text| text.contains("www.dev.example.org")));
    folder.write("shop/web.score.yaml", &score("{ label: -www }"));
    let refused = folder.run("plan shop -e dev");
    assert_eq!(refused.code, 65);
    insta::assert_snapshot!("javascript_refuses", refused.err);
}
