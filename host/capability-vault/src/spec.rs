//! What is staged; the published schemas are made of these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// A value that is there already.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LookupSpec {
    /// `MOUNT/PATH`: the mount of a KV engine of version 2, and the path inside it.
    pub path: String,
}

/// A value of ours, written for others to read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EntrySpec {
    /// `MOUNT/PATH`: the mount of a KV engine of version 2, and the path inside it.
    pub path: String,
    /// The fields.
    #[schemars(extend("x-windlass-sealed" = true))]
    pub data: BTreeMap<String, String>,
}

/// Splits a path into mount and rest.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    let (mount, rest) = path.split_once('/')?;
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    (plain(mount) && rest.split('/').all(plain)).then_some((mount, rest))
}
