//! State in SQLite: one file, WAL mode, durable commits. PostgreSQL will pass the same contract suite.

mod folder;
mod lease;
mod log;
mod retention;
mod rows;
mod sqlite;

pub use sqlite::SqliteStore;
