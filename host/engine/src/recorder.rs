//! The one recorder behind all handles: it checks, names and keeps what a driver stages.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use windlass_model::{
    ActionId, Diagnostic, NodeKey, limits, nesting, pointer,
    sealed::{Encoding, Origin, Part, Sealed, SealedPart, SharedPart},
    visible,
};

use crate::{
    budget::{CallBudget, Cost, LimitReached, PlanBudget},
    derive::{self, encode},
    planner::{Authority, Planner, Planners, SpecContext},
    tokens::{self, TokenError, TokenTable},
};

/// An action that a driver staged.
#[derive(Clone, Debug, PartialEq)]
pub struct StagedAction {
    /// The interface.
    pub interface: String,
    /// `kind/name`.
    pub local: String,
    /// What must be, in plan JSON.
    pub spec: Value,
    /// What it comes behind, as `kind/name` or a whole id.
    pub after: Vec<String>,
}

/// Records one call of a driver.
#[derive(Debug)]
pub struct Recorder {
    planners: Planners,
    node: NodeKey,
    authorities: BTreeMap<String, Authority>,
    contexts: BTreeMap<String, SpecContext>,
    secret_versions: Arc<BTreeMap<String, u64>>,
    /// The tokens of the call.
    pub tokens: TokenTable,
    /// What was staged; a refused spec stays as `null`.
    pub actions: Vec<StagedAction>,
    /// What was refused.
    pub diagnostics: Vec<Diagnostic>,
    /// What actions are called by their driver, and by us.
    names: BTreeMap<String, String>,
    budget: CallBudget,
}

/// What a recorder needs to know about its call.
#[derive(Clone, Debug)]
pub struct RecorderInput {
    /// The planners.
    pub planners: Planners,
    /// The node that is planned.
    pub node: NodeKey,
    /// What may be done, by interface.
    pub authorities: BTreeMap<String, Authority>,
    /// What specs are seen against, by interface.
    pub contexts: BTreeMap<String, SpecContext>,
    /// Versions of generated secrets, by action; 1 where nothing is recorded.
    pub secret_versions: Arc<BTreeMap<String, u64>>,
    /// The tokens of the request.
    pub tokens: TokenTable,
    /// What all calls of the plan share.
    pub budget: Arc<PlanBudget>,
}

impl Recorder {
    /// Starts a recording.
    #[must_use]
    pub fn new(input: RecorderInput) -> Self {
        let RecorderInput { planners, node, authorities, contexts, secret_versions, tokens, budget } = input;
        Self {
            planners,
            node,
            authorities,
            contexts,
            secret_versions,
            tokens,
            actions: Vec::new(),
            diagnostics: Vec::new(),
            names: BTreeMap::new(),
            budget: CallBudget::new(budget),
        }
    }

    /// Returns the interfaces that may be used.
    pub fn granted(&self) -> impl Iterator<Item = &str> {
        self.authorities.keys().map(String::as_str)
    }

    /// Pays for a call and the bytes that it hands over.
    fn count(&mut self, bytes: usize) -> Result<(), LimitReached> {
        self.budget.spend(Cost::Calls, 1)?;
        self.budget.spend(Cost::OutputBytes, bytes)
    }

    /// Pays for JSON texts, before they are read.
    ///
    /// # Errors
    ///
    /// The limit that they pass.
    pub fn count_json<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) -> Result<(), LimitReached> {
        for text in texts {
            self.budget.spend(Cost::OutputBytes, text.len())?;
            self.budget.spend(Cost::JsonValues, nesting::values(text.as_bytes()))?;
        }
        Ok(())
    }

    /// Turns what the driver wrote into plan JSON.
    ///
    /// # Errors
    ///
    /// The refused strings, by their places.
    pub fn close(&mut self, value: Value) -> Result<Value, Vec<(String, TokenError)>> {
        self.tokens.close(value, &mut self.budget)
    }

    /// Stages an action; a refusal becomes a diagnostic and the handle stays usable.
    pub fn construct(&mut self, interface: &str, resource: &str, name: &str, spec: &str) -> Result<u32, LimitReached> {
        self.count(name.len())?;
        self.count_json([spec])?;
        if self.actions.len() >= limits::ACTIONS_MAX {
            return Err(LimitReached::new("actions", limits::ACTIONS_MAX));
        }
        let called = format!("{resource}/{name}");
        let (spec, mut problems) = match self.stage(interface, resource, name, spec) {
            Ok((spec, problems)) => (spec, problems),
            Err(Refusal::Limit(limit)) => return Err(limit),
            Err(Refusal::Finding(problem)) => (Value::Null, vec![problem]),
        };
        let own = self.planners.get(interface).map_or_else(|| name.to_owned(), |planner| planner.action_name(name, &spec));
        let local = format!("{resource}/{own}");
        if self.names.insert(called.clone(), local.clone()).is_some() {
            problems.push(
                Diagnostic::error("duplicate-action", format!("`{}` is staged twice", printable(&called)))
                    .hint("names are unique inside a node"),
            );
        }
        self.refuse(problems.into_iter().map(|problem| problem.on(format!("{}:{}", self.node, printable(&called)))).collect());
        self.actions.push(StagedAction { interface: interface.to_owned(), local, spec, after: Vec::new() });
        Ok(u32::try_from(self.actions.len() - 1).unwrap_or(u32::MAX))
    }

    fn refuse(&mut self, problems: Vec<Diagnostic>) {
        let room = limits::DIAGNOSTICS_MAX.saturating_sub(self.diagnostics.len());
        self.diagnostics.extend(problems.into_iter().take(room));
    }

    fn stage(&mut self, interface: &str, resource: &str, name: &str, spec: &str) -> Result<(Value, Vec<Diagnostic>), Refusal> {
        check_action_name(name)?;
        let value: Value =
            serde_json::from_str(spec).map_err(|error| Diagnostic::error("invalid-json", format!("the spec is no JSON: {error}")))?;
        windlass_model::canonical::check(&value).map_err(|error| Diagnostic::error("invalid-json", error.to_string()))?;
        let closed = self.close(value).map_err(Refusal::of_tokens)?;
        Ok(self.admit(interface, resource, closed, None))
    }

    /// Normalises and checks a spec in plan JSON; `before` is what an earlier stage made of the same thing.
    pub fn admit(&self, interface: &str, resource: &str, spec: Value, before: Option<&Value>) -> (Value, Vec<Diagnostic>) {
        let (Some(planner), Some(authority), Some(context)) =
            (self.planners.get(interface), self.authorities.get(interface), self.contexts.get(interface))
        else {
            return (Value::Null, vec![Diagnostic::error("not-granted", format!("`{interface}` is not granted"))]);
        };
        let spec = planner.normalise(resource, spec, authority, context);
        let mut problems = check_sealed(planner.as_ref(), &spec);
        problems.extend(match before {
            Some(before) => planner.check_change(&spec, before, authority, context),
            None => planner.check(&spec, authority, context),
        });
        (spec, problems)
    }

    /// Yields the value of a method as a token.
    pub fn method(&mut self, handle: u32, method: &str, argument: Option<&str>) -> Result<String, LimitReached> {
        self.count(argument.map_or(0, str::len))?;
        let Some(action) = self.actions.get(handle as usize) else { return Ok(String::new()) };
        if method == "action" {
            return Ok(action.local.clone());
        }
        let id = ActionId::new(&self.node, &action.local);
        let (Some(planner), Some(authority), Some(context)) =
            (self.planners.get(&action.interface), self.authorities.get(&action.interface), self.contexts.get(&action.interface))
        else {
            return Ok(String::new());
        };
        let declared = if let Err(error) = tokens::refuse(argument.unwrap_or_default()) {
            Err(Diagnostic::error("sealed-token", format!("the argument {error}")))
        } else {
            planner.output(&action.spec, method, argument, authority, context)
        };
        match declared {
            Ok(declaration) => {
                let origin = if declaration.generated {
                    Origin::Generated { version: self.secret_versions.get(id.as_str()).copied().unwrap_or(1), action: id }
                } else {
                    Origin::Action { id, output: declaration.output }
                };
                let part = SealedPart { origin, secret: declaration.secret, encoding: Encoding::Json };
                Ok(self.tokens.token(&SharedPart::new(part)))
            }
            Err(problem) => {
                self.refuse(vec![problem.on(id)]);
                Ok(String::new())
            }
        }
    }

    /// Orders an action behind another.
    pub fn after(&mut self, handle: u32, action: &str) -> Result<(), LimitReached> {
        self.count(action.len())?;
        if tokens::refuse(action).is_ok()
            && let Some(known) = self.actions.get_mut(handle as usize)
        {
            known.after.push(self.names.get(action).cloned().unwrap_or_else(|| action.to_owned()));
        }
        Ok(())
    }

    /// Does a function of `windlass:driver/sealed`: at once where everything is known, else when the plan is applied.
    ///
    /// # Errors
    ///
    /// A limit of the call, or of one sealed value.
    pub fn sealed(&mut self, function: &str, values: &[&str], number: Option<u8>) -> Result<String, LimitReached> {
        self.count(values.iter().map(|value| value.len()).sum())?;
        if values.len() > limits::SEALED_PARTS_MAX {
            return Err(LimitReached::new("sealed parts", limits::SEALED_PARTS_MAX));
        }
        let mut closed = Vec::with_capacity(values.len());
        for value in values {
            match self.tokens.close_text(value) {
                Ok(sealed) => closed.push(sealed.unwrap_or_else(|| Sealed::new([Part::Text((*value).to_owned())]))),
                Err(error) => {
                    self.refuse(vec![Diagnostic::error("sealed-token", format!("an argument of `sealed.{function}` {error}"))]);
                    return Ok(String::new());
                }
            }
        }
        if function == "bcrypt" && !number.is_some_and(derive::is_bcrypt_cost) {
            let range = format!("the cost of bcrypt is {} to {}", limits::BCRYPT_COST_MIN, limits::BCRYPT_COST_MAX);
            self.refuse(vec![Diagnostic::error("bcrypt-cost", range)]);
            return Ok(String::new());
        }
        let is_known = closed.iter().all(|value| value.sealed().next().is_none());
        if let (true, [value]) = (is_known, values)
            && let Some(text) = encode(function, value)
        {
            self.budget.spend(Cost::OutputBytes, text.len())?;
            return Ok(text);
        }
        if function == "to-text" {
            // Text as it stands: only the encoding of the parts changes.
            let text = closed.pop().map(Sealed::into_text).unwrap_or_else(|| Sealed::new([]));
            text.size().check()?;
            return Ok(self.tokens.text(&text));
        }
        self.derived(function, number, closed)
    }

    /// Hands out the token of a value that is made when the plan is applied, and pays for the work then.
    fn derived(&mut self, function: &str, number: Option<u8>, of: Vec<Sealed>) -> Result<String, LimitReached> {
        let secret = function != "fingerprint" && of.iter().any(Sealed::is_secret);
        let origin = derive::derived(function, number, of.into_iter().map(Sealed::into_text).collect());
        let rounds = match &origin {
            Origin::Derived { op, .. } => derive::hash_rounds(op).unwrap_or(usize::MAX),
            _ => 0,
        };
        let part = SharedPart::new(SealedPart { origin, secret, encoding: Encoding::Text });
        part.size().check()?;
        let known = self.tokens.parts().len();
        let token = self.tokens.token(&part);
        // Equal values are made once.
        if self.tokens.parts().len() > known {
            self.budget.spend(Cost::HashRounds, rounds)?;
        }
        Ok(token)
    }
}

/// Why a spec is not staged.
enum Refusal {
    /// The driver is told nothing; the finding ends its call.
    Finding(Diagnostic),
    /// The call ends at once.
    Limit(LimitReached),
}

impl Refusal {
    fn of_tokens(errors: Vec<(String, TokenError)>) -> Self {
        match errors.last() {
            Some((_, TokenError::Limit(limit))) => Self::Limit(limit.clone()),
            _ => Self::Finding(token_problem(&errors)),
        }
    }
}

impl From<Diagnostic> for Refusal {
    fn from(finding: Diagnostic) -> Self {
        Self::Finding(finding)
    }
}

/// Turns token errors into one finding.
#[must_use]
pub fn token_problem(errors: &[(String, TokenError)]) -> Diagnostic {
    match errors.first() {
        Some((at, error)) if at.is_empty() => Diagnostic::error("sealed-token", format!("the value {error}")),
        Some((at, error)) => {
            Diagnostic::error("sealed-token", format!("the value at `{at}` {error}", at = printable(at))).at(printable(at))
        }
        None => Diagnostic::error("sealed-token", "holds an invalid sealed token"),
    }
}

fn check_action_name(name: &str) -> Result<(), Diagnostic> {
    if tokens::refuse(name).is_err() {
        return Err(Diagnostic::error("sealed-name", "a sealed value can't be a name"));
    }
    let fits = (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if fits {
        Ok(())
    } else {
        Err(Diagnostic::error(
            "action-name",
            format!("`{}` is no name of an action: 1 to 128 letters, digits, `-`, `.` and `_`", printable(name)),
        ))
    }
}

/// Checks where sealed values stand: nothing sealed in names, secrets in secret sinks only.
fn check_sealed(planner: &dyn Planner, spec: &Value) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let (open_only, sinks) = (planner.open_only(spec), planner.secret_sinks(spec));
    windlass_model::sealed::visit(spec, &mut |at, sealed| {
        if open_only.iter().any(|pattern| pointer::matches(pattern, at)) {
            problems.push(
                Diagnostic::error("sealed-position", format!("{} can't stand in a name, label, selector or key", sealed.display())).at(at),
            );
        } else if sealed.is_secret() && !sinks.iter().any(|pattern| pointer::matches(pattern, at)) {
            problems.push(
                Diagnostic::error("secret-in-the-open", format!("{} would stand in clear text", sealed.display()))
                    .at(at)
                    .hint("put it into a Secret and refer to that, or use another sink made for secrets"),
            );
        }
    });
    problems
}

/// Makes guest text safe to print: one line, no control or direction characters, bounded.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out: String =
        text.chars().take(limits::GUEST_TEXT_CHARS_MAX).map(|c| if visible::is_hidden(c) { '\u{FFFD}' } else { c }).collect();
    if text.chars().nth(limits::GUEST_TEXT_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}
