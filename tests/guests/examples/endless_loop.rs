//! A guest of the tests: endless loop.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    loop {
        std::hint::black_box(());
    }
}

windlass_guests::guest!(define);
