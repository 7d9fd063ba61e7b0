//! Repositories on this machine, honest and hostile ones.

use std::{fs, net::TcpListener, process::Command};

use super::*;

fn git(folder: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "protocol.file.allow=always"];
    assert!(Command::new("git").current_dir(folder).args(identity).args(arguments).status().unwrap().success(), "{arguments:?}");
}

fn commit(folder: &Path) {
    git(folder, &["add", "--all", "."]);
    git(folder, &["commit", "--quiet", "-m", "more"]);
}

fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "--quiet", "."]);
    fs::create_dir(folder.path().join("bucket")).unwrap();
    fs::write(folder.path().join("bucket/main.tf"), "# one").unwrap();
    commit(folder.path());
    git(folder.path(), &["tag", "v1"]);
    fs::write(folder.path().join("bucket/main.tf"), "# two").unwrap();
    commit(folder.path());
    folder
}

fn url(folder: &tempfile::TempDir) -> String {
    format!("file://{}", folder.path().display())
}

fn within(bounds: Bounds, repository: &str, reference: &str, path: Option<&str>) -> Result<(tempfile::TempDir, Fetched), String> {
    let into = tempfile::tempdir().unwrap();
    let source = GitSource { repository: repository.into(), r#ref: reference.into(), path: path.map(str::to_owned) };
    fetch_within(&source, into.path(), bounds).map(|fetched| (into, fetched))
}

fn fetched(repository: &str, reference: &str) -> Result<(String, Fetched), String> {
    let (into, fetched) = within(Bounds::default(), repository, reference, None)?;
    Ok((fs::read_to_string(into.path().join("bucket/main.tf")).unwrap(), fetched))
}

#[test]
fn a_tag_a_branch_and_a_commit_are_fetched() {
    let folder = repository();
    let (text, by_tag) = fetched(&url(&folder), "v1").unwrap();
    assert_eq!(text, "# one");
    let commit = by_tag.revision.strip_prefix("commit ").unwrap();
    assert_eq!(commit.len(), 40);
    assert_eq!(fetched(&url(&folder), "HEAD").unwrap().0, "# two");
    assert_eq!(fetched(&url(&folder), commit).unwrap().1.revision, by_tag.revision);
    assert!(fetched(&url(&folder), "v9").unwrap_err().contains("at `v9` can't be fetched"));
}

#[test]
fn options_refspecs_and_other_transports_are_refused() {
    let folder = repository();
    let here = url(&folder);
    for reference in ["--exec=x", "", "+HEAD", "HEAD:refs/heads/x", "refs/*", "^HEAD", "v1..v2", "v1\n", "v 1"] {
        assert!(fetched(&here, reference).unwrap_err().contains("is no repository and ref"), "{reference:?}");
    }
    for repository in ["--upload-pack=x", "", "ext::sh -c true", "ext::touch%20x", "file:// x", "fd::0", "https://x\n/y"] {
        assert!(fetched(repository, "v1").unwrap_err().contains("is no repository and ref"), "{repository:?}");
    }
    for repository in ["git://127.0.0.1:1/x", "http://127.0.0.1:1/x", "ftp://127.0.0.1:1/x"] {
        let said = fetched(repository, "v1").unwrap_err();
        assert!(said.contains("not allowed"), "{repository}: {said}");
    }
    let outside = within(Bounds::default(), &here, "HEAD", Some("../bucket")).unwrap_err();
    assert!(outside.contains("no folder outside"), "{outside}");
}

#[test]
fn nothing_of_the_repository_changes_or_runs_anything() {
    let folder = repository();
    let bait = folder.path().join("ran");
    fs::write(folder.path().join(".gitattributes"), "*.tf filter=evil eol=crlf ident\n").unwrap();
    fs::write(folder.path().join(".gitmodules"), "[submodule \"s\"]\n\tpath = s\n\turl = ext::touch ran\n").unwrap();
    fs::write(folder.path().join("bucket/ident.tf"), "# $Id$\n").unwrap();
    git(folder.path(), &["-c", "filter.evil.clean=cat", "add", "--all", "."]);
    git(folder.path(), &["-c", "filter.evil.clean=cat", "commit", "--quiet", "-m", "bait"]);
    let hook = folder.path().join(".git/hooks/post-checkout");
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", bait.display())).unwrap();
    let (into, _) = within(Bounds::default(), &url(&folder), "HEAD", Some("bucket")).unwrap();
    assert_eq!(fs::read(into.path().join("bucket/ident.tf")).map(|content| content.starts_with(b"# $Id$")).ok(), Some(true));
    assert!(!into.path().join(".git").exists() && !into.path().join(".gitattributes").exists(), "only the folder is written");
    assert!(!bait.exists());
}

#[test]
fn links_and_files_of_lfs_are_refused() {
    let folder = repository();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("bucket/passwd.tf")).unwrap();
    commit(folder.path());
    let link = within(Bounds::default(), &url(&folder), "HEAD", Some("bucket")).unwrap_err();
    assert!(link.contains("`bucket/passwd.tf` is a link"), "{link}");
    fs::remove_file(folder.path().join("bucket/passwd.tf")).unwrap();
    fs::write(folder.path().join("bucket/data.tf"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n").unwrap();
    commit(folder.path());
    let lfs = within(Bounds::default(), &url(&folder), "HEAD", Some("./bucket/")).unwrap_err();
    assert!(lfs.contains("Git LFS"), "{lfs}");
}

#[test]
fn files_and_their_bytes_are_bounded() {
    let folder = repository();
    fs::write(folder.path().join("bucket/more.tf"), "12345").unwrap();
    commit(folder.path());
    let with = |files_max, file_bytes_max| {
        let bounds = Bounds { files_max, file_bytes_max, ..Bounds::default() };
        within(bounds, &url(&folder), "HEAD", Some("bucket")).map(drop)
    };
    with(2, 10).unwrap();
    assert!(with(1, 10).unwrap_err().contains("more than 1 files"));
    assert!(with(2, 9).unwrap_err().contains("more than 9 bytes"));
}

#[test]
fn a_file_that_shrinks_well_is_refused_by_its_size() {
    let folder = repository();
    let zeros = File::create(folder.path().join("bucket/zeros.tf")).unwrap();
    zeros.set_len(limits::ARCHIVE_UNPACKED_BYTES_MAX + 1).unwrap();
    commit(folder.path());
    let said = within(Bounds::default(), &url(&folder), "HEAD", None).map(drop).unwrap_err();
    assert!(said.contains("its files hold more than"), "{said}");
    within(Bounds::default(), &url(&folder), "v1", None).unwrap();
}

#[test]
fn a_repository_larger_than_the_bound_is_broken_off() {
    let folder = repository();
    let mut noise = vec![0; 8 * 1024 * 1024];
    let mut state = 1_u32;
    for byte in &mut noise {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    fs::write(folder.path().join("noise"), noise).unwrap();
    commit(folder.path());
    within(Bounds { disk_bytes_max: 16 * 1024 * 1024, ..Bounds::default() }, &url(&folder), "HEAD", Some("bucket")).unwrap();
    let said = within(Bounds { disk_bytes_max: 1024 * 1024, ..Bounds::default() }, &url(&folder), "HEAD", Some("bucket")).unwrap_err();
    assert!(said.contains("larger than 1048576 bytes"), "{said}");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/x", silent.local_addr().unwrap());
    let began = Instant::now();
    let said = within(Bounds { time_max: Duration::from_secs(1), ..Bounds::default() }, &url, "HEAD", None).unwrap_err();
    assert!(said.contains("more than 1 s"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn credentials_are_not_told() {
    assert_eq!(public("https://me:token@example.com/a/b.git"), "https://example.com/a/b.git");
    assert_eq!(public("git@example.com:a/b.git"), "git@example.com:a/b.git");
    let said = fetched("https://me:canary-token@127.0.0.1:1/x", "HEAD").unwrap_err();
    assert!(!said.contains("canary"), "{said}");
}
