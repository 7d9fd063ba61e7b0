//! Whose an object is: our mark, added at the sink and never part of a plan, and the marks of others.

use data_encoding::BASE32_NOPAD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use windlass_engine::session::{Owner, Ownership};

/// The label by which everything of an environment is listed.
pub const LABEL_OWNER: &str = "windlass.dev/owner";
/// The annotation that holds the mark in full.
pub(crate) const ANNOTATION_MARK: &str = "windlass.dev/mark";
/// A label holds 63 characters; 26 of base32 are 130 bits.
const LABEL_CHARS: usize = 26;

/// Returns the label's value: the start of the mark's SHA-256 in base32.
#[must_use]
pub fn owner_label(owner: &Owner) -> String {
    BASE32_NOPAD.encode(&Sha256::digest(owner.to_string().as_bytes())).to_lowercase().chars().take(LABEL_CHARS).collect()
}

/// Returns the query of a list or a watch that selects everything of an owner.
pub(crate) fn selector(owner: &Owner) -> String {
    format!("labelSelector={}%3D{}", LABEL_OWNER.replace('/', "%2F"), owner_label(owner))
}

/// Puts the mark on a manifest.
pub(crate) fn mark(manifest: &mut Value, owner: &Owner) {
    let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    for (field, key, value) in [("labels", LABEL_OWNER, owner_label(owner)), ("annotations", ANNOTATION_MARK, owner.to_string())] {
        if let Value::Object(entries) = metadata.entry(field).or_insert_with(|| Value::Object(Map::new())) {
            entries.insert(key.to_owned(), json!(value));
        }
    }
}

/// What an object says about whose it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    /// The tool that manages it.
    tool: Option<String>,
    /// The mark of a Windlass environment.
    mark: Option<String>,
}

impl Marks {
    /// Reads an object's metadata.
    pub(crate) fn of(metadata: &Value) -> Self {
        Self { tool: other_tool(metadata), mark: annotation(metadata, ANNOTATION_MARK).map(str::to_owned) }
    }

    /// Returns how many bytes its texts take.
    pub(crate) fn bytes(&self) -> usize {
        [&self.tool, &self.mark].into_iter().flatten().map(String::len).sum()
    }

    /// Tells whose it is, seen by an owner.
    pub(crate) fn ownership(&self, owner: &Owner) -> Ownership {
        match (&self.tool, &self.mark) {
            (Some(tool), _) => Ownership::Other(tool.clone()),
            (None, Some(mark)) if *mark == owner.to_string() => Ownership::Ours,
            (None, Some(mark)) => Ownership::Other(format!("the Windlass environment `{mark}`")),
            (None, None) => Ownership::None,
        }
    }
}

pub(crate) fn annotation<'m>(metadata: &'m Value, key: &str) -> Option<&'m str> {
    metadata.get("annotations")?.get(key)?.as_str()
}

fn label<'m>(metadata: &'m Value, key: &str) -> Option<&'m str> {
    metadata.get("labels")?.get(key)?.as_str()
}

/// Names the tool that manages an object, by the marks that it leaves.
fn other_tool(metadata: &Value) -> Option<String> {
    if let Some(id) = annotation(metadata, "argocd.argoproj.io/tracking-id") {
        return Some(format!("Argo CD (application `{}`)", id.split(':').next().unwrap_or(id)));
    }
    for (kind, tool) in [("kustomize", "Flux (Kustomization"), ("helm", "Flux (HelmRelease")] {
        if let Some(name) = label(metadata, &format!("{kind}.toolkit.fluxcd.io/name")) {
            let namespace = label(metadata, &format!("{kind}.toolkit.fluxcd.io/namespace")).unwrap_or_default();
            return Some(format!("{tool} `{namespace}/{name}`)"));
        }
    }
    if let Some(name) = annotation(metadata, "meta.helm.sh/release-name") {
        let namespace = annotation(metadata, "meta.helm.sh/release-namespace").unwrap_or_default();
        return Some(format!("Helm (release `{namespace}/{name}`)"));
    }
    let managers = metadata.get("managedFields").and_then(Value::as_array);
    managers.into_iter().flatten().filter_map(|entry| entry.get("manager").and_then(Value::as_str)).find_map(|manager| match manager {
        "argocd-controller" => Some("Argo CD".to_owned()),
        "kustomize-controller" | "helm-controller" => Some("Flux".to_owned()),
        "helm" => Some("Helm".to_owned()),
        "Terraform" => Some("Terraform".to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            installation: "0b1f".into(),
            environment: windlass_model::state::EnvironmentKey {
                application: "shop".parse().unwrap(),
                environment: "dev".parse().unwrap(),
            },
        }
    }

    #[test]
    fn what_we_mark_is_ours_and_nothing_else_is() {
        let mut manifest = json!({ "metadata": { "name": "x", "labels": { "a": "b" } } });
        mark(&mut manifest, &owner());
        let metadata = manifest["metadata"].clone();
        assert_eq!(Marks::of(&metadata).ownership(&owner()), Ownership::Ours);
        assert_eq!(metadata["labels"][LABEL_OWNER].as_str().unwrap().len(), 26);
        assert_eq!(metadata["annotations"][ANNOTATION_MARK], "0b1f/shop/dev");
        let other = Owner { installation: "ffff".into(), ..owner() };
        assert_eq!(Marks::of(&metadata).ownership(&other), Ownership::Other("the Windlass environment `0b1f/shop/dev`".into()));
        assert_eq!(Marks::of(&json!({})).ownership(&owner()), Ownership::None);
    }

    #[test]
    fn other_tools_are_named_even_over_our_mark() {
        let say = |metadata: Value| match Marks::of(&metadata).ownership(&owner()) {
            Ownership::Other(who) => who,
            other => format!("{other:?}"),
        };
        assert_eq!(
            say(
                json!({ "annotations": { "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:x/y", (ANNOTATION_MARK): "0b1f/shop/dev" } })
            ),
            "Argo CD (application `shop`)"
        );
        assert_eq!(
            say(json!({ "labels": { "kustomize.toolkit.fluxcd.io/name": "a", "kustomize.toolkit.fluxcd.io/namespace": "b" } })),
            "Flux (Kustomization `b/a`)"
        );
        assert_eq!(
            say(json!({ "annotations": { "meta.helm.sh/release-name": "a", "meta.helm.sh/release-namespace": "b" } })),
            "Helm (release `b/a`)"
        );
        assert_eq!(say(json!({ "managedFields": [{ "manager": "Terraform" }] })), "Terraform");
    }
}
