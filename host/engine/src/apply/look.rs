//! Looks at what exists: reads only, in batches, nothing is said twice.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::{join_all, try_join_all};
use windlass_model::{
    ActionId,
    event::{Actor, DriftedField, Verb},
    identity::shown,
    name::DocumentName,
    plan::Change,
    state::{EnvironmentKey, RecordedAction, Status},
};

use super::{
    ApplyError, Engine,
    order::{self, Group},
    run::Run,
};
use crate::authorize::Target;
use crate::session::{ActionRef, CapabilityError, Depth, LazySpec, Observation, Owner, Ownership, Phase, Session, UnseenField};

/// Something that is not as it was left.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The action.
    pub id: ActionId,
    /// What the system calls it.
    pub identity: String,
    /// Whether it exists.
    pub phase: Phase,
    /// Whose it is.
    pub owner: Ownership,
    /// Which fields of ours differ.
    pub fields: Vec<DriftedField>,
}

/// What is not as it was left, in everything that an environment owns.
#[derive(Debug, Default)]
pub struct Drift {
    /// By action.
    pub found: Vec<Found>,
    /// Systems, and objects in them, that could not be looked at.
    pub unseen: Vec<ApplyError>,
    /// Fields that a system does not let us compare, in objects that are there and ours.
    pub unseen_fields: Vec<Unseen>,
}

/// A field that could not be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Unseen {
    /// The action.
    pub id: ActionId,
    /// What the system calls it.
    pub identity: String,
    /// Which field, and why.
    pub field: UnseenField,
}

impl Engine {
    /// Looks at everything that is recorded as live, in all systems at once, and returns what is not as it was left, field by field.
    pub async fn drift(&self, actor: &Actor, environment: &EnvironmentKey) -> Result<Drift, ApplyError> {
        let state = self.state(environment).await?;
        let target = Target::new(environment, &state.record.environment_type);
        self.authorize.authorize(actor, Verb::Read, &target)?;
        let owner = Owner { installation: self.store.installation().to_owned(), environment: environment.clone() };
        let live = state.recorded.actions.into_values().filter(|record| record.status == Status::Live);
        let looks = order::by_connection(live).map(|group| async {
            let Group { interface, connection, settings, records } = group;
            let session = self.open(&interface, &connection, &settings, environment).await?;
            let looked = look(self, environment, &owner, session.as_ref(), &records, Depth::Full).await;
            Ok((connection, looked))
        });
        let mut drift = Drift::default();
        for looked in join_all(looks).await {
            match looked {
                Ok((connection, looked)) => {
                    drift.found.extend(looked.found);
                    drift.unseen_fields.extend(looked.unseen);
                    drift.unseen.extend(looked.failed.into_iter().map(|error| ApplyError::of(&connection, error)));
                }
                Err(error) => drift.unseen.push(error),
            }
        }
        drift.found.sort_by(|a, b| a.id.cmp(&b.id));
        drift.unseen_fields.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(drift)
    }
}

impl Run<'_> {
    /// How closely to look before anything tells that more is needed.
    pub(crate) fn depth(&self) -> Depth {
        if self.request.refresh { Depth::Full } else { Depth::Presence }
    }

    /// Tells whether everything that should not change is as it was left; reads only.
    pub(crate) async fn all_intact(&mut self) -> Result<bool, ApplyError> {
        Ok(self.changed_in_the_world(self.depth()).await?.is_empty())
    }

    /// Looks at everything that the plan leaves alone, or may leave alone.
    pub(crate) async fn changed_in_the_world(&mut self, depth: Depth) -> Result<BTreeMap<ActionId, Found>, ApplyError> {
        let plan = Arc::clone(&self.request.plan);
        let mut groups: BTreeMap<(String, DocumentName), Vec<RecordedAction>> = BTreeMap::new();
        for action in plan.actions().filter(|action| matches!(action.change, Change::None | Change::Pending { .. })) {
            if let Some(record) = self.recorded.get(&action.id).filter(|record| record.status == Status::Live) {
                groups.entry((record.interface.clone(), record.connection.clone())).or_default().push(record.clone());
            }
        }
        let mut asked = Vec::with_capacity(groups.len());
        for ((interface, connection), records) in groups {
            let settings = self.settings(&connection);
            asked.push((self.session(&interface, &connection, &settings).await?, connection, records));
        }
        let looks = asked.iter().map(|(session, connection, records)| async {
            let looked = look(self.engine, &self.environment, &self.owner, session.as_ref(), records, depth).await;
            // What can't be looked at may be anything: nothing is changed around it.
            looked.failed.into_iter().next().map_or(Ok(looked.found), |error| Err(ApplyError::of(connection, error)))
        });
        let found = try_join_all(looks).await?;
        Ok(found.into_iter().flatten().map(|found| (found.id.clone(), found)).collect())
    }
}

/// What a look at records of one connection shows.
struct Looked {
    /// What is not as it was left.
    found: Vec<Found>,
    unseen: Vec<Unseen>,
    /// Why records could not be looked at: one error for all, or one for each.
    failed: Vec<CapabilityError>,
}

/// Looks at records of one connection.
async fn look(
    engine: &Engine,
    environment: &EnvironmentKey,
    owner: &Owner,
    session: &dyn Session,
    records: &[RecordedAction],
    depth: Depth,
) -> Looked {
    // Only a full comparison needs the values that were sent: they are decrypted for it alone.
    let recorded = |record: &RecordedAction| match depth {
        Depth::Presence => record.spec.to_value(),
        Depth::Full => super::values::sent(engine.secrets.as_ref(), environment, record).unwrap_or_else(|| record.spec.to_value()),
    };
    let specs: Vec<LazySpec<'_>> = records.iter().map(|record| LazySpec::new(move || recorded(record))).collect();
    let seen = session.observe(owner, &refs(records, &specs), depth).await;
    let (mut found, mut unseen, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (record, seen) in records.iter().zip(seen) {
        let Observation { owner, intact, phase, drift, unseen: fields, .. } = match seen {
            Ok(seen) => seen,
            Err(error) => {
                failed.push((record, error));
                continue;
            }
        };
        let named = |field| Unseen { id: record.id.clone(), identity: record.identity.clone(), field };
        unseen.extend(fields.into_iter().map(named));
        if !(intact && owner == Ownership::Ours) {
            found.push(Found { id: record.id.clone(), identity: record.identity.clone(), phase, owner, fields: drift });
        }
    }
    Looked { found, unseen, failed: told_once(failed, records.len()) }
}

/// Says of each record why it can't be looked at; what is wrong with a whole system is said once.
fn told_once(failed: Vec<(&RecordedAction, CapabilityError)>, all: usize) -> Vec<CapabilityError> {
    match failed.first() {
        Some((_, first)) if all > 1 && failed.len() == all && failed.iter().all(|(_, error)| error == first) => vec![first.clone()],
        _ => failed.into_iter().map(|(record, error)| error.within(&format!("`{}`", shown(&record.identity)))).collect(),
    }
}

/// Names records to whoever looks at them.
pub(crate) fn refs<'r>(records: &'r [RecordedAction], specs: &'r [LazySpec<'r>]) -> Vec<ActionRef<'r>> {
    let named = |(record, spec): (&'r RecordedAction, &'r LazySpec<'r>)| ActionRef {
        id: &record.id,
        identity: &record.identity,
        handle: &record.handle,
        spec,
    };
    records.iter().zip(specs).map(named).collect()
}
