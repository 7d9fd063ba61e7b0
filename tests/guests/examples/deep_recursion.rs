//! A guest of the tests: deep recursion.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    fn down(depth: u64) -> u64 { let page = std::hint::black_box([depth; 64]); if depth == u64::MAX { 0 } else { down(depth + 1) + page[7] } }
    outputs(&format!("{{\"value\":\"{}\"}}", down(0)))
}

windlass_guests::guest!(define);
