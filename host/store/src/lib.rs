//! State in SQLite: one file, WAL mode, durable commits. PostgreSQL will pass the same contract suite.

mod codes;
mod deployments;
mod folder;
mod lease;
mod log;
mod retention;
mod rows;
mod sqlite;

pub use folder::DataFolder;
pub use sqlite::SqliteStore;
