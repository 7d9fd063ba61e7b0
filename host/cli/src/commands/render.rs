//! `render`: manifests without any state, for users of the Score tools.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde_json::Value;
use windlass_capability_directory::to_yaml;
use windlass_model::{
    name::{ApplicationName, EnvironmentName, EnvironmentTypeName},
    plan::Plan,
    platform::{LayerName, Layers, Platform},
    sealed::{self, Origin, Part, Sealed},
    state::{EnvironmentKey, RecordedState},
};

use crate::{
    arguments::Application,
    exit::{Code, Failure},
    planning::Planning,
    print, workspace,
};

/// What is rendered.
pub(crate) struct Render {
    pub paths: Vec<PathBuf>,
    pub output: PathBuf,
    pub environment: EnvironmentName,
    pub environment_type: EnvironmentTypeName,
    pub namespace: Option<String>,
    pub generate_namespace: bool,
    pub with_secrets: bool,
    pub app: Option<ApplicationName>,
}

pub(crate) fn render(render: &Render, application: &Application) -> Result<Code, Failure> {
    let (model, mut provenance) = super::plan::load(render.paths.clone(), render.app.as_ref(), application)?;
    let planning = Planning::new()?;
    let mut layers = vec![(LayerName::BuiltIn, Arc::clone(&planning.built_in))];
    if let Some(folder) = &application.platform {
        let (platform, places) = planning.load(folder)?;
        provenance.0.extend(places.0);
        layers.insert(0, (LayerName::Given, Arc::new(platform)));
    }
    if let Some(namespace) = &render.namespace {
        layers.insert(0, (LayerName::Given, Arc::new(namespace_layer(namespace, render.generate_namespace, &layers)?)));
    }
    let layers = Layers(layers);
    workspace::check_type(&render.environment_type, &layers)?;
    let input = windlass_engine::PlanInput {
        environment: EnvironmentKey { application: model.application.clone(), environment: render.environment.clone() },
        environment_type: render.environment_type.clone(),
        model: Arc::new(model),
        layers,
        recorded: RecordedState::default(),
        claims: std::sync::Arc::default(),
        secrets: BTreeMap::new(),
        last_images: BTreeMap::new(),
        previous: None,
        destroy: false,
        follows: None,
    };
    let (plan, _) = planning.plan(&input, &provenance)?;
    let generated = if render.with_secrets {
        print::note("warning: the generated values below are fresh ones, kept nowhere else");
        fresh(&plan)?
    } else {
        BTreeMap::new()
    };
    let mut manifests = Vec::new();
    for action in plan.actions().filter(|action| action.capability == "windlass:kubernetes/objects") {
        let spec = action.spec.to_value();
        let namespace = spec.get("kind").and_then(Value::as_str) == Some("Namespace");
        if namespace && !render.generate_namespace && application.platform.is_none() {
            continue;
        }
        manifests.push((action.rank, shown(&spec, &generated)));
    }
    manifests.sort_by_key(|(rank, _)| *rank);
    let text = manifests.iter().map(|(_, manifest)| to_yaml(manifest)).collect::<Vec<_>>().join("---\n");
    if render.output.as_os_str() == "-" {
        // A stream of JSON documents is a stream of YAML documents.
        let as_json =
            || manifests.iter().map(|(_, manifest)| serde_json::to_string_pretty(manifest)).collect::<serde_json::Result<Vec<_>>>();
        print::yaml(&text, || Ok(as_json()?.join("\n---\n")))?;
    } else {
        std::fs::write(&render.output, text)
            .map_err(|error| Failure::failed(format!("{} can't be written: {error}", render.output.display())))?;
    }
    print::diagnostics(&plan.warnings.iter().map(|warning| (warning.clone(), None)).collect::<Vec<_>>());
    Ok(Code::Done)
}

/// A definition of the namespace that `-n` asks for.
fn namespace_layer(name: &str, create: bool, layers: &[(LayerName, Arc<Platform>)]) -> Result<Platform, Failure> {
    let document = serde_json::json!({
        "apiVersion": "windlass.dev/v1alpha1", "kind": "ResourceDefinition", "metadata": { "name": "command-line-namespace" },
        "spec": {
            "type": "k8s-namespace", "driver": { "builtin": "kubernetes-namespace" }, "inputs": { "name": name, "create": create },
            "grants": [{ "import": "windlass:kubernetes/objects", "kinds": ["v1/Namespace"], "allow": ["clusterScoped"] }],
        },
    });
    let definition: windlass_model::platform::ResourceDefinition = serde_json::from_value(document).map_err(Failure::failed)?;
    let components = layers.iter().rev().map(|(_, platform)| platform.components.clone()).fold(BTreeMap::new(), |mut all, components| {
        all.extend(components);
        all
    });
    Ok(Platform { definitions: BTreeMap::from([(definition.name().clone(), definition)]), components, ..Platform::default() })
}

/// Draws a value for every generated secret of a plan.
fn fresh(plan: &Plan) -> Result<BTreeMap<String, String>, Failure> {
    let mut values = BTreeMap::new();
    for action in plan.actions().filter(|action| action.capability == "windlass:secrets/generated") {
        let value = windlass_capability_secrets::generate(&action.spec.to_value()).map_err(Failure::from)?;
        values.insert(action.id.to_string(), value.expose().to_owned());
    }
    Ok(values)
}

/// Puts fresh values in, or says `«generated …»`.
fn shown(spec: &Value, generated: &BTreeMap<String, String>) -> Value {
    fn text(value: &Sealed, generated: &BTreeMap<String, String>) -> String {
        value
            .parts()
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Sealed(part) => origin(&part.origin, generated),
            })
            .collect()
    }
    fn origin(origin_of: &Origin, generated: &BTreeMap<String, String>) -> String {
        match origin_of {
            Origin::Generated { action, .. } => generated.get(action.as_str()).cloned().unwrap_or_else(|| format!("«generated {action}»")),
            Origin::Derived { op, of } => {
                let inner = of.first().map(|value| text(value, generated)).unwrap_or_default();
                match windlass_engine::derive::encode(op, &inner) {
                    Some(encoded) if !inner.contains('«') => encoded,
                    _ => format!("«{}»", origin_of.label()),
                }
            }
            other => format!("«{}»", other.label()),
        }
    }
    let result: Result<Value, std::convert::Infallible> = sealed::map(
        spec,
        &mut |value| Ok(Value::String(text(value, generated))),
        &mut |text| Ok(Value::String(text.to_owned())),
        &sealed::unescape_key,
    );
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}
