//! Names as types: parsed once, so that a wrong one can't travel.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Says why a text is no name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: {rule}")]
pub struct NameError {
    /// The refused text.
    pub text: String,
    /// What it should have been.
    pub what: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

const LABEL_RULE: &str = "1 to 63 lower-case letters, digits and `-`, starting and ending with a letter or digit";
const LABEL_PATTERN: &str = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";

fn is_label(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

fn is_type(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=512).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

fn is_document_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=128).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $check:path, $pattern:expr, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $type(String);

        impl $type {
            /// Returns the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                if $check(&text) { Ok(Self(text)) } else { Err(NameError { text, what: $what, rule: $rule }) }
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

name!(
    /// An application.
    ApplicationName, "application name", is_label, LABEL_PATTERN, LABEL_RULE
);
name!(
    /// An environment of an application.
    EnvironmentName, "environment name", is_label, LABEL_PATTERN, LABEL_RULE
);
name!(
    /// An environment type: `development`, `staging`, `production`, …
    EnvironmentTypeName, "environment type", is_label, LABEL_PATTERN, LABEL_RULE
);
name!(
    /// A workload, as its Score document names it.
    WorkloadName, "workload name", is_label, LABEL_PATTERN, LABEL_RULE
);
name!(
    /// A resource type; Score allows upper case.
    ResourceTypeName, "resource type", is_type, "^[A-Za-z0-9][A-Za-z0-9-]{0,62}$", "1 to 63 letters, digits and `-`, starting with a letter or digit"
);
name!(
    /// A class of a resource type; `default` where none is written.
    ClassName, "resource class", is_type, "^[A-Za-z0-9][A-Za-z0-9-]{0,62}$", "1 to 63 letters, digits and `-`, starting with a letter or digit"
);
name!(
    /// The id of a resource inside an environment.
    ResourceId, "resource id", is_id, "^[A-Za-z0-9][A-Za-z0-9._-]{0,511}$", "letters, digits, `-`, `.` and `_`, starting with a letter or digit"
);
name!(
    /// The name of a platform document.
    DocumentName, "document name", is_document_name, "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", "1 to 128 letters, digits, `-`, `.` and `_`, starting with a letter or digit"
);

impl ClassName {
    /// Returns the class of a resource that names none.
    #[must_use]
    pub fn default_class() -> Self {
        Self("default".to_owned())
    }

    /// Tells whether this is `default`.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0 == "default"
    }
}

impl Default for ClassName {
    fn default() -> Self {
        Self::default_class()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_rfc_1123() {
        for good in ["a", "web", "a-b-1", &"x".repeat(63)] {
            assert!(good.parse::<WorkloadName>().is_ok(), "{good}");
        }
        for wrong in ["", "-a", "a-", "A", "a_b", "a.b", "ä", "a\n", &"x".repeat(64)] {
            assert!(wrong.parse::<WorkloadName>().is_err(), "{wrong}");
        }
        assert_eq!(
            "Web".parse::<WorkloadName>().unwrap_err().to_string(),
            "`Web` is no workload name: 1 to 63 lower-case letters, digits and `-`, starting and ending with a letter or digit"
        );
    }
}
