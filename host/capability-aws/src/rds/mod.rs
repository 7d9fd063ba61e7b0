//! Instances of RDS with the groups that they need.

mod check;
mod executor;
mod exposure;
mod group;
mod instance;
mod planner;
mod session;
mod spec;

pub use executor::RdsExecutor;
pub use planner::RdsPlanner;
