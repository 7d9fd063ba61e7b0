//! First-party and third-party drivers linked without Wasm: for tests and for measuring what Wasm costs.

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    resource::{self, Context, Description, ResourceDefinition, ResourceKey},
    workload::{self, WorkloadProfile},
};

/// `define` with JSON texts: outputs and warnings, or why it refuses.
pub type Define = fn(Context, ResourceKey, Vec<String>, &str, &str) -> Result<(String, Vec<Diagnostic>), Diagnostics>;
/// `render` with JSON texts: manifests and warnings, or why it refuses.
pub type Render = fn(Context, String, &str, &str, &[String]) -> Result<(Vec<String>, Vec<Diagnostic>), Diagnostics>;

/// The functions of a driver, as plain function pointers.
#[derive(Clone, Copy, Debug)]
pub enum Driver {
    /// A resource driver.
    Resource {
        /// `describe`.
        describe: fn() -> Description,
        /// `define`.
        define: Define,
    },
    /// A workload driver.
    Workload {
        /// `describe`.
        describe: fn() -> Description,
        /// `render`.
        render: Render,
    },
}

impl Driver {
    /// Takes a resource driver.
    pub fn resource<D: ResourceDefinition>() -> Self {
        Self::Resource { describe: resource::describe::<D>, define: resource::define::<D> }
    }

    /// Takes a workload driver.
    pub fn workload<D: WorkloadProfile>() -> Self {
        Self::Workload { describe: workload::describe::<D>, render: workload::render::<D> }
    }
}
