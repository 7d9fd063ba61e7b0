//! What others rely on: frozen WIT, the SDK's copy of it, imports of the first-party drivers, arrows of the crates.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use sha2::{Digest as _, Sha256};
use windlass_suite::binary::{Folder, components, root};

#[test]
fn released_wit_never_changes() {
    let wit = root().join("wit");
    let frozen = fs::read_to_string(wit.join("frozen.sha256")).unwrap();
    let mut known: BTreeMap<String, String> =
        frozen.lines().filter_map(|line| line.split_once("  ")).map(|(hash, file)| (file.to_owned(), hash.to_owned())).collect();
    for package in fs::read_dir(&wit).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        for file in fs::read_dir(package.path()).unwrap().flatten() {
            let name = file.path().strip_prefix(&wit).unwrap().display().to_string();
            let hash: String = Sha256::digest(fs::read(file.path()).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(
                known.remove(&name),
                Some(hash),
                "{name} changed; a released package is frozen: make a new version, and `cargo xtask wit --freeze`"
            );
        }
    }
    assert!(known.is_empty(), "frozen files are gone: {known:?}");
}

#[test]
fn the_sdk_carries_the_same_wit() {
    for entry in fs::read_dir(root().join("wit")).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        for file in fs::read_dir(entry.path()).unwrap().flatten() {
            let copy = root().join("sdk/rust/wit").join(entry.file_name()).join(file.file_name());
            assert_eq!(fs::read_to_string(file.path()).unwrap(), fs::read_to_string(&copy).unwrap(), "{}", copy.display());
        }
    }
}

#[test]
fn first_party_drivers_import_only_what_they_use() {
    let mut table = BTreeMap::new();
    for folder in fs::read_dir(root().join("drivers")).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let name = folder.file_name().into_string().unwrap();
        let info = windlass_runtime::inspect(&fs::read(components().join(format!("{name}.wasm"))).unwrap()).unwrap();
        table.insert(name, (info.imports, info.privileges));
    }
    insta::assert_json_snapshot!(table);
}

/// Authors of definitions read there what a driver takes, yields and asks for.
#[test]
fn readmes_of_drivers_say_what_the_command_says() {
    let folder = Folder::new();
    for driver in fs::read_dir(root().join("drivers")).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let name = driver.file_name().into_string().unwrap();
        let said = folder.ok(&format!("driver inspect {}", components().join(format!("{name}.wasm")).display())).out;
        let changes_with_every_build = ["digest", "size", "source", "revision"];
        let lines =
            said.lines().filter(|line| !line.split_whitespace().next().is_some_and(|word| changes_with_every_build.contains(&word)));
        let said: String = lines.map(|line| format!("{line}\n")).collect();
        let readme = fs::read_to_string(driver.path().join("README.md")).unwrap();
        assert!(readme.contains(&format!("```text\n{said}```\n")), "drivers/{name}/README.md does not hold what is said now:\n{said}");
    }
}

/// Reads `| member | … | may import |` rows of ARCHITECTURE.md.
fn allowed_edges() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    text.lines()
        .filter(|line| line.starts_with("| `windlass-") || line.starts_with("| `xtask"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let names = |cell: &str| {
                cell.split(',')
                    .map(|name| name.trim().trim_matches('`').to_owned())
                    .filter(|name| !name.is_empty() && name != "–")
                    .collect()
            };
            (cells[1].trim_matches('`').to_owned(), names(cells[3]))
        })
        .collect()
}

#[test]
fn arrows_point_down_the_table() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed = allowed_edges();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        // All drivers have one row, tests may import anything.
        let row = if manifest.starts_with(root().join("drivers")) || manifest.starts_with(root().join("examples")) {
            "windlass-driver-*"
        } else {
            name
        };
        let Some(edges) = allowed.get(row) else {
            wrong.push(format!("{name} has no row"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency = dependency["name"].as_str().unwrap();
            if dependency.starts_with("windlass-") && !edges.contains("any") && !edges.contains(dependency) {
                wrong.push(format!("{name} -> {dependency}"));
            }
            // Each of these libraries has one home.
            for (library, homes) in [
                ("wasmtime", &["windlass-runtime"][..]),
                ("sqlx", &["windlass-store", "windlass-capability-postgres"]),
                ("kube", &["windlass-capability-kubernetes", "windlass-suite", "windlass-bench"]),
                ("aws-config", &["windlass-capability-aws", "windlass-suite"]),
                ("aws-sdk-rds", &["windlass-capability-aws", "windlass-suite"]),
                ("aws-sdk-route53", &["windlass-capability-aws", "windlass-suite"]),
                ("clap", &["windlass-cli"]),
                ("miette", &["windlass-cli"]),
                ("aes-gcm-siv", &["windlass-capability-secrets"]),
            ] {
                if dependency == library && !homes.contains(&name) {
                    wrong.push(format!("{name} names {library}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "edges that ARCHITECTURE.md does not list: {wrong:#?}");
}

/// What the SDK writes the host reads: the same fields, the same ones needed, the same ones that may be sealed.
#[test]
fn the_sdk_s_specs_are_the_host_s() {
    use windlass_engine::planner::Planner;
    use windlass_sdk::{aws, postgres, terraform};
    let aws_rds = windlass_capability_aws::rds::RdsPlanner;
    let aws_route53 = windlass_capability_aws::route53::Route53Planner;
    let databases = windlass_capability_postgres::DatabasesPlanner;
    let modules = windlass_capability_terraform::ModulesPlanner;
    let pairs: [(&str, Option<serde_json::Value>, schemars::Schema); 8] = [
        ("db-instance", aws_rds.schema("db-instance"), schemars::schema_for!(aws::DbInstanceSpec)),
        ("db-subnet-group", aws_rds.schema("db-subnet-group"), schemars::schema_for!(aws::DbSubnetGroupSpec)),
        ("db-parameter-group", aws_rds.schema("db-parameter-group"), schemars::schema_for!(aws::DbParameterGroupSpec)),
        ("record-set", aws_route53.schema("record-set"), schemars::schema_for!(aws::RecordSetSpec)),
        ("role", databases.schema("role"), schemars::schema_for!(postgres::RoleSpec)),
        ("login", databases.schema("login"), schemars::schema_for!(postgres::LoginSpec)),
        ("database", databases.schema("database"), schemars::schema_for!(postgres::DatabaseSpec)),
        ("module", modules.schema("module"), schemars::schema_for!(terraform::ModuleSpec)),
    ];
    for (resource, host, sdk) in pairs {
        let (host, sdk) = (host.unwrap(), sdk.to_value());
        let names =
            |schema: &serde_json::Value| -> BTreeSet<String> { schema["properties"].as_object().unwrap().keys().cloned().collect() };
        let needed = |schema: &serde_json::Value| -> BTreeSet<String> {
            schema["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        assert_eq!(names(&host), names(&sdk), "{resource}");
        assert_eq!(needed(&host), needed(&sdk), "{resource}");
    }
}
