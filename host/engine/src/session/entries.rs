//! What all stores of secrets behind `windlass:secrets/external` do alike: entries with a path and fields are read for us, written for others.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use windlass_model::{event::DriftedField, state::RecordedAction};

use super::{
    ActionRef, CapabilityError, CapabilityErrorKind, Depth, EffectCx, Fields, Observation, Observed, Owner, Ownership, Phase, Preflight,
    ResolvedAction, Secret, Session, Step,
};
use crate::spec;

/// The resource of `windlass:secrets/external` that reads; all others write.
const LOOKUP: &str = "lookup";
/// How many entries are asked for at once.
const AT_ONCE: usize = 8;

/// A value that is there already.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LookupSpec {
    /// `MOUNT/PATH`: the mount of a KV engine of version 2, and the path inside it.
    pub path: String,
}

/// A value of ours, written for others to read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntrySpec {
    /// `MOUNT/PATH`: the mount of a KV engine of version 2, and the path inside it.
    pub path: String,
    /// The fields.
    #[schemars(extend("x-windlass-sealed" = true))]
    pub data: BTreeMap<String, String>,
}

/// A store of secrets. What it is asked for twice is once.
#[async_trait]
pub trait EntryStore: Send + Sync {
    /// What it knows of an entry without reading it.
    type Known: Send + Sync;

    /// Its name, for people.
    const NAME: &'static str;
    /// What to look at where it holds nothing.
    const HINT: &'static str;

    /// Looks at an entry; nothing if there was never one.
    async fn look(&self, path: &str) -> Result<Option<Self::Known>, CapabilityError>;
    /// Says whose an entry is.
    fn whose(&self, known: &Self::Known, owner: &Owner) -> Ownership;
    /// Says which version counts; none if nothing can be read: it was deleted, or never written.
    fn version(&self, known: &Self::Known) -> Option<Value>;
    /// Reads the fields; nothing if there are none to be read.
    async fn fields(&self, path: &str) -> Result<Option<Fields>, CapabilityError>;
    /// Makes an entry that never was, with our mark, and returns its version.
    async fn create(&self, owner: &Owner, path: &str, data: &BTreeMap<String, String>) -> Result<Value, CapabilityError>;
    /// Brings back what was deleted, as far as the store asks for it before it can be written.
    async fn revive(&self, _path: &str, _known: &Self::Known) -> Result<(), CapabilityError> {
        Ok(())
    }
    /// Marks an entry as ours.
    async fn mark(&self, owner: &Owner, path: &str, known: &Self::Known) -> Result<(), CapabilityError>;
    /// Writes another version of what was looked at, and returns it.
    async fn write(&self, path: &str, known: &Self::Known, data: &BTreeMap<String, String>) -> Result<Value, CapabilityError>;
    /// Takes our mark from an entry.
    async fn unmark(&self, path: &str, known: &Self::Known) -> Result<(), CapabilityError>;
    /// Deletes an entry; tells whether there was something to delete.
    async fn delete(&self, path: &str, known: &Self::Known) -> Result<bool, CapabilityError>;
    /// Lists the paths of what carries our mark, where it can be asked for marks.
    async fn list(&self, _owner: &Owner) -> Result<Vec<String>, CapabilityError> {
        Ok(Vec::new())
    }
}

/// A session on a store of secrets.
#[derive(Clone, Debug)]
pub struct Entries<S>(S);

impl<S: EntryStore> Entries<S> {
    /// Wraps a store.
    pub fn new(store: S) -> Self {
        Self(store)
    }

    async fn data(&self, path: &str) -> Result<Fields, CapabilityError> {
        self.0.fields(path).await?.ok_or_else(|| {
            CapabilityError::new(CapabilityErrorKind::Invalid, format!("{} holds nothing at `{path}`", S::NAME)).hint(S::HINT)
        })
    }

    async fn observe_one(&self, owner: &Owner, action: &ActionRef<'_>) -> Result<Observation, CapabilityError> {
        if spec::kind(action.spec) == LOOKUP {
            // It is read anew in each deployment: whatever is there is right.
            return Ok(Observation::ours(action.identity));
        }
        let known = self.0.look(spec::text(action.spec, "path")).await?;
        let Some((known, version)) = known.as_ref().and_then(|known| Some((known, self.0.version(known)?))) else {
            return Ok(Observation::new(action.identity, Ownership::None, Phase::Absent, Vec::new()));
        };
        let recorded = action.handle.get("version");
        let drift = if recorded == Some(&version) {
            Vec::new()
        } else {
            vec![DriftedField { pointer: "/version".to_owned(), recorded: recorded.cloned(), found: Some(version), by: None }]
        };
        Ok(Observation::new(action.identity, self.0.whose(known, owner), Phase::Present, drift))
    }

    async fn preflight_one(&self, owner: &Owner, action: &Preflight) -> Result<(), CapabilityError> {
        let path = spec::text(&action.spec, "path");
        if spec::kind(&action.spec) == LOOKUP {
            return self.data(path).await.map(drop);
        }
        match self.0.look(path).await? {
            Some(known) => self.0.whose(&known, owner).admit(&named(path), action.insistence),
            None => Ok(()),
        }
    }

    async fn ensure_one(&self, owner: &Owner, action: &ResolvedAction) -> Result<Step, CapabilityError> {
        match spec::kind(&action.spec) {
            LOOKUP => self.look_up(action).await,
            _ => self.write(owner, action).await,
        }
    }

    async fn look_up(&self, action: &ResolvedAction) -> Result<Step, CapabilityError> {
        let path = spec::text(&action.spec, "path");
        let data = self.data(path).await?;
        let mut secret_outputs = BTreeMap::new();
        for wanted in &action.outputs {
            secret_outputs.insert(wanted.name.clone(), data.get(path, &wanted.name)?);
        }
        Ok(Step::Done(Observed { handle: json!({}), secret_outputs, ..Observed::default() }))
    }

    async fn write(&self, owner: &Owner, action: &ResolvedAction) -> Result<Step, CapabilityError> {
        let EntrySpec { path, data } = spec::read(&action.spec)?;
        let (version, changed) = match self.0.look(&path).await? {
            None => (self.0.create(owner, &path, &data).await?, true),
            Some(known) => self.converge(owner, &path, &known, &data, action).await?,
        };
        let outputs = Map::from_iter([(path.clone(), json!(path))]);
        Ok(Step::Done(Observed { handle: json!({ "version": version }), outputs, changed, ..Observed::default() }))
    }

    async fn converge(
        &self,
        owner: &Owner,
        path: &str,
        known: &S::Known,
        data: &BTreeMap<String, String>,
        action: &ResolvedAction,
    ) -> Result<(Value, bool), CapabilityError> {
        let whose = self.0.whose(known, owner);
        whose.admit(&named(path), action.insistence)?;
        let version = self.0.version(known);
        if version.is_none() {
            self.0.revive(path, known).await?;
        }
        let foreign = whose != Ownership::Ours;
        if foreign {
            // The mark comes first: what is cut off here is ours already.
            self.0.mark(owner, path, known).await?;
        }
        match version {
            Some(version) if self.0.fields(path).await?.is_some_and(|found| found.are(data)) => Ok((version, foreign)),
            _ => Ok((self.0.write(path, known, data).await?, true)),
        }
    }

    async fn delete_one(&self, owner: &Owner, action: &RecordedAction) -> Result<Step, CapabilityError> {
        let done = |changed| Ok(Step::Done(Observed { changed, ..Observed::default() }));
        let spec = action.spec.to_value();
        let path = spec::text(&spec, "path");
        if spec::kind(&spec) == LOOKUP {
            return done(false);
        }
        let Some(known) = self.0.look(path).await? else { return done(false) };
        self.0.whose(&known, owner).admit_removal(&named(path))?;
        done(self.0.delete(path, &known).await?)
    }

    async fn release_one(&self, owner: &Owner, action: &RecordedAction) -> Result<(), CapabilityError> {
        let spec = action.spec.to_value();
        let path = spec::text(&spec, "path");
        if spec::kind(&spec) == LOOKUP {
            return Ok(());
        }
        match self.0.look(path).await? {
            Some(known) if self.0.whose(&known, owner) == Ownership::Ours => self.0.unmark(path, &known).await,
            _ => Ok(()),
        }
    }
}

/// Names an entry for people.
fn named(path: &str) -> String {
    format!("the secret `{path}`")
}

/// Does some at once and keeps their order.
async fn each<T>(work: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(work).buffered(AT_ONCE).collect().await
}

#[async_trait]
impl<S: EntryStore> Session for Entries<S> {
    async fn observe(&self, owner: &Owner, actions: &[ActionRef<'_>], _: Depth) -> Vec<Result<Observation, CapabilityError>> {
        each(actions.iter().map(|action| self.observe_one(owner, action).boxed()).collect()).await
    }

    async fn preflight(&self, cx: &EffectCx<'_>, actions: &[Preflight]) -> Vec<Result<(), CapabilityError>> {
        each(actions.iter().map(|action| self.preflight_one(cx.owner, action).boxed()).collect()).await
    }

    async fn ensure(&self, cx: &EffectCx<'_>, actions: &[ResolvedAction]) -> Vec<Result<Step, CapabilityError>> {
        each(actions.iter().map(|action| self.ensure_one(cx.owner, action).boxed()).collect()).await
    }

    async fn delete(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>> {
        each(actions.iter().map(|action| self.delete_one(cx.owner, action).boxed()).collect()).await
    }

    async fn release(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<(), CapabilityError>> {
        each(actions.iter().map(|action| self.release_one(cx.owner, action).boxed()).collect()).await
    }

    async fn read(&self, references: &[&str]) -> Vec<Result<Secret, CapabilityError>> {
        let parts: Vec<(&str, &str)> = references.iter().map(|reference| reference.split_once('#').unwrap_or((reference, ""))).collect();
        let paths: BTreeSet<&str> = parts.iter().map(|(path, _)| *path).collect();
        // Each is read once, however many fields of it are wanted.
        let read = each(paths.iter().map(|path| self.data(path).boxed()).collect()).await;
        let known: BTreeMap<&str, Result<Fields, CapabilityError>> = paths.into_iter().zip(read).collect();
        let nothing = || CapabilityError::new(CapabilityErrorKind::Failed, "nothing was read");
        let field = |(path, field): (&str, &str)| known.get(path).ok_or_else(nothing)?.as_ref().map_err(Clone::clone)?.get(path, field);
        parts.into_iter().map(field).collect()
    }

    async fn list_ours(&self, owner: &Owner) -> Result<Vec<Observation>, CapabilityError> {
        Ok(self.0.list(owner).await?.into_iter().map(|path| Observation::ours(format!("entry/{path}"))).collect())
    }
}
