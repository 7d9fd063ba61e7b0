//! Plan files: everything that another machine needs to apply exactly this plan.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use windlass_model::{
    Digest,
    application::{Model, Provenance},
    plan::Plan,
    platform::Layers,
};

use crate::exit::{Code, Failure};

/// The version of the file's shape.
const SCHEMA: &str = "windlass.dev/plan-file/v1alpha1";

/// A plan with what it was made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Bundle {
    schema: String,
    /// The plan.
    pub plan: Plan,
    /// The model.
    pub model: Model,
    /// The layers that were given or stored.
    pub layers: Layers,
    /// Where documents stood.
    pub provenance: Provenance,
    /// Components that are not built in, in base64.
    components: BTreeMap<Digest, String>,
}

impl Bundle {
    pub(crate) fn new(plan: Plan, model: Model, layers: Layers, provenance: Provenance, components: &BTreeMap<Digest, Bytes>) -> Self {
        let components = components.iter().map(|(digest, bytes)| (*digest, STANDARD.encode(bytes))).collect();
        Self { schema: SCHEMA.to_owned(), plan, model, layers, provenance, components }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut bytes = serde_json::to_vec(self).map_err(Failure::failed)?;
        bytes.push(b'\n');
        fs::write(path, bytes).map_err(|error| Failure::failed(format!("{} can't be written: {error}", path.display())))
    }

    /// Reads a plan file; none if the file is something else.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Failure> {
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = fs::read(path)?;
        let head = bytes.get(..bytes.len().min(64)).unwrap_or_default();
        if !String::from_utf8_lossy(head).contains(SCHEMA) {
            return Ok(None);
        }
        let bad = |reason: String| Failure::new(Code::BadInput, format!("the plan file {} can't be read: {reason}", path.display()));
        let bundle: Self = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if bundle.model.digest().map_err(|error| bad(error.to_string()))? != bundle.plan.model {
            return Err(bad("its model is not the one that was planned".to_owned()));
        }
        Ok(Some(bundle))
    }

    /// Returns the components.
    pub(crate) fn components(&self) -> Result<BTreeMap<Digest, Bytes>, Failure> {
        let mut out = BTreeMap::new();
        for (digest, text) in &self.components {
            let bytes = STANDARD.decode(text).map_err(|error| Failure::new(Code::BadInput, error.to_string()))?;
            if Digest::of_bytes(&bytes) != *digest {
                return Err(Failure::new(Code::BadInput, format!("the component {digest} of the plan file was changed")));
            }
            out.insert(*digest, Bytes::from(bytes));
        }
        Ok(out)
    }
}
