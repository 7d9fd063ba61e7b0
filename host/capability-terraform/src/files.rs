//! The files of a module: which names and types are written, and which are refused.

use std::collections::{BTreeMap, BTreeSet};

use crate::work;

/// Suffixes of configuration in HCL and in JSON; only OpenTofu reads the second of each, in the place of the first.
pub(crate) const HCL: [&str; 2] = [".tf", ".tofu"];
pub(crate) const JSON: [&str; 2] = [".tf.json", ".tofu.json"];
/// Types that are written: configuration, templates, and data that a module may read. All others stay in the plan alone.
const WRITTEN: [&str; 24] = [
    ".tf", ".tofu", ".json", ".tftpl", ".tpl", ".tmpl", ".yaml", ".yml", ".txt", ".md", ".sql", ".csv", ".xml", ".html", ".pem", ".crt",
    ".sh", ".ps1", ".py", ".js", ".mjs", ".toml", ".conf", ".cfg",
];
/// Files that the program reads without being told to, by the end of their names.
const READ_UNASKED: [(&str, &str); 5] = [
    (".tfstate", "a state"),
    (".tfstate.backup", "a state"),
    (".auto.tfvars", "values of variables; `variables` gives them"),
    (".auto.tfvars.json", "values of variables; `variables` gives them"),
    (".tfplan", "a plan"),
];
/// Files that the program reads without being told to, by name.
const NAMED: [(&str, &str); 4] = [
    ("terraform.tfvars", "values of variables; `variables` gives them"),
    ("terraform.tfvars.json", "values of variables; `variables` gives them"),
    ("terraform.rc", "settings of the program"),
    ("tofu.rc", "settings of the program"),
];
/// A folder in which the program looks for providers.
const PLUGINS: &str = "terraform.d";
/// Names that begin with this are the host's.
const OURS: &str = "windlass";
/// Bytes of one path, and parts of it: what every file system takes.
const PATH_BYTES_MAX: usize = 255;

/// Says why a file cannot be part of a module.
pub(crate) fn refusal(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let is_relative = parts.iter().all(|part| !part.is_empty() && *part != "." && *part != "..");
    if !is_relative || path.len() > PATH_BYTES_MAX || path.chars().any(|char| char == '\\' || char == '\0' || char.is_control()) {
        return Some("a relative path below the module, without `..`, of at most 255 bytes is needed".to_owned());
    }
    if path == work::LOCK_FILE {
        return None;
    }
    if parts.iter().any(|part| part.starts_with('.')) {
        return Some("hidden files and folders can be settings of programs".to_owned());
    }
    let lower = path.to_lowercase();
    let name = lower.rsplit('/').next().unwrap_or_default();
    if lower.split('/').any(|part| part == PLUGINS) {
        return Some(format!("the program takes providers from `{PLUGINS}`"));
    }
    if name.starts_with(OURS) {
        return Some(format!("names that begin with `{OURS}` are the host's"));
    }
    let unasked = READ_UNASKED.iter().find(|(end, _)| name.ends_with(end)).or_else(|| NAMED.iter().find(|(exact, _)| name == *exact));
    if let Some((_, what)) = unasked {
        return Some(format!("it holds {what}"));
    }
    is_override(name).then(|| "it would override other files: change those instead".to_owned())
}

/// Returns whether the program merges a file over others, the host's own among them.
fn is_override(name: &str) -> bool {
    let ends = JSON.iter().chain(&HCL);
    ends.filter_map(|end| name.strip_suffix(end)).any(|stem| stem == "override" || stem.ends_with("_override"))
}

/// Returns whether a file is written into the folder of a run.
pub(crate) fn is_written(path: &str) -> bool {
    refusal(path).is_none() && (path == work::LOCK_FILE || WRITTEN.iter().any(|end| path.ends_with(end)))
}

/// Returns pairs of paths that are one file where case does not count, or where one file stands for the other.
pub(crate) fn collisions<'f>(paths: impl Iterator<Item = &'f String>) -> Vec<(&'f str, &'f str)> {
    let mut found = Vec::new();
    let mut known: BTreeMap<String, &str> = BTreeMap::new();
    let mut folders: BTreeSet<String> = BTreeSet::new();
    for path in paths {
        if let Some(before) = known.insert(path.to_lowercase(), path) {
            found.push((before, path.as_str()));
        }
        folders.extend(path.match_indices('/').filter_map(|(at, _)| path.get(..at)).map(str::to_lowercase));
    }
    // A file that is the folder of another one cannot be written.
    found.extend(known.iter().filter(|(lower, _)| folders.contains(*lower)).map(|(_, path)| (*path, *path)));
    found
}

/// Joins a path to a folder without leaving the top; hidden parts and the host's files are outside.
pub(crate) fn resolve(folder: &str, path: &str) -> Option<String> {
    if path.starts_with(['/', '~']) || path.contains(['\\', '\0']) {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part if part.starts_with('.') || part.to_lowercase().starts_with(OURS) => return None,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_programs_read_unasked_are_refused() {
        for path in [
            "../main.tf",
            "/main.tf",
            "a//b.tf",
            "a/./b.tf",
            "",
            "a\\b.tf",
            "a\nb.tf",
            ".gitconfig",
            ".terraformrc",
            "part/.netrc",
            ".terraform/modules/modules.json",
            ".terraform.d/plugins/x",
            "part/.terraform.lock.hcl",
            "terraform.d/plugins/x.json",
            "part/Terraform.D/x.json",
            "terraform.tfstate",
            "TERRAFORM.TFSTATE",
            "part/old.tfstate.backup",
            "x.auto.tfvars",
            "x.auto.tfvars.json",
            "terraform.tfvars",
            "terraform.tfvars.json",
            "terraform.rc",
            "override.tf",
            "zz_override.tf.json",
            "part/a_override.tofu",
            "override.tofu.json",
            "windlass_override.tf.json",
            "Windlass.auto.tfvars.json",
            "windlass.plan",
        ] {
            assert!(refusal(path).is_some(), "{path}");
        }
        assert!(refusal(&format!("{}.tf", "x".repeat(PATH_BYTES_MAX - 2))).is_some());
        assert!(refusal(&format!("{}.tf", "x".repeat(PATH_BYTES_MAX - 3))).is_none());
        for path in ["main.tf", "main.tofu", "part/main.tf.json", ".terraform.lock.hcl", "no-override.tf", "templates/user.tftpl"] {
            assert!(is_written(path), "{path}");
        }
        for path in ["LICENSE", "tests/main.tftest.hcl", "x.zip", "crash.log", "x.tfquery.hcl", "plugin_v1.0.0_x5", "x.ini", "x.so"] {
            assert!(refusal(path).is_none() && !is_written(path), "{path}");
        }
    }

    #[test]
    fn names_that_differ_only_in_case_collide() {
        let paths = ["Main.tf", "a", "a/b.tf", "main.tf", "other.tf"].map(str::to_owned);
        assert_eq!(collisions(paths.iter()), [("Main.tf", "main.tf"), ("a", "a")]);
    }

    #[test]
    fn paths_stay_below_the_top() {
        assert_eq!(resolve("m", "x.txt").as_deref(), Some("m/x.txt"));
        assert_eq!(resolve("m", "../n/./x.txt").as_deref(), Some("n/x.txt"));
        assert_eq!(resolve("", "").as_deref(), Some(""));
        for path in ["..", "../x", "m/../../x", "/etc/passwd", "~/x", ".terraform/x", "windlass.auto.tfvars.json", "a\\..\\x"] {
            assert_eq!(resolve("", path), None, "{path}");
        }
    }
}
