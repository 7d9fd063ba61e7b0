//! Recorded state: what exists by our doing, written with the intent, so that everything can be
//! deleted when documents, definition and driver are gone.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    action::ActionId,
    canonical::CanonicalError,
    digest::Digest,
    name::{ApplicationName, DocumentName, EnvironmentName, EnvironmentTypeName},
    platform::{ConnectionSettings, OnRemove},
    spec::Spec,
};

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Decided, perhaps sent.
    Intended,
    /// Done and known.
    Live,
    /// Sent by a deployment that was cut off: observed before anything else.
    Uncertain,
    /// Left where it is on purpose.
    Retained,
    /// Its removal is decided, perhaps sent.
    Deleting,
}

impl Status {
    /// Tells whether it was decided, perhaps sent, and nobody saw it done.
    #[must_use]
    pub fn is_unanswered(self) -> bool {
        matches!(self, Self::Intended | Self::Uncertain)
    }
}

/// What is recorded of one action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedAction {
    /// Its id.
    pub id: ActionId,
    /// The interface.
    pub interface: String,
    /// The connection's name.
    pub connection: DocumentName,
    /// The connection as it was, without credentials.
    pub settings: Arc<ConnectionSettings>,
    /// What the system calls it.
    pub identity: String,
    /// The unresolved spec; the log leaves it out.
    #[serde(default, skip_serializing_if = "Spec::is_null")]
    pub spec: Spec,
    /// Versions of the secrets that went in, by label.
    #[serde(default)]
    pub versions: BTreeMap<String, u64>,
    /// Specs before `spec` that the system may still hold in part: the last one that it confirmed, and every intent since then that it
    /// did not answer. Empty as soon as it confirms `spec`; the log leaves them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Spec>,
    /// The resolved spec, encrypted, in base64; absent where nothing had to be put in: then it is the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    /// Keyed hash of the resolved spec, hexadecimal; absent as long as that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// What the capability needs to find it again: uid, path, ARN.
    #[serde(default)]
    pub handle: Value,
    /// What it yielded and is no secret.
    #[serde(default)]
    pub outputs: Map<String, Value>,
    /// Something of it is to end when everything else is ready.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsettled: bool,
    /// How far it is.
    pub status: Status,
    /// What it depends on: deleted in reverse.
    #[serde(default)]
    pub depends_on: Vec<ActionId>,
    /// Order among actions that don't depend on each other.
    pub rank: u16,
    /// What happens when nothing needs it.
    pub on_remove: OnRemove,
    /// Losing it loses data.
    pub holds_data: bool,
}

impl RecordedAction {
    /// Tells whether it is known what was, or will be, sent.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.mac.is_some()
    }

    /// Returns every spec that the system may hold when `next` is about to be sent: of an intent that was cut off before its answer,
    /// only what came before it.
    #[must_use]
    pub fn held_before(&self, next: &Spec) -> Vec<Spec> {
        let mut held = self.earlier.clone();
        let is_same_intent = self.status.is_unanswered() && self.spec == *next;
        if !(is_same_intent || self.spec.is_null() || held.contains(&self.spec)) {
            held.push(self.spec.clone());
        }
        held
    }

    /// Tells whether it was meant to be made, and no system ever said that it was.
    #[must_use]
    pub fn was_never_made(&self) -> bool {
        self.handle.is_null() && self.status.is_unanswered()
    }
}

/// Everything recorded of an environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedState {
    /// The actions.
    pub actions: BTreeMap<ActionId, RecordedAction>,
}

/// The part of an action that a plan's basis covers: no uid, time or sequence. The fields stand in canonical order: every plan
/// hashes one of these for each thing that is there.
#[derive(Serialize)]
struct BasisEntry<'a> {
    connection: &'a DocumentName,
    id: &'a ActionId,
    identity: &'a str,
    interface: &'a str,
    settings: Digest,
    spec: Digest,
    status: Status,
    versions: &'a BTreeMap<String, u64>,
}

impl RecordedState {
    /// Returns the digest that a plan is compared with.
    pub fn basis(&self) -> Result<Digest, CanonicalError> {
        Digest::of(&self.basis_entries()?)
    }

    fn basis_entries(&self) -> Result<Vec<BasisEntry<'_>>, CanonicalError> {
        // Thousands of actions go through a handful of connections.
        let mut known: BTreeMap<&DocumentName, (&Arc<ConnectionSettings>, Digest)> = BTreeMap::new();
        let mut entries = Vec::with_capacity(self.actions.len());
        for action in self.actions.values() {
            let settings = match known.get(&action.connection) {
                Some((settings, digest)) if **settings == action.settings => *digest,
                _ => {
                    let digest = Digest::of(&action.settings)?;
                    known.insert(&action.connection, (&action.settings, digest));
                    digest
                }
            };
            entries.push(BasisEntry {
                connection: &action.connection,
                id: &action.id,
                identity: &action.identity,
                interface: &action.interface,
                settings,
                spec: action.spec.digest(),
                status: action.status,
                versions: &action.versions,
            });
        }
        Ok(entries)
    }

    /// Tells whether nothing is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}

/// An environment: (application, name).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentKey {
    /// The application.
    pub application: ApplicationName,
    /// The name.
    pub environment: EnvironmentName,
}

impl std::fmt::Display for EnvironmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.application, self.environment)
    }
}

/// What is known of an environment itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentRecord {
    /// Which.
    pub key: EnvironmentKey,
    /// Its type.
    pub environment_type: EnvironmentTypeName,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(paths: [&str; 2]) -> RecordedState {
        let action = |name: &str, path: &str| {
            let id = format!("db.default#web.db:object/{name}");
            let record = json!({
                "id": id, "interface": "i", "connection": "files", "settings": { "capability": "directory", "directory": { "path": path } },
                "identity": name, "spec": { "b": 1 }, "versions": { "z": 1, "a": 2 }, "status": "live", "rank": 0, "onRemove": "delete", "holdsData": false,
            });
            serde_json::from_value::<RecordedAction>(record).unwrap()
        };
        let actions = ["a", "b"].into_iter().zip(paths).map(|(name, path)| action(name, path));
        RecordedState { actions: actions.map(|action| (action.id.clone(), action)).collect() }
    }

    #[test]
    fn earlier_specs_are_kept_until_an_answer() {
        let action = |status: Status, spec: u8, earlier: &[u8]| RecordedAction {
            status,
            spec: Spec::new(&json!(spec)).unwrap(),
            earlier: earlier.iter().map(|spec| Spec::new(&json!(spec)).unwrap()).collect(),
            ..state(["x", "x"]).actions.into_values().next().unwrap()
        };
        let held = |record: RecordedAction, next: u8| {
            record.held_before(&Spec::new(&json!(next)).unwrap()).iter().map(|spec| spec.as_str().to_owned()).collect::<Vec<_>>().concat()
        };
        assert_eq!(held(action(Status::Live, 1, &[]), 2), "1");
        assert_eq!(held(action(Status::Live, 1, &[]), 1), "1", "drift is healed over what was confirmed");
        assert_eq!(held(action(Status::Intended, 2, &[1]), 2), "1", "an intent of its own is no state");
        assert_eq!(held(action(Status::Uncertain, 2, &[1]), 3), "12", "an intent without an answer may have arrived");
        assert_eq!(held(action(Status::Intended, 1, &[]), 1), "");
    }

    #[test]
    fn a_basis_is_hashed_straight_and_covers_every_connection() {
        let same = state(["x", "x"]);
        assert!(crate::canonical::is_straight(&same.basis_entries().unwrap()));
        assert_eq!(same.basis().unwrap(), state(["x", "x"]).basis().unwrap());
        assert_ne!(same.basis().unwrap(), state(["x", "y"]).basis().unwrap());
        assert_ne!(state(["y", "x"]).basis().unwrap(), state(["x", "y"]).basis().unwrap());
    }
}
