//! What placeholders stand for while planning.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Map, Value};
use windlass_model::{
    NodeKey, did_you_mean,
    limits::{EXPANDED_NODE_BYTES_MAX, EXPANDED_PLAN_BYTES_MAX},
    name::WorkloadName,
    pointer,
    sealed::{self, Encoding, Origin, Sealed},
};
use windlass_resolve::{HostType, Maker, NodeKind, Scope, expand::ExpandError, graph};

use super::{Cx, NodeOutcome, Soundness, stage};

/// The connection under which given secrets are stored.
pub(crate) const SECRETS: &str = "secrets";

/// What a definition may read of `context`.
const CONTEXT_FIELDS: &str = "known: application, environment, environmentType, podSecurity, namespace, resource.id, resource.type, resource.class, \
    and name, kind, service and port of target (the workload that the resource names) and workload (the one that asks)";

/// Counts the bytes that the placeholders of a plan bring in: outputs that repeat their inputs would double at each level of the graph.
#[derive(Debug, Default)]
pub(crate) struct Expansion(AtomicUsize);

impl Expansion {
    /// Counts bytes that one node brings in on top of `before`, and returns the limit that they exceed.
    fn spend(&self, before: usize, bytes: usize) -> Result<(), ExpandError> {
        let of_node = before.saturating_add(bytes);
        let of_plan = self.0.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let (limit, of) = if of_node > EXPANDED_NODE_BYTES_MAX {
            (EXPANDED_NODE_BYTES_MAX, "placeholders of one node")
        } else if of_plan > EXPANDED_PLAN_BYTES_MAX {
            (EXPANDED_PLAN_BYTES_MAX, "placeholders of this environment")
        } else {
            return Ok(());
        };
        Err(ExpandError::new("expanded-size", format!("the {of} stand for more than {limit} bytes"))
            .hint("a definition that repeats an output doubles it at each level: pass on single fields, and each once"))
    }
}

/// Roots of placeholders whose values do not follow from the definition: what a driver answers, and what asks for the resource.
const OF_OTHERS: [&str; 5] = ["${outputs", "${collect", "${context.resource", "${context.target", "${context.workload"];

/// Returns the inputs of a definition that its text decides: expanded, without texts that hold a value of somebody else.
pub(crate) fn decided(written: &Map<String, Value>, expanded: &Value) -> Value {
    let fields = written.iter().filter_map(|(name, written)| Some((name.clone(), decided_value(written, expanded.get(name)?)?)));
    Value::Object(fields.collect())
}

fn decided_value(written: &Value, expanded: &Value) -> Option<Value> {
    match written {
        Value::String(text) => (!OF_OTHERS.iter().any(|root| text.contains(root))).then(|| expanded.clone()),
        Value::Array(items) => {
            let items = items.iter().enumerate().filter_map(|(index, item)| decided_value(item, expanded.get(index)?));
            Some(Value::Array(items.collect()))
        }
        Value::Object(fields) => Some(decided(fields, expanded)),
        other => Some(other.clone()),
    }
}

/// Finds values for the references of one scope.
pub(crate) struct Lookup<'c, 'a> {
    pub cx: &'c Cx<'a>,
    pub outcomes: &'c BTreeMap<NodeKey, NodeOutcome>,
    pub scope: Scope,
    pub namespace: Option<Value>,
    /// What `${context.target.…}` and `${context.workload.…}` stand for.
    pub facts: Map<String, Value>,
    /// Bytes that were brought in so far.
    bytes: Cell<usize>,
}

impl<'c, 'a> Lookup<'c, 'a> {
    /// Makes a lookup for the references of one node.
    pub(crate) fn new(cx: &'c Cx<'a>, outcomes: &'c BTreeMap<NodeKey, NodeOutcome>, scope: Scope, namespace: Option<Value>) -> Self {
        Self { cx, outcomes, scope, namespace, facts: Map::new(), bytes: Cell::new(0) }
    }

    /// Returns the value of a reference.
    pub(crate) fn get(&self, path: &[String]) -> Result<Value, ExpandError> {
        let value = self.find(path)?;
        let (before, bytes) = (self.bytes.get(), size(&value));
        self.bytes.set(before.saturating_add(bytes));
        self.cx.expansion.spend(before, bytes)?;
        Ok(value)
    }

    fn find(&self, path: &[String]) -> Result<Value, ExpandError> {
        let Some((root, rest)) = path.split_first() else { return Err(ExpandError::new("placeholder", "an empty placeholder")) };
        match (root.as_str(), &self.scope) {
            ("resources", _) => self.resource(rest),
            ("metadata", Scope::Workload(name)) => self.metadata(name, rest),
            ("context", Scope::Definition(_)) => self.context(rest),
            ("outputs", Scope::Definition(key)) => self.output(&NodeKey::Resource(key.clone()), "outputs", rest),
            ("collect", Scope::Definition(key)) => self.collect(key, rest),
            ("externals", _) => Err(ExpandError::new("placeholder", format!("`${{{}}}`: `externals` left Score", path.join(".")))
                .hint(format!("what a workload needs are `resources`: write `${{resources.{}}}`", rest.join(".")))),
            (root, Scope::Workload(_)) => {
                Err(ExpandError::new("placeholder", format!("`${{{}}}` has the unknown root `{root}`", path.join(".")))
                    .hint("use `metadata` or `resources`, or write `$$` for a literal `$`"))
            }
            (root, Scope::Application) => {
                Err(ExpandError::new("placeholder", format!("`${{{}}}` has the unknown root `{root}`", path.join(".")))
                    .hint("use `resources`"))
            }
            (root, Scope::Definition(_)) => {
                Err(ExpandError::new("placeholder", format!("`${{{}}}` has the unknown root `{root}`", path.join(".")))
                    .hint("use `resources`, `context`, `outputs` or `collect`, or write `$$` for a literal `$`"))
            }
        }
    }

    fn resource(&self, path: &[String]) -> Result<Value, ExpandError> {
        let Some((alias, rest)) = path.split_first() else {
            return Err(ExpandError::new("placeholder", "`${resources}` names no resource").hint("write `${resources.ALIAS.OUTPUT}`"));
        };
        let Some(key) = graph::alias(&self.cx.graph.nodes, &self.scope, alias) else {
            let known = self.aliases();
            let error =
                ExpandError::new("unknown-resource", format!("`${{resources.{}}}`: there is no resource `{alias}`", path.join(".")));
            let near = did_you_mean(alias, known.iter().map(String::as_str));
            return Err(error.hint(near.unwrap_or_else(|| format!("known: {}", known.join(", ")))));
        };
        if rest.is_empty() {
            return Ok(Value::String(key.to_string()));
        }
        self.output(&NodeKey::Resource(key.clone()), &format!("resources.{alias}"), rest)
    }

    fn aliases(&self) -> Vec<String> {
        match &self.scope {
            Scope::Application => self.cx.effective.resources.keys().map(ToString::to_string).collect(),
            Scope::Workload(name) => match self.cx.graph.nodes.get(&NodeKey::Workload(name.clone())).map(|node| &node.kind) {
                Some(NodeKind::Workload { aliases, .. }) => aliases.keys().cloned().collect(),
                _ => Vec::new(),
            },
            Scope::Definition(key) => match self.cx.graph.nodes.get(&NodeKey::Resource(key.clone())).map(|node| &node.kind) {
                Some(NodeKind::Resource { maker: Maker::Definition { aliases, .. }, .. }) => aliases.keys().cloned().collect(),
                _ => Vec::new(),
            },
        }
    }

    fn output(&self, node: &NodeKey, shown: &str, path: &[String]) -> Result<Value, ExpandError> {
        let empty = Map::new();
        let outcome = self.outcomes.get(node);
        let outputs = outcome.map_or(&empty, |outcome| &outcome.node.outputs);
        let Some((name, rest)) = path.split_first() else { return Ok(Value::Object(outputs.clone())) };
        // What its maker got wrong is told there.
        let unfilled = outcome.is_none_or(|outcome| outcome.soundness == Soundness::Broken).then(|| stage::unfilled(node, name));
        let Some(value) = outputs.get(name).or(unfilled.as_ref()) else {
            let error = ExpandError::new("unknown-output", format!("`${{{shown}.{}}}`: `{node}` has no output `{name}`", path.join(".")));
            let all = || match outputs.is_empty() {
                _ if self.is_given(node) => {
                    format!("`windlass secret set {name} -e {}` stores it", self.cx.input.environment.environment)
                }
                true => "it has no outputs".to_owned(),
                false => format!("outputs: {}", outputs.keys().cloned().collect::<Vec<_>>().join(", ")),
            };
            return Err(error.hint(did_you_mean(name, outputs.keys().map(String::as_str)).unwrap_or_else(all)));
        };
        descend(value, rest).ok_or_else(|| {
            ExpandError::new("unknown-output", format!("`${{{shown}.{}}}`: the output `{name}` has no such field", path.join(".")))
        })
    }

    /// Tells whether a node's outputs are the secrets that somebody stored.
    fn is_given(&self, node: &NodeKey) -> bool {
        let kind = self.cx.graph.nodes.get(node).map(|node| &node.kind);
        matches!(kind, Some(NodeKind::Resource { maker: Maker::Host(HostType::Environment), .. }))
    }

    fn metadata(&self, name: &WorkloadName, path: &[String]) -> Result<Value, ExpandError> {
        let workload =
            self.cx.effective.workloads.get(name).and_then(|workload| serde_json::to_value(&workload.metadata).ok()).unwrap_or(Value::Null);
        // Metadata is text of the developer: a map in it that looks like a sealed value is none.
        plain(&workload, path).cloned().map(sealed::escape).ok_or_else(|| {
            ExpandError::new("unknown-metadata", format!("`${{metadata.{}}}`: the workload's metadata has no such field", path.join(".")))
        })
    }

    fn context(&self, path: &[String]) -> Result<Value, ExpandError> {
        let environment = &self.cx.input.environment;
        let value = match (path.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), &self.scope) {
            (["application"], _) => environment.application.to_string(),
            (["environment"], _) => environment.environment.to_string(),
            (["environmentType"], _) => self.cx.input.environment_type.to_string(),
            (["podSecurity"], _) => {
                let level = self.cx.graph.environment_type.and_then(|document| document.spec.pod_security);
                level.unwrap_or_default().as_str().to_owned()
            }
            (["namespace"], _) => {
                return self.namespace.clone().ok_or_else(|| {
                    ExpandError::new("no-namespace", "`${context.namespace}` is not known here: the namespace itself depends on this")
                });
            }
            ([root @ ("target" | "workload"), fact], _) if self.fact(root, fact).is_some() => {
                return Ok(self.fact(root, fact).cloned().unwrap_or_default());
            }
            (["resource", "id"], Scope::Definition(key)) => key.id.to_string(),
            (["resource", "type"], Scope::Definition(key)) => key.r#type.to_string(),
            (["resource", "class"], Scope::Definition(key)) => key.class.to_string(),
            _ => {
                return Err(
                    ExpandError::new("unknown-context", format!("`${{context.{}}}` is not known", path.join("."))).hint(CONTEXT_FIELDS)
                );
            }
        };
        Ok(Value::String(value))
    }

    fn fact(&self, root: &str, fact: &str) -> Option<&Value> {
        self.facts.get(root)?.get(fact)
    }

    fn collect(&self, key: &windlass_model::ResourceKey, path: &[String]) -> Result<Value, ExpandError> {
        let Some(NodeKind::Resource { maker: Maker::Definition { collected, .. }, .. }) =
            self.cx.graph.nodes.get(&NodeKey::Resource(key.clone())).map(|node| &node.kind)
        else {
            return Err(ExpandError::new("unknown-collect", "nothing is collected here"));
        };
        let [alias] = path else { return Err(ExpandError::new("placeholder", "write `${collect.ALIAS}`: the whole list")) };
        let Some(keys) = collected.get(alias) else {
            return Err(ExpandError::new("unknown-collect", format!("`${{collect.{alias}}}`: no such query"))
                .hint(format!("known: {}", collected.keys().cloned().collect::<Vec<_>>().join(", "))));
        };
        Ok(Value::Array(
            keys.iter()
                .map(|key| {
                    self.outcomes
                        .get(&NodeKey::Resource(key.clone()))
                        .map_or(Value::Null, |outcome| Value::Object(outcome.node.outputs.clone()))
                })
                .collect(),
        ))
    }
}

/// Estimates the bytes of a value.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => size_of::<Value>(),
        Value::String(text) => size_of::<Value>() + text.len(),
        Value::Array(items) => size_of::<Value>() + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => {
            let bytes = |(key, field): (&String, &Value)| size_of::<String>() + key.len() + size(field);
            size_of::<Value>() + fields.iter().map(bytes).sum::<usize>()
        }
    }
}

/// Walks along a path through a value in which nothing is sealed.
fn plain<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |at, step| match at {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

fn descend(value: &Value, path: &[String]) -> Option<Value> {
    let mut at = value;
    for (index, step) in path.iter().enumerate() {
        // A value that nobody knows yet, or may know: its field is as sealed as the whole.
        if let Some(sealed) = Sealed::from_json(at) {
            let pointer: String = path.iter().skip(index).map(|step| format!("/{}", pointer::escape(step))).collect();
            return sealed.field(&pointer).map(|field| field.to_json());
        }
        at = match at {
            Value::Object(fields) => fields.get(step)?,
            Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(at.clone())
}

/// Makes the sealed value of a given secret.
pub(crate) fn given_secret(name: &str, version: u64) -> Value {
    Sealed::of(
        Origin::External { connection: SECRETS.to_owned(), reference: name.to_owned(), version: Some(version) },
        true,
        Encoding::Json,
    )
    .to_json()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_of_one_node_have_a_limit() {
        let expansion = Expansion::default();
        assert!(expansion.spend(EXPANDED_NODE_BYTES_MAX - 1, 1).is_ok());
        assert_eq!(expansion.spend(EXPANDED_NODE_BYTES_MAX, 1).unwrap_err().code, "expanded-size");
    }

    #[test]
    fn placeholders_of_a_plan_have_a_limit_together() {
        let expansion = Expansion::default();
        for _ in 0..EXPANDED_PLAN_BYTES_MAX / EXPANDED_NODE_BYTES_MAX {
            assert!(expansion.spend(0, EXPANDED_NODE_BYTES_MAX).is_ok());
        }
        assert!(expansion.spend(0, 1).unwrap_err().message.contains("of this environment"));
    }

    #[test]
    fn sizes_count_texts_and_keys() {
        assert!(size(&json!("x".repeat(1_000))) >= 1_000);
        assert!(size(&json!({ "x".repeat(1_000): [1, null] })) >= 1_000 + 3 * size_of::<Value>());
    }
}
