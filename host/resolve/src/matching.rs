//! Matching: the most specific rule wins; a tie is an error that names both.
//!
//! Rules are compared by their most specific field first: resourceId > environment > application >
//! environmentType, for profiles with the workload in front. No counting of fields.

use windlass_model::platform::{MatchRule, MatchSubject, OneOrMany};

/// Fields in the order of their weight.
const FIELDS: [&str; 5] = ["workload", "resourceId", "environment", "application", "environmentType"];

/// Which fields a rule names, most specific first: compared as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity([bool; 5]);

/// A document that applies, with the rule that made it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched<T> {
    /// The document.
    pub document: T,
    /// The rule; none if the document applies everywhere.
    pub rule: Option<MatchRule>,
}

/// The outcome of matching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice<T> {
    /// One document won.
    Won(Matched<T>),
    /// Nothing applies.
    Nothing,
    /// Two are equally specific.
    Tie(Matched<T>, Matched<T>),
}

/// Why a document did not win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A field of its nearest rule does not fit.
    Unfit {
        /// The field.
        field: &'static str,
        /// What the rule wants.
        wants: String,
        /// What is the case.
        is: String,
    },
    /// It fits, but the winner names a more specific field.
    LessSpecific {
        /// The first field that the winner names and this one does not.
        field: &'static str,
    },
    /// A stronger layer has a document for the same address.
    Hidden {
        /// The layer.
        by: &'static str,
    },
    /// It fits as well as the winner does.
    Tied,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unfit { field, wants, is } => write!(f, "{field} is `{is}`, the rule wants {wants}"),
            Self::LessSpecific { field } => write!(f, "less specific: the winner's rule names {field}"),
            Self::Hidden { by } => write!(f, "hidden: the {by} layer has a definition for this address"),
            Self::Tied => f.write_str("exactly as specific as another rule"),
        }
    }
}

fn fits<T: AsRef<str>>(wanted: Option<&OneOrMany<T>>, is: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| is.is_some_and(|is| wanted.as_slice().iter().any(|name| name.as_ref() == is)))
}

struct Field<'r> {
    wants: Option<Vec<&'r str>>,
    is: Option<String>,
}

fn fields<'r>(rule: &'r MatchRule, subject: &MatchSubject<'_>) -> [Field<'r>; 5] {
    fn wants<T: Borrowed>(values: Option<&OneOrMany<T>>) -> Option<Vec<&str>> {
        values.map(|values| values.as_slice().iter().map(Borrowed::text).collect())
    }
    [
        Field { wants: wants(rule.workload.as_ref()), is: subject.workload.map(ToString::to_string) },
        Field { wants: wants(rule.resource_id.as_ref()), is: subject.resource.map(|key| key.id.to_string()) },
        Field { wants: wants(rule.environment.as_ref()), is: Some(subject.environment.to_string()) },
        Field { wants: wants(rule.application.as_ref()), is: Some(subject.application.to_string()) },
        Field { wants: wants(rule.environment_type.as_ref()), is: Some(subject.environment_type.to_string()) },
    ]
}

trait Borrowed {
    fn text(&self) -> &str;
}

macro_rules! borrowed {
    ($($name:ident),*) => {$(
        impl Borrowed for windlass_model::name::$name {
            fn text(&self) -> &str {
                self.as_str()
            }
        }
    )*};
}

borrowed!(WorkloadName, ResourceId, EnvironmentName, ApplicationName, EnvironmentTypeName);

/// Returns how specific a rule is, if it fits.
#[must_use]
pub fn specificity(rule: &MatchRule, subject: &MatchSubject<'_>) -> Option<Specificity> {
    let mut named = Specificity::default();
    for (slot, field) in named.0.iter_mut().zip(fields(rule, subject)) {
        if let Some(wants) = &field.wants {
            if !field.is.as_deref().is_some_and(|is| wants.contains(&is)) {
                return None;
            }
            *slot = true;
        }
    }
    Some(named)
}

/// Returns the best fitting rule of a document; an empty list fits everywhere.
fn best<'r>(rules: &'r [MatchRule], subject: &MatchSubject<'_>) -> Option<(Specificity, Option<&'r MatchRule>)> {
    if rules.is_empty() {
        return Some((Specificity::default(), None));
    }
    rules
        .iter()
        .filter_map(|rule| specificity(rule, subject).map(|specificity| (specificity, Some(rule))))
        .max_by_key(|(specificity, _)| *specificity)
}

/// Chooses among the documents of one layer. The order of documents never matters.
pub fn choose<'d, T: Clone + 'd>(documents: impl Iterator<Item = (T, &'d [MatchRule])>, subject: &MatchSubject<'_>) -> Choice<T> {
    let mut winner: Option<(Specificity, Matched<T>)> = None;
    let mut tied: Option<Matched<T>> = None;
    for (document, rules) in documents {
        let Some((specificity, rule)) = best(rules, subject) else { continue };
        let found = Matched { document, rule: rule.cloned() };
        match &winner {
            Some((best, _)) if *best > specificity => {}
            Some((best, _)) if *best == specificity => {
                tied.get_or_insert(found);
            }
            _ => {
                winner = Some((specificity, found));
                tied = None;
            }
        }
    }
    match (winner, tied) {
        (Some((_, first)), Some(second)) => Choice::Tie(first, second),
        (Some((_, first)), None) => Choice::Won(first),
        (None, _) => Choice::Nothing,
    }
}

/// Returns why a document with these rules does not apply; `None` if it does.
#[must_use]
pub fn unfit(rules: &[MatchRule], subject: &MatchSubject<'_>) -> Option<Lost> {
    best(rules, subject).is_none().then(|| why_lost(rules, subject, None))
}

/// Tells why a document with these rules lost against a winner.
#[must_use]
pub fn why_lost(rules: &[MatchRule], subject: &MatchSubject<'_>, winner: Option<&MatchRule>) -> Lost {
    match best(rules, subject) {
        Some((own, _)) => {
            let won = winner.and_then(|rule| specificity(rule, subject)).unwrap_or_default();
            FIELDS
                .iter()
                .zip(won.0.iter().zip(own.0))
                .find(|(_, (winner, own))| **winner && !own)
                .map_or(Lost::Tied, |(field, _)| Lost::LessSpecific { field })
        }
        None => rules
            .iter()
            .flat_map(|rule| FIELDS.iter().zip(fields(rule, subject)))
            .find_map(|(name, field)| {
                let wants = field.wants?;
                let is = field.is.unwrap_or_default();
                if wants.contains(&is.as_str()) {
                    None
                } else {
                    Some(Lost::Unfit {
                        field: name,
                        wants: wants.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or "),
                        is,
                    })
                }
            })
            .unwrap_or(Lost::Tied),
    }
}

/// Tells whether a variation of an Application document applies.
#[must_use]
pub fn applies(rule: &MatchRule, environment: &str, environment_type: &str) -> bool {
    fits(rule.environment.as_ref().map(names).as_ref(), Some(environment))
        && fits(rule.environment_type.as_ref().map(names).as_ref(), Some(environment_type))
}

fn names<T: Borrowed>(values: &OneOrMany<T>) -> OneOrMany<String> {
    OneOrMany::Many(values.as_slice().iter().map(|value| value.text().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use windlass_model::ResourceKey;

    use super::*;

    fn rule(value: serde_json::Value) -> MatchRule {
        serde_json::from_value(value).unwrap()
    }

    fn subject_of<'a>(
        key: &'a ResourceKey,
        names: &'a (
            windlass_model::name::ApplicationName,
            windlass_model::name::EnvironmentName,
            windlass_model::name::EnvironmentTypeName,
        ),
    ) -> MatchSubject<'a> {
        MatchSubject { application: &names.0, environment: &names.1, environment_type: &names.2, resource: Some(key), workload: None }
    }

    fn names() -> (windlass_model::name::ApplicationName, windlass_model::name::EnvironmentName, windlass_model::name::EnvironmentTypeName)
    {
        ("shop".parse().unwrap(), "dev".parse().unwrap(), "development".parse().unwrap())
    }

    #[test]
    fn one_specific_field_beats_all_weaker_ones_together() {
        let key: ResourceKey = "postgres#web.db".parse().unwrap();
        let names = names();
        let subject = subject_of(&key, &names);
        let weak = [rule(json!({"environment": "dev", "application": "shop", "environmentType": "development"}))];
        let strong = [rule(json!({"resourceId": "web.db"}))];
        let Choice::Won(won) = choose([("weak", &weak[..]), ("strong", &strong[..])].into_iter(), &subject) else { panic!() };
        assert_eq!(won.document, "strong");
        assert_eq!(why_lost(&weak, &subject, won.rule.as_ref()).to_string(), "less specific: the winner's rule names resourceId");
        let unfit = [rule(json!({"environmentType": ["staging", "production"]}))];
        assert_eq!(
            why_lost(&unfit, &subject, won.rule.as_ref()).to_string(),
            "environmentType is `development`, the rule wants `staging` or `production`"
        );
    }

    fn any_rule() -> impl Strategy<Value = MatchRule> {
        let field = |values: [&'static str; 2]| prop_oneof![2 => Just(None), 2 => Just(Some(values[0])), 1 => Just(Some(values[1]))];
        (field(["web.db", "other"]), field(["dev", "prod"]), field(["shop", "bank"]), field(["development", "production"])).prop_map(
            |(id, environment, application, kind)| {
                let mut object = serde_json::Map::new();
                for (name, value) in
                    [("resourceId", id), ("environment", environment), ("application", application), ("environmentType", kind)]
                {
                    if let Some(value) = value {
                        object.insert(name.into(), value.into());
                    }
                }
                rule(serde_json::Value::Object(object))
            },
        )
    }

    proptest! {
        #[test]
        fn order_never_matters_and_ties_are_always_reported(rules in prop::collection::vec(prop::collection::vec(any_rule(), 0..3), 1..6), rotate in 0_usize..6) {
            let key: ResourceKey = "postgres#web.db".parse().unwrap();
            let names = names();
            let subject = subject_of(&key, &names);
            let documents: Vec<(usize, &[MatchRule])> = rules.iter().enumerate().map(|(index, rules)| (index, rules.as_slice())).collect();
            let mut turned = documents.clone();
            turned.rotate_left(rotate % documents.len());
            let first = choose(documents.iter().copied(), &subject);
            let second = choose(turned.into_iter(), &subject);
            // The slow, obvious model: all specificities, sorted.
            let mut all: Vec<Specificity> = documents.iter().filter_map(|(_, rules)| best(rules, &subject).map(|(specificity, _)| specificity)).collect();
            all.sort();
            match (&first, &second) {
                (Choice::Won(a), Choice::Won(b)) => {
                    prop_assert_eq!(a.document, b.document);
                    prop_assert!(all.len() < 2 || all[all.len() - 1] > all[all.len() - 2]);
                }
                (Choice::Tie(..), Choice::Tie(..)) => prop_assert_eq!(all[all.len() - 1], all[all.len() - 2]),
                (Choice::Nothing, Choice::Nothing) => prop_assert!(all.is_empty()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
