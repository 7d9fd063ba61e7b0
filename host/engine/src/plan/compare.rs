//! Compares what is wanted with what is recorded: changes, fields, and what is taken away.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use windlass_model::{
    ActionId, Diagnostic, NodeKey, Spec,
    differences::{Difference, differences},
    identity::shown,
    name::DocumentName,
    plan::{Change, Destroy, DestroyReason, FieldChange, PlannedAction, PlannedStage},
    platform::{DataLoss, OnRemove},
    sealed::{self, Origin, Sealed},
    state::{RecordedAction, Status},
};
use windlass_resolve::Graph;

use super::PlanInput;
use crate::planner::Planners;

/// Fields that are listed of one change; where more differ, the outermost fields stand for them.
const FIELDS_MAX: usize = 200;

/// Tells whether the environment's type lets data go. A type that is gone counts as protected.
pub(crate) fn data_loss_allowed(graph: &Graph<'_>) -> bool {
    graph.environment_type.is_some_and(|document| document.spec.data_loss == Some(DataLoss::Allow) && document.spec.protected != Some(true))
}

/// Warnings that a comparison adds are made anew each time.
pub(crate) fn is_comparison(warning: &Diagnostic) -> bool {
    warning.code.starts_with("compare-")
}

/// Sets every action's change and returns what is taken away.
pub(crate) fn compare(
    input: &PlanInput,
    planners: &Planners,
    stages: &mut [PlannedStage],
    graph: &Graph<'_>,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Vec<Destroy>, Vec<Diagnostic>> {
    let recorded = &input.recorded.actions;
    let allowed = data_loss_allowed(graph);
    let Moves { moves, refused } = Moves::of(recorded, stages);
    if !refused.is_empty() {
        return Err(refused);
    }
    let (now, later) = stages.split_at_mut(1.min(stages.len()));
    let undecided = compare_later(recorded, later);
    let is_done = |id: &ActionId| input.follows.as_ref().is_some_and(|follows| follows.done.contains(id));
    let mut destroys = Vec::new();
    let mut wanted: BTreeSet<ActionId> = BTreeSet::new();
    let mut changed: BTreeSet<ActionId> = BTreeSet::new();
    let mut problems = Vec::new();
    for node in now.iter_mut().flat_map(|stage| &mut stage.nodes) {
        for action in &mut node.actions {
            wanted.insert(action.id.clone());
            let Some(planner) = planners.get(&action.capability) else {
                problems
                    .push(Diagnostic::error("capability", format!("`{}` is not known to this build", action.capability)).on(&action.id));
                continue;
            };
            let moved = moves.get(&action.id).and_then(|from| recorded.get(from));
            let rekeyed = moved.map(|record| RecordedAction { id: action.id.clone(), ..record.clone() });
            let known = recorded.get(&action.id).or(rekeyed.as_ref());
            if let Some(from) = moved {
                let message = format!("`{}` stays as it is: it was `{}` before", shown(&action.identity), from.id);
                warnings.push(Diagnostic::warning("compare-moved", message).on(&action.id));
            }
            (action.change, action.fields) = match known {
                None => (Change::Create, Vec::new()),
                Some(known) if known.connection != action.connection || known.identity != action.identity => {
                    let why = if known.connection == action.connection {
                        format!("it is called `{}` now, not `{}`", shown(&action.identity), shown(&known.identity))
                    } else {
                        format!("the connection is `{}` now, not `{}`", action.connection, known.connection)
                    };
                    (Change::Replace { why }, fields(&known.spec.to_value(), &action.spec.to_value()))
                }
                // An earlier stage did it; what uses it may see another value.
                Some(known) if known.spec == action.spec && known.status == Status::Live && is_done(&action.id) => {
                    changed.insert(action.id.clone());
                    (Change::None, Vec::new())
                }
                // What others keep is known only when it is read: whatever uses it is pending.
                Some(known) if known.spec == action.spec && known.status == Status::Live && planner.reads(action.id.kind()) => {
                    (Change::Pending { on: vec![action.id.to_string()] }, Vec::new())
                }
                // Its record moves with what is sent.
                Some(known) if known.spec == action.spec && moved.is_some() => (Change::Update, Vec::new()),
                Some(known) if known.spec == action.spec => (unchanged(known, &action.spec, &changed), Vec::new()),
                Some(known) => {
                    let (before, after) = (known.spec.to_value(), action.spec.to_value());
                    let judged = planner.judge_change(&before, &after).into_iter().map(|found| found.on(&action.id));
                    let (errors, told): (Vec<_>, Vec<_>) = judged.filter(|_| !known.was_never_made()).partition(Diagnostic::is_error);
                    problems.extend(errors);
                    warnings.extend(told);
                    match planner.classify(&before, &after) {
                        Change::Update if known.was_never_made() => (Change::Create, Vec::new()),
                        change => (change, fields(&before, &after)),
                    }
                }
            };
            if action.change.is_change() {
                changed.insert(action.id.clone());
            }
            if let (Change::Replace { .. }, Some(known)) = (&action.change, known) {
                destroys.push(destroy(known, DestroyReason::Replaced, OnRemove::Delete, known.holds_data && !allowed));
            }
        }
    }
    let moved: BTreeSet<&ActionId> = moves.values().collect();
    for (id, known) in recorded {
        if wanted.contains(id) || moved.contains(id) || id.node().is_ok_and(|node| undecided.contains(&node)) {
            continue;
        }
        let why = if input.destroy { DestroyReason::Destroyed } else { DestroyReason::Removed };
        let act = known.on_remove;
        if act == OnRemove::Retain && known.status == Status::Retained {
            continue;
        }
        destroys.push(destroy(known, why, act, act == OnRemove::Delete && known.holds_data && !allowed));
    }
    retain_namespaces(input, &mut destroys, stages, warnings);
    destroys.sort_by(|a, b| (&a.id, a.why as u8).cmp(&(&b.id, b.why as u8)));
    if problems.is_empty() { Ok(destroys) } else { Err(problems) }
}

fn actions(stages: &[PlannedStage]) -> impl Iterator<Item = &PlannedAction> {
    stages.iter().flat_map(|stage| &stage.nodes).flat_map(|node| &node.actions)
}

/// What is planned under another address than it is recorded under.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// To the system it is the same thing, so that it is neither made nor taken away. By the new address the old one.
    pub moves: BTreeMap<ActionId, ActionId>,
    /// What can't move: one of the two addresses has something else to do, and would take the thing away that the other just made.
    refused: Vec<Diagnostic>,
}

impl Moves {
    /// Compares addresses in the first stage; the second is decided by a plan of its own.
    pub(crate) fn of(recorded: &BTreeMap<ActionId, RecordedAction>, stages: &[PlannedStage]) -> Self {
        let holders: HashMap<(&str, &DocumentName, &str), &ActionId> = recorded
            .values()
            .map(|record| ((record.interface.as_str(), &record.connection, record.identity.as_str()), &record.id))
            .collect();
        let moving: Vec<(&PlannedAction, &ActionId)> = actions(stages.get(..1).unwrap_or_default())
            .filter_map(|action| {
                let holder = holders.get(&(action.capability.as_str(), &action.connection, action.identity.as_str()))?;
                (**holder != action.id).then_some((action, *holder))
            })
            .collect();
        let mut found = Self::default();
        if moving.is_empty() {
            return found;
        }
        let wanted: BTreeSet<&ActionId> = actions(stages).map(|action| &action.id).collect();
        let undecided: BTreeSet<&NodeKey> = stages.iter().skip(1).flat_map(|stage| &stage.nodes).map(|node| &node.key).collect();
        let is_free = |id: &ActionId| !wanted.contains(id) && id.node().is_ok_and(|node| !undecided.contains(&node));
        for (action, holder) in moving {
            match recorded.get(&action.id) {
                None if is_free(holder) => {
                    found.moves.insert(action.id.clone(), holder.clone());
                }
                occupied => {
                    let other = occupied.map(|other| format!(", which is `{}` now", shown(&other.identity))).unwrap_or_default();
                    found.refused.push(
                        Diagnostic::error("identity-moves", format!("`{}` is `{holder}` and would become `{}`{other}", shown(&action.identity), action.id))
                            .on(&action.id)
                            .hint("two things can't change their places in one deployment: use an address that nothing has had yet, or take one of them away first"),
                    );
                }
            }
        }
        found
    }
}

/// Marks what a later plan decides; returns its nodes: nothing of theirs is taken away before that.
fn compare_later(recorded: &BTreeMap<ActionId, RecordedAction>, stages: &mut [PlannedStage]) -> BTreeSet<NodeKey> {
    let mut undecided = BTreeSet::new();
    for node in stages.iter_mut().flat_map(|stage| &mut stage.nodes) {
        for action in &mut node.actions {
            let on = || node.depends_on.iter().map(ToString::to_string).collect();
            action.change = if recorded.contains_key(&action.id) { Change::Pending { on: on() } } else { Change::Create };
        }
        undecided.insert(node.key.clone());
    }
    undecided
}

fn destroy(known: &RecordedAction, why: DestroyReason, act: OnRemove, guarded: bool) -> Destroy {
    Destroy {
        id: known.id.clone(),
        capability: known.interface.clone(),
        connection: known.connection.clone(),
        identity: known.identity.clone(),
        why,
        act,
        holds_data: known.holds_data,
        guarded,
    }
}

/// Equal specs: nothing, unless the last attempt did not end, or a value that it waits for may change.
fn unchanged(known: &RecordedAction, spec: &Spec, changed: &BTreeSet<ActionId>) -> Change {
    match known.status {
        Status::Live => {}
        _ if known.was_never_made() => return Change::Create,
        Status::Intended | Status::Uncertain | Status::Retained | Status::Deleting => return Change::Update,
    }
    let mut on = BTreeSet::new();
    if !spec.may_be_sealed() || (changed.is_empty() && !super::may_be_kept(spec)) {
        return Change::None;
    }
    sealed::visit_origins(&spec.to_value(), &mut |origin| {
        if let Origin::Action { id, output } = origin
            && changed.contains(id)
        {
            on.insert(format!("{id}.{output}"));
        }
        // What others keep is known only when it is read.
        on.extend(super::kept_by(origin).map(|(connection, reference)| format!("{connection} {reference}")));
    });
    if on.is_empty() { Change::None } else { Change::Pending { on: on.into_iter().collect() } }
}

/// A namespace that still holds something retained stays with it.
fn retain_namespaces(input: &PlanInput, destroys: &mut [Destroy], stages: &[PlannedStage], warnings: &mut Vec<Diagnostic>) {
    let namespace_of = |identity: &str| identity.split('/').nth(2).unwrap_or_default().to_owned();
    let mut kept: BTreeSet<String> = destroys
        .iter()
        .filter(|destroy| destroy.act == OnRemove::Retain && destroy.capability == super::OBJECTS)
        .map(|destroy| namespace_of(&destroy.identity))
        .collect();
    kept.extend(
        input
            .recorded
            .actions
            .values()
            .filter(|action| {
                action.status == Status::Retained
                    && action.interface == super::OBJECTS
                    && !stages.iter().flat_map(|stage| &stage.nodes).flat_map(|node| &node.actions).any(|planned| planned.id == action.id)
            })
            .map(|action| namespace_of(&action.identity)),
    );
    for destroy in destroys.iter_mut() {
        let mut parts = destroy.identity.split('/');
        let is_namespace = (parts.next(), parts.next()) == (Some(""), Some("Namespace"));
        let name = destroy.identity.rsplit('/').next().unwrap_or_default();
        if is_namespace && kept.contains(name) && destroy.act == OnRemove::Delete {
            destroy.act = OnRemove::Retain;
            destroy.guarded = false;
            warnings.push(
                Diagnostic::warning("compare-namespace-kept", format!("the namespace `{name}` stays: it holds retained objects"))
                    .on(&destroy.id),
            );
        }
    }
}

/// Lists which fields differ: the deepest, or where they are very many the outermost, so that none is left out.
pub(crate) fn fields(from: &Value, to: &Value) -> Vec<FieldChange> {
    let is_sealed = |value: &Value| Sealed::from_json(value).is_some();
    let deepest = fields_between(from, to, &is_sealed);
    if deepest.len() <= FIELDS_MAX {
        return deepest;
    }
    fields_between(from, to, &|value| !std::ptr::eq(value, from) && !std::ptr::eq(value, to))
}

fn fields_between(from: &Value, to: &Value, is_one: &impl Fn(&Value) -> bool) -> Vec<FieldChange> {
    let mut out = Vec::new();
    differences(from, to, is_one, &mut |at, Difference { from, to }| {
        out.push(FieldChange { pointer: at.to_string(), from: from.cloned(), to: to.cloned() });
    });
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_very_many_fields_the_outermost_are_listed() {
        let data = |value: usize| (0..=FIELDS_MAX).map(|key| (key.to_string(), json!(value))).collect::<serde_json::Map<_, _>>();
        let spec = |value: usize, count: usize| json!({ "data": data(value), "metadata": { "labels": { "count": count } }, "same": [1] });
        let pointers = |fields: &[FieldChange]| fields.iter().map(|field| field.pointer.clone()).collect::<Vec<_>>();
        let found = fields(&spec(1, 1), &spec(2, 2));
        assert_eq!(pointers(&found), ["/data", "/metadata"]);
        assert_eq!(found[0].to.as_ref().unwrap(), &json!(data(2)));
        assert_eq!(pointers(&fields(&spec(1, 1), &spec(1, 2))), ["/metadata/labels/count"]);
    }
}
