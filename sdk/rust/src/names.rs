//! Names of Kubernetes objects: one rule for all drivers.
//!
//! Parts are joined with `-`, lower-cased, everything else turned into `-`. Where that changed the
//! text, or it is longer than a label may be, eight digits of its hash are put behind it, so that
//! different parts never become one name.

use sha2::{Digest, Sha256};

use crate::resource::{Context, ResourceKey};

/// Longest name: an RFC 1123 label.
pub const NAME_CHARS_MAX: usize = 63;
/// Longest name of what a controller makes further objects of: it puts up to eleven characters behind it (`-858f698d76`) and writes
/// that into a label. A StatefulSet of a longer name never gets a pod, a CronJob is refused.
pub const CONTROLLED_CHARS_MAX: usize = 52;

/// Joins parts to a name.
pub fn name(parts: &[&str]) -> String {
    name_within(parts, NAME_CHARS_MAX)
}

/// Joins parts to a name of at most so many characters; 16 or more.
pub fn name_within(parts: &[&str], chars_max: usize) -> String {
    let joined = parts.join("-");
    let mut clean: String = joined.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    // A dot is the ordinary separator of private ids (`web.db`): turning it into `-` alone adds no hash.
    let changed =
        joined.chars().any(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')) || joined.matches('.').count() > 1;
    let trimmed = clean.trim_matches('-').len() != clean.len();
    clean = clean.trim_matches('-').to_owned();
    if changed || trimmed || clean.len() > chars_max || clean.is_empty() {
        let digest = Sha256::digest(joined.as_bytes());
        let hash: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        clean.truncate(chars_max - 1 - hash.len());
        let clean = clean.trim_matches('-');
        return if clean.is_empty() { format!("x-{hash}") } else { format!("{clean}-{hash}") };
    }
    clean
}

/// Names the objects of a resource: `type-id`, with the class between them if it is not `default`. Any kind can have this name, and
/// there is room for a suffix of the driver's (`-data`).
pub fn of_resource(key: &ResourceKey) -> String {
    let (kind, class, id) = (key.r#type.as_str(), key.class.as_str(), key.id.as_str());
    if class == "default" { name_within(&[kind, id], CONTROLLED_CHARS_MAX) } else { name_within(&[kind, class, id], CONTROLLED_CHARS_MAX) }
}

/// Eight digits that change when, and only when, a text does: for names of objects that can't be changed.
pub fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a label value of any text: cut with a hash where it doesn't fit.
pub fn label_value(text: &str) -> String {
    let fits = text.len() <= NAME_CHARS_MAX
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && text.chars().next().is_none_or(|c| c.is_ascii_alphanumeric())
        && text.chars().last().is_none_or(|c| c.is_ascii_alphanumeric());
    if fits { text.to_owned() } else { name(&[text]) }
}

/// The recommended labels of an object that belongs to a resource.
pub fn resource_labels(context: &Context, key: &ResourceKey) -> serde_json::Value {
    serde_json::json!({
        "app.kubernetes.io/name": label_value(&key.r#type),
        "app.kubernetes.io/instance": of_resource(key),
        "app.kubernetes.io/part-of": context.application,
        "app.kubernetes.io/managed-by": "windlass",
    })
}

/// What selectors carry: they can't be changed later.
pub fn resource_selector(context: &Context, key: &ResourceKey) -> serde_json::Value {
    serde_json::json!({
        "windlass.dev/application": context.application,
        "windlass.dev/environment": context.environment,
        "windlass.dev/resource": of_resource(key),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ResourceKey {
        let (address, id) = text.split_once('#').unwrap();
        let (r#type, class) = address.split_once('.').unwrap_or((address, "default"));
        ResourceKey { r#type: r#type.into(), class: class.into(), id: id.into() }
    }

    #[test]
    fn different_parts_never_share_a_name() {
        assert_eq!(of_resource(&key("postgres#web.db")), "postgres-web-db");
        assert_eq!(of_resource(&key("postgres#main-db")), "postgres-main-db");
        assert_ne!(of_resource(&key("Postgres#db")), of_resource(&key("postgres#db")));
        assert_ne!(of_resource(&key("postgres#a.b.c")), of_resource(&key("postgres#a-b-c")));
        let long = of_resource(&key(&format!("postgres#{}", "x".repeat(100))));
        assert_eq!(long.len(), CONTROLLED_CHARS_MAX, "{long}");
        assert_eq!(label_value("1.27-alpine"), "1.27-alpine");
        assert!(label_value("sha256:abc").starts_with("sha256-abc-"));
    }
}
