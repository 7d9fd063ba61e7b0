//! The plan: everything that one deployment would do, as a document with a digest. It holds no secret.
//!
//! Fields stand in the order of their JSON names: that is canonical order, so a plan is written without being sorted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    action::ActionId,
    canonical::CanonicalError,
    diagnostic::Diagnostic,
    digest::Digest,
    key::NodeKey,
    name::{ApplicationName, DocumentName, EnvironmentName, EnvironmentTypeName},
    platform::{LayerName, MatchRule, OnRemove},
    sealed::Origin,
    spec::Spec,
    state::EnvironmentKey,
};

/// The version of the plan's shape.
pub const SCHEMA: &str = "windlass.dev/plan/v1alpha1";

/// Everything that one deployment would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The application.
    pub application: ApplicationName,
    /// Digest of the recorded state that the plan was compared with.
    pub basis: Digest,
    /// Component digests by driver reference.
    pub components: BTreeMap<String, Digest>,
    /// Digest of what is wanted, whatever exists: the memo's key.
    pub desired: Digest,
    /// What is taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destroys: Vec<Destroy>,
    /// The environment.
    pub environment: EnvironmentName,
    /// Its type.
    pub environment_type: EnvironmentTypeName,
    /// The plan of the stage before: this one was made when that was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Digest>,
    /// Images of containers that were left open in the model and taken over from the last deployment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// Digest of the model.
    pub model: Digest,
    /// Digest of the documents that won.
    pub platform: Digest,
    /// Digest of the policy: the environment type and the connections.
    pub policy: Digest,
    /// `windlass.dev/plan/v1alpha1`.
    pub schema: String,
    /// Where each secret goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_flows: Vec<SecretFlow>,
    /// What is done, in order: the first stage exactly so. A second one shows what can be said now of the nodes that are planned
    /// when the first is ready.
    pub stages: Vec<PlannedStage>,
    /// Values that earlier actions yielded and drivers looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<KnownValue>,
    /// What somebody should look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Diagnostic>,
}

/// Nodes whose inputs are known together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedStage {
    /// The nodes, in topological order, ties by key.
    pub nodes: Vec<PlannedNode>,
    /// Those of them whose drivers could not be asked yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub staged: Vec<StagedNode>,
}

/// A node whose driver must look at values that are not known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StagedNode {
    /// Its address.
    pub key: NodeKey,
    /// The values.
    pub needs: Vec<Need>,
}

/// A value that is not known yet, and where a driver must look at it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Need {
    /// Where it comes from.
    pub of: Origin,
    /// The field of the definition's inputs or of the resource's params.
    pub pointer: String,
}

/// A value that an action yielded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KnownValue {
    /// The action.
    pub action: ActionId,
    /// Which of its outputs.
    pub output: String,
    /// It is never secret.
    pub value: Value,
}

/// One node: what its driver decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedNode {
    /// What it stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<PlannedAction>,
    /// What its drivers' schemas ask of values that they took sealed, where a value could be otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    /// The definition or profile; absent for types that the host makes itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<WinningDocument>,
    /// The nodes whose outputs it uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<NodeKey>,
    /// The drivers in order: one for a resource, one per stage for a workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drivers: Vec<PlannedDriver>,
    /// Its address.
    pub key: NodeKey,
    /// What it yields, sealed where not known or secret.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub outputs: Map<String, Value>,
    /// References of its actions to Secrets of other nodes: each hands a secret on by its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<SecretFlow>,
    /// Digest of everything that its drivers were asked; absent for types that the host makes itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Digest>,
}

/// What a schema asks of a value that is not known yet, or secret: checked when it is known, before the first effect that it goes into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Constraint {
    /// Where the value stands in what the driver was asked: `/inputs/target`.
    pub pointer: String,
    /// A JSON Schema.
    pub schema: Value,
    /// The value, sealed.
    pub value: Value,
}

/// The document that won, and the rule by which it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WinningDocument {
    /// Its layer.
    pub layer: LayerName,
    /// The rule that fitted; absent if it applies everywhere.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub rule: Option<MatchRule>,
    /// Its name.
    pub name: DocumentName,
}

/// One call of a driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedDriver {
    /// The component.
    pub component: Digest,
    /// `builtin:NAME`, `file:PATH` or a digest.
    pub driver: String,
}

/// One idempotent *ensure*.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedAction {
    /// The interface that it was staged through.
    pub capability: String,
    /// What is done, compared with the recorded state.
    pub change: Change,
    /// The connection.
    pub connection: DocumentName,
    /// What must be done before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<ActionId>,
    /// Which fields differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// Losing it loses data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_data: bool,
    /// Its id.
    pub id: ActionId,
    /// What the system calls it; unique in its connection.
    pub identity: String,
    /// What happens when nothing needs it any more.
    pub on_remove: OnRemove,
    /// Order among actions that don't depend on each other.
    pub rank: u16,
    /// What must be, sealed where not known or secret.
    pub spec: Spec,
    /// Identities of the Secrets that a controller makes for the object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yields: Vec<String>,
}

/// What is done to an action's object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Change {
    /// It is made.
    Create,
    /// It is changed in place.
    Update,
    /// It is deleted and made again.
    Replace {
        /// Why it can't be changed in place.
        why: String,
    },
    /// It is taken away.
    Delete,
    /// Nothing.
    None,
    /// It is changed only if these values turn out to differ.
    Pending {
        /// The values.
        on: Vec<String>,
    },
}

impl Change {
    /// Tells whether something is sent.
    #[must_use]
    pub fn is_change(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Names the change for a person and for counting.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Replace { .. } => "replace",
            Self::Delete => "delete",
            Self::None => "none",
            Self::Pending { .. } => "pending",
        }
    }
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldChange {
    /// As recorded; absent if the field is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// Where.
    pub pointer: String,
    /// As planned; absent if the field goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// Something that is taken away, or left behind on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Destroy {
    /// Whether it is deleted or left where it is.
    pub act: OnRemove,
    /// The interface.
    pub capability: String,
    /// The connection.
    pub connection: DocumentName,
    /// It may go only with `--allow-destroy`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guarded: bool,
    /// Losing it loses data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_data: bool,
    /// The recorded action.
    pub id: ActionId,
    /// What the system calls it.
    pub identity: String,
    /// Why.
    pub why: DestroyReason,
}

/// Why something is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DestroyReason {
    /// Nothing in the model needs it any more.
    Removed,
    /// It can't be changed in place.
    Replaced,
    /// The environment is destroyed.
    Destroyed,
}

/// A secret and a place where it goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretFlow {
    /// Where the secret comes from.
    pub from: String,
    /// The field of its spec.
    pub pointer: String,
    /// The action that gets it.
    pub to: ActionId,
}

impl Plan {
    /// Writes the canonical bytes.
    pub fn to_canonical(&self) -> Result<Vec<u8>, CanonicalError> {
        // Specs are nearly all of it; what stands around one is shorter than this.
        const AROUND_BYTES: usize = 1_024;
        let about = self.actions().map(|action| action.spec.as_str().len() + AROUND_BYTES).sum();
        crate::canonical::to_vec_of(self, about)
    }

    /// Returns the plan's name: the digest of its canonical bytes.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        Digest::of(self)
    }

    /// Names the environment that it is for.
    #[must_use]
    pub fn environment_key(&self) -> EnvironmentKey {
        EnvironmentKey { application: self.application.clone(), environment: self.environment.clone() }
    }

    /// Visits the nodes that it decides, in order.
    pub fn nodes(&self) -> impl Iterator<Item = &PlannedNode> {
        self.stages.iter().take(1).flat_map(|stage| &stage.nodes)
    }

    /// Visits the nodes of which a later plan has the last word, in order.
    pub fn later(&self) -> impl Iterator<Item = &PlannedNode> {
        self.stages.iter().skip(1).flat_map(|stage| &stage.nodes)
    }

    /// Visits the nodes whose drivers could not be asked yet.
    pub fn staged(&self) -> impl Iterator<Item = &StagedNode> {
        self.stages.iter().flat_map(|stage| &stage.staged)
    }

    /// Visits all actions that it decides, in order.
    pub fn actions(&self) -> impl Iterator<Item = &PlannedAction> {
        self.nodes().flat_map(|node| &node.actions)
    }

    /// Finds an action.
    #[must_use]
    pub fn action(&self, id: &ActionId) -> Option<&PlannedAction> {
        self.actions().find(|action| action.id == *id)
    }

    /// Tells whether applying it would change anything.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.actions().any(|action| action.change.is_change()) || !self.destroys.is_empty() || self.staged().next().is_some()
    }

    /// Counts the changes by word.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for action in self.actions() {
            *counts.entry(action.change.word()).or_default() += 1;
        }
        for destroy in self.destroys.iter().filter(|destroy| destroy.why != DestroyReason::Replaced) {
            let word = match destroy.act {
                OnRemove::Delete => "delete",
                OnRemove::Retain => "retain",
            };
            *counts.entry(word).or_default() += 1;
        }
        counts
    }
}
