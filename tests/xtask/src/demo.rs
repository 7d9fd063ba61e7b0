//! The demo.
use anyhow::Result;

use crate::place::Place;

pub(crate) fn run(_place: &Place) -> Result<()> {
    Ok(())
}
