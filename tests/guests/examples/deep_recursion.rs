//! A guest of the tests: deep recursion.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    #[inline(never)]
    fn down(depth: u64) -> u64 {
        if std::hint::black_box(depth) == u64::MAX { 0 } else { down(depth + 1).wrapping_add(depth) }
    }
    outputs(&format!("{{\"value\":\"{}\"}}", down(0)))
}

windlass_guests::guest!(define);
