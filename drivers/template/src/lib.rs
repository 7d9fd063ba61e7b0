//! A definition without code: outputs and manifests from MiniJinja templates in its inputs.
//!
//! Templates see `context`, `key`, `name` (of the resource's objects), `params`, `inputs.values`,
//! `workloads` and `secrets`; results are taken as they are where a template is a whole string, or
//! parsed as JSON behind the filter `json`. Sealed values pass through the filters of this driver,
//! which call `windlass:driver/sealed`: `text`, `base64`, `url_component`, `json_string`,
//! `yaml_string`, `bcrypt(cost)`, `scram_sha256`, `fingerprint`.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use minijinja::{Environment, UndefinedBehavior, value::Value as Jinja};
use serde_json::{Map, Value, json};
use windlass_sdk::{
    names::{of_resource, resource_labels, resource_selector},
    prelude::*,
    sealed::fingerprint,
    secrets::Policy,
};

/// Work that one template may do.
const FUEL: u64 = 100_000;

/// What a definition may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// Values for the templates.
    #[serde(default)]
    pub values: SealableJson,
    /// Generated values by name; templates read them as `secrets.NAME`.
    #[serde(default)]
    pub secrets: BTreeMap<String, Policy>,
    /// Kubernetes objects by name; every string in them is a template.
    #[serde(default)]
    pub manifests: BTreeMap<String, Value>,
    /// Outputs by name; every string in them is a template.
    #[serde(default)]
    pub outputs: Map<String, Value>,
}

/// Any outputs: the resource type decides what they are.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Outputs(Map<String, Value>);

impl JsonSchema for Outputs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Outputs".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "x-windlass-sealed": true })
    }
}

/// The driver.
#[derive(Debug)]
pub struct Template;

impl ResourceDefinition for Template {
    const SUMMARY: &'static str = "a definition without code: outputs and manifests from templates in its inputs";
    type Params = SealableJson;
    type Inputs = Inputs;
    type Outputs = Outputs;

    fn define(request: Request<SealableJson, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
        let Request { context, key, workloads, params, inputs } = request;
        let secrets: Map<String, Value> =
            inputs.secrets.iter().map(|(name, policy)| (name.clone(), json!(Generated::with_policy(name, policy).value()))).collect();
        let labels = resource_labels(&context, &key);
        let selector = resource_selector(&context, &key);
        let variables = json!({
            "context": { "application": context.application, "environment": context.environment, "environmentType": context.environment_type, "namespace": context.namespace },
            "key": { "type": key.r#type, "class": key.class, "id": key.id },
            "name": of_resource(&key),
            "labels": labels,
            "selector": selector,
            "workloads": workloads,
            "params": params.0,
            "values": inputs.values.0,
            "secrets": secrets,
        });
        let mut renderer = Renderer::new(variables);
        let mut problems = Vec::new();
        let mut objects = BTreeMap::new();
        for (name, manifest) in &inputs.manifests {
            let rendered = renderer.value(manifest, &format!("/inputs/manifests/{name}"), &mut problems);
            if problems.is_empty() {
                objects.insert(name.clone(), Object::new(name, &rendered));
            }
        }
        renderer.offer_fields(objects);
        let outputs = renderer.value(&Value::Object(inputs.outputs), "/inputs/outputs", &mut problems);
        match outputs {
            Value::Object(outputs) if problems.is_empty() => Ok(Answer::new(Outputs(outputs))),
            _ => Err(Diagnostics(problems)),
        }
    }
}

struct Renderer {
    environment: Environment<'static>,
    variables: Jinja,
}

impl Renderer {
    fn new(variables: Value) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("text", |value: String| Sealable::new(value).to_text().to_string());
        environment.add_filter("base64", |value: String| Sealable::new(value).to_base64().to_string());
        environment.add_filter("url_component", |value: String| Sealable::new(value).to_url_component().to_string());
        environment.add_filter("json_string", |value: String| Sealable::new(value).to_json_string().to_string());
        environment.add_filter("yaml_string", |value: String| Sealable::new(value).to_yaml_string().to_string());
        environment.add_filter("literal", |value: String| windlass_sdk::kubernetes::literal(&value));
        environment.add_filter("bcrypt", |value: String, cost: Option<u8>| Sealable::new(value).bcrypt(cost.unwrap_or(10)).to_string());
        environment.add_filter("scram_sha256", |value: String| Sealable::new(value).scram_sha256().to_string());
        environment.add_filter("fingerprint", |value: String| fingerprint(&[Sealable::new(value)]).to_string());
        Self { environment, variables: Jinja::from(minijinja::value::Serde(variables)) }
    }

    /// Lets outputs read fields of the live objects: `field("NAME", "/json/pointer")`.
    fn offer_fields(&mut self, objects: BTreeMap<String, Object>) {
        let objects = Mutex::new(objects);
        self.environment.add_function("field", move |name: String, pointer: String| {
            let objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
            objects.get(&name).map(|object| object.field(&pointer).to_string()).ok_or_else(|| {
                minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, format!("there is no manifest `{name}` to read a field of"))
            })
        });
    }

    /// Renders every string of a value; keys stay as they are.
    fn value(&self, value: &Value, at: &str, problems: &mut Vec<Diagnostic>) -> Value {
        match value {
            Value::String(text) => self.text(text).unwrap_or_else(|error| {
                let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
                problems.push(Diagnostic::error("template", format!("the template fails{line}: {error}")).at(at));
                Value::Null
            }),
            Value::Array(items) => {
                Value::Array(items.iter().enumerate().map(|(index, item)| self.value(item, &format!("{at}/{index}"), problems)).collect())
            }
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(key, item)| {
                        (key.clone(), self.value(item, &format!("{at}/{}", windlass_sdk::diagnostic::escaped(key)), problems))
                    })
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    /// A template that is one expression yields the expression's own value: numbers stay numbers, maps maps.
    fn text(&self, text: &str) -> Result<Value, minijinja::Error> {
        if !text.contains("{{") && !text.contains("{%") && !text.contains("{#") {
            return Ok(Value::String(text.to_owned()));
        }
        let inner = text
            .trim()
            .strip_prefix("{{")
            .and_then(|text| text.strip_suffix("}}"))
            .filter(|inner| !inner.contains("{{") && !inner.contains("}}") && !inner.contains("{%"));
        if let Some(expression) = inner {
            let value = self.environment.compile_expression(expression.trim())?.eval(&self.variables)?;
            if value.is_undefined() {
                return Err(minijinja::Error::new(minijinja::ErrorKind::UndefinedError, format!("`{}` is not defined", expression.trim())));
            }
            return serde_json::to_value(&value)
                .map_err(|error| minijinja::Error::new(minijinja::ErrorKind::BadSerialization, error.to_string()));
        }
        self.environment.render_str(text, &self.variables).map(Value::String)
    }
}

windlass_sdk::export_resource!(Template);

#[cfg(test)]
mod tests {
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn outputs_manifests_and_secrets() {
        insta::assert_json_snapshot!(define::<Template>(json!({
            "key": { "type": "mysql", "id": "web.db" },
            "params": { "size": "1Gi", "token": { "$secret": "given" } },
            "inputs": {
                "values": { "port": 3306, "image": "mysql:9" },
                "secrets": { "password": { "length": 24 } },
                "manifests": { "credentials": { "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "{{ name }}", "labels": "{{ labels }}" }, "stringData": { "url": "mysql://app:{{ secrets.password | url_component }}@{{ name }}:{{ values.port }}/app" } } },
                "outputs": { "host": "{{ name }}.{{ context.namespace }}", "port": "{{ values.port }}", "password": "{{ secrets.password }}", "hash": "{{ secrets.password | bcrypt(4) }}", "token": "{{ params.token }}", "list": ["{{ workloads | length }}", "plain"], "upper": "{% if values.port > 3000 %}HIGH{% endif %}" },
            },
        })));
    }

    #[test]
    fn fields_of_live_objects_are_outputs() {
        insta::assert_json_snapshot!(define::<Template>(json!({
            "inputs": {
                "manifests": { "balancer": { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "b" }, "spec": { "type": "LoadBalancer" } } },
                "outputs": { "ip": "{{ field('balancer', '/status/loadBalancer/ingress/0/ip') }}" },
            },
        })));
        insta::assert_json_snapshot!(define::<Template>(json!({ "inputs": { "outputs": { "ip": "{{ field('none', '/x') }}" } } })));
    }

    #[test]
    fn errors_name_their_place() {
        insta::assert_json_snapshot!(define::<Template>(
            json!({ "inputs": { "outputs": { "a": "{{ nothing }}", "b": "x {{ values.deep.er }}", "c": "{% for x in range(100000000) %}{% endfor %}", "d": "{{ unclosed" } } })
        ));
    }
}
