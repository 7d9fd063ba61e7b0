//! Instances of RDS with the groups that they need.

mod check;
mod compare;
mod executor;
mod exposure;
mod group;
mod instance;
mod planner;
mod session;
mod spec;
mod version;

pub use executor::RdsExecutor;
pub use planner::RdsPlanner;
