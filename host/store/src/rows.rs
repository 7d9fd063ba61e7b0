//! Rows and what they mean.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, sqlite::SqliteRow};
use windlass_engine::store::StoreError;
use windlass_model::{
    name::{ApplicationName, EnvironmentName},
    state::{EnvironmentKey, EnvironmentRecord},
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

/// Writes a value, and reads it back as it will be read: a row that cannot be read would break its environment for good.
pub(crate) fn encode_kept<T: Serialize + DeserializeOwned>(what: &str, value: &T) -> Result<String, StoreError> {
    let text = encode(what, value)?;
    match serde_json::from_str::<T>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(StoreError::Unreadable { what: what.to_owned(), reason: error.to_string() }),
    }
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

/// Reads the row of an environment. Its type is acted on only where its code was verified: [`crate::codes::Codes::environment`].
pub(crate) fn environment(row: &SqliteRow) -> Result<EnvironmentRecord, StoreError> {
    let application: ApplicationName = text(row, "application")?.parse().map_err(|error| corrupt("application", error))?;
    let environment: EnvironmentName = text(row, "environment")?.parse().map_err(|error| corrupt("environment", error))?;
    let environment_type = text(row, "environment_type")?.parse().map_err(|error| corrupt("environment type", error))?;
    Ok(EnvironmentRecord { key: EnvironmentKey { application, environment }, environment_type })
}
