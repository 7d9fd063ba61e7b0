//! References to secrets that others keep, as people write them into a definition: `vault:MOUNT/PATH#FIELD`.
//!
//! Only text of the definition itself is a reference. A value that a placeholder brings in may come from a developer; it stays text.

use std::collections::BTreeSet;

use serde_json::Value;
use windlass_model::{
    Diagnostic, Spec,
    name::DocumentName,
    plan::Plan,
    platform::Family,
    pointer::Pointer,
    sealed::{self, Encoding, Origin, Sealed},
    store_reference::{self, Written},
};

use super::{Connections, expand::SECRETS};

/// How an origin that a store keeps is written.
const EXTERNAL: &str = "\"external\"";

/// Puts sealed values into an expanded value, wherever its template is a reference.
///
/// # Errors
/// A reference that holds placeholders, or no store of secrets to read from; with the place in the document.
pub(crate) fn seal(template: &Value, value: &mut Value, connections: &Connections<'_>, at: &Pointer<'_>) -> Result<(), Diagnostic> {
    match (template, value) {
        (Value::String(text), value) => {
            let Some(written) = store_reference::written(text) else { return Ok(()) };
            let Written::Reference(reference) = written else { return Err(with_placeholders(text).at(at.to_string())) };
            let (connection, _) = connections.of(Family::SecretStore, None).map_err(|problem| problem.at(at.to_string()))?;
            let origin = Origin::External { connection: connection.to_string(), reference: reference.to_owned(), version: None };
            *value = Sealed::of(origin, true, Encoding::Json).to_json();
            Ok(())
        }
        (Value::Array(templates), Value::Array(items)) => {
            let mut both = templates.iter().zip(items).enumerate();
            both.try_for_each(|(index, (template, item))| seal(template, item, connections, &at.element(index)))
        }
        (Value::Object(templates), Value::Object(fields)) => templates.iter().try_for_each(|(name, template)| {
            let field = fields.get_mut(&sealed::escape_key(name));
            field.map_or(Ok(()), |field| seal(template, field, connections, &at.field(name)))
        }),
        _ => Ok(()),
    }
}

fn with_placeholders(text: &str) -> Diagnostic {
    Diagnostic::error("reference-placeholder", format!("the reference `{text}` to a secret holds a placeholder"))
        .hint("write the whole reference into the definition; one definition for each environment, told apart by `match`")
}

/// A secret that a connection's system keeps, not our own store.
pub(crate) type Kept = (DocumentName, String);

/// Tells whether a spec may need a secret of others; false is certain, and found out without a tree.
pub(crate) fn may_be_kept(spec: &Spec) -> bool {
    spec.may_be_sealed() && spec.as_str().contains(EXTERNAL)
}

/// Lists the secrets of others that a spec needs.
pub(crate) fn kept(spec: &Spec) -> BTreeSet<Kept> {
    let mut found = BTreeSet::new();
    if !may_be_kept(spec) {
        return found;
    }
    sealed::visit_origins(&spec.to_value(), &mut |origin| found.extend(kept_by(origin)));
    found
}

/// Reads an origin that another system keeps.
pub(crate) fn kept_by(origin: &Origin) -> Option<Kept> {
    match origin {
        Origin::External { connection, reference, .. } if connection != SECRETS => Some((connection.parse().ok()?, reference.clone())),
        _ => None,
    }
}

/// Lists the connections to stores that a plan's values are read through.
#[must_use]
pub fn stores(plan: &Plan) -> BTreeSet<DocumentName> {
    plan.actions().flat_map(|action| kept(&action.spec)).map(|(connection, _)| connection).collect()
}
