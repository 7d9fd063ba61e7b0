//! Systems that Windlass talks to: their answers are bounded and never believed.

mod clusters;
mod hostile_database;
mod registries;
mod stores;
mod terraform;
