//! Amazon Web Services: `windlass:aws/rds`, `windlass:aws/route53`, and tokens for clusters of EKS.
//!
//! The one crate that names the AWS SDKs. Credentials come from their default chain; they enter no document,
//! no plan and no log.

mod account;
mod eks;
mod error;
mod http;
mod mark;
mod pages;
pub mod rds;
pub mod route53;
mod secrets;

pub use account::{Accounts, AwsOptions};
pub use eks::EksTokens;
pub use secrets::SecretsManagerExecutor;
