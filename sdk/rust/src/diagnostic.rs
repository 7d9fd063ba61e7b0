//! What a driver tells a person.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing goes on.
    Error,
    /// It goes on, and somebody should look.
    Warning,
    /// For the curious.
    Info,
}

/// A finding: what, where, how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable, for machines: `storage-too-small`.
    pub code: String,
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// RFC 6901 into `{"params": …, "inputs": …}` or `{"workload": …, "inputs": …}`; empty for the whole.
    pub pointer: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// Makes an error.
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code: code.to_owned(), message: message.into(), pointer: String::new(), hint: None }
    }

    /// Makes a warning.
    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Says where it stands.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = pointer.into();
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Writes a name as a step of a pointer.
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Why a driver refuses: at least one error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

/// Reads JSON by a driver's types; the place of an error becomes its pointer.
pub(crate) fn read<T: serde::de::DeserializeOwned>(part: &str, text: &str) -> Result<T, Diagnostics> {
    serde_json::from_str(text).map_err(|error| {
        Diagnostic::error("invalid-request", format!("`{part}` does not fit the driver's types: {error}")).at(format!("/{part}")).into()
    })
}

/// Writes JSON.
pub(crate) fn write<T: serde::Serialize>(value: &T) -> Result<String, Diagnostics> {
    serde_json::to_string(value)
        .map_err(|error| Diagnostic::error("invalid-answer", format!("the answer can't be written as JSON: {error}")).into())
}

/// Writes a tree, which always can be written. Its `Display` does the same through a formatter, piece by piece: a twentieth of
/// what planning costs.
pub(crate) fn write_tree(tree: &serde_json::Value) -> String {
    serde_json::to_string(tree).unwrap_or_else(|_| tree.to_string())
}
