//! Databases in a PostgreSQL server that exists: made, handed over, rotated, guarded, removed; on the real server.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use windlass_cluster::SharedServers;
use windlass_suite::{
    binary::{Folder, application_document, without_progress},
    cloud::{postgres_connection, postgres_definition, secret},
    cluster::Scene,
};

const WEB: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers:
  main:
    image: web:1
    variables:
      PGHOST: ${resources.db.host}
      PGPORT: ${resources.db.port}
      PGUSER: ${resources.db.username}
      PGPASSWORD: ${resources.db.password}
      PGDATABASE: ${resources.db.name}
resources:
  db: { type: postgres }
";

fn scene(name: &str, inputs: &str) -> (Scene, SharedServers) {
    let scene = Scene::new(name);
    let servers = SharedServers::find().unwrap();
    scene.folder.write("app/web.score.yaml", WEB);
    scene.folder.write("platform/postgres.yaml", &postgres_connection(&servers, servers.postgres_port()));
    scene.folder.write("platform/definition.yaml", &postgres_definition(inputs));
    scene.folder.ok("platform apply platform");
    (scene, servers)
}

/// The values that the container gets, by variable.
fn variables(scene: &Scene) -> std::collections::BTreeMap<String, String> {
    let deployment = scene.get("deployment/web");
    let mut out = std::collections::BTreeMap::new();
    for variable in deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap().to_owned();
        let named = |kind: &str| Some((variable["valueFrom"][kind]["name"].as_str()?, variable["valueFrom"][kind]["key"].as_str()?));
        let value = match (named("secretKeyRef"), named("configMapKeyRef")) {
            (Some((name, key)), _) => secret(scene, name, key),
            // Values that are known late come by a ConfigMap.
            (_, Some((name, key))) => scene.get(&format!("configmap/{name}"))["data"][key].as_str().unwrap().to_owned(),
            _ => variable["value"].as_str().unwrap_or_default().to_owned(),
        };
        out.insert(name, value);
    }
    out
}

#[test]
fn a_database_is_made_handed_over_and_removed() {
    let (scene, servers) = scene("pg", "extensions: [pgcrypto], connection_limit: 20");
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let given = variables(&scene);
    assert_eq!(given["PGHOST"], "localhost");
    // What stands in the Secret logs in, and owns what it makes.
    let made = servers.login(
        &given["PGUSER"],
        &given["PGPASSWORD"],
        &given["PGDATABASE"],
        "CREATE TABLE t (id int); SELECT tableowner FROM pg_tables WHERE tablename = 't'; SELECT digest('x', 'md5') IS NOT NULL",
    );
    assert_eq!(made.unwrap(), format!("{}\nt", given["PGDATABASE"]));
    // Nobody else gets in.
    let other = servers.login("manager", "wrong", &given["PGDATABASE"], "SELECT 1");
    assert!(other.is_err());
    // The server never saw the password.
    assert!(!servers.postgres_log().contains(&given["PGPASSWORD"]));
    // Once more: nothing is written.
    let again = scene.folder.ok("deploy app -e dev --yes");
    assert!(again.err.contains("nothing was written"), "{}", again.err);
    scene.folder.ok("destroy -e dev --yes");
    assert_eq!(
        servers.psql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", given["PGDATABASE"])).unwrap(),
        "0"
    );
    assert_eq!(
        servers.psql("postgres", &format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE '{}%'", given["PGDATABASE"])).unwrap(),
        "0"
    );
}

#[test]
fn rotation_locks_nobody_out_and_leaves_one_valid_form() {
    let (scene, servers) = scene("pgrotate", "");
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let before = variables(&scene);
    let rotated = scene.folder.ok("rotate postgres#web.db -e dev --yes");
    assert!(rotated.err.contains("New credentials for `postgres.default#web.db`"), "{}", rotated.err);
    let after = variables(&scene);
    assert_ne!(before["PGUSER"], after["PGUSER"]);
    assert_ne!(before["PGPASSWORD"], after["PGPASSWORD"]);
    let names =
        [(&before["PGUSER"], "FIRST"), (&after["PGUSER"], "SECOND"), (&after["PGDATABASE"], "DATABASE"), (&scene.application, "APP")];
    insta::assert_snapshot!("rotated", without_progress(&rotated, &names));
    let database = &after["PGDATABASE"];
    servers.login(&after["PGUSER"], &after["PGPASSWORD"], database, "SELECT 1").unwrap();
    assert!(servers.login(&before["PGUSER"], &before["PGPASSWORD"], database, "SELECT 1").is_err(), "the old form is valid still");
    // The turn goes back, and what one made the other may change.
    servers.login(&after["PGUSER"], &after["PGPASSWORD"], database, "CREATE TABLE t (id int)").unwrap();
    scene.folder.ok("rotate postgres#web.db -e dev --yes");
    let third = variables(&scene);
    assert_eq!(third["PGUSER"], before["PGUSER"]);
    servers.login(&third["PGUSER"], &third["PGPASSWORD"], database, "DROP TABLE t").unwrap();
    assert!(scene.folder.ok("deploy app -e dev --yes").err.contains("nothing was written"));
    // Several jobs at once take turns: each rotates, and whatever comes last is what is valid.
    std::thread::scope(|jobs| {
        for line in ["rotate postgres#web.db -e dev --yes", "rotate postgres#web.db -e dev --yes", "deploy app -e dev --yes"] {
            jobs.spawn(|| scene.folder.ok(line));
        }
    });
    let last = variables(&scene);
    servers.login(&last["PGUSER"], &last["PGPASSWORD"], database, "SELECT 1").unwrap();
    for earlier in [&before, &after, &third] {
        assert!(servers.login(&earlier["PGUSER"], &earlier["PGPASSWORD"], database, "SELECT 1").is_err(), "an old form is valid still");
    }
    assert!(scene.folder.ok("deploy app -e dev --yes").err.contains("nothing was written"));
    scene.folder.ok("destroy -e dev --yes");
}

/// Who comes first has it; nothing of the other's is left, whichever step it lost at.
#[test]
fn two_that_want_one_name_at_once_get_one_database() {
    let name = format!("raced{}", std::process::id());
    let scenes = ["pgone", "pgtwo"].map(|app| scene(app, &format!("name: {name}")));
    let ran = std::thread::scope(|jobs| {
        let jobs = scenes.each_ref().map(|(scene, _)| jobs.spawn(|| scene.folder.run("deploy app -e dev --create-env development --yes")));
        jobs.map(|job| job.join().unwrap())
    });
    let [first, second] = &ran;
    assert_eq!([first.code.min(second.code), first.code.max(second.code)], [0, 1], "{}{}", first.err, second.err);
    let (won, lost) = if first.code == 0 { (0, 1) } else { (1, 0) };
    let told = &ran[lost].err;
    assert!(told.contains(&name) && told.contains("exists and belongs to") && told.contains("--take-ownership"), "{told}");
    let (winner, servers) = &scenes[won];
    let given = variables(winner);
    assert_eq!(given["PGDATABASE"], name);
    servers.login(&given["PGUSER"], &given["PGPASSWORD"], &name, "CREATE TABLE t (id int)").unwrap();
    // Taking away what the other got so far leaves what it did not get.
    scenes[lost].0.folder.ok("destroy -e dev --yes --allow-destroy");
    servers.login(&given["PGUSER"], &given["PGPASSWORD"], &name, "DROP TABLE t").unwrap();
    winner.folder.ok("destroy -e dev --yes");
    let left = format!(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname LIKE '{name}%') + (SELECT count(*) FROM pg_roles WHERE rolname LIKE '{name}%')"
    );
    assert_eq!(servers.psql("postgres", &left).unwrap(), "0");
}

/// The server's certificate is for `localhost`, by an authority of its own.
#[test]
fn tls_modes_are_those_of_libpq() {
    let servers = SharedServers::find().unwrap();
    let connection = |host: &str, mode: &str, authority: bool| {
        let text = postgres_connection(&servers, servers.postgres_port());
        let mut lines: Vec<&str> = text.lines().filter(|line| authority || !line.contains("sslRootCert")).collect();
        let (host, mode) = (format!("    host: \"{host}\""), format!("    sslMode: {mode}"));
        lines.iter_mut().filter(|line| line.contains(" host: ")).for_each(|line| *line = &host);
        lines.push(&mode);
        // Asked for: without a check of the server it is refused.
        if !mode.contains("verify") {
            lines.push("    insecure: true");
        }
        lines.join("\n") + "\n"
    };
    let folder = Folder::new();
    folder.write("app/web.score.yaml", WEB);
    folder.write("app/application.yaml", &application_document(&format!("tls{}", std::process::id())));
    folder.write("platform/definition.yaml", &postgres_definition(""));
    let apply = |connection: &str| {
        folder.write("platform/postgres.yaml", connection);
        folder.run("platform apply platform")
    };
    assert_eq!(apply(&connection("localhost", "verify-all", true)).code, 65);
    for (host, mode, authority, fits) in [
        ("localhost", "verify-full", true, Ok(())),
        ("localhost", "verify-full", false, Err("certificate")),
        ("127.0.0.1", "verify-full", true, Err("certificate")),
        ("127.0.0.1", "verify-ca", true, Ok(())),
        ("localhost", "verify-ca", false, Err("certificate")),
        ("127.0.0.1", "require", false, Ok(())),
        ("127.0.0.1", "prefer", false, Ok(())),
        ("127.0.0.1", "allow", false, Ok(())),
        ("127.0.0.1", "disable", false, Ok(())),
    ] {
        assert_eq!(apply(&connection(host, mode, authority)).code, 0);
        let ran = folder.run("deploy app -e dev --create-env development --yes");
        match fits {
            Ok(()) => {
                assert_eq!(ran.code, 0, "{host} {mode}: {}", ran.err);
                // A connection is where things are: everything is made anew behind another.
                folder.ok("destroy -e dev --yes --allow-destroy");
            }
            Err(told) => {
                assert_eq!(ran.code, 1, "{host} {mode}: {}", ran.err);
                assert!(ran.err.contains(told) && ran.err.contains("sslMode"), "{host} {mode}: {}", ran.err);
            }
        }
    }
}

#[test]
fn what_others_made_stays_and_what_others_changed_is_healed() {
    let (scene, servers) = scene("pgown", "name: windlass_owned, readers: [pg_monitor]");
    servers.psql("postgres", "DROP DATABASE IF EXISTS windlass_owned").unwrap();
    servers.psql("postgres", "CREATE DATABASE windlass_owned").unwrap();
    let refused = scene.folder.run("deploy app -e dev --create-env development --yes");
    assert!(refused.err.contains("the database `windlass_owned` exists, and Windlass did not make it"), "{}", refused.err);
    assert_eq!(
        servers.psql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'windlass_owned%'").unwrap(),
        "0",
        "refused before the first effect"
    );
    servers.psql("postgres", "DROP DATABASE windlass_owned").unwrap();
    scene.folder.ok("deploy app -e dev --yes");
    // Somebody meddles: named by field, and healed.
    servers.psql("postgres", "ALTER ROLE windlass_owned_a NOLOGIN; ALTER DATABASE windlass_owned CONNECTION LIMIT 3").unwrap();
    let drift = scene.folder.run("drift -e dev --detailed-exitcode");
    assert_eq!(drift.code, 2, "{}", drift.out);
    assert!(drift.out.contains("/login: true → false") && drift.out.contains("/connectionLimit: -1 → 3"), "{}", drift.out);
    scene.folder.ok("deploy app -e dev --yes");
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0);
    // Somebody takes away what readers may do, with what is there and with what comes.
    let table = "SET ROLE windlass_owned; CREATE TABLE orders (id serial)";
    servers.psql("windlass_owned", table).unwrap();
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0, "what the owner makes may be read from the start");
    let meddled = "REVOKE SELECT ON orders FROM pg_monitor; \
        ALTER DEFAULT PRIVILEGES FOR ROLE windlass_owned IN SCHEMA public REVOKE SELECT ON TABLES FROM pg_monitor";
    servers.psql("windlass_owned", meddled).unwrap();
    let drift = scene.folder.run("drift -e dev --detailed-exitcode");
    assert_eq!(drift.code, 2, "{}", drift.out);
    let lacks = "pg_monitor may read in public\" → \"lacks SELECT on later tables, SELECT on orders\"";
    assert!(drift.out.contains("/grants/0: ") && drift.out.contains(lacks), "{}", drift.out);
    scene.folder.ok("deploy app -e dev --yes");
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0);
    let may = "SELECT has_table_privilege('pg_monitor', 'orders', 'SELECT')";
    assert_eq!(servers.psql("windlass_owned", may).unwrap(), "t");
    // A mark that somebody took away makes it not ours.
    servers.psql("postgres", "COMMENT ON DATABASE windlass_owned IS NULL").unwrap();
    let stopped = scene.folder.run("destroy -e dev --yes --allow-destroy");
    assert!(stopped.err.contains("the database `windlass_owned` exists and is not ours"), "{}", stopped.err);
    servers.psql("postgres", &format!("COMMENT ON DATABASE windlass_owned IS 'managed by windlass: {}'", mark(&scene))).unwrap();
    scene.folder.ok("destroy -e dev --yes");
}

/// Privileges of a role in the test's database: on the database, the schema, the tables, later tables.
fn rights(servers: &SharedServers, database: &str, role: &str) -> String {
    let query = format!(
        "SELECT concat_ws(' ', \
            CASE WHEN EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = '{database}' AND a.grantee = r.oid) THEN 'database' END, \
            CASE WHEN EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'public' AND a.grantee = r.oid) THEN 'schema' END, \
            CASE WHEN EXISTS (SELECT FROM pg_class c, aclexplode(c.relacl) a WHERE c.relname = 'orders' AND a.grantee = r.oid) THEN 'table' END, \
            CASE WHEN EXISTS (SELECT FROM pg_default_acl d, aclexplode(d.defaclacl) a WHERE a.grantee = r.oid) THEN 'later' END) \
         FROM pg_roles r WHERE r.rolname = '{role}'"
    );
    servers.psql(database, &query).unwrap()
}

#[test]
fn what_leaves_a_database_s_lists_is_taken_back_or_stays_as_documented() {
    let [reader, auditor] = ["reader", "auditor"].map(|role| format!("windlass_{role}_{}", std::process::id()));
    let name = format!("windlass_lists_{}", std::process::id());
    let inputs = |readers: &str, extensions: &str| format!("name: {name}, readers: [{readers}], extensions: [{extensions}]");
    let both = format!("{reader}, {auditor}");
    let (scene, servers) = scene("pglists", &inputs(&both, "pgcrypto, citext"));
    servers.psql("postgres", &format!("CREATE ROLE {reader}; CREATE ROLE {auditor}")).unwrap();
    let params = |schemas: &str| WEB.replace("{ type: postgres }", &format!("{{ type: postgres, params: {{ schemas: [{schemas}] }} }}"));
    scene.folder.write("app/web.score.yaml", &params("sales, stock"));
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    servers.psql(&name, &format!("SET ROLE {name}; CREATE TABLE orders (id int)")).unwrap();
    for role in [&reader, &auditor] {
        assert_eq!(rights(&servers, &name, role), "database schema table later");
    }
    let redeploy = |readers: &str, extensions: &str| {
        scene.folder.write("platform/definition.yaml", &postgres_definition(&inputs(readers, extensions)));
        scene.folder.ok("platform apply platform");
        scene.folder.run("deploy app -e dev --yes")
    };
    // Another thing changes too: what is taken back stands in the record of the last deployment only.
    assert_eq!(redeploy(&auditor, "pgcrypto").code, 0);
    assert_eq!(rights(&servers, &name, &reader), "", "a reader that left the list keeps nothing");
    assert_eq!(rights(&servers, &name, &auditor), "database schema table later");
    // A deployment that fails between is no reason to forget whom the one before it let in.
    let missing = format!("windlass_missing_{}", std::process::id());
    let failed = redeploy(&missing, "pgcrypto");
    assert_eq!(failed.code, 1, "{}", failed.err);
    scene.folder.write("app/web.score.yaml", &params("sales"));
    let last = redeploy("", "");
    assert_eq!(last.code, 0, "{}", last.err);
    assert_eq!(rights(&servers, &name, &auditor), "", "the last reader keeps nothing");
    // Extensions and schemas hold data of others: they stay.
    let stay = "SELECT (SELECT count(*) FROM pg_extension WHERE extname IN ('pgcrypto', 'citext')) \
        + (SELECT count(*) FROM pg_namespace WHERE nspname IN ('sales', 'stock'))";
    assert_eq!(servers.psql(&name, stay).unwrap(), "4");
    // A role that is gone by now holds nothing up.
    assert_eq!(redeploy(&both, "").code, 0);
    servers.psql(&name, &format!("DROP OWNED BY {reader}")).unwrap();
    servers.psql("postgres", &format!("DROP OWNED BY {reader}; DROP ROLE {reader}")).unwrap();
    let without = redeploy(&auditor, "");
    assert_eq!(without.code, 0, "{}", without.err);
    // A right that somebody took away by hand is seen.
    servers.psql("postgres", &format!("REVOKE CONNECT ON DATABASE {name} FROM {auditor}")).unwrap();
    let drift = scene.folder.run("drift -e dev --detailed-exitcode");
    assert!(drift.code == 2 && drift.out.contains("lacks CONNECT on the database"), "{}", drift.out);
    scene.folder.ok("deploy app -e dev --yes");
    scene.folder.ok("destroy -e dev --yes");
    servers.psql("postgres", &format!("DROP ROLE {auditor}")).unwrap();
}

#[test]
fn a_password_that_can_t_be_compared_is_unseen() {
    let name = format!("windlass_unseen_{}", std::process::id());
    let (scene, servers) = scene("pgunseen", &format!("name: {name}"));
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    servers.psql("postgres", &format!("ALTER ROLE {name}_a PASSWORD 'another'")).unwrap();
    let drift = scene.folder.run("drift -e dev --detailed-exitcode");
    assert_eq!(drift.code, 0, "{}", drift.out);
    assert!(drift.out.contains(&format!("unseen   login/{name} /password")), "{}", drift.out);
    assert!(!drift.out.contains("everything is as it was left"), "{}", drift.out);
    let data = scene.folder.ok("drift -e dev -o json");
    assert!(data.out.contains("\"state\": \"unseen\"") && data.out.contains("/password"), "{}", data.out);
    // What the hint says works.
    servers.psql("postgres", "GRANT SELECT ON pg_catalog.pg_authid TO manager").unwrap();
    let seen = scene.folder.run("drift -e dev --detailed-exitcode");
    servers.psql("postgres", &format!("ALTER ROLE {name}_a PASSWORD NULL")).unwrap();
    let none = scene.folder.run("drift -e dev --detailed-exitcode");
    servers.psql("postgres", "REVOKE SELECT ON pg_catalog.pg_authid FROM manager").unwrap();
    assert!(seen.code == 2 && seen.out.contains("/password: \"as planned\" → \"another\""), "{}", seen.out);
    assert!(none.code == 2 && none.out.contains("/password: \"as planned\" → \"none\""), "{}", none.out);
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn what_keeps_a_role_is_told_in_the_server_s_words() {
    let name = format!("windlass_kept_{}", std::process::id());
    let (scene, servers) = scene("pgkept", &format!("name: {name}"));
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let elsewhere = format!("{name}_elsewhere");
    servers.psql("postgres", &format!("CREATE DATABASE {elsewhere}")).unwrap();
    servers.psql(&elsewhere, &format!("CREATE TABLE kept (id int); ALTER TABLE kept OWNER TO {name}")).unwrap();
    let refused = scene.folder.run("destroy -e dev --yes");
    assert!(refused.err.contains(&format!("1 object in database {elsewhere}")), "{}", refused.err);
    servers.psql("postgres", &format!("DROP DATABASE {elsewhere}")).unwrap();
    scene.folder.ok("destroy -e dev --yes");
}

/// The mark of the scene's environment, as the namespace carries it.
fn mark(scene: &Scene) -> String {
    let namespace: serde_json::Value =
        serde_json::from_str(&scene.kubectl(&["get", "namespace", &scene.namespace, "-o", "json"]).unwrap()).unwrap();
    namespace["metadata"]["annotations"]["windlass.dev/mark"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_retained_can_be_let_go_and_what_blocks_a_removal_is_said() {
    let (scene, servers) = scene("pgrelease", "name: windlass_released");
    servers.psql("postgres", "DROP DATABASE IF EXISTS windlass_released").unwrap();
    for role in ["windlass_released_a", "windlass_released"] {
        servers.psql("postgres", &format!("DROP ROLE IF EXISTS {role}")).unwrap();
    }
    let definition = scene.folder.read("platform/definition.yaml") + "  onRemove: retain\n";
    scene.folder.write("platform/definition.yaml", &definition);
    scene.folder.ok("platform apply platform");
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let used = scene.folder.run("deletable postgres#web.db -e dev");
    assert_eq!(used.code, 5, "{}", used.err);
    assert!(used.err.contains("In use by workload/web") && used.out.contains("stays: onRemove is retain"), "{}{}", used.out, used.err);
    let refused = scene.folder.run("release postgres#web.db -e dev");
    assert!(refused.err.contains("is still deployed"), "{}", refused.err);
    // It leaves the application and stays where it is.
    let alone = WEB.split("resources:").next().unwrap().lines().filter(|line| !line.contains("PG")).collect::<Vec<_>>().join("\n");
    scene.folder.write("app/web.score.yaml", &alone.replace("    variables:", "    variables: { A: b }"));
    scene.folder.ok("deploy app -e dev --yes");
    let comment = "SELECT coalesce(shobj_description(oid, 'pg_database'), 'none') FROM pg_database WHERE datname = 'windlass_released'";
    assert!(servers.psql("postgres", comment).unwrap().starts_with("managed by windlass"));
    scene.folder.ok("release postgres#web.db -e dev");
    assert_eq!(servers.psql("postgres", comment).unwrap(), "none");
    assert!(!scene.folder.ok("env show -e dev").out.contains("windlass_released"));
    // It is nobody's: the same application asks for it again and is told so.
    scene.folder.write("app/web.score.yaml", WEB);
    let again = scene.folder.run("deploy app -e dev --yes");
    assert!(again.err.contains("exists, and Windlass did not make it"), "{}", again.err);
    servers.psql("postgres", "DROP DATABASE windlass_released").unwrap();
    for role in ["windlass_released_a", "windlass_released"] {
        servers.psql("postgres", &format!("DROP ROLE {role}")).unwrap();
    }
}
