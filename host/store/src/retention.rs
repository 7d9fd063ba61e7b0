//! How much history is kept: the newest deployments of each environment, and every document that one of them refers to.

use std::{collections::BTreeSet, num::NonZeroU32};

use sqlx::{Sqlite, SqlitePool, Transaction};
use windlass_engine::store::StoreError;
use windlass_model::{Digest, event::DeploymentNumber, platform::Platform, state::EnvironmentKey};

use crate::rows::{self, decode, failed, integer};

/// Notes which documents a deployment refers to.
pub(crate) async fn refer<'d>(
    transaction: &mut Transaction<'_, Sqlite>,
    environment: &EnvironmentKey,
    number: DeploymentNumber,
    documents: impl IntoIterator<Item = &'d Digest>,
) -> Result<(), StoreError> {
    for digest in documents.into_iter().collect::<BTreeSet<_>>() {
        sqlx::query(
            "INSERT INTO deployment_documents (application, environment, number, digest) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(environment.application.as_str())
        .bind(environment.environment.as_str())
        .bind(integer(number.0))
        .bind(digest.to_string())
        .execute(&mut **transaction)
        .await
        .map_err(failed("noting what a deployment refers to"))?;
    }
    Ok(())
}

/// Forgets all but the newest deployments, never the last one that succeeded: it is what exists. What exists is recorded
/// with everything that its removal needs, so no live action misses what goes here.
pub(crate) async fn forget(pool: &SqlitePool, environment: &EnvironmentKey, keep: NonZeroU32) -> Result<u64, StoreError> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed("beginning a commit"))?;
    let old = sqlx::query(
        "SELECT number FROM deployments WHERE application = ?1 AND environment = ?2
           AND number NOT IN (SELECT number FROM deployments WHERE application = ?1 AND environment = ?2 ORDER BY number DESC LIMIT ?3)
           AND number IS NOT (SELECT MAX(number) FROM deployments WHERE application = ?1 AND environment = ?2 AND status = '\"succeeded\"')",
    )
    .bind(environment.application.as_str())
    .bind(environment.environment.as_str())
    .bind(i64::from(keep.get()))
    .fetch_all(&mut *transaction)
    .await
    .map_err(failed("finding old deployments"))?;
    let mut count = 0;
    for row in &old {
        let number = rows::number(row, "number")?;
        drop_deployment(&mut transaction, environment, number).await?;
        count += 1;
    }
    transaction.commit().await.map_err(failed("forgetting old deployments"))?;
    Ok(count)
}

/// Forgets everything of an environment, unless something exists by our doing.
pub(crate) async fn remove(transaction: &mut Transaction<'_, Sqlite>, environment: &EnvironmentKey) -> Result<bool, StoreError> {
    let of_environment = |statement: &'static str| {
        sqlx::query(statement).bind(environment.application.as_str().to_owned()).bind(environment.environment.as_str().to_owned())
    };
    let row = of_environment("SELECT COUNT(*) AS count FROM actions WHERE application = ? AND environment = ?")
        .fetch_one(&mut **transaction)
        .await
        .map_err(failed("counting what exists"))?;
    if rows::number(&row, "count")? > 0 {
        return Ok(false);
    }
    let deployments = of_environment("SELECT number FROM deployments WHERE application = ? AND environment = ?")
        .fetch_all(&mut **transaction)
        .await
        .map_err(failed("finding deployments"))?;
    for row in &deployments {
        drop_deployment(transaction, environment, rows::number(row, "number")?).await?;
    }
    for statement in [
        "DELETE FROM secrets WHERE application = ? AND environment = ?",
        "DELETE FROM environments WHERE application = ? AND environment = ?",
    ] {
        of_environment(statement).execute(&mut **transaction).await.map_err(failed("forgetting an environment"))?;
    }
    Ok(true)
}

async fn drop_deployment(transaction: &mut Transaction<'_, Sqlite>, environment: &EnvironmentKey, number: u64) -> Result<(), StoreError> {
    let platform =
        sqlx::query("SELECT document FROM platform").fetch_optional(&mut **transaction).await.map_err(failed("reading the platform"))?;
    // Not verified: it only says which components stay.
    let stored: BTreeSet<String> = match &platform {
        Some(row) => {
            let platform: Platform = decode("platform", &rows::text(row, "document")?)?;
            platform.components.values().map(ToString::to_string).collect()
        }
        None => BTreeSet::new(),
    };
    let referred = sqlx::query("SELECT digest FROM deployment_documents WHERE application = ? AND environment = ? AND number = ?")
        .bind(environment.application.as_str())
        .bind(environment.environment.as_str())
        .bind(integer(number))
        .fetch_all(&mut **transaction)
        .await
        .map_err(failed("reading what a deployment refers to"))?;
    for statement in [
        "DELETE FROM deployment_documents WHERE application = ? AND environment = ? AND number = ?",
        "DELETE FROM events WHERE application = ? AND environment = ? AND deployment = ?",
        "DELETE FROM deployments WHERE application = ? AND environment = ? AND number = ?",
    ] {
        sqlx::query(statement)
            .bind(environment.application.as_str())
            .bind(environment.environment.as_str())
            .bind(integer(number))
            .execute(&mut **transaction)
            .await
            .map_err(failed("forgetting a deployment"))?;
    }
    for row in &referred {
        let digest = rows::text(row, "digest")?;
        if stored.contains(&digest) {
            continue;
        }
        sqlx::query("DELETE FROM documents WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM deployment_documents WHERE digest = ?1)")
            .bind(&digest)
            .execute(&mut **transaction)
            .await
            .map_err(failed("forgetting a document"))?;
    }
    Ok(())
}
