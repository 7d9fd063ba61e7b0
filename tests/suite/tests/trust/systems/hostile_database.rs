//! A database whose owner lays traps in it: nothing of the owner's runs with the rights of the connection.

use windlass_cluster::SharedServers;
use windlass_suite::{
    binary::{Folder, application_document},
    cloud::{postgres_connection, postgres_definition},
};

const WEB: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers: { main: { image: web:1, variables: { PGDATABASE: \"${resources.db.name}\" } } }
resources: { db: { type: postgres } }
";

/// A folder whose application has a database of its own in the shared server.
struct Scene {
    folder: Folder,
    servers: SharedServers,
    name: String,
}

impl Scene {
    fn new(name: &str) -> Self {
        let scene = Self { folder: Folder::new(), servers: SharedServers::find().unwrap(), name: format!("{name}{}", std::process::id()) };
        scene.folder.write("app/web.score.yaml", WEB);
        scene.folder.write("app/application.yaml", &application_document(&scene.name));
        scene.folder.write("platform/postgres.yaml", &postgres_connection(&scene.servers, scene.servers.postgres_port()));
        scene
    }

    /// Stores a definition with these inputs.
    fn define(&self, inputs: &str) {
        let inputs = format!("name: {}, {inputs}", self.name);
        self.folder.write("platform/definition.yaml", &postgres_definition(&inputs));
        self.folder.ok("platform apply platform");
    }

    /// Uses the superuser of the server as the managing role.
    fn manage_as_superuser(&self) {
        let connection = self.folder.read("platform/postgres.yaml").replace("user: manager", "user: postgres");
        self.folder.write("platform/postgres.yaml", &connection);
    }

    fn deploy(&self) -> windlass_suite::binary::Ran {
        self.folder.run("deploy app -e dev --create-env development --yes")
    }

    /// Runs statements inside the database with the login of the application, its role settings included.
    fn own(&self, statements: &str) {
        let login = format!("SET SESSION AUTHORIZATION {name}_a; SET ROLE {name}; {statements}", name = self.name);
        self.servers.psql(&self.name, &login).unwrap();
    }

    /// Makes functions that take rights for the application when a role with more rights calls them, and note every call.
    fn lay_traps(&self) {
        self.own(&TRAPS.replace("NAME", &self.name));
    }

    /// Returns the roles that called a trap.
    fn caught(&self) -> String {
        self.servers.psql("postgres", &format!("ALTER DATABASE {} RESET ALL", self.name)).unwrap();
        self.servers.psql(&self.name, "SELECT role FROM evil.caught ORDER BY role").unwrap()
    }

    fn assert_no_rights_were_gained(&self) {
        assert_eq!(self.caught(), "", "code of the owner ran");
        let rights = format!(
            "SELECT count(*) FROM pg_roles r WHERE rolname LIKE '{name}%' AND (rolcreaterole OR rolcreatedb OR rolsuper
               OR pg_has_role(oid, 'pg_execute_server_program', 'MEMBER') OR pg_has_role(oid, 'manager', 'MEMBER'))",
            name = self.name
        );
        assert_eq!(self.servers.psql("postgres", &rights).unwrap(), "0");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let name = &self.name;
        for statement in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("DROP ROLE IF EXISTS {name}_a, {name}_b, {name}")]
        {
            // A failed test may have left less than this.
            let _ = self.servers.psql("postgres", &statement);
        }
    }
}

const TRAPS: &str = "
CREATE SCHEMA evil;
GRANT USAGE, CREATE ON SCHEMA evil TO PUBLIC;
CREATE TABLE evil.caught (role pg_catalog.text);
GRANT ALL ON evil.caught TO PUBLIC;
CREATE FUNCTION evil.spring() RETURNS pg_catalog.bool LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO evil.caught VALUES (SESSION_USER || ' as ' || current_user);
  BEGIN
    RESET ROLE;
    EXECUTE 'ALTER ROLE NAME_a CREATEROLE CREATEDB';
    EXECUTE 'GRANT manager, pg_execute_server_program TO NAME_a';
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
  RETURN true;
END $$;
CREATE FUNCTION evil.equal_oid(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT evil.spring() AND $1 OPERATOR(pg_catalog.=) $2';
CREATE OPERATOR evil.= (leftarg = oid, rightarg = oid, function = evil.equal_oid);
CREATE FUNCTION evil.equal_name(name, name) RETURNS bool LANGUAGE sql AS 'SELECT evil.spring() AND $1 OPERATOR(pg_catalog.=) $2';
CREATE OPERATOR evil.= (leftarg = name, rightarg = name, function = evil.equal_name);
CREATE FUNCTION evil.equal_name_text(name, text) RETURNS bool LANGUAGE sql AS 'SELECT evil.spring() AND $1 OPERATOR(pg_catalog.=) $2';
CREATE OPERATOR evil.= (leftarg = name, rightarg = text, function = evil.equal_name_text);
CREATE FUNCTION evil.equal_text(text, text) RETURNS bool LANGUAGE sql AS 'SELECT evil.spring() AND $1 OPERATOR(pg_catalog.=) $2';
CREATE OPERATOR evil.= (leftarg = text, rightarg = text, function = evil.equal_text);
CREATE FUNCTION evil.join(text, text) RETURNS text LANGUAGE sql AS 'SELECT CASE WHEN evil.spring() THEN pg_catalog.concat($1, $2) END';
CREATE OPERATOR evil.|| (leftarg = text, rightarg = text, function = evil.join);
CREATE FUNCTION evil.has_schema_privilege(oid, oid, text) RETURNS bool LANGUAGE sql AS 'SELECT evil.spring()';
CREATE FUNCTION evil.has_table_privilege(oid, oid, text) RETURNS bool LANGUAGE sql AS 'SELECT evil.spring()';
CREATE FUNCTION evil.has_sequence_privilege(oid, oid, text) RETURNS bool LANGUAGE sql AS 'SELECT evil.spring()';
CREATE FUNCTION evil.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS 'SELECT $1[1] WHERE evil.spring()';
CREATE FUNCTION evil.shobj_description(oid, name) RETURNS text LANGUAGE sql AS 'SELECT NULL::text WHERE evil.spring()';
CREATE DOMAIN evil.int8 AS pg_catalog.int8 CHECK (evil.spring());
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.spring());
CREATE VIEW evil.pg_extension AS SELECT 'x'::pg_catalog.name AS extname WHERE evil.spring();
CREATE VIEW evil.pg_namespace AS SELECT 1::oid AS oid, 'x'::pg_catalog.name AS nspname WHERE evil.spring();
CREATE VIEW evil.pg_roles AS SELECT 1::oid AS oid, 'x'::pg_catalog.name AS rolname WHERE evil.spring();
CREATE VIEW evil.pg_class AS SELECT c.* FROM pg_catalog.pg_class c WHERE evil.spring();
CREATE VIEW evil.pg_default_acl AS SELECT d.* FROM pg_catalog.pg_default_acl d WHERE evil.spring();
GRANT SELECT ON ALL TABLES IN SCHEMA evil TO PUBLIC;
CREATE TABLE public.orders (id pg_catalog.int8 DEFAULT evil.spring()::pg_catalog.int4);
CREATE INDEX ON public.orders ((id)) WHERE id > 0;
";

#[test]
fn drift_and_deploy_run_nothing_that_the_search_path_of_a_database_finds() {
    let scene = Scene::new("searchpath");
    scene.define("extensions: [pgcrypto], readers: [pg_monitor]");
    assert_eq!(scene.deploy().code, 0);
    scene.lay_traps();
    let settings = [
        "search_path = evil, pg_catalog, public",
        "statement_timeout = 1",
        "lock_timeout = 1",
        "default_transaction_read_only = on",
        "default_transaction_isolation = serializable",
        "standard_conforming_strings = off",
        "client_encoding = latin1",
        "quote_all_identifiers = on",
        "local_preload_libraries = 'missing'",
        "default_tablespace = 'missing'",
        &format!("role = {}", scene.name),
    ];
    let set: Vec<String> = settings.iter().map(|setting| format!("ALTER DATABASE {} SET {setting}", scene.name)).collect();
    scene.own(&set.join("; "));
    let drift = scene.folder.run("drift -e dev --detailed-exitcode");
    assert_eq!(drift.code, 0, "{}{}", drift.out, drift.err);
    // Another grant, an extension, and what is healed: all statements that a deployment sends into a database.
    scene.define("extensions: [citext, pgcrypto], readers: [pg_monitor, pg_read_all_stats]");
    let deployed = scene.deploy();
    assert_eq!(deployed.code, 0, "{}", deployed.err);
    scene.assert_no_rights_were_gained();
    let placed = "SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'citext'";
    assert_eq!(scene.servers.psql(&scene.name, placed).unwrap(), "public");
    scene.folder.ok("destroy -e dev --yes --allow-destroy");
}

#[test]
fn an_event_trigger_with_a_function_of_the_owner_stops_a_deployment() {
    let scene = Scene::new("eventtrigger");
    scene.define("");
    assert_eq!(scene.deploy().code, 0);
    scene.lay_traps();
    scene.own("CREATE FUNCTION evil.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM evil.spring(); END'");
    let trigger = "SET search_path = pg_catalog; CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION evil.on_ddl()";
    scene.servers.psql(&scene.name, trigger).unwrap();
    scene.define("readers: [pg_monitor], extensions: [pgcrypto]");
    let refused = scene.deploy();
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("the event trigger `watch` would run a function of the role"), "{}", refused.err);
    scene.assert_no_rights_were_gained();
    // With a function of a role that has those rights anyway it goes on.
    scene.servers.psql(&scene.name, "ALTER EVENT TRIGGER watch DISABLE").unwrap();
    assert_eq!(scene.deploy().code, 0);
    scene.assert_no_rights_were_gained();
    scene.folder.ok("destroy -e dev --yes --allow-destroy");
}

#[test]
fn the_script_of_an_untrusted_extension_meets_no_code_of_the_owner() {
    let scene = Scene::new("untrusted");
    scene.manage_as_superuser();
    scene.define("");
    assert_eq!(scene.deploy().code, 0);
    scene.own("CREATE FUNCTION public.has_privilege(text) RETURNS bool LANGUAGE sql AS 'SELECT true'");
    scene.define("extensions: [pageinspect, pgcrypto]");
    let refused = scene.deploy();
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("the extension `pageinspect` is not trusted"), "{}", refused.err);
    scene.own("DROP FUNCTION public.has_privilege(text)");
    let deployed = scene.deploy();
    assert_eq!(deployed.code, 0, "{}", deployed.err);
    let owners = "SELECT extname, extowner::regrole FROM pg_extension WHERE extname IN ('pageinspect', 'pgcrypto') ORDER BY 1";
    assert_eq!(scene.servers.psql(&scene.name, owners).unwrap(), format!("pageinspect|postgres\npgcrypto|{}", scene.name));
    scene.folder.ok("destroy -e dev --yes --allow-destroy");
}
