//! Modules of OpenTofu and Terraform: `windlass:terraform/modules`.
//!
//! The real program is run; the host is its HTTP state backend on a loopback port with a token for each run.
//! The saved plan is what is applied, after it was looked at.

mod backend;
mod executor;
mod module;
mod planner;
mod process;
mod program;
mod provider;
mod run;
mod session;
mod setup;
mod spec;
mod work;

pub use executor::TerraformExecutor;
pub use planner::ModulesPlanner;
