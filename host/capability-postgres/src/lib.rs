//! Roles, logins and databases in a PostgreSQL server that exists: `windlass:postgres/databases`.
//!
//! The one crate that speaks SQL to servers of others. Identifiers and literals are quoted in `sql` alone;
//! passwords never leave the host: the server gets SCRAM verifiers.

mod connect;
mod error;
mod link;
mod look;
mod planner;
mod query;
mod session;
mod spec;
mod sql;
mod transport;

pub use connect::PostgresExecutor;
pub use planner::DatabasesPlanner;
