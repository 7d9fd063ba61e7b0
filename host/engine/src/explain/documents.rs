//! The leaves of the documents that a node is made of, and the input of a plan with another value in one of them.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use windlass_model::{
    Digest, NodeKey, ResourceKey,
    application::Model,
    name::{DocumentName, WorkloadName},
    platform::{DriverReference, LayerName, Layers, Platform},
    pointer::{Pointer, escape},
};
use windlass_resolve::{HostType, Maker, NodeKind, Scope};

use crate::plan::{Cx, PlanInput};

/// Leaves that are tried; more than the largest honest application has around one node.
const LEAVES_MAX: usize = 2_000;

/// Fields of a resource that decide which document makes it, not what is made.
const ADDRESS: [&str; 3] = ["type", "class", "id"];

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Document {
    /// A Score document.
    Workload(WorkloadName),
    /// `--image`, for a container.
    Image(WorkloadName, String),
    /// The Application document.
    Application,
    /// A definition, by its place among the layers.
    Definition(usize, DocumentName),
    /// A profile, by its place among the layers.
    Profile(usize, DocumentName),
    /// An environment type, by its place among the layers.
    EnvironmentType(usize, DocumentName),
    /// A secret of the environment.
    Secret(String),
    /// The image of a container in the last deployment, by `WORKLOAD/CONTAINER`.
    LastImage(String),
}

impl Document {
    /// Names the document as provenances do.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Workload(name) => format!("workload/{name}"),
            Self::Image(workload, container) => format!("--image {workload}/{container}"),
            Self::Application => "application".to_owned(),
            Self::Definition(_, name) => format!("ResourceDefinition/{name}"),
            Self::Profile(_, name) => format!("WorkloadProfile/{name}"),
            Self::EnvironmentType(_, name) => format!("EnvironmentType/{name}"),
            Self::Secret(name) => format!("secret {name}"),
            Self::LastImage(container) => format!("the last deployment's image of {container}"),
        }
    }
}

/// A value in a document.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub document: Document,
    pub pointer: String,
    pub value: Value,
    /// Schemas that may describe it, each with the pointer of the leaf in what it describes.
    pub schemas: Vec<(Arc<Value>, String)>,
}

/// Lists the leaves around a node: those of its own documents first, then those of the nodes that it depends on.
pub(super) fn leaves(cx: &Cx<'_>, nodes: &[NodeKey]) -> Vec<Leaf> {
    let mut collector = Collector { cx, found: Vec::new(), known: BTreeMap::new(), schemas: BTreeMap::new() };
    for key in nodes {
        collector.add_node(key);
    }
    collector.found
}

struct Collector<'c, 'a> {
    cx: &'c Cx<'a>,
    found: Vec<Leaf>,
    /// The place in `found` of each leaf.
    known: BTreeMap<(Document, String), usize>,
    schemas: BTreeMap<Digest, (Arc<Value>, Arc<Value>)>,
}

/// Schemas, each with the pointer in what it describes.
type Described = Vec<(Arc<Value>, String)>;

impl Collector<'_, '_> {
    fn add_node(&mut self, key: &NodeKey) {
        let cx = self.cx;
        match (cx.graph.nodes.get(key).map(|node| &node.kind), key) {
            (Some(NodeKind::Workload { stages, .. }), NodeKey::Workload(name)) => {
                let first = stages.first().and_then(|(layer, stage)| self.schemas_of(*layer, &stage.driver));
                let described = first.map(|(_, params)| (params, String::new()));
                self.add_workload(name, "", described.into_iter().collect());
                self.add_images(name);
                self.add_variations(&format!("overrides/{name}"));
                self.add_stages(name);
            }
            (Some(NodeKind::Resource { params, maker }), NodeKey::Resource(resource)) => {
                self.add_resource(key, resource, params.as_ref(), maker);
            }
            _ => {}
        }
    }

    fn add_resource(&mut self, key: &NodeKey, resource: &ResourceKey, params: Option<&(&Map<String, Value>, Scope)>, maker: &Maker<'_>) {
        let mut of_params: Described = crate::plan::resource_type(&self.cx.input.layers, resource.r#type.as_str())
            .map(|kind| (Arc::new(kind.spec.params.clone()), String::new()))
            .into_iter()
            .collect();
        match maker {
            Maker::Definition { layer, definition, .. } => {
                let schemas = self.schemas_of(*layer, &definition.spec.driver);
                of_params.extend(schemas.iter().map(|(_, params)| (Arc::clone(params), String::new())));
                let inputs = schemas.map(|(inputs, _)| (inputs, String::new()));
                self.add_definition(definition.name(), inputs.into_iter().collect());
            }
            Maker::Host(HostType::Environment) => {
                self.add_variations("values");
                self.add_secrets();
            }
            Maker::Host(HostType::Service | HostType::ServicePort) | Maker::Unknown => {}
        }
        if let Some((params, scope)) = params {
            self.add_params(key, params, scope, &of_params);
        }
        if reads_workloads(maker, params.map(|(params, _)| *params)) {
            self.add_targets(resource, params.map(|(params, _)| *params));
        }
    }

    /// Adds what decides how the workloads are reached that a resource may lead to.
    fn add_targets(&mut self, resource: &ResourceKey, params: Option<&Map<String, Value>>) {
        let cx = self.cx;
        for name in cx.input.model.workloads.keys().filter(|name| may_lead_to(cx, resource, params, name)) {
            self.add_workload(name, "/service", Vec::new());
            self.add_workload(name, "/metadata/annotations", Vec::new());
            self.add_variations(&format!("overrides/{name}/service"));
            self.add_variations(&format!("overrides/{name}/metadata/annotations"));
            self.add_stages(name);
        }
    }

    /// Adds the inputs of a workload's stages: those of its profiles, then those of the environment type.
    fn add_stages(&mut self, name: &WorkloadName) {
        let kind = self.cx.graph.nodes.get(&NodeKey::Workload(name.clone())).map(|node| &node.kind);
        let Some(NodeKind::Workload { profile, .. }) = kind else { return };
        let mut chain: Vec<DocumentName> = Vec::new();
        let mut next = profile.as_ref().map(|(_, profile, _)| profile.name().clone());
        while let Some(name) = next.filter(|name| !chain.contains(name)) {
            next = self.add_profile(&name);
            chain.push(name);
        }
        self.add_environment_type();
    }

    /// Returns the schemas of a driver's inputs and params.
    fn schemas_of(&mut self, layer: LayerName, driver: &DriverReference) -> Option<(Arc<Value>, Arc<Value>)> {
        let component = crate::plan::component(&self.cx.input.layers, layer, driver)?;
        if let Some(known) = self.schemas.get(&component) {
            return Some(known.clone());
        }
        let description = self.cx.host.describe(&component).ok()?;
        let parsed = |text: &str| Arc::new(serde_json::from_str::<Value>(text).unwrap_or_default());
        let schemas = (parsed(&description.inputs_schema), parsed(&description.params_schema));
        self.schemas.insert(component, schemas.clone());
        Some(schemas)
    }

    fn add_workload(&mut self, name: &WorkloadName, at: &str, described: Described) {
        let Some(workload) = self.cx.input.model.workloads.get(name) else { return };
        let Ok(document) = serde_json::to_value(&workload.score) else { return };
        let Some(value) = document.pointer(at) else { return };
        let described: Described = described.into_iter().map(|(schema, base)| (schema, format!("{base}{at}"))).collect();
        self.walk(&Document::Workload(name.clone()), value, at, &described);
    }

    fn add_images(&mut self, name: &WorkloadName) {
        let Some(workload) = self.cx.input.model.workloads.get(name) else { return };
        for (container, image) in &workload.images {
            self.walk(&Document::Image(name.clone(), container.clone()), &Value::String(image.clone()), "", &Vec::new());
        }
        for container in workload.score.containers.keys() {
            let key = format!("{name}/{container}");
            if let Some(image) = self.cx.input.last_images.get(&key) {
                self.walk(&Document::LastImage(key), &Value::String(image.clone()), "", &Vec::new());
            }
        }
    }

    /// Adds a part of each variation: `values`, or `overrides/NAME`.
    fn add_variations(&mut self, part: &str) {
        let document = application(&self.cx.input.model);
        for index in 0..self.cx.input.model.environments.len() {
            let at = format!("/spec/environments/{index}/{part}");
            if let Some(value) = document.pointer(&at) {
                self.walk(&Document::Application, value, &at, &Vec::new());
            }
        }
    }

    fn add_secrets(&mut self) {
        for (name, version) in &self.cx.input.secrets {
            if let Some(name) = name.strip_prefix("env/") {
                self.walk(&Document::Secret(name.to_owned()), &Value::from(*version), "", &Vec::new());
            }
        }
    }

    fn add_params(&mut self, key: &NodeKey, params: &Map<String, Value>, scope: &Scope, described: &Described) {
        let (_, base) = crate::plan::params_place(self.cx, key, scope);
        let document = match scope {
            Scope::Application => Document::Application,
            Scope::Workload(name) => Document::Workload(name.clone()),
            Scope::Definition(owner) => {
                let kind = self.cx.graph.nodes.get(&NodeKey::Resource(owner.clone())).map(|node| &node.kind);
                if let Some(NodeKind::Resource { maker: Maker::Definition { definition, .. }, .. }) = kind {
                    self.add_definition(definition.name(), Vec::new());
                }
                return;
            }
        };
        self.walk(&document, &Value::Object(params.clone()), &base, described);
    }

    /// Adds what a definition gives its driver and its needs.
    fn add_definition(&mut self, name: &DocumentName, described: Described) {
        let layers = self.cx.input.layers.clone();
        for (index, (_, platform)) in layers.0.iter().enumerate() {
            let Some(definition) = platform.definitions.get(name) else { continue };
            let document = Document::Definition(index, name.clone());
            self.walk(&document, &Value::Object(definition.spec.inputs.clone()), "/spec/inputs", &described);
            for (field, needs) in [("resources", &definition.spec.resources), ("provisions", &definition.spec.provisions)] {
                for (alias, need) in needs {
                    let params = need.params.clone().map(Value::Object).unwrap_or_default();
                    self.walk(&document, &params, &format!("/spec/{field}/{}/params", escape(alias)), &Vec::new());
                }
            }
        }
    }

    /// Adds the inputs of a profile's stages, and returns the profile that it extends.
    fn add_profile(&mut self, name: &DocumentName) -> Option<DocumentName> {
        let layers = self.cx.input.layers.clone();
        let (index, (layer, platform)) = layers.0.iter().enumerate().find(|(_, (_, platform))| platform.profiles.contains_key(name))?;
        let profile = platform.profiles.get(name)?;
        for (at, stage) in profile.spec.stages.iter().enumerate() {
            let described = self.schemas_of(*layer, &stage.driver).map(|(inputs, _)| (inputs, String::new())).into_iter().collect();
            let inputs = Value::Object(stage.inputs.clone());
            self.walk(&Document::Profile(index, name.clone()), &inputs, &format!("/spec/stages/{at}/inputs"), &described);
        }
        profile.spec.extends.clone()
    }

    fn add_environment_type(&mut self) {
        let Some(document) = self.cx.graph.environment_type else { return };
        let layers = self.cx.input.layers.clone();
        let name = &document.metadata.name;
        let found = layers.0.iter().enumerate().find(|(_, (_, platform))| platform.environment_types.get(name) == Some(document));
        let Some((index, (layer, _))) = found else { return };
        for (at, stage) in document.spec.workload_stages.iter().enumerate() {
            let described = self.schemas_of(*layer, &stage.driver).map(|(inputs, _)| (inputs, String::new())).into_iter().collect();
            let inputs = Value::Object(stage.inputs.clone());
            self.walk(&Document::EnvironmentType(index, name.clone()), &inputs, &format!("/spec/workloadStages/{at}/inputs"), &described);
        }
    }

    fn walk(&mut self, document: &Document, value: &Value, base: &str, described: &Described) {
        visit(value, &Pointer::Root, &mut |at, leaf| {
            let pointer = format!("{base}{at}");
            let schemas = described.iter().map(|(schema, base)| (Arc::clone(schema), format!("{base}{at}")));
            let place = (document.clone(), pointer);
            if let Some(known) = self.known.get(&place).and_then(|index| self.found.get_mut(*index)) {
                known.schemas.extend(schemas);
                return;
            }
            let (document, pointer) = &place;
            if self.found.len() >= LEAVES_MAX || is_address(document, pointer) {
                return;
            }
            let schemas = schemas.collect();
            self.found.push(Leaf { document: document.clone(), pointer: pointer.clone(), value: leaf.clone(), schemas });
            self.known.insert(place, self.found.len() - 1);
        });
    }
}

/// Returns whether a resource may follow from how a workload is reached that it does not depend on.
fn reads_workloads(maker: &Maker<'_>, params: Option<&Map<String, Value>>) -> bool {
    let names_one = params.is_some_and(|params| ["workload", "port"].iter().any(|name| params.contains_key(*name)));
    let is_of_workloads = match maker {
        Maker::Host(HostType::Service | HostType::ServicePort) => true,
        Maker::Definition { definition, .. } => names_target(&Value::Object(definition.spec.inputs.clone())),
        Maker::Host(HostType::Environment) | Maker::Unknown => false,
    };
    names_one || is_of_workloads
}

/// Returns whether a value holds `${context.target.…}` or `${context.workload.…}`.
fn names_target(value: &Value) -> bool {
    match value {
        Value::String(text) => ["${context.target", "${context.workload"].iter().any(|reference| text.contains(reference)),
        Value::Array(items) => items.iter().any(names_target),
        Value::Object(fields) => fields.values().any(names_target),
        _ => false,
    }
}

/// Returns whether a resource may lead to a workload: by its params, by its id, or because the workload asks for it.
fn may_lead_to(cx: &Cx<'_>, resource: &ResourceKey, params: Option<&Map<String, Value>>, name: &WorkloadName) -> bool {
    let id = resource.id.as_str();
    let is_named = match params.and_then(|params| params.get("workload")).and_then(Value::as_str) {
        Some(named) => named == name.as_str() || named.contains("${"),
        None => id.rsplit('.').next() == Some(name.as_str()),
    };
    let asks = match cx.graph.nodes.get(&NodeKey::Workload(name.clone())).map(|node| &node.kind) {
        Some(NodeKind::Workload { aliases, .. }) => aliases.values().any(|target| *target == *resource),
        _ => false,
    };
    is_named || asks
}

/// Returns whether a field says which document makes something, or what a document is.
fn is_address(document: &Document, pointer: &str) -> bool {
    let Document::Workload(_) = document else { return false };
    let steps: Vec<&str> = pointer.split('/').skip(1).collect();
    matches!(steps.as_slice(), ["apiVersion"]) || matches!(steps.as_slice(), ["resources", _, field] if ADDRESS.contains(field))
}

fn visit(value: &Value, at: &Pointer<'_>, found: &mut impl FnMut(&Pointer<'_>, &Value)) {
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| visit(item, &at.element(index), found)),
        Value::Object(fields) => fields.iter().for_each(|(name, field)| visit(field, &at.field(name), found)),
        Value::Null => {}
        leaf => found(at, leaf),
    }
}

/// The variations and shared resources of a model, as its Application document has them.
fn application(model: &Model) -> Value {
    json!({ "spec": { "environments": model.environments, "resources": model.resources } })
}

/// Returns the input of a plan with another value at a leaf; none where that makes no document.
pub(super) fn changed(input: &PlanInput, leaf: &Leaf, other: Value) -> Option<PlanInput> {
    let mut changed = input.clone();
    match &leaf.document {
        Document::Workload(name) => {
            let model = Arc::make_mut(&mut changed.model);
            let score = &mut model.workloads.get_mut(name)?.score;
            *score = replaced(score, &leaf.pointer, other)?;
            let new = score.metadata.name.clone();
            if new != *name {
                rename(&mut changed, name, &new);
            }
        }
        Document::Image(workload, container) => {
            let images = &mut Arc::make_mut(&mut changed.model).workloads.get_mut(workload)?.images;
            *images.get_mut(container)? = other.as_str()?.to_owned();
        }
        Document::LastImage(container) => *changed.last_images.get_mut(container)? = other.as_str()?.to_owned(),
        Document::Secret(name) => *changed.secrets.get_mut(&format!("env/{name}"))? = other.as_u64()?,
        Document::Application => {
            let model = Arc::make_mut(&mut changed.model);
            let mut document = application(model);
            *document.pointer_mut(&leaf.pointer)? = other;
            model.environments = serde_json::from_value(document.pointer("/spec/environments")?.clone()).ok()?;
            model.resources = serde_json::from_value(document.pointer("/spec/resources")?.clone()).ok()?;
        }
        Document::Definition(layer, name) => {
            edit(&mut changed.layers, *layer, |platform| set(&mut platform.definitions, name, leaf, other))?
        }
        Document::Profile(layer, name) => edit(&mut changed.layers, *layer, |platform| set(&mut platform.profiles, name, leaf, other))?,
        Document::EnvironmentType(layer, name) => {
            edit(&mut changed.layers, *layer, |platform| set(&mut platform.environment_types, name, leaf, other))?;
        }
    }
    Some(changed)
}

fn edit(layers: &mut Layers, layer: usize, change: impl FnOnce(&mut Platform) -> Option<()>) -> Option<()> {
    change(Arc::make_mut(&mut layers.0.get_mut(layer)?.1))
}

fn set<T: Serialize + DeserializeOwned>(
    documents: &mut BTreeMap<DocumentName, T>,
    name: &DocumentName,
    leaf: &Leaf,
    other: Value,
) -> Option<()> {
    let document = documents.get_mut(name)?;
    *document = replaced(document, &leaf.pointer, other)?;
    Some(())
}

fn replaced<T: Serialize + DeserializeOwned>(document: &T, at: &str, other: Value) -> Option<T> {
    let mut value = serde_json::to_value(document).ok()?;
    *value.pointer_mut(at)? = other;
    serde_json::from_value(value).ok()
}

/// Gives a workload another name, wherever an application says it.
fn rename(input: &mut PlanInput, old: &WorkloadName, new: &WorkloadName) {
    let model = Arc::make_mut(&mut input.model);
    if let Some(workload) = model.workloads.remove(old) {
        model.workloads.insert(new.clone(), workload);
    }
    for variation in &mut model.environments {
        if let Some(change) = variation.overrides.remove(old) {
            variation.overrides.insert(new.clone(), change);
        }
        if let Some(switch) = variation.workloads.remove(old) {
            variation.workloads.insert(new.clone(), switch);
        }
    }
    let prefix = format!("{old}/");
    let images = std::mem::take(&mut input.last_images);
    input.last_images = images
        .into_iter()
        .map(|(container, image)| match container.strip_prefix(&prefix) {
            Some(own) => (format!("{new}/{own}"), image),
            None => (container, image),
        })
        .collect();
}
