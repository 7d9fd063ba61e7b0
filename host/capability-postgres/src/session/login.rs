//! Logins: two roles that take turns, so that a new password locks nobody out.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use windlass_engine::{
    session::{ActionRef, CapabilityError, CapabilityErrorKind as Kind, Owner, Ownership, PriorState, ResolvedAction, UnseenField},
    spec,
};
use windlass_model::{event::DriftedField, state::RecordedAction};

use super::{Made, Work, differs, role};
use crate::{
    look::{self, Seen},
    query,
    spec::{LoginSpec, Spec, TURNS, VERIFIER},
    sql::{limit, literal, name},
};

/// What is kept of a login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handle {
    /// Whose turn it is: an index into `TURNS`.
    turn: usize,
    /// Iterations and salt of the verifier: another version of the password has another salt.
    salt: String,
    /// The other role may log in still: what is deployed with it may not be ready yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    both: bool,
}

impl Handle {
    fn read(value: &Value) -> Option<Self> {
        serde_json::from_value(value.clone()).ok()
    }

    fn write(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

fn role_of(login: &str, turn: usize) -> String {
    format!("{login}{}", TURNS.get(turn).copied().unwrap_or_default())
}

/// Takes iterations and salt from a verifier.
fn salt(verifier: &str) -> Result<String, CapabilityError> {
    let inner = verifier.strip_prefix(VERIFIER).and_then(|rest| rest.split_once('$'));
    inner.map(|(salt, _)| salt.to_owned()).ok_or_else(|| CapabilityError::new(Kind::Invalid, "the password is no SCRAM verifier"))
}

/// Makes the login, or makes it so: a new password goes to the role at rest.
pub(crate) async fn ensure(work: &mut Work<'_>, action: &ResolvedAction, spec: &LoginSpec) -> Result<Made, CapabilityError> {
    let salt = salt(&spec.password)?;
    let before = action.prior.as_ref().and_then(|prior| Handle::read(&prior.handle));
    let handle = match before {
        None => Handle { turn: 0, salt, both: false },
        Some(before) if before.salt == salt => before,
        // The role at rest is still in use by what is not ready yet: it keeps its password, the other one changes again.
        Some(before) if before.both => Handle { salt, ..before },
        Some(before) => Handle { turn: (before.turn + 1) % TURNS.len(), salt, both: true },
    };
    let role = role_of(&spec.name, handle.turn);
    let quoted = name(&role);
    let attributes = format!("LOGIN CONNECTION LIMIT {} PASSWORD {}", limit(spec.connection_limit), literal(&spec.password));
    let comment = format!("COMMENT ON ROLE {quoted} IS {}", literal(&look::mark(work.owner)));
    let acts_as = name(&spec.acts_as);
    let mut statements = Vec::new();
    match work.seen.roles.get(&role) {
        None => statements.extend([
            format!("CREATE ROLE {quoted} {attributes}"),
            comment,
            format!("GRANT {acts_as} TO {quoted}"),
            format!("ALTER ROLE {quoted} SET role = {}", literal(&spec.acts_as)),
        ]),
        Some(known) => {
            let whose = look::whose(known.comment.as_deref(), work.owner);
            whose.admit(&format!("the role `{role}`"), action.insistence)?;
            let is_so = known.can_login
                && known.connection_limit == limit(spec.connection_limit)
                && (known.verifier.as_ref() == Some(&spec.password));
            if !is_so {
                statements.push(format!("ALTER ROLE {quoted} {attributes}"));
            }
            if whose != Ownership::Ours {
                statements.push(comment);
            }
            if !known.member_of.contains(&spec.acts_as) {
                statements.push(format!("GRANT {acts_as} TO {quoted}"));
            }
            if known.acts_as.as_ref() != Some(&spec.acts_as) {
                statements.push(format!("ALTER ROLE {quoted} SET role = {}", literal(&spec.acts_as)));
            }
        }
    }
    statements.extend(former_memberships(action.prior.as_ref(), work.seen, spec, &handle));
    work.run(&format!("the role `{role}`"), &statements).await?;
    Ok(Made {
        outputs: Map::from_iter([("username".to_owned(), json!(role))]),
        changed: !statements.is_empty(),
        unsettled: handle.both,
        handle: handle.write(),
    })
}

/// Takes both roles out of what earlier specs let them act as. The role at rest keeps it while what is not ready yet may log in with it;
/// `settle` ends that.
fn former_memberships(prior: Option<&PriorState>, seen: &Seen, spec: &LoginSpec, handle: &Handle) -> Vec<String> {
    let parsed = prior.into_iter().flat_map(|prior| &prior.specs).map(|spec| Spec::parse(&spec.to_value()));
    let acted = parsed.filter_map(|before| if let Ok(Spec::Login(before)) = before { Some(before.acts_as) } else { None });
    let former: BTreeSet<String> = acted.filter(|of| *of != spec.acts_as).collect();
    let mut statements = Vec::new();
    for turn in (0..TURNS.len()).filter(|turn| *turn == handle.turn || !handle.both) {
        let role = role_of(&spec.name, turn);
        let held = seen.roles.get(&role).map(|known| known.member_of.as_slice()).unwrap_or_default();
        let lost = held.iter().filter(|of| former.contains(*of));
        statements.extend(lost.map(|of| format!("REVOKE {} FROM {}", name(of), name(&role))));
    }
    statements
}

/// Compares the role whose turn it is with what was recorded.
pub(crate) fn observe(seen: &Seen, owner: &Owner, action: &ActionRef<'_>, spec: &LoginSpec) -> (Option<Ownership>, Vec<DriftedField>) {
    let handle = Handle::read(action.handle).unwrap_or_default();
    let Some(role) = seen.roles.get(&role_of(&spec.name, handle.turn)) else { return (None, Vec::new()) };
    let mut drift = Vec::new();
    differs(&mut drift, "/login", json!(true), json!(role.can_login));
    differs(&mut drift, "/connectionLimit", json!(limit(spec.connection_limit)), json!(role.connection_limit));
    if !role.member_of.contains(&spec.acts_as) || role.acts_as.as_ref() != Some(&spec.acts_as) {
        differs(&mut drift, "/actsAs", json!(spec.acts_as), json!(role.acts_as));
    }
    // Its salt tells whether a verifier is the one that we made; the verifier itself stays where it is.
    if seen.reads_passwords && !handle.salt.is_empty() {
        let found = match &role.verifier {
            Some(verifier) if salt(verifier).ok().as_ref() == Some(&handle.salt) => "as planned",
            Some(_) => "another",
            None => "none",
        };
        differs(&mut drift, "/password", json!("as planned"), json!(found));
    }
    (Some(look::whose(role.comment.as_deref(), owner)), drift)
}

/// Says what of a login could not be compared: PostgreSQL shows what it stores of passwords to superusers alone.
pub(crate) fn unseen(seen: &Seen) -> Vec<UnseenField> {
    let reason = "the connection's user may not read stored passwords, so a changed one is not noticed; \
        `windlass rotate` sets a new one, and `GRANT SELECT ON pg_catalog.pg_authid` lets the user compare";
    let field = UnseenField { pointer: "/password", reason: reason.to_owned() };
    if seen.reads_passwords { Vec::new() } else { vec![field] }
}

/// Ends the role at rest: nothing uses it any more.
pub(crate) async fn settle(work: &mut Work<'_>, action: &RecordedAction) -> Result<Value, CapabilityError> {
    let Some(handle) = Handle::read(&action.handle) else { return Ok(action.handle.clone()) };
    let spec = action.spec.to_value();
    let resting = role_of(spec::text(&spec, "name"), (handle.turn + 1) % TURNS.len());
    let known = work.seen.roles.get(&resting).filter(|role| look::whose(role.comment.as_deref(), work.owner) == Ownership::Ours);
    if let Some(known) = known.filter(|_| handle.both) {
        let mut statements = vec![format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", name(&resting))];
        let former = known.member_of.iter().filter(|of| *of != spec::text(&spec, "actsAs"));
        statements.extend(former.map(|of| format!("REVOKE {} FROM {}", name(of), name(&resting))));
        work.run(&format!("ending the role `{resting}`"), &statements).await?;
        end_sessions(work, &resting).await?;
    }
    Ok(Handle { both: false, ..handle }.write())
}

/// Drops both roles; tells whether one was there.
pub(crate) async fn delete(work: &mut Work<'_>, login: &str) -> Result<bool, CapabilityError> {
    let mut changed = false;
    for turn in 0..TURNS.len() {
        let name = role_of(login, turn);
        if work.seen.roles.contains_key(&name) {
            end_sessions(work, &name).await?;
        }
        changed |= role::delete(work, &name).await?;
    }
    Ok(changed)
}

/// Ends sessions of a role: it can't come back.
async fn end_sessions(work: &mut Work<'_>, role: &str) -> Result<(), CapabilityError> {
    let ended = work.connection.rows(&format!("ending sessions of `{role}`"), sqlx::query(query::END_SESSIONS).bind(role)).await;
    ended.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_tell_versions_apart() {
        assert_eq!(salt("SCRAM-SHA-256$4096:c2FsdA==$a:b").unwrap(), "4096:c2FsdA==");
        assert!(salt("hunter2").is_err());
    }
}
