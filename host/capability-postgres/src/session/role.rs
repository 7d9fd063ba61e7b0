//! Roles that nobody logs in with.

use serde_json::{Map, json};
use windlass_engine::session::{ActionRef, CapabilityError, Owner, Ownership, ResolvedAction};
use windlass_model::event::DriftedField;

use super::{Made, Work, differs};
use crate::{
    look::{self, Seen},
    spec::RoleSpec,
    sql::{literal, name},
};

/// Makes a role, or makes it so.
pub(crate) async fn ensure(work: &mut Work<'_>, action: &ResolvedAction, spec: &RoleSpec) -> Result<Made, CapabilityError> {
    let quoted = name(&spec.name);
    let comment = format!("COMMENT ON ROLE {quoted} IS {}", literal(&look::mark(work.owner)));
    let mut statements = Vec::new();
    let known = work.seen.roles.get(&spec.name);
    match known {
        None => {
            statements.push(format!("CREATE ROLE {quoted} NOLOGIN"));
            statements.push(comment);
            statements.extend(spec.member_of.iter().map(|of| format!("GRANT {} TO {quoted}", name(of))));
            if !work.seen.superuser {
                // Only a member of a role may make databases for it.
                statements.push(format!("GRANT {quoted} TO {}", name(&work.server.user)));
            }
        }
        Some(role) => {
            let whose = look::whose(role.comment.as_deref(), work.owner);
            whose.admit(&format!("the role `{}`", spec.name), action.insistence)?;
            if whose != Ownership::Ours {
                statements.push(comment);
            }
            if role.can_login && whose == Ownership::Ours {
                statements.push(format!("ALTER ROLE {quoted} NOLOGIN"));
            }
            statements.extend(
                spec.member_of.iter().filter(|of| !role.member_of.contains(of)).map(|of| format!("GRANT {} TO {quoted}", name(of))),
            );
            statements.extend(
                role.member_of.iter().filter(|of| !spec.member_of.contains(of)).map(|of| format!("REVOKE {} FROM {quoted}", name(of))),
            );
        }
    }
    work.run(&format!("the role `{}`", spec.name), &statements).await?;
    Ok(Made { handle: json!({}), outputs: Map::new(), changed: !statements.is_empty(), unsettled: false })
}

/// Compares a role with what was recorded.
pub(crate) fn observe(seen: &Seen, owner: &Owner, _: &ActionRef<'_>, spec: &RoleSpec) -> (Option<Ownership>, Vec<DriftedField>) {
    let Some(role) = seen.roles.get(&spec.name) else { return (None, Vec::new()) };
    let mut drift = Vec::new();
    let mut wanted = spec.member_of.clone();
    wanted.sort();
    differs(&mut drift, "/memberOf", json!(wanted), json!(role.member_of));
    differs(&mut drift, "/login", json!(false), json!(role.can_login));
    (Some(look::whose(role.comment.as_deref(), owner)), drift)
}

/// Drops a role of ours; tells whether it was there.
pub(crate) async fn delete(work: &mut Work<'_>, role: &str) -> Result<bool, CapabilityError> {
    let Some(known) = work.seen.roles.get(role) else { return Ok(false) };
    look::whose(known.comment.as_deref(), work.owner).admit_removal(&format!("the role `{role}`"))?;
    work.run(&format!("dropping the role `{role}`"), &[format!("DROP ROLE IF EXISTS {}", name(role))]).await?;
    Ok(true)
}

/// Takes our mark from roles.
pub(crate) async fn release(work: &mut Work<'_>, roles: &[String]) -> Result<(), CapabilityError> {
    let ours = |role: &&String| {
        work.seen.roles.get(*role).is_some_and(|known| look::whose(known.comment.as_deref(), work.owner) == Ownership::Ours)
    };
    let statements: Vec<String> = roles.iter().filter(ours).map(|role| format!("COMMENT ON ROLE {} IS NULL", name(role))).collect();
    work.run("letting go of roles", &statements).await
}
