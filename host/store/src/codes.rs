//! Authentication codes of rows: which columns each code covers, and the refusal of rows that do not verify.
//!
//! A code covers the table, the row's key and every column that is acted on, so that neither a changed row verifies nor one that was
//! copied from another place. Documents need none: their digests stand in rows that have one. An older row put back in its own place, and a row
//! that was deleted, are not detected: that takes a counter outside of the data folder.

use std::sync::Arc;

use sqlx::{Row, sqlite::SqliteRow};
use windlass_engine::store::{AUTHENTICATION_CODE_BYTES, Authenticator, StoreError};
use windlass_model::{
    event::{DeploymentNumber, LoggedEvent},
    name::EnvironmentTypeName,
    state::{EnvironmentKey, EnvironmentRecord, RecordedAction},
};

use crate::rows::{self, corrupt, decode};

/// Computes and checks the codes of rows.
#[derive(Clone, Debug)]
pub(crate) struct Codes(Arc<dyn Authenticator>);

/// A row's table and columns, in the order in which the code covers them.
pub(crate) struct Covered<'r> {
    parts: Vec<&'r [u8]>,
}

impl<'r> Covered<'r> {
    pub(crate) fn installation(uuid: &'r str) -> Self {
        Self { parts: vec![b"installation", uuid.as_bytes()] }
    }

    pub(crate) fn platform(document: &'r str, provenance: &'r str) -> Self {
        Self { parts: vec![b"platform", document.as_bytes(), provenance.as_bytes()] }
    }

    pub(crate) fn environment(environment: &'r EnvironmentKey, kind: &'r EnvironmentTypeName) -> Self {
        Self::of(b"environment", environment, [kind.as_str().as_bytes()])
    }

    pub(crate) fn action(environment: &'r EnvironmentKey, id: &'r str, claim: &'r str, record: &'r str) -> Self {
        Self::of(b"action", environment, [id.as_bytes(), claim.as_bytes(), record.as_bytes()])
    }

    /// Covers an event; its numbers are those of the sequence and of the deployment, little-endian.
    pub(crate) fn event(environment: &'r EnvironmentKey, [sequence, deployment]: &'r [[u8; 8]; 2], at: &'r str, event: &'r str) -> Self {
        Self::of(b"event", environment, [sequence, deployment, at.as_bytes(), event.as_bytes()])
    }

    pub(crate) fn of<const N: usize>(table: &'static [u8], environment: &'r EnvironmentKey, columns: [&'r [u8]; N]) -> Self {
        let mut parts = Vec::with_capacity(N + 3);
        parts.extend([table, environment.application.as_str().as_bytes(), environment.environment.as_str().as_bytes()]);
        parts.extend(columns);
        Self { parts }
    }
}

impl Codes {
    pub(crate) fn new(authenticator: Arc<dyn Authenticator>) -> Self {
        Self(authenticator)
    }

    /// Returns the code of a row.
    pub(crate) fn of(&self, covered: &Covered<'_>) -> [u8; AUTHENTICATION_CODE_BYTES] {
        self.0.code(&covered.parts)
    }

    /// Refuses a row whose column `code` does not belong to its other columns.
    pub(crate) fn check(&self, row: &SqliteRow, covered: &Covered<'_>, what: impl FnOnce() -> String) -> Result<(), StoreError> {
        let code: Option<&[u8]> = row.try_get("code").map_err(|error| corrupt("code", error))?;
        if code.is_some_and(|code| self.0.verifies(&covered.parts, code)) { Ok(()) } else { Err(StoreError::Unauthentic(what())) }
    }

    /// Reads the row of an environment.
    pub(crate) fn environment(&self, row: &SqliteRow) -> Result<EnvironmentRecord, StoreError> {
        let record = rows::environment(row)?;
        let covered = Covered::environment(&record.key, &record.environment_type);
        self.check(row, &covered, || format!("environment `{}`", record.key))?;
        Ok(record)
    }

    /// Reads the row of an action: `id`, `claim`, `record`, `code`.
    pub(crate) fn action(&self, environment: &EnvironmentKey, row: &SqliteRow) -> Result<RecordedAction, StoreError> {
        let [id, claim, record] = ["id", "claim", "record"].map(|column| row.try_get::<&str, _>(column));
        let [id, claim, record] = [id, claim, record].map(|column| column.map_err(|error| corrupt("action", error)));
        let (id, claim, record) = (id?, claim?, record?);
        self.check(row, &Covered::action(environment, id, claim, record), || format!("record of `{id}` in `{environment}`"))?;
        decode("action", record)
    }

    /// Reads the row of an event.
    pub(crate) fn event(&self, environment: &EnvironmentKey, row: &SqliteRow) -> Result<LoggedEvent, StoreError> {
        let (sequence, deployment) = (rows::number(row, "sequence")?, rows::number(row, "deployment")?);
        let (at, event) = (rows::text(row, "at")?, rows::text(row, "event")?);
        let numbers = [sequence.to_le_bytes(), deployment.to_le_bytes()];
        self.check(row, &Covered::event(environment, &numbers, &at, &event), || format!("event {sequence} of `{environment}`"))?;
        Ok(LoggedEvent { sequence, deployment: DeploymentNumber(deployment), event: decode("event", &event)?, at })
    }
}
