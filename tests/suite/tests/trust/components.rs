//! Components of third parties: what they may cost, see and reach.

mod admission;
mod manifests;
mod references;
mod stages;
