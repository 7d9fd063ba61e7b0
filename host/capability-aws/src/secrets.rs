//! AWS Secrets Manager as a third store behind `windlass:secrets/external`: what others keep is read, what is ours is written.
//!
//! A secret is a JSON object whose fields are the values; one that is plain text has the field `value`.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use aws_sdk_secretsmanager::{
    Client,
    operation::describe_secret::DescribeSecretOutput,
    types::{Filter, FilterNameStringType, Tag},
};
use serde_json::{Map, Value, json};
use windlass_engine::{
    session::{
        ActionRef, CapabilityError, CapabilityErrorKind as Kind, Depth, EffectCx, Executor, Fields, Observation, Observed, OpenConnection,
        Owner, Ownership, Phase, Preflight, ResolvedAction, Secret, Session, Step,
    },
    spec,
};
use windlass_model::{event::DriftedField, platform::ConnectionSettings, state::RecordedAction};

use crate::{
    account::Accounts,
    error,
    mark::{self, TAG, admit},
};

/// The field of a secret that is plain text.
const PLAIN: &str = "value";
/// Days until a deleted secret is gone: the least that the service allows; until then it is brought back if it is wanted again.
const RECOVERY_DAYS: i64 = 7;
/// The stage of the version that counts.
const CURRENT: &str = "AWSCURRENT";

/// Opens accounts for `windlass:secrets/external`.
#[derive(Clone)]
pub struct SecretsManagerExecutor {
    accounts: Accounts,
}

impl SecretsManagerExecutor {
    /// Shares configurations with the other interfaces.
    #[must_use]
    pub fn new(accounts: Accounts) -> Self {
        Self { accounts }
    }
}

#[async_trait]
impl Executor for SecretsManagerExecutor {
    fn interface(&self) -> &'static str {
        "windlass:secrets/external"
    }

    fn connection_kind(&self) -> &'static str {
        "secretsManager"
    }

    async fn open(&self, connection: &OpenConnection) -> Result<Arc<dyn Session>, CapabilityError> {
        let ConnectionSettings::SecretsManager { secrets_manager } = &connection.settings else {
            return Err(CapabilityError::new(Kind::Invalid, format!("connection `{}` is no AWS Secrets Manager", connection.name)));
        };
        let config = self.accounts.config(secrets_manager, &connection.environment).await?;
        Ok(Arc::new(SecretsManagerSession { client: Client::new(&config) }))
    }
}

/// An open account.
struct SecretsManagerSession {
    client: Client,
}

impl SecretsManagerSession {
    /// Describes a secret; nothing if there is none.
    async fn look(&self, name: &str) -> Result<Option<DescribeSecretOutput>, CapabilityError> {
        match self.client.describe_secret().secret_id(name).send().await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => Ok(None),
            Err(error) => Err(error::of(&format!("looking at the secret `{name}`"), &error)),
        }
    }

    /// Reads the fields of a secret.
    async fn fields(&self, name: &str) -> Result<Fields, CapabilityError> {
        let answer = self.client.get_secret_value().secret_id(name).send().await.map_err(|error| {
            let missing = error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception());
            let error = error::of(&format!("reading the secret `{name}`"), &error);
            if missing { CapabilityError::new(Kind::Invalid, format!("Secrets Manager holds no `{name}`")) } else { error }
        })?;
        let text = answer.secret_string().unwrap_or_default();
        Ok(match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(fields) => Fields::new(fields),
            Err(_) => Fields::new([(PLAIN.to_owned(), Value::from(text))]),
        })
    }

    async fn look_up(&self, action: &ResolvedAction) -> Result<Step, CapabilityError> {
        let name = spec::text(&action.spec, "path");
        let fields = self.fields(name).await?;
        let mut secret_outputs = BTreeMap::new();
        for wanted in &action.outputs {
            secret_outputs.insert(wanted.name.clone(), fields.get(name, &wanted.name)?);
        }
        Ok(Step::Done(Observed { handle: json!({}), secret_outputs, ..Observed::default() }))
    }

    async fn write(&self, cx: &EffectCx<'_>, action: &ResolvedAction) -> Result<Step, CapabilityError> {
        let name = spec::text(&action.spec, "path");
        let data = action.spec.get("data").cloned().unwrap_or_else(|| json!({}));
        let what = format!("writing the secret `{name}`");
        let tag = || Tag::builder().key(TAG).value(cx.owner.to_string()).build();
        let done = |version: Option<&str>, changed: bool| {
            let outputs = Map::from_iter([(name.to_owned(), json!(name))]);
            Ok(Step::Done(Observed { handle: json!({ "version": version }), outputs, changed, ..Observed::default() }))
        };
        let Some(known) = self.look(name).await? else {
            // The mark comes with it: a secret of ours is never without.
            let made = self.client.create_secret().name(name).secret_string(data.to_string()).tags(tag()).send().await;
            return done(made.map_err(|error| error::of(&what, &error))?.version_id(), true);
        };
        let whose = whose(&known, cx.owner);
        admit(&format!("the secret `{name}`"), &whose, action.insistence)?;
        let mut changed = false;
        if known.deleted_date().is_some() {
            self.client.restore_secret().secret_id(name).send().await.map_err(|error| error::of(&what, &error))?;
            changed = true;
        }
        if whose != Ownership::Ours {
            self.client.tag_resource().secret_id(name).tags(tag()).send().await.map_err(|error| error::of(&what, &error))?;
            changed = true;
        }
        let wanted: BTreeMap<String, String> = serde_json::from_value(data.clone()).unwrap_or_default();
        if current(&known).is_some() && self.fields(name).await?.are(&wanted) {
            return done(current(&known), changed);
        }
        let put = self.client.put_secret_value().secret_id(name).secret_string(data.to_string()).send().await;
        done(put.map_err(|error| error::of(&what, &error))?.version_id(), true)
    }

    async fn observe_one(&self, owner: &Owner, action: &ActionRef<'_>) -> Result<Observation, CapabilityError> {
        if spec::kind(action.spec) == "lookup" {
            // It is read anew in each deployment: whatever is there is right.
            return Ok(Observation::ours(action.identity));
        }
        let found = self.look(spec::text(action.spec, "path")).await?.filter(|found| found.deleted_date().is_none());
        let Some(known) = found else {
            return Ok(Observation::new(action.identity, Ownership::None, Phase::Absent, Vec::new()));
        };
        let recorded = action.handle.get("version").and_then(Value::as_str);
        let mut drift = Vec::new();
        if recorded != current(&known) {
            drift.push(DriftedField {
                pointer: "/version".to_owned(),
                recorded: recorded.map(Value::from),
                found: current(&known).map(Value::from),
                by: None,
            });
        }
        Ok(Observation::new(action.identity, whose(&known, owner), Phase::Present, drift))
    }

    async fn delete_one(&self, owner: &Owner, action: &RecordedAction) -> Result<Step, CapabilityError> {
        let done = |changed| Ok(Step::Done(Observed { changed, ..Observed::default() }));
        let spec = action.spec.to_value();
        if spec::kind(&spec) == "lookup" {
            return done(false);
        }
        let name = spec::text(&spec, "path");
        let Some(known) = self.look(name).await?.filter(|known| known.deleted_date().is_none()) else { return done(false) };
        if whose(&known, owner) != Ownership::Ours {
            return Err(CapabilityError::new(Kind::Conflict, format!("the secret `{name}` exists and is not ours")));
        }
        self.client
            .delete_secret()
            .secret_id(name)
            .recovery_window_in_days(RECOVERY_DAYS)
            .send()
            .await
            .map_err(|error| error::of(&format!("deleting the secret `{name}`"), &error))?;
        done(true)
    }

    async fn release_one(&self, owner: &Owner, action: &RecordedAction) -> Result<(), CapabilityError> {
        let spec = action.spec.to_value();
        let name = spec::text(&spec, "path");
        if spec::kind(&spec) == "lookup" || self.look(name).await?.is_none_or(|known| whose(&known, owner) != Ownership::Ours) {
            return Ok(());
        }
        let untagged = self.client.untag_resource().secret_id(name).tag_keys(TAG).send().await;
        untagged.map(drop).map_err(|error| error::of(&format!("letting go of the secret `{name}`"), &error))
    }
}

fn whose(known: &DescribeSecretOutput, owner: &Owner) -> Ownership {
    mark::whose(known.tags().iter().filter_map(|tag| Some((tag.key()?, tag.value()?))), owner)
}

/// Finds the version that counts.
fn current(known: &DescribeSecretOutput) -> Option<&str> {
    known
        .version_ids_to_stages()
        .and_then(|versions| versions.iter().find(|(_, stages)| stages.iter().any(|stage| stage == CURRENT)))
        .map(|(version, _)| version.as_str())
}

#[async_trait]
impl Session for SecretsManagerSession {
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
            let name = spec::text(&action.spec, "path");
            out.push(match (self.look(name).await, spec::kind(&action.spec)) {
                (Err(error), _) => Err(error),
                (Ok(None), "lookup") => Err(CapabilityError::new(Kind::Invalid, format!("Secrets Manager holds no `{name}`"))),
                (Ok(Some(known)), kind) if kind != "lookup" => {
                    admit(&format!("the secret `{name}`"), &whose(&known, cx.owner), action.insistence)
                }
                (Ok(_), _) => Ok(()),
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
        Fields::read(references, |name| async move { self.fields(&name).await }).await
    }

    async fn list_ours(&self, owner: &Owner) -> Result<Vec<Observation>, CapabilityError> {
        let filter = Filter::builder().key(FilterNameStringType::TagValue).values(owner.to_string()).build();
        let mut pages = self.client.list_secrets().filters(filter).into_paginator().send();
        let mut out = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| error::of("listing secrets", &error))?;
            for entry in page.secret_list() {
                let tags = entry.tags().iter().filter_map(|tag| Some((tag.key()?, tag.value()?)));
                if mark::whose(tags, owner) == Ownership::Ours && entry.deleted_date().is_none() {
                    out.push(Observation::ours(format!("entry/{}", entry.name().unwrap_or_default())));
                }
            }
        }
        Ok(out)
    }
}
