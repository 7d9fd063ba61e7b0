//! What a server holds: roles and databases by name, a query for each kind, whatever the number.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{
    Postgres, Row as _,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use windlass_engine::session::{CapabilityError, CapabilityErrorKind, Owner, Ownership};

use crate::{
    error,
    link::Link,
    query,
    spec::{BEYOND, GrantSpec, Spec},
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
    /// The owner of a database can write its comment, but not that of its own role: a role of another environment decides.
    pub(crate) fn whose(&self, owner: &Owner, marked: bool) -> Ownership {
        let of_role = whose(self.owner_comment.as_deref(), owner);
        match whose(self.comment.as_deref(), owner) {
            Ownership::Ours if matches!(of_role, Ownership::Other(_)) => of_role,
            Ownership::None if !marked && self.comment.is_none() && of_role == Ownership::Ours => Ownership::Ours,
            seen => seen,
        }
    }
}

/// A role that another one reaches by membership, and that is not for an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub role: String,
    pub comment: Option<String>,
}

/// What was seen of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub roles: BTreeMap<String, Role>,
    pub databases: BTreeMap<String, Database>,
    /// By the role that reaches it; a superuser reaches every role.
    pub reached: BTreeMap<String, Reached>,
    /// Whether the managing role is a superuser.
    pub superuser: bool,
    /// Whether the managing role may read what is stored of passwords.
    pub reads_passwords: bool,
}

impl Seen {
    /// Refuses a spec that would take the rights of another environment's role, or those of a role that reaches beyond databases: its
    /// own, or those of any role that it is a member of. Of roles that are about to be `made`, their own specs decide.
    pub(crate) fn admit_uses(&self, owner: &Owner, spec: &Spec, made: &BTreeSet<&str>) -> Result<(), CapabilityError> {
        for name in spec.roles() {
            if self.roles.get(&name).is_some_and(|role| role.powerful) {
                let what = format!("the role `{name}` exists and has attributes of a role that manages the server");
                return Err(CapabilityError::new(CapabilityErrorKind::Denied, what).hint(format!(
                    "`ALTER ROLE {} NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS` takes them away",
                    sql::name(&name)
                )));
            }
        }
        for (_, name) in spec.used() {
            let Some(reached) = self.reached.get(name).filter(|_| !made.contains(name)) else { continue };
            let why = match whose(reached.comment.as_deref(), owner) {
                Ownership::Other(owner) => format!("belongs to {owner}"),
                Ownership::Ours | Ownership::None => "reaches beyond the databases of an environment".to_owned(),
            };
            let through = if reached.role == name { String::new() } else { format!(" through its membership in `{name}`") };
            let what = format!("`{}` would get the rights of the role `{}`{through}, which {why}", spec.name(), reached.role);
            return Err(CapabilityError::new(CapabilityErrorKind::Denied, what)
                .hint("let the database's own `grants` say who may do what in it, or use a role that is the environment's own"));
        }
        Ok(())
    }
}

/// Looks at roles and databases by name; of the roles in `used`, also at what they reach.
pub(crate) async fn look(
    server: &mut Link,
    owner: &Owner,
    roles: &[String],
    used: &[String],
    databases: &[String],
) -> Result<Seen, CapabilityError> {
    let what = "looking at the server";
    let fail = |error: sqlx::Error| error::of(what, &error);
    let mut seen = Seen::default();
    for row in server.rows(what, sqlx::query(query::MANAGER)).await? {
        seen.superuser = row.try_get("superuser").map_err(fail)?;
        seen.reads_passwords = row.try_get("readable").map_err(fail)?;
    }
    seen.roles = self::roles(server, roles).await?;
    if seen.reads_passwords && !roles.is_empty() {
        for row in server.rows(what, sqlx::query(query::VERIFIERS).bind(roles)).await? {
            let name: String = row.try_get("name").map_err(fail)?;
            if let Some(role) = seen.roles.get_mut(&name) {
                role.verifier = row.try_get("verifier").map_err(fail)?;
            }
        }
    }
    if !used.is_empty() {
        let query = sqlx::query(query::REACHED).bind(used).bind(&BEYOND[..]).bind(MARK).bind(mark(owner));
        for row in server.rows(what, query).await? {
            let reached = Reached { role: row.try_get("reached").map_err(fail)?, comment: row.try_get("comment").map_err(fail)? };
            seen.reached.insert(row.try_get("used").map_err(fail)?, reached);
        }
    }
    if !databases.is_empty() {
        for row in server.rows(what, sqlx::query(query::DATABASES).bind(databases)).await? {
            let (name, database) = database(&row).map_err(fail)?;
            seen.databases.insert(name, database);
        }
    }
    Ok(seen)
}

/// Looks at roles by name, but for what is stored of their passwords.
pub(crate) async fn roles(server: &mut Link, names: &[String]) -> Result<BTreeMap<String, Role>, CapabilityError> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let what = "looking at roles";
    let rows = server.rows(what, sqlx::query(query::ROLES).bind(names)).await?;
    rows.iter().map(|row| role(row).map_err(|error| error::of(what, &error))).collect()
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

/// Says what a role lacks of a grant, in the words of the server's privileges.
pub(crate) async fn lacking(database: &mut Link, grant: &GrantSpec, owner: &str) -> Result<Vec<String>, CapabilityError> {
    let privileges = sql::privileges(grant.access);
    let query = sqlx::query(query::LACKING)
        .bind(&grant.to)
        .bind(owner)
        .bind(&grant.schema)
        .bind(privileges.schema)
        .bind(privileges.tables)
        .bind(privileges.sequences);
    texts(database, "looking at grants", query).await
}

/// What stands inside a database, of what its spec names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inside {
    pub extensions: BTreeSet<String>,
    pub schemas: BTreeSet<String>,
}

/// Looks inside a database for extensions and schemas by their names.
pub(crate) async fn inside(database: &mut Link, extensions: &[String], schemas: &[String]) -> Result<Inside, CapabilityError> {
    let what = "looking into the database";
    let mut inside = Inside::default();
    for row in database.rows(what, sqlx::query(query::INSIDE).bind(extensions).bind(schemas)).await? {
        let kind: String = row.try_get("kind").map_err(|error| error::of(what, &error))?;
        let name: String = row.try_get("name").map_err(|error| error::of(what, &error))?;
        if kind == "extension" {
            inside.extensions.insert(name)
        } else {
            inside.schemas.insert(name)
        };
    }
    Ok(inside)
}

/// An extension that the server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Available {
    /// The schema that its objects stand in, where it insists on one.
    pub schema: Option<String>,
    /// Whether the owner of a database may create it.
    pub trusted: bool,
}

/// Returns which of these extensions the server has.
pub(crate) async fn available(server: &mut Link, wanted: &BTreeSet<String>) -> Result<BTreeMap<String, Available>, CapabilityError> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let what = "asking for extensions";
    let names: Vec<String> = wanted.iter().cloned().collect();
    let mut found = BTreeMap::new();
    for row in server.rows(what, sqlx::query(query::AVAILABLE).bind(names)).await? {
        let fail = |error: sqlx::Error| error::of(what, &error);
        let available = Available { schema: row.try_get("schema").map_err(fail)?, trusted: row.try_get("trusted").map_err(fail)? };
        found.insert(row.try_get("name").map_err(fail)?, available);
    }
    Ok(found)
}

/// Refuses a database in which statements would run code of a role without the rights of this session: `SET ROLE` does not hold such
/// code back, because it can `RESET ROLE`.
pub(crate) async fn admit_event_triggers(database: &mut Link, what: &str) -> Result<(), CapabilityError> {
    match owned(database, what, query::EVENT_TRIGGERS).await? {
        None => Ok(()),
        Some((trigger, owner)) => Err(CapabilityError::new(
            CapabilityErrorKind::Denied,
            format!("{what}: the event trigger `{trigger}` would run a function of the role `{owner}` with the connection's rights"),
        )
        .hint("give the function to a superuser, or disable the trigger: `ALTER EVENT TRIGGER … DISABLE`")),
    }
}

/// Refuses to run the script of an extension with the connection's rights where it could call what another role made.
pub(crate) async fn admit_scripts(database: &mut Link, what: &str, extension: &str) -> Result<(), CapabilityError> {
    match owned(database, what, query::FOREIGN_CODE).await? {
        None => Ok(()),
        Some((function, owner)) => Err(CapabilityError::new(
            CapabilityErrorKind::Denied,
            format!("{what}: the extension `{extension}` is not trusted, and its script could call `{function}` of the role `{owner}` with the connection's rights"),
        )
        .hint("create the extension as a superuser, after a look at the functions of the database")),
    }
}

/// Returns the first `name` and `owner` of a query without arguments.
async fn owned(database: &mut Link, what: &str, query: &'static str) -> Result<Option<(String, String)>, CapabilityError> {
    let fail = |error: sqlx::Error| error::of(what, &error);
    match database.rows(what, sqlx::query(query)).await?.first() {
        None => Ok(None),
        Some(row) => Ok(Some((row.try_get("name").map_err(fail)?, row.try_get("owner").map_err(fail)?))),
    }
}

/// Lists what carries our mark: `role/NAME` and `database/NAME`.
pub(crate) async fn ours(server: &mut Link, owner: &Owner) -> Result<Vec<String>, CapabilityError> {
    texts(server, "listing what is ours", sqlx::query(query::MARKED).bind(mark(owner))).await
}

/// Returns the first column of a query.
async fn texts(server: &mut Link, what: &str, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<String>, CapabilityError> {
    let rows = server.rows(what, query).await?;
    rows.iter().map(|row| row.try_get(0).map_err(|error| error::of(what, &error))).collect()
}

#[cfg(test)]
mod tests {
    use windlass_model::state::EnvironmentKey;

    use super::*;

    fn owner(environment: &str) -> Owner {
        let environment = EnvironmentKey { application: "shop".parse().unwrap(), environment: environment.parse().unwrap() };
        Owner { installation: "11111111-2222-3333-4444-555555555555".into(), environment }
    }

    fn database(comment: Option<&Owner>, role: Option<&Owner>) -> Database {
        let (comment, owner_comment) = (comment.map(mark), role.map(mark));
        Database { oid: 1, owner: "shop".into(), connection_limit: -1, comment, owner_comment }
    }

    #[test]
    fn the_role_that_owns_a_database_counts_more_than_a_comment_that_it_may_write() {
        let (dev, production) = (owner("dev"), owner("production"));
        let belongs_to_dev = Ownership::Other(dev.to_string());
        assert_eq!(database(Some(&production), Some(&dev)).whose(&production, true), belongs_to_dev);
        assert_eq!(database(Some(&production), Some(&dev)).whose(&production, false), belongs_to_dev);
        assert_eq!(database(Some(&dev), Some(&dev)).whose(&dev, true), Ownership::Ours);
        assert_eq!(database(Some(&dev), None).whose(&dev, true), Ownership::Ours);
        assert_eq!(database(None, Some(&dev)).whose(&dev, false), Ownership::Ours);
        assert_eq!(database(None, Some(&dev)).whose(&dev, true), Ownership::None);
    }
}
