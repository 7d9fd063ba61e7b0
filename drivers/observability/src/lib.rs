//! A stage for every workload: service, environment and version in the words of Datadog and OpenTelemetry, so that no
//! team has to know them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use windlass_sdk::{
    names::label_value,
    prelude::*,
    workload::{add_missing, pod_template},
};

/// What a stage may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The name of the environment in traces; the environment's own name if nothing is said.
    #[serde(default)]
    pub environment: Option<String>,
    /// Datadog's unified service tagging; off if nothing is said.
    #[serde(default)]
    pub datadog: Option<Datadog>,
    /// Attributes for the OpenTelemetry operator; off if nothing is said.
    #[serde(default)]
    pub opentelemetry: Option<OpenTelemetry>,
}

/// What Datadog's admission controller does with the pods.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Datadog {
    /// Lets the admission controller configure the pods.
    #[serde(default)]
    pub admission: bool,
    /// Tracing libraries to inject, by language (`java`, `js`, `python`, `dotnet`, `ruby`, `php`), with their versions.
    #[serde(default)]
    pub libraries: BTreeMap<String, String>,
}

/// What the OpenTelemetry operator does with the pods.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenTelemetry {
    /// The language to instrument: `java`, `nodejs`, `python`, `dotnet`, `go`, `sdk`.
    #[serde(default)]
    pub inject: Option<String>,
    /// The Instrumentation to use; the namespace's only one if nothing is said.
    #[serde(default)]
    pub instrumentation: Option<String>,
}

/// The driver.
#[derive(Debug)]
pub struct Observability;

const DATADOG_LANGUAGES: [&str; 6] = ["dotnet", "java", "js", "php", "python", "ruby"];
const OTEL_LANGUAGES: [&str; 8] = ["apache-httpd", "dotnet", "go", "java", "nginx", "nodejs", "python", "sdk"];

impl WorkloadProfile for Observability {
    const SUMMARY: &'static str = "puts service, environment and version on every workload, in the words of Datadog and OpenTelemetry";
    type Inputs = Inputs;

    fn render(request: RenderRequest<Inputs>) -> Result<Manifests, Diagnostics> {
        let RenderRequest { context, name, inputs, mut manifests, .. } = request;
        check(&inputs)?;
        let environment = inputs.environment.clone().unwrap_or_else(|| context.environment.clone());
        for manifest in &mut manifests {
            let Some(template) = pod_template(manifest) else { continue };
            let version = manifest.pointer("/metadata/labels/app.kubernetes.io~1version").and_then(Value::as_str).map(str::to_owned);
            let service = Service { name: &name, environment: &environment, version: version.as_deref() };
            let containers = container_names(manifest.pointer(template));
            let labels = inputs.datadog.as_ref().map(|datadog| service.datadog_labels(datadog, &containers)).unwrap_or_default();
            let annotations = service.annotations(&inputs);
            // Datadog reads the workload's labels as well as its pods'.
            add_missing(manifest, "/metadata/labels", &labels);
            add_missing(manifest, &format!("{template}/metadata/labels"), &labels);
            add_missing(manifest, &format!("{template}/metadata/annotations"), &annotations);
        }
        Ok(manifests.into())
    }
}

struct Service<'s> {
    name: &'s str,
    environment: &'s str,
    version: Option<&'s str>,
}

impl Service<'_> {
    fn datadog_labels(&self, datadog: &Datadog, containers: &[String]) -> Map<String, Value> {
        let mut labels = Map::new();
        let mut put = |prefix: &str| {
            labels.insert(format!("tags.datadoghq.com/{prefix}env"), json!(label_value(self.environment)));
            labels.insert(format!("tags.datadoghq.com/{prefix}service"), json!(label_value(self.name)));
            if let Some(version) = self.version {
                labels.insert(format!("tags.datadoghq.com/{prefix}version"), json!(version));
            }
        };
        put("");
        // One container needs no tags of its own; several are told apart.
        if containers.len() > 1 {
            containers.iter().for_each(|container| put(&format!("{container}.")));
        }
        if datadog.admission {
            labels.insert("admission.datadoghq.com/enabled".into(), json!("true"));
        }
        labels
    }

    fn annotations(&self, inputs: &Inputs) -> Map<String, Value> {
        let mut annotations = Map::new();
        for (language, version) in inputs.datadog.iter().flat_map(|datadog| &datadog.libraries) {
            annotations.insert(format!("admission.datadoghq.com/{language}-lib.version"), json!(version));
        }
        if let Some(opentelemetry) = &inputs.opentelemetry {
            annotations.insert("resource.opentelemetry.io/service.name".into(), json!(self.name));
            annotations.insert("resource.opentelemetry.io/deployment.environment.name".into(), json!(self.environment));
            if let Some(version) = self.version {
                annotations.insert("resource.opentelemetry.io/service.version".into(), json!(version));
            }
            if let Some(language) = &opentelemetry.inject {
                let which = opentelemetry.instrumentation.clone().unwrap_or_else(|| "true".to_owned());
                annotations.insert(format!("instrumentation.opentelemetry.io/inject-{language}"), json!(which));
            }
        }
        annotations
    }
}

fn check(inputs: &Inputs) -> Result<(), Diagnostics> {
    let unknown = |at: &str, language: &str, known: &[&str]| {
        Diagnostic::error("language", format!("`{language}` is no language that can be instrumented"))
            .at(format!("/inputs/{at}"))
            .hint(format!("one of {}", known.join(", ")))
    };
    let mut problems: Vec<Diagnostic> = inputs
        .datadog
        .iter()
        .flat_map(|datadog| datadog.libraries.keys())
        .filter(|language| !DATADOG_LANGUAGES.contains(&language.as_str()))
        .map(|language| unknown("datadog/libraries", language, &DATADOG_LANGUAGES))
        .collect();
    let inject = inputs.opentelemetry.as_ref().and_then(|opentelemetry| opentelemetry.inject.as_ref());
    problems.extend(
        inject
            .filter(|language| !OTEL_LANGUAGES.contains(&language.as_str()))
            .map(|language| unknown("opentelemetry/inject", language, &OTEL_LANGUAGES)),
    );
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems)) }
}

fn container_names(template: Option<&Value>) -> Vec<String> {
    let containers = template.and_then(|template| template.pointer("/spec/containers")).and_then(Value::as_array);
    containers.into_iter().flatten().filter_map(|container| container.get("name")?.as_str()).map(str::to_owned).collect()
}

windlass_sdk::export_workload!(Observability);

#[cfg(test)]
mod tests {
    use windlass_sdk::harness::render;

    use super::*;

    fn request(inputs: Value) -> Value {
        json!({
            "inputs": inputs,
            "workload": { "apiVersion": "score.dev/v1b1", "metadata": { "name": "web" }, "containers": {} },
            "manifests": [
                { "kind": "Deployment", "metadata": { "name": "web", "labels": { "app.kubernetes.io/version": "1.2" } },
                  "spec": { "template": { "metadata": { "annotations": { "resource.opentelemetry.io/service.name": "mine" } },
                            "spec": { "containers": [{ "name": "main" }, { "name": "proxy" }] } } } },
                { "kind": "Service", "metadata": { "name": "web" } },
            ],
        })
    }

    #[test]
    fn both_families_from_one_place() {
        insta::assert_json_snapshot!(render::<Observability>(request(json!({
            "datadog": { "admission": true, "libraries": { "java": "v1" } },
            "opentelemetry": { "inject": "java" },
            "environment": "test",
        }))));
    }

    #[test]
    fn nothing_is_said_where_nothing_is_asked() {
        let quiet = request(json!({}));
        assert_eq!(json!(render::<Observability>(quiet.clone()).manifests), quiet["manifests"]);
    }

    #[test]
    fn unknown_languages_are_refused() {
        insta::assert_json_snapshot!(render::<Observability>(request(json!({
            "datadog": { "libraries": { "cobol": "v1" } }, "opentelemetry": { "inject": "basic" },
        }))));
    }
}
