//! Roles whose rights come through others: PostgreSQL itself says which ones a role reaches.

use windlass_cluster::SharedServers;
use windlass_suite::{
    binary::{Folder, application_document, components},
    cloud::postgres_connection,
};

const WEB: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers: { main: { image: web:1 } }
resources: { probe: { type: probe } }
";

/// Plans or deploys a role or a login that takes the rights of another.
fn folder(servers: &SharedServers, inputs: &str) -> Folder {
    let folder = Folder::new();
    folder.write("app/web.score.yaml", WEB);
    folder.write("app/application.yaml", &application_document(&format!("reach{}", std::process::id())));
    folder.write("platform/postgres.yaml", &postgres_connection(servers, servers.postgres_port()));
    folder.write(
        "platform/probe.yaml",
        &format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: probe }}\nspec:\n  type: probe\n  driver: {{ file: {} }}\n  inputs: {{ {inputs} }}\n  grants: [{{ import: windlass:postgres/databases }}, {{ import: windlass:secrets/generated }}]\n---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: {{ name: probe }}\nspec: {{ outputs: {{ type: object }} }}\n",
            components().join("guests/postgres-roles.wasm").display()
        ),
    );
    folder.ok("platform apply platform");
    folder
}

const DEPLOY: &str = "deploy app -e dev --create-env development --yes";

#[test]
fn rights_that_a_role_reaches_through_others_are_refused() {
    let servers = SharedServers::find().unwrap();
    let own = format!("reach{}", std::process::id());
    let group = |name: &str| format!("{own}_{name}");
    let setup = [
        format!("CREATE ROLE {}; CREATE ROLE {}; CREATE ROLE {}", group("programs"), group("between"), group("outer")),
        format!("GRANT pg_execute_server_program TO {}", group("programs")),
        format!("GRANT {} TO {}; GRANT {} TO {}", group("programs"), group("between"), group("between"), group("outer")),
        format!(
            "CREATE ROLE {} CREATEROLE; CREATE ROLE {} NOINHERIT; GRANT {} TO {}",
            group("maker"),
            group("quiet"),
            group("maker"),
            group("quiet")
        ),
        format!("CREATE ROLE {}; COMMENT ON ROLE {} IS 'managed by windlass: x/shop/production'", group("prod"), group("prod")),
        format!("CREATE ROLE {}; GRANT {} TO {}", group("friend"), group("prod"), group("friend")),
        format!("CREATE ROLE {} REPLICATION; CREATE ROLE {} BYPASSRLS; CREATE ROLE {}", group("copies"), group("bypass"), group("plain")),
        format!("GRANT {} TO manager WITH ADMIN OPTION", [group("outer"), group("quiet"), group("friend"), group("plain")].join(", ")),
    ];
    servers.psql("postgres", &setup.join("; ")).unwrap();
    let refused = |role: &str, why: &str| {
        for field in ["memberOf", "actsAs"] {
            let folder = folder(&servers, &format!("name: {own}_thief, {field}: {role}"));
            let ran = folder.run(DEPLOY);
            assert_eq!(ran.code, 1, "{field} {role}: {}{}", ran.out, ran.err);
            assert!(ran.err.contains(why), "{field} {role}: {}", ran.err);
        }
    };
    for role in ["outer", "between", "programs", "maker", "quiet", "copies", "bypass"] {
        refused(&group(role), "reaches beyond the databases of an environment");
    }
    for role in ["prod", "friend"] {
        refused(&group(role), "belongs to x/shop/production");
    }
    let made = format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE '{own}_thief%'");
    assert_eq!(servers.psql("postgres", &made).unwrap(), "0", "refused before the first effect");
    // A membership that comes between two deployments counts too; a plain group may be used until then.
    let folder = folder(&servers, &format!("name: {own}_thief, actsAs: {}", group("plain")));
    folder.ok(DEPLOY);
    servers.psql("postgres", &format!("GRANT {} TO {}", group("programs"), group("plain"))).unwrap();
    let rotated = folder.run("rotate probe#web.probe -e dev --yes");
    assert_eq!(rotated.code, 1, "{}", rotated.err);
    assert!(rotated.err.contains("through its membership in"), "{}", rotated.err);
    folder.ok("destroy -e dev --yes --allow-destroy");
    let names = ["outer", "between", "programs", "quiet", "maker", "friend", "prod", "copies", "bypass", "plain", "thief_a", "thief_b"];
    servers.psql("postgres", &format!("DROP ROLE IF EXISTS {}", names.map(&group).join(", "))).unwrap();
}

#[test]
fn roles_of_postgresql_itself_and_of_hosts_are_refused_while_planning() {
    let servers = SharedServers::find().unwrap();
    for role in
        ["pg_monitor", "pg_maintain", "pg_read_server_files", "pg_read_all_data", "rds_superuser", "cloudsqlsuperuser", "azure_pg_admin"]
    {
        for field in ["memberOf", "actsAs"] {
            let folder = folder(&servers, &format!("name: reachplan, {field}: {role}"));
            let ran = folder.run("plan app -e dev --create-env development");
            assert!(ran.code != 0 && ran.err.contains("reaches beyond the databases of the environment"), "{role}: {}{}", ran.out, ran.err);
        }
    }
}
