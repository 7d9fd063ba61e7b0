//! The contract that every capability passes, the fake and the real ones: twice is once, someone else's
//! stays, what is gone may be deleted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde_json::{Value, json};
use windlass_engine::{
    session::{
        ActionRef, Cancel, CapabilityError, CapabilityErrorKind, Checkpoint, Depth, EffectCx, Executor, Insistence, LazySpec, Observed,
        OpenConnection, Owner, Ownership, Phase, Preflight, PriorState, Progress, ResolvedAction, Session, Step, Ticket,
    },
    store::Fence,
};
use windlass_model::{
    ActionId, NodeKey, Spec,
    platform::{ConnectionSettings, DirectorySettings, OnRemove, SecretFiles},
    state::{EnvironmentKey, RecordedAction, Status},
};

struct Quiet;

#[async_trait]
impl Checkpoint for Quiet {
    async fn save(&self, _: &Ticket) -> Result<(), CapabilityError> {
        Ok(())
    }
}

impl Progress for Quiet {
    fn note(&self, _: &ActionId, _: &str) {}

    fn point(&self, _: &'static str) {}
}

fn owner(installation: &str) -> Owner {
    Owner { installation: installation.to_owned(), environment: environment() }
}

fn environment() -> EnvironmentKey {
    EnvironmentKey {
        application: "shop".parse().unwrap_or_else(|_| unreachable!("a label")),
        environment: "dev".parse().unwrap_or_else(|_| unreachable!("a label")),
    }
}

/// The settings of a folder of manifests.
#[must_use]
pub fn directory() -> ConnectionSettings {
    ConnectionSettings::Directory { directory: DirectorySettings { path: None, secrets: Some(SecretFiles::Plain) } }
}

/// What a system holds, as far as the contract is concerned: things with a name and a value that can be changed in place.
pub struct Subject<'s> {
    /// The interface.
    pub interface: &'static str,
    /// What the system calls a thing.
    pub identity: Box<dyn Fn(&str) -> String + 's>,
    /// What is staged of it: name and value.
    pub spec: Box<dyn Fn(&str, &str) -> Value + 's>,
    /// Whether the system can be asked for everything that carries a mark.
    pub lists: bool,
}

impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("interface", &self.interface).field("identity", &(self.identity)("a")).finish_non_exhaustive()
    }
}

/// ConfigMaps: for every sink of Kubernetes objects.
#[must_use]
pub fn objects() -> Subject<'static> {
    Subject {
        interface: "windlass:kubernetes/objects",
        identity: Box::new(|name| format!("/ConfigMap/shop-dev/{name}")),
        spec: Box::new(
            |name, value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "shop-dev" }, "data": { "key": value } }),
        ),
        lists: true,
    }
}

fn id(name: &str) -> ActionId {
    ActionId::new(&"workload/web".parse::<NodeKey>().unwrap_or_else(|_| unreachable!("a key")), &format!("object/{name}"))
}

impl Subject<'_> {
    fn action(&self, name: &str, value: &str) -> ResolvedAction {
        ResolvedAction {
            id: id(name),
            identity: (self.identity)(name),
            spec: (self.spec)(name, value),
            planned: Spec::new(&(self.spec)(name, value)).unwrap_or_else(|error| unreachable!("{error}")),
            prior: None,
            insistence: Insistence::Refuse,
            outputs: Vec::new(),
        }
    }

    fn record(&self, name: &str, value: &str, observed: &Observed, settings: &ConnectionSettings) -> RecordedAction {
        RecordedAction {
            id: id(name),
            interface: self.interface.into(),
            connection: "manifests".parse().unwrap_or_else(|_| unreachable!("a name")),
            settings: Arc::new(settings.clone()),
            identity: (self.identity)(name),
            spec: Spec::new(&(self.spec)(name, value)).unwrap_or_else(|error| unreachable!("{error}")),
            versions: std::collections::BTreeMap::new(),
            earlier: Vec::new(),
            resolved: None,
            mac: None,
            handle: observed.handle.clone(),
            outputs: observed.outputs.clone(),
            unsettled: false,
            status: Status::Live,
            depends_on: Vec::new(),
            rank: 20,
            on_remove: OnRemove::Delete,
            holds_data: false,
        }
    }
}

fn effect_cx<'c>(owner: &'c Owner, cancel: &'c Cancel) -> EffectCx<'c> {
    EffectCx {
        owner,
        fence: Fence(1),
        deadline: Instant::now() + Duration::from_secs(30),
        allow_destroy: false,
        cancel,
        journal: &Quiet,
        events: &Quiet,
    }
}

/// Ensures and waits until everything is done.
async fn ensure(session: &dyn Session, owner: &Owner, actions: &[ResolvedAction]) -> Vec<Result<Observed, CapabilityError>> {
    let cancel = Cancel::default();
    let cx = effect_cx(owner, &cancel);
    let mut out = Vec::new();
    for (action, step) in actions.iter().zip(session.ensure(&cx, actions).await) {
        let mut step = step;
        let done = loop {
            match step {
                Ok(Step::Done(observed)) => break Ok(observed),
                Ok(Step::Waiting { ticket, .. }) => {
                    step = session
                        .poll(&cx, &[Ticket { id: action.id.clone(), state: ticket }])
                        .await
                        .pop()
                        .unwrap_or_else(|| unreachable!("one answer for each ticket"));
                }
                Err(error) => break Err(error),
            }
        };
        out.push(done);
    }
    out
}

async fn delete(session: &dyn Session, owner: &Owner, records: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>> {
    let cancel = Cancel::default();
    let cx = effect_cx(owner, &cancel);
    session.delete(&cx, records).await
}

fn connection(settings: &ConnectionSettings) -> OpenConnection {
    OpenConnection {
        name: "manifests".parse().unwrap_or_else(|_| unreachable!("a name")),
        settings: settings.clone(),
        environment: environment(),
        access: windlass_engine::host_access::HostAccess::open(),
    }
}

fn preflight(action: ResolvedAction) -> Preflight {
    Preflight {
        id: action.id,
        identity: action.identity,
        spec: action.spec,
        is_resolved: true,
        prior: None,
        insistence: action.insistence,
        replace: false,
    }
}

/// Lets an installation make one thing: what the system says of it beforehand, and what it says when it is told to.
///
/// # Panics
///
/// If the system can't be opened.
pub async fn make(
    executor: &dyn Executor,
    settings: &ConnectionSettings,
    installation: &str,
    identity: &str,
    spec: &Value,
) -> [Result<(), CapabilityError>; 2] {
    let subject = Subject {
        interface: executor.interface(),
        identity: Box::new(|_| identity.to_owned()),
        spec: Box::new(|_, _| spec.clone()),
        lists: false,
    };
    let open = connection(settings);
    let session = executor.open(&open).await.unwrap_or_else(|error| unreachable!("{error}"));
    let (owner, cancel) = (owner(installation), Cancel::default());
    let mut said = session.preflight(&effect_cx(&owner, &cancel), &[preflight(subject.action("x", ""))]).await;
    let mut made = ensure(session.as_ref(), &owner, &[subject.action("x", "")]).await;
    [said.pop().unwrap_or(Ok(())), made.pop().map_or(Ok(()), |made| made.map(drop))]
}

/// Lets an installation make one thing by a spec and then by another, as the second deployment does: with what is known of the first.
///
/// # Panics
///
/// If the system can't be opened, or refuses one of them.
pub async fn change(executor: &dyn Executor, settings: &ConnectionSettings, identity: &str, specs: [&Value; 2]) {
    let session = executor.open(&connection(settings)).await.unwrap_or_else(|error| unreachable!("{error}"));
    let owner = owner("changing");
    let mut prior = None;
    for spec in specs {
        let subject = Subject {
            interface: executor.interface(),
            identity: Box::new(|_| identity.to_owned()),
            spec: Box::new(|_, _| spec.clone()),
            lists: false,
        };
        let action = ResolvedAction { prior, ..subject.action("x", "") };
        let planned = action.planned.clone();
        let made = ensure(session.as_ref(), &owner, &[action]).await.pop();
        let made = made.unwrap_or_else(|| unreachable!("one answer")).unwrap_or_else(|error| unreachable!("{error}"));
        prior = Some(PriorState { handle: made.handle, specs: vec![planned] });
    }
}

/// Runs the whole contract on an empty sink of Kubernetes objects.
///
/// # Panics
///
/// Where the capability breaks it.
pub async fn check(executor: &dyn Executor, settings: &ConnectionSettings) {
    check_subject(executor, settings, &objects()).await;
}

/// Runs the whole contract on things of a system; nothing of the names `a` and `b` is there yet.
///
/// # Panics
///
/// Where the capability breaks it.
pub async fn check_subject(executor: &dyn Executor, settings: &ConnectionSettings, subject: &Subject<'_>) {
    let action = |name: &str, value: &str| subject.action(name, value);
    let record = |name: &str, value: &str, observed: &Observed| subject.record(name, value, observed, settings);
    let open = connection(settings);
    let session = executor.open(&open).await.unwrap_or_else(|error| unreachable!("{error}"));
    let session = session.as_ref();
    let (us, others) = (owner("ours"), owner("theirs"));

    // Absent is created; answers come in order, one for each action.
    let both = [action("a", "1"), action("b", "1")];
    let made: Vec<Observed> =
        ensure(session, &us, &both).await.into_iter().map(|made| made.unwrap_or_else(|error| unreachable!("{error}"))).collect();
    assert!(made.iter().all(|made| made.changed), "something was made");

    // Twice is once.
    let again = ensure(session, &us, &both).await;
    assert!(again.iter().all(|again| again.as_ref().is_ok_and(|again| !again.changed)), "an equal spec changes nothing: {again:?}");

    // What was made is found again, by another session too.
    let second = executor.open(&open).await.unwrap_or_else(|error| unreachable!("{error}"));
    let records = [record("a", "1", &made[0]), record("b", "1", &made[1])];
    let specs: Vec<LazySpec<'_>> = records.iter().map(|record| LazySpec::new(|| record.spec.to_value())).collect();
    let refs: Vec<ActionRef<'_>> = records
        .iter()
        .zip(&specs)
        .map(|(record, spec)| ActionRef { id: &record.id, identity: &record.identity, handle: &record.handle, spec })
        .collect();
    for seen in second.observe(&us, &refs, Depth::Presence).await {
        let seen = seen.unwrap_or_else(|error| unreachable!("{error}"));
        assert_eq!((seen.owner, seen.intact, seen.phase), (Ownership::Ours, true, Phase::Present));
    }
    if subject.lists {
        assert_eq!(second.list_ours(&us).await.map(|list| list.len()).unwrap_or_default(), 2);
        assert_eq!(second.list_ours(&others).await.map(|list| list.len()).unwrap_or_default(), 0);
    }

    // Ours converges, alone.
    let changed = ensure(session, &us, &[action("a", "2"), action("b", "1")]).await;
    assert_eq!(changed.iter().map(|changed| changed.as_ref().is_ok_and(|changed| changed.changed)).collect::<Vec<_>>(), [true, false]);

    // What would be refused is said before anything is changed.
    let cancel = Cancel::default();
    assert!(session.preflight(&effect_cx(&us, &cancel), &[preflight(action("a", "9"))]).await.iter().all(Result::is_ok));
    let refused = session.preflight(&effect_cx(&others, &cancel), &[preflight(action("a", "9"))]).await;
    assert!(refused[0].as_ref().is_err_and(|error| error.kind == CapabilityErrorKind::Conflict && error.message.contains("ours")));

    // Someone else's is refused with whose it is, and stays.
    let refused = ensure(session, &others, &[action("a", "3")]).await;
    let error = refused[0].as_ref().err().unwrap_or_else(|| unreachable!("someone else's object was changed"));
    assert_eq!(error.kind, CapabilityErrorKind::Conflict);
    assert!(error.message.contains("ours"), "the error says whose it is: {error}");
    let refused = delete(session, &others, &[record("a", "2", &made[0])]).await;
    assert!(refused[0].is_err(), "someone else's object was deleted");

    // Taking it over is an explicit verb.
    let taken = ensure(session, &others, &[ResolvedAction { insistence: Insistence::TakeOver, ..action("a", "3") }]).await;
    assert!(taken[0].is_ok(), "{taken:?}");
    let back = ensure(session, &us, &[ResolvedAction { insistence: Insistence::TakeOver, ..action("a", "2") }, action("b", "1")]).await;
    let back: Vec<Observed> = back.into_iter().map(|back| back.unwrap_or_else(|error| unreachable!("{error}"))).collect();

    // Deleted once; what is gone is fine.
    let records = [record("a", "2", &back[0]), record("b", "1", &back[1])];
    for _ in 0..2 {
        assert!(delete(session, &us, &records).await.iter().all(Result::is_ok));
    }
    assert_eq!(session.list_ours(&us).await.map(|list| list.len()).unwrap_or_default(), 0);
}
