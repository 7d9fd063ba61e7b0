//! One connection to a server: every call has a deadline, every answer has a bound.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, Postgres, Row as _,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind};
use windlass_model::limits;

use crate::error;

/// The client waits this much longer than the server's own statement timeout, so that an honest server answers first.
const GRACE: Duration = Duration::from_secs(10);

/// A connection.
pub(crate) struct Link {
    connection: PgConnection,
    /// A call passed its deadline, so that the connection's state is unknown.
    broken: bool,
}

impl Link {
    pub(crate) fn new(connection: PgConnection) -> Self {
        Self { connection, broken: false }
    }

    /// Returns whether the connection can still be used.
    pub(crate) fn is_usable(&self) -> bool {
        !self.broken
    }

    /// Runs a query and returns its rows.
    ///
    /// # Errors
    ///
    /// If the server refuses, if its answer passes `limits::POSTGRES_ROWS_MAX` or `limits::POSTGRES_ANSWER_BYTES_MAX`, or if it does not end in time.
    pub(crate) async fn rows(&mut self, what: &str, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, CapabilityError> {
        let connection = self.usable(what)?;
        let collect = async {
            let mut stream = query.fetch(connection);
            let mut budget = Budget::default();
            let mut rows = Vec::new();
            while let Some(row) = stream.try_next().await.map_err(|error| error::of(what, &error))? {
                budget.take(what, bytes(&row))?;
                rows.push(row);
            }
            Ok(rows)
        };
        let answer = tokio::time::timeout(limits::POSTGRES_STATEMENT_TIME_MAX + GRACE, collect).await;
        self.finish(what, answer)
    }

    /// Runs statements as one transaction; all text in them is quoted by `sql`.
    ///
    /// # Errors
    ///
    /// If the server refuses or does not end in time.
    pub(crate) async fn run(&mut self, what: &str, statements: &[String]) -> Result<(), CapabilityError> {
        if statements.is_empty() {
            return Ok(());
        }
        let connection = self.usable(what)?;
        let run = connection.execute(sqlx::raw_sql(AssertSqlSafe(statements.join(";\n"))));
        let run = async { run.await.map(drop).map_err(|error| error::of(what, &error)) };
        let answer = tokio::time::timeout(limits::POSTGRES_STATEMENT_TIME_MAX + GRACE, run).await;
        self.finish(what, answer)
    }

    /// Ends the session in the server, so that no lock of it outlives the work.
    pub(crate) async fn close(self) {
        // A server that does not answer loses the socket instead.
        let _ = tokio::time::timeout(GRACE, self.connection.close()).await;
    }

    fn usable(&mut self, what: &str) -> Result<&mut PgConnection, CapabilityError> {
        if self.broken {
            return Err(CapabilityError::new(Kind::Failed, format!("{what}: an earlier call on the connection did not end")));
        }
        Ok(&mut self.connection)
    }

    /// Takes an answer; after a missed deadline or an answer past its bound the connection is not used again.
    fn finish<T>(
        &mut self,
        what: &str,
        answer: Result<Result<T, CapabilityError>, tokio::time::error::Elapsed>,
    ) -> Result<T, CapabilityError> {
        let Ok(answer) = answer else {
            self.broken = true;
            let within = (limits::POSTGRES_STATEMENT_TIME_MAX + GRACE).as_secs();
            return Err(CapabilityError::new(Kind::Failed, format!("{what}: the server did not answer within {within} s"))
                .hint("check the server's load and the locks that its sessions hold (`pg_stat_activity`)"));
        };
        self.broken |= answer.as_ref().is_err_and(|error| error.kind == Kind::Quota);
        answer
    }
}

/// What an answer may still hold.
struct Budget {
    rows: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { rows: limits::POSTGRES_ROWS_MAX, bytes: limits::POSTGRES_ANSWER_BYTES_MAX }
    }
}

impl Budget {
    fn take(&mut self, what: &str, bytes: usize) -> Result<(), CapabilityError> {
        match (self.rows.checked_sub(1), self.bytes.checked_sub(bytes)) {
            (Some(rows), Some(bytes)) => {
                *self = Self { rows, bytes };
                Ok(())
            }
            _ => Err(CapabilityError::new(
                Kind::Quota,
                format!(
                    "{what}: the server's answer has more than {} rows or {} bytes",
                    limits::POSTGRES_ROWS_MAX,
                    limits::POSTGRES_ANSWER_BYTES_MAX
                ),
            )
            .hint("remove roles and databases that carry the mark of this environment and are not used")),
        }
    }
}

fn bytes(row: &PgRow) -> usize {
    (0..row.len()).filter_map(|column| row.try_get_raw(column).ok()).map(|value| value.as_bytes().map_or(0, <[u8]>::len)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_at_their_bounds() {
        let mut rows = Budget::default();
        assert!((0..limits::POSTGRES_ROWS_MAX).all(|_| rows.take("test", 0).is_ok()));
        assert_eq!(rows.take("test", 0).unwrap_err().kind, Kind::Quota);
        let mut bytes = Budget::default();
        assert!(bytes.take("test", limits::POSTGRES_ANSWER_BYTES_MAX).is_ok());
        assert_eq!(bytes.take("test", 1).unwrap_err().kind, Kind::Quota);
    }
}
