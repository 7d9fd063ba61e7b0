//! Reads what others keep, and writes what is ours: with `cas`, so that nobody's write is lost.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use serde_json::{Map, Value, json};
use vaultrs::{
    api::kv2::{
        requests::{SetSecretMetadataRequest, SetSecretRequestOptions},
        responses::ReadSecretMetadataResponse,
    },
    client::VaultClient,
    error::ClientError,
    kv2,
};
use windlass_engine::{
    session::{
        ActionRef, CapabilityError, CapabilityErrorKind as Kind, Depth, EffectCx, Fields, Insistence, Observation, Observed, Owner,
        Ownership, Phase, Preflight, ResolvedAction, Secret, Session, Step,
    },
    spec,
};
use windlass_model::{event::DriftedField, state::RecordedAction};

use crate::{
    connect::failed,
    spec::{EntrySpec, split},
};

/// The key of the custom metadata that says whose a value is.
const MARK: &str = "windlass.dev/mark";

/// An open server.
pub(crate) struct VaultSession {
    client: VaultClient,
}

/// Tries again what a busy server refuses.
macro_rules! patiently {
    ($what:expr, $call:expr) => {
        (|| async { $call.await.map_err(|error| failed($what, &error)) })
            .retry(ExponentialBuilder::new().with_jitter().with_min_delay(Duration::from_millis(100)).with_max_times(6))
            .when(|error: &CapabilityError| error.kind == Kind::Unavailable)
            .await
    };
}

impl VaultSession {
    pub(crate) fn new(client: VaultClient) -> Self {
        Self { client }
    }

    async fn metadata(&self, path: &str) -> Result<Option<ReadSecretMetadataResponse>, CapabilityError> {
        let (mount, rest) = parts(path)?;
        let missing = |error: &ClientError| matches!(error, ClientError::APIError { code: 404, .. });
        let read = || async {
            match kv2::read_metadata(&self.client, mount, rest).await {
                Ok(found) => Ok(Some(found)),
                Err(error) if missing(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        patiently!(&format!("looking at `{path}`"), read())
    }

    async fn data(&self, path: &str) -> Result<Fields, CapabilityError> {
        let (mount, rest) = parts(path)?;
        let read = patiently!(&format!("reading `{path}`"), kv2::read::<BTreeMap<String, Value>>(&self.client, mount, rest));
        read.map(Fields::new).map_err(|error| {
            if error.message.contains("status 404") {
                CapabilityError::new(Kind::Invalid, format!("Vault holds nothing at `{path}`"))
                    .hint("check the mount and the path; it must be a KV engine of version 2")
            } else {
                error
            }
        })
    }

    async fn look_up(&self, action: &ResolvedAction) -> Result<Step, CapabilityError> {
        let path = spec::text(&action.spec, "path");
        let data = self.data(path).await?;
        let mut secret_outputs = BTreeMap::new();
        for wanted in &action.outputs {
            secret_outputs.insert(wanted.name.clone(), data.get(path, &wanted.name)?);
        }
        Ok(Step::Done(Observed { handle: json!({}), secret_outputs, ..Observed::default() }))
    }

    async fn write(&self, cx: &EffectCx<'_>, action: &ResolvedAction) -> Result<Step, CapabilityError> {
        let spec: EntrySpec = spec::read(&action.spec)?;
        let (mount, rest) = parts(&spec.path)?;
        let known = self.metadata(&spec.path).await?;
        if let Some(known) = &known {
            admit(&spec.path, known, cx.owner, action.insistence)?;
        }
        let version = known.as_ref().map_or(0, |known| known.current_version);
        let is_there = version > 0 && known.as_ref().is_some_and(|known| is_live(known, version));
        let mut changed = false;
        if known.as_ref().is_none_or(|known| whose(known, cx.owner) != Ownership::Ours) {
            // The mark comes first: what is cut off here is ours already.
            changed = true;
            let custom = HashMap::from([(MARK.to_owned(), cx.owner.to_string())]);
            let mark = || async {
                let mut request = SetSecretMetadataRequest::builder();
                kv2::set_metadata(&self.client, mount, rest, Some(request.custom_metadata(custom.clone()))).await
            };
            patiently!(&format!("marking `{}`", spec.path), mark())?;
        }
        let same = is_there && self.data(&spec.path).await?.are(&spec.data);
        let version = if same {
            version
        } else {
            changed = true;
            let cas = u32::try_from(version).unwrap_or(u32::MAX);
            let write = || kv2::set_with_options(&self.client, mount, rest, &spec.data, SetSecretRequestOptions { cas });
            patiently!(&format!("writing `{}`", spec.path), write())?.version
        };
        let outputs = Map::from_iter([(spec.path.clone(), json!(spec.path))]);
        Ok(Step::Done(Observed { handle: json!({ "version": version }), outputs, changed, ..Observed::default() }))
    }

    async fn observe_one(&self, owner: &Owner, action: &ActionRef<'_>) -> Result<Observation, CapabilityError> {
        if spec::kind(action.spec) == "lookup" {
            // It is read anew in each deployment: whatever is there is right.
            return Ok(Observation::ours(action.identity));
        }
        let Some(known) = self.metadata(spec::text(action.spec, "path")).await? else {
            return Ok(Observation::new(action.identity, Ownership::None, Phase::Absent, Vec::new()));
        };
        let recorded = action.handle.get("version").and_then(Value::as_u64);
        let mut drift = Vec::new();
        if recorded != Some(known.current_version) {
            drift.push(DriftedField {
                pointer: "/version".to_owned(),
                recorded: recorded.map(Value::from),
                found: Some(json!(known.current_version)),
                by: None,
            });
        }
        Ok(Observation::new(action.identity, whose(&known, owner), Phase::Present, drift))
    }

    async fn delete_one(&self, owner: &Owner, action: &RecordedAction) -> Result<Step, CapabilityError> {
        let spec = action.spec.to_value();
        let done = |changed| Ok(Step::Done(Observed { changed, ..Observed::default() }));
        if spec::kind(&spec) == "lookup" {
            return done(false);
        }
        let path = spec::text(&spec, "path");
        let Some(known) = self.metadata(path).await? else { return done(false) };
        if whose(&known, owner) != Ownership::Ours {
            return Err(CapabilityError::new(Kind::Conflict, format!("`{path}` exists and is not ours")));
        }
        let (mount, rest) = parts(path)?;
        patiently!(&format!("deleting `{path}`"), kv2::delete_metadata(&self.client, mount, rest))?;
        done(true)
    }

    async fn release_one(&self, owner: &Owner, action: &RecordedAction) -> Result<(), CapabilityError> {
        let spec = action.spec.to_value();
        let path = spec::text(&spec, "path");
        if spec::kind(&spec) == "lookup" {
            return Ok(());
        }
        let Some(known) = self.metadata(path).await?.filter(|known| whose(known, owner) == Ownership::Ours) else { return Ok(()) };
        let mut custom = known.custom_metadata.unwrap_or_default();
        custom.remove(MARK);
        let (mount, rest) = parts(path)?;
        let unmark = || async {
            let mut request = SetSecretMetadataRequest::builder();
            kv2::set_metadata(&self.client, mount, rest, Some(request.custom_metadata(custom.clone()))).await
        };
        patiently!(&format!("letting go of `{path}`"), unmark())
    }
}

fn parts(path: &str) -> Result<(&str, &str), CapabilityError> {
    split(path).ok_or_else(|| CapabilityError::new(Kind::Invalid, format!("`{path}` is no path of a secret")))
}

/// Tells whether a version is there: neither deleted nor destroyed.
fn is_live(known: &ReadSecretMetadataResponse, version: u64) -> bool {
    known.versions.get(&version.to_string()).is_some_and(|version| version.deletion_time.is_empty() && !version.destroyed)
}

fn whose(known: &ReadSecretMetadataResponse, owner: &Owner) -> Ownership {
    owner.judge(known.custom_metadata.as_ref().and_then(|custom| custom.get(MARK)).map(String::as_str))
}

/// Refuses what is not ours, unless somebody said that it is to be taken over.
fn admit(path: &str, known: &ReadSecretMetadataResponse, owner: &Owner, insistence: Insistence) -> Result<(), CapabilityError> {
    let said = match whose(known, owner) {
        Ownership::Ours => return Ok(()),
        _ if insistence == Insistence::TakeOver => return Ok(()),
        Ownership::Other(mark) => format!("`{path}` exists and belongs to `{mark}`"),
        Ownership::None => format!("`{path}` exists, and Windlass did not write it"),
    };
    Err(CapabilityError::new(Kind::Conflict, said).hint("use another path, or take it over with `--take-ownership`"))
}

#[async_trait]
impl Session for VaultSession {
    async fn observe(&self, owner: &Owner, actions: &[ActionRef<'_>], _: Depth) -> Vec<Result<Observation, CapabilityError>> {
        let mut out = Vec::with_capacity(actions.len());
        for action in actions {
            out.push(self.observe_one(owner, action).await);
        }
        out
    }

    async fn preflight(&self, cx: &EffectCx<'_>, actions: &[Preflight]) -> Vec<Result<(), CapabilityError>> {
        let mut out = Vec::with_capacity(actions.len());
        for action in actions {
            let path = spec::text(&action.spec, "path");
            out.push(match spec::kind(&action.spec) {
                "lookup" => self.data(path).await.map(drop),
                _ => match self.metadata(path).await {
                    Ok(Some(known)) => admit(path, &known, cx.owner, action.insistence),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                },
            });
        }
        out
    }

    async fn ensure(&self, cx: &EffectCx<'_>, actions: &[ResolvedAction]) -> Vec<Result<Step, CapabilityError>> {
        let mut out = Vec::with_capacity(actions.len());
        for action in actions {
            out.push(match spec::kind(&action.spec) {
                "lookup" => self.look_up(action).await,
                _ => self.write(cx, action).await,
            });
        }
        out
    }

    async fn delete(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>> {
        let mut out = Vec::with_capacity(actions.len());
        for action in actions {
            out.push(self.delete_one(cx.owner, action).await);
        }
        out
    }

    async fn release(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<(), CapabilityError>> {
        let mut out = Vec::with_capacity(actions.len());
        for action in actions {
            out.push(self.release_one(cx.owner, action).await);
        }
        out
    }

    async fn read(&self, references: &[&str]) -> Vec<Result<Secret, CapabilityError>> {
        Fields::read(references, |path| async move { self.data(&path).await }).await
    }

    async fn list_ours(&self, _: &Owner) -> Result<Vec<Observation>, CapabilityError> {
        // A KV engine can't be asked for marks; what is ours is in the records.
        Ok(Vec::new())
    }
}
