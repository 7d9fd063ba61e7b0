//! Components of third parties: what they may cost, see and reach.

mod manifests;
mod references;
mod stages;
