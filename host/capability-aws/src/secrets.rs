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
use windlass_engine::session::{
    CapabilityError, CapabilityErrorKind as Kind, Entries, EntryStore, Executor, Fields, OpenConnection, Owner, Ownership, Session,
};
use windlass_model::platform::ConnectionSettings;

use crate::{
    account::Accounts,
    error,
    mark::{self, TAG},
    pages::Pages,
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
        let config = self.accounts.config(secrets_manager, connection).await?;
        Ok(Arc::new(Entries::new(SecretsManager(Client::new(&config)))))
    }
}

/// An open account.
struct SecretsManager(Client);

#[async_trait]
impl EntryStore for SecretsManager {
    type Known = DescribeSecretOutput;

    const NAME: &'static str = "Secrets Manager";
    const HINT: &'static str = "check the name, and the region of the connection";

    async fn look(&self, path: &str) -> Result<Option<DescribeSecretOutput>, CapabilityError> {
        match self.0.describe_secret().secret_id(path).send().await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => Ok(None),
            Err(error) => Err(error::of(&format!("looking at the secret `{path}`"), &error)),
        }
    }

    fn whose(&self, known: &DescribeSecretOutput, owner: &Owner) -> Ownership {
        mark::whose(known.tags().iter().filter_map(|tag| Some((tag.key()?, tag.value()?))), owner)
    }

    fn version(&self, known: &DescribeSecretOutput) -> Option<Value> {
        if known.deleted_date().is_some() {
            return None;
        }
        let is_current = |stages: &Vec<String>| stages.iter().any(|stage| stage == CURRENT);
        known.version_ids_to_stages()?.iter().find(|(_, stages)| is_current(stages)).map(|(version, _)| Value::from(version.as_str()))
    }

    async fn fields(&self, path: &str) -> Result<Option<Fields>, CapabilityError> {
        let answer = match self.0.get_secret_value().secret_id(path).send().await {
            Ok(answer) => answer,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => return Ok(None),
            Err(error) => return Err(error::of(&format!("reading the secret `{path}`"), &error)),
        };
        let Some(text) = answer.secret_string() else {
            return Err(CapabilityError::new(Kind::Invalid, format!("the secret `{path}` holds bytes, not text")));
        };
        Ok(Some(match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(fields) => Fields::new(fields),
            Err(_) => Fields::new([(PLAIN.to_owned(), Value::from(text))]),
        }))
    }

    async fn create(&self, owner: &Owner, path: &str, data: &BTreeMap<String, String>) -> Result<Value, CapabilityError> {
        // The mark comes with it: a secret of ours is never without.
        let made = self.0.create_secret().name(path).secret_string(json!(data).to_string()).tags(tag(owner)).send().await;
        Ok(json!(made.map_err(|error| error::of(&format!("writing the secret `{path}`"), &error))?.version_id()))
    }

    async fn revive(&self, path: &str, known: &DescribeSecretOutput) -> Result<(), CapabilityError> {
        if known.deleted_date().is_none() {
            // There was never a value.
            return Ok(());
        }
        let restored = self.0.restore_secret().secret_id(path).send().await;
        restored.map(drop).map_err(|error| error::of(&format!("bringing back the secret `{path}`"), &error))
    }

    async fn mark(&self, owner: &Owner, path: &str, _: &DescribeSecretOutput) -> Result<(), CapabilityError> {
        let tagged = self.0.tag_resource().secret_id(path).tags(tag(owner)).send().await;
        tagged.map(drop).map_err(|error| error::of(&format!("marking the secret `{path}`"), &error))
    }

    async fn write(&self, path: &str, _: &DescribeSecretOutput, data: &BTreeMap<String, String>) -> Result<Value, CapabilityError> {
        let put = self.0.put_secret_value().secret_id(path).secret_string(json!(data).to_string()).send().await;
        Ok(json!(put.map_err(|error| error::of(&format!("writing the secret `{path}`"), &error))?.version_id()))
    }

    async fn unmark(&self, path: &str, known: &DescribeSecretOutput) -> Result<(), CapabilityError> {
        if known.deleted_date().is_some() {
            // It can't be changed any more, and goes by itself.
            return Ok(());
        }
        let untagged = self.0.untag_resource().secret_id(path).tag_keys(TAG).send().await;
        untagged.map(drop).map_err(|error| error::of(&format!("letting go of the secret `{path}`"), &error))
    }

    async fn delete(&self, path: &str, known: &DescribeSecretOutput) -> Result<bool, CapabilityError> {
        if known.deleted_date().is_some() {
            return Ok(false);
        }
        let deleted = self.0.delete_secret().secret_id(path).recovery_window_in_days(RECOVERY_DAYS).send().await;
        deleted.map(|_| true).map_err(|error| error::of(&format!("deleting the secret `{path}`"), &error))
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<String>, CapabilityError> {
        let filter = Filter::builder().key(FilterNameStringType::TagValue).values(owner.to_string()).build();
        let mut pages = self.0.list_secrets().filters(filter).into_paginator().send();
        let mut out = Vec::new();
        let mut budget = Pages::of("listing secrets");
        while let Some(page) = pages.next().await {
            budget.next()?;
            let page = page.map_err(|error| error::of("listing secrets", &error))?;
            for entry in page.secret_list() {
                let tags = entry.tags().iter().filter_map(|tag| Some((tag.key()?, tag.value()?)));
                if mark::whose(tags, owner) == Ownership::Ours && entry.deleted_date().is_none() {
                    out.extend(entry.name().map(str::to_owned));
                }
            }
        }
        Ok(out)
    }
}

fn tag(owner: &Owner) -> Tag {
    Tag::builder().key(TAG).value(owner.to_string()).build()
}
