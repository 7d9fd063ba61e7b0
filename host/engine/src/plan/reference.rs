//! References to secrets that others keep, as people write them into a definition: `vault:MOUNT/PATH#FIELD`.

use std::collections::BTreeSet;

use serde_json::Value;
use windlass_model::{
    Diagnostic, Spec,
    name::DocumentName,
    plan::Plan,
    platform::Family,
    sealed::{self, Encoding, Origin, Sealed},
};

use super::{Connections, expand::SECRETS};

/// What a reference begins with.
const SCHEME: &str = "vault:";
/// How an origin that a store keeps is written.
const EXTERNAL: &str = "\"external\"";
/// What stands before the field.
const FIELD: char = '#';

/// Puts sealed values in the place of references; a value that only looks like one stays as it is.
pub(crate) fn seal(value: &mut Value, connections: &Connections<'_>) -> Result<(), Diagnostic> {
    match value {
        Value::String(text) => {
            if let Some(reference) = parse(text) {
                let (connection, _) = connections.of(Family::SecretStore, None)?;
                let origin = Origin::External { connection: connection.to_string(), reference: reference.to_owned(), version: None };
                *value = Sealed::of(origin, true, Encoding::Json).to_json();
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| seal(item, connections)),
        Value::Object(fields) => fields.values_mut().try_for_each(|field| seal(field, connections)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// Returns what stands behind the scheme, if the text is a reference.
fn parse(text: &str) -> Option<&str> {
    let reference = text.strip_prefix(SCHEME)?;
    let (path, field) = reference.split_once(FIELD)?;
    let fits = |part: &str, more: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    (fits(path, "/_-.+=@") && fits(field, "_-.")).then_some(reference)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_references_are_read() {
        assert_eq!(parse("vault:secret/shop/smtp#password"), Some("secret/shop/smtp#password"));
        for text in ["vault:secret/shop", "vault:#password", "vault:a b#c", "see vault:secret/a#b", "vault:secret/a#b c", "vault:secret/a#"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
