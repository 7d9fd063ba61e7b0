//! The data folder belongs to one user, and a process that holds its key gives its memory to nobody.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use windlass_suite::binary::{Folder, application_document};

const SCORE: &str = "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: web:1 } }\n";
const DEPLOY: &str = "deploy shop -e dev --create-env development --yes";

fn deployed() -> Folder {
    let folder = Folder::new();
    folder.write("shop/web.score.yaml", SCORE);
    folder.ok(DEPLOY);
    folder
}

fn mode(folder: &Folder, path: &str) -> u32 {
    std::fs::metadata(folder.path().join(path)).unwrap().mode() & 0o777
}

fn chmod(folder: &Folder, path: &str, mode: u32) {
    std::fs::set_permissions(folder.path().join(path), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_a_command_makes_is_for_its_user_alone() {
    let folder = deployed();
    assert_eq!(mode(&folder, ".windlass"), 0o700);
    for file in ["state.db", "key"] {
        assert_eq!(mode(&folder, &format!(".windlass/{file}")), 0o600, "{file}");
    }
}

#[test]
fn a_data_folder_that_others_may_open_is_refused_by_every_command_that_reads_it() {
    let folder = deployed();
    chmod(&folder, ".windlass", 0o755);
    for line in ["status -e dev", "drift -e dev", "plan shop -e dev", DEPLOY, "env list", "secret list -e dev", "destroy -e dev --yes"] {
        let ran = folder.run(line);
        assert!(ran.code == 1 && ran.err.contains("other users may open it (mode 0755)"), "{line}: {}", ran.err);
        assert!(ran.err.contains("chmod -R go-rwx"), "{}", ran.err);
    }
    chmod(&folder, ".windlass", 0o700);
    folder.ok("status -e dev");
}

#[test]
fn a_data_folder_that_came_with_a_repository_is_refused() {
    let origin = deployed();
    for line in [&["init", "--quiet"][..], &["add", "--force", "."], &["commit", "--quiet", "--message", "x"]] {
        origin.git(".", line);
    }
    let clone = Folder::new();
    clone.git(".", &["clone", "--quiet", &origin.path().display().to_string(), "work"]);
    let data = format!("--data-dir {}", clone.path().join("work/.windlass").display());
    assert!(clone.run(&format!("{data} drift -e dev")).err.contains("other users may open it"));
    // With the modes of a private folder it is still what the repository brought.
    for path in ["work/.windlass", "work/.windlass/state.db", "work/.windlass/key"] {
        let mode = if path.ends_with(".windlass") { 0o700 } else { 0o600 };
        std::fs::set_permissions(clone.path().join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let refused = clone.run(&format!("{data} drift -e dev"));
    assert!(refused.code == 1 && refused.err.contains("Git tracks files in it"), "{}", refused.err);
}

#[test]
fn a_data_folder_of_another_user_is_refused() {
    let folder = deployed();
    if std::process::Command::new("chown")
        .args(["-R", "65534"])
        .arg(folder.path().join(".windlass"))
        .status()
        .is_ok_and(|run| run.success())
    {
        let refused = folder.run("status -e dev");
        assert!(refused.code == 1 && refused.err.contains("it belongs to user 65534"), "{}", refused.err);
    }
}

#[test]
fn a_process_that_holds_the_key_leaves_no_core() {
    let folder = deployed();
    // The command waits for the value on a pipe that stays open.
    let piped = std::process::Stdio::piped;
    let mut child = folder.command(&["secret", "set", "A", "-e", "dev"]).stdin(piped()).spawn().unwrap();
    let limits = format!("/proc/{}/limits", child.id());
    let core = || {
        let text = std::fs::read_to_string(&limits).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("Max core file size")).map(str::to_owned).unwrap_or_default();
        line.split_whitespace().filter(|word| *word == "0").count()
    };
    Folder::wait_beside(&mut child, || core() == 2);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn environments_whose_names_join_to_one_namespace_do_not_share_it() {
    let folder = Folder::new();
    folder.write("one/web.score.yaml", SCORE);
    folder.write("one/application.yaml", &application_document("a-b"));
    folder.write("two/web.score.yaml", SCORE);
    folder.write("two/application.yaml", &application_document("a"));
    folder.ok("deploy one -e c --create-env development --yes");
    let refused = folder.run("deploy two -e b-c --create-env development --yes");
    assert!(refused.code == 65 && refused.err.contains("`a/b-c` and `a-b/c` would share `Namespace/a-b-c`"), "{}", refused.err);
    folder.ok("deploy two -e b-d --create-env development --yes");
}
