//! Systems that Windlass talks to: their answers are bounded and never believed.

mod clusters;
mod dns_records;
mod hostile_database;
mod registries;
mod role_membership;
mod stores;
mod terraform;
