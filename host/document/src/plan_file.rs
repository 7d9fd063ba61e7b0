//! Plan files: an approved plan with everything that another machine needs to make the same plan again.
//!
//! A file is not an authority. It is read like any document: length, nesting, number of values, and the schema of each kind.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_model::{
    Digest,
    application::{Model, Provenance},
    limits, nesting,
    plan::Plan,
    platform::Platform,
};

use crate::closed::{ClosedError, check_closed, check_closed_value};

/// The version of the file's shape.
const SCHEMA: &str = "windlass.dev/plan-file/v1alpha2";
/// Begins the version of every shape.
const SCHEMAS: &str = "windlass.dev/plan-file/";

/// Length of the beginning that tells a plan file from other files, in bytes: the schema is its first field.
pub const PLAN_FILE_HEAD_BYTES: usize = 64;

/// Why a plan file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFileError {
    /// Another version of Windlass wrote it.
    #[error("it is not of the version {SCHEMA}")]
    Version,
    /// It is no JSON of the right shape, or passes a limit.
    #[error("{0}")]
    Unreadable(String),
    /// It carries a connection: those are the deploying machine's alone.
    #[error("a plan file can't carry the connection `{0}`")]
    Connection(String),
    /// A component does not have the digest under which it stands.
    #[error("the component {0} of the plan file was changed")]
    Component(Digest),
}

impl From<serde_json::Error> for PlanFileError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// The purpose of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// To deploy the model.
    Deploy,
    /// To destroy the environment.
    Destroy,
}

/// A plan with everything that it was made of, beside the stored platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanFile {
    schema: String,
    /// To deploy or to destroy.
    pub purpose: Purpose,
    /// The plan that was approved; it is compared, never applied.
    pub plan: Plan,
    /// The application.
    pub model: Model,
    /// The platform that was given with `--platform`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Where documents stood.
    pub provenance: Provenance,
    /// Components that are not built in, in base64.
    components: BTreeMap<Digest, String>,
}

impl PlanFile {
    /// Puts a file together.
    ///
    /// # Errors
    ///
    /// `Connection` where the platform has one.
    pub fn new<'b>(
        purpose: Purpose,
        plan: Plan,
        model: Model,
        platform: Option<Platform>,
        provenance: Provenance,
        components: impl IntoIterator<Item = (&'b Digest, &'b [u8])>,
    ) -> Result<Self, PlanFileError> {
        let components = components.into_iter().map(|(digest, bytes)| (*digest, STANDARD.encode(bytes))).collect();
        let file = Self { schema: SCHEMA.to_owned(), purpose, plan, model, platform, provenance, components };
        file.check_connections()?;
        Ok(file)
    }

    /// Writes the file's text, JSON on one line.
    ///
    /// # Errors
    ///
    /// `Unreadable` where the text passes a limit of plan files.
    pub fn to_text(&self) -> Result<Vec<u8>, PlanFileError> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        check_shape(&text)?;
        Ok(text)
    }

    /// Returns whether a file that begins so is a plan file; only the first [`PLAN_FILE_HEAD_BYTES`] count.
    #[must_use]
    pub fn is_plan_file(head: &[u8]) -> bool {
        let head = head.get(..PLAN_FILE_HEAD_BYTES).unwrap_or(head);
        head.windows(SCHEMAS.len()).any(|window| window == SCHEMAS.as_bytes())
    }

    /// Reads a plan file. The model and the platform are held to the rules of documents.
    ///
    /// # Errors
    ///
    /// The first rule that the file breaks.
    pub fn parse(text: &[u8]) -> Result<Self, PlanFileError> {
        check_shape(text)?;
        if !text.get(..PLAN_FILE_HEAD_BYTES).unwrap_or(text).windows(SCHEMA.len()).any(|window| window == SCHEMA.as_bytes()) {
            return Err(PlanFileError::Version);
        }
        let file: Self = serde_json::from_slice(text)?;
        if file.schema != SCHEMA {
            return Err(PlanFileError::Version);
        }
        file.check_documents().map_err(PlanFileError::Unreadable)?;
        file.check_connections()?;
        Ok(file)
    }

    /// Holds the documents of the file to the rules of documents that people write.
    fn check_documents(&self) -> Result<(), String> {
        let value = |document: Result<Value, serde_json::Error>| document.map_err(|error| error.to_string());
        let refused = |name: String| move |error: ClosedError| format!("`{name}`: {error}");
        for (name, workload) in &self.model.workloads {
            let score = value(serde_json::to_value(&workload.score))?;
            check_closed("Workload", &score).map_err(refused(format!("workload/{name}")))?;
            check_closed_value(&value(serde_json::to_value(&workload.images))?).map_err(refused(format!("workload/{name}")))?;
        }
        for (id, resource) in &self.model.resources {
            check_closed_value(&value(serde_json::to_value(resource))?).map_err(refused(format!("resource {id}")))?;
        }
        for variation in &self.model.environments {
            check_closed_value(&value(serde_json::to_value(variation))?).map_err(refused("application".to_owned()))?;
        }
        let Some(platform) = &self.platform else { return Ok(()) };
        let mut documents: Vec<(&str, String, Result<Value, serde_json::Error>)> = Vec::new();
        let mut add = |kind, name: &dyn std::fmt::Display, document| documents.push((kind, name.to_string(), document));
        platform.definitions.iter().for_each(|(name, document)| add("ResourceDefinition", name, serde_json::to_value(document)));
        platform.profiles.iter().for_each(|(name, document)| add("WorkloadProfile", name, serde_json::to_value(document)));
        platform.environment_types.iter().for_each(|(name, document)| add("EnvironmentType", name, serde_json::to_value(document)));
        platform.resource_types.iter().for_each(|(name, document)| add("ResourceType", name, serde_json::to_value(document)));
        for (kind, name, document) in documents {
            let document = value(document)?;
            let named = document.pointer("/metadata/name").and_then(Value::as_str);
            if named != Some(name.as_str()) {
                return Err(format!("`{kind}/{name}` is called `{}` in its document", named.unwrap_or_default()));
            }
            check_closed(kind, &document).map_err(refused(format!("{kind}/{name}")))?;
        }
        Ok(())
    }

    /// Connections are this machine's: one in a file could name any program and variable of it.
    fn check_connections(&self) -> Result<(), PlanFileError> {
        match self.platform.iter().flat_map(|platform| platform.connections.keys()).next() {
            None => Ok(()),
            Some(name) => Err(PlanFileError::Connection(name.to_string())),
        }
    }

    /// Decodes the components.
    ///
    /// # Errors
    ///
    /// `Component` where bytes are not those of their digest, or too many.
    pub fn components(&self) -> Result<BTreeMap<Digest, Vec<u8>>, PlanFileError> {
        let decode = |(digest, text): (&Digest, &String)| match STANDARD.decode(text) {
            Ok(bytes) if bytes.len() <= limits::COMPONENT_BYTES_MAX && Digest::of_bytes(&bytes) == *digest => Ok((*digest, bytes)),
            _ => Err(PlanFileError::Component(*digest)),
        };
        self.components.iter().map(decode).collect()
    }
}

/// Checks length, nesting and number of values before anything is built from a file.
fn check_shape(text: &[u8]) -> Result<(), PlanFileError> {
    let refused = PlanFileError::Unreadable;
    if text.len() > limits::PLAN_FILE_BYTES_MAX {
        return Err(refused(format!("it has more than {} MiB", limits::PLAN_FILE_BYTES_MAX >> 20)));
    }
    let nesting::Shape { depth, values } = nesting::shape(text);
    if depth > limits::PLAN_FILE_DEPTH_MAX {
        return Err(refused(format!("it is nested {depth} levels deep, more than {}", limits::PLAN_FILE_DEPTH_MAX)));
    }
    if values > limits::PLAN_FILE_VALUES_MAX {
        return Err(refused(format!("it has more than {} values", limits::PLAN_FILE_VALUES_MAX)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> Vec<u8> {
        [b"[".repeat(levels), b"]".repeat(levels)].concat()
    }

    #[test]
    fn a_file_at_each_limit_passes_and_one_above_does_not() {
        assert_eq!(check_shape(&nested(limits::PLAN_FILE_DEPTH_MAX)), Ok(()));
        assert!(check_shape(&nested(limits::PLAN_FILE_DEPTH_MAX + 1)).is_err_and(|error| error.to_string().contains("levels deep")));
        // A list of n numbers counts its bracket, its commas and the whole.
        let list = |values: usize| [b"[".as_slice(), &b"1,".repeat(values - 2), b"1]"].concat();
        assert_eq!(check_shape(&list(limits::PLAN_FILE_VALUES_MAX)), Ok(()));
        assert!(check_shape(&list(limits::PLAN_FILE_VALUES_MAX + 1)).is_err_and(|error| error.to_string().contains("values")));
        let long = vec![b' '; limits::PLAN_FILE_BYTES_MAX + 1];
        assert_eq!(check_shape(long.get(1..).unwrap()), Ok(()));
        assert!(check_shape(&long).is_err_and(|error| error.to_string().contains("MiB")));
    }
}
