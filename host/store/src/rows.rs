//! Rows and what they mean.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, sqlite::SqliteRow};
use windlass_engine::store::StoreError;
use windlass_model::{
    Digest,
    event::{Deployment, DeploymentNumber, LoggedEvent},
};

pub(crate) fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| StoreError::Failed { doing, reason: error.to_string() }
}

pub(crate) fn corrupt(what: &str, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what: what.to_owned(), reason: reason.to_string() }
}

pub(crate) fn encode<T: Serialize>(what: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| corrupt(what, error))
}

pub(crate) fn decode<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt(what, error))
}

pub(crate) fn text(row: &SqliteRow, column: &str) -> Result<String, StoreError> {
    row.try_get(column).map_err(|error| corrupt(column, error))
}

pub(crate) fn number(row: &SqliteRow, column: &str) -> Result<u64, StoreError> {
    let value: i64 = row.try_get(column).map_err(|error| corrupt(column, error))?;
    u64::try_from(value).map_err(|error| corrupt(column, error))
}

/// SQLite counts in 64 signed bits.
pub(crate) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn digest(row: &SqliteRow, column: &str) -> Result<Digest, StoreError> {
    text(row, column)?.parse().map_err(|error| corrupt(column, error))
}

pub(crate) fn deployment(row: &SqliteRow) -> Result<Deployment, StoreError> {
    let optional = |column: &str| -> Result<Option<String>, StoreError> { row.try_get(column).map_err(|error| corrupt(column, error)) };
    let rollback_to: Option<i64> = row.try_get("rollback_to").map_err(|error| corrupt("rollback_to", error))?;
    Ok(Deployment {
        number: DeploymentNumber(number(row, "number")?),
        plan: digest(row, "plan")?,
        model: digest(row, "model")?,
        verb: decode("verb", &text(row, "verb")?)?,
        actor: decode("actor", &text(row, "actor")?)?,
        cause: decode("cause", &text(row, "cause")?)?,
        given_platform: number(row, "given_platform")? != 0,
        rollback_to: rollback_to.and_then(|number| u64::try_from(number).ok()).map(DeploymentNumber),
        started_at: text(row, "started_at")?,
        ended_at: optional("ended_at")?,
        status: decode("status", &text(row, "status")?)?,
    })
}

pub(crate) fn event(row: &SqliteRow) -> Result<LoggedEvent, StoreError> {
    Ok(LoggedEvent {
        sequence: number(row, "sequence")?,
        deployment: DeploymentNumber(number(row, "deployment")?),
        at: text(row, "at")?,
        event: decode("event", &text(row, "event")?)?,
    })
}
