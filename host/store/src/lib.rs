//! State in SQLite: one file, WAL mode, durable commits. PostgreSQL will pass the same contract suite.

mod lease;
mod rows;
mod sqlite;

pub use sqlite::SqliteStore;
