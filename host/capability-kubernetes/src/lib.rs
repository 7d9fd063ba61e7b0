//! Kubernetes objects in a real cluster: server-side apply, readiness, ownership, drift, removal.
//!
//! The only crate that names kube. What is known of objects without a cluster is in `windlass-manifest`.

mod answer;
mod api;
mod connect;
mod eks;
mod fields;
mod list;
mod marks;
mod namespace;
mod resource;
mod seen;
mod session;
mod transport;
mod trouble;
mod watch;

pub use connect::{ClusterOptions, KubernetesExecutor};
pub use marks::{LABEL_OWNER, owner_label};
