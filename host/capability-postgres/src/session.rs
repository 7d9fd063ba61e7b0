//! Makes, compares and removes roles, logins and databases; one connection, locks by name, twice is once.

mod database;
mod login;
mod role;

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, MutexGuard};
use windlass_engine::session::{
    ActionRef, CapabilityError, CapabilityErrorKind as Kind, Depth, EffectCx, Observation, Observed, Owner, Ownership, Phase, Preflight,
    ResolvedAction, Session, Step,
};
use windlass_model::{event::DriftedField, state::RecordedAction};

use crate::{
    connect::Server,
    link::Link,
    look::{self, Seen},
    query,
    spec::{Spec, TURNS},
};

/// How often a batch is begun again when the connection breaks under it.
const RETRIES: usize = 4;
/// How long it waits before the first time; twice as long each time, and up to as much again by chance.
const PAUSE: Duration = Duration::from_millis(400);

/// An open server.
pub(crate) struct PostgresSession {
    server: Server,
    connection: Mutex<Option<Link>>,
}

/// A spec, or why it is none.
type Parsed = Result<Spec, CapabilityError>;

/// A batch under way: nobody else uses the connection for as long as it lives.
struct Batch<'s> {
    server: &'s Server,
    guard: MutexGuard<'s, Option<Link>>,
    seen: Seen,
    specs: Vec<Parsed>,
}

impl Batch<'_> {
    /// Returns what its actions work with, and their specs.
    fn work<'w>(&'w mut self, owner: &'w Owner) -> Result<(Work<'w>, &'w [Parsed]), CapabilityError> {
        let Self { server, guard, seen, specs } = self;
        Ok((Work { server, connection: connection_of(guard)?, seen, owner }, specs))
    }
}

/// What a batch works with.
pub(crate) struct Work<'w> {
    pub server: &'w Server,
    pub connection: &'w mut Link,
    pub seen: &'w Seen,
    pub owner: &'w Owner,
}

impl Work<'_> {
    /// Runs statements as one transaction; all text in them is quoted by `sql`.
    pub(crate) async fn run(&mut self, what: &str, statements: &[String]) -> Result<(), CapabilityError> {
        self.connection.run(what, statements).await
    }
}

/// What comes of one action.
pub(crate) struct Made {
    pub handle: Value,
    pub outputs: Map<String, Value>,
    pub changed: bool,
    pub unsettled: bool,
}

impl PostgresSession {
    pub(crate) fn new(server: Server) -> Self {
        Self { server, connection: Mutex::new(None) }
    }

    async fn connected(&self) -> Result<MutexGuard<'_, Option<Link>>, CapabilityError> {
        let mut guard = self.connection.lock().await;
        if !guard.as_ref().is_some_and(Link::is_usable) {
            *guard = Some(self.server.manage().await?);
        }
        Ok(guard)
    }

    /// Begins a batch: connects, holds these names, and looks at everything that the specs name.
    async fn begin(&self, owner: &Owner, specs: Vec<Parsed>, held: &[&str]) -> Result<Batch<'_>, CapabilityError> {
        let mut guard = self.connected().await?;
        let connection = connection_of(&mut guard)?;
        if !held.is_empty() {
            Self::hold(connection, held).await?;
        }
        let seen = Self::look(connection, owner, specs.iter().flatten()).await?;
        Ok(Batch { server: &self.server, guard, seen, specs })
    }

    /// Looks at everything that specs name.
    async fn look(connection: &mut Link, owner: &Owner, specs: impl Iterator<Item = &Spec>) -> Result<Seen, CapabilityError> {
        let mut roles = BTreeSet::new();
        let mut used = BTreeSet::new();
        let mut databases = BTreeSet::new();
        for spec in specs {
            used.extend(spec.used().into_iter().map(|(_, name)| name.to_owned()));
            roles.extend(spec.roles());
            if let Spec::Database(database) = spec {
                databases.insert(database.name.clone());
            }
        }
        roles.extend(used.iter().cloned());
        let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>();
        look::look(connection, owner, &list(roles), &list(used), &list(databases)).await
    }

    /// Looks at the roles that earlier specs of databases granted something to, and at the owners that granted it.
    async fn look_at_former(batch: &mut Batch<'_>, actions: &[ResolvedAction]) -> Result<(), CapabilityError> {
        let former = actions.iter().flat_map(|action| database::prior_specs(action.prior.as_ref()));
        let named = former.flat_map(|spec| spec.grants.into_iter().map(|grant| grant.to).chain([spec.owner]));
        let roles: BTreeSet<String> = named.filter(|role| !batch.seen.roles.contains_key(role)).collect();
        let found = look::roles(connection_of(&mut batch.guard)?, &roles.into_iter().collect::<Vec<_>>()).await?;
        batch.seen.roles.extend(found);
        Ok(())
    }

    /// Holds the names of a batch against every other deployment, also of other installations.
    async fn hold(connection: &mut Link, identities: &[&str]) -> Result<(), CapabilityError> {
        let mut keys: Vec<String> = identities.iter().map(|identity| format!("windlass {identity}")).collect();
        keys.sort();
        connection.rows("waiting for other deployments", sqlx::query(query::HOLD).bind(keys)).await.map(drop)
    }

    async fn let_go(connection: &mut Link) -> Result<(), CapabilityError> {
        connection.rows("letting other deployments go on", sqlx::query(query::LET_GO)).await.map(drop)
    }

    /// Makes a batch once; a broken connection is told apart, so that it can be begun again.
    async fn ensure_batch(
        &self,
        cx: &EffectCx<'_>,
        actions: &[ResolvedAction],
    ) -> Result<Vec<Result<Step, CapabilityError>>, CapabilityError> {
        let specs = actions.iter().map(|action| parse(&action.spec)).collect();
        let mut batch = self.begin(cx.owner, specs, &names(actions, |action| &action.identity)).await?;
        Self::look_at_former(&mut batch, actions).await?;
        let (mut work, specs) = batch.work(cx.owner)?;
        let mut steps = Vec::with_capacity(actions.len());
        for (action, spec) in actions.iter().zip(specs) {
            let admitted = spec
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|spec| work.seen.admit_uses(work.owner, spec, &BTreeSet::new()).map(|()| spec));
            let made = match admitted {
                Ok(Spec::Role(spec)) => role::ensure(&mut work, action, spec).await,
                Ok(Spec::Login(spec)) => login::ensure(&mut work, action, spec).await,
                Ok(Spec::Database(spec)) => database::ensure(&mut work, action, spec).await,
                Err(error) => Err(error),
            };
            steps.push(goes_on(made)?.map(|Made { handle, outputs, changed, unsettled }| {
                Step::Done(Observed { handle, outputs, changed, unsettled, ..Observed::default() })
            }));
        }
        Self::let_go(work.connection).await?;
        Ok(steps)
    }

    async fn delete_batch(
        &self,
        cx: &EffectCx<'_>,
        actions: &[RecordedAction],
    ) -> Result<Vec<Result<Step, CapabilityError>>, CapabilityError> {
        let mut batch = self.begin(cx.owner, recorded_specs(actions), &names(actions, |action| &action.identity)).await?;
        let (mut work, specs) = batch.work(cx.owner)?;
        let mut steps = Vec::with_capacity(actions.len());
        for (action, spec) in actions.iter().zip(specs) {
            let gone = match spec {
                Ok(Spec::Role(spec)) => role::delete(&mut work, &spec.name).await,
                Ok(Spec::Login(spec)) => login::delete(&mut work, &spec.name).await,
                Ok(Spec::Database(spec)) => database::delete(&mut work, &spec.name, database::is_marked(&action.handle)).await,
                Err(error) => Err(error.clone()),
            };
            steps.push(goes_on(gone)?.map(|changed| Step::Done(Observed { changed, ..Observed::default() })));
        }
        Self::let_go(work.connection).await?;
        Ok(steps)
    }

    /// A connection that broke is of no more use; the next one starts afresh.
    async fn forget(&self) {
        *self.connection.lock().await = None;
    }
}

fn connection_of<'g>(guard: &'g mut MutexGuard<'_, Option<Link>>) -> Result<&'g mut Link, CapabilityError> {
    guard.as_mut().ok_or_else(broken)
}

fn broken() -> CapabilityError {
    CapabilityError::new(Kind::Unavailable, "the connection broke")
}

fn parse(spec: &Value) -> Parsed {
    Spec::parse(spec).map_err(|problem| CapabilityError::new(Kind::Invalid, problem.message))
}

fn recorded_specs(actions: &[RecordedAction]) -> Vec<Parsed> {
    actions.iter().map(|action| parse(&action.spec.to_value())).collect()
}

fn names<A>(actions: &[A], identity: impl Fn(&A) -> &String) -> Vec<&str> {
    actions.iter().map(|action| identity(action).as_str()).collect()
}

/// Tells what is wrong with one action from a connection that broke under the whole batch: that one begins again.
fn goes_on<T>(answer: Result<T, CapabilityError>) -> Result<Result<T, CapabilityError>, CapabilityError> {
    match answer {
        Err(error) if error.kind == Kind::Unavailable => Err(error),
        answer => Ok(answer),
    }
}

/// Notes a field that differs.
pub(crate) fn differs(drift: &mut Vec<DriftedField>, pointer: &str, recorded: Value, found: Value) {
    if recorded != found {
        drift.push(DriftedField { pointer: pointer.to_owned(), recorded: Some(recorded), found: Some(found), by: None });
    }
}

impl PostgresSession {
    async fn observe_batch(
        &self,
        owner: &Owner,
        actions: &[ActionRef<'_>],
    ) -> Result<Vec<Result<Observation, CapabilityError>>, CapabilityError> {
        let batch = self.begin(owner, actions.iter().map(|action| parse(action.spec)).collect(), &[]).await?;
        let seen = &batch.seen;
        let mut out = Vec::with_capacity(actions.len());
        for (action, spec) in actions.iter().zip(&batch.specs) {
            let looked = match spec {
                Ok(Spec::Role(spec)) => Ok(role::observe(seen, owner, action, spec)),
                Ok(Spec::Login(spec)) => Ok(login::observe(seen, owner, action, spec)),
                Ok(Spec::Database(spec)) => goes_on(database::observe(&self.server, seen, owner, spec).await)?,
                Err(error) => Err(error.clone()),
            };
            let is_login = matches!(spec, Ok(Spec::Login(_)));
            out.push(looked.map(|(whose, drift)| {
                let phase = if whose.is_some() { Phase::Present } else { Phase::Absent };
                let unseen = if is_login && phase == Phase::Present { login::unseen(seen) } else { Vec::new() };
                let owner = whose.unwrap_or(Ownership::None);
                Observation { unseen, ..Observation::new(action.identity, owner, phase, drift) }
            }));
        }
        Ok(out)
    }

    async fn preflight_batch(&self, cx: &EffectCx<'_>, actions: &[Preflight]) -> Result<Vec<Result<(), CapabilityError>>, CapabilityError> {
        let mut batch = self.begin(cx.owner, actions.iter().map(|action| parse(&action.spec)).collect(), &[]).await?;
        let wanted: BTreeSet<String> = batch
            .specs
            .iter()
            .flatten()
            .flat_map(|spec| if let Spec::Database(database) = spec { database.extensions.clone() } else { Vec::new() })
            .collect();
        let available = look::available(connection_of(&mut batch.guard)?, &wanted).await?;
        let seen = &batch.seen;
        let made: BTreeSet<&str> = batch
            .specs
            .iter()
            .flatten()
            .filter_map(|spec| if let Spec::Role(role) = spec { Some(role.name.as_str()) } else { None })
            .collect();
        let check = |action: &Preflight, spec: &Spec| -> Result<(), CapabilityError> {
            seen.admit_uses(cx.owner, spec, &made)?;
            match spec {
                Spec::Role(role) => match seen.roles.get(&role.name) {
                    Some(role) => {
                        look::whose(role.comment.as_deref(), cx.owner).admit(&format!("the role `{}`", spec.name()), action.insistence)
                    }
                    None => Ok(()),
                },
                Spec::Login(login) => TURNS.into_iter().try_for_each(|turn| {
                    let name = format!("{}{turn}", login.name);
                    match seen.roles.get(&name) {
                        Some(role) => {
                            look::whose(role.comment.as_deref(), cx.owner).admit(&format!("the role `{name}`"), action.insistence)
                        }
                        None => Ok(()),
                    }
                }),
                Spec::Database(database) => {
                    if let Some(missing) = database.extensions.iter().find(|extension| !available.contains_key(*extension)) {
                        return Err(CapabilityError::new(Kind::Invalid, format!("the server does not have the extension `{missing}`"))
                            .hint("`SELECT name FROM pg_available_extensions` lists what it has"));
                    }
                    match seen.databases.get(&database.name) {
                        Some(known) => {
                            let marked = action.prior.as_ref().is_some_and(|prior| database::is_marked(&prior.handle));
                            known.whose(cx.owner, marked).admit(&format!("the database `{}`", spec.name()), action.insistence)
                        }
                        None => Ok(()),
                    }
                }
            }
        };
        Ok(actions.iter().zip(&batch.specs).map(|(action, spec)| check(action, spec.as_ref().map_err(Clone::clone)?)).collect())
    }

    async fn settle_batch(
        &self,
        cx: &EffectCx<'_>,
        actions: &[RecordedAction],
    ) -> Result<Vec<Result<Observed, CapabilityError>>, CapabilityError> {
        let mut batch = self.begin(cx.owner, recorded_specs(actions), &[]).await?;
        let (mut work, _) = batch.work(cx.owner)?;
        let mut out = Vec::with_capacity(actions.len());
        for action in actions {
            out.push(goes_on(login::settle(&mut work, action).await)?.map(|handle| Observed {
                handle,
                outputs: action.outputs.clone(),
                changed: true,
                ..Observed::default()
            }));
        }
        Ok(out)
    }

    async fn release_batch(
        &self,
        cx: &EffectCx<'_>,
        actions: &[RecordedAction],
    ) -> Result<Vec<Result<(), CapabilityError>>, CapabilityError> {
        let mut batch = self.begin(cx.owner, recorded_specs(actions), &[]).await?;
        let (mut work, specs) = batch.work(cx.owner)?;
        let mut out = Vec::with_capacity(actions.len());
        for spec in specs {
            let released = match spec {
                Ok(Spec::Role(spec)) => role::release(&mut work, std::slice::from_ref(&spec.name)).await,
                Ok(Spec::Login(spec)) => role::release(&mut work, &TURNS.map(|turn| format!("{}{turn}", spec.name))).await,
                Ok(Spec::Database(spec)) => database::release(&mut work, &spec.name).await,
                Err(error) => Err(error.clone()),
            };
            out.push(goes_on(released)?);
        }
        Ok(out)
    }
}

/// Runs a batch, again with a new connection where one broke under it; what can't be done is said of every action.
macro_rules! again {
    ($self:ident, $actions:ident, $batch:expr) => {{
        let attempt = || async {
            let answer = $batch.await;
            if answer.is_err() {
                $self.forget().await;
            }
            answer
        };
        let patience = ExponentialBuilder::new().with_jitter().with_min_delay(PAUSE).with_max_times(RETRIES);
        let answer = attempt.retry(patience).when(|error: &CapabilityError| error.kind == Kind::Unavailable).await;
        answer.unwrap_or_else(|error| error.of_each($actions.len()))
    }};
}

#[async_trait]
impl Session for PostgresSession {
    async fn observe(&self, owner: &Owner, actions: &[ActionRef<'_>], _: Depth) -> Vec<Result<Observation, CapabilityError>> {
        again!(self, actions, self.observe_batch(owner, actions))
    }

    async fn preflight(&self, cx: &EffectCx<'_>, actions: &[Preflight]) -> Vec<Result<(), CapabilityError>> {
        again!(self, actions, self.preflight_batch(cx, actions))
    }

    async fn ensure(&self, cx: &EffectCx<'_>, actions: &[ResolvedAction]) -> Vec<Result<Step, CapabilityError>> {
        again!(self, actions, self.ensure_batch(cx, actions))
    }

    async fn delete(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>> {
        again!(self, actions, self.delete_batch(cx, actions))
    }

    async fn settle(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Observed, CapabilityError>> {
        again!(self, actions, self.settle_batch(cx, actions))
    }

    async fn release(&self, cx: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<(), CapabilityError>> {
        again!(self, actions, self.release_batch(cx, actions))
    }

    async fn list_ours(&self, owner: &Owner) -> Result<Vec<Observation>, CapabilityError> {
        let mut guard = self.connected().await?;
        let found = look::ours(connection_of(&mut guard)?, owner).await?;
        Ok(found.into_iter().map(Observation::ours).collect())
    }
}

/// Where the server is: what a database yields.
pub(crate) fn address(server: &Server) -> Map<String, Value> {
    Map::from_iter([("host".to_owned(), json!(server.host)), ("port".to_owned(), json!(server.port))])
}
