//! Sealed values become values: here, at the sink, and nowhere else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value};
use windlass_model::{
    ActionId, Spec,
    plan::Plan,
    sealed::{self, Encoding, Origin, Part, Sealed, View},
    state::{EnvironmentKey, RecordedAction},
};

use super::spending::{Expansion, Spending};
use crate::{
    budget::json_bytes,
    derive::encode,
    plan::{Kept, kept_by},
    session::{CapabilityError, CapabilityErrorKind as Kind, Secret, SecretStore, WantedOutput, generated_name, given_name},
};

/// Finds values of one environment.
pub(crate) struct Values<'a> {
    pub environment: &'a EnvironmentKey,
    pub secrets: &'a Arc<dyn SecretStore>,
    pub recorded: &'a BTreeMap<ActionId, RecordedAction>,
    /// What other systems keep, as it was read.
    pub kept: &'a BTreeMap<Kept, Secret>,
    /// Secrets of ours that are not on disk yet.
    pub fresh: &'a Fresh,
    /// The account of the deployment.
    pub spending: &'a Spending,
    /// Bytes of the values of the spec that is resolved now, intermediate texts included.
    pub expanded: Expansion,
}

/// The version of a secret that is new.
pub(crate) const FIRST_VERSION: u64 = 1;

/// Secrets that the next commit writes, by name; each is the newest of its name.
pub(crate) type Fresh = BTreeMap<String, (u64, Secret)>;

/// Ties the resolved spec of a record to its action.
pub(crate) fn sent_purpose(environment: &EnvironmentKey, id: &ActionId) -> String {
    format!("resolved {environment} {id}")
}

/// Returns the spec that was sent, values and all; nothing if none was, or the key is another.
#[must_use]
pub fn sent(secrets: &dyn SecretStore, environment: &EnvironmentKey, record: &RecordedAction) -> Option<Value> {
    let mac = record.mac.as_deref()?;
    match &record.resolved {
        Some(sealed) => {
            let bytes = secrets.open(&sent_purpose(environment, &record.id), sealed).ok()?;
            serde_json::from_slice(&bytes).ok()
        }
        // What is not encrypted is proved by its hash.
        None => (secrets.mac(record.spec.as_str().as_bytes()) == mac).then(|| record.spec.to_value()),
    }
}

/// Lists by action the outputs that the plan's specs refer to.
pub(crate) fn wanted(plan: &Plan) -> BTreeMap<ActionId, BTreeSet<WantedOutput>> {
    fn collect(value: &Sealed, wanted: &mut BTreeMap<ActionId, BTreeSet<WantedOutput>>) {
        for part in value.sealed() {
            match &part.origin {
                Origin::Action { id, output } => {
                    wanted.entry(id.clone()).or_default().insert(WantedOutput { name: output.clone(), secret: part.secret });
                }
                Origin::Derived { of, .. } => of.iter().for_each(|inner| collect(inner, wanted)),
                Origin::Generated { .. } | Origin::External { .. } | Origin::Output { .. } => {}
            }
        }
    }
    let mut wanted = BTreeMap::new();
    let later = plan.later().flat_map(|node| &node.actions);
    for action in plan.actions().chain(later).filter(|action| action.spec.may_be_sealed()) {
        sealed::visit(&action.spec.to_value(), &mut |_, value| collect(value, &mut wanted));
    }
    // What drivers looked at, and what they must look at in the next stage.
    let open = |output: &str| WantedOutput { name: output.to_owned(), secret: false };
    for known in &plan.values {
        wanted.entry(known.action.clone()).or_default().insert(open(&known.output));
    }
    for need in plan.staged().flat_map(|node| &node.needs) {
        if let Origin::Action { id, output } = &need.of {
            wanted.entry(id.clone()).or_default().insert(open(output));
        }
    }
    wanted
}

/// The name under which a secret output of an action is stored.
pub(crate) fn output_name(id: &ActionId, output: &str) -> String {
    format!("output/{id}/{output}")
}

impl Values<'_> {
    /// Resolves the spec of an action; most hold nothing to put in.
    ///
    /// # Errors
    ///
    /// `Quota` if the values pass a limit, `Uncertain` if the deployment is to stop; all others say that a value is not known.
    pub(crate) async fn resolve(&self, action: &ActionId, spec: &Spec) -> Result<Value, CapabilityError> {
        let is_open = !spec.may_be_sealed();
        let spec = spec.to_value();
        if is_open {
            return Ok(spec);
        }
        self.expanded.reset();
        let resolved = self.put_in(&spec).await?;
        self.spending.expand(action, self.expanded.reset())?;
        Ok(resolved)
    }

    async fn put_in(&self, spec: &Value) -> Result<Value, CapabilityError> {
        let mut known: BTreeMap<Sealed, Value> = BTreeMap::new();
        let mut wanted: Vec<(String, Sealed)> = Vec::new();
        sealed::visit(spec, &mut |at, value| wanted.push((at.to_owned(), value.clone())));
        for (at, value) in wanted {
            let slot = match known.entry(value) {
                std::collections::btree_map::Entry::Vacant(slot) => slot,
                std::collections::btree_map::Entry::Occupied(slot) => {
                    self.expanded.spend(json_bytes(slot.get()))?;
                    continue;
                }
            };
            let resolved = self.sealed(slot.key()).await.map_err(|error| placed(error, &at))?;
            self.expanded.spend(json_bytes(&resolved))?;
            slot.insert(resolved);
        }
        let resolved: Result<Value, CapabilityError> = sealed::map(
            spec,
            &mut |value| Ok(known.get(value).cloned().unwrap_or(Value::Null)),
            &mut |text| Ok(Value::String(text.to_owned())),
            &sealed::unescape_key,
        );
        resolved
    }

    /// Resolves one value.
    pub(crate) async fn sealed(&self, value: &Sealed) -> Result<Value, CapabilityError> {
        if let Some(part) = value.single()
            && part.encoding == Encoding::Json
        {
            return self.origin(&part.origin).await;
        }
        Ok(Value::String(self.text(value).await?))
    }

    async fn text(&self, value: &Sealed) -> Result<String, CapabilityError> {
        let mut out = String::new();
        for part in value.parts() {
            let piece = match part {
                Part::Text(text) => std::borrow::Cow::Borrowed(text.as_str()),
                Part::Sealed(part) => match self.origin(&part.origin).await? {
                    Value::String(text) => text.into(),
                    // A module may yield nothing: that is no text.
                    Value::Null => "".into(),
                    // A list or a map stands inside text as compact JSON.
                    other => other.to_string().into(),
                },
            };
            self.expanded.spend_text(out.len(), &piece)?;
            out.push_str(&piece);
        }
        Ok(out)
    }

    async fn origin(&self, origin: &Origin) -> Result<Value, CapabilityError> {
        match origin {
            Origin::Generated { action, version } => self.secret(&generated_name(action), Some(*version), origin).await,
            Origin::External { reference, version, .. } => match kept_by(origin) {
                Some(kept) => self
                    .kept
                    .get(&kept)
                    .map(|secret| Value::String(secret.expose().to_owned()))
                    .ok_or_else(|| CapabilityError::new(Kind::Invalid, format!("`{reference}` of `{}` was not read", kept.0))),
                None => self.secret(&given_name(reference), *version, origin).await,
            },
            Origin::Action { id, output } => {
                if let Some(value) = self.recorded.get(id).and_then(|record| record.outputs.get(output)) {
                    return Ok(value.clone());
                }
                self.secret(&output_name(id, output), None, origin).await
            }
            Origin::Output { node, name } => Err(CapabilityError::new(Kind::Invalid, format!("`{node}.{name}` belongs to a later stage"))),
            Origin::Derived { op, of } => match (View::of(op), of.as_ref()) {
                (Some(view), [of]) => {
                    let value = Box::pin(self.sealed(of)).await?;
                    view.look(value, &of.label()).map_err(|why| unfit(of.is_secret(), &origin.label(), why))
                }
                _ => Box::pin(self.derived(op, of)).await.map(Value::String),
            },
        }
    }

    /// Reads a secret of ours; the newest if no version is said.
    pub(crate) async fn read(&self, name: &str, version: Option<u64>) -> Result<Option<(u64, Secret)>, CapabilityError> {
        match self.fresh.get(name) {
            Some(fresh) if version.is_none_or(|version| version == fresh.0) => Ok(Some(fresh.clone())),
            Some(_) | None => self.secrets.read(self.environment, name, version).await,
        }
    }

    async fn secret(&self, name: &str, version: Option<u64>, origin: &Origin) -> Result<Value, CapabilityError> {
        match self.read(name, version).await? {
            Some((_, secret)) => Ok(Value::String(secret.expose().to_owned())),
            None => Err(CapabilityError::new(
                Kind::Invalid,
                format!(
                    "the secret `{}` is not stored{}",
                    origin.label(),
                    version.map(|version| format!(" in version {version}")).unwrap_or_default()
                ),
            )
            .hint("plan again, or set it with `windlass secret set`")),
        }
    }

    async fn derived(&self, op: &str, of: &[Sealed]) -> Result<String, CapabilityError> {
        let mut values = Vec::with_capacity(of.len());
        for value in of {
            values.push(Secret::new(self.text(value).await?));
        }
        if let [value] = values.as_slice()
            && let Some(text) = encode(op, value.expose())
        {
            self.expanded.spend_text(0, &text)?;
            return Ok(text);
        }
        let versions = if op == "fingerprint" { self.output_versions(of).await? } else { Vec::new() };
        let label = self.label(op, of, &values, versions)?;
        self.spending.derive(self.secrets, op, &label, values).await.map(|secret| secret.expose().to_owned())
    }

    /// Versions of secrets that actions yield: their origins carry none, because they are known only now.
    async fn output_versions(&self, of: &[Sealed]) -> Result<Vec<Value>, CapabilityError> {
        let mut names = Vec::new();
        for part in of.iter().flat_map(Sealed::sealed).filter(|part| part.secret) {
            part.origin.visit(&mut |origin| {
                if let Origin::Action { id, output } = origin {
                    names.push(output_name(id, output));
                }
            });
        }
        let mut versions = Vec::with_capacity(names.len());
        // What others keep has no version here: a keyed hash of it stands for one.
        let mut hashes: BTreeMap<Kept, Value> = BTreeMap::new();
        for part in of.iter().flat_map(Sealed::sealed) {
            part.origin.visit(&mut |origin| {
                let Some((kept, secret)) = kept_by(origin).and_then(|kept| self.kept.get_key_value(&kept)) else { return };
                let hash = || Value::String(self.secrets.mac(secret.expose().as_bytes()));
                versions.push(hashes.entry(kept.clone()).or_insert_with(hash).clone());
            });
        }
        for name in names {
            versions.extend(self.read(&name, None).await?.map(|(version, _)| Value::from(version)));
        }
        Ok(versions)
    }

    /// Origins and versions for what is secret; for a fingerprint also the values of what is open.
    fn label(&self, op: &str, of: &[Sealed], values: &[Secret], versions: Vec<Value>) -> Result<String, CapabilityError> {
        let mut labels: Vec<Value> = of
            .iter()
            .zip(values)
            .map(|(sealed, value)| {
                let origins = serde_json::to_value(sealed).unwrap_or(Value::Null);
                if op == "fingerprint" && !sealed.is_secret() {
                    Value::Object(Map::from_iter([("open".to_owned(), Value::String(value.expose().to_owned()))]))
                } else {
                    origins
                }
            })
            .collect();
        labels.extend(versions);
        windlass_model::canonical::to_vec(&labels)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|error| CapabilityError::new(Kind::Invalid, error.to_string()))
    }
}

/// Says that a value is not of the form that its place needs; of a secret nothing more.
fn unfit(is_secret: bool, label: &str, why: String) -> CapabilityError {
    let message = if is_secret { format!("the secret `{label}` does not fit") } else { why };
    CapabilityError::new(Kind::Invalid, message)
}

/// Adds the place of a value to an error about it.
fn placed(error: CapabilityError, at: &str) -> CapabilityError {
    CapabilityError { message: format!("{} (at `{at}`)", error.message), ..error }
}

/// Lists the versions of secrets that went into a spec, by label.
pub(crate) fn versions(spec: &Spec) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    if !spec.may_be_sealed() {
        return out;
    }
    sealed::visit_origins(&spec.to_value(), &mut |origin| match origin {
        Origin::Generated { action, version } => {
            out.insert(action.to_string(), *version);
        }
        Origin::External { reference, version: Some(version), .. } => {
            out.insert(reference.clone(), *version);
        }
        Origin::External { .. } | Origin::Action { .. } | Origin::Output { .. } | Origin::Derived { .. } => {}
    });
    out
}
