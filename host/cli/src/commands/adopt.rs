//! `adopt`: what exists already becomes part of an environment, without being made again.

use std::path::{Path, PathBuf};

use windlass_engine::{
    apply::{Foreign, Request},
    session::{Ownership, Secret},
};
use windlass_model::{
    ActionId, NodeKey,
    event::Verb,
    identity::shown,
    plan::{Plan, PlannedAction},
    state::{EnvironmentRecord, Status},
};

use super::{
    apply::{confirm, go},
    plan::{again, finish, plan_path, show},
    turn,
};
use crate::{
    arguments::{Applying, Format, Global, Planning},
    changes::{self, Changed},
    exit::{Code, Failure},
    print,
    workspace::{Planned, Workspace},
};

/// Modules have no name of their own: their state is what is taken over.
const MODULES: &str = "windlass:terraform/modules";
/// A state is no bigger than this.
const STATE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is to be taken over.
enum Adopted {
    /// Something that is called so.
    Named(ActionId),
    /// A module's state.
    State(ActionId, PathBuf),
}

pub(crate) async fn adopt(
    global: &Global,
    pairs: &[(String, String)],
    all: bool,
    path: Option<&Path>,
    planning: &Planning,
    applying: &Applying,
) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    turn::take(&workspace, applying, async || adopt_once(&workspace, pairs, all, path, planning, applying).await).await
}

async fn adopt_once(
    workspace: &Workspace,
    pairs: &[(String, String)],
    all: bool,
    path: Option<&Path>,
    planning: &Planning,
    applying: &Applying,
) -> Result<Code, Failure> {
    let planned = match path {
        Some(path) => plan_path(workspace, path, planning).await?,
        None => {
            let key = workspace.find(&planning.environment).await?;
            let (input, provenance) = again(workspace, &key).await?;
            finish(workspace, input, provenance)?
        }
    };
    let adopted = pairs.iter().map(|(resource, name)| meant(&planned.plan, resource, name)).collect::<Result<Vec<_>, _>>()?;
    let mut request = workspace.request(&planned, Verb::Deploy, applying, None)?;
    let engine = workspace.engine();
    let found = engine.foreign(&request).await?;
    let named: Vec<&Foreign> = if all {
        found.iter().collect()
    } else {
        adopted
            .iter()
            .filter_map(|adopted| if let Adopted::Named(id) = adopted { Some(id) } else { None })
            .map(|id| found.iter().find(|foreign| foreign.id == *id).ok_or_else(|| not_there(&planned, id)))
            .collect::<Result<_, _>>()?
    };
    if all && named.is_empty() {
        print::note("Nothing of what the plan would make exists already.");
    }
    report(&named);
    show(&planned, Format::Text)?;
    confirm(applying)?;
    request.take_ownership.extend(named.iter().map(|foreign| foreign.identity.clone()));
    bring_in(workspace, &engine, &request, &adopted).await?;
    go(workspace, planned, request, applying, Format::Text).await
}

/// Brings the states of modules into the store.
async fn bring_in(
    workspace: &Workspace,
    engine: &windlass_engine::apply::Engine,
    request: &Request,
    adopted: &[Adopted],
) -> Result<(), Failure> {
    for adopted in adopted {
        let Adopted::State(id, path) = adopted else { continue };
        let plan = &request.plan;
        let key = plan.environment_key();
        workspace.store.create_environment(&EnvironmentRecord { key, environment_type: plan.environment_type.clone() }).await?;
        let unreadable = |error: std::io::Error| Failure::new(Code::BadInput, format!("{} can't be read: {error}", path.display()));
        if std::fs::metadata(path).map_err(unreadable)?.len() > STATE_BYTES_MAX {
            return Err(Failure::new(Code::BadInput, format!("{} is too big for a state", path.display())));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        engine.adopt(request, id, &Secret::new(text)).await?;
        print::note(&format!("{id} goes on with the state of {}", path.display()));
    }
    Ok(())
}

/// Finds the action of a resource that a name means.
fn meant(plan: &Plan, resource: &str, name: &str) -> Result<Adopted, Failure> {
    let node: NodeKey = super::node(resource)?;
    let Some(planned) = plan.nodes().find(|planned| planned.key == node) else {
        let known: Vec<String> = plan.nodes().map(|planned| planned.key.to_string()).collect();
        let failure = Failure::new(Code::BadInput, format!("there is no `{node}` here"));
        let near = windlass_model::did_you_mean(&node.to_string(), known.iter().map(String::as_str));
        return Err(failure.hint(near.unwrap_or_else(|| format!("known: {}", known.join(", ")))));
    };
    let is_called = |action: &&PlannedAction| {
        let shown = shown(&action.identity);
        shown == name || action.identity == name || shown.rsplit('/').next() == Some(name)
    };
    if let Some(module) = planned.actions.iter().find(|action| action.capability == MODULES) {
        return Ok(Adopted::State(module.id.clone(), PathBuf::from(name)));
    }
    let called: Vec<&PlannedAction> = planned.actions.iter().filter(is_called).collect();
    match called.as_slice() {
        [action] => Ok(Adopted::Named(action.id.clone())),
        [] => {
            let names: Vec<String> = planned.actions.iter().map(|action| format!("`{}`", shown(&action.identity))).collect();
            Err(Failure::new(Code::BadInput, format!("`{node}` makes nothing that is called `{name}`, but {}", names.join(", ")))
                .hint("names follow from the definition's inputs and the resource's params: give the name there"))
        }
        several => {
            let names: Vec<String> = several.iter().map(|action| format!("`{}`", shown(&action.identity))).collect();
            Err(Failure::usage(format!("`{name}` may be {}", names.join(" or "))).hint("write the whole name"))
        }
    }
}

fn not_there(planned: &Planned, id: &ActionId) -> Failure {
    if planned.input.recorded.actions.get(id).is_some_and(|record| record.status == Status::Live) {
        return Failure::failed(format!("`{id}` is ours already"));
    }
    let identity = planned.plan.action(id).map(|action| shown(&action.identity)).unwrap_or_default();
    Failure::failed(format!("`{identity}` does not exist")).hint("`windlass deploy` makes it")
}

/// Says whose things are and what would change.
fn report(found: &[&Foreign]) {
    for foreign in found {
        let whose = match &foreign.owner {
            Ownership::Other(whose) => format!("of {whose}"),
            Ownership::None | Ownership::Ours => "of nobody that is known".to_owned(),
        };
        print::note(&format!("Taking over {} ({whose})", shown(&foreign.identity)));
        for line in changes::lines(foreign.fields.iter().map(Changed::restored), None) {
            print::note(&format!("    {line}"));
        }
        if foreign.fields.is_empty() {
            print::note("    as planned");
        }
    }
}
