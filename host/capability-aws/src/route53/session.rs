//! Acts on zones: one look at each, changes in batches, one question for all that are on their way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_route53::{
    Client,
    types::{Change, ChangeAction, ChangeBatch, ChangeStatus, ResourceRecordSet},
};
use serde_json::{Map, Value, json};
use windlass_engine::{
    session::{
        ActionRef, CapabilityError, CapabilityErrorKind as Kind, Depth, EffectCx, Observation, Observed, Owner, Ownership, Phase,
        Preflight, PriorState, ResolvedAction, Session, Step, Ticket,
    },
    spec,
};
use windlass_model::{event::DriftedField, state::RecordedAction};

use super::{
    change::{Group, admitted, batches, built, change, group, removal},
    record::{Exact, Key, RecordSetSpec, owner_key, plain_name, read_name},
    scope,
    zones::{Contents, Zone, Zones},
};
use crate::error;

/// How long changes take at least until every server knows them.
const SYNC_POLL_MS: u64 = 5_000;

/// An open account.
pub(crate) struct Route53Session {
    zones: Zones,
}

impl Route53Session {
    pub(crate) fn new(client: Client, pace: Duration, zones: Option<Vec<String>>) -> Self {
        Self { zones: Zones::new(client, pace, zones) }
    }

    /// Sends changes of one zone; all of a batch or nothing.
    async fn send(&self, zone: &str, what: &str, changes: Vec<Change>) -> Result<String, CapabilityError> {
        self.zones.pace().await;
        let batch = ChangeBatch::builder().comment("windlass").set_changes(Some(changes)).build().map_err(built)?;
        let answer = self
            .zones
            .client
            .change_resource_record_sets()
            .hosted_zone_id(zone)
            .change_batch(batch)
            .send()
            .await
            .map_err(|error| error::of(what, &error))?;
        Ok(answer.change_info().map(|info| info.id().trim_start_matches("/change/").to_owned()).unwrap_or_default())
    }

    async fn ensure_all(
        &self,
        cx: &EffectCx<'_>,
        actions: &[ResolvedAction],
    ) -> Result<Vec<Result<Step, CapabilityError>>, CapabilityError> {
        let mut steps: Vec<Option<Result<Step, CapabilityError>>> = actions.iter().map(|_| None).collect();
        let mut wanted = Vec::new();
        let mut open = Vec::new();
        for (index, action) in actions.iter().enumerate() {
            let placed = match refuse_ownership_records(&action.spec) {
                Ok(()) => self.placed(&action.spec).await,
                Err(error) => Err(error),
            };
            match placed {
                Ok((zone, set)) => {
                    wanted.push((zone.clone(), Key::of(&set)));
                    open.push((index, zone, set));
                }
                Err(error) => steps[index] = Some(Err(error)),
            }
        }
        let nothing = Contents::default();
        let left = open.iter().filter_map(|(index, zone, _)| Some((*index, left_behind(actions.get(*index)?.prior.as_ref(), &zone.id)?)));
        let left: BTreeMap<usize, Left> = left.collect();
        let seen = self.zones.look(&wanted).await?;
        let mut by_zone: BTreeMap<String, Vec<Group>> = BTreeMap::new();
        let mut handles: BTreeMap<usize, (String, Value)> = BTreeMap::new();
        for (index, zone, set) in open {
            let contents = seen.get(&zone.id).unwrap_or(&nothing);
            let insistence = actions.get(index).map(|action| action.insistence).unwrap_or_default();
            match group(index, &set, contents, cx.owner, insistence) {
                Ok(group) => {
                    let handle = json!({ "zone": zone.id, "name": read_name(set.name()), "type": set.r#type().as_str(), "set": set.set_identifier(), "exact": Exact::of(&set) });
                    handles.insert(index, (zone.id.clone(), handle));
                    match group {
                        Some(group) => by_zone.entry(zone.id).or_default().push(group),
                        None => {
                            let gone = self.take_left(cx.owner, left.get(&index)).await;
                            let found = handles.get(&index).map(|(zone, handle)| gone.map(|changed| done(zone, handle.clone(), changed)));
                            steps[index] = found;
                        }
                    }
                }
                Err(error) => steps[index] = Some(Err(error)),
            }
        }
        for (zone, groups) in by_zone {
            for batch in batches(groups) {
                let indices: Vec<usize> = batch.iter().map(|group| group.index).collect();
                let changes = batch.into_iter().flat_map(|group| group.changes).collect();
                let sent = self.send(&zone, "changing record sets", changes).await;
                for index in indices {
                    let handle = handles.get(&index).map(|(_, handle)| handle.clone()).unwrap_or(Value::Null);
                    // Only what stands in its new zone is taken out of the old one.
                    let moved = match &sent {
                        Ok(change) => self.take_left(cx.owner, left.get(&index)).await.map(|_| change.clone()),
                        Err(error) => Err(error.clone()),
                    };
                    steps[index] = Some(moved.map(|change| Step::Waiting {
                        ticket: json!({ "change": change, "handle": handle }),
                        retry_after_ms: SYNC_POLL_MS,
                        note: "waiting until all name servers know it".to_owned(),
                    }));
                }
            }
        }
        Ok(steps.into_iter().map(|step| step.unwrap_or_else(|| Err(CapabilityError::new(Kind::Failed, "nothing came of it")))).collect())
    }

    /// Takes a record set out of the zone that it stood in before; returns whether it was there. A zone that is gone took it along.
    async fn take_left(&self, owner: &Owner, left: Option<&Left>) -> Result<bool, CapabilityError> {
        let Some(Left { zone, key, exact }) = left else { return Ok(false) };
        if !self.zones.exists(&zone.id).await? {
            return Ok(false);
        }
        let seen = self.zones.look(&[(zone.clone(), key.clone())]).await?;
        let nothing = Contents::default();
        let changes = removal(key, seen.get(&zone.id).unwrap_or(&nothing), owner, exact.as_ref())?;
        if changes.is_empty() {
            return Ok(false);
        }
        self.send(&zone.id, "taking a record set out of its former zone", changes).await.map(|_| true)
    }

    /// Reads a spec and finds its zone.
    async fn placed(&self, value: &Value) -> Result<(Zone, ResourceRecordSet), CapabilityError> {
        let spec = spec::read::<RecordSetSpec>(value)?;
        Ok((self.zones.zone_of(&spec).await?, spec.build().map_err(built)?))
    }

    async fn delete_all(
        &self,
        cx: &EffectCx<'_>,
        actions: &[RecordedAction],
    ) -> Result<Vec<Result<Step, CapabilityError>>, CapabilityError> {
        let mut steps: Vec<Option<Result<Step, CapabilityError>>> = actions.iter().map(|_| None).collect();
        let mut wanted = Vec::new();
        let mut open = Vec::new();
        for (index, action) in actions.iter().enumerate() {
            let placed = match placed_by(&action.handle) {
                Some(placed) => Ok(placed),
                // It was cut off before anything was recorded: where it would stand is in the spec.
                None => self.placed(&action.spec.to_value()).await.map(|(zone, set)| (zone, Key::of(&set))),
            };
            match placed {
                Ok((zone, key)) => {
                    wanted.push((zone.clone(), key.clone()));
                    open.push((index, zone, key));
                }
                Err(error) => steps[index] = Some(Err(error)),
            }
        }
        let nothing = Contents::default();
        let seen = self.zones.look(&wanted).await?;
        let mut by_zone: BTreeMap<String, Vec<Group>> = BTreeMap::new();
        for (index, zone, key) in open {
            let contents = seen.get(&zone.id).unwrap_or(&nothing);
            let exact = actions
                .get(index)
                .and_then(|action| action.handle.get("exact"))
                .and_then(|exact| serde_json::from_value(exact.clone()).ok());
            match removal(&key, contents, cx.owner, exact.as_ref()) {
                Ok(changes) if changes.is_empty() => steps[index] = Some(Ok(Step::Done(Observed::default()))),
                Ok(changes) => by_zone.entry(zone.id).or_default().push(Group { index, changes }),
                Err(error) => steps[index] = Some(Err(error)),
            }
        }
        for (zone, groups) in by_zone {
            for batch in batches(groups) {
                let indices: Vec<usize> = batch.iter().map(|group| group.index).collect();
                let sent = self.send(&zone, "deleting record sets", batch.into_iter().flat_map(|group| group.changes).collect()).await;
                for index in indices {
                    steps[index] = Some(sent.clone().map(|_| Step::Done(Observed { changed: true, ..Observed::default() })));
                }
            }
        }
        Ok(steps.into_iter().map(|step| step.unwrap_or_else(|| Err(CapabilityError::new(Kind::Failed, "nothing came of it")))).collect())
    }

    async fn observe_all(
        &self,
        owner: &Owner,
        actions: &[ActionRef<'_>],
    ) -> Result<Vec<Result<Observation, CapabilityError>>, CapabilityError> {
        let mut placed = Vec::with_capacity(actions.len());
        for action in actions {
            placed.push(match placed_by(action.handle) {
                Some(placed) => Ok(placed),
                None => self.placed(action.spec).await.map(|(zone, set)| (zone, Key::of(&set))),
            });
        }
        let wanted: Vec<(Zone, Key)> = placed.iter().flatten().cloned().collect();
        let nothing = Contents::default();
        let seen = self.zones.look(&wanted).await?;
        Ok(actions
            .iter()
            .zip(placed)
            .map(|(action, placed)| {
                let (zone, key) = placed?;
                let contents = seen.get(&zone.id).unwrap_or(&nothing);
                let found = contents.0.get(&key).map(Exact::of);
                let recorded: Option<Exact> = action.handle.get("exact").and_then(|exact| serde_json::from_value(exact.clone()).ok());
                let drift = match (&recorded, &found) {
                    (Some(recorded), Some(found)) => fields(recorded, found),
                    _ => Vec::new(),
                };
                Ok(Observation {
                    identity: action.identity.to_owned(),
                    owner: if found.is_some() { contents.whose(&key, owner) } else { Ownership::None },
                    intact: found.is_some() && drift.is_empty(),
                    phase: if found.is_some() { Phase::Present } else { Phase::Absent },
                    outputs: Map::new(),
                    drift,
                    unseen: Vec::new(),
                })
            })
            .collect())
    }
}

/// A record set in the zone that it stood in before.
struct Left {
    zone: Zone,
    key: Key,
    exact: Option<Exact>,
}

/// Returns what would be left behind, if a record set was made in another zone than the one that it belongs into now.
fn left_behind(prior: Option<&PriorState>, zone: &str) -> Option<Left> {
    let handle = &prior?.handle;
    let (before, key) = placed_by(handle)?;
    let exact = handle.get("exact").and_then(|exact| serde_json::from_value(exact.clone()).ok());
    (before.id != zone).then_some(Left { zone: before, key, exact })
}

/// Checks a record once all of its values are known.
fn refuse_ownership_records(value: &Value) -> Result<(), CapabilityError> {
    match scope::claims_ownership(&spec::read::<RecordSetSpec>(value)?) {
        Some(problem) => Err(CapabilityError::new(Kind::Denied, problem.message)),
        None => Ok(()),
    }
}

/// Reads where something was made.
fn placed_by(handle: &Value) -> Option<(Zone, Key)> {
    let text = |field: &str| handle.get(field).and_then(Value::as_str).map(str::to_owned);
    let zone = Zone { id: text("zone")?, name: String::new(), private: false };
    Some((zone, Key { name: text("name")?, r#type: text("type")?, set: text("set") }))
}

fn done(zone: &str, handle: Value, changed: bool) -> Step {
    Step::Done(Observed { handle, outputs: Map::from_iter([("zone-id".to_owned(), json!(zone))]), changed, ..Observed::default() })
}

/// Names what differs between two record sets.
fn fields(recorded: &Exact, found: &Exact) -> Vec<DriftedField> {
    let (Ok(Value::Object(recorded)), Ok(Value::Object(found))) = (serde_json::to_value(recorded), serde_json::to_value(found)) else {
        return Vec::new();
    };
    let names: BTreeSet<&String> = recorded.keys().chain(found.keys()).collect();
    names
        .into_iter()
        .filter(|name| recorded.get(*name) != found.get(*name))
        .map(|name| DriftedField {
            pointer: format!("/{name}"),
            recorded: recorded.get(name).cloned(),
            found: found.get(name).cloned(),
            by: None,
        })
        .collect()
}

#[async_trait]
impl Session for Route53Session {
    async fn observe(&self, owner: &Owner, actions: &[ActionRef<'_>], _: Depth) -> Vec<Result<Observation, CapabilityError>> {
        self.observe_all(owner, actions).await.unwrap_or_else(|error| error.of_each(actions.len()))
    }

    async fn preflight(&self, cx: &EffectCx<'_>, actions: &[Preflight]) -> Vec<Result<(), CapabilityError>> {
        let mut out = Vec::with_capacity(actions.len());
        let mut placed = Vec::new();
        for action in actions {
            let spec = spec::read::<RecordSetSpec>(&action.spec);
            let zone = match &spec {
                Ok(spec) => self.zones.zone_of(spec).await,
                Err(error) => Err(error.clone()),
            };
            placed.push(zone.and_then(|zone| {
                let spec = spec?;
                Ok((zone, Key { name: plain_name(&spec.name), r#type: spec.r#type, set: spec.set_identifier }))
            }));
        }
        let wanted: Vec<(Zone, Key)> = placed.iter().flatten().cloned().collect();
        let nothing = Contents::default();
        let seen = match self.zones.look(&wanted).await {
            Ok(seen) => seen,
            Err(error) => return error.of_each(actions.len()),
        };
        for (action, placed) in actions.iter().zip(placed) {
            out.push(placed.and_then(|(zone, key)| admitted(&key, seen.get(&zone.id).unwrap_or(&nothing), cx.owner, action.insistence)));
        }
        out
    }

    async fn ensure(&self, cx: &EffectCx<'_>, actions: &[ResolvedAction]) -> Vec<Result<Step, CapabilityError>> {
        self.ensure_all(cx, actions).await.unwrap_or_else(|error| error.of_each(actions.len()))
    }

    async fn poll(&self, _: &EffectCx<'_>, tickets: &[Ticket]) -> Vec<Result<Step, CapabilityError>> {
        let mut known: BTreeMap<String, Result<bool, CapabilityError>> = BTreeMap::new();
        let mut out = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            let id = ticket.state.get("change").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !known.contains_key(&id) {
                self.zones.pace().await;
                let answer = self.zones.client.get_change().id(&id).send().await;
                let synced = answer
                    .map(|answer| answer.change_info().is_none_or(|info| *info.status() == ChangeStatus::Insync))
                    .map_err(|error| error::of("asking how far a change is", &error));
                known.insert(id.clone(), synced);
            }
            let handle = ticket.state.get("handle").cloned().unwrap_or(Value::Null);
            let zone = handle.get("zone").and_then(Value::as_str).unwrap_or_default().to_owned();
            out.push(match known.get(&id) {
                Some(Ok(true)) | None => Ok(done(&zone, handle, true)),
                Some(Ok(false)) => Ok(Step::Waiting {
                    ticket: ticket.state.clone(),
                    retry_after_ms: SYNC_POLL_MS,
                    note: "waiting until all name servers know it".to_owned(),
                }),
                Some(Err(error)) => Err(error.clone()),
            });
        }
        out
    }

    async fn delete(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>> {
        self.delete_all(cx, actions).await.unwrap_or_else(|error| error.of_each(actions.len()))
    }

    async fn release(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<(), CapabilityError>> {
        let mut out = Vec::with_capacity(actions.len());
        for action in actions {
            out.push(self.release_one(cx.owner, action).await);
        }
        out
    }

    async fn list_ours(&self, owner: &Owner) -> Result<Vec<Observation>, CapabilityError> {
        let mut out = Vec::new();
        for zone in self.zones.all().await? {
            let contents = self.zones.whole(&zone.id).await?;
            for key in contents.0.keys().filter(|key| contents.whose(key, owner) == Ownership::Ours && !is_owner_record(key, &contents)) {
                let set = key.set.as_ref().map(|set| format!("/{set}")).unwrap_or_default();
                out.push(Observation::ours(format!("record-set/{}/{}{set}", key.name, key.r#type)));
            }
        }
        Ok(out)
    }
}

/// Tells whether a record set is one that says whose another is.
fn is_owner_record(key: &Key, contents: &Contents) -> bool {
    key.r#type == "TXT" && contents.values(key).any(|value| value.starts_with("\"heritage="))
}

impl Route53Session {
    async fn release_one(&self, owner: &Owner, action: &RecordedAction) -> Result<(), CapabilityError> {
        let Some((zone, key)) = placed_by(&action.handle) else { return Ok(()) };
        let contents = self.zones.look(&[(zone.clone(), key.clone())]).await?.remove(&zone.id).unwrap_or_default();
        let Some(known) = contents.0.get(&owner_key(&key)).filter(|_| contents.whose(&key, owner) == Ownership::Ours) else {
            return Ok(());
        };
        self.send(&zone.id, "letting go of a record set", vec![change(ChangeAction::Delete, known.clone())?]).await.map(drop)
    }
}
