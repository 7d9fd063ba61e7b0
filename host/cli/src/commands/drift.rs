//! `drift`: what is not as it was left, field by field, and by whom.

use windlass_engine::{
    apply::{ApplyError, Drift, Found, Unseen},
    session::{Ownership, Phase},
};
use windlass_model::identity::shown;

use crate::{
    arguments::{Environment, Format, Global},
    changes::{self, Changed},
    exit::{Code, Failure},
    page::Page,
    print,
    workspace::{self, Workspace},
};

pub(crate) async fn drift(global: &Global, environment: &Environment, format: Format, detailed: bool) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    let drift = workspace.engine().drift(&workspace::actor(), &key).await?;
    match format {
        Format::Text => report(&drift).print()?,
        format => print::structured(format, &entries(&drift))?,
    }
    let changes = detailed && !drift.found.is_empty();
    // What could not be looked at may be anything.
    match drift.unseen.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(if changes { Code::Changes } else { Code::Done }),
    }
}

/// Writes everything of a look as data, an object for each finding.
pub(crate) fn entries(drift: &Drift) -> Vec<serde_json::Value> {
    let found = drift.found.iter().map(entry);
    found.chain(drift.unseen_fields.iter().map(unseen_field)).chain(drift.unseen.iter().map(unseen)).collect()
}

fn unseen_field(unseen: &Unseen) -> serde_json::Value {
    let Unseen { id, identity, field } = unseen;
    serde_json::json!({ "id": id, "object": shown(identity), "state": "unseen", "field": field.pointer, "error": field.reason })
}

fn unseen(error: &ApplyError) -> serde_json::Value {
    serde_json::json!({ "state": "unseen", "error": error.to_string() })
}

fn entry(found: &Found) -> serde_json::Value {
    serde_json::json!({
        "id": found.id, "object": shown(&found.identity), "state": state(found), "owner": owner(found), "fields": found.fields,
    })
}

fn state(found: &Found) -> &'static str {
    match (found.phase, &found.owner) {
        (Phase::Absent, _) => "gone",
        (Phase::Deleting, _) => "deleting",
        (Phase::Present, Ownership::Ours) => "changed",
        (Phase::Present, Ownership::Other(_) | Ownership::None) => "taken",
    }
}

fn owner(found: &Found) -> Option<&str> {
    match &found.owner {
        Ownership::Other(owner) => Some(owner),
        Ownership::Ours | Ownership::None => None,
    }
}

/// Writes what is not as it was left.
pub(crate) fn report(drift: &Drift) -> Page {
    let mut page = Page::default();
    if drift.found.is_empty() && drift.unseen.is_empty() {
        page.line(if drift.unseen_fields.is_empty() {
            "In the world: everything is as it was left."
        } else {
            "In the world: everything that can be compared is as it was left."
        });
        unseen_fields(&mut page, drift);
        return page;
    }
    page.line("In the world:");
    drift.unseen.iter().for_each(|error| page.paragraph(format_args!("  unseen   {error}")));
    unseen_fields(&mut page, drift);
    for one in &drift.found {
        let whose = owner(one).map(|owner| format!("  by {owner}")).unwrap_or_default();
        page.line(format_args!("  {:<8} {}{whose}", state(one), shown(&one.identity)));
        let lines = changes::lines(one.fields.iter().map(Changed::drifted), None);
        page.lines(lines.iter().map(|line| format!("      {line}")));
    }
    page
}

fn unseen_fields(page: &mut Page, drift: &Drift) {
    for Unseen { identity, field, .. } in &drift.unseen_fields {
        page.paragraph(format_args!("  unseen   {} {}: {}", shown(identity), field.pointer, field.reason));
    }
}
