//! What containers read: open values in ConfigMaps, sealed ones in one Secret, files in either.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use windlass_sdk::{names, prelude::*, workload::File};

use crate::Identity;

/// Collects what goes into ConfigMap and Secret.
pub(crate) struct Config {
    config_map: String,
    secret: String,
    open: Map<String, Value>,
    open_binary: Map<String, Value>,
    sealed: Map<String, Value>,
    fingerprints: Vec<Sealable>,
}

/// A mounted file.
pub(crate) struct Mount {
    pub volume: &'static str,
    pub key: String,
    pub mode: Option<u32>,
}

pub(crate) const FILES: &str = "files";
pub(crate) const SECRET_FILES: &str = "secret-files";

impl Config {
    pub(crate) fn new(workload: &str) -> Self {
        Self {
            config_map: names::name(&[workload, "files"]),
            secret: names::name(&[workload, "secrets"]),
            open: Map::new(),
            open_binary: Map::new(),
            sealed: Map::new(),
            fingerprints: Vec::new(),
        }
    }

    /// Makes an environment variable: plain if nobody has to hide it.
    pub(crate) fn variable(&mut self, container: &str, name: &str, value: &Sealable) -> Value {
        if !value.is_secret() {
            return json!({ "name": name, "value": value });
        }
        let key = key(container, name);
        self.sealed.insert(key.clone(), json!(value));
        self.fingerprints.push(value.clone());
        json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": self.secret, "key": key } } })
    }

    /// Keeps a file: in the Secret as soon as a part of it is secret.
    pub(crate) fn file(&mut self, container: &str, path: &str, file: &File) -> Result<Mount, Diagnostics> {
        let key = key(container, path.trim_start_matches('/'));
        let mode = file.mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok());
        let volume = match (&file.content, &file.binary_content) {
            (Some(content), _) if content.is_secret() => {
                self.sealed.insert(key.clone(), json!(content));
                self.fingerprints.push(content.clone());
                SECRET_FILES
            }
            (Some(content), _) => {
                self.open.insert(key.clone(), json!(content));
                FILES
            }
            (None, Some(binary)) => {
                self.open_binary.insert(key.clone(), json!(binary));
                FILES
            }
            (None, None) => {
                return Err(Diagnostic::error("file", format!("the file `{path}` has no content"))
                    .at(format!("/workload/containers/{container}/files"))
                    .into());
            }
        };
        Ok(Mount { volume, key, mode })
    }

    /// The volumes that hold mounted files.
    pub(crate) fn volumes(&self, mounts: &BTreeMap<&'static str, Vec<(String, Option<u32>)>>) -> Vec<Value> {
        let items = |volume: &str| -> Vec<Value> {
            mounts
                .get(volume)
                .into_iter()
                .flatten()
                .map(|(key, mode)| match mode {
                    Some(mode) => json!({ "key": key, "path": key, "mode": mode }),
                    None => json!({ "key": key, "path": key }),
                })
                .collect()
        };
        let mut volumes = Vec::new();
        if mounts.contains_key(FILES) {
            volumes.push(json!({ "name": FILES, "configMap": { "name": self.config_map, "items": items(FILES) } }));
        }
        if mounts.contains_key(SECRET_FILES) {
            volumes.push(json!({ "name": SECRET_FILES, "secret": { "secretName": self.secret, "items": items(SECRET_FILES) } }));
        }
        volumes
    }

    /// What changes when, and only when, pods must be rolled.
    pub(crate) fn fingerprint(&self) -> Option<Sealable> {
        let mut values = self.fingerprints.clone();
        if !self.open.is_empty() || !self.open_binary.is_empty() {
            let open: Vec<Sealable> =
                self.open.values().chain(self.open_binary.values()).filter_map(Value::as_str).map(Sealable::from).collect();
            values.extend(open.iter().filter(|value| value.is_sealed()).cloned());
            let known: String = self.open.iter().chain(&self.open_binary).map(|(key, value)| format!("{key}={value};")).collect();
            if values.is_empty() {
                return Some(Sealable::new(names::hash(&known)));
            }
            if open.iter().all(|value| !value.is_sealed()) {
                values.push(Sealable::new(names::hash(&known)));
            }
        }
        (!values.is_empty()).then(|| windlass_sdk::sealed::fingerprint(&values))
    }

    /// The objects themselves.
    pub(crate) fn manifests(self, identity: &Identity) -> Vec<Value> {
        let mut out = Vec::new();
        if !self.open.is_empty() || !self.open_binary.is_empty() {
            let mut manifest = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": identity.metadata(&self.config_map) });
            if let Some(fields) = manifest.as_object_mut() {
                if !self.open.is_empty() {
                    fields.insert("data".into(), Value::Object(self.open));
                }
                if !self.open_binary.is_empty() {
                    fields.insert("binaryData".into(), Value::Object(self.open_binary));
                }
            }
            out.push(manifest);
        }
        if !self.sealed.is_empty() {
            out.push(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": identity.metadata(&self.secret), "type": "Opaque", "stringData": self.sealed }));
        }
        out
    }
}

/// A key of a ConfigMap or Secret: readable, unique, never a dotfile.
fn key(container: &str, name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect();
    let key = format!("{container}.{clean}");
    if plain && key.len() <= 253 { key } else { format!("{}.{}", key.chars().take(200).collect::<String>(), names::hash(name)) }
}
