//! Kubernetes objects as files in a folder: for GitOps, and so that a first deployment needs no cluster.

mod executor;
mod files;
mod inventory;
mod planner;
mod yaml;

pub use executor::DirectoryExecutor;
pub use planner::ObjectsPlanner;
pub use yaml::to_yaml;
