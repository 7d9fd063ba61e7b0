//! The workload that a resource leads to, and the Service, port and object by which it is reached.
//!
//! Host types, `${context.target.…}` and `${context.workload.…}` of definitions, and the param that a driver's schema marks as its
//! backend read their answers here.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use windlass_model::{
    Diagnostic, NodeKey, ResourceKey, did_you_mean,
    name::WorkloadName,
    pointer,
    score::{Port, Workload},
    sealed::Sealed,
};
use windlass_resolve::NodeKind;

use super::{Cx, place::of_resource};

/// The annotation by which the Score tools name a workload's Service.
const SERVICE_NAME: &str = "k8s.score.dev/service-name";
/// The annotation by which the Score tools choose the kind of the object that runs a workload.
const KIND: &str = "k8s.score.dev/kind";
/// The kind of a workload that neither its annotation nor its profile decides.
const KIND_DEFAULT: &str = "Deployment";

/// How a resource names the workload that it leads to, where `params.workload` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// By its id, or the last segment of it: the alias of a private resource.
    ByName,
    /// The only workload that asks for it.
    Asking,
}

/// A workload of the environment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    name: &'a WorkloadName,
    workload: &'a Workload,
    /// The kind that a stage of its profile gives.
    kind: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Finds the workload that a resource leads to.
    ///
    /// # Errors
    ///
    /// No workload is named, or none has that name in this environment. The pointer begins at the resource: `/params/workload`.
    pub(crate) fn find(cx: &'a Cx<'_>, key: &ResourceKey, params: &Value, choice: Choice) -> Result<Self, Diagnostic> {
        let named = match params.get("workload") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name.as_str()),
            Some(_) => {
                let problem = Diagnostic::error("service", "the name of a workload must be text that is known while planning");
                return Err(problem.at("/params/workload"));
            }
        };
        let id = key.id.as_str();
        let last = id.rsplit('.').next().unwrap_or(id);
        let name = match (named, choice) {
            (Some(name), _) => name,
            (None, Choice::ByName) if Self::get(cx, id).is_some() => id,
            (None, Choice::ByName) => last,
            (None, Choice::Asking) => only_asking(cx, key)?,
        };
        Self::get(cx, name).ok_or_else(|| {
            let problem = unknown(cx, name);
            if named.is_some() { problem.at("/params/workload") } else { problem }
        })
    }

    fn get(cx: &'a Cx<'_>, name: &str) -> Option<Self> {
        let (name, workload) = cx.effective.workloads.get_key_value(name)?;
        let stages = match cx.graph.nodes.get(&NodeKey::Workload(name.clone())).map(|node| &node.kind) {
            Some(NodeKind::Workload { stages, .. }) => stages.as_slice(),
            _ => &[],
        };
        let kind = stages.iter().find_map(|(_, stage)| stage.inputs.get("kind")?.as_str());
        Some(Self { name, workload, kind })
    }

    /// Returns the name of the workload's Service.
    ///
    /// # Errors
    ///
    /// The workload has no ports, so it has no Service.
    pub(crate) fn service(&self) -> Result<&'a str, Diagnostic> {
        if self.ports().next().is_none() {
            let message = format!("workload `{}` has no Service, because it has no service ports", self.name);
            return Err(
                Diagnostic::error("service", message).hint(format!("add `service: {{ ports: … }}` to the Score file of `{}`", self.name))
            );
        }
        Ok(self.workload.metadata.annotations.get(SERVICE_NAME).map_or(self.name.as_str(), String::as_str))
    }

    /// Returns the port of the workload's Service that a param names by its name or number; the only one without such a param.
    ///
    /// # Errors
    ///
    /// The Service has no such port, or several where none is named. The pointer begins at the resource: `/params/port`.
    pub(crate) fn port(&self, wanted: Option<&Value>) -> Result<u16, Diagnostic> {
        let service = self.service()?;
        let known = self.ports().map(|(name, port)| format!("{name} ({})", port.port)).collect::<Vec<_>>().join(", ");
        let wanted = match wanted {
            None | Some(Value::Null) => {
                let mut ports = self.ports();
                return match (ports.next(), ports.next()) {
                    (Some((_, only)), None) => Ok(only.port),
                    _ => Err(Diagnostic::error(
                        "service-port",
                        format!("the Service `{service}` of workload `{}` has several ports", self.name),
                    )
                    .hint(format!("name one with `params: {{ port: NAME }}`: {known}"))),
                };
            }
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let by_name = self.ports().find(|(name, _)| **name == wanted);
        let found = by_name.or_else(|| self.ports().find(|(_, port)| port.port.to_string() == wanted));
        found.map(|(_, port)| port.port).ok_or_else(|| {
            let message = format!("the Service `{service}` of workload `{}` has no port `{wanted}`", self.name);
            let behind = self.ports().find(|(_, port)| port.target_port.is_some_and(|target| target.to_string() == wanted));
            let hint = match behind {
                Some((name, port)) => format!("`{wanted}` is the container's port; the Service listens on {} (`{name}`)", port.port),
                None => format!("ports: {known}"),
            };
            Diagnostic::error("service-port", message).at("/params/port").hint(hint)
        })
    }

    /// Returns the kind of the object that runs the workload.
    fn kind(&self) -> &'a str {
        self.workload.metadata.annotations.get(KIND).map(String::as_str).or(self.kind).unwrap_or(KIND_DEFAULT)
    }

    fn ports(&self) -> impl Iterator<Item = (&'a String, &'a Port)> + use<'a> {
        self.workload.service.iter().flat_map(|service| &service.ports)
    }

    /// Returns what a definition reads of the workload as `${context.target.FIELD}` or `${context.workload.FIELD}`.
    fn fact(&self, fact: Fact, params: &Value) -> Result<Value, Diagnostic> {
        Ok(match fact {
            Fact::Name => json!(self.name),
            Fact::Kind => json!(self.kind()),
            Fact::Service => json!(self.service()?),
            Fact::Port => match params.get("port") {
                Some(sealed) if Sealed::from_json(sealed).is_some() => sealed.clone(),
                wanted => json!(self.port(wanted)?),
            },
        })
    }
}

/// Returns the only workload that asks for a resource.
fn only_asking<'a>(cx: &'a Cx<'_>, key: &ResourceKey) -> Result<&'a str, Diagnostic> {
    let asking = cx.graph.nodes.get(&NodeKey::Resource(key.clone())).map(|node| &node.workloads);
    let mut names = asking.into_iter().flatten();
    match (names.next(), names.next()) {
        (Some(only), None) => Ok(only.as_str()),
        (first, _) => {
            let why = if first.is_some() { "several workloads ask for it" } else { "no workload asks for it" };
            Err(Diagnostic::error("service", format!("`{key}` leads to no workload: {why}"))
                .hint(format!("name one with `params: {{ workload: NAME }}`: {}", names_of(cx))))
        }
    }
}

fn unknown(cx: &Cx<'_>, name: &str) -> Diagnostic {
    let environment = &cx.input.environment;
    if cx.input.model.workloads.contains_key(name) {
        return Diagnostic::error("service", format!("workload `{name}` is disabled in environment `{}`", environment.environment))
            .hint(format!("enable it in the Application document: `workloads: {{ {name}: {{ enabled: true }} }}`"));
    }
    let problem = Diagnostic::error("service", format!("there is no workload `{name}` in application `{}`", environment.application));
    let workloads = &cx.effective.workloads;
    let near = did_you_mean(name, workloads.keys().map(WorkloadName::as_str).filter(|near| *near != name));
    problem.hint(near.unwrap_or_else(|| {
        let first = if cx.input.model.complete { "" } else { "deploy it before this one, or both as a folder; or " };
        format!("{first}name another with `params: {{ workload: NAME }}`: {}", names_of(cx))
    }))
}

fn names_of(cx: &Cx<'_>) -> String {
    cx.effective.workloads.keys().map(WorkloadName::as_str).collect::<Vec<_>>().join(", ")
}

/// What a definition may read of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Name,
    Kind,
    Service,
    Port,
}

impl Fact {
    const ALL: [(&'static str, Self); 4] = [("name", Self::Name), ("kind", Self::Kind), ("service", Self::Service), ("port", Self::Port)];
}

/// The parts of `context` that stand for a workload.
const ROOTS: [(&str, Choice); 2] = [("target", Choice::ByName), ("workload", Choice::Asking)];

/// Finds what the inputs of a definition read as `${context.target.…}` and `${context.workload.…}`.
///
/// # Errors
///
/// Why there is no such workload, Service or port; placed where the resource is asked for.
pub(crate) fn facts(cx: &Cx<'_>, key: &ResourceKey, inputs: &Map<String, Value>, params: &Value) -> Result<Map<String, Value>, Diagnostic> {
    let mut facts = Map::new();
    let references = context_references(inputs);
    if references.is_empty() {
        return Ok(facts);
    }
    for (root, choice) in ROOTS {
        let read = Fact::ALL.into_iter().filter(|(name, _)| references.contains(format!("{root}.{name}").as_str())).collect::<Vec<_>>();
        if read.is_empty() {
            continue;
        }
        let found = Target::find(cx, key, params, choice).and_then(|target| {
            read.into_iter().map(|(name, fact)| Ok((name.to_owned(), target.fact(fact, params)?))).collect::<Result<Map<_, _>, _>>()
        });
        facts.insert(root.to_owned(), Value::Object(found.map_err(|problem| of_resource(cx, key, problem))?));
    }
    Ok(facts)
}

/// Lists what inputs read of `context`: the part of each reference behind that word.
fn context_references(inputs: &Map<String, Value>) -> BTreeSet<&str> {
    const CONTEXT: &str = "${context.";
    let mut found = BTreeSet::new();
    for value in inputs.values() {
        pointer::visit_texts(value, &mut |text: &str| {
            let behind = text.match_indices(CONTEXT).filter_map(|(start, word)| text.get(start + word.len()..));
            found.extend(behind.filter_map(|rest| Some(rest.split_once('}')?.0)));
        });
    }
    found
}

/// Fills the param that a driver's schema marks as the backend with the name of the Service, and `port` with the port's number.
/// Params that name neither `workload` nor `port` stay as they are.
///
/// # Errors
///
/// Why there is no such workload, Service or port; placed where the resource is asked for.
pub(crate) fn fill_backend(cx: &Cx<'_>, key: &ResourceKey, backend: &str, params: &mut Value) -> Result<(), Diagnostic> {
    let is_given = |name: &str| params.get(name).is_some_and(|value| !value.is_null());
    if !is_given("workload") && !is_given("port") {
        return Ok(());
    }
    let found = Target::find(cx, key, params, Choice::Asking)
        .and_then(|target| Ok((target.fact(Fact::Service, params)?, target.fact(Fact::Port, params)?)));
    let (service, port) = found.map_err(|problem| of_resource(cx, key, problem))?;
    if let Value::Object(params) = params {
        params.insert(backend.to_owned(), service);
        params.insert("port".to_owned(), port);
    }
    Ok(())
}
