//! `$git`: a folder of a Git repository, fetched by the machine's `git`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use windlass_document::{Fetched, GitSource};

/// Protocols that a repository may be reached by; `ext::` would run programs.
const PROTOCOLS: [&str; 3] = ["https", "ssh", "file"];

/// Fetches the commit into an empty folder, and nothing else: no history, no submodules, no hooks.
pub(crate) fn fetch(source: &GitSource, into: &Path) -> Result<Fetched, String> {
    let GitSource { repository, r#ref: reference, .. } = source;
    if repository.starts_with('-') || reference.starts_with('-') || repository.is_empty() || reference.is_empty() {
        return Err(format!("`{repository}` at `{reference}` is no repository and ref"));
    }
    git(into, &["init", "--quiet", "."])?;
    git(into, &["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", repository, reference]).map_err(
        |error| {
            // Git says what it was given.
            let (shown, error) = (public(repository), error.replace(repository.as_str(), &public(repository)));
            format!("`{shown}` at `{reference}` can't be fetched: {error}")
        },
    )?;
    git(into, &["checkout", "--quiet", "--force", "FETCH_HEAD"])?;
    let commit = git(into, &["rev-parse", "FETCH_HEAD"])?.trim().to_owned();
    // What is read from here on are files of the commit.
    std::fs::remove_dir_all(into.join(".git")).map_err(|error| error.to_string())?;
    Ok(Fetched { source: public(repository), reference: reference.clone(), revision: format!("commit {commit}") })
}

/// Runs git: it asks nobody, follows no hook, and stalls for no more than half a minute.
fn git(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    command.current_dir(folder).env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1").stdin(Stdio::null());
    // Whoever runs this inside of a hook has another repository in mind.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"] {
        command.env_remove(variable);
    }
    for setting in
        ["core.hooksPath=/dev/null", "core.symlinks=true", "http.lowSpeedLimit=1000", "http.lowSpeedTime=30", "protocol.allow=never"]
    {
        command.args(["-c", setting]);
    }
    for protocol in PROTOCOLS {
        command.args(["-c", &format!("protocol.{protocol}.allow=always")]);
    }
    let output = command.args(arguments).output().map_err(|error| format!("`git` can't be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed without a word").trim().to_owned())
}

/// Takes credentials out of a URL.
fn public(repository: &str) -> String {
    match repository.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            format!("{scheme}://{}/{path}", authority.rsplit('@').next().unwrap_or_default())
        }
        None => repository.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| {
            let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
            assert!(Command::new("git").current_dir(&folder).args(identity).args(arguments).status().unwrap().success());
        };
        run(&["init", "--quiet", "."]);
        fs::create_dir(folder.path().join("bucket")).unwrap();
        fs::write(folder.path().join("bucket/main.tf"), "# one").unwrap();
        run(&["add", "."]);
        run(&["commit", "--quiet", "-m", "one"]);
        run(&["tag", "v1"]);
        fs::write(folder.path().join("bucket/main.tf"), "# two").unwrap();
        run(&["commit", "--quiet", "-am", "two"]);
        folder
    }

    fn fetched(repository: &str, reference: &str) -> Result<(String, Fetched), String> {
        let into = tempfile::tempdir().unwrap();
        let source = GitSource { repository: repository.into(), r#ref: reference.into(), path: None };
        fetch(&source, into.path()).map(|fetched| (fs::read_to_string(into.path().join("bucket/main.tf")).unwrap(), fetched))
    }

    #[test]
    fn fetches_what_a_tag_or_a_commit_names_and_nothing_that_runs() {
        let folder = repository();
        let url = format!("file://{}", folder.path().display());
        let (text, by_tag) = fetched(&url, "v1").unwrap();
        assert_eq!(text, "# one");
        let commit = by_tag.revision.strip_prefix("commit ").unwrap();
        assert_eq!(commit.len(), 40);
        assert_eq!(fetched(&url, "HEAD").unwrap().0, "# two");
        assert_eq!(fetched(&url, commit).unwrap().1.revision, by_tag.revision);
        assert!(fetched(&url, "v9").unwrap_err().contains("at `v9` can't be fetched"));
        for (repository, reference) in
            [("ext::sh -c true", "v1"), ("--upload-pack=x", "v1"), (url.as_str(), "--exec=x"), ("git://example.com/x", "v1")]
        {
            assert!(fetched(repository, reference).is_err(), "{repository} {reference}");
        }
    }

    #[test]
    fn credentials_are_not_told() {
        assert_eq!(public("https://me:token@example.com/a/b.git"), "https://example.com/a/b.git");
        assert_eq!(public("git@example.com:a/b.git"), "git@example.com:a/b.git");
    }
}
