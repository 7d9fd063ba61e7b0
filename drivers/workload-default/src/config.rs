//! What containers read: open values in ConfigMaps, sealed ones in one Secret, files in either.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use windlass_sdk::{kubernetes::literal, names, prelude::*, workload::File};

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

/// Longest key that Kubernetes takes.
const KEY_CHARS_MAX: usize = 253;
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

    /// Makes an environment variable: in place if its value is known, else read from the Secret or, if no part of it is secret,
    /// from the ConfigMap. Kubernetes expands only values that stand in place.
    pub(crate) fn variable(&mut self, container: &str, name: &str, value: &Sealable) -> Value {
        if let Some(known) = value.known() {
            return json!({ "name": name, "value": literal(known) });
        }
        let key = Space::Variables.key(container, name);
        let (source, object) = if value.is_secret() {
            self.sealed.insert(key.clone(), json!(value));
            self.fingerprints.push(value.clone());
            ("secretKeyRef", &self.secret)
        } else {
            self.open.insert(key.clone(), json!(value));
            ("configMapKeyRef", &self.config_map)
        };
        json!({ "name": name, "valueFrom": { source: { "name": object, "key": key } } })
    }

    /// Keeps a file: in the Secret as soon as a part of it is secret.
    pub(crate) fn file(&mut self, container: &str, path: &str, file: &File) -> Result<Mount, Diagnostics> {
        let key = Space::Files.key(container, path.trim_start_matches('/'));
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
        let mut known = String::new();
        for (key, value) in self.open.iter().chain(&self.open_binary) {
            let text = value.as_str().unwrap_or_default();
            match Sealable::from(text) {
                value if value.is_sealed() => values.push(value),
                _ => known.extend([key.as_str(), "=", text, ";"]),
            }
        }
        if known.is_empty() {
            return (!values.is_empty()).then(|| windlass_sdk::sealed::fingerprint(&values));
        }
        let known = Sealable::new(names::hash(&known));
        if values.is_empty() {
            return Some(known);
        }
        values.push(known);
        Some(windlass_sdk::sealed::fingerprint(&values))
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

/// The kinds of entries in a ConfigMap or Secret: a variable and a file may have one name.
#[derive(Clone, Copy, Debug)]
enum Space {
    Variables,
    Files,
}

impl Space {
    /// Returns the key of an entry: readable, unique, at most 253 characters.
    fn key(self, container: &str, name: &str) -> String {
        let space = match self {
            Self::Variables => "env",
            Self::Files => "files",
        };
        let clean: String = name.chars().map(|c| if is_key_char(c) { c } else { '_' }).collect();
        let key = format!("{container}.{space}.{clean}");
        if clean == name && key.len() <= KEY_CHARS_MAX && !ends_with_hash(name) {
            return key;
        }
        format!("{}.{}", key.chars().take(KEY_CHARS_MAX - 9).collect::<String>(), names::hash(name))
    }
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Returns whether a name looks like one that was given a hash, so that it gets one too and can't be mistaken.
fn ends_with_hash(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| end.len() == 8 && end.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
