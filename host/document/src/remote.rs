//! Files that a document names and that stand elsewhere: how they are named, and the seam behind which somebody brings them.
//! What is brought goes into the document whole, so a plan depends on contents and never on where a tag points today.

use std::path::Path;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Files that stand elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// `$git`: a folder of a Git repository.
    Git(GitSource),
    /// `$oci`: a folder of a module package in an OCI registry.
    Oci(OciSource),
}

/// A folder of a Git repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitSource {
    /// The repository's URL.
    pub repository: String,
    /// A tag, a branch or a commit.
    pub r#ref: String,
    /// A folder in it; the whole if nothing is said.
    #[serde(default)]
    pub path: Option<String>,
}

/// A folder of a module package in an OCI registry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OciSource {
    /// `HOST/REPOSITORY:TAG` or `HOST/REPOSITORY@sha256:DIGEST`.
    pub artifact: String,
    /// A folder in it; the whole if nothing is said.
    #[serde(default)]
    pub path: Option<String>,
}

/// What was brought, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The repository, without credentials.
    pub source: String,
    /// What was asked for.
    pub reference: String,
    /// What it was: a commit, a digest.
    pub revision: String,
}

/// Brings files from elsewhere.
pub trait Fetcher {
    /// Brings them into an empty folder, or says why not.
    fn fetch(&self, wanted: &Remote, into: &Path) -> Result<Fetched, String>;
}

/// For documents that are complete in themselves: nothing is brought.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl Fetcher for Nowhere {
    fn fetch(&self, _: &Remote, _: &Path) -> Result<Fetched, String> {
        Err("these documents can't name files that stand elsewhere".into())
    }
}

impl Remote {
    /// Reads the only field of an object, if it is one that names files elsewhere.
    pub(crate) fn read(fields: &Map<String, Value>) -> Option<Result<Self, String>> {
        fn parse<T: DeserializeOwned>(value: &Value, form: &str) -> Result<T, String> {
            T::deserialize(value).map_err(|error| format!("{form}: {error}"))
        }
        let (1, Some((key, value))) = (fields.len(), fields.iter().next()) else { return None };
        match key.as_str() {
            "$git" => Some(parse(value, "`$git` takes `repository`, `ref` and `path`").map(Self::Git)),
            "$oci" => Some(parse(value, "`$oci` takes `artifact` and `path`").map(Self::Oci)),
            _ => None,
        }
    }

    /// The folder that is meant.
    pub(crate) fn path(&self) -> &str {
        let (Self::Git(GitSource { path, .. }) | Self::Oci(OciSource { path, .. })) = self;
        path.as_deref().unwrap_or(".")
    }
}
