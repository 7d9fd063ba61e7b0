//! The mission's own example on real servers: a workload in a cluster with a database in an instance that exists, its own
//! namespace, a name open to the internet and a Terraform module; nothing exists at first, the credentials arrive at run time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use windlass_suite::{
    aws::Verdict,
    mission::{ADDRESS, Mission},
};

const FIRST: &str = "deploy app -e development --create-env development --image api=ghcr.io/windlass-examples/api:1.0.0 --yes";
const AGAIN: &str = "deploy app -e development --yes";

/// Takes `postgres://USER:PASSWORD@HOST:PORT/NAME` apart.
fn parts(url: &str) -> (String, String, String) {
    let rest = url.strip_prefix("postgres://").unwrap();
    let (credentials, place) = rest.split_once('@').unwrap();
    let (user, password) = credentials.split_once(':').unwrap();
    (user.to_owned(), password.to_owned(), place.rsplit('/').next().unwrap().to_owned())
}

#[test]
fn the_mission() {
    let mut mission = Mission::new("mission", |_, _| Verdict::Pass);
    let application = mission.scene.application.clone();
    let namespace = format!("{application}-development");
    mission.scene.folder.ok(FIRST);
    // A real client logs in with what stands in the Secret.
    let given = mission.variables("development");
    let (user, password, database) = parts(&given["DATABASE_URL"]);
    mission.servers.login(&user, &password, &database, "CREATE TABLE orders (id int)").unwrap();
    assert_eq!(given["BUCKET"], format!("{application}-development-files"));
    assert!(given["BUCKET_KEY"].starts_with("canary-"));
    // The name points at what the Gateway's status says.
    let records = mission.account.records(&mission.zone);
    let host = given["PUBLIC_URL"].trim_start_matches("https://").to_owned();
    assert!(records.contains(&format!("{host} A {ADDRESS}")), "{records:?}");

    // Once more: no call that changes anything, anywhere.
    let in_development = mission.scene.in_environment("development");
    let before = (mission.aws.changes().len(), in_development.changes(), statements(&mission));
    let again = mission.scene.folder.ok(AGAIN);
    assert!(again.err.contains("nothing was written"), "{}", again.err);
    assert_eq!((mission.aws.changes().len(), in_development.changes(), statements(&mission)), before);

    // CI announces an image: the workload's objects carry its version, nothing else moves.
    mission.scene.folder.ok("deploy app -e development --image api=ghcr.io/windlass-examples/api:1.1.0 --yes");
    assert_eq!(in_development.changes() - before.1, 4, "Deployment, Service, Secret and ConfigMap");
    assert_eq!((mission.aws.changes().len(), statements(&mission)), (before.0, before.2));

    // A definition changes: the login gets more connections, nothing else moves.
    let platform = mission.scene.folder.read("platform/platform.yaml");
    mission.scene.folder.write("platform/platform.yaml", &platform.replace("connection_limit: 20", "connection_limit: 30"));
    mission.scene.folder.ok("platform apply platform");
    mission.scene.folder.ok(AGAIN);
    let limit = |mission: &Mission| {
        mission.servers.psql("postgres", &format!("SELECT rolconnlimit FROM pg_roles WHERE rolname = '{user}'")).unwrap()
    };
    assert_eq!(limit(&mission), "30");
    // Back: yesterday's definitions, today's data.
    mission.scene.folder.ok("rollback -e development --yes");
    assert_eq!(limit(&mission), "20");
    assert_eq!(mission.servers.psql(&database, "SELECT count(*) FROM orders").unwrap(), "0");

    // Somebody meddles, in the cloud and in the cluster: named and healed.
    mission.account.write_record(&mission.zone, &host, "A", "203.0.113.5");
    mission.scene.kubectl(&["-n", &namespace, "set", "image", "deployment/api", "main=evil:1"]).unwrap();
    let drift = mission.scene.folder.run("drift -e development --detailed-exitcode");
    assert!(drift.code == 2 && drift.out.contains("203.0.113.5") && drift.out.contains("evil:1"), "{}", drift.out);
    mission.scene.folder.ok(AGAIN);
    assert_eq!(mission.scene.folder.run("drift -e development --detailed-exitcode").code, 0);

    // The same documents in a second environment: things of its own.
    mission.controller("preview");
    mission.scene.folder.ok("deploy app -e preview --create-env development --image api=ghcr.io/windlass-examples/api:1.1.0 --yes");
    let (other, _, other_database) = parts(&mission.variables("preview")["DATABASE_URL"]);
    assert!(other != user && other_database != database);
    assert_eq!(mission.account.records(&mission.zone).len(), 4);

    // New credentials, workloads rolled, the old ones ended.
    mission.scene.folder.ok("rotate postgres#api.db -e development --yes");
    let (rotated, new_password, _) = parts(&mission.variables("development")["DATABASE_URL"]);
    mission.servers.login(&rotated, &new_password, &database, "SELECT * FROM orders").unwrap();
    assert!(mission.servers.login(&user, &password, &database, "SELECT 1").is_err());

    no_value_in_clear(&mission, &[&password, &new_password, &given["BUCKET_KEY"]]);

    mission.scene.folder.ok("destroy -e preview --yes");
    mission.scene.folder.ok("destroy -e development --yes");
    assert_eq!(mission.inventory(), Vec::<String>::new());
    assert!(mission.scene.kubectl(&["get", "namespace", &namespace]).is_err());
}

/// Counts the statements that define something of the application's, by the server's own log.
fn statements(mission: &Mission) -> usize {
    let name = mission.scene.application.replace('-', "_");
    mission.servers.postgres_log().lines().filter(|line| line.contains("statement:") && line.contains(&name)).count()
}

/// Looks for secret values where they must not be: in what is printed and in every file that windlass keeps.
fn no_value_in_clear(mission: &Mission, values: &[&str]) {
    use base64::Engine as _;
    let folder = &mission.scene.folder;
    let mut places: Vec<(String, Vec<u8>)> = [
        "plan app -e development -o json",
        "status -e development -o json",
        "env show -e development -o json",
        "history -e development -o json",
        "events -e development -o json",
        "explain postgres#api.db -e development -o json",
    ]
    .into_iter()
    .map(|line| {
        (line.to_owned(), {
            let ran = folder.run(line);
            (ran.out + &ran.err).into_bytes()
        })
    })
    .collect();
    let mut left = vec![folder.path().join(".windlass")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        } else if path.file_name().is_some_and(|name| name != "key") {
            places.push((path.display().to_string(), std::fs::read(&path).unwrap_or_default()));
        }
    }
    assert!(places.iter().any(|(name, _)| name.contains("terraform")), "modules ran here");
    for value in values {
        let url: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for form in [(*value).to_owned(), base64::engine::general_purpose::STANDARD.encode(value), url] {
            for (name, bytes) in &places {
                assert!(!bytes.windows(form.len()).any(|window| window == form.as_bytes()), "a secret value stands in {name}");
            }
        }
    }
}
