//! Modules of OpenTofu and Terraform: `windlass:terraform/modules`.
//!
//! The real program is run; the host is its HTTP state backend on a loopback port with a token for each run.
//! The saved plan is what is applied, after it was looked at. A module runs code: the kernel confines it where it can.

mod backend;
mod cli_config;
mod confinement;
mod executor;
mod expressions;
mod files;
mod json;
mod module;
mod planner;
mod process;
mod program;
mod provider;
mod report;
mod run;
mod session;
mod setup;
mod source;
mod spec;
mod state;
mod transcript;
pub mod untrusted;
mod work;

pub use confinement::{Confinement, Wrapper, become_program};
pub use executor::TerraformExecutor;
pub use planner::ModulesPlanner;
