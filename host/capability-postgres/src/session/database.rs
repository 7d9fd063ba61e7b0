//! Databases, and what belongs into them before anybody uses them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::PgConnection;
use windlass_engine::session::{CapabilityError, Owner, Ownership, ResolvedAction};
use windlass_model::event::DriftedField;

use super::{Made, Work, address, differs, run_inside};
use crate::{
    connect::Server,
    error,
    look::{self, Seen},
    spec::{DatabaseSpec, GrantSpec, Spec},
    sql::{self, limit, literal, name},
};

/// Tells whether a database was marked once: then its owner is no word for whose it is.
pub(crate) fn is_marked(handle: &Value) -> bool {
    handle.get("marked").and_then(Value::as_bool).unwrap_or_default()
}

/// Makes a database and furnishes it, or makes it so.
pub(crate) async fn ensure(work: &mut Work<'_>, action: &ResolvedAction, spec: &DatabaseSpec) -> Result<Made, CapabilityError> {
    let what = format!("the database `{}`", spec.name);
    let quoted = name(&spec.name);
    let mut changed = false;
    let mut statements = Vec::new();
    let comment = format!("COMMENT ON DATABASE {quoted} IS {}", literal(&look::mark(work.owner)));
    match work.seen.databases.get(&spec.name) {
        None => {
            // It can't stand in a transaction: what is cut off here is ours by its owner.
            work.run(&what, &[create(spec)]).await?;
            changed = true;
            statements.push(comment);
            statements.push(format!("REVOKE CONNECT, TEMPORARY ON DATABASE {quoted} FROM PUBLIC"));
        }
        Some(known) => {
            let marked = action.recorded.as_ref().is_some_and(|recorded| is_marked(&recorded.handle));
            let whose = known.whose(work.owner, marked);
            whose.admit(&what, action.insistence)?;
            if known.comment.as_deref() != Some(&look::mark(work.owner)) {
                statements.push(comment);
                // It was cut off before this, or is taken over.
                if whose == Ownership::Ours {
                    statements.push(format!("REVOKE CONNECT, TEMPORARY ON DATABASE {quoted} FROM PUBLIC"));
                }
            }
            if known.owner != spec.owner {
                statements.push(format!("ALTER DATABASE {quoted} OWNER TO {}", name(&spec.owner)));
            }
            if known.connection_limit != limit(spec.connection_limit) {
                statements.push(format!("ALTER DATABASE {quoted} CONNECTION LIMIT {}", limit(spec.connection_limit)));
            }
        }
    }
    let (given, taken) = grants(action, spec);
    let readers: BTreeSet<&str> = given.iter().map(|grant| grant.to.as_str()).collect();
    statements.extend(readers.iter().map(|to| format!("GRANT CONNECT ON DATABASE {quoted} TO {}", name(to))));
    changed |= !statements.is_empty();
    work.run(&what, &statements).await?;
    if !(spec.extensions.is_empty() && spec.schemas.is_empty() && given.is_empty() && taken.is_empty()) {
        let mut inside = work.server.inside(&spec.name).await?;
        let there = look::inside(&mut inside).await?;
        let mut statements: Vec<String> = Vec::new();
        let missing = |wanted: &[String], known: &[String]| -> Vec<String> {
            wanted.iter().filter(|wanted| !known.contains(wanted)).cloned().collect()
        };
        for extension in missing(&spec.extensions, &there.extensions) {
            statements.push(format!("CREATE EXTENSION IF NOT EXISTS {}", name(&extension)));
        }
        for schema in missing(&spec.schemas, &there.schemas) {
            statements.push(format!("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}", name(&schema), name(&spec.owner)));
        }
        statements.extend(taken.iter().flat_map(|grant| sql::revoke(grant, &spec.owner)));
        statements.extend(given.iter().flat_map(|grant| sql::grant(grant, &spec.owner)));
        changed |= !statements.is_empty();
        run_inside(&mut inside, &format!("inside {what}"), &statements).await?;
    }
    Ok(Made { handle: json!({ "marked": true }), outputs: address(work.server), changed, unsettled: false })
}

fn create(spec: &DatabaseSpec) -> String {
    let mut statement = format!(
        "CREATE DATABASE {} OWNER {} ENCODING {} CONNECTION LIMIT {}",
        name(&spec.name),
        name(&spec.owner),
        literal(spec.encoding.as_deref().unwrap_or("UTF8")),
        limit(spec.connection_limit)
    );
    if spec.encoding.is_some() || spec.locale.is_some() {
        statement.push_str(" TEMPLATE template0");
    }
    if let Some(locale) = &spec.locale {
        statement.push_str(&format!(" LOCALE {}", literal(locale)));
    }
    statement
}

/// Returns the grants to give and those to take back: what the last deployment gave and this one does not.
fn grants(action: &ResolvedAction, spec: &DatabaseSpec) -> (Vec<GrantSpec>, Vec<GrantSpec>) {
    let before = match action.recorded.as_ref().and_then(|recorded| Spec::parse(&recorded.spec.to_value()).ok()) {
        Some(Spec::Database(before)) => before.grants,
        _ => Vec::new(),
    };
    let taken = before.into_iter().filter(|grant| !spec.grants.contains(grant)).collect();
    (spec.grants.clone(), taken)
}

/// Compares a database, and what belongs inside of it, with what was recorded.
pub(crate) async fn observe(
    server: &Server,
    seen: &Seen,
    owner: &Owner,
    spec: &DatabaseSpec,
) -> Result<(Option<Ownership>, Vec<DriftedField>), CapabilityError> {
    let Some(known) = seen.databases.get(&spec.name) else { return Ok((None, Vec::new())) };
    let mut drift = Vec::new();
    differs(&mut drift, "/owner", json!(spec.owner), json!(known.owner));
    differs(&mut drift, "/connectionLimit", json!(limit(spec.connection_limit)), json!(known.connection_limit));
    // A deployment heals what is in there too, so this is looked at whatever the depth; a database without any of it costs nothing.
    if !(spec.extensions.is_empty() && spec.schemas.is_empty() && spec.grants.is_empty()) {
        let mut connection = server.inside(&spec.name).await?;
        let inside = look::inside(&mut connection).await?;
        for (field, wanted, found) in [("extensions", &spec.extensions, &inside.extensions), ("schemas", &spec.schemas, &inside.schemas)] {
            for missing in wanted.iter().filter(|wanted| !found.contains(wanted)) {
                differs(&mut drift, &format!("/{field}"), json!(missing), json!(null));
            }
        }
        for (index, grant) in spec.grants.iter().enumerate() {
            let lacking = look::lacking(&mut connection, grant, &spec.owner).await?;
            if !lacking.is_empty() {
                let wanted = format!("{} may {} in {}", grant.to, grant.access, grant.schema);
                differs(&mut drift, &format!("/grants/{index}"), json!(wanted), json!(format!("lacks {}", lacking.join(", "))));
            }
        }
    }
    let whose = look::whose(known.comment.as_deref(), owner);
    Ok((Some(whose), drift))
}

/// Drops a database of ours; tells whether it was there.
pub(crate) async fn delete(work: &mut Work<'_>, database: &str, marked: bool) -> Result<bool, CapabilityError> {
    let Some(known) = work.seen.databases.get(database) else { return Ok(false) };
    known.whose(work.owner, marked).admit_removal(&format!("the database `{database}`"))?;
    work.run(&format!("dropping the database `{database}`"), &[format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", name(database))]).await?;
    Ok(true)
}

/// Takes our mark from a database.
pub(crate) async fn release(work: &mut Work<'_>, database: &str) -> Result<(), CapabilityError> {
    let ours = work.seen.databases.get(database).is_some_and(|known| known.whose(work.owner, true) == Ownership::Ours);
    let statements = if ours { vec![format!("COMMENT ON DATABASE {} IS NULL", name(database))] } else { Vec::new() };
    work.run("letting go of a database", &statements).await
}

/// Returns which of these extensions the server has.
pub(crate) async fn available(server: &mut PgConnection, wanted: &BTreeSet<String>) -> Result<BTreeSet<String>, CapabilityError> {
    if wanted.is_empty() {
        return Ok(BTreeSet::new());
    }
    let names: Vec<String> = wanted.iter().cloned().collect();
    let found: Vec<String> = sqlx::query_scalar("SELECT name::text FROM pg_available_extensions WHERE name = ANY($1)")
        .bind(names)
        .fetch_all(server)
        .await
        .map_err(|error| error::of("asking for extensions", &error))?;
    Ok(found.into_iter().collect())
}
