//! Resolution: which definition applies, what depends on what, what placeholders stand for. Pure.

pub mod effective;
pub mod expand;
pub mod graph;
pub mod matching;

mod image;
mod lint;

pub use effective::{Effective, effective};
pub use graph::{Graph, GraphInput, GraphNode, HostType, Maker, NodeKind, Scope, resolve};
pub use image::unusable_images;
pub use lint::{misleading_placeholders, unclosed_placeholders};
pub use matching::{Choice, Lost, Matched};
