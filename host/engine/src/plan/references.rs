//! Which names a node may use: those of its own objects, those that came in as values, and those that its grant lists.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;
use windlass_model::{
    ActionId, Diagnostic, NodeKey,
    plan::{PlannedAction, SecretFlow},
    platform::{PolicyException, is_at_or_beneath, permits_host, permits_use},
    reference::{Reference, ReferenceKind, ReferenceName},
    sealed::{Origin, Sealed, View},
};

use super::NodeOutcome;
use crate::planner::Authority;

/// The resource type whose outputs are the host names of an environment.
const HOST_TYPE: &str = "dns";

/// A reference in an action's spec, and what the driver that wrote it was granted.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub action: ActionId,
    pub reference: Reference,
    pub authority: std::sync::Arc<Authority>,
}

/// What the nodes behind a node yielded.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'o> {
    pub depends_on: &'o [NodeKey],
    pub outcomes: &'o BTreeMap<NodeKey, NodeOutcome>,
}

/// Checks every reference of a node; returns how secrets of other nodes are handed on by their names.
///
/// # Errors
///
/// One finding for each reference that nothing entitles the node to.
pub(crate) fn check(actions: &[PlannedAction], claims: &[Claim], sources: Sources<'_>) -> Result<Vec<SecretFlow>, Vec<Diagnostic>> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let own: HashSet<&str> =
        actions.iter().flat_map(|action| std::iter::once(&action.identity).chain(&action.yields)).map(String::as_str).collect();
    let mut flows = Vec::new();
    let mut problems = Vec::new();
    for claim in claims {
        match entitled(claim, &own, sources) {
            Entitled::Own => {}
            Entitled::From(from) if claim.reference.kind.is_secret() => {
                flows.push(SecretFlow { from, pointer: claim.reference.pointer.clone(), to: claim.action.clone() });
            }
            Entitled::From(_) => {}
            Entitled::No => problems.push(refusal(claim)),
        }
    }
    flows.sort();
    flows.dedup();
    if problems.is_empty() { Ok(flows) } else { Err(problems) }
}

/// Why a node may use a name.
enum Entitled {
    /// The node makes what is named.
    Own,
    /// It came in from here.
    From(String),
    /// Nothing permits it.
    No,
}

fn entitled(claim: &Claim, own: &HashSet<&str>, sources: Sources<'_>) -> Entitled {
    let Claim { reference, authority, .. } = claim;
    let name = match &reference.name {
        ReferenceName::Sealed(_) if reference.kind == ReferenceKind::Host => {
            return if permits_host(&authority.hosts, "*") { Entitled::Own } else { Entitled::No };
        }
        ReferenceName::Sealed(sealed) => return if is_reported(sealed) { Entitled::From(sealed.label()) } else { Entitled::No },
        ReferenceName::Text(name) => name,
    };
    match &reference.kind {
        ReferenceKind::Host if permits_host(&authority.hosts, name) || Search::new(sources).host(name) => Entitled::Own,
        ReferenceKind::Host => Entitled::No,
        ReferenceKind::Foreign(kind) => {
            let is_listed = permits_use(&authority.uses, kind, reference.namespace.as_deref(), name);
            let is_open = authority.exceptions.contains(&PolicyException::ForeignNamespaces);
            if is_listed || is_open {
                Entitled::From(format!("{kind}/{}/{name}", reference.namespace.as_deref().unwrap_or_default()))
            } else {
                Entitled::No
            }
        }
        kind => {
            let identity = reference.identity().unwrap_or_default();
            if own.contains(identity.as_str()) {
                Entitled::Own
            } else if permits_use(&authority.uses, kind.as_str(), None, name) {
                Entitled::From(format!("{}/{name}", kind.as_str()))
            } else {
                Search::new(sources).owner(&identity, name).map_or(Entitled::No, |owner| Entitled::From(owner.to_string()))
            }
        }
    }
}

/// Returns whether a sealed name is one that a system reported, not one that a driver could have written into a field of its own.
fn is_reported(sealed: &Sealed) -> bool {
    sealed.single().is_some_and(|part| match &part.origin {
        Origin::Action { id, output } => match id.kind() {
            "object" => output.starts_with("/status/"),
            kind => kind == "module",
        },
        // A later plan, which knows the value, has the last word.
        Origin::Output { .. } => true,
        Origin::Derived { of, op } => View::of(op).is_some() && matches!(of.as_ref(), [of] if is_reported(of)),
        Origin::Generated { .. } | Origin::External { .. } => false,
    })
}

/// Looks through the outputs of the nodes behind a node: from each to those that it has a value from.
struct Search<'o> {
    sources: Sources<'o>,
    seen: BTreeSet<&'o NodeKey>,
}

impl<'o> Search<'o> {
    fn new(sources: Sources<'o>) -> Self {
        Self { sources, seen: BTreeSet::new() }
    }

    /// Finds the action that makes an object, if its name came in through the outputs of every node between.
    fn owner(&mut self, identity: &str, name: &str) -> Option<&'o ActionId> {
        let holds = |text: &str| text == name;
        self.find(self.sources.depends_on, &holds, &mut |outcome| {
            let makes = |action: &&PlannedAction| action.identity == identity || action.yields.iter().any(|made| made == identity);
            outcome.node.actions.iter().find(makes).map(|action| &action.id)
        })
    }

    /// Returns whether a host name is one of a `dns` resource, or lies beneath it.
    fn host(&mut self, name: &str) -> bool {
        let holds = |text: &str| !text.is_empty() && is_at_or_beneath(name, text);
        let mut is_dns =
            |outcome: &NodeOutcome| matches!(&outcome.node.key, NodeKey::Resource(key) if key.r#type.as_str() == HOST_TYPE).then_some(());
        self.find(self.sources.depends_on, &holds, &mut is_dns).is_some()
    }

    fn find<R>(
        &mut self,
        nodes: &'o [NodeKey],
        holds: &dyn Fn(&str) -> bool,
        accept: &mut dyn FnMut(&'o NodeOutcome) -> Option<R>,
    ) -> Option<R> {
        for key in nodes {
            if !self.seen.insert(key) {
                continue;
            }
            let Some(outcome) = self.sources.outcomes.get(key) else { continue };
            if !outcome.node.outputs.values().any(|output| contains(output, holds)) {
                continue;
            }
            if let Some(found) = accept(outcome).or_else(|| self.find(&outcome.node.depends_on, holds, accept)) {
                return Some(found);
            }
        }
        None
    }
}

/// Returns whether any text in a value is what is looked for.
fn contains(value: &Value, holds: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => holds(text),
        Value::Array(items) => items.iter().any(|item| contains(item, holds)),
        Value::Object(fields) => Sealed::from_json(value).is_none() && fields.values().any(|field| contains(field, holds)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn refusal(claim: &Claim) -> Diagnostic {
    let Reference { kind, namespace, name, pointer } = &claim.reference;
    let name = match name {
        ReferenceName::Text(name) => name.clone(),
        ReferenceName::Sealed(sealed) => sealed.display(),
    };
    let (code, message, hint) = match kind {
        ReferenceKind::Host if name == "*" => (
            "policy-host",
            "traffic of every host name would be taken".to_owned(),
            "name the host, or list `*` under `hosts` in the grant".to_owned(),
        ),
        ReferenceKind::Host => (
            "policy-host",
            format!("the host name `{name}` is not of a `dns` resource of this environment"),
            format!("use `${{resources.ALIAS.host}}` of a resource of type `dns`, or list `{name}` under `hosts` in the grant"),
        ),
        ReferenceKind::Foreign(kind) => {
            let namespace = namespace.as_deref().unwrap_or("a namespace that is not known");
            (
                "policy-foreign-reference",
                format!("the {kind} `{name}` is of the namespace `{namespace}`"),
                format!("list `{kind}/{namespace}/{name}` under `uses` in the grant"),
            )
        }
        kind => (
            "policy-reference",
            format!("the {} `{name}` is neither of this node nor a value that a dependency yields", kind.as_str()),
            format!(
                "let the resource that makes it yield its name as an output, or list `{}/{name}` under `uses` in the grant",
                kind.as_str()
            ),
        ),
    };
    Diagnostic::error(code, message).on(&claim.action).at(pointer.clone()).hint(hint)
}

#[cfg(test)]
mod tests;
