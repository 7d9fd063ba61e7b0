//! One resource node: its request, its driver's answer, its actions and outputs.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};
use windlass_model::{
    Diagnostic, NodeKey, ResourceKey, did_you_mean,
    plan::PlannedNode,
    platform::{LayerName, MatchRule, ResourceDefinition},
    pointer::Pointer,
    sealed::{self, SharedPart},
};
use windlass_resolve::{GraphNode, Maker, NodeKind, Scope, expand, unclosed_placeholders};

use super::{
    Cx, DriverUse, NodeOutcome, desired,
    expand::{Lookup, decided},
    is_behind_broken, params,
    place::{of_request, params_place, places},
    planned_driver, reference,
    references::{self, Sources},
    stage::{Fields, Settled},
    target, unencoded, winning,
};
use crate::{
    driver::{Body, CallError, DriverAnswer, DriverRequest, World},
    recorder::{Recorder, printable, token_problem},
    schema,
    tokens::TokenTable,
};

/// A call that is ready: plan JSON for params and inputs, and who is asked.
#[derive(Clone, Debug)]
pub(crate) struct ResourceCall<'a> {
    pub key: ResourceKey,
    pub layer: LayerName,
    pub definition: &'a ResourceDefinition,
    pub rule: Option<MatchRule>,
    pub used: DriverUse<'a>,
    pub params: Value,
    pub inputs: Value,
    pub workloads: Vec<String>,
    pub namespace: Option<String>,
    pub depends_on: Vec<NodeKey>,
    /// What its plain fields hold of recorded values, and what they lack.
    pub settled: Settled,
    /// What was found before the driver is asked.
    pub warnings: Vec<Diagnostic>,
}

impl ResourceCall<'_> {
    /// Describes the node without the driver's word.
    pub(crate) fn unasked(&self) -> PlannedNode {
        PlannedNode {
            key: NodeKey::Resource(self.key.clone()),
            definition: Some(winning(self.definition.name(), self.layer, self.rule.as_ref())),
            drivers: vec![planned_driver(&self.used)],
            depends_on: self.depends_on.clone(),
            actions: Vec::new(),
            constraints: Vec::new(),
            outputs: Map::new(),
            references: Vec::new(),
            request: None,
        }
    }
}

/// Expands params and inputs and finds the driver.
pub(crate) fn prepare<'a>(
    cx: &Cx<'a>,
    key: &ResourceKey,
    outcomes: &BTreeMap<NodeKey, NodeOutcome>,
) -> Result<ResourceCall<'a>, Vec<Diagnostic>> {
    let node_key = NodeKey::Resource(key.clone());
    let Some(GraphNode { kind: NodeKind::Resource { params, maker: Maker::Definition { layer, definition, rule, .. } }, edges, workloads }) =
        cx.graph.nodes.get(&node_key)
    else {
        return Err(vec![Diagnostic::error("bug", "not a node with a definition").on(&node_key)]);
    };
    let definition: &'a ResourceDefinition = definition;
    let namespace = cx.namespace(&node_key, outcomes)?;
    let mut problems = Vec::new();
    let mut params = params_value(cx, &node_key, params.as_ref(), namespace.value.clone(), outcomes, &mut problems);
    let facts = match target::facts(cx, key, &definition.spec.inputs, &params) {
        Ok(facts) => facts,
        Err(problem) => {
            problems.push(problem);
            return Err(problems);
        }
    };
    let mut lookup = Lookup::new(cx, outcomes, Scope::Definition(key.clone()), namespace.value);
    lookup.facts = facts;
    let document = format!("ResourceDefinition/{}", definition.name());
    let mut inputs = expand_value(&lookup, &Value::Object(definition.spec.inputs.clone()), &document, "/spec/inputs", &mut problems);
    let sealing = definition.spec.inputs.iter().try_for_each(|(name, template)| {
        inputs.get_mut(sealed::escape_key(name)).map_or(Ok(()), |input| {
            reference::seal(template, input, cx.connections, &Pointer::Root.field("spec").field("inputs").field(name))
        })
    });
    if let Err(problem) = sealing {
        problems.push(problem.on(&document));
    }
    match cx.driver(&document, *layer, &definition.spec.driver, &definition.spec.grants, World::ResourceDriver) {
        Ok(used) if problems.is_empty() => {
            let mut fields = [
                Fields { value: &mut inputs, base: "/spec/inputs", schema: |schemas| &schemas.inputs },
                Fields { value: &mut params, base: "/params", schema: |schemas| &schemas.params },
            ];
            let mut settled = namespace.settled;
            settled.extend(cx.settle(&node_key, &used, &mut fields, outcomes)?);
            let schemas = cx.schemas_of(&node_key, &used)?;
            let warnings = params::take_unknown(cx, key, &definition.spec.inputs, schemas.accepted.as_deref(), &mut params);
            if let (true, Some(backend)) = (settled.needs.is_empty(), schemas.backend.as_deref()) {
                target::fill_backend(cx, key, backend, &mut params).map_err(|problem| vec![problem])?;
            }
            Ok(ResourceCall {
                settled,
                warnings,
                key: key.clone(),
                layer: *layer,
                definition,
                rule: rule.clone(),
                used,
                params,
                inputs,
                workloads: workloads.iter().map(ToString::to_string).collect(),
                namespace: namespace.name,
                depends_on: edges.iter().cloned().collect(),
            })
        }
        Ok(_) => Err(problems),
        Err(more) => Err(problems.into_iter().chain(more).collect()),
    }
}

/// Expands the params in the scope where they were written and checks them by the type's schema.
pub(crate) fn params_value(
    cx: &Cx<'_>,
    node: &NodeKey,
    params: Option<&(&Map<String, Value>, Scope)>,
    namespace: Option<Value>,
    outcomes: &BTreeMap<NodeKey, NodeOutcome>,
    problems: &mut Vec<Diagnostic>,
) -> Value {
    let mut unexpanded = Vec::new();
    let (value, subject, base) = match params {
        Some((params, scope)) => {
            let lookup = Lookup::new(cx, outcomes, scope.clone(), namespace);
            let (subject, base) = params_place(cx, node, scope);
            (expand_value(&lookup, &Value::Object((*params).clone()), &subject, &base, &mut unexpanded), subject, base)
        }
        // A type may demand some of them.
        None => (json!({}), node.to_string(), "/params".to_owned()),
    };
    let is_told = |problem: &Diagnostic| unexpanded.iter().any(|told| told.pointer == problem.pointer);
    if let NodeKey::Resource(key) = node
        && let Some(kind) = desired::resource_type(&cx.input.layers, key.r#type.as_str())
        && !kind.spec.params.is_null()
    {
        match cx.type_schema(&kind.spec.params) {
            Ok(schema) => {
                let misfits = schema.check(&TokenTable::default().open(&value), &base, &|_| None);
                problems.extend(misfits.into_iter().filter(|misfit| !is_told(misfit)).map(|misfit| misfit.on(&subject)));
            }
            Err(error) => problems.push(Diagnostic::error("type-schema", error).on(format!("ResourceType/{}", kind.name()))),
        }
    }
    problems.append(&mut unexpanded);
    value
}

/// Expands a typed value; every wrong placeholder is a finding with its place.
pub(crate) fn expand_value(lookup: &Lookup<'_, '_>, value: &Value, subject: &str, base: &str, problems: &mut Vec<Diagnostic>) -> Value {
    let mut errors = Vec::new();
    let value = expand::typed(value, &mut |path| lookup.get(path), &Pointer::Root, &mut errors);
    problems.extend(errors.into_iter().map(|(at, error)| diagnostic(error, subject, format!("{base}{at}"))));
    value
}

pub(crate) fn diagnostic(error: expand::ExpandError, subject: &str, at: String) -> Diagnostic {
    let problem = Diagnostic::error(error.code, error.message).on(subject).at(at);
    match error.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// Calls the driver and reads its answer. Without `outcomes`, names are not held to what the node may use: `explain` asks
/// what would be if a value were another, and such a value comes from nowhere.
pub(crate) fn call(
    cx: &Cx<'_>,
    call: &ResourceCall<'_>,
    outcomes: Option<&BTreeMap<NodeKey, NodeOutcome>>,
) -> Result<NodeOutcome, Vec<Diagnostic>> {
    let node = NodeKey::Resource(call.key.clone());
    let document = format!("ResourceDefinition/{}", call.definition.name());
    let schemas = cx.schemas_of(&node, &call.used)?;
    let mut tokens = TokenTable::default();
    let params = tokens.open(&call.params);
    let inputs = tokens.open(&call.inputs);
    let label = token_label(&tokens);
    let mut problems: Vec<Diagnostic> =
        schemas.inputs.check(&inputs, "/spec/inputs", &label).into_iter().map(|problem| problem.on(&document)).collect();
    problems.extend(schemas.params.check(&params, "/params", &label).into_iter().map(|problem| problem.on(&node)));
    let places = places(cx, &node, &document);
    let place = |problem: Diagnostic| of_request(problem, &node, &places);
    if !problems.is_empty() {
        return Err(problems.into_iter().map(|problem| place(staged_sentence(problem, &node))).collect());
    }
    let mut constraints = schemas.inputs.constraints(&inputs, "/inputs", &tokens);
    constraints.extend(schemas.params.constraints(&params, "/params", &tokens));
    let request = DriverRequest::Define {
        context: cx.driver_context(call.namespace.as_deref()),
        key: (call.key.r#type.to_string(), call.key.class.to_string(), call.key.id.to_string()),
        workloads: call.workloads.clone(),
        params: params.to_string(),
        inputs: inputs.to_string(),
    };
    let inputs_of_platform = Arc::new(decided(&call.definition.spec.inputs, &call.inputs));
    let recorder = Recorder::new(cx.recorder_input(&node, &call.used, &inputs_of_platform, call.namespace.as_deref(), tokens)?);
    let (result, mut recorder) = cx.host.call(&call.used.component, &request, recorder);
    let answer = answered(result, &recorder, &node).map_err(|problems| problems.into_iter().map(place).collect::<Vec<_>>())?;
    let (outputs, mut warnings) = outputs(cx, call, &answer, &mut recorder, &schemas.outputs, &node)?;
    warnings.extend(answer.warnings.into_iter().map(|warning| place(warning.on(&node))));
    warnings.extend(unencoded::warnings(&call.inputs, "/spec/inputs").into_iter().map(|warning| warning.on(&document)));
    warnings.extend(unencoded::warnings(&call.params, "/params").into_iter().map(|warning| place(warning.on(&node))));
    warnings.extend(unclosed(cx, call, &document, &node));
    let grants = call.used.grants.as_slice();
    let claims = cx.claims(&node, &recorder.actions, grants);
    let staged = recorder.actions.into_iter().map(|action| (action, grants));
    let actions = cx.planned_actions(&node, staged, call.definition.spec.on_remove, call.namespace.as_deref())?;
    // Names of what could not be planned are known to nothing.
    let references = match outcomes.filter(|outcomes| !is_behind_broken(cx, &node, outcomes)) {
        Some(outcomes) => references::check(&actions, &claims, Sources { depends_on: &call.depends_on, outcomes })?,
        None => Vec::new(),
    };
    Ok(NodeOutcome::new(PlannedNode { actions, constraints, outputs, references, ..call.unasked() }, warnings, 1))
}

/// Warns of placeholders that never end, in params and inputs as they were written.
fn unclosed(cx: &Cx<'_>, call: &ResourceCall<'_>, document: &str, node: &NodeKey) -> Vec<Diagnostic> {
    let inputs = unclosed_placeholders(&call.definition.spec.inputs, "/spec/inputs");
    let mut found: Vec<Diagnostic> = inputs.into_iter().map(|warning| warning.on(document)).collect();
    if let Some(NodeKind::Resource { params: Some((params, scope)), .. }) = cx.graph.nodes.get(node).map(|node| &node.kind) {
        let (subject, base) = params_place(cx, node, scope);
        found.extend(unclosed_placeholders(params, &base).into_iter().map(|warning| warning.on(&subject)));
    }
    found
}

/// Names what a deferred token waits for.
pub(crate) fn token_label(tokens: &TokenTable) -> impl Fn(&str) -> Option<String> + use<> {
    let parts: Vec<SharedPart> = tokens.parts().to_vec();
    move |inner| {
        inner.get(2..).and_then(|index| index.parse::<usize>().ok()).and_then(|index| parts.get(index)).map(|part| match &part.origin {
            windlass_model::sealed::Origin::Action { id, .. } => format!("`{id}`"),
            origin => format!("`{}`", origin.label()),
        })
    }
}

/// The code of what is refused because it is known only in a later stage.
pub(crate) const STAGED: &str = "staged";

/// Gives the refusal of a staged node its sentence.
pub(crate) fn staged_sentence(problem: Diagnostic, node: &NodeKey) -> Diagnostic {
    if problem.code != STAGED {
        return problem;
    }
    let after = problem.message.rsplit_once("known only after ").map_or("another action is ready", |(_, after)| after);
    let message = format!("`{node}` needs `{}`, known only after {after}", problem.pointer);
    Diagnostic { message, ..problem }
        .hint("this value would have to be known while planning; let the driver take it sealed, or give it in the definition")
}

/// Collects refusals: the driver's own, and those of what it staged.
pub(crate) fn answered(
    result: Result<DriverAnswer, CallError>,
    recorder: &Recorder,
    node: &NodeKey,
) -> Result<DriverAnswer, Vec<Diagnostic>> {
    let mut problems = recorder.diagnostics.clone();
    match result {
        Ok(answer) if problems.is_empty() => {
            for warning in &answer.warnings {
                refuse_tokens(warning, node)?;
            }
            return Ok(answer);
        }
        Ok(_) => {}
        Err(CallError::Refused(diagnostics)) => {
            for diagnostic in diagnostics {
                refuse_tokens(&diagnostic, node)?;
                problems.push(diagnostic.on(node));
            }
            if problems.is_empty() {
                problems.push(Diagnostic::error("driver-refused", "the driver refused without a reason").on(node));
            }
        }
        Err(CallError::Fault(fault)) => problems.push(Diagnostic::from(fault).on(node)),
    }
    Err(problems.into_iter().map(|problem| Diagnostic { severity: windlass_model::Severity::Error, ..problem }).collect())
}

/// A token in a diagnostic would carry it to a screen.
fn refuse_tokens(diagnostic: &Diagnostic, node: &NodeKey) -> Result<(), Vec<Diagnostic>> {
    let texts = [&diagnostic.code, &diagnostic.message, &diagnostic.pointer].into_iter().chain(diagnostic.hint.as_ref());
    for text in texts {
        if let Err(error) = crate::tokens::refuse(text) {
            return Err(vec![Diagnostic::error("sealed-token", format!("a diagnostic of the driver {error}")).on(node)]);
        }
    }
    Ok(())
}

/// Reads outputs: by the driver's schema, by the type's, secrets only where the type says so.
fn outputs(
    cx: &Cx<'_>,
    call: &ResourceCall<'_>,
    answer: &DriverAnswer,
    recorder: &mut Recorder,
    schema: &schema::TokenSchema,
    node: &NodeKey,
) -> Result<(Map<String, Value>, Vec<Diagnostic>), Vec<Diagnostic>> {
    let Body::Outputs(text) = &answer.body else { return Err(vec![invalid(node, "manifests instead of outputs")]) };
    let value: Value = serde_json::from_str(text).map_err(|error| vec![invalid(node, &format!("its outputs are no JSON: {error}"))])?;
    windlass_model::canonical::check(&value).map_err(|error| vec![invalid(node, &error.to_string())])?;
    if !value.is_object() {
        return Err(vec![invalid(node, "its outputs are no JSON object")]);
    }
    let mut problems: Vec<Diagnostic> = schema
        .check(&value, "", &token_label(&recorder.tokens))
        .into_iter()
        .map(|problem| Diagnostic { code: format!("output-{}", problem.code), ..problem })
        .collect();
    let Value::Object(fields) = value else { return Ok((Map::new(), Vec::new())) };
    let mut out = Map::new();
    let mut warnings = Vec::new();
    let kind = desired::resource_type(&cx.input.layers, call.key.r#type.as_str());
    let declared = kind.map(|kind| &kind.spec.outputs).filter(|outputs| !outputs.is_null());
    for (name, raw) in fields {
        if raw.is_null() {
            continue;
        }
        let closed = match recorder.close(raw) {
            Ok(closed) => closed,
            Err(errors) => {
                problems.push(token_problem(&errors).at(format!("/{name}")));
                continue;
            }
        };
        let closed = match declared {
            Some(declared) => schema::coerce(declared, &name, closed),
            None => closed,
        };
        let (mut has_secret, mut too_large) = (false, None);
        windlass_model::sealed::visit(&closed, &mut |_, sealed| {
            has_secret |= sealed.is_secret();
            // Views that the host adds are derivations too.
            too_large = too_large.or_else(|| sealed.size().check().err());
        });
        if let Some(limit) = too_large {
            problems.push(Diagnostic::error("sealed-size", format!("the output `{name}` {limit}")).at(format!("/{name}")));
            continue;
        }
        if let Some(declared) = declared {
            let secret = schema::is_secret_output(declared, &name);
            if has_secret && !secret {
                problems.push(
                    Diagnostic::error(
                        "secret-output",
                        format!("the output `{name}` holds a secret, but the type `{}` does not mark it so", call.key.r#type),
                    )
                    .at(format!("/{name}"))
                    .hint("mark it with `x-windlass-secret: true` in the ResourceType"),
                );
            }
            if secret && !has_secret && closed.is_string() {
                warnings.push(
                    Diagnostic::warning(
                        "open-secret",
                        format!("the output `{name}` is marked secret, but the driver knows its value: it stands in the plan"),
                    )
                    .on(node),
                );
            }
            let properties = declared.get("properties").and_then(Value::as_object);
            if let Some(properties) = properties
                && !properties.contains_key(&name)
                && declared.get("additionalProperties") == Some(&Value::Bool(false))
            {
                let problem = Diagnostic::error(
                    "undeclared-output",
                    format!("the output `{name}` is not declared by the type `{}`", call.key.r#type),
                )
                .at(format!("/{name}"));
                problems.push(problem.hint_if(did_you_mean(&name, properties.keys().map(String::as_str))));
            }
        }
        out.insert(name, closed);
    }
    if let Some(declared) = declared {
        let open = TokenTable::default().open(&Value::Object(out.clone()));
        match cx.type_schema(declared) {
            Ok(schema) => problems.extend(
                schema
                    .check(&open, "", &|_| None)
                    .into_iter()
                    .filter(|problem| !problem.message.starts_with("unknown field"))
                    .map(|problem| Diagnostic { code: "output-schema".into(), ..problem }),
            ),
            Err(error) => problems.push(Diagnostic::error("type-schema", error)),
        }
    }
    if problems.is_empty() {
        return Ok((out, warnings));
    }
    problems.dedup();
    Err(problems
        .into_iter()
        .map(|problem| {
            Diagnostic { message: format!("driver `{}`: {}", call.used.reference.component_key(), problem.message), ..problem }.on(node)
        })
        .collect())
}

fn invalid(node: &NodeKey, message: &str) -> Diagnostic {
    Diagnostic::error("driver-answer", format!("the driver gave an invalid answer: {}", printable(message))).on(node)
}
