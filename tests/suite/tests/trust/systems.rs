//! Systems that Windlass talks to: their answers are bounded and never believed.

mod hostile_database;
mod terraform;
