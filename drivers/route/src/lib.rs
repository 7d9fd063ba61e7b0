//! HTTP routes: a Gateway API HTTPRoute for each, an Ingress for each, or one Ingress of many.

mod check;

use serde_json::{Value, json};
use windlass_sdk::{
    names::{of_resource, resource_labels},
    prelude::*,
};

/// What a resource may be asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The host name. Needed, but for the Ingress of many.
    #[serde(default)]
    pub host: Option<String>,
    /// The path, `/` if nothing is said.
    #[serde(default)]
    pub path: Option<String>,
    /// The port of the workload's Service, by name or number; the host turns a name into the number. Needed, but for the Ingress of many.
    #[serde(default)]
    pub port: Option<Port>,
    /// The workload, where it is not the one that asks.
    #[serde(default)]
    pub workload: Option<String>,
    /// The Service of that workload. The host fills it in.
    #[serde(default)]
    #[schemars(extend("x-windlass-backend" = true))]
    pub service: Option<String>,
}

/// A port: a number, or the same as text.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Port {
    /// As a number.
    Number(u16),
    /// As text: a number, or for an Ingress also a name.
    Text(String),
}

/// What a definition may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// What is made: `httpRoute` if nothing is said.
    #[serde(default)]
    pub kind: Option<Kind>,
    /// The Gateway that an HTTPRoute belongs to: `default` if nothing is said.
    #[serde(default)]
    pub gateway: Option<Gateway>,
    /// The class of an Ingress; the cluster's own default if nothing is said.
    #[serde(default)]
    pub ingress_class: Option<String>,
    /// Further annotations.
    #[serde(default)]
    pub annotations: serde_json::Map<String, Value>,
    /// The outputs of many routes, for one Ingress of all: `${collect.ALIAS}`.
    #[serde(default)]
    pub routes: Option<Vec<Outputs>>,
}

/// What is made of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// An HTTPRoute of the Gateway API.
    HttpRoute,
    /// An Ingress.
    Ingress,
    /// Nothing: a definition that collects routes makes it.
    Collected,
}

/// The Gateway of an HTTPRoute.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// Its namespace, where it is another.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The listener, where it has several.
    #[serde(default)]
    pub section: Option<String>,
}

/// What it yields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// The host name.
    pub host: String,
    /// The path.
    pub path: String,
    /// The Service behind it.
    pub service: String,
    /// The Service's port.
    pub port: Port,
}

/// The driver.
#[derive(Debug)]
pub struct Route;

impl ResourceDefinition for Route {
    const SUMMARY: &'static str = "an HTTP route to a workload: HTTPRoute, Ingress, or one Ingress of many routes";
    type Params = Params;
    type Inputs = Inputs;
    type Outputs = OptionalOutputs;

    fn define(request: Request<Params, Inputs>) -> Result<Answer<OptionalOutputs>, Diagnostics> {
        let Request { context, key, params, inputs, .. } = request;
        let metadata = || -> Result<Value, Diagnostics> {
            let mut metadata =
                json!({ "name": of_resource(&key), "namespace": context.namespace()?, "labels": resource_labels(&context, &key) });
            if let (false, Some(metadata)) = (inputs.annotations.is_empty(), metadata.as_object_mut()) {
                metadata.insert("annotations".into(), Value::Object(inputs.annotations.clone()));
            }
            Ok(metadata)
        };
        if let Some(routes) = &inputs.routes {
            if !routes.is_empty() {
                ingress(metadata()?, routes, inputs.ingress_class.as_deref())?;
            }
            return Ok(Answer::new(OptionalOutputs::default()));
        }
        let (Some(host), Some(port)) = (params.host, params.port) else {
            return Err(Diagnostic::error("params", "a route needs `host` and `port`").at("/params").into());
        };
        let path = params.path.unwrap_or_else(|| "/".to_owned());
        check::check(&host, &path)?;
        let service = params.service.ok_or_else(|| Diagnostic::error("service", "the host named no Service").at("/params"))?;
        let route = Outputs { host, path, service, port };
        match inputs.kind.unwrap_or(Kind::HttpRoute) {
            Kind::HttpRoute => http_route(metadata()?, &route, inputs.gateway.as_ref())?,
            Kind::Ingress => ingress(metadata()?, std::slice::from_ref(&route), inputs.ingress_class.as_deref())?,
            Kind::Collected => {}
        }
        Ok(Answer::new(OptionalOutputs {
            host: Some(route.host),
            path: Some(route.path),
            service: Some(route.service),
            port: Some(route.port),
        }))
    }
}

/// Outputs of a route; empty for the Ingress of many.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct OptionalOutputs {
    /// The host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The Service behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The Service's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
}

fn http_route(metadata: Value, route: &Outputs, gateway: Option<&Gateway>) -> Result<(), Diagnostics> {
    let port: u16 = match &route.port {
        Port::Number(port) => *port,
        Port::Text(text) => text.parse().map_err(|_| {
            Diagnostic::error("port", format!("an HTTPRoute needs the number of the port, not `{text}`"))
                .at("/params/port")
                .hint("use the number, or a definition with `kind: ingress`")
        })?,
    };
    let mut parent = json!({ "name": gateway.map_or("default", |gateway| &gateway.name) });
    if let (Some(gateway), Some(parent)) = (gateway, parent.as_object_mut()) {
        parent.extend(gateway.namespace.as_ref().map(|namespace| ("namespace".to_owned(), json!(namespace))));
        parent.extend(gateway.section.as_ref().map(|section| ("sectionName".to_owned(), json!(section))));
    }
    Object::new(
        "route",
        &json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata,
            "spec": {
                "parentRefs": [parent], "hostnames": [route.host],
                "rules": [{ "matches": [{ "path": { "type": "PathPrefix", "value": route.path } }], "backendRefs": [{ "name": route.service, "port": port }] }],
            },
        }),
    );
    Ok(())
}

fn ingress(metadata: Value, routes: &[Outputs], class: Option<&str>) -> Result<(), Diagnostics> {
    let mut hosts: std::collections::BTreeMap<&str, Vec<&Outputs>> = std::collections::BTreeMap::new();
    for route in routes {
        let paths = hosts.entry(&route.host).or_default();
        if let Some(other) = paths.iter().find(|other| other.path == route.path) {
            return Err(Diagnostic::error(
                "route-twice",
                format!("`{}{}` leads to `{}` and to `{}`", route.host, route.path, other.service, route.service),
            )
            .at("/inputs/routes")
            .into());
        }
        paths.push(route);
    }
    let port = |port: &Port| match port {
        Port::Number(number) => json!({ "number": number }),
        Port::Text(text) => text.parse::<u16>().map_or_else(|_| json!({ "name": text }), |number| json!({ "number": number })),
    };
    let rules: Vec<Value> = hosts
        .iter()
        .map(|(host, paths)| {
            let mut paths = paths.clone();
            paths.sort_by(|a, b| a.path.cmp(&b.path));
            let paths: Vec<Value> = paths.iter().map(|route| json!({ "path": route.path, "pathType": "Prefix", "backend": { "service": { "name": route.service, "port": port(&route.port) } } })).collect();
            json!({ "host": host, "http": { "paths": paths } })
        })
        .collect();
    let mut spec = json!({ "rules": rules });
    if let (Some(class), Some(spec)) = (class, spec.as_object_mut()) {
        spec.insert("ingressClassName".into(), json!(class));
    }
    Object::new("route", &json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec }));
    Ok(())
}

windlass_sdk::export_resource!(Route);

#[cfg(test)]
mod tests {
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn routes() {
        let params = json!({ "host": "shop.example", "path": "/api", "port": 8080, "service": "shop-web" });
        let key = json!({ "type": "route", "id": "web.route" });
        insta::assert_json_snapshot!([
            define::<Route>(json!({ "key": key, "params": params })),
            define::<Route>(
                json!({ "key": key, "params": params, "inputs": { "gateway": { "name": "public", "namespace": "infra", "section": "https" } } })
            ),
            define::<Route>(
                json!({ "key": key, "params": params, "inputs": { "kind": "ingress", "ingress_class": "nginx", "annotations": { "a": "b" } } })
            ),
            define::<Route>(json!({ "key": key, "inputs": { "routes": [
                { "host": "b.example", "path": "/", "service": "web", "port": "http" },
                { "host": "a.example", "path": "/x", "service": "api", "port": 80 },
                { "host": "b.example", "path": "/api", "service": "api", "port": 80 },
            ] } })),
            define::<Route>(json!({ "key": key, "params": { "host": "shop.example" } })),
            define::<Route>(json!({ "key": key, "params": { "host": "x+", "path": "/a/", "port": 1, "service": "web" } })),
            define::<Route>(json!({ "key": key, "params": { "host": "x", "port": "http", "service": "web" } })),
        ]);
    }
}
