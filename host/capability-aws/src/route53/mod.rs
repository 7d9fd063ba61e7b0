//! Records of Route 53: batched by zone, owned by a TXT record beside each name.

mod change;
mod executor;
mod planner;
mod record;
mod scope;
mod session;
mod zones;

pub use executor::Route53Executor;
pub use planner::Route53Planner;
