//! Components of third parties: what they may cost, see and reach.

mod admission;
mod budgets;
mod manifests;
mod references;
mod secrets;
mod stages;
