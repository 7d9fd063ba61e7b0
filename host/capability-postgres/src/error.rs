//! What a server says, in the words of the ports.

use sqlx::postgres::PgDatabaseError;
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind};
use windlass_model::{diagnostic::refuses_certificate, limits};

/// Turns an error of the client into one of the ports. `what` names what was being done.
pub(crate) fn of(what: &str, error: &sqlx::Error) -> CapabilityError {
    match error {
        sqlx::Error::Database(said) => {
            let code = said.code().unwrap_or_default();
            let (kind, hint) = match code.as_ref() {
                "42501" => {
                    (Kind::Denied, Some("the connection's user needs CREATEROLE and CREATEDB, and to be a member of the roles it grants"))
                }
                "28P01" | "28000" | "3D000" => (Kind::Denied, Some("check user, password and database of the connection")),
                "53300" | "53400" => (Kind::Quota, Some("the server has no connection left; wait, or raise `max_connections`")),
                "53100" => (Kind::Quota, Some("the server's disk is full")),
                "42710" | "42P04" | "23505" => (Kind::Conflict, None),
                "2BP01" => (Kind::Conflict, Some("something else still depends on it: reassign or drop that first")),
                "55006" => (Kind::Unavailable, Some("somebody uses it just now")),
                "55P03" => {
                    (Kind::Unavailable, Some("another session holds a lock for long: `pg_stat_activity` and `pg_locks` show which one"))
                }
                "57014" => (Kind::Failed, Some("the statement was cancelled or ran too long: see the server's load and locks")),
                "57P01" | "57P02" | "57P03" | "40001" | "40P01" => (Kind::Unavailable, None),
                _ => (Kind::Invalid, None),
            };
            let detail = said.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::detail);
            let detail = detail.map(|detail| format!(": {}", bounded(detail).replace('\n', "; "))).unwrap_or_default();
            let error = CapabilityError::new(kind, format!("{what}: {} (SQLSTATE {code}){detail}", bounded(said.message())));
            hint.map_or(error.clone(), |hint| error.hint(hint))
        }
        sqlx::Error::Tls(_) => not_encrypted(what, error),
        sqlx::Error::Io(broken) if refuses_certificate(&broken.to_string()) => not_encrypted(what, broken),
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            CapabilityError::new(Kind::Unavailable, format!("{what}: the connection broke: {error}"))
        }
        other => CapabilityError::new(Kind::Failed, format!("{what}: {other}")),
    }
}

/// A function of a database can raise an error of any length.
fn bounded(message: &str) -> String {
    message.chars().take(limits::GUEST_TEXT_CHARS_MAX).collect()
}

fn not_encrypted(what: &str, why: &dyn std::fmt::Display) -> CapabilityError {
    CapabilityError::new(Kind::Denied, format!("{what}: the connection can't be encrypted: {why}"))
        .hint("`sslRootCert` of the connection is the authority that the server's certificate is from; `sslMode` says how much is checked")
}
