//! A session on one cluster: what is there is listed once, what is sent is sent once, what is waited for is watched.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use serde_json::{Map, Value};
use tokio::sync::Notify;
use windlass_engine::session::{
    ActionRef, CapabilityError, CapabilityErrorKind as Kind, Depth, EffectCx, Observation, Owner, Ownership, Phase, Preflight,
    ResolvedAction, Session, Step, Ticket,
};
use windlass_model::{ActionId, event::DriftedField, limits, state::RecordedAction};

use places::Unlisted;

use crate::{
    api::{Api, ApplyOptions, Failure},
    fields, marks,
    resource::{Discovery, Place, Resource},
    seen::{Listed, Seen},
    watch::Watch,
};

mod apply;
mod delete;
mod places;
mod refusal;
mod wait;

/// Metadata without specs: enough to know whose something is and whether it is as it was left.
pub(crate) const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// Objects of one page: metadata of so many is about 10 MiB.
const PAGE: u32 = 5_000;
/// Reading for a look, not for an effect.
const LOOK_TIME_MAX: Duration = Duration::from_secs(60);

/// An open cluster.
pub(crate) struct ClusterSession {
    api: Arc<Api>,
    discovery: Arc<Discovery>,
    listed: Listed,
    /// Bytes of all lists that were read.
    kept_bytes: AtomicUsize,
    /// Held by who lists.
    surveying: tokio::sync::Mutex<()>,
    /// Namespaces that this session made: nothing of anybody can be in them.
    made: Mutex<Vec<String>>,
    /// By kind, namespace and selector.
    watches: Mutex<HashMap<(Resource, String, String), Arc<Watch>>>,
    news: Arc<Notify>,
    /// What was said last about each wait.
    notes: Mutex<HashMap<ActionId, String>>,
    /// By the uid of a Job: the trouble of its pods, and what they said about it.
    told: Mutex<HashMap<String, (String, Vec<String>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Visits the items of a list.
pub(crate) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.get("items").and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Runs futures, so many at a time, and keeps the order of what they yield. Each is made when its turn comes: thousands of requests
/// that only wait would fill many megabytes.
pub(crate) fn each<'f, F, T>(futures: impl Iterator<Item = F> + Send + 'f) -> BoxFuture<'f, Vec<T>>
where
    F: Future<Output = T> + Send + 'f,
    T: Send + 'f,
{
    // A boxed future has a type that callers can name in their own: closures that borrow from two places have none.
    Box::pin(async move {
        let many = futures.size_hint().0;
        let mut numbered = futures.enumerate().map(|(index, future)| async move { (index, future.await) });
        let mut running: FuturesUnordered<_> = numbered.by_ref().take(limits::CLUSTER_REQUESTS_MAX).collect();
        let mut all: Vec<(usize, T)> = Vec::with_capacity(many);
        // Unordered while they run: a slow one must not hold back those behind it.
        while let Some(done) = running.next().await {
            all.push(done);
            running.extend(numbered.next());
        }
        all.sort_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, output)| output).collect()
    })
}

impl ClusterSession {
    pub(crate) fn new(api: Arc<Api>, discovery: Arc<Discovery>) -> Self {
        Self {
            api,
            discovery,
            listed: Listed::default(),
            kept_bytes: AtomicUsize::default(),
            surveying: tokio::sync::Mutex::default(),
            made: Mutex::default(),
            watches: Mutex::default(),
            news: Arc::default(),
            notes: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Tells whether the place of something that completed was cleared, as `ttlSecondsAfterFinished` does, and its namespace is there.
    fn may_be_gone(&self, place: &Place, found: Option<&Seen>) -> bool {
        let namespace = Place::of_namespace(&place.namespace);
        found.is_none_or(|found| found.is_leaving) && !self.listed.is_empty(&namespace.resource, &place.namespace)
    }

    /// Returns what shows that an object is going away, alone or with its namespace; nothing if it stays.
    fn departure(&self, place: &Place, found: &Seen) -> Option<Vec<DriftedField>> {
        let is_namespaced = place.resource.is_namespaced;
        let namespace = is_namespaced.then(|| self.listed.get(&Place::of_namespace(&place.namespace))).flatten();
        if !found.is_leaving && !namespace.is_some_and(|namespace| namespace.is_leaving) {
            return None;
        }
        let holders = (!found.finalizers.is_empty()).then(|| Value::from(found.finalizers.clone()));
        let held =
            holders.map(|found| DriftedField { pointer: "/metadata/finalizers".to_owned(), recorded: None, found: Some(found), by: None });
        Some(held.into_iter().collect())
    }

    async fn observe_one(
        &self,
        owner: &Owner,
        action: ActionRef<'_>,
        place: Result<Place, CapabilityError>,
        depth: Depth,
        until: Instant,
    ) -> Result<Observation, CapabilityError> {
        let place = place?;
        let seen = Observation {
            identity: action.identity.to_owned(),
            owner: Ownership::None,
            intact: false,
            phase: Phase::Absent,
            outputs: Map::new(),
            drift: Vec::new(),
            unseen: Vec::new(),
        };
        let found = self.listed.get(&place);
        if apply::has_completed(action.handle) && self.may_be_gone(&place, found.as_deref()) {
            return Ok(Observation { owner: Ownership::Ours, intact: true, phase: Phase::Present, ..seen });
        }
        let Some(found) = found else { return Ok(seen) };
        if let Some(drift) = self.departure(&place, &found) {
            // What is going away is not as it was left, whatever its fields say.
            return Ok(Observation { owner: found.marks.ownership(owner), phase: Phase::Deleting, drift, ..seen });
        }
        let mut seen = Observation {
            owner: found.marks.ownership(owner),
            intact: found.uid == text(action.handle, "/uid")
                && found.fields.as_deref() == action.handle.get("fields").and_then(Value::as_str),
            phase: Phase::Present,
            ..seen
        };
        if depth == Depth::Full && !seen.intact && seen.phase == Phase::Present {
            let live = self.api.get(&place.path(), until).await.map_err(CapabilityError::from)?;
            let body = apply::body_at(&place, action.spec, owner, &found.uid);
            let options = ApplyOptions { force: true, dry_run: true };
            let wanted = self.api.apply(&place.path(), &body, options, until).await.map_err(CapabilityError::from)?;
            seen.drift = fields::drift(&wanted, &live);
            if place.resource.kind == "Secret" {
                // A report is for everyone to see.
                seen.drift.iter_mut().for_each(|field| (field.recorded, field.found) = (None, None));
            }
            // Nothing of ours differs: somebody only took a field over with our own value.
            seen.intact = seen.drift.is_empty();
        }
        Ok(seen)
    }
}

#[async_trait]
impl Session for ClusterSession {
    async fn observe(&self, owner: &Owner, actions: &[ActionRef<'_>], depth: Depth) -> Vec<Result<Observation, CapabilityError>> {
        let until = Instant::now() + LOOK_TIME_MAX;
        // Where something was is mostly noted.
        let is_noted = |action: &ActionRef<'_>| action.handle.get("place").is_some();
        let nothing = &Value::Null;
        let spec = actions.iter().map(|action| if is_noted(action) { nothing } else { &**action.spec });
        let specs: Vec<(&Value, &Value)> = spec.zip(actions).map(|(spec, action)| (spec, action.handle)).collect();
        let places = self.places(&specs, until).await;
        // What is in a namespace goes with it. Where namespaces can't be listed, each object says so itself.
        self.namespaces(places.iter(), until).await;
        let looks = actions.iter().zip(places).map(|(action, place)| self.observe_one(owner, *action, place, depth, until));
        each(looks).await
    }

    async fn preflight(&self, cx: &EffectCx<'_>, actions: &[Preflight]) -> Vec<Result<(), CapabilityError>> {
        let specs: Vec<(&Value, &Value)> = actions.iter().map(|action| (&action.spec, &Value::Null)).collect();
        let places = self.places(&specs, cx.deadline).await;
        let asked = actions.iter().zip(&places).filter(|(action, _)| apply::is_to_be_asked(action));
        let namespaces = &self.namespaces(asked.map(|(_, place)| place), cx.deadline).await;
        each(actions.iter().zip(places).map(|(action, place)| self.preflight_one(cx, action, place, namespaces))).await
    }

    async fn look_ahead(&self, specs: &[&Value]) {
        let until = Instant::now() + LOOK_TIME_MAX;
        let nothing = &Value::Null;
        let specs: Vec<(&Value, &Value)> = specs.iter().map(|spec| (*spec, nothing)).collect();
        let places = self.places(&specs, until).await;
        self.namespaces(places.iter(), until).await;
    }

    fn at_once(&self) -> Option<NonZeroUsize> {
        // As many again are ready to go out when those in flight are answered: no connection stands still.
        NonZeroUsize::new(2 * limits::CLUSTER_REQUESTS_MAX)
    }

    async fn ensure(&self, cx: &EffectCx<'_>, actions: &[ResolvedAction]) -> Vec<Result<Step, CapabilityError>> {
        let specs: Vec<(&Value, &Value)> = actions.iter().map(|action| (&action.spec, &Value::Null)).collect();
        let places = self.places(&specs, cx.deadline).await;
        each(actions.iter().zip(places).map(|(action, place)| self.ensure_one(cx, action, place))).await
    }

    async fn poll(&self, cx: &EffectCx<'_>, tickets: &[Ticket]) -> Vec<Result<Step, CapabilityError>> {
        self.poll_all(cx, tickets).await
    }

    async fn delete(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>> {
        let specs: Vec<Value> = actions.iter().map(|action| action.spec.to_value()).collect();
        let both: Vec<(&Value, &Value)> = specs.iter().zip(actions).map(|(spec, action)| (spec, &action.handle)).collect();
        let places = self.places(&both, cx.deadline).await;
        each(actions.iter().zip(places).map(|(action, place)| self.delete_one(cx, action, place))).await
    }

    async fn release(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<(), CapabilityError>> {
        let specs: Vec<Value> = actions.iter().map(|action| action.spec.to_value()).collect();
        let both: Vec<(&Value, &Value)> = specs.iter().zip(actions).map(|(spec, action)| (spec, &action.handle)).collect();
        let places = self.places(&both, cx.deadline).await;
        each(places.into_iter().map(|place| self.release_one(cx, place))).await
    }

    async fn list_ours(&self, owner: &Owner) -> Result<Vec<Observation>, CapabilityError> {
        let until = Instant::now() + LOOK_TIME_MAX;
        let filter = &format!("&{}", marks::selector(owner));
        let lists = self.discovery.all(&self.api, until).await?.into_iter().map(|resource| async move {
            let found = self.list(&resource, "", filter, until).await;
            (resource, found)
        });
        let mut ours = Vec::new();
        for (resource, found) in each(lists).await {
            let found = match found {
                Ok(found) => found,
                // What may not be listed was not made by us with these permissions; what is not served can't be listed.
                Err(Unlisted::Refused(error)) if error.kind == Kind::Denied => continue,
                Err(Unlisted::Unserved) => continue,
                Err(Unlisted::Refused(error)) => return Err(error),
            };
            let group = resource.group();
            for (name, seen) in found.iter().filter(|(_, seen)| seen.marks.ownership(owner) == Ownership::Ours) {
                ours.push(Observation {
                    identity: format!("{group}/{}/{}/{name}", resource.kind, seen.namespace),
                    owner: Ownership::Ours,
                    intact: true,
                    phase: if seen.is_leaving { Phase::Deleting } else { Phase::Present },
                    outputs: Map::new(),
                    drift: Vec::new(),
                    unseen: Vec::new(),
                });
            }
        }
        Ok(ours)
    }
}

/// Says whose something is, to whoever wanted it.
fn not_ours(place: &Place, owner: &Ownership) -> CapabilityError {
    let whose = match owner {
        Ownership::Other(who) => format!("it belongs to {who}"),
        Ownership::None | Ownership::Ours => "it exists and is not ours".to_owned(),
    };
    CapabilityError::new(Kind::Conflict, whose)
        .hint(format!("give yours another name, or take it over with `--take-ownership {}`", object(place)))
}

fn object(place: &Place) -> String {
    [place.resource.group(), &place.resource.kind, &place.namespace, &place.name]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

/// Tells whether a refusal means that the object is another one now.
fn is_other_object(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(refusal) if refusal.code == 409 && refusal.message.to_lowercase().contains("uid"))
}
