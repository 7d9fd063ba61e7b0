//! The embedded store.

use std::{collections::BTreeMap, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::{
    Row, SqlSafeStr, Sqlite, SqlitePool, Transaction,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use windlass_engine::store::{
    Authenticator, DeploymentDocuments, EnvironmentState, Fence, Lease, NewDeployment, NewSecret, Store, StoreError,
};
use windlass_model::{
    Digest,
    application::Provenance,
    event::{Deployment, DeploymentNumber, DeploymentStatus, Event, LoggedEvent},
    platform::Platform,
    state::{EnvironmentKey, EnvironmentRecord, RecordedState},
};

use crate::{
    codes::{Codes, Covered},
    deployments::DeploymentRow,
    folder::DataFolder,
    lease::{self, FileLease, LockFailure},
    log::{put_documents, put_events, put_secret, put_secrets},
    retention,
    rows::{self, corrupt, decode, encode_kept, failed, integer},
};

/// Waiting for another process's short write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);
/// Pages in memory: negative means KiB (https://www.sqlite.org/pragma.html#pragma_cache_size).
const CACHE_KIB: &str = "-16384";
/// Readers beside the writer of one process.
const CONNECTIONS_MAX: u32 = 4;

/// State in one SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pool: SqlitePool,
    locks: PathBuf,
    installation: String,
    codes: Codes,
}

impl SqliteStore {
    /// Opens the store of a data folder; makes it if there is none, migrates it if it is older.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unauthentic`] if it was not made under the authenticator's key, [`StoreError::Failed`] if the database cannot be opened.
    pub async fn open(folder: &DataFolder, authenticator: Arc<dyn Authenticator>) -> Result<Self, StoreError> {
        let codes = Codes::new(authenticator);
        let options = SqliteConnectOptions::new()
            .filename(folder.database())
            .journal_mode(SqliteJournalMode::Wal)
            // A commit that was answered is on disk: intents come before effects.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // A commit of thousands of records fits: it goes into the log at once, not page by page through a temporary file.
            .pragma("cache_size", CACHE_KIB)
            .pragma("temp_store", "MEMORY")
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .connect_with(options)
            .await
            .map_err(failed("opening the database"))?;
        migrations().run(&pool).await.map_err(|error| StoreError::Failed { doing: "migrating the database", reason: error.to_string() })?;
        let uuid = uuid::Uuid::new_v4().to_string();
        sqlx::query("INSERT INTO installation (id, uuid, code) VALUES (1, ?, ?) ON CONFLICT DO NOTHING")
            .bind(&uuid)
            .bind(codes.of(&Covered::installation(&uuid)).to_vec())
            .execute(&pool)
            .await
            .map_err(failed("naming the installation"))?;
        let row = sqlx::query("SELECT uuid, code FROM installation").fetch_one(&pool).await.map_err(failed("reading the installation"))?;
        let installation = rows::text(&row, "uuid")?;
        codes.check(&row, &Covered::installation(&installation), || format!("installation `{installation}`"))?;
        Ok(Self { installation, pool, locks: folder.path().join("locks"), codes })
    }

    fn deployment(&self, environment: &EnvironmentKey, row: &sqlx::sqlite::SqliteRow) -> Result<Deployment, StoreError> {
        DeploymentRow::read(row, environment, &self.codes)?.deployment()
    }

    /// Refuses writers whose lease was taken over.
    async fn fenced(&self, environment: &EnvironmentKey, fence: Fence) -> Result<Transaction<'_, Sqlite>, StoreError> {
        // IMMEDIATE: the write lock is taken before anything is read.
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed("beginning a commit"))?;
        let row = sqlx::query("SELECT fence FROM environments WHERE application = ? AND environment = ?")
            .bind(environment.application.as_str())
            .bind(environment.environment.as_str())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(failed("reading the lease"))?;
        let current = row.as_ref().map(|row| rows::number(row, "fence")).transpose()?;
        if current == Some(fence.0) { Ok(transaction) } else { Err(StoreError::StaleFence { environment: environment.clone(), fence }) }
    }
}

pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// The schema's history; a released step never changes.
fn migrations() -> Migrator {
    let step = |version: i64, name: &'static str, text: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sqlx::AssertSqlSafe(text).into_sql_str(), false)
    };
    let steps = vec![
        step(1, "core", include_str!("../migrations/0001_core.sql")),
        step(2, "retention", include_str!("../migrations/0002_retention.sql")),
        step(3, "large rows", include_str!("../migrations/0003_large_rows.sql")),
        step(4, "authentication", include_str!("../migrations/0004_authentication.sql")),
    ];
    Migrator { migrations: steps.into(), ..Migrator::DEFAULT }
}

#[async_trait]
impl Store for SqliteStore {
    fn installation(&self) -> &str {
        &self.installation
    }

    async fn environments(&self) -> Result<Vec<EnvironmentRecord>, StoreError> {
        let found = sqlx::query("SELECT application, environment, environment_type FROM environments ORDER BY application, environment")
            .fetch_all(&self.pool)
            .await
            .map_err(failed("listing environments"))?;
        found.iter().map(rows::environment).collect()
    }

    async fn create_environment(&self, record: &EnvironmentRecord) -> Result<bool, StoreError> {
        let result = sqlx::query(
            "INSERT INTO environments (application, environment, environment_type, code) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(record.key.application.as_str())
        .bind(record.key.environment.as_str())
        .bind(record.environment_type.as_str())
        .bind(self.codes.of(&Covered::environment(&record.key, &record.environment_type)).to_vec())
        .execute(&self.pool)
        .await
        .map_err(failed("making an environment"))?;
        Ok(result.rows_affected() > 0)
    }

    async fn load(&self, environment: &EnvironmentKey) -> Result<Option<EnvironmentState>, StoreError> {
        // One read transaction: what is seen belongs together.
        let mut transaction = self.pool.begin().await.map_err(failed("beginning to read"))?;
        let row = sqlx::query(
            "SELECT application, environment, environment_type, code FROM environments WHERE application = ? AND environment = ?",
        )
        .bind(environment.application.as_str())
        .bind(environment.environment.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed("reading an environment"))?;
        let Some(row) = row else { return Ok(None) };
        let record = self.codes.environment(&row)?;
        let found = sqlx::query("SELECT id, claim, record, code FROM actions WHERE application = ? AND environment = ?")
            .bind(environment.application.as_str())
            .bind(environment.environment.as_str())
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed("reading actions"))?;
        let mut actions = BTreeMap::new();
        for row in &found {
            let action = self.codes.action(environment, row)?;
            actions.insert(action.id.clone(), action);
        }
        let newest = |filter: &'static str| {
            format!("SELECT * FROM deployments WHERE application = ? AND environment = ? {filter} ORDER BY number DESC LIMIT 1")
        };
        let mut last = [None, None];
        for (slot, filter) in last.iter_mut().zip(["", "AND status = '\"succeeded\"'"]) {
            let row = sqlx::query(sqlx::AssertSqlSafe(newest(filter)))
                .bind(environment.application.as_str())
                .bind(environment.environment.as_str())
                .fetch_optional(&mut *transaction)
                .await
                .map_err(failed("reading deployments"))?;
            *slot = row.as_ref().map(|row| self.deployment(environment, row)).transpose()?;
        }
        let [last, last_succeeded] = last;
        Ok(Some(EnvironmentState { record, recorded: RecordedState { actions }, last, last_succeeded }))
    }

    async fn claims(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let found = sqlx::query("SELECT claim, application, environment FROM actions")
            .fetch_all(&self.pool)
            .await
            .map_err(failed("reading claims"))?;
        found
            .iter()
            .map(|row| Ok((rows::text(row, "claim")?, format!("{}/{}", rows::text(row, "application")?, rows::text(row, "environment")?))))
            .collect()
    }

    async fn lock(&self, environment: &EnvironmentKey) -> Result<Box<dyn Lease>, StoreError> {
        let file = lease::lock(&self.locks, environment).map_err(|failure| match failure {
            LockFailure::Held(holder) => StoreError::Locked { environment: environment.clone(), holder },
            LockFailure::Io(error) => StoreError::Failed { doing: "locking the environment", reason: error.to_string() },
        })?;
        // All rows, though there is one: the commit comes behind the last, and a disk that takes no more says so then.
        let rows =
            sqlx::query("UPDATE environments SET fence = fence + 1, holder = ? WHERE application = ? AND environment = ? RETURNING fence")
                .bind(std::process::id().to_string())
                .bind(environment.application.as_str())
                .bind(environment.environment.as_str())
                .fetch_all(&self.pool)
                .await
                .map_err(failed("taking the lease"))?;
        let row = rows.first().ok_or_else(|| StoreError::Missing(format!("the environment `{environment}`")))?;
        Ok(Box::new(FileLease { file, fence: Fence(rows::number(row, "fence")?) }))
    }

    async fn begin(
        &self,
        environment: &EnvironmentKey,
        fence: Fence,
        deployment: NewDeployment,
        started: &Event,
    ) -> Result<DeploymentNumber, StoreError> {
        let mut deployment = deployment;
        let mut transaction = self.fenced(environment, fence).await?;
        let documents = std::mem::take(&mut deployment.documents);
        let digests: Vec<Digest> = documents.keys().copied().collect();
        put_documents(&mut transaction, documents).await?;
        put_secrets(&mut transaction, environment, &deployment.secrets).await?;
        let row = sqlx::query("SELECT COALESCE(MAX(number), 0) + 1 AS number FROM deployments WHERE application = ? AND environment = ?")
            .bind(environment.application.as_str())
            .bind(environment.environment.as_str())
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed("numbering the deployment"))?;
        let number = DeploymentNumber(rows::number(&row, "number")?);
        if let Some(before) = deployment.supersedes {
            let ended = Event::Ended { status: DeploymentStatus::Superseded { by: number } };
            put_events(&mut transaction, &self.codes, environment, before, &[ended]).await?;
        }
        DeploymentRow::new(number, &deployment)?.insert(&mut transaction, environment, &self.codes).await?;
        let own = [deployment.plan, deployment.model, deployment.layers, deployment.provenance];
        retention::refer(&mut transaction, environment, number, own.iter().chain(&digests)).await?;
        put_events(&mut transaction, &self.codes, environment, number, std::slice::from_ref(started)).await?;
        transaction.commit().await.map_err(failed("beginning the deployment"))?;
        Ok(number)
    }

    async fn append(
        &self,
        environment: &EnvironmentKey,
        fence: Fence,
        deployment: DeploymentNumber,
        events: &[Event],
        secrets: &[NewSecret],
    ) -> Result<u64, StoreError> {
        let mut transaction = self.fenced(environment, fence).await?;
        put_secrets(&mut transaction, environment, secrets).await?;
        let sequence = put_events(&mut transaction, &self.codes, environment, deployment, events).await?;
        transaction.commit().await.map_err(failed("writing events"))?;
        Ok(sequence)
    }

    async fn remove_environment(&self, environment: &EnvironmentKey, fence: Fence) -> Result<bool, StoreError> {
        let mut transaction = self.fenced(environment, fence).await?;
        let is_empty = retention::remove(&mut transaction, environment).await?;
        if is_empty {
            transaction.commit().await.map_err(failed("forgetting the environment"))?;
        }
        Ok(is_empty)
    }

    async fn forget(&self, environment: &EnvironmentKey, keep: NonZeroU32) -> Result<u64, StoreError> {
        retention::forget(&self.pool, environment, keep).await
    }

    async fn deployments(&self, environment: &EnvironmentKey) -> Result<Vec<Deployment>, StoreError> {
        let found = sqlx::query("SELECT * FROM deployments WHERE application = ? AND environment = ? ORDER BY number DESC")
            .bind(environment.application.as_str())
            .bind(environment.environment.as_str())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("listing deployments"))?;
        found.iter().map(|row| self.deployment(environment, row)).collect()
    }

    async fn documents_of(&self, environment: &EnvironmentKey, deployment: DeploymentNumber) -> Result<DeploymentDocuments, StoreError> {
        let row = sqlx::query("SELECT * FROM deployments WHERE application = ? AND environment = ? AND number = ?")
            .bind(environment.application.as_str())
            .bind(environment.environment.as_str())
            .bind(integer(deployment.0))
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("reading a deployment"))?
            .ok_or_else(|| StoreError::Missing(format!("deployment {deployment} of `{environment}`")))?;
        DeploymentRow::read(&row, environment, &self.codes)?.documents()
    }

    async fn events(&self, environment: &EnvironmentKey, deployment: DeploymentNumber, after: u64) -> Result<Vec<LoggedEvent>, StoreError> {
        let found = sqlx::query(
            "SELECT * FROM events WHERE application = ? AND environment = ? AND deployment = ? AND sequence > ? ORDER BY sequence",
        )
        .bind(environment.application.as_str())
        .bind(environment.environment.as_str())
        .bind(integer(deployment.0))
        .bind(integer(after))
        .fetch_all(&self.pool)
        .await
        .map_err(failed("reading events"))?;
        found.iter().map(|row| self.codes.event(environment, row)).collect()
    }

    async fn put_documents(&self, documents: BTreeMap<Digest, Bytes>) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed("beginning a commit"))?;
        put_documents(&mut transaction, documents).await?;
        transaction.commit().await.map_err(failed("keeping documents"))
    }

    async fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("SELECT content FROM documents WHERE digest = ?")
            .bind(digest.to_string())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("reading a document"))?;
        let Some(row) = row else { return Ok(None) };
        let content: Vec<u8> = row.try_get("content").map_err(|error| corrupt("document", error))?;
        if Digest::of_bytes(&content) != *digest {
            return Err(corrupt(&format!("document {digest}"), "its bytes don't have its digest"));
        }
        Ok(Some(content))
    }

    async fn platform(&self) -> Result<(Platform, Provenance), StoreError> {
        let row = sqlx::query("SELECT document, provenance, code FROM platform")
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("reading the platform"))?;
        let Some(row) = row else { return Ok((Platform::default(), Provenance::default())) };
        let (document, provenance) = (rows::text(&row, "document")?, rows::text(&row, "provenance")?);
        self.codes.check(&row, &Covered::platform(&document, &provenance), || "platform".to_owned())?;
        Ok((decode("platform", &document)?, decode("provenance", &provenance)?))
    }

    async fn put_platform(&self, platform: &Platform, provenance: &Provenance) -> Result<(), StoreError> {
        let (document, provenance) = (encode_kept("platform", platform)?, encode_kept("provenance", provenance)?);
        let code = self.codes.of(&Covered::platform(&document, &provenance)).to_vec();
        sqlx::query("INSERT INTO platform (id, document, provenance, code) VALUES (1, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET document = excluded.document, provenance = excluded.provenance, code = excluded.code")
            .bind(document)
            .bind(provenance)
            .bind(code)
            .execute(&self.pool)
            .await
            .map_err(failed("storing the platform"))?;
        Ok(())
    }

    async fn secret(&self, environment: &EnvironmentKey, name: &str, version: Option<u64>) -> Result<Option<(u64, String)>, StoreError> {
        let row = sqlx::query("SELECT version, ciphertext FROM secrets WHERE application = ? AND environment = ? AND name = ? AND (? IS NULL OR version = ?) ORDER BY version DESC LIMIT 1")
            .bind(environment.application.as_str())
            .bind(environment.environment.as_str())
            .bind(name)
            .bind(version.map(integer))
            .bind(version.map(integer))
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("reading a secret"))?;
        row.map(|row| Ok((rows::number(&row, "version")?, rows::text(&row, "ciphertext")?))).transpose()
    }

    async fn put_secret(&self, environment: &EnvironmentKey, secret: &NewSecret) -> Result<bool, StoreError> {
        put_secret(&self.pool, environment, secret).await
    }

    async fn secrets(&self, environment: &EnvironmentKey) -> Result<BTreeMap<String, u64>, StoreError> {
        let found =
            sqlx::query("SELECT name, MAX(version) AS version FROM secrets WHERE application = ? AND environment = ? GROUP BY name")
                .bind(environment.application.as_str())
                .bind(environment.environment.as_str())
                .fetch_all(&self.pool)
                .await
                .map_err(failed("listing secrets"))?;
        found.iter().map(|row| Ok((rows::text(row, "name")?, rows::number(row, "version")?))).collect()
    }

    async fn remove_secret(&self, environment: &EnvironmentKey, name: &str) -> Result<bool, StoreError> {
        let result = sqlx::query("DELETE FROM secrets WHERE application = ? AND environment = ? AND name = ?")
            .bind(environment.application.as_str())
            .bind(environment.environment.as_str())
            .bind(name)
            .execute(&self.pool)
            .await
            .map_err(failed("removing a secret"))?;
        Ok(result.rows_affected() > 0)
    }
}
