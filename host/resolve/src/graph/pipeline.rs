//! Which profile renders a workload, and its pipeline: appended stages can't be matched away.

use windlass_model::{
    Diagnostic, did_you_mean,
    name::{DocumentName, WorkloadName},
    platform::{EnvironmentType, LayerName, MatchRule, Stage, WorkloadProfile},
    score::{self, Workload},
};

use super::{Builder, tie};
use crate::matching::{self, Choice};

impl<'a> Builder<'a> {
    pub(super) fn environment_type(&self) -> Option<&'a EnvironmentType> {
        let name = self.input.environment_type.as_str();
        // `--platform DIR` never shadows a stored type: the stored and built-in layers are asked first.
        let layers = &self.input.layers.0;
        let find = |given: bool| {
            layers.iter().filter(move |(layer, _)| (*layer == LayerName::Given) == given).find_map(|(_, platform)| {
                platform.environment_types.iter().find(|(key, _)| key.as_str() == name).map(|(_, document)| document)
            })
        };
        let stored = layers.iter().filter(|(layer, _)| *layer == LayerName::Stored).find_map(|(_, platform)| {
            platform.environment_types.iter().find(|(key, _)| key.as_str() == name).map(|(_, document)| document)
        });
        stored.or_else(|| find(true)).or_else(|| find(false))
    }

    pub(super) fn pipeline(
        &mut self,
        name: &WorkloadName,
        workload: &Workload,
        environment_type: Option<&'a EnvironmentType>,
    ) -> (Option<(LayerName, &'a WorkloadProfile, Option<MatchRule>)>, Vec<(LayerName, &'a Stage)>) {
        let wanted = workload.metadata.annotations.get(score::PROFILE_ANNOTATION).cloned();
        let subject = self.subject(None, Some(name));
        let mut found = None;
        let mut problem = None;
        for (layer, platform) in &self.input.layers.0 {
            let candidates = platform
                .profiles
                .iter()
                .filter(|(profile, _)| wanted.as_ref().is_none_or(|wanted| profile.as_str() == wanted))
                .map(|(_, profile)| (profile, profile.spec.r#match.as_slice()));
            match matching::choose(candidates, &subject) {
                Choice::Won(won) => {
                    found = Some((*layer, won.document, won.rule));
                    break;
                }
                Choice::Tie(first, second) => {
                    problem =
                        Some(tie("profiles", first.document.name(), first.rule.as_ref(), second.document.name(), second.rule.as_ref()));
                    break;
                }
                Choice::Nothing => {}
            }
        }
        if let Some(problem) = problem {
            self.problems.push(problem.on(format!("workload/{name}")));
            return (None, Vec::new());
        }
        let Some((layer, profile, rule)) = found else {
            let names: Vec<&str> =
                self.input.layers.iter().flat_map(|(_, platform)| platform.profiles.keys().map(DocumentName::as_str)).collect();
            self.problems.push(
                match &wanted {
                    Some(wanted) => {
                        let problem = Diagnostic::error("profile", format!("no profile `{wanted}` applies here"))
                            .at(format!("/metadata/annotations/{}", windlass_model::pointer::escape(score::PROFILE_ANNOTATION)));
                        problem.hint_if(did_you_mean(wanted, names.into_iter()))
                    }
                    None => Diagnostic::error("profile", "no workload profile applies here")
                        .hint("write a WorkloadProfile without `match`, or use the built-in platform"),
                }
                .on(format!("workload/{name}")),
            );
            return (None, Vec::new());
        };
        let mut stages = Vec::new();
        let mut chain: Vec<&DocumentName> = vec![profile.name()];
        let mut at = profile;
        let mut lists = vec![(layer, &profile.spec.stages)];
        while let Some(base) = &at.spec.extends {
            if chain.contains(&base) {
                self.problems.push(
                    Diagnostic::error(
                        "profile-cycle",
                        format!(
                            "profiles extend each other: {} -> {base}",
                            chain.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" -> ")
                        ),
                    )
                    .on(format!("workload/{name}")),
                );
                break;
            }
            let Some((layer, document)) =
                self.input.layers.0.iter().find_map(|(layer, platform)| platform.profiles.get(base).map(|document| (*layer, document)))
            else {
                self.problems.push(
                    Diagnostic::error("profile", format!("profile `{}` extends `{base}`, which does not exist", at.name()))
                        .on(format!("workload/{name}")),
                );
                break;
            };
            chain.push(base);
            lists.push((layer, &document.spec.stages));
            at = document;
        }
        for (layer, list) in lists.into_iter().rev() {
            stages.extend(list.iter().map(|stage| (layer, stage)));
        }
        if let Some(document) = environment_type {
            let layer = self
                .input
                .layers
                .0
                .iter()
                .find(|(_, platform)| platform.environment_types.values().any(|known| std::ptr::eq(known, document)))
                .map_or(LayerName::BuiltIn, |(layer, _)| *layer);
            stages.extend(document.spec.workload_stages.iter().map(|stage| (layer, stage)));
        }
        if stages.is_empty() {
            self.problems
                .push(Diagnostic::error("profile", format!("profile `{}` has no stage", profile.name())).on(format!("workload/{name}")));
        }
        (Some((layer, profile, rule)), stages)
    }
}
