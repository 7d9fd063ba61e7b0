//! What the tests of the whole share: a planning world from texts, the binary, the fake capability and
//! the contract that every capability passes.

pub mod aws;
mod aws_rules;
pub mod aws_scene;
pub mod binary;
pub mod cloud;
pub mod cluster;
pub mod contract;
pub mod hostile;
pub mod kills;
pub mod memory;
pub mod mission;
pub mod proxy;
pub mod registry;
pub mod tls;
pub mod world;
