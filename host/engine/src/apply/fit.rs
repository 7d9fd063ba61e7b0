//! Whether values fit: what drivers took sealed is held to their schemas once it is known, before it goes anywhere.

use std::collections::{BTreeMap, BTreeSet};

use windlass_model::{
    ActionId, Spec,
    plan::{Constraint, Plan, PlannedAction},
    sealed::{self, Origin, Sealed},
};

use super::{make::Pending, run::Run, spending::is_final};
use crate::{
    schema,
    session::{CapabilityError, CapabilityErrorKind as Kind},
};

/// What a plan asks of values, by the actions that they go into.
pub(crate) type Constraints<'p> = BTreeMap<&'p ActionId, Vec<(&'p Constraint, Sealed)>>;

/// Finds the constraints of each action: those of its node that are about values of its own.
pub(crate) fn constraints(plan: &Plan) -> Constraints<'_> {
    let mut found = Constraints::new();
    for node in plan.nodes().filter(|node| !node.constraints.is_empty()) {
        for action in node.actions.iter().filter(|action| action.spec.may_be_sealed()) {
            let used = origins(&action.spec);
            let own = node.constraints.iter().filter_map(|constraint| {
                let value = Sealed::from_json(&constraint.value)?;
                let is_own = value.sealed().all(|part| used.contains(&part.origin));
                is_own.then_some((constraint, value))
            });
            found.entry(&action.id).or_default().extend(own);
        }
    }
    found
}

/// Lists where the values of a spec come from.
fn origins(spec: &Spec) -> BTreeSet<Origin> {
    let mut found = BTreeSet::new();
    sealed::visit_origins(&spec.to_value(), &mut |origin| {
        found.insert(origin.clone());
    });
    found
}

impl Run<'_> {
    /// Refuses an action whose values are not what its driver takes, as far as they are known.
    pub(crate) async fn fits(&self, action: &PlannedAction) -> Result<(), CapabilityError> {
        for (constraint, sealed) in self.constraints.get(&action.id).into_iter().flatten() {
            // What is not known yet is looked at when it is.
            let value = match self.values().sealed(sealed).await {
                Ok(value) => value,
                Err(error) if is_final(&error) => return Err(error),
                Err(_) => continue,
            };
            if let Some(reason) = schema::misfit(constraint, &value) {
                // Every rule of the schema is the driver's choice: the reason would be an answer to its question.
                let reason = if sealed.is_secret() { String::new() } else { format!(": {reason}") };
                let message = format!("{} is not what its driver takes at `{}`{reason}", sealed.display(), constraint.pointer);
                return Err(CapabilityError::new(Kind::Invalid, message).hint("change the value, or what yields it"));
            }
        }
        Ok(())
    }

    /// Tells whether a value of an action comes from another that is still to be made or changed.
    pub(crate) fn follows_a_change(&self, action: &PlannedAction, pending: &Pending) -> bool {
        let is_pending = |id: &ActionId| *id != action.id && pending.ranks.contains_key(id);
        action.depends_on.iter().any(|id| is_pending(id) && self.wanted.contains_key(id))
            && origins(&action.spec).iter().any(|origin| matches!(origin, Origin::Action { id, .. } if is_pending(id)))
    }
}
