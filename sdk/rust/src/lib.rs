//! Write Windlass drivers in Rust.
//!
//! A driver is a pure function: it gets a request and answers with outputs or manifests. What should
//! exist in the world it stages through handles ([`kubernetes::Object`], [`secrets::Generated`], [`postgres::Database`], …);
//! making a handle creates nothing, it adds an action to the plan. The component imports only the
//! capabilities that its code uses, so its import section is the list of what it may ask for.
//!
//! ```
//! use windlass_sdk::prelude::*;
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Inputs {
//!     host: String,
//! }
//!
//! #[derive(Serialize, JsonSchema)]
//! struct Outputs {
//!     host: String,
//!     url: String,
//! }
//!
//! struct Dns;
//!
//! impl ResourceDefinition for Dns {
//!     const SUMMARY: &'static str = "a name that exists already";
//!     type Params = NoParams;
//!     type Inputs = Inputs;
//!     type Outputs = Outputs;
//!
//!     fn define(request: Request<NoParams, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
//!         let host = request.inputs.host;
//!         Ok(Answer::new(Outputs { url: format!("https://{host}"), host }))
//!     }
//! }
//!
//! windlass_sdk::export_resource!(Dns);
//!
//! let outcome = windlass_sdk::harness::define::<Dns>(serde_json::json!({ "inputs": { "host": "shop.example" } }));
//! assert_eq!(outcome.outputs["url"], "https://shop.example");
//! ```

pub mod aws;
pub mod diagnostic;
pub mod kubernetes;
pub mod names;
pub mod postgres;
pub mod resource;
pub mod sealed;
pub mod secrets;
pub mod terraform;
pub mod workload;

#[cfg(not(target_arch = "wasm32"))]
pub mod harness;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
#[cfg(not(target_arch = "wasm32"))]
pub mod recorder;

#[doc(hidden)]
pub mod export;

mod bindings;
mod handle;

#[cfg(all(target_arch = "wasm32", feature = "heap"))]
mod heap;

#[doc(hidden)]
pub use serde_json;

/// What a driver needs.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};

    pub use crate::{
        diagnostic::{Diagnostic, Diagnostics, Severity},
        kubernetes::Object,
        resource::{Answer, Context, NoParams, Request, ResourceDefinition, ResourceKey},
        sealed::{Sealable, SealableJson, SealableValue},
        secrets::Generated,
        workload::{Manifests, RenderRequest, WorkloadProfile},
    };
}
