//! Systems that Windlass talks to: their answers are bounded and never believed.

mod terraform;
