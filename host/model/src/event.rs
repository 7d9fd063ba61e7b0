//! Deployments and the lines of their log. State is folded from them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{action::ActionId, digest::Digest, platform::OnRemove, state::RecordedAction};

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// `user:NAME`, later `ci:…`.
    pub subject: String,
}

/// Why something happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// Somebody typed a command.
    Command {
        /// The verb.
        verb: Verb,
    },
}

/// What is asked for; each passes `authorize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// See what would happen.
    Plan,
    /// Make it so.
    Deploy,
    /// Go back.
    Rollback,
    /// Take everything away.
    Destroy,
    /// Give a resource new credentials.
    Rotate,
    /// Let go of what was left behind.
    Release,
    /// Finish what was cut off.
    Resume,
    /// See what is.
    Read,
    /// Change the platform.
    Platform,
    /// Change secrets.
    Secrets,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plan => "plan",
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Destroy => "destroy",
            Self::Rotate => "rotate",
            Self::Release => "release",
            Self::Resume => "resume",
            Self::Read => "read",
            Self::Platform => "platform",
            Self::Secrets => "secrets",
        })
    }
}

/// The number of a deployment inside its environment, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentNumber(pub u64);

impl fmt::Display for DeploymentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for DeploymentNumber {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim_start_matches('#').parse().map(Self)
    }
}

/// How a deployment stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeploymentStatus {
    /// Under way, or cut off.
    Running,
    /// Everything is done.
    Succeeded,
    /// Something failed.
    Failed {
        /// What.
        reason: String,
    },
    /// Somebody stopped it.
    Cancelled,
    /// A later deployment took over before it ended.
    Superseded {
        /// Which.
        by: DeploymentNumber,
    },
    /// It killed the process too often.
    Held {
        /// What happened.
        reason: String,
    },
}

impl DeploymentStatus {
    /// Names the status.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded { .. } => "superseded",
            Self::Held { .. } => "held",
        }
    }
}

/// What a deployment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// Its number.
    pub number: DeploymentNumber,
    /// The plan.
    pub plan: Digest,
    /// The model.
    pub model: Digest,
    /// What was asked for.
    pub verb: Verb,
    /// Who asked.
    pub actor: Actor,
    /// Why.
    pub cause: Cause,
    /// Made with `--platform DIR`.
    #[serde(default)]
    pub given_platform: bool,
    /// The deployment whose model this one brings back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<DeploymentNumber>,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// How it stands.
    pub status: DeploymentStatus,
}

/// Something of ours that others changed and a deployment sets back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealedAction {
    /// Which.
    pub id: ActionId,
    /// The fields; none if the whole is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<DriftedField>,
}

/// A field of ours that is not as it was left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DriftedField {
    /// Where.
    pub pointer: String,
    /// What it was left as; absent where the value is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<serde_json::Value>,
    /// What was found; absent where nothing is there or the value is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<serde_json::Value>,
    /// Who changed it, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// One line of a deployment's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Event {
    /// It began; the first intents are on disk with this line, those of a deployment of hundreds all.
    #[serde(rename_all = "camelCase")]
    Started {
        /// What is intended.
        intended: Vec<RecordedAction>,
        /// Somebody said that data may be destroyed: that holds for whoever goes on with it, too.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        allow_destroy: bool,
    },
    /// A stage is ready, and the next was planned with what it yielded; its first intents are on disk with this line.
    #[serde(rename_all = "camelCase")]
    Planned {
        /// The plan of the next stage.
        plan: Digest,
        /// What is intended.
        intended: Vec<RecordedAction>,
    },
    /// A process goes on with it.
    #[serde(rename_all = "camelCase")]
    Resumed {
        /// Counts the processes that died without a new event.
        deaths: u32,
    },
    /// More intents are on disk with this line.
    #[serde(rename_all = "camelCase")]
    Intended {
        /// What is intended.
        actions: Vec<RecordedAction>,
    },
    /// These are about to be sent, and were not on disk with all that is sent.
    #[serde(rename_all = "camelCase")]
    Sending {
        /// Their records, with the resolved spec.
        actions: Vec<RecordedAction>,
    },
    /// These were found as recorded: nothing was sent.
    #[serde(rename_all = "camelCase")]
    Unchanged {
        /// Their records.
        actions: Vec<RecordedAction>,
    },
    /// These were changed in the world and restored.
    #[serde(rename_all = "camelCase")]
    Healed {
        /// Which, and what of them.
        #[serde(default)]
        actions: Vec<HealedAction>,
    },
    /// These are done.
    #[serde(rename_all = "camelCase")]
    Done {
        /// Their records.
        actions: Vec<RecordedAction>,
    },
    /// This one is under way in the world.
    #[serde(rename_all = "camelCase")]
    Waiting {
        /// Its id.
        id: ActionId,
        /// What the capability needs to ask again.
        ticket: serde_json::Value,
        /// For people.
        note: String,
    },
    /// These are about to be taken away.
    #[serde(rename_all = "camelCase")]
    Removing {
        /// Their ids.
        ids: Vec<ActionId>,
    },
    /// These are gone, or left behind on purpose.
    #[serde(rename_all = "camelCase")]
    Removed {
        /// Their ids.
        ids: Vec<ActionId>,
        /// Which of both.
        act: OnRemove,
    },
    /// These are not ours now, or never were; what there is of them stays as it is.
    #[serde(rename_all = "camelCase")]
    Released {
        /// Their ids.
        ids: Vec<ActionId>,
    },
    /// This one failed.
    #[serde(rename_all = "camelCase")]
    ActionFailed {
        /// Its id.
        id: ActionId,
        /// What the system said.
        message: String,
    },
    /// It ended.
    #[serde(rename_all = "camelCase")]
    Ended {
        /// How.
        status: DeploymentStatus,
    },
}

impl Event {
    /// Returns the records that it brings, if it is about any: from here on they hold.
    #[must_use]
    pub fn records(&self) -> Option<&[RecordedAction]> {
        match self {
            Self::Started { intended: records, .. }
            | Self::Planned { intended: records, .. }
            | Self::Intended { actions: records }
            | Self::Sending { actions: records }
            | Self::Unchanged { actions: records }
            | Self::Done { actions: records } => Some(records),
            _ => None,
        }
    }

    /// Says what happened, in a line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let list = |ids: Vec<&ActionId>| ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
        match self {
            Self::Started { intended, .. } => format!("started: {} actions intended", intended.len()),
            Self::Planned { plan, intended } => format!("planned the next stage {}: {} actions intended", plan.short(), intended.len()),
            Self::Intended { actions } => format!("{} more actions intended", actions.len()),
            Self::Resumed { deaths } => format!("resumed after {deaths} cut-off"),
            Self::Sending { actions } => format!("sending {}", list(actions.iter().map(|action| &action.id).collect())),
            Self::Unchanged { actions } => format!("{} unchanged", actions.len()),
            Self::Healed { actions } => {
                let one = |action: &HealedAction| match action.fields.as_slice() {
                    [] => action.id.to_string(),
                    fields => {
                        let pointers: Vec<&str> = fields.iter().map(|field| field.pointer.as_str()).collect();
                        format!("{} ({})", action.id, pointers.join(", "))
                    }
                };
                format!("restoring {}", actions.iter().map(one).collect::<Vec<_>>().join(", "))
            }
            Self::Done { actions } => format!("done {}", list(actions.iter().map(|action| &action.id).collect())),
            Self::Waiting { id, note, .. } => format!("waiting for {id}: {note}"),
            Self::Removing { ids } => format!("removing {}", list(ids.iter().collect())),
            Self::Removed { ids, act: OnRemove::Delete } => format!("deleted {}", list(ids.iter().collect())),
            Self::Removed { ids, act: OnRemove::Retain } => format!("retained {}", list(ids.iter().collect())),
            Self::Released { ids } => format!("released {}", list(ids.iter().collect())),
            Self::ActionFailed { id, message } => format!("failed {id}: {message}"),
            Self::Ended { status } => match status {
                DeploymentStatus::Failed { reason } | DeploymentStatus::Held { reason } => format!("{}: {reason}", status.word()),
                DeploymentStatus::Superseded { by } => format!("superseded by deployment {by}"),
                DeploymentStatus::Running | DeploymentStatus::Succeeded | DeploymentStatus::Cancelled => status.word().to_owned(),
            },
        }
    }
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedEvent {
    /// Grows by one in each environment.
    pub sequence: u64,
    /// The deployment.
    pub deployment: DeploymentNumber,
    /// When it was written, RFC 3339.
    pub at: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}
