//! What is wanted, whatever exists: the digest that is the memo's key.

use std::collections::BTreeMap;

use serde_json::Value;
use windlass_model::{
    Diagnostic, Digest,
    platform::{DriverReference, LayerName, Layers},
};
use windlass_resolve::{Effective, Graph, Maker, NodeKind};

use super::{PlanInput, bug};

/// Where the pipeline of a workload stands in the document of its profile.
const PIPELINE: &str = "/1";

/// Collects the documents that won, by `Kind/name`.
#[must_use]
pub fn platform_documents(graph: &Graph<'_>, layers: &Layers) -> BTreeMap<String, Value> {
    let mut documents = BTreeMap::new();
    let mut add = |key: String, document: Result<Value, serde_json::Error>| {
        documents.entry(key).or_insert(document.unwrap_or(Value::Null));
    };
    for (key, node) in &graph.nodes {
        match &node.kind {
            NodeKind::Resource { maker: Maker::Definition { definition, .. }, .. } => {
                add(format!("ResourceDefinition/{}", definition.name()), serde_json::to_value(definition))
            }
            NodeKind::Resource { maker: Maker::Host(_) | Maker::Unknown, .. } => {}
            NodeKind::Workload { profile, stages, .. } => {
                if let Some((_, profile, _)) = profile {
                    add(
                        format!("WorkloadProfile/{}", profile.name()),
                        serde_json::to_value((profile, stages.iter().map(|(_, stage)| stage).collect::<Vec<_>>())),
                    );
                }
            }
        }
        if let windlass_model::NodeKey::Resource(resource) = key
            && let Some(kind) = resource_type(layers, resource.r#type.as_str())
        {
            add(format!("ResourceType/{}", kind.name()), serde_json::to_value(kind));
        }
    }
    if let Some(environment_type) = graph.environment_type {
        add(format!("EnvironmentType/{}", environment_type.name()), serde_json::to_value(environment_type));
    }
    documents
}

/// Finds a type's document in the strongest layer that has it.
pub(crate) fn resource_type<'l>(layers: &'l Layers, name: &str) -> Option<&'l windlass_model::platform::ResourceType> {
    layers.0.iter().find_map(|(_, platform)| platform.resource_types.get(name))
}

/// Finds a component: in the layer of the document that names it, then in weaker ones for built-in drivers.
pub(crate) fn component(layers: &Layers, layer: LayerName, reference: &DriverReference) -> Option<Digest> {
    let own = layers.0.iter().find(|(name, _)| *name == layer).and_then(|(_, platform)| platform.component(reference));
    own.or_else(|| match reference {
        DriverReference::Builtin(_) => layers.0.iter().find_map(|(_, platform)| platform.component(reference)),
        DriverReference::File(_) | DriverReference::Digest(_) => None,
    })
}

/// Lists the components that the graph uses.
pub(crate) fn components(graph: &Graph<'_>, layers: &Layers) -> Result<BTreeMap<String, Digest>, Vec<Diagnostic>> {
    let mut components = BTreeMap::new();
    let mut problems = Vec::new();
    let mut add = |subject: String, layer: LayerName, reference: &DriverReference| match component(layers, layer, reference) {
        Some(digest) => {
            components.insert(reference.component_key(), digest);
        }
        None => problems.push(
            Diagnostic::error("driver-missing", format!("the component `{}` is not to be had", reference.component_key()))
                .on(subject)
                .hint(match reference {
                    DriverReference::Builtin(_) => "`windlass platform list` shows the built-in drivers",
                    DriverReference::File(_) | DriverReference::Digest(_) => "build it, and check the path",
                }),
        ),
    };
    for (key, node) in &graph.nodes {
        match &node.kind {
            NodeKind::Resource { maker: Maker::Definition { layer, definition, .. }, .. } => {
                add(format!("ResourceDefinition/{}", definition.name()), *layer, &definition.spec.driver)
            }
            NodeKind::Resource { maker: Maker::Host(_) | Maker::Unknown, .. } => {}
            NodeKind::Workload { stages, .. } => stages.iter().for_each(|(layer, stage)| add(key.to_string(), *layer, &stage.driver)),
        }
    }
    problems.sort();
    problems.dedup();
    if problems.is_empty() { Ok(components) } else { Err(problems) }
}

/// Lists what the grants of documents name in a field: `import` or `connection`.
pub(crate) fn granted<'d>(documents: &'d BTreeMap<String, Value>, field: &str) -> std::collections::BTreeSet<&'d str> {
    let mut found = std::collections::BTreeSet::new();
    for document in documents.values() {
        let own = document.pointer("/spec/grants");
        let staged = ["/spec/workloadStages", PIPELINE]
            .into_iter()
            .filter_map(|at| document.pointer(at).and_then(Value::as_array))
            .flatten()
            .filter_map(|stage| stage.get("grants"));
        let grants = own.into_iter().chain(staged).filter_map(Value::as_array).flatten();
        found.extend(grants.filter_map(|grant| grant.get(field).and_then(Value::as_str)));
    }
    found
}

/// Returns the digest of what is wanted.
pub(crate) fn digest(
    input: &PlanInput,
    documents: &BTreeMap<String, Value>,
    components: &BTreeMap<String, Digest>,
    effective: &Effective<'_>,
    policy: &Digest,
    revisions: &BTreeMap<&'static str, u32>,
) -> Result<Digest, Vec<Diagnostic>> {
    // Versions of generated secrets are part of it, their first one is not: it comes with the first deployment.
    let secrets: BTreeMap<&String, &u64> =
        input.secrets.iter().filter(|(name, version)| !name.starts_with("action/") || **version > 1).collect();
    Digest::of(&(
        (&input.environment, &input.environment_type),
        // The model as this environment sees it: an image that was given and one that was carried over are the same.
        (&effective.workloads, &effective.resources, &effective.values),
        Digest::of(documents).map_err(bug)?,
        components,
        secrets,
        policy,
        revisions,
    ))
    .map_err(bug)
}
