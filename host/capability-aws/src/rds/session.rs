//! Acts on instances and groups: one look for a batch, waits as tickets, one question for all waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_sdk_rds::{Client, types::DbInstance};
use serde_json::Value;
use tokio::sync::Mutex;
use windlass_engine::{
    session::{
        ActionRef, CapabilityError, CapabilityErrorKind as Kind, Depth, EffectCx, Observation, Owner, Ownership, Phase, Preflight,
        ResolvedAction, Session, Step, Ticket,
    },
    spec,
};
use windlass_model::state::RecordedAction;

use super::{group, instance};
use crate::{error, mark::whose, pages::Pages};

/// Instances of an account and region as they were seen last.
pub(crate) struct Instances {
    seen: Mutex<Option<(Instant, Arc<BTreeMap<String, DbInstance>>)>>,
    poll: Duration,
}

impl Instances {
    pub(crate) fn new(poll: Duration) -> Self {
        Self { seen: Mutex::new(None), poll }
    }

    /// Returns instances that are no older than the pause between two questions.
    async fn lately(&self, client: &Client) -> Result<Arc<BTreeMap<String, DbInstance>>, CapabilityError> {
        let mut seen = self.seen.lock().await;
        if let Some((at, instances)) = seen.as_ref()
            && at.elapsed() < self.poll
        {
            return Ok(Arc::clone(instances));
        }
        let instances = Arc::new(describe(client).await?);
        *seen = Some((Instant::now(), Arc::clone(&instances)));
        Ok(instances)
    }

    /// Forgets what was seen: something was just changed.
    async fn forget(&self) {
        *self.seen.lock().await = None;
    }
}

/// Lists all instances of an account and region.
async fn describe(client: &Client) -> Result<BTreeMap<String, DbInstance>, CapabilityError> {
    let mut out = BTreeMap::new();
    let mut pages = client.describe_db_instances().into_paginator().send();
    let mut budget = Pages::of("describing DB instances");
    while let Some(page) = pages.next().await {
        budget.next()?;
        let page = page.map_err(|error| error::of("describing DB instances", &error))?;
        for instance in page.db_instances() {
            out.insert(instance.db_instance_identifier().unwrap_or_default().to_owned(), instance.clone());
        }
    }
    Ok(out)
}

/// An open account and region.
pub(crate) struct RdsSession {
    pub client: Client,
    instances: Arc<Instances>,
}

impl RdsSession {
    pub(crate) fn new(client: Client, instances: Arc<Instances>) -> Self {
        Self { client, instances }
    }

    /// When to ask again, in milliseconds.
    pub(crate) fn pause(&self) -> u64 {
        u64::try_from(self.instances.poll.as_millis()).unwrap_or(u64::MAX)
    }

    /// Looks at instances now, if any of the specs is one.
    async fn look<'v>(&self, specs: impl Iterator<Item = &'v Value>) -> Result<BTreeMap<String, DbInstance>, CapabilityError> {
        let kinds: BTreeSet<&str> = specs.map(spec::kind).collect();
        if kinds.contains("db-instance") { describe(&self.client).await } else { Ok(BTreeMap::new()) }
    }
}

/// Reads the tags of an instance.
pub(crate) fn tags(instance: &DbInstance) -> impl Iterator<Item = (&str, &str)> {
    instance.tag_list().iter().map(|tag| (tag.key().unwrap_or_default(), tag.value().unwrap_or_default()))
}

#[async_trait]
impl Session for RdsSession {
    async fn observe(&self, owner: &Owner, actions: &[ActionRef<'_>], _: Depth) -> Vec<Result<Observation, CapabilityError>> {
        let seen = match self.look(actions.iter().map(|action| &**action.spec)).await {
            Ok(seen) => seen,
            Err(error) => return error.of_each(actions.len()),
        };
        let mut out = Vec::with_capacity(actions.len());
        for action in actions {
            let looked = if spec::kind(action.spec) == "db-instance" {
                instance::observe(&seen, owner, action)
            } else {
                group::observe(&self.client, owner, action.spec).await
            };
            out.push(looked.map(|(whose, phase, drift)| Observation::new(action.identity, whose, phase, drift)));
        }
        out
    }

    async fn preflight(&self, cx: &EffectCx<'_>, actions: &[Preflight]) -> Vec<Result<(), CapabilityError>> {
        let seen = match self.look(actions.iter().map(|action| &action.spec)).await {
            Ok(seen) => seen,
            Err(error) => return error.of_each(actions.len()),
        };
        let mut out = Vec::with_capacity(actions.len());
        for action in actions {
            let whose = if spec::kind(&action.spec) == "db-instance" {
                instance::admit_source(&seen, cx.owner, &action.spec)
                    .map(|()| seen.get(spec::text(&action.spec, "identifier")).map(|instance| whose(tags(instance), cx.owner)))
            } else {
                group::observe(&self.client, cx.owner, &action.spec)
                    .await
                    .map(|(whose, phase, _)| (phase == Phase::Present).then_some(whose))
            };
            out.push(whose.and_then(|whose| match whose {
                Some(whose) => whose.admit(&format!("`{}`", action.identity), action.insistence),
                None => Ok(()),
            }));
        }
        out
    }

    async fn ensure(&self, cx: &EffectCx<'_>, actions: &[ResolvedAction]) -> Vec<Result<Step, CapabilityError>> {
        let seen = match self.look(actions.iter().map(|action| &action.spec)).await {
            Ok(seen) => seen,
            Err(error) => return error.of_each(actions.len()),
        };
        let mut out = Vec::with_capacity(actions.len());
        for action in actions {
            out.push(match spec::kind(&action.spec) {
                "db-instance" => instance::ensure(self, &seen, cx, action).await,
                _ => group::ensure(&self.client, cx, action).await,
            });
        }
        self.instances.forget().await;
        out
    }

    async fn poll(&self, cx: &EffectCx<'_>, tickets: &[Ticket]) -> Vec<Result<Step, CapabilityError>> {
        let seen = match self.instances.lately(&self.client).await {
            Ok(seen) => seen,
            // What can't be asked now is asked later: the instance goes on without us.
            Err(error) if error.kind == Kind::Unavailable => {
                let wait = |ticket: &Ticket| {
                    Ok(Step::Waiting { ticket: ticket.state.clone(), retry_after_ms: self.pause(), note: error.message.clone() })
                };
                return tickets.iter().map(wait).collect();
            }
            Err(error) => return error.of_each(tickets.len()),
        };
        let mut out = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            out.push(instance::poll(self, &seen, cx, ticket).await);
        }
        if out.iter().any(|step| !matches!(step, Ok(Step::Waiting { .. }))) {
            self.instances.forget().await;
        }
        out
    }

    async fn delete(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>> {
        let specs: Vec<Value> = actions.iter().map(|action| action.spec.to_value()).collect();
        let seen = if specs.iter().any(|spec| spec::kind(spec) == "db-instance") {
            self.instances.lately(&self.client).await
        } else {
            Ok(Arc::default())
        };
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => return error.of_each(actions.len()),
        };
        let mut out = Vec::with_capacity(actions.len());
        for spec in &specs {
            out.push(match spec::kind(spec) {
                "db-instance" => instance::delete(self, &seen, cx.owner, spec).await,
                _ => group::delete(&self.client, cx.owner, spec).await,
            });
        }
        out
    }

    async fn release(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<(), CapabilityError>> {
        let mut out = Vec::with_capacity(actions.len());
        for action in actions {
            out.push(match action.handle.get("arn").and_then(Value::as_str) {
                Some(arn) => group::unmark(&self.client, cx.owner, arn).await,
                None => Ok(()),
            });
        }
        out
    }

    async fn list_ours(&self, owner: &Owner) -> Result<Vec<Observation>, CapabilityError> {
        let instances = describe(&self.client).await?;
        let mut ours: Vec<Observation> = instances
            .into_iter()
            .filter(|(_, instance)| whose(tags(instance), owner) == Ownership::Ours)
            .map(|(identifier, _)| Observation::ours(format!("db-instance/{identifier}")))
            .collect();
        ours.extend(group::list_ours(&self.client, owner).await?.into_iter().map(Observation::ours));
        Ok(ours)
    }
}
