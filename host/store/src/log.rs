//! The log of environments and what is folded from it, in the same commit.

use std::collections::BTreeMap;

use bytes::Bytes;
use sqlx::{Executor, Sqlite, Transaction};
use windlass_engine::{
    plan::claim_of,
    store::{NewSecret, StoreError},
};
use windlass_model::{
    ActionId, Digest, Spec,
    event::{DeploymentNumber, DeploymentStatus, Event},
    platform::OnRemove,
    state::{EnvironmentKey, RecordedAction, Status},
};

use crate::{
    retention,
    rows::{self, decode, encode, failed, integer},
    sqlite::now,
};

pub(crate) async fn put_documents(
    transaction: &mut Transaction<'_, Sqlite>,
    documents: &BTreeMap<Digest, Bytes>,
) -> Result<(), StoreError> {
    for (digest, content) in documents {
        sqlx::query("INSERT INTO documents (digest, content) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(digest.to_string())
            .bind(content.as_ref())
            .execute(&mut **transaction)
            .await
            .map_err(failed("keeping a document"))?;
    }
    Ok(())
}

/// Writes a version of a secret; false if it is taken.
pub(crate) async fn put_secret(
    executor: impl Executor<'_, Database = Sqlite>,
    environment: &EnvironmentKey,
    secret: &NewSecret,
) -> Result<bool, StoreError> {
    let result = sqlx::query(
        "INSERT INTO secrets (application, environment, name, version, ciphertext) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(environment.application.as_str())
    .bind(environment.environment.as_str())
    .bind(&secret.name)
    .bind(integer(secret.version))
    .bind(&secret.ciphertext)
    .execute(executor)
    .await
    .map_err(failed("storing a secret"))?;
    Ok(result.rows_affected() > 0)
}

/// Writes secrets that intents of the same commit were made with: one whose version is taken would be another than they say.
pub(crate) async fn put_secrets(
    transaction: &mut Transaction<'_, Sqlite>,
    environment: &EnvironmentKey,
    secrets: &[NewSecret],
) -> Result<(), StoreError> {
    for secret in secrets {
        if !put_secret(&mut **transaction, environment, secret).await? {
            return Err(StoreError::Taken { secret: secret.name.clone(), version: secret.version });
        }
    }
    Ok(())
}

pub(crate) async fn put_event(
    transaction: &mut Transaction<'_, Sqlite>,
    environment: &EnvironmentKey,
    deployment: DeploymentNumber,
    event: &Event,
) -> Result<u64, StoreError> {
    let row = sqlx::query("UPDATE environments SET sequence = sequence + 1 WHERE application = ? AND environment = ? RETURNING sequence")
        .bind(environment.application.as_str())
        .bind(environment.environment.as_str())
        .fetch_one(&mut **transaction)
        .await
        .map_err(failed("counting an event"))?;
    let sequence = rows::number(&row, "sequence")?;
    sqlx::query("INSERT INTO events (application, environment, sequence, deployment, at, event) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(environment.application.as_str())
        .bind(environment.environment.as_str())
        .bind(integer(sequence))
        .bind(integer(deployment.0))
        .bind(now())
        .bind(encode("event", &slim(event))?)
        .execute(&mut **transaction)
        .await
        .map_err(failed("writing an event"))?;
    fold(transaction, environment, deployment, event).await?;
    Ok(sequence)
}

/// The log names actions; their records stand in their own table, written in the same commit.
fn slim(event: &Event) -> Event {
    let strip = |actions: &[RecordedAction]| -> Vec<RecordedAction> {
        let slim = |action: &RecordedAction| RecordedAction {
            id: action.id.clone(),
            interface: action.interface.clone(),
            connection: action.connection.clone(),
            settings: action.settings.clone(),
            identity: action.identity.clone(),
            spec: Spec::null(),
            versions: action.versions.clone(),
            resolved: None,
            mac: action.mac.clone(),
            handle: serde_json::Value::Null,
            outputs: action.outputs.clone(),
            unsettled: action.unsettled,
            status: action.status,
            depends_on: Vec::new(),
            rank: action.rank,
            on_remove: action.on_remove,
            holds_data: action.holds_data,
        };
        actions.iter().map(slim).collect()
    };
    match event {
        Event::Started { intended, allow_destroy } => Event::Started { intended: strip(intended), allow_destroy: *allow_destroy },
        Event::Planned { plan, intended } => Event::Planned { plan: *plan, intended: strip(intended) },
        Event::Sending { actions } => Event::Sending { actions: strip(actions) },
        Event::Unchanged { actions } => Event::Unchanged { actions: strip(actions) },
        Event::Done { actions } => Event::Done { actions: strip(actions) },
        other => other.clone(),
    }
}

/// Folds an event into the recorded state.
async fn fold(
    transaction: &mut Transaction<'_, Sqlite>,
    environment: &EnvironmentKey,
    deployment: DeploymentNumber,
    event: &Event,
) -> Result<(), StoreError> {
    match event {
        Event::Started { intended: actions, .. } | Event::Sending { actions } | Event::Unchanged { actions } | Event::Done { actions } => {
            put_actions(transaction, environment, actions).await?;
        }
        Event::Planned { plan, intended } => {
            put_actions(transaction, environment, intended).await?;
            set_plan(transaction, environment, deployment, plan).await?;
        }
        Event::Removing { ids } => set_status(transaction, environment, ids, Status::Deleting).await?,
        Event::Removed { ids, act: OnRemove::Retain } => set_status(transaction, environment, ids, Status::Retained).await?,
        Event::Removed { ids, act: OnRemove::Delete } | Event::Released { ids } => {
            for id in ids {
                sqlx::query("DELETE FROM actions WHERE application = ? AND environment = ? AND id = ?")
                    .bind(environment.application.as_str())
                    .bind(environment.environment.as_str())
                    .bind(id.as_str())
                    .execute(&mut **transaction)
                    .await
                    .map_err(failed("forgetting an action"))?;
            }
        }
        Event::Ended { status } => {
            set_deployment_status(transaction, environment, deployment, status).await?;
        }
        Event::Resumed { .. } | Event::Healed { .. } | Event::Waiting { .. } | Event::ActionFailed { .. } => {}
    }
    Ok(())
}

/// The plan of the newest stage is the deployment's; those before it are kept too.
async fn set_plan(
    transaction: &mut Transaction<'_, Sqlite>,
    environment: &EnvironmentKey,
    deployment: DeploymentNumber,
    plan: &Digest,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE deployments SET plan = ? WHERE application = ? AND environment = ? AND number = ?")
        .bind(plan.to_string())
        .bind(environment.application.as_str())
        .bind(environment.environment.as_str())
        .bind(integer(deployment.0))
        .execute(&mut **transaction)
        .await
        .map_err(failed("recording the plan of a stage"))?;
    retention::refer(transaction, environment, deployment, [plan]).await
}

async fn set_deployment_status(
    transaction: &mut Transaction<'_, Sqlite>,
    environment: &EnvironmentKey,
    deployment: DeploymentNumber,
    status: &DeploymentStatus,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE deployments SET status = ?, ended_at = ? WHERE application = ? AND environment = ? AND number = ?")
        .bind(encode("status", status)?)
        .bind(now())
        .bind(environment.application.as_str())
        .bind(environment.environment.as_str())
        .bind(integer(deployment.0))
        .execute(&mut **transaction)
        .await
        .map_err(failed("ending a deployment"))?;
    Ok(())
}

/// Writes records, all in one statement: a deployment may have thousands. What is recorded under another id of the environment
/// moves; what another environment has claimed is an error.
async fn put_actions(
    transaction: &mut Transaction<'_, Sqlite>,
    environment: &EnvironmentKey,
    actions: &[RecordedAction],
) -> Result<(), StoreError> {
    let rows: Vec<(&str, String, String)> = actions
        .iter()
        .map(|action| Ok((action.id.as_str(), claim_of(action, environment), encode("action", action)?)))
        .collect::<Result<_, StoreError>>()?;
    sqlx::query(
        "INSERT INTO actions (application, environment, id, claim, record)
         SELECT ?1, ?2, value->>0, value->>1, value->>2 FROM json_each(?3) WHERE true
         ON CONFLICT (application, environment, id) DO UPDATE SET claim = excluded.claim, record = excluded.record
         -- An id that is null is refused: a claim of another environment.
         ON CONFLICT (claim) DO UPDATE SET record = excluded.record, id = CASE
             WHEN (application, environment) = (excluded.application, excluded.environment) THEN excluded.id END",
    )
    .bind(environment.application.as_str())
    .bind(environment.environment.as_str())
    .bind(encode("actions", &rows)?)
    .execute(&mut **transaction)
    .await
    .map_err(|error| match error.as_database_error().map(sqlx::error::DatabaseError::kind) {
        Some(sqlx::error::ErrorKind::NotNullViolation) => StoreError::Failed {
            doing: "recording actions",
            reason: "another environment has claimed one of these things meanwhile; plan again".to_owned(),
        },
        _ => failed("recording actions")(error),
    })?;
    Ok(())
}

async fn set_status(
    transaction: &mut Transaction<'_, Sqlite>,
    environment: &EnvironmentKey,
    ids: &[ActionId],
    status: Status,
) -> Result<(), StoreError> {
    for id in ids {
        let row = sqlx::query("SELECT record FROM actions WHERE application = ? AND environment = ? AND id = ?")
            .bind(environment.application.as_str())
            .bind(environment.environment.as_str())
            .bind(id.as_str())
            .fetch_optional(&mut **transaction)
            .await
            .map_err(failed("reading an action"))?;
        if let Some(row) = row {
            let action: RecordedAction = decode("action", &rows::text(&row, "record")?)?;
            put_actions(transaction, environment, &[RecordedAction { status, ..action }]).await?;
        }
    }
    Ok(())
}
