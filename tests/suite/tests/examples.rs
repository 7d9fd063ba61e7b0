//! One application, three platforms: the Score files of `examples/cloud` are the same for all of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use windlass_suite::binary::Folder;

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
