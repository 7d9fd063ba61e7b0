//! Trust boundaries: one module per boundary of the security model, each finding with its siblings.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure here fails the test")]

mod components;
mod local_machine;
mod plan_files;
mod platform_rules;
mod systems;
