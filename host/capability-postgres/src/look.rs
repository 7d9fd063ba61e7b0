//! What a server holds: roles and databases by name, a query for each kind, whatever the number.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgConnection, Row as _, postgres::PgRow};
use windlass_engine::session::{CapabilityError, CapabilityErrorKind, Owner, Ownership};

use crate::{
    error,
    spec::{GrantSpec, Spec},
    sql,
};

/// What a comment of ours begins with; the owner follows.
const MARK: &str = "managed by windlass: ";

/// Writes our mark.
pub(crate) fn mark(owner: &Owner) -> String {
    format!("{MARK}{owner}")
}

/// Reads whose something is by its comment.
pub(crate) fn whose(comment: Option<&str>, owner: &Owner) -> Ownership {
    match comment.and_then(|comment| comment.strip_prefix(MARK)) {
        Some(theirs) if theirs == owner.to_string() => Ownership::Ours,
        Some(theirs) => Ownership::Other(theirs.to_owned()),
        None => Ownership::None,
    }
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    pub oid: i64,
    pub can_login: bool,
    /// It may do more than what is its own: a superuser, who makes roles or databases, copies the server or passes row security.
    pub powerful: bool,
    pub connection_limit: i32,
    pub comment: Option<String>,
    /// Names, sorted.
    pub member_of: Vec<String>,
    /// The role that it acts as from the start of a session.
    pub acts_as: Option<String>,
    /// What is stored of its password, where we may read that.
    pub verifier: Option<String>,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Database {
    pub oid: i64,
    pub owner: String,
    pub connection_limit: i32,
    pub comment: Option<String>,
    /// The comment of the owner: a database that was just made has none of its own yet.
    pub owner_comment: Option<String>,
}

impl Database {
    /// Tells whose it is. Until it was marked once, what a marked role of ours owns we made: nobody else makes databases for it.
    pub(crate) fn whose(&self, owner: &Owner, marked: bool) -> Ownership {
        match whose(self.comment.as_deref(), owner) {
            Ownership::None if !marked && self.comment.is_none() && whose(self.owner_comment.as_deref(), owner) == Ownership::Ours => {
                Ownership::Ours
            }
            seen => seen,
        }
    }
}

/// What was seen of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub roles: BTreeMap<String, Role>,
    pub databases: BTreeMap<String, Database>,
    /// Whether the managing role is a superuser.
    pub superuser: bool,
}

impl Seen {
    /// Refuses what would take the rights of another environment's role for itself, or those of one that manages the server. Of roles
    /// that are about to be `made`, those who make them say whose they are.
    pub(crate) fn admit_uses(&self, owner: &Owner, spec: &Spec, made: &BTreeSet<&str>) -> Result<(), CapabilityError> {
        for (_, name) in spec.used() {
            let Some(role) = self.roles.get(name).filter(|_| !made.contains(name)) else { continue };
            let why = match whose(role.comment.as_deref(), owner) {
                Ownership::Ours => continue,
                Ownership::Other(owner) => format!("belongs to {owner}"),
                Ownership::None if role.powerful => "may do more than what is its own".to_owned(),
                Ownership::None => continue,
            };
            let what = format!("`{}` would get the rights of the role `{name}`, which {why}", spec.name());
            return Err(CapabilityError::new(CapabilityErrorKind::Denied, what)
                .hint("let the database's own `grants` say who may do what in it, or use a role that is the environment's own"));
        }
        Ok(())
    }
}

const ROLES: &str = "
    SELECT r.oid::int8 AS oid, r.rolname::text AS name, r.rolcanlogin AS can_login,
           r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls AS powerful, r.rolconnlimit AS connection_limit,
           shobj_description(r.oid, 'pg_authid') AS comment,
           ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid ORDER BY 1) AS member_of,
           (SELECT substring(setting FROM 6) FROM pg_db_role_setting s, unnest(s.setconfig) setting
             WHERE s.setrole = r.oid AND s.setdatabase = 0 AND setting LIKE 'role=%' LIMIT 1) AS acts_as
      FROM pg_roles r WHERE r.rolname = ANY($1)";

const DATABASES: &str = "
    SELECT d.oid::int8 AS oid, d.datname::text AS name, r.rolname::text AS owner, d.datconnlimit AS connection_limit,
           shobj_description(d.oid, 'pg_database') AS comment, shobj_description(r.oid, 'pg_authid') AS owner_comment
      FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = ANY($1)";

/// Looks at roles and databases by name.
pub(crate) async fn look(server: &mut PgConnection, roles: &[String], databases: &[String]) -> Result<Seen, CapabilityError> {
    let fail = |error: sqlx::Error| error::of("looking at the server", &error);
    let (superuser, readable): (bool, bool) = sqlx::query_as(
        "SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), has_table_privilege('pg_catalog.pg_authid', 'SELECT')",
    )
    .fetch_one(&mut *server)
    .await
    .map_err(fail)?;
    let mut seen = Seen { superuser, ..Seen::default() };
    if !roles.is_empty() {
        for row in sqlx::query(ROLES).bind(roles).fetch_all(&mut *server).await.map_err(fail)? {
            let (name, role) = role(&row).map_err(fail)?;
            seen.roles.insert(name, role);
        }
    }
    if readable && !roles.is_empty() {
        let verifiers: Vec<(String, Option<String>)> =
            sqlx::query_as("SELECT rolname::text, rolpassword FROM pg_catalog.pg_authid WHERE rolname = ANY($1)")
                .bind(roles)
                .fetch_all(&mut *server)
                .await
                .map_err(fail)?;
        for (name, verifier) in verifiers {
            if let Some(role) = seen.roles.get_mut(&name) {
                role.verifier = verifier;
            }
        }
    }
    if !databases.is_empty() {
        for row in sqlx::query(DATABASES).bind(databases).fetch_all(&mut *server).await.map_err(fail)? {
            let (name, database) = database(&row).map_err(fail)?;
            seen.databases.insert(name, database);
        }
    }
    Ok(seen)
}

fn role(row: &PgRow) -> Result<(String, Role), sqlx::Error> {
    let role = Role {
        oid: row.try_get("oid")?,
        can_login: row.try_get("can_login")?,
        powerful: row.try_get("powerful")?,
        connection_limit: row.try_get("connection_limit")?,
        comment: row.try_get("comment")?,
        member_of: row.try_get("member_of")?,
        acts_as: row.try_get::<Option<String>, _>("acts_as")?.map(|text| text.trim_matches('"').to_owned()),
        verifier: None,
    };
    Ok((row.try_get("name")?, role))
}

fn database(row: &PgRow) -> Result<(String, Database), sqlx::Error> {
    let database = Database {
        oid: row.try_get("oid")?,
        owner: row.try_get("owner")?,
        connection_limit: row.try_get("connection_limit")?,
        comment: row.try_get("comment")?,
        owner_comment: row.try_get("owner_comment")?,
    };
    Ok((row.try_get("name")?, database))
}

/// What a role lacks of a grant: a row for each part, empty where it may do all of it. Nobody's role may do nothing.
const LACKING: &str = "
    WITH wanted AS (
        SELECT (SELECT oid FROM pg_roles WHERE rolname = $1) AS role, (SELECT oid FROM pg_roles WHERE rolname = $2) AS owner,
               (SELECT oid FROM pg_namespace WHERE nspname = $3) AS schema, $4::text[] AS schema_privileges, $5::text[] AS tables, $6::text[] AS sequences
    ), kinds AS (
        SELECT 'r' AS object, '{r,p,v,m,f}'::\"char\"[] AS relkinds, tables AS privileges, 'tables' AS what FROM wanted
        UNION ALL SELECT 'S', '{S}', sequences, 'sequences' FROM wanted
    )
    SELECT privilege || ' on the schema' FROM wanted, unnest(schema_privileges) privilege
     WHERE NOT coalesce(has_schema_privilege(role, schema, privilege), false)
    UNION ALL
    SELECT privilege || ' on ' || relation.relname FROM wanted, kinds, unnest(privileges) privilege, pg_class relation
     WHERE relation.relnamespace = schema AND relation.relowner = owner AND relation.relkind = ANY(relkinds)
       AND NOT coalesce(CASE object WHEN 'r' THEN has_table_privilege(role, relation.oid, privilege)
                                    ELSE has_sequence_privilege(role, relation.oid, privilege) END, false)
    UNION ALL
    SELECT privilege || ' on later ' || what FROM wanted, kinds, unnest(privileges) privilege
     WHERE NOT EXISTS (SELECT FROM pg_default_acl defaults, aclexplode(defaults.defaclacl) entry
                        WHERE defaults.defaclrole = owner AND defaults.defaclnamespace = schema AND defaults.defaclobjtype = object::\"char\"
                          AND entry.grantee = role AND entry.privilege_type = privilege)
     ORDER BY 1";

/// Says what a role lacks of a grant, in the words of the server's privileges.
pub(crate) async fn lacking(database: &mut PgConnection, grant: &GrantSpec, owner: &str) -> Result<Vec<String>, CapabilityError> {
    let privileges = sql::privileges(grant.access);
    sqlx::query_scalar(LACKING)
        .bind(&grant.to)
        .bind(owner)
        .bind(&grant.schema)
        .bind(privileges.schema)
        .bind(privileges.tables)
        .bind(privileges.sequences)
        .fetch_all(database)
        .await
        .map_err(|error| error::of("looking at grants", &error))
}

/// What stands inside a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inside {
    pub extensions: Vec<String>,
    pub schemas: Vec<String>,
}

/// Looks inside a database.
pub(crate) async fn inside(database: &mut PgConnection) -> Result<Inside, CapabilityError> {
    let fail = |error: sqlx::Error| error::of("looking into the database", &error);
    let extensions =
        sqlx::query_scalar("SELECT extname::text FROM pg_extension ORDER BY 1").fetch_all(&mut *database).await.map_err(fail)?;
    let schemas = sqlx::query_scalar("SELECT nspname::text FROM pg_namespace ORDER BY 1").fetch_all(&mut *database).await.map_err(fail)?;
    Ok(Inside { extensions, schemas })
}

/// Lists what carries our mark: `role/NAME` and `database/NAME`.
pub(crate) async fn ours(server: &mut PgConnection, owner: &Owner) -> Result<Vec<String>, CapabilityError> {
    sqlx::query_scalar(
        "SELECT 'role/' || rolname FROM pg_roles WHERE shobj_description(oid, 'pg_authid') = $1
         UNION ALL SELECT 'database/' || datname FROM pg_database WHERE shobj_description(oid, 'pg_database') = $1 ORDER BY 1",
    )
    .bind(mark(owner))
    .fetch_all(server)
    .await
    .map_err(|error| error::of("listing what is ours", &error))
}
