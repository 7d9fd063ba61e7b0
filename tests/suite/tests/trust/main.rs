//! Trust boundaries: one module per boundary of the security model, each finding with its siblings.

mod components;
mod local_machine;
mod plan_files;
mod platform_rules;
mod systems;
