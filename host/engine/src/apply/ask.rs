//! Asks systems about what a plan would make: what is there already and whose it is, and what they themselves would do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use serde_json::Value;
use windlass_model::{
    ActionId,
    event::{DriftedField, Verb},
    name::DocumentName,
    plan::PlannedAction,
    sealed,
    state::RecordedAction,
};

use super::{
    ApplyError, Engine, Request,
    discretion::SecretsOf,
    make::grouped,
    spending::{Expansion, Spending},
    values::{Fresh, Values},
};
use crate::{
    authorize::Target,
    session::{
        ActionRef, Cancel, CapabilityError, CapabilityErrorKind as Kind, Depth, LazySpec, Observation, Owner, Ownership, Phase, Secret,
        Session,
    },
    store::StoreError,
};

/// Something that exists where a plan would make something.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreign {
    /// The action that would make it.
    pub id: ActionId,
    /// What the system calls it.
    pub identity: String,
    /// Whose it is.
    pub owner: Ownership,
    /// Which fields would change, with what is planned as recorded; what is sealed is not compared.
    pub fields: Vec<DriftedField>,
}

/// Actions of a plan that one session is asked about.
struct Asked<'p> {
    session: Arc<dyn Session>,
    connection: DocumentName,
    actions: Vec<&'p PlannedAction>,
    /// Their specs; an error where a value is known only later.
    specs: Vec<Result<Value, CapabilityError>>,
}

impl Engine {
    /// Looks where a plan would make something, and returns what is there already and not ours; reads only.
    pub async fn foreign(&self, request: &Request) -> Result<Vec<Foreign>, ApplyError> {
        let owner = Owner { installation: self.store.installation().to_owned(), environment: request.plan.environment_key() };
        let mut found = Vec::new();
        for Asked { session, connection, actions, specs } in self.ask(request, is_unmade).await? {
            // What is not known yet is not compared; the rest is.
            let shown =
                |(action, spec): (&&PlannedAction, Result<Value, _>)| spec.unwrap_or_else(|_| sealed::displayed(&action.spec.to_value()));
            let values: Vec<Value> = actions.iter().zip(specs).map(shown).collect();
            let specs: Vec<LazySpec<'_>> = values.iter().map(|value| LazySpec::new(|| value.clone())).collect();
            let nothing = Value::Null;
            let refs: Vec<ActionRef<'_>> = actions
                .iter()
                .zip(&specs)
                .map(|(action, spec)| ActionRef { id: &action.id, identity: &action.identity, handle: &nothing, spec })
                .collect();
            for (action, seen) in actions.iter().zip(session.observe(&owner, &refs, Depth::Full).await) {
                let Observation { owner, phase, drift, .. } = seen.map_err(|error| ApplyError::of(&connection, error))?;
                if phase != Phase::Absent && owner != Ownership::Ours {
                    let fields = without_sealed(action, drift);
                    found.push(Foreign { id: action.id.clone(), identity: action.identity.clone(), owner, fields });
                }
            }
        }
        Ok(found)
    }

    /// Asks systems that plan themselves what they would do, in lines; reads only.
    pub async fn preview(&self, request: &Request) -> Result<Vec<(ActionId, Vec<String>)>, ApplyError> {
        let mut out = Vec::new();
        for Asked { session, connection, actions, specs } in self.ask(request, |action, _| action.change.is_change()).await? {
            for (action, spec) in actions.into_iter().zip(specs) {
                let lines = match spec {
                    Ok(spec) => {
                        let guarded = |error| ApplyError::of(&connection, SecretsOf::spec(&action.spec, &spec).guard(error));
                        session.preview(&action.id, &spec).await.map_err(guarded)?
                    }
                    Err(error) => Some(vec![format!("can't be said yet: {}", error.message)]),
                };
                out.extend(lines.map(|lines| (action.id.clone(), lines)));
            }
        }
        Ok(out)
    }

    /// Brings in what stands behind an action and has no name: the state of a module.
    pub async fn adopt(&self, request: &Request, id: &ActionId, given: &Secret) -> Result<(), ApplyError> {
        let environment = request.plan.environment_key();
        self.authorize.authorize(&request.actor, request.verb, &Target::new(&environment, &request.plan.environment_type))?;
        let action = request.plan.action(id).ok_or_else(|| StoreError::Missing(format!("the action `{id}`")))?;
        let unknown =
            || ApplyError::of(&action.connection, CapabilityError::new(Kind::Invalid, "the plan names a connection that is not there"));
        let settings = request.connections.get(&action.connection).ok_or_else(unknown)?;
        let _lease = self.store.lock(&environment).await?;
        let session = self.open(&action.capability, &action.connection, settings, &environment).await?;
        session.adopt(id, given).await.map_err(|error| ApplyError::of(&action.connection, error))
    }

    /// Opens what stands behind some actions of a plan, which may not have begun.
    async fn ask<'p>(
        &self,
        request: &'p Request,
        is_asked: impl Fn(&PlannedAction, Option<&RecordedAction>) -> bool,
    ) -> Result<Vec<Asked<'p>>, ApplyError> {
        let environment = request.plan.environment_key();
        self.authorize.authorize(&request.actor, Verb::Read, &Target::new(&environment, &request.plan.environment_type))?;
        let recorded = self.store.load(&environment).await?.map(|state| state.recorded.actions).unwrap_or_default();
        let (kept, fresh) = (BTreeMap::new(), Fresh::new());
        let spending = Spending::new(Instant::now() + request.timeout, &Cancel::default());
        let values = Values {
            environment: &environment,
            secrets: &self.secrets,
            recorded: &recorded,
            kept: &kept,
            fresh: &fresh,
            spending: &spending,
            expanded: Expansion::default(),
        };
        let groups = grouped(request.plan.actions().filter(|action| is_asked(action, recorded.get(&action.id))));
        let mut asked = Vec::with_capacity(groups.len());
        for ((interface, connection), actions) in groups {
            let Some(settings) = request.connections.get(&connection) else { continue };
            let session = self.open(&interface, &connection, settings, &environment).await?;
            let mut specs = Vec::with_capacity(actions.len());
            for action in &actions {
                specs.push(values.resolve(&action.id, &action.spec).await);
            }
            asked.push(Asked { session, connection, actions, specs });
        }
        Ok(asked)
    }
}

/// Tells whether an action has made nothing yet; what was only intended may be somebody's.
fn is_unmade(_: &PlannedAction, recorded: Option<&RecordedAction>) -> bool {
    recorded.is_none_or(|recorded| recorded.status.is_unanswered())
}

/// Leaves out what is planned as a secret or not known yet.
fn without_sealed(action: &PlannedAction, fields: Vec<DriftedField>) -> Vec<DriftedField> {
    let mut sealed_at: BTreeSet<String> = BTreeSet::new();
    sealed::visit(&action.spec.to_value(), &mut |at, _| {
        sealed_at.insert(at.to_owned());
    });
    fields.into_iter().filter(|field| !sealed_at.iter().any(|at| at.starts_with(&field.pointer) || field.pointer.starts_with(at))).collect()
}
