//! Addresses of resources and of nodes of the graph.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::name::{ClassName, NameError, ResourceId, ResourceTypeName, WorkloadName};

/// `type.class#id`: one resource of an environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// The resource type.
    pub r#type: ResourceTypeName,
    /// The class, `default` where none was written.
    pub class: ClassName,
    /// The id inside the environment.
    pub id: ResourceId,
}

/// One node of the resource graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum NodeKey {
    /// A resource: `type.class#id`.
    Resource(ResourceKey),
    /// A workload: `workload/name`.
    Workload(WorkloadName),
}

/// Says why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The separators are missing.
    #[error("`{0}` is no resource key: `type.class#id` or `workload/name` is expected")]
    Shape(String),
    /// One of its parts is wrong.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}#{}", self.r#type, self.class, self.id)
    }
}

impl FromStr for ResourceKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (address, id) = text.split_once('#').ok_or_else(|| KeyError::Shape(text.to_owned()))?;
        let (r#type, class) = match address.split_once('.') {
            Some((r#type, class)) => (r#type, class.parse()?),
            None => (address, ClassName::default_class()),
        };
        Ok(Self { r#type: r#type.parse()?, class, id: id.parse()? })
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(key) => key.fmt(f),
            Self::Workload(name) => write!(f, "workload/{name}"),
        }
    }
}

impl FromStr for NodeKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text.strip_prefix("workload/") {
            Some(name) => Ok(Self::Workload(name.parse()?)),
            None => text.parse().map(Self::Resource),
        }
    }
}

impl From<NodeKey> for String {
    fn from(key: NodeKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for NodeKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<ResourceKey> for NodeKey {
    fn from(key: ResourceKey) -> Self {
        Self::Resource(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["postgres.default#web.db", "Type-Three.fast#shared.main-s3", "workload/web"] {
            assert_eq!(text.parse::<NodeKey>().unwrap().to_string(), text);
        }
        assert_eq!("postgres#db".parse::<NodeKey>().unwrap().to_string(), "postgres.default#db");
        assert!("postgres".parse::<NodeKey>().is_err());
    }
}
