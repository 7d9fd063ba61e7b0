//! The in-memory capability: a sink that can be slow, forgetful and unwilling, for the contract suite.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use windlass_engine::session::{
    ActionRef, CapabilityError, CapabilityErrorKind as Kind, Depth, EffectCx, Executor, Insistence, Observation, Observed, OpenConnection,
    Owner, Ownership, Phase, Preflight, ResolvedAction, Session, Step, Ticket,
};
use windlass_model::state::RecordedAction;

/// An object of the sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Thing {
    /// What it is.
    pub spec: Value,
    /// Whose it is.
    pub owner: Option<String>,
    /// How often it was written.
    pub writes: u32,
    /// Questions that are answered with "waiting" before it is ready.
    pub waits: u32,
}

/// The sink.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    things: Arc<Mutex<BTreeMap<String, Thing>>>,
    waits: u32,
}

impl Memory {
    /// Makes a sink whose objects need so many questions until they are ready.
    #[must_use]
    pub fn slow(waits: u32) -> Self {
        Self { waits, ..Self::default() }
    }

    /// Looks inside.
    pub fn things(&self) -> MutexGuard<'_, BTreeMap<String, Thing>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Executor for Memory {
    fn interface(&self) -> &'static str {
        "windlass:kubernetes/objects"
    }

    fn connection_kind(&self) -> &'static str {
        "directory"
    }

    async fn open(&self, _: &OpenConnection) -> Result<Arc<dyn Session>, CapabilityError> {
        Ok(Arc::new(self.clone()))
    }
}

fn conflict(thing: &Thing, identity: &str) -> CapabilityError {
    CapabilityError::new(
        Kind::Conflict,
        format!("`{identity}` exists and belongs to {}", thing.owner.as_deref().unwrap_or("nobody we know")),
    )
}

#[async_trait]
impl Session for Memory {
    async fn observe(&self, owner: &Owner, actions: &[ActionRef<'_>], _: Depth) -> Vec<Result<Observation, CapabilityError>> {
        let things = self.things();
        actions
            .iter()
            .map(|action| {
                let thing = things.get(action.identity);
                Ok(Observation {
                    identity: action.identity.to_owned(),
                    owner: match thing {
                        Some(thing) if thing.owner.as_deref() == Some(owner.to_string().as_str()) => Ownership::Ours,
                        Some(Thing { owner: Some(other), .. }) => Ownership::Other(other.clone()),
                        Some(_) | None => Ownership::None,
                    },
                    intact: thing.is_some_and(|thing| thing.spec == **action.spec),
                    phase: if thing.is_some() { Phase::Present } else { Phase::Absent },
                    outputs: Map::new(),
                    unseen: Vec::new(),
                    drift: Vec::new(),
                })
            })
            .collect()
    }

    async fn preflight(&self, cx: &EffectCx<'_>, actions: &[Preflight]) -> Vec<Result<(), CapabilityError>> {
        let things = self.things();
        let owner = cx.owner.to_string();
        actions
            .iter()
            .map(|action| match things.get(&action.identity) {
                Some(thing) if thing.owner.as_ref() != Some(&owner) && action.insistence != Insistence::TakeOver => {
                    Err(conflict(thing, &action.identity))
                }
                _ => Ok(()),
            })
            .collect()
    }

    async fn ensure(&self, cx: &EffectCx<'_>, actions: &[ResolvedAction]) -> Vec<Result<Step, CapabilityError>> {
        let mut things = self.things();
        actions
            .iter()
            .map(|action| {
                let owner = cx.owner.to_string();
                let known = things.get(&action.identity);
                if let Some(thing) = known
                    && thing.owner.as_ref() != Some(&owner)
                    && action.insistence != Insistence::TakeOver
                {
                    return Err(conflict(thing, &action.identity));
                }
                let changed = known.is_none_or(|thing| thing.spec != action.spec || thing.owner.as_ref() != Some(&owner));
                let writes = known.map_or(0, |thing| thing.writes) + u32::from(changed);
                let waits = if changed { self.waits } else { known.map_or(0, |thing| thing.waits) };
                things.insert(action.identity.clone(), Thing { spec: action.spec.clone(), owner: Some(owner), writes, waits });
                if waits > 0 {
                    return Ok(Step::Waiting {
                        ticket: json!({ "identity": action.identity }),
                        retry_after_ms: 1,
                        note: "not ready yet".to_owned(),
                    });
                }
                Ok(Step::Done(Observed { handle: json!({ "identity": action.identity }), changed, ..Observed::default() }))
            })
            .collect()
    }

    async fn poll(&self, _: &EffectCx<'_>, tickets: &[Ticket]) -> Vec<Result<Step, CapabilityError>> {
        let mut things = self.things();
        tickets
            .iter()
            .map(|ticket| {
                let identity = ticket.state.get("identity").and_then(Value::as_str).unwrap_or_default();
                let Some(thing) = things.get_mut(identity) else {
                    return Err(CapabilityError::new(Kind::Failed, format!("`{identity}` is gone")));
                };
                thing.waits = thing.waits.saturating_sub(1);
                if thing.waits > 0 {
                    return Ok(Step::Waiting { ticket: ticket.state.clone(), retry_after_ms: 1, note: "not ready yet".to_owned() });
                }
                Ok(Step::Done(Observed { handle: ticket.state.clone(), changed: true, ..Observed::default() }))
            })
            .collect()
    }

    async fn delete(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>> {
        let mut things = self.things();
        actions
            .iter()
            .map(|action| {
                if let Some(thing) = things.get(&action.identity)
                    && thing.owner.as_deref() != Some(cx.owner.to_string().as_str())
                {
                    return Err(conflict(thing, &action.identity));
                }
                let changed = things.remove(&action.identity).is_some();
                Ok(Step::Done(Observed { changed, ..Observed::default() }))
            })
            .collect()
    }

    async fn list_ours(&self, owner: &Owner) -> Result<Vec<Observation>, CapabilityError> {
        let owner = owner.to_string();
        Ok(self
            .things()
            .iter()
            .filter(|(_, thing)| thing.owner.as_ref() == Some(&owner))
            .map(|(identity, _)| Observation {
                identity: identity.clone(),
                owner: Ownership::Ours,
                intact: true,
                phase: Phase::Present,
                outputs: Map::new(),
                drift: Vec::new(),
                unseen: Vec::new(),
            })
            .collect())
    }
}
