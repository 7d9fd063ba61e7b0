//! Brings what documents name elsewhere.

use std::path::Path;

use windlass_document::{Fetched, Fetcher, Remote};

use crate::{git, oci};

/// Fetches with the user's own credentials: those of `git`, those that `docker login` keeps.
#[derive(Clone, Copy, Debug)]
pub struct Network;

impl Fetcher for Network {
    fn fetch(&self, wanted: &Remote, into: &Path) -> Result<Fetched, String> {
        match wanted {
            Remote::Git(source) => git::fetch(source, into),
            Remote::Oci(source) => oci::fetch(source, into),
        }
    }
}
