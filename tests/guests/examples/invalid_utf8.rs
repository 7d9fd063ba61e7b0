//! A guest of the tests: invalid utf8.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    // SAFETY: there is none: that is the point of this guest.
    let text = unsafe { String::from_utf8_unchecked(vec![b'{', 0xFF, 0xFE, b'}']) };
    outputs(&text)
}

windlass_guests::guest!(define);
