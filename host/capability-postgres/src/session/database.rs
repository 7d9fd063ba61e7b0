//! Databases, and what belongs into them before anybody uses them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use windlass_engine::session::{CapabilityError, Owner, Ownership, PriorState, ResolvedAction};
use windlass_model::event::DriftedField;

use super::{Made, Work, address, differs};
use crate::{
    connect::{Server, become_owner},
    link::Link,
    look::{self, Available, Inside, Seen},
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
            let marked = action.prior.as_ref().is_some_and(|prior| is_marked(&prior.handle));
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
    let taken = taken_grants(action.prior.as_ref(), spec, work.seen);
    let readers: BTreeSet<&str> = spec.grants.iter().map(|grant| grant.to.as_str()).collect();
    let former = taken.iter().map(|(_, grant)| grant.to.as_str()).filter(|to| !readers.contains(to)).collect::<BTreeSet<&str>>();
    statements.extend(former.iter().map(|to| format!("REVOKE CONNECT ON DATABASE {quoted} FROM {}", name(to))));
    statements.extend(readers.iter().map(|to| format!("GRANT CONNECT ON DATABASE {quoted} TO {}", name(to))));
    changed |= !statements.is_empty();
    work.run(&what, &statements).await?;
    if is_furnished(spec) || !taken.is_empty() {
        let mut inside = work.server.inside(&spec.name).await?;
        let furnished = furnish(&mut inside, spec, &taken, work.seen).await;
        inside.close().await;
        changed |= furnished?;
    }
    Ok(Made { handle: json!({ "marked": true }), outputs: address(work.server), changed, unsettled: false })
}

/// Makes what belongs into a database; returns whether anything was sent. All of it happens as the owner, but for extensions that
/// only a role with more rights may create.
async fn furnish(inside: &mut Link, spec: &DatabaseSpec, taken: &[(String, GrantSpec)], seen: &Seen) -> Result<bool, CapabilityError> {
    let what = format!("inside the database `{}`", spec.name);
    let named: Vec<String> = spec.schemas.iter().chain(taken.iter().map(|(_, grant)| &grant.schema)).cloned().collect();
    let there = look::inside(inside, &spec.extensions, &named).await?;
    look::admit_event_triggers(inside, &what).await?;
    let is_revoked = revoke(inside, spec, taken, &there).await?;
    let missing: BTreeSet<String> = spec.extensions.iter().filter(|extension| !there.extensions.contains(*extension)).cloned().collect();
    let available = look::available(inside, &missing).await?;
    let trusted = |extension: &&String| available.get(*extension).is_some_and(|available| available.trusted);
    for extension in missing.iter().filter(|extension| !trusted(extension)) {
        create_untrusted(inside, &what, extension, &available, seen.superuser).await?;
    }
    become_owner(inside, &spec.name, &spec.owner).await?;
    let mut statements: Vec<String> = missing.iter().filter(trusted).map(|extension| create_extension(extension, &available)).collect();
    for schema in spec.schemas.iter().filter(|schema| !there.schemas.contains(*schema)) {
        statements.push(format!("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}", name(schema), name(&spec.owner)));
    }
    statements.extend(spec.grants.iter().flat_map(|grant| sql::grant(grant, &spec.owner)));
    inside.run(&what, &statements).await?;
    Ok(is_revoked || !(missing.is_empty() && statements.is_empty()))
}

/// Takes back what earlier specs gave, as the role that gave it; returns whether anything was sent. A schema that is gone took its
/// grants with it.
async fn revoke(inside: &mut Link, spec: &DatabaseSpec, taken: &[(String, GrantSpec)], there: &Inside) -> Result<bool, CapabilityError> {
    let what = format!("taking grants back in the database `{}`", spec.name);
    let mut by_owner: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (owner, grant) in taken.iter().filter(|(_, grant)| there.schemas.contains(&grant.schema)) {
        by_owner.entry(owner).or_default().extend(sql::revoke(grant, owner));
    }
    for (owner, statements) in &by_owner {
        become_owner(inside, &spec.name, owner).await?;
        inside.run(&what, statements).await?;
        inside.run(&what, &["RESET ROLE".to_owned()]).await?;
    }
    Ok(!by_owner.is_empty())
}

/// Creates an extension whose script runs with the connection's rights. A superuser holds new functions back meanwhile; a role that is
/// none can't lock the catalog.
async fn create_untrusted(
    inside: &mut Link,
    what: &str,
    extension: &str,
    available: &BTreeMap<String, Available>,
    superuser: bool,
) -> Result<(), CapabilityError> {
    let mut begin = vec!["BEGIN".to_owned()];
    if superuser {
        begin.push("LOCK TABLE pg_catalog.pg_proc, pg_catalog.pg_operator IN SHARE MODE".to_owned());
    }
    inside.run(what, &begin).await?;
    look::admit_scripts(inside, what, extension).await?;
    inside.run(what, &[create_extension(extension, available), "COMMIT".to_owned()]).await
}

/// Writes the statement for an extension. The session's path is no place for its objects, so the schema is always said.
fn create_extension(extension: &str, available: &BTreeMap<String, Available>) -> String {
    let own = available.get(extension).is_some_and(|available| available.schema.is_some());
    let schema = if own { "" } else { " SCHEMA public" };
    format!("CREATE EXTENSION IF NOT EXISTS {}{schema}", name(extension))
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

/// Returns the specs that the database may have been made by so far.
pub(crate) fn prior_specs(prior: Option<&PriorState>) -> Vec<DatabaseSpec> {
    let parsed = prior.into_iter().flat_map(|prior| &prior.specs).map(|spec| Spec::parse(&spec.to_value()));
    parsed.filter_map(|spec| if let Ok(Spec::Database(spec)) = spec { Some(spec) } else { None }).collect()
}

/// Returns the grants to take back, with the owner that gave them: those of earlier deployments that this one does not give. A role
/// that is gone holds none.
fn taken_grants(prior: Option<&PriorState>, spec: &DatabaseSpec, seen: &Seen) -> Vec<(String, GrantSpec)> {
    let mut taken = BTreeSet::new();
    for before in prior_specs(prior) {
        let is_kept = |grant: &GrantSpec| before.owner == spec.owner && spec.grants.contains(grant);
        let exists = |grant: &GrantSpec| seen.roles.contains_key(&grant.to) && seen.roles.contains_key(&before.owner);
        let lost = before.grants.iter().filter(|grant| !is_kept(grant) && exists(grant));
        taken.extend(lost.map(|grant| (before.owner.clone(), grant.clone())));
    }
    taken.into_iter().collect()
}

/// Returns whether a database has contents of its own beside its owner's objects.
fn is_furnished(spec: &DatabaseSpec) -> bool {
    !(spec.extensions.is_empty() && spec.schemas.is_empty() && spec.grants.is_empty())
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
    // One that has another owner is not entered: there is no role to look at it as.
    if is_furnished(spec) && spec.owner == known.owner {
        let mut inside = server.inside_as(&spec.name, &spec.owner).await?;
        let found = observe_inside(&mut inside, spec).await;
        inside.close().await;
        drift.extend(found?);
    }
    Ok((Some(known.whose(owner, true)), drift))
}

/// Compares what stands inside a database with its spec. These are queries of the catalog alone: nothing of the owner's runs.
async fn observe_inside(inside: &mut Link, spec: &DatabaseSpec) -> Result<Vec<DriftedField>, CapabilityError> {
    let mut drift = Vec::new();
    let there = look::inside(inside, &spec.extensions, &spec.schemas).await?;
    for (field, wanted, found) in [("extensions", &spec.extensions, &there.extensions), ("schemas", &spec.schemas, &there.schemas)] {
        for missing in wanted.iter().filter(|wanted| !found.contains(*wanted)) {
            differs(&mut drift, &format!("/{field}"), json!(missing), json!(null));
        }
    }
    for (index, grant) in spec.grants.iter().enumerate() {
        let lacking = look::lacking(inside, grant, &spec.owner).await?;
        if !lacking.is_empty() {
            let wanted = format!("{} may {} in {}", grant.to, grant.access, grant.schema);
            differs(&mut drift, &format!("/grants/{index}"), json!(wanted), json!(format!("lacks {}", lacking.join(", "))));
        }
    }
    Ok(drift)
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
