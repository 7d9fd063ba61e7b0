//! Plan files: an approved plan with everything that this machine needs to make the same plan again.
//!
//! A file is not an authority: `deploy` plans its model with this machine's platform, connections and grants, and applies its own plan
//! if that equals the one in the file.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_document::{ClosedError, check_closed, check_closed_value};
use windlass_model::{
    Digest,
    application::{Model, Provenance},
    differences::{Difference, differences},
    limits, nesting,
    plan::Plan,
    platform::Platform,
    sealed::{self, Sealed},
};

use crate::exit::{Code, Failure};

/// The version of the file's shape.
const SCHEMA: &str = "windlass.dev/plan-file/v1alpha2";
/// Begins the version of every shape.
const SCHEMAS: &str = "windlass.dev/plan-file/";
/// Where the schema stands: it is the first field.
const HEAD_BYTES: usize = 64;
/// Length of a value in the message about a difference.
const SHOWN_CHARS_MAX: usize = 120;
/// Digests in a plan that differ whenever what they cover differs, which says more; the most telling one comes first.
const SUMMARIES: [&str; 7] = ["/policy", "/platform", "/components", "/model", "/basis", "/desired", "/request"];

/// What a plan file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Purpose {
    /// To deploy the model.
    Deploy,
    /// To destroy the environment.
    Destroy,
}

/// A plan with what it was made of, beside the stored platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Bundle {
    schema: String,
    pub purpose: Purpose,
    /// The plan that was approved; it is compared, never applied.
    pub plan: Plan,
    pub model: Model,
    /// The platform that was given with `--platform`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Where documents stood.
    pub provenance: Provenance,
    /// Components that are not built in, in base64.
    components: BTreeMap<Digest, String>,
}

impl Bundle {
    pub(crate) fn new(
        purpose: Purpose,
        plan: Plan,
        model: Model,
        platform: Option<Platform>,
        provenance: Provenance,
        components: &BTreeMap<Digest, Bytes>,
    ) -> Result<Self, Failure> {
        let components = components.iter().map(|(digest, bytes)| (*digest, STANDARD.encode(bytes))).collect();
        let bundle = Self { schema: SCHEMA.to_owned(), purpose, plan, model, platform, provenance, components };
        bundle.check_connections()?;
        Ok(bundle)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut bytes = serde_json::to_vec(self).map_err(Failure::failed)?;
        bytes.push(b'\n');
        check_shape(&bytes).map_err(|reason| Failure::failed(format!("the plan does not fit into a file: {reason}")))?;
        fs::write(path, bytes).map_err(|error| Failure::failed(format!("{} can't be written: {error}", path.display())))
    }

    /// Reads a plan file; none if the file is something else. The model and the platform are held to the rules of documents.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Failure> {
        if !path.is_file() {
            return Ok(None);
        }
        let bad = |reason: String| Failure::new(Code::BadInput, format!("the plan file {} can't be read: {reason}", path.display()));
        let mut file = File::open(path)?;
        let mut bytes = Vec::new();
        file.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut bytes)?;
        let head = String::from_utf8_lossy(&bytes);
        if !head.contains(SCHEMAS) {
            return Ok(None);
        }
        if !head.contains(SCHEMA) {
            return Err(bad(format!("it is not of the version {SCHEMA}")).hint("plan again with this version of Windlass"));
        }
        let rest = limits::PLAN_FILE_BYTES_MAX + 1 - bytes.len();
        file.take(rest as u64).read_to_end(&mut bytes)?;
        check_shape(&bytes).map_err(bad)?;
        let bundle: Self = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        bundle.check_documents().map_err(bad)?;
        bundle.check_connections()?;
        Ok(Some(bundle))
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
    fn check_connections(&self) -> Result<(), Failure> {
        match self.platform.iter().flat_map(|platform| platform.connections.keys()).next() {
            None => Ok(()),
            Some(name) => Err(Failure::new(Code::BadInput, format!("a plan file can't carry the connection `{name}`"))
                .hint("store it with `windlass platform apply` on the machine that deploys, or deploy without a plan file")),
        }
    }

    /// Returns the components.
    pub(crate) fn components(&self) -> Result<BTreeMap<Digest, Bytes>, Failure> {
        let mut out = BTreeMap::new();
        for (digest, text) in &self.components {
            let bytes = STANDARD.decode(text).map_err(|error| Failure::new(Code::BadInput, error.to_string()))?;
            if bytes.len() > limits::COMPONENT_BYTES_MAX || Digest::of_bytes(&bytes) != *digest {
                return Err(Failure::new(Code::BadInput, format!("the component {digest} of the plan file was changed")));
            }
            out.insert(*digest, Bytes::from(bytes));
        }
        Ok(out)
    }
}

/// Checks length, nesting and number of values before anything is built from a file.
fn check_shape(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() > limits::PLAN_FILE_BYTES_MAX {
        return Err(format!("it has more than {} MiB", limits::PLAN_FILE_BYTES_MAX >> 20));
    }
    let nesting::Shape { depth, values } = nesting::shape(bytes);
    if depth > limits::PLAN_FILE_DEPTH_MAX {
        return Err(format!("it is nested {depth} levels deep, more than {}", limits::PLAN_FILE_DEPTH_MAX));
    }
    if values > limits::PLAN_FILE_VALUES_MAX {
        return Err(format!("it has more than {} values", limits::PLAN_FILE_VALUES_MAX));
    }
    Ok(())
}

/// Refuses an approved plan that is not the one that this machine makes, and names the first difference.
pub(crate) fn check_equal(approved: &Plan, made: &Plan) -> Result<(), Failure> {
    if approved.digest().map_err(Failure::failed)? == made.digest().map_err(Failure::failed)? {
        return Ok(());
    }
    let difference = first_difference(approved, made)?;
    if approved.basis == made.basis {
        return Err(Failure::new(Code::BadInput, format!("the plan in the file is stale or was changed: {difference}"))
            .hint("this machine plans with its own platform, connections, grants and secrets: plan again here, and look at what differs"));
    }
    Err(Failure::failed(format!("the plan is stale: the environment changed since it was made; {difference}")).hint("plan again"))
}

/// Says where two plans differ first: the path and both values. Plans hold no secrets; sealed values are named by their origins.
fn first_difference(approved: &Plan, made: &Plan) -> Result<String, Failure> {
    let unreadable = |error: serde_json::Error| Failure::new(Code::BadInput, format!("the plan in the file can't be read: {error}"));
    let (approved, made) = (serde_json::to_value(approved).map_err(unreadable)?, serde_json::to_value(made).map_err(unreadable)?);
    let mut first: Option<(usize, String)> = None;
    differences(&approved, &made, &|value| Sealed::from_json(value).is_some(), &mut |at, Difference { from, to }| {
        let at = at.to_string();
        // What is no digest comes before all digests.
        let rank = SUMMARIES.iter().position(|summary| at.starts_with(summary) || at.ends_with(summary)).map_or(0, |rank| rank + 1);
        if first.as_ref().is_none_or(|(found, _)| rank < *found) {
            first = Some((rank, format!("`{at}` is {} in the file and {} here", shown(from), shown(to))));
        }
    });
    Ok(first.map_or_else(|| "its text is not canonical".to_owned(), |(_, difference)| difference))
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "absent".to_owned() };
    let text = sealed::displayed(value).to_string();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
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
        assert!(check_shape(&nested(limits::PLAN_FILE_DEPTH_MAX + 1)).is_err_and(|reason| reason.contains("levels deep")));
        // A list of n numbers counts its bracket, its commas and the whole.
        let list = |values: usize| [b"[".as_slice(), &b"1,".repeat(values - 2), b"1]"].concat();
        assert_eq!(check_shape(&list(limits::PLAN_FILE_VALUES_MAX)), Ok(()));
        assert!(check_shape(&list(limits::PLAN_FILE_VALUES_MAX + 1)).is_err_and(|reason| reason.contains("values")));
        let long = vec![b' '; limits::PLAN_FILE_BYTES_MAX + 1];
        assert_eq!(check_shape(long.get(1..).unwrap()), Ok(()));
        assert!(check_shape(&long).is_err_and(|reason| reason.contains("MiB")));
    }
}
