//! Finds the name that somebody probably meant.

use serde_json::Value;

/// Says what an unknown field of an object may have been meant to be, by the schema and the place of its keyword that refused it.
#[must_use]
pub fn unknown_field_hint(schema: &Value, keyword: &str, name: &str) -> Option<String> {
    let (object, _) = keyword.rsplit_once('/')?;
    let properties = schema.pointer(object)?.get("properties")?.as_object()?;
    did_you_mean(name, properties.keys().map(String::as_str)).or_else(|| {
        let known = properties.keys().map(String::as_str).collect::<Vec<_>>();
        (!known.is_empty()).then(|| format!("known fields: `{}`", known.join("`, `")))
    })
}

/// Asks whether the known name that a wrong one is nearest to was meant, if any is near.
#[must_use]
pub fn did_you_mean<'n>(wrong: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    nearest(wrong, known).filter(|near| *near != wrong).map(|near| format!("did you mean `{near}`?"))
}

/// Returns the known name that a wrong one is nearest to, if any is near.
fn nearest<'n>(wrong: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |name: &str| name.to_lowercase().replace(['_', '-'], "");
    let wrong = plain(wrong);
    known
        .map(|name| (strsim::damerau_levenshtein(&wrong, &plain(name)), name))
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 4)
        .min()
        .map(|(_, name)| name)
}
