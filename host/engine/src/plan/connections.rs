//! Which connection each family of capabilities acts through.

use std::collections::BTreeMap;

use windlass_model::{
    Diagnostic,
    name::DocumentName,
    plan::PlannedNode,
    platform::{Connection, ConnectionSettings, Family, LayerName, MatchRule, MatchSubject},
};
use windlass_resolve::matching::{self, Choice};

use super::PlanInput;

/// A connection that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its name.
    pub name: DocumentName,
    /// Its settings.
    pub settings: ConnectionSettings,
}

/// The connections of an environment.
#[derive(Clone, Debug)]
pub struct Connections<'a> {
    chosen: BTreeMap<Family, Chosen>,
    all: BTreeMap<&'a DocumentName, &'a Connection>,
}

impl<'a> Connections<'a> {
    /// Chooses one connection for each family. The built-in ones are used where no other applies.
    pub fn choose(input: &'a PlanInput) -> Result<Self, Vec<Diagnostic>> {
        let subject = MatchSubject {
            application: &input.environment.application,
            environment: &input.environment.environment,
            environment_type: &input.environment_type,
            resource: None,
            workload: None,
        };
        let mut problems = Vec::new();
        let mut all: BTreeMap<&DocumentName, (&Connection, LayerName)> = BTreeMap::new();
        for (layer, platform) in &input.layers.0 {
            for (name, connection) in &platform.connections {
                match all.get(name) {
                    // `--platform DIR` never shadows a stored connection.
                    Some((_, LayerName::Given)) if *layer == LayerName::Stored => {
                        if all.get(name).is_some_and(|(given, _)| *given != connection) {
                            problems.push(
                                Diagnostic::error(
                                    "connection-shadowed",
                                    format!("`--platform` may not change the stored connection `{name}`"),
                                )
                                .hint("rename it, or apply it with `windlass platform apply`"),
                            );
                        }
                    }
                    Some(_) => {}
                    None => {
                        all.insert(name, (connection, *layer));
                    }
                }
            }
        }
        let mut chosen = BTreeMap::new();
        for family in [Family::Kubernetes, Family::Secrets] {
            for built_in in [false, true] {
                let candidates = all
                    .values()
                    .filter(|(connection, layer)| {
                        connection.spec.settings().family() == family && (*layer == LayerName::BuiltIn) == built_in
                    })
                    .map(|(connection, _)| (*connection, connection.spec.r#match.as_slice()));
                match matching::choose(candidates, &subject) {
                    Choice::Won(won) => {
                        chosen.insert(family, Chosen { name: won.document.name().clone(), settings: won.document.spec.settings() });
                        break;
                    }
                    Choice::Tie(first, second) => {
                        problems.push(tie(first.document.name(), first.rule.as_ref(), second.document.name(), second.rule.as_ref()));
                        break;
                    }
                    Choice::Nothing => {}
                }
            }
        }
        if problems.is_empty() {
            Ok(Self { chosen, all: all.into_iter().map(|(name, (connection, _))| (name, connection)).collect() })
        } else {
            Err(problems)
        }
    }

    /// Returns the connection of a family, or the one that a grant names.
    pub fn of(&self, family: Family, named: Option<&DocumentName>) -> Result<Chosen, Diagnostic> {
        match named {
            Some(name) => match self.all.get(name) {
                Some(connection) if connection.spec.settings().family() == family => {
                    Ok(Chosen { name: name.clone(), settings: connection.spec.settings() })
                }
                Some(_) => Err(Diagnostic::error("connection", format!("connection `{name}` is of another kind"))),
                None => Err(Diagnostic::error("connection", format!("there is no connection `{name}`"))),
            },
            None => self.chosen.get(&family).cloned().ok_or_else(|| {
                Diagnostic::error("connection", format!("no connection for {family:?} applies here"))
                    .hint("write a Connection, or widen the `match` of one")
            }),
        }
    }

    /// Returns the settings of a connection by name.
    #[must_use]
    pub fn by_name(&self, name: &DocumentName) -> Option<ConnectionSettings> {
        self.all.get(name).map(|connection| connection.spec.settings())
    }

    /// Returns the chosen connections, for the policy's digest.
    pub(crate) fn settings(&self) -> Vec<(String, ConnectionSettings)> {
        self.chosen.values().map(|chosen| (chosen.name.to_string(), chosen.settings.clone())).collect()
    }

    /// One object staged by two nodes, or owned by another environment, is an error that names both.
    pub(crate) fn check_uniqueness(&self, nodes: &[PlannedNode], input: &PlanInput) -> Result<(), Vec<Diagnostic>> {
        let mut seen: BTreeMap<(String, &str), &str> = BTreeMap::new();
        let mut problems = Vec::new();
        let own = input.environment.to_string();
        for action in nodes.iter().flat_map(|node| &node.actions) {
            let key = (action.connection.to_string(), action.identity.as_str());
            if let Some(first) = seen.get(&key) {
                problems.push(
                    Diagnostic::error(
                        "identity-twice",
                        format!("`{}` is staged twice: by `{first}` and by `{}`", action.identity, action.id),
                    )
                    .on(&action.id)
                    .hint("give one of them another name"),
                );
            }
            seen.insert(key, action.id.as_str());
            let scope = self.by_name(&action.connection).map(|settings| claim_scope(&settings, input)).unwrap_or_default();
            if let Some(owner) =
                input.claims.get(&claim(action.connection.as_str(), &scope, &action.identity)).filter(|owner| **owner != own)
            {
                problems.push(
                    Diagnostic::error("identity-owned", format!("`{}` belongs to the environment `{owner}`", action.identity))
                        .on(&action.id)
                        .hint("use another name or namespace, or remove it there first"),
                );
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// A folder of its own for each environment makes identities of different environments different things.
fn claim_scope(settings: &ConnectionSettings, input: &PlanInput) -> String {
    match settings {
        ConnectionSettings::Directory { directory } => {
            let path = directory.path.clone().unwrap_or_else(|| DIRECTORY_DEFAULT.to_owned());
            path.replace("${application}", input.environment.application.as_str())
                .replace("${environment}", input.environment.environment.as_str())
        }
        ConnectionSettings::Kubernetes { .. } => String::new(),
        ConnectionSettings::Secrets {} => input.environment.to_string(),
    }
}

/// The folder of manifests inside the data folder, where a connection names none.
pub const DIRECTORY_DEFAULT: &str = "manifests/${application}/${environment}";

/// Writes a claim: who owns what through which connection.
#[must_use]
pub(crate) fn claim(connection: &str, scope: &str, identity: &str) -> String {
    format!("{connection} {scope} {identity}")
}

/// Returns the claim of a recorded action.
#[must_use]
pub fn claim_of(action: &windlass_model::state::RecordedAction, environment: &windlass_model::state::EnvironmentKey) -> String {
    let scope = match &action.settings {
        ConnectionSettings::Directory { directory } => {
            let path = directory.path.clone().unwrap_or_else(|| DIRECTORY_DEFAULT.to_owned());
            path.replace("${application}", environment.application.as_str()).replace("${environment}", environment.environment.as_str())
        }
        ConnectionSettings::Kubernetes { .. } => String::new(),
        ConnectionSettings::Secrets {} => environment.to_string(),
    };
    claim(action.connection.as_str(), &scope, &action.identity)
}

fn tie(first: &DocumentName, first_rule: Option<&MatchRule>, second: &DocumentName, second_rule: Option<&MatchRule>) -> Diagnostic {
    let show = |rule: Option<&MatchRule>| rule.and_then(|rule| serde_json::to_string(rule).ok()).unwrap_or_else(|| "everywhere".to_owned());
    Diagnostic::error(
        "tie",
        format!("two connections apply equally: `{first}` ({}) and `{second}` ({})", show(first_rule), show(second_rule)),
    )
}
