//! Which connection each family of capabilities acts through, and which connections an environment may use at all.
//!
//! The `match` of a connection is a boundary: no document can name a connection where it does not apply.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use windlass_model::{
    ActionId, Diagnostic,
    identity::shown,
    name::DocumentName,
    plan::{PlannedAction, PlannedNode},
    platform::{Connection, ConnectionSettings, Family, LayerName, MatchRule, MatchSubject, of_environment},
    state::{EnvironmentKey, RecordedAction},
};
use windlass_resolve::matching::{self, Choice, Lost};

use super::PlanInput;
use crate::planner::Planners;

/// The connections of an environment.
#[derive(Clone, Debug)]
pub struct Connections<'a> {
    chosen: BTreeMap<Family, &'a DocumentName>,
    /// Those that apply to the environment.
    usable: BTreeMap<&'a DocumentName, ConnectionSettings>,
    /// Those that apply to other environments only, each with the reason.
    elsewhere: BTreeMap<&'a DocumentName, Lost>,
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
        let elsewhere: BTreeMap<&DocumentName, Lost> =
            all.iter().filter_map(|(name, (connection, _))| Some((*name, matching::unfit(&connection.spec.r#match, &subject)?))).collect();
        let usable = settings(&all, &elsewhere, &mut problems);
        let mut chosen = BTreeMap::new();
        for family in Family::ALL {
            for built_in in [false, true] {
                let candidates = all
                    .iter()
                    .filter(|(name, (_, layer))| {
                        usable.get(*name).is_some_and(|settings| settings.family() == family) && (*layer == LayerName::BuiltIn) == built_in
                    })
                    .map(|(_, (connection, _))| (*connection, connection.spec.r#match.as_slice()));
                match matching::choose(candidates, &subject) {
                    Choice::Won(won) => {
                        chosen.insert(family, won.document.name());
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
        // What was made is removed through the settings that are recorded with it, whatever became of the connections.
        if problems.is_empty() || input.destroy { Ok(Self { chosen, usable, elsewhere }) } else { Err(problems) }
    }

    /// Returns the connection of a family, or the one that a grant names, with its settings.
    pub fn of(&self, family: Family, named: Option<&DocumentName>) -> Result<(&'a DocumentName, &ConnectionSettings), Diagnostic> {
        match named {
            Some(name) => match self.usable(name)? {
                (name, settings) if settings.family() == family => Ok((name, settings)),
                (_, settings) => Err(Diagnostic::error(
                    "connection",
                    format!("connection `{name}` is of capability `{}`, `{}` is needed", settings.kind(), family.capability()),
                )),
            },
            None => self.chosen.get(&family).and_then(|name| Some((*name, self.usable.get(name)?))).ok_or_else(|| {
                Diagnostic::error("connection", format!("no connection of capability `{}` applies here", family.capability()))
                    .hint("write a Connection, or widen the `match` of one")
            }),
        }
    }

    /// Returns a connection by name with its settings.
    ///
    /// # Errors
    /// There is none, or its `match` does not fit the environment.
    pub fn usable(&self, name: &DocumentName) -> Result<(&'a DocumentName, &ConnectionSettings), Diagnostic> {
        if let Some((name, settings)) = self.usable.get_key_value(name) {
            return Ok((name, settings));
        }
        Err(match self.elsewhere.get(name) {
            Some(why) => {
                Diagnostic::error("connection-elsewhere", format!("connection `{name}` does not apply to this environment: {why}")).hint(
                    "use a connection whose `match` fits, or widen the `match` of this one; what was made through it can still be removed",
                )
            }
            None => Diagnostic::error("connection", format!("there is no connection `{name}`")),
        })
    }

    /// Returns the connections that decide what may be planned, for the policy's digest: those that are chosen, and those that grants name
    /// and that apply.
    pub(crate) fn policy(&self, named: &BTreeSet<&str>) -> Vec<(&DocumentName, &ConnectionSettings)> {
        let is_chosen = |name: &DocumentName| self.chosen.values().any(|chosen| *chosen == name);
        let chosen = self.chosen.values().filter_map(|name| Some((*name, self.usable.get(name)?)));
        let granted = self.usable.iter().filter(|(name, _)| named.contains(name.as_str()) && !is_chosen(name));
        chosen.chain(granted.map(|(name, settings)| (*name, settings))).collect()
    }

    /// One object staged by two nodes, or owned by another environment, is an error that names both.
    pub(crate) fn check_uniqueness<'p>(
        &self,
        nodes: impl Iterator<Item = &'p PlannedNode>,
        input: &PlanInput,
        planners: &Planners,
    ) -> Result<(), Vec<Diagnostic>> {
        let mut seen: HashMap<(&DocumentName, &str), &ActionId> = HashMap::new();
        let mut problems = Vec::new();
        let own = input.environment.to_string();
        let scopes: BTreeMap<&DocumentName, String> =
            self.usable.iter().map(|(name, settings)| (*name, claim_scope(settings, &input.environment))).collect();
        let actions: Vec<&PlannedAction> = nodes.flat_map(|node| &node.actions).collect();
        for &action in &actions {
            if let Some(first) = seen.insert((&action.connection, &action.identity), &action.id) {
                problems.push(
                    Diagnostic::error(
                        "identity-twice",
                        format!("`{}` is staged twice: by `{first}` and by `{}`", shown(&action.identity), action.id),
                    )
                    .on(&action.id)
                    .hint("give one of them another name"),
                );
            }
            if input.claims.is_empty() {
                continue;
            }
            if let Some(twin) = self.namespace_twin(action, input) {
                problems.push(
                    Diagnostic::error("namespace-shared", format!("`{own}` and `{twin}` would share `{}`", shown(&action.identity)))
                        .on(&action.id)
                        .hint("name the namespace of one of them by a definition of `k8s-namespace`"),
                );
            }
            let scope = scopes.get(&action.connection).map_or("", String::as_str);
            if let Some(owner) =
                input.claims.get(&claim(action.connection.as_str(), scope, &action.identity)).filter(|owner| **owner != own)
            {
                problems.push(
                    Diagnostic::error("identity-owned", format!("`{}` belongs to the environment `{owner}`", shown(&action.identity)))
                        .on(&action.id)
                        .hint("use another name or namespace, or remove it there first"),
                );
            }
        }
        problems.extend(claimed_twice(&actions, &seen, planners));
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Finds another environment whose default namespace has the same name, such as `a/b-c` for `a-b/c`.
    ///
    /// Folders of environments are apart, so their claims differ; the manifests in them may still reach one cluster.
    fn namespace_twin(&self, action: &PlannedAction, input: &PlanInput) -> Option<EnvironmentKey> {
        let name = action.identity.strip_prefix(NAMESPACE_IDENTITY)?;
        let own = &input.environment;
        if *name != format!("{}-{}", own.application, own.environment) {
            return None;
        }
        let settings = self.usable.get(&action.connection)?;
        let split = |(at, _): (usize, &str)| {
            let (application, environment) = (name.get(..at)?.parse().ok()?, name.get(at + 1..)?.parse().ok()?);
            Some(EnvironmentKey { application, environment })
        };
        name.match_indices('-').filter_map(split).filter(|other| other != own).find(|other| {
            let claim = claim(action.connection.as_str(), &claim_scope(settings, other), &action.identity);
            input.claims.get(&claim).is_some_and(|owner| *owner == other.to_string())
        })
    }
}

/// Finds further claims of one thing by two nodes: a Secret that a controller makes for an object, and a mark by which Services find pods.
/// One node would take over what is meant for the other.
fn claimed_twice(actions: &[&PlannedAction], staged: &HashMap<(&DocumentName, &str), &ActionId>, planners: &Planners) -> Vec<Diagnostic> {
    let mut claimed: HashMap<(&DocumentName, String), &ActionId> = HashMap::new();
    let mut problems = Vec::new();
    for action in actions {
        let marks = planners.get(&action.capability).map(|planner| planner.marks(&action.spec)).unwrap_or_default();
        for claim in action.yields.iter().cloned().chain(marks) {
            let made = staged.get(&(&action.connection, claim.as_str())).copied();
            let said = format!("`{}` is claimed twice: by", shown(&claim));
            let earlier = claimed.insert((&action.connection, claim), &action.id);
            if let Some(first) = made.into_iter().chain(earlier).find(|first| first.node_text() != action.id.node_text()) {
                problems.push(
                    Diagnostic::error("claimed-twice", format!("{said} `{first}` and by `{}`", action.id))
                        .on(&action.id)
                        .hint("one would take over what is meant for the other: give one of them another name"),
                );
            }
        }
    }
    problems
}

/// What the identity of a Namespace begins with.
const NAMESPACE_IDENTITY: &str = "/Namespace//";

/// Tells inside what identities are unique: a folder, a state or a store of its own for each environment makes equal names different things.
fn claim_scope(settings: &ConnectionSettings, environment: &EnvironmentKey) -> String {
    match settings {
        ConnectionSettings::Directory { directory } => of_environment(directory.path.as_deref().unwrap_or(DIRECTORY_DEFAULT), environment),
        ConnectionSettings::Kubernetes { .. }
        | ConnectionSettings::Postgres { .. }
        | ConnectionSettings::Aws { .. }
        | ConnectionSettings::Vault { .. }
        | ConnectionSettings::SecretsManager { .. } => String::new(),
        ConnectionSettings::Secrets {} | ConnectionSettings::Terraform { .. } => environment.to_string(),
    }
}

/// Reads the settings of the connections that apply; one that names another takes over how that is reached.
fn settings<'a>(
    all: &BTreeMap<&'a DocumentName, (&'a Connection, LayerName)>,
    elsewhere: &BTreeMap<&'a DocumentName, Lost>,
    problems: &mut Vec<Diagnostic>,
) -> BTreeMap<&'a DocumentName, ConnectionSettings> {
    let mut out = BTreeMap::new();
    for (name, (connection, _)) in all {
        let Some(mut settings) = connection.spec.settings() else {
            problems.push(
                Diagnostic::error("connection-settings", format!("connection `{name}` says nothing about the system that it is for"))
                    .on(format!("Connection/{name}"))
                    .at("/spec")
                    .hint("give it the field that `capability` names; `windlass schema Connection` shows what belongs there"),
            );
            continue;
        };
        if elsewhere.contains_key(name) {
            continue;
        }
        if let ConnectionSettings::Kubernetes { kubernetes } = &mut settings
            && let Some(eks) = &mut kubernetes.eks
            && let Some(named) = eks.connection.take()
        {
            let at = |problem: Diagnostic| problem.on(format!("Connection/{name}")).at("/spec/kubernetes/eks/connection");
            match (elsewhere.get(&named), all.get(&named).and_then(|(other, _)| other.spec.aws.clone())) {
                (None, Some(aws)) => eks.aws = Some(aws),
                (Some(why), _) => problems.push(at(Diagnostic::error(
                    "connection-elsewhere",
                    format!("connection `{named}` does not apply to this environment: {why}"),
                )
                .hint("give both connections the same `match`"))),
                (None, None) => problems.push(at(Diagnostic::error("connection", format!("there is no AWS connection `{named}`")))),
            }
        }
        out.insert(*name, settings);
    }
    out
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
pub fn claim_of(action: &RecordedAction, environment: &EnvironmentKey) -> String {
    let scope = claim_scope(&action.settings, environment);
    claim(action.connection.as_str(), &scope, &action.identity)
}

fn tie(first: &DocumentName, first_rule: Option<&MatchRule>, second: &DocumentName, second_rule: Option<&MatchRule>) -> Diagnostic {
    let show = |rule: Option<&MatchRule>| rule.and_then(|rule| serde_json::to_string(rule).ok()).unwrap_or_else(|| "everywhere".to_owned());
    Diagnostic::error(
        "tie",
        format!("two connections apply equally: `{first}` ({}) and `{second}` ({})", show(first_rule), show(second_rule)),
    )
}
