//! The log of environments and what is folded from it, in the same commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use sqlx::{Executor, Sqlite, Transaction};
use windlass_engine::{
    plan::claim_of,
    store::{NewSecret, StoreError},
};
use windlass_model::{
    ActionId, Digest, Spec,
    event::{DeploymentNumber, Event},
    platform::OnRemove,
    state::{EnvironmentKey, RecordedAction, Status},
};

use crate::{
    codes::{Codes, Covered},
    deployments::{self, DeploymentChange},
    retention,
    rows::{self, encode, encode_kept, failed, integer},
    sqlite::now,
};

/// Records of one statement: their text together is about 256 KiB.
const ROWS_MAX: usize = 100;

pub(crate) async fn put_documents(transaction: &mut Transaction<'_, Sqlite>, documents: BTreeMap<Digest, Bytes>) -> Result<(), StoreError> {
    // Most are kept already, components above all: they are not copied to be compared.
    let asked: Vec<String> = documents.keys().map(ToString::to_string).collect();
    let kept = sqlx::query("SELECT digest FROM documents WHERE digest IN (SELECT value FROM json_each(?))")
        .bind(encode("digests", &asked)?)
        .fetch_all(&mut **transaction)
        .await
        .map_err(failed("looking for documents"))?;
    let kept: BTreeSet<String> = kept.iter().map(|row| rows::text(row, "digest")).collect::<Result<_, _>>()?;
    for (digest, content) in asked.into_iter().zip(documents.into_values()).filter(|(digest, _)| !kept.contains(digest)) {
        sqlx::query("INSERT INTO documents (digest, content) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(digest)
            // What nobody else holds is not copied.
            .bind(Vec::from(content))
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

/// Writes events, and folds them into the recorded state: what several of them say of one action is written once, the last of it.
pub(crate) async fn put_events(
    transaction: &mut Transaction<'_, Sqlite>,
    codes: &Codes,
    environment: &EnvironmentKey,
    deployment: DeploymentNumber,
    events: &[Event],
) -> Result<u64, StoreError> {
    let mut sequence = 0;
    let mut records: Vec<&RecordedAction> = Vec::new();
    for event in events {
        sequence = put_line(transaction, codes, environment, deployment, event).await?;
        match event.records() {
            Some(more) => records.extend(more),
            None => put_actions(transaction, codes, environment, &std::mem::take(&mut records)).await?,
        }
        fold(transaction, codes, environment, deployment, event).await?;
    }
    put_actions(transaction, codes, environment, &records).await?;
    Ok(sequence)
}

async fn put_line(
    transaction: &mut Transaction<'_, Sqlite>,
    codes: &Codes,
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
    let (at, text) = (now(), encode_kept("event", &slim(event))?);
    let code = codes.of(&Covered::event(environment, &[sequence.to_le_bytes(), deployment.0.to_le_bytes()], &at, &text));
    sqlx::query("INSERT INTO events (application, environment, sequence, deployment, at, event, code) VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(environment.application.as_str())
        .bind(environment.environment.as_str())
        .bind(integer(sequence))
        .bind(integer(deployment.0))
        .bind(at)
        .bind(text)
        .bind(code.to_vec())
        .execute(&mut **transaction)
        .await
        .map_err(failed("writing an event"))?;
    Ok(sequence)
}

/// The log names actions; their records stand in their own table, written in the same commit.
fn slim(event: &Event) -> Event {
    let strip = |actions: &[RecordedAction]| -> Vec<RecordedAction> {
        let slim = |action: &RecordedAction| RecordedAction {
            id: action.id.clone(),
            interface: action.interface.clone(),
            connection: action.connection.clone(),
            settings: Arc::clone(&action.settings),
            identity: action.identity.clone(),
            spec: Spec::null(),
            versions: action.versions.clone(),
            earlier: Vec::new(),
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
        Event::Intended { actions } => Event::Intended { actions: strip(actions) },
        Event::Sending { actions } => Event::Sending { actions: strip(actions) },
        Event::Unchanged { actions } => Event::Unchanged { actions: strip(actions) },
        Event::Done { actions } => Event::Done { actions: strip(actions) },
        other => other.clone(),
    }
}

/// Folds into the recorded state what an event says beside its records.
async fn fold(
    transaction: &mut Transaction<'_, Sqlite>,
    codes: &Codes,
    environment: &EnvironmentKey,
    deployment: DeploymentNumber,
    event: &Event,
) -> Result<(), StoreError> {
    match event {
        Event::Planned { plan, .. } => {
            deployments::change(transaction, environment, codes, deployment, &DeploymentChange::Plan(plan)).await?;
            retention::refer(transaction, environment, deployment, [plan]).await?;
        }
        Event::Removing { ids } => set_status(transaction, codes, environment, ids, Status::Deleting).await?,
        Event::Removed { ids, act: OnRemove::Retain } => set_status(transaction, codes, environment, ids, Status::Retained).await?,
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
            deployments::change(transaction, environment, codes, deployment, &DeploymentChange::Status(status)).await?;
        }
        Event::Started { .. }
        | Event::Intended { .. }
        | Event::Sending { .. }
        | Event::Unchanged { .. }
        | Event::Done { .. }
        | Event::Resumed { .. }
        | Event::Healed { .. }
        | Event::Waiting { .. }
        | Event::ActionFailed { .. } => {}
    }
    Ok(())
}

/// Writes records, many in one statement: a deployment may have thousands. Of those with one id the last counts. What is recorded
/// under another id of the environment moves; what another environment has claimed is an error.
async fn put_actions(
    transaction: &mut Transaction<'_, Sqlite>,
    codes: &Codes,
    environment: &EnvironmentKey,
    actions: &[&RecordedAction],
) -> Result<(), StoreError> {
    let mut seen = BTreeSet::new();
    let mut last: Vec<&RecordedAction> = actions.iter().rev().filter(|action| seen.insert(&action.id)).copied().collect();
    last.reverse();
    for actions in last.chunks(ROWS_MAX) {
        let statement = sqlx::AssertSqlSafe(insert_actions(actions.len()));
        let mut insert = sqlx::query(statement).bind(environment.application.as_str()).bind(environment.environment.as_str());
        for action in actions {
            let (claim, record) = (claim_of(action, environment), encode_kept("record", *action)?);
            let code = codes.of(&Covered::action(environment, action.id.as_str(), &claim, &record));
            insert = insert.bind(action.id.as_str()).bind(claim).bind(record).bind(code.to_vec());
        }
        insert.execute(&mut **transaction).await.map_err(|error| {
            match error.as_database_error().map(sqlx::error::DatabaseError::kind) {
                Some(sqlx::error::ErrorKind::NotNullViolation) => StoreError::Failed {
                    doing: "recording actions",
                    reason: "another environment has claimed one of these things meanwhile; plan again".to_owned(),
                },
                _ => failed("recording actions")(error),
            }
        })?;
    }
    Ok(())
}

/// Writes the statement for so many records. Its parameters have no numbers: they would be looked up one by one.
fn insert_actions(count: usize) -> String {
    let rows = vec!["(?, ?, ?, ?)"; count].join(", ");
    format!(
        "INSERT INTO actions (application, environment, id, claim, record, code)
         SELECT ?, ?, column1, column2, column3, column4 FROM (VALUES {rows}) WHERE true
         ON CONFLICT (application, environment, id) DO UPDATE SET claim = excluded.claim, record = excluded.record, code = excluded.code
         -- An id that is null is refused: a claim of another environment.
         ON CONFLICT (claim) DO UPDATE SET record = excluded.record, code = excluded.code, id = CASE
             WHEN (application, environment) = (excluded.application, excluded.environment) THEN excluded.id END"
    )
}

async fn set_status(
    transaction: &mut Transaction<'_, Sqlite>,
    codes: &Codes,
    environment: &EnvironmentKey,
    ids: &[ActionId],
    status: Status,
) -> Result<(), StoreError> {
    for id in ids {
        let row = sqlx::query("SELECT id, claim, record, code FROM actions WHERE application = ? AND environment = ? AND id = ?")
            .bind(environment.application.as_str())
            .bind(environment.environment.as_str())
            .bind(id.as_str())
            .fetch_optional(&mut **transaction)
            .await
            .map_err(failed("reading an action"))?;
        if let Some(row) = row {
            let action = codes.action(environment, &row)?;
            put_actions(transaction, codes, environment, &[&RecordedAction { status, ..action }]).await?;
        }
    }
    Ok(())
}
