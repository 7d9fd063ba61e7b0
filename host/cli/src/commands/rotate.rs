//! `rotate`: new credentials for a resource, without anybody being locked out.

use std::{cell::Cell, collections::BTreeSet};

use windlass_capability_secrets::generate;
use windlass_engine::session::generated_name;
use windlass_model::{
    ActionId, NodeKey,
    event::Verb,
    identity::shown,
    plan::{Plan, PlannedAction},
    sealed::{self, Origin},
    state::EnvironmentKey,
};

use super::{
    apply::{confirm, go},
    plan::{again, finish, show},
    turn,
};
use crate::{
    arguments::{Applying, Environment, Format, Global},
    exit::{Code, Failure},
    print,
    workspace::Workspace,
};

pub(crate) async fn rotate(global: &Global, resource: &str, environment: &Environment, applying: &Applying) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    let node = super::node(resource)?;
    let is_drawn = Cell::new(false);
    turn::take(&workspace, applying, async || rotate_once(&workspace, &key, &node, applying, &is_drawn).await).await
}

/// Rotates, if it is our turn. What was drawn already is what is wanted, whoever deploys it.
async fn rotate_once(
    workspace: &Workspace,
    key: &EnvironmentKey,
    node: &NodeKey,
    applying: &Applying,
    is_drawn: &Cell<bool>,
) -> Result<Code, Failure> {
    let (mut input, provenance) = again(workspace, key).await?;
    let before = finish(workspace, input.clone(), provenance.clone())?;
    let secrets: Vec<PlannedAction> = generated(&before.plan, node)?.into_iter().cloned().collect();
    if let Some(record) = input.recorded.actions.values().find(|record| record.unsettled) {
        return Err(Failure::failed(format!("the last rotation is not finished: `{}` still has two valid forms", shown(&record.identity)))
            .hint("`windlass deploy` or `windlass resume` finishes it"));
    }
    check_sinks(workspace, &before.plan, node, &secrets)?;
    let planned = if is_drawn.get() {
        before
    } else {
        for action in &secrets {
            let version = input
                .secrets
                .get_mut(&generated_name(&action.id))
                .ok_or_else(|| Failure::failed(format!("`{}` was never made", action.id)).hint("deploy first"))?;
            *version += 1;
        }
        finish(workspace, input, provenance)?
    };
    show(&planned, Format::Text)?;
    confirm(applying)?;
    if !is_drawn.get() {
        // Who is in the middle of something goes first.
        drop(workspace.store.lock(key).await?);
        is_drawn.set(true);
        // From here on the new version is the one that is wanted: whatever cuts this off, the next deployment goes on with it.
        for action in &secrets {
            let value = generate(&action.spec.to_value())?;
            workspace.secrets.write(key, &generated_name(&action.id), &value).await?;
        }
        print::note(&format!("New credentials for `{node}`; the old ones end when everything that uses them is ready."));
    }
    let request = workspace.request(&planned, Verb::Rotate, applying, None)?;
    go(workspace, planned, request, applying, Format::Text).await
}

/// Returns the generated secrets of a node.
fn generated<'p>(plan: &'p Plan, node: &NodeKey) -> Result<Vec<&'p PlannedAction>, Failure> {
    let Some(planned) = plan.nodes().find(|planned| planned.key == *node) else {
        let known: Vec<String> = plan.nodes().map(|planned| planned.key.to_string()).collect();
        let failure = Failure::new(Code::BadInput, format!("there is no `{node}` here"));
        return Err(failure.hint_if(windlass_model::did_you_mean(&node.to_string(), known.iter().map(String::as_str))));
    };
    let secrets: Vec<&PlannedAction> = planned.actions.iter().filter(|action| action.capability == "windlass:secrets/generated").collect();
    if secrets.is_empty() {
        return Err(Failure::new(Code::BadInput, format!("`{node}` has no generated credentials")));
    }
    Ok(secrets)
}

/// A new password helps only where somebody makes it the valid one while the old one is in use.
fn check_sinks(workspace: &Workspace, plan: &Plan, node: &NodeKey, secrets: &[PlannedAction]) -> Result<(), Failure> {
    let wanted: BTreeSet<&ActionId> = secrets.iter().map(|action| &action.id).collect();
    let uses = |action: &PlannedAction| {
        let mut found = false;
        sealed::visit_origins(&action.spec.to_value(), &mut |origin| {
            found |= matches!(origin, Origin::Generated { action, .. } if wanted.contains(action));
        });
        found
    };
    let rotates = plan
        .actions()
        .filter(|action| uses(action))
        .any(|action| workspace.planning.planners.get(&action.capability).is_some_and(|planner| planner.rotates(&action.spec.to_value())));
    if rotates {
        return Ok(());
    }
    Err(Failure::failed(format!("nothing makes a new password of `{node}` the valid one while the old one is in use")).hint(
        "its server reads the password when it is first made; change it there by hand, or use a driver whose logins take turns, such as `postgres-database`",
    ))
}
