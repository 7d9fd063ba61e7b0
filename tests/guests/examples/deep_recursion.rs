//! A guest of the tests: deep recursion.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    // Nothing of it is in linear memory: the stack that overflows is the machine's own.
    #[inline(never)]
    fn down(depth: u64, end: u64) -> u64 {
        if depth == end { 0 } else { down(depth + 1, end).rotate_left(7) ^ depth }
    }
    outputs(&format!("{{\"value\":\"{}\"}}", down(0, u64::MAX - request.inputs.len() as u64)))
}

windlass_guests::guest!(define);
