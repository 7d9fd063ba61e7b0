//! Who makes a resource: the strongest layer that knows the address decides.

use std::collections::BTreeMap;

use windlass_model::{
    Diagnostic, ResourceKey, did_you_mean,
    name::{ClassName, DocumentName},
    platform::{LayerName, MatchRule, MatchSubject, ResourceDefinition},
};

use super::{Builder, GraphInput, HostType, Maker, Wanted, need_key, tie};
use crate::matching::{self, Choice, Lost};

impl<'a> Builder<'a> {
    /// Finds who makes a resource: the strongest layer that knows the address decides.
    pub(super) fn maker(&mut self, wanted: &Wanted<'a>) -> Option<Maker<'a>> {
        let key = &wanted.key;
        let subject = self.subject(Some(key), None);
        let mut known_type = HostType::of(key.r#type.as_str()).is_some();
        for (layer, platform) in &self.input.layers.0 {
            let candidates: Vec<&'a ResourceDefinition> = platform
                .definitions
                .values()
                .filter(|definition| definition.spec.r#type == key.r#type && definition.spec.classes().contains(&key.class))
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
        if let (Some(host), true) = (HostType::of(key.r#type.as_str()), key.class.is_default()) {
            return Some(Maker::Host(host));
        }
        let (problem, at) = if known_type {
            let mut classes: Vec<String> = self
                .input
                .layers
                .iter()
                .flat_map(|(_, platform)| platform.definitions.values())
                .filter(|definition| definition.spec.r#type == key.r#type)
                .flat_map(|definition| definition.spec.classes())
                .map(|class| class.to_string())
                .chain(HostType::of(key.r#type.as_str()).map(|_| ClassName::default_class().to_string()))
                .collect();
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
    let mut out = Vec::new();
    for (layer, platform) in &input.layers.0 {
        for definition in platform
            .definitions
            .values()
            .filter(|definition| definition.spec.r#type == key.r#type && definition.spec.classes().contains(&key.class))
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
