//! Who makes a resource: the strongest layer that knows the address decides.

use std::collections::BTreeMap;

use windlass_model::{
    Diagnostic, ResourceKey, did_you_mean,
    name::{ClassName, DocumentName},
    platform::{LayerName, Layers, MatchRule, MatchSubject, ResourceDefinition},
};

use super::{Builder, GraphInput, HostType, Maker, Wanted, need_key, tie};
use crate::matching::{self, Choice, Lost};

impl<'a> Builder<'a> {
    /// Finds who makes a resource: the strongest layer that knows the address decides.
    pub(super) fn maker(&mut self, wanted: &Wanted<'a>) -> Option<Maker<'a>> {
        let key = &wanted.key;
        let class = class_of(self.input.layers, key);
        if class != key.class {
            self.warnings.push(unknown_class(self.input.layers, key).on(wanted.subject.clone()).at(format!("{}/class", wanted.pointer)));
        }
        let subject = self.subject(Some(key), None);
        let mut known_type = HostType::of(key.r#type.as_str()).is_some();
        for (layer, platform) in &self.input.layers.0 {
            let candidates: Vec<&'a ResourceDefinition> = platform
                .definitions
                .values()
                .filter(|definition| definition.spec.r#type == key.r#type && definition.spec.classes().contains(&class))
                .collect();
            known_type |= platform.definitions.values().any(|definition| definition.spec.r#type == key.r#type);
            if candidates.is_empty() {
                continue;
            }
            return match matching::choose(candidates.iter().map(|definition| (*definition, definition.spec.r#match.as_slice())), &subject) {
                Choice::Won(won) => {
                    let definition = won.document;
                    let aliases =
                        definition.spec.resources.iter().map(|(alias, need)| (alias.clone(), need_key(need, key, alias))).collect();
                    Some(Maker::Definition {
                        layer: *layer,
                        definition,
                        rule: won.rule,
                        aliases,
                        provisioner: wanted.provisioner.clone(),
                        collected: BTreeMap::new(),
                    })
                }
                Choice::Tie(first, second) => {
                    let what = format!("definitions of `{key}`");
                    let problem = tie(&what, first.document.name(), first.rule.as_ref(), second.document.name(), second.rule.as_ref());
                    self.problems.push(problem.on(format!("ResourceDefinition/{}", first.document.name())).at("/spec/match"));
                    None
                }
                Choice::Nothing => {
                    let reasons: Vec<String> = candidates
                        .iter()
                        .map(|definition| {
                            format!("`{}`: {}", definition.name(), matching::why_lost(&definition.spec.r#match, &subject, None))
                        })
                        .collect();
                    self.problems.push(
                        Diagnostic::error(
                            "no-definition",
                            format!("no definition of `{}.{}` applies to `{key}` here", key.r#type, key.class),
                        )
                        .on(wanted.subject.clone())
                        .at(wanted.pointer.clone())
                        .hint(reasons.join("; ")),
                    );
                    None
                }
            };
        }
        if let (Some(host), true) = (HostType::of(key.r#type.as_str()), class.is_default()) {
            return Some(Maker::Host(host));
        }
        let (problem, at) = if known_type {
            let mut classes: Vec<String> = classes_of(self.input.layers, key).map(|class| class.to_string()).collect();
            classes.sort();
            classes.dedup();
            let problem = Diagnostic::error("unknown-class", format!("resource type `{}` has no class `{}`", key.r#type, key.class));
            (problem.hint(format!("classes: {}", classes.join(", "))), if key.class.is_default() { "type" } else { "class" })
        } else {
            let mut types: Vec<&str> = self
                .input
                .layers
                .iter()
                .flat_map(|(_, platform)| platform.definitions.values())
                .map(|definition| definition.spec.r#type.as_str())
                .chain(["environment", "service", "service-port"])
                .collect();
            types.sort_unstable();
            types.dedup();
            let problem = Diagnostic::error("unknown-type", format!("unknown resource type `{}`", key.r#type));
            let hint = did_you_mean(key.r#type.as_str(), types.iter().copied())
                .unwrap_or_else(|| "write a ResourceDefinition for it; `windlass platform list` shows the known types".to_owned());
            (problem.hint(hint), "type")
        };
        self.problems.push(problem.on(wanted.subject.clone()).at(format!("{}/{at}", wanted.pointer)));
        None
    }
}

/// Returns the class whose definitions make a resource: its own, or `default` where nothing makes its own and something that one.
fn class_of(layers: &Layers, key: &ResourceKey) -> ClassName {
    let default = ClassName::default_class();
    let is_made = |class: &ClassName| classes_of(layers, key).any(|known| known == *class);
    if !is_made(&key.class) && is_made(&default) { default } else { key.class.clone() }
}

/// Lists the classes of a resource's type.
fn classes_of(layers: &Layers, key: &ResourceKey) -> impl Iterator<Item = ClassName> {
    let definitions = layers.iter().flat_map(|(_, platform)| platform.definitions.values());
    let of_type = definitions.filter(|definition| definition.spec.r#type == key.r#type);
    let host = HostType::of(key.r#type.as_str()).map(|_| ClassName::default_class());
    of_type.flat_map(|definition| definition.spec.classes().to_vec()).chain(host)
}

/// Says that a class is unknown, and that the default one is used.
fn unknown_class(layers: &Layers, key: &ResourceKey) -> Diagnostic {
    let mut classes: Vec<String> = classes_of(layers, key).map(|class| class.to_string()).collect();
    classes.sort();
    classes.dedup();
    let message = format!("resource type `{}` has no class `{}`; its class `default` is used", key.r#type, key.class);
    Diagnostic::warning("unknown-class", message).hint(format!("classes: {}", classes.join(", ")))
}

/// Tells, for every definition of an address, whether it won and if not, why.
#[must_use]
pub fn candidates<'a>(
    input: &GraphInput<'a>,
    key: &ResourceKey,
    winner: Option<(&LayerName, &DocumentName, Option<&MatchRule>)>,
) -> Vec<(LayerName, &'a ResourceDefinition, Option<Lost>)> {
    let subject = MatchSubject {
        application: input.application,
        environment: input.environment,
        environment_type: input.environment_type,
        resource: Some(key),
        workload: None,
    };
    let class = class_of(input.layers, key);
    let mut out = Vec::new();
    for (layer, platform) in &input.layers.0 {
        for definition in platform
            .definitions
            .values()
            .filter(|definition| definition.spec.r#type == key.r#type && definition.spec.classes().contains(&class))
        {
            let lost = match winner {
                Some((won_layer, won, _)) if won_layer == layer && won == definition.name() => None,
                Some((won_layer, _, _)) if won_layer < layer => Some(Lost::Hidden { by: won_layer.label() }),
                Some((_, _, rule)) => Some(matching::why_lost(&definition.spec.r#match, &subject, rule)),
                None => Some(matching::why_lost(&definition.spec.r#match, &subject, None)),
            };
            out.push((*layer, definition, lost));
        }
    }
    out
}
