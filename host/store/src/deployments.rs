//! The rows of deployments: all columns as they are stored, under one code.

use serde::Serialize;
use sqlx::{Row, Sqlite, Transaction, sqlite::SqliteRow};
use windlass_engine::store::{DeploymentDocuments, NewDeployment, StoreError};
use windlass_model::{
    Digest,
    event::{Deployment, DeploymentNumber, DeploymentStatus},
    state::EnvironmentKey,
};

use crate::{
    codes::{Codes, Covered},
    rows::{self, corrupt, decode, encode, failed, integer},
    sqlite::now,
};

/// The columns of a deployment. Their JSON text is what the code covers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DeploymentRow {
    number: i64,
    plan: String,
    model: String,
    layers: String,
    provenance: String,
    verb: String,
    actor: String,
    cause: String,
    given_platform: i64,
    rollback_to: Option<i64>,
    started_at: String,
    ended_at: Option<String>,
    status: String,
}

impl DeploymentRow {
    /// Begins a deployment.
    pub(crate) fn new(number: DeploymentNumber, deployment: &NewDeployment) -> Result<Self, StoreError> {
        Ok(Self {
            number: integer(number.0),
            plan: deployment.plan.to_string(),
            model: deployment.model.to_string(),
            layers: deployment.layers.to_string(),
            provenance: deployment.provenance.to_string(),
            verb: encode("verb", &deployment.verb)?,
            actor: encode("actor", &deployment.actor)?,
            cause: encode("cause", &deployment.cause)?,
            given_platform: i64::from(deployment.given_platform),
            rollback_to: deployment.rollback_to.map(|number| integer(number.0)),
            started_at: now(),
            ended_at: None,
            status: encode("status", &DeploymentStatus::Running)?,
        })
    }

    /// Reads a row (`SELECT *`) and verifies its code.
    pub(crate) fn read(row: &SqliteRow, environment: &EnvironmentKey, codes: &Codes) -> Result<Self, StoreError> {
        let columns = |row: &SqliteRow| -> Result<Self, sqlx::Error> {
            Ok(Self {
                number: row.try_get("number")?,
                plan: row.try_get("plan")?,
                model: row.try_get("model")?,
                layers: row.try_get("layers")?,
                provenance: row.try_get("provenance")?,
                verb: row.try_get("verb")?,
                actor: row.try_get("actor")?,
                cause: row.try_get("cause")?,
                given_platform: row.try_get("given_platform")?,
                rollback_to: row.try_get("rollback_to")?,
                started_at: row.try_get("started_at")?,
                ended_at: row.try_get("ended_at")?,
                status: row.try_get("status")?,
            })
        };
        let columns = columns(row).map_err(|error| corrupt("deployment", error))?;
        let text = encode("deployment", &columns)?;
        let covered = Covered::of(b"deployment", environment, [text.as_bytes()]);
        codes.check(row, &covered, || format!("deployment {} of `{environment}`", columns.number))?;
        Ok(columns)
    }

    pub(crate) async fn insert(
        &self,
        transaction: &mut Transaction<'_, Sqlite>,
        environment: &EnvironmentKey,
        codes: &Codes,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO deployments (application, environment, number, plan, model, layers, provenance, verb, actor, cause, given_platform, rollback_to, started_at, ended_at, status, code) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(environment.application.as_str())
            .bind(environment.environment.as_str())
            .bind(self.number)
            .bind(&self.plan)
            .bind(&self.model)
            .bind(&self.layers)
            .bind(&self.provenance)
            .bind(&self.verb)
            .bind(&self.actor)
            .bind(&self.cause)
            .bind(self.given_platform)
            .bind(self.rollback_to)
            .bind(&self.started_at)
            .bind(&self.ended_at)
            .bind(&self.status)
            .bind(self.code(environment, codes)?)
            .execute(&mut **transaction)
            .await
            .map_err(failed("recording the deployment"))?;
        Ok(())
    }

    fn code(&self, environment: &EnvironmentKey, codes: &Codes) -> Result<Vec<u8>, StoreError> {
        let text = encode("deployment", self)?;
        Ok(codes.of(&Covered::of(b"deployment", environment, [text.as_bytes()])).to_vec())
    }

    /// Returns what the deployment is.
    pub(crate) fn deployment(&self) -> Result<Deployment, StoreError> {
        let number = |number: i64| u64::try_from(number).map(DeploymentNumber).map_err(|error| corrupt("number", error));
        Ok(Deployment {
            number: number(self.number)?,
            plan: digest(&self.plan)?,
            model: digest(&self.model)?,
            verb: decode("verb", &self.verb)?,
            actor: decode("actor", &self.actor)?,
            cause: decode("cause", &self.cause)?,
            given_platform: self.given_platform != 0,
            rollback_to: self.rollback_to.map(number).transpose()?,
            started_at: self.started_at.clone(),
            ended_at: self.ended_at.clone(),
            status: decode("status", &self.status)?,
        })
    }

    /// Returns the digests of what it was made of.
    pub(crate) fn documents(&self) -> Result<DeploymentDocuments, StoreError> {
        Ok(DeploymentDocuments {
            plan: digest(&self.plan)?,
            model: digest(&self.model)?,
            layers: digest(&self.layers)?,
            provenance: digest(&self.provenance)?,
        })
    }
}

fn digest(text: &str) -> Result<Digest, StoreError> {
    text.parse().map_err(|error| corrupt("digest", error))
}

/// What changes of a deployment after it began.
pub(crate) enum DeploymentChange<'c> {
    /// The plan of the newest stage is the deployment's.
    Plan(&'c Digest),
    Status(&'c DeploymentStatus),
}

/// Changes a deployment: its row is verified, and gets a new code.
pub(crate) async fn change(
    transaction: &mut Transaction<'_, Sqlite>,
    environment: &EnvironmentKey,
    codes: &Codes,
    number: DeploymentNumber,
    change: &DeploymentChange<'_>,
) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT * FROM deployments WHERE application = ? AND environment = ? AND number = ?")
        .bind(environment.application.as_str())
        .bind(environment.environment.as_str())
        .bind(integer(number.0))
        .fetch_optional(&mut **transaction)
        .await
        .map_err(failed("reading a deployment"))?
        .ok_or_else(|| StoreError::Missing(format!("deployment {number} of `{environment}`")))?;
    let mut deployment = DeploymentRow::read(&row, environment, codes)?;
    match change {
        DeploymentChange::Plan(plan) => deployment.plan = plan.to_string(),
        DeploymentChange::Status(status) => {
            deployment.status = rows::encode("status", status)?;
            deployment.ended_at = Some(now());
        }
    }
    sqlx::query(
        "UPDATE deployments SET plan = ?, status = ?, ended_at = ?, code = ? WHERE application = ? AND environment = ? AND number = ?",
    )
    .bind(&deployment.plan)
    .bind(&deployment.status)
    .bind(&deployment.ended_at)
    .bind(deployment.code(environment, codes)?)
    .bind(environment.application.as_str())
    .bind(environment.environment.as_str())
    .bind(deployment.number)
    .execute(&mut **transaction)
    .await
    .map_err(failed("changing a deployment"))?;
    Ok(())
}
