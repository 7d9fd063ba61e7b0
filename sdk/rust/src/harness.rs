//! The native test harness: a driver's logic runs in `cargo test`, what it stages is a snapshot.
//!
//! A request is JSON with the fields that matter; the rest has defaults: application `shop`,
//! environment `dev` of type `development`, namespace `shop-dev`, key `test.default#web.res`.
//! `{"$secret": "NAME"}` and `{"$deferred": "NAME"}` in params, inputs and workloads become tokens.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    recorder::{Recorder, scope},
    resource::{self, Context, ResourceDefinition, ResourceKey},
    workload::{self, WorkloadProfile},
};

/// What a driver decided, tokens shown as `«secret NAME»`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// The outputs of a resource driver.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub outputs: Value,
    /// The manifests of a workload driver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Value>,
    /// The staged actions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// Warnings, or the errors of a refusal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

/// A staged action.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Action {
    /// The interface.
    pub interface: String,
    /// `kind/name`.
    pub id: String,
    /// What must be.
    pub spec: Value,
    /// What it comes behind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

/// Calls a resource driver.
pub fn define<D: ResourceDefinition>(request: Value) -> Outcome {
    let log = Rc::new(RefCell::new(Log::default()));
    let params = log.borrow_mut().seal(request.get("params").cloned().unwrap_or_else(|| json!({})));
    let inputs = log.borrow_mut().seal(request.get("inputs").cloned().unwrap_or_else(|| json!({})));
    let workloads =
        request.get("workloads").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let (result, _) = scope(Box::new(MemoryRecorder(Rc::clone(&log))), || {
        resource::define::<D>(context(&request), key(&request), workloads, &params.to_string(), &inputs.to_string())
    });
    let log = log.borrow();
    match result {
        Ok((outputs, diagnostics)) => Outcome { outputs: log.show_json(&outputs), actions: log.shown(), diagnostics, ..Outcome::default() },
        Err(Diagnostics(diagnostics)) => Outcome { actions: log.shown(), diagnostics, ..Outcome::default() },
    }
}

/// Calls a workload driver.
pub fn render<D: WorkloadProfile>(request: Value) -> Outcome {
    let log = Rc::new(RefCell::new(Log::default()));
    let workload = log.borrow_mut().seal(request.get("workload").cloned().unwrap_or_default());
    let inputs = log.borrow_mut().seal(request.get("inputs").cloned().unwrap_or_else(|| json!({})));
    let manifests: Vec<String> =
        request.get("manifests").and_then(Value::as_array).into_iter().flatten().map(ToString::to_string).collect();
    let name = workload.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("web").to_owned();
    let (result, _) = scope(Box::new(MemoryRecorder(Rc::clone(&log))), || {
        workload::render::<D>(context(&request), name, &workload.to_string(), &inputs.to_string(), &manifests)
    });
    let log = log.borrow();
    match result {
        Ok((manifests, diagnostics)) => Outcome {
            manifests: manifests.iter().map(|manifest| log.show_json(manifest)).collect(),
            actions: log.shown(),
            diagnostics,
            ..Outcome::default()
        },
        Err(Diagnostics(diagnostics)) => Outcome { actions: log.shown(), diagnostics, ..Outcome::default() },
    }
}

fn text(request: &Value, pointer: &str, default: &str) -> String {
    request.pointer(pointer).and_then(Value::as_str).unwrap_or(default).to_owned()
}

fn context(request: &Value) -> Context {
    Context {
        application: text(request, "/context/application", "shop"),
        environment: text(request, "/context/environment", "dev"),
        environment_type: text(request, "/context/environmentType", "development"),
        namespace: match request.pointer("/context/namespace") {
            Some(Value::Null) => None,
            Some(Value::String(namespace)) => Some(namespace.clone()),
            _ => Some("shop-dev".to_owned()),
        },
    }
}

fn key(request: &Value) -> ResourceKey {
    ResourceKey {
        r#type: text(request, "/key/type", "test"),
        class: text(request, "/key/class", "default"),
        id: text(request, "/key/id", "web.res"),
    }
}

/// What was recorded, and what each token stands for.
#[derive(Default)]
struct Log {
    tokens: BTreeMap<String, String>,
    actions: Vec<Action>,
}

impl Log {
    fn token(&mut self, secret: bool, label: String) -> String {
        let token = format!("\u{FDD0}{}j{}\u{FDD1}", if secret { 's' } else { 'd' }, self.tokens.len());
        self.tokens.insert(token.clone(), format!("«{} {label}»", if secret { "secret" } else { "deferred" }));
        token
    }

    /// Puts tokens in the place of `{"$secret": …}` and `{"$deferred": …}`, also inside text as `«secret …»`.
    fn seal(&mut self, value: Value) -> Value {
        match value {
            Value::Object(fields) => {
                if let (1, Some(name)) = (fields.len(), fields.get("$secret").and_then(Value::as_str)) {
                    return Value::String(self.token(true, name.to_owned()));
                }
                if let (1, Some(name)) = (fields.len(), fields.get("$deferred").and_then(Value::as_str)) {
                    return Value::String(self.token(false, name.to_owned()));
                }
                Value::Object(fields.into_iter().map(|(key, item)| (key, self.seal(item))).collect())
            }
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.seal(item)).collect()),
            Value::String(text) => Value::String(self.seal_text(&text)),
            other => other,
        }
    }

    fn seal_text(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, tail)) = rest.split_once('«') {
            out.push_str(before);
            let (label, after) = tail.split_once('»').unwrap_or((tail, ""));
            let (secret, name) = label.strip_prefix("secret ").map_or((false, label), |name| (true, name));
            out.push_str(&self.token(secret, name.trim_start_matches("deferred ").to_owned()));
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn show(&self, text: &str) -> String {
        self.tokens.iter().fold(text.to_owned(), |text, (token, label)| text.replace(token, label))
    }

    /// Shows tokens inside JSON: labels may hold what JSON must escape.
    fn show_json(&self, text: &str) -> Value {
        let shown = self
            .tokens
            .iter()
            .fold(text.to_owned(), |text, (token, label)| text.replace(token, Value::String(label.clone()).to_string().trim_matches('"')));
        serde_json::from_str(&shown).unwrap_or(Value::Null)
    }

    fn shown(&self) -> Vec<Action> {
        self.actions.iter().map(|action| Action { spec: self.show_json(&action.spec.to_string()), ..action.clone() }).collect()
    }
}

struct MemoryRecorder(Rc<RefCell<Log>>);

impl Recorder for MemoryRecorder {
    fn construct(&mut self, interface: &str, resource: &str, name: &str, spec: &str) -> u32 {
        let mut log = self.0.borrow_mut();
        log.actions.push(Action {
            interface: interface.to_owned(),
            id: format!("{resource}/{name}"),
            spec: serde_json::from_str(spec).unwrap_or(Value::Null),
            after: Vec::new(),
        });
        u32::try_from(log.actions.len() - 1).unwrap_or(u32::MAX)
    }

    fn method(&mut self, handle: u32, method: &str, argument: Option<&str>) -> String {
        let mut log = self.0.borrow_mut();
        let Some(action) = log.actions.get(handle as usize).cloned() else { return String::new() };
        if method == "action" {
            return action.id;
        }
        let secret = match action.interface.as_str() {
            "windlass:secrets/generated" | "windlass:secrets/external" => method != "path",
            "windlass:terraform/modules" => {
                let output = argument.and_then(|name| action.spec.get("outputs")?.get(name));
                output.and_then(|output| output.get("sensitive")).and_then(Value::as_bool).unwrap_or_default()
            }
            _ => action.spec.get("kind").and_then(Value::as_str) == Some("Secret"),
        };
        let label = argument.map_or_else(|| format!("{}.{method}", action.id), |argument| format!("{}.{method}({argument})", action.id));
        log.token(secret, label)
    }

    fn after(&mut self, handle: u32, action: &str) {
        if let Some(known) = self.0.borrow_mut().actions.get_mut(handle as usize) {
            known.after.push(action.to_owned());
        }
    }

    fn sealed(&mut self, function: &str, values: &[&str], number: Option<u8>) -> String {
        let mut log = self.0.borrow_mut();
        let shown: Vec<String> = values.iter().map(|value| log.show(value)).collect();
        if values.iter().all(|value| !value.contains('\u{FDD0}')) && function == "to-text" {
            return shown.concat();
        }
        let secret = function != "fingerprint" && values.iter().any(|value| value.contains("\u{FDD0}s"));
        let number = number.map(|number| format!(", {number}")).unwrap_or_default();
        log.token(secret, format!("{function}({}{number})", shown.join(", ").replace(['«', '»'], "")))
    }
}
