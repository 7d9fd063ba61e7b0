//! `release` and `deletable`: what happens to things when they leave.

use std::collections::BTreeSet;

use windlass_model::{
    NodeKey,
    identity::shown,
    platform::OnRemove,
    state::{RecordedAction, Status},
};

use super::plan::plan_destroy;
use crate::{
    arguments::{Environment, Format, Global},
    exit::{Code, Failure},
    print,
    workspace::{self, Workspace},
};

pub(crate) async fn release(global: &Global, resource: &str, environment: &Environment) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    let node = super::node(resource)?;
    let state = workspace.state(&key).await?;
    let of_node: Vec<&RecordedAction> =
        state.recorded.actions.values().filter(|action| action.id.node().is_ok_and(|of| of == node)).collect();
    if of_node.is_empty() {
        return Err(
            Failure::new(Code::BadInput, format!("nothing of `{node}` is recorded in `{key}`")).hint("`windlass env show` lists what is")
        );
    }
    if of_node.iter().all(|action| action.status != Status::Retained) {
        return Err(Failure::failed(format!("`{node}` is still deployed: the next deployment would want it back"))
            .hint("take it out of the application, with `onRemove: retain` in its definition, and deploy; then release what stayed"));
    }
    let released = workspace.engine().release(&workspace::actor(), &key, &node).await?;
    for action in &released {
        print::note(&format!("{} is nobody's now; it stays as it is", shown(&action.identity)));
    }
    Ok(Code::Done)
}

/// One thing that would go, or stay.
struct Fate<'r> {
    action: &'r RecordedAction,
    what: &'static str,
}

pub(crate) async fn deletable(global: &Global, resource: Option<&str>, environment: &Environment, format: Format) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    let state = workspace.state(&key).await?;
    let planned = plan_destroy(&workspace, &key).await?;
    let node = resource.map(super::node).transpose()?;
    let is_meant = |action: &RecordedAction| node.as_ref().is_none_or(|node| action.id.node().is_ok_and(|of| of == *node));
    let users = node.as_ref().map(|node| users(&state.recorded.actions, node)).unwrap_or_default();
    let mut fates = Vec::new();
    for action in state.recorded.actions.values().filter(|action| is_meant(action)) {
        let destroy = planned.plan.destroys.iter().find(|destroy| destroy.id == action.id);
        let what = match destroy {
            Some(destroy) if destroy.guarded => "data: needs --allow-destroy",
            Some(destroy) if destroy.act == OnRemove::Retain && action.on_remove == OnRemove::Delete => "stays: it holds what stays",
            Some(destroy) if destroy.act == OnRemove::Retain => "stays: onRemove is retain",
            Some(destroy) if destroy.holds_data => "data: would be lost",
            Some(_) => "goes",
            None => "stays: retained before",
        };
        fates.push(Fate { action, what });
    }
    if fates.is_empty() {
        return Err(Failure::new(Code::BadInput, "nothing of that is recorded".to_owned()).hint("`windlass env show` lists what is"));
    }
    let blocked = !users.is_empty() || fates.iter().any(|fate| fate.what.starts_with("data: needs"));
    if format == Format::Text {
        if !users.is_empty() {
            print::note(&format!("In use by {}", users.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
        }
        let rows = fates.iter().map(|fate| vec![shown(&fate.action.identity), fate.what.to_owned()]).collect();
        print::table(&["object", "when it leaves"], rows)?;
    } else {
        let entries: Vec<serde_json::Value> = fates
            .iter()
            .map(|fate| serde_json::json!({ "id": fate.action.id, "object": shown(&fate.action.identity), "fate": fate.what, "holdsData": fate.action.holds_data }))
            .collect();
        print::structured(format, &serde_json::json!({ "usedBy": users, "actions": entries, "deletable": !blocked }))?;
    }
    Ok(if blocked { Code::Policy } else { Code::Done })
}

/// Finds the nodes whose actions come behind those of a node.
fn users(actions: &std::collections::BTreeMap<windlass_model::ActionId, RecordedAction>, node: &NodeKey) -> BTreeSet<NodeKey> {
    actions
        .values()
        .filter(|action| action.status == Status::Live && action.depends_on.iter().any(|id| id.node().is_ok_and(|of| of == *node)))
        .filter_map(|action| action.id.node().ok())
        .filter(|user| user != node)
        .collect()
}
