//! What every store must do: fences, one owner for each thing, documents by digest, secrets by version.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure here is the test's")]

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use windlass_engine::store::{AUTHENTICATION_CODE_BYTES, Authenticator, Fence, NewDeployment, NewSecret, Store, StoreError};
use windlass_model::{
    ActionId, Digest,
    event::{Actor, Cause, DeploymentStatus, Event, Verb},
    platform::{ConnectionSettings, KubernetesSettings, OnRemove},
    state::{EnvironmentKey, EnvironmentRecord, RecordedAction, Status},
};
use windlass_store::{DataFolder, SqliteStore};

fn key(environment: &str) -> EnvironmentKey {
    EnvironmentKey { application: "shop".parse().unwrap(), environment: environment.parse().unwrap() }
}

fn action(name: &str, status: Status) -> RecordedAction {
    RecordedAction {
        id: ActionId::new(&"workload/web".parse().unwrap(), &format!("object/{name}")),
        interface: "windlass:kubernetes/objects".into(),
        connection: "cluster".parse().unwrap(),
        settings: Arc::new(ConnectionSettings::Kubernetes { kubernetes: KubernetesSettings::default() }),
        identity: format!("/ConfigMap/team/{name}"),
        spec: windlass_model::Spec::new(&serde_json::json!({ "name": name })).unwrap(),
        versions: BTreeMap::new(),
        earlier: Vec::new(),
        resolved: None,
        mac: None,
        handle: serde_json::Value::Null,
        outputs: serde_json::Map::new(),
        unsettled: false,
        status,
        depends_on: Vec::new(),
        rank: 20,
        on_remove: OnRemove::Delete,
        holds_data: false,
    }
}

fn started(intended: Vec<RecordedAction>) -> Event {
    Event::Started { intended, allow_destroy: false }
}

fn secret(name: &str, version: u64, ciphertext: &str) -> NewSecret {
    NewSecret { name: name.into(), version, ciphertext: ciphertext.into() }
}

fn deployment() -> NewDeployment {
    let document = Bytes::from_static(b"{}");
    let digest = Digest::of_bytes(&document);
    NewDeployment {
        plan: digest,
        model: digest,
        layers: digest,
        provenance: digest,
        verb: Verb::Deploy,
        actor: Actor { subject: "user:test".into() },
        cause: Cause::Command { verb: Verb::Deploy },
        given_platform: false,
        rollback_to: None,
        supersedes: None,
        documents: BTreeMap::from([(digest, document)]),
        secrets: Vec::new(),
    }
}

/// A code for tests: the real one is the keyring's.
#[derive(Debug)]
struct KeyedDigest(u8);

impl Authenticator for KeyedDigest {
    fn code(&self, parts: &[&[u8]]) -> [u8; AUTHENTICATION_CODE_BYTES] {
        let digest = Digest::of_json(&(self.0, parts)).unwrap().to_string();
        digest.as_bytes()[digest.len() - AUTHENTICATION_CODE_BYTES..].try_into().unwrap()
    }

    fn verifies(&self, parts: &[&[u8]], code: &[u8]) -> bool {
        self.code(parts) == code
    }
}

fn authenticator(key: u8) -> Arc<dyn Authenticator> {
    Arc::new(KeyedDigest(key))
}

async fn store(folder: &tempfile::TempDir) -> SqliteStore {
    let store = SqliteStore::open(&DataFolder::open(folder.path()).unwrap(), authenticator(7)).await.unwrap();
    for environment in ["dev", "test"] {
        let record = EnvironmentRecord { key: key(environment), environment_type: "development".parse().unwrap() };
        store.create_environment(&record).await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_log_is_folded_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let lease = store.lock(&key("dev")).await.unwrap();
    let begun = started(vec![action("a", Status::Intended), action("b", Status::Intended)]);
    let number = store.begin(&key("dev"), lease.fence(), deployment(), &begun).await.unwrap();
    let done = Event::Done { actions: vec![action("a", Status::Live)] };
    let removed = Event::Removed { ids: vec![action("b", Status::Live).id], act: OnRemove::Delete };
    store.append(&key("dev"), lease.fence(), number, &[done, removed], &[]).await.unwrap();
    drop(lease);
    let installation = store.installation().to_owned();
    drop(store);
    let store = SqliteStore::open(&DataFolder::open(folder.path()).unwrap(), authenticator(7)).await.unwrap();
    assert_eq!(store.installation(), installation);
    let state = store.load(&key("dev")).await.unwrap().unwrap();
    assert_eq!(
        state.recorded.actions.values().map(|action| (action.identity.as_str(), action.status)).collect::<Vec<_>>(),
        [("/ConfigMap/team/a", Status::Live)]
    );
    assert_eq!(state.last.unwrap().status, DeploymentStatus::Running);
    assert_eq!(store.events(&key("dev"), number, 0).await.unwrap().len(), 3);
    assert_eq!(store.events(&key("dev"), number, 2).await.unwrap().len(), 1);
}

#[tokio::test]
async fn of_each_action_the_last_word_of_a_commit_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let lease = store.lock(&key("dev")).await.unwrap();
    // More than one statement takes, and no whole number of statements.
    let names: Vec<String> = (0..250).map(|number| format!("n{number:03}")).collect();
    let all = |status: Status| names.iter().map(|name| action(name, status)).collect::<Vec<_>>();
    let number = store.begin(&key("dev"), lease.fence(), deployment(), &started(all(Status::Intended))).await.unwrap();
    let (first, rest) = (all(Status::Live).remove(0), all(Status::Live).split_off(2));
    let events = [
        Event::Sending { actions: all(Status::Intended) },
        Event::Done { actions: vec![first.clone()] },
        // What is taken away was recorded before, in the same commit.
        Event::Removing { ids: vec![first.id.clone()] },
        Event::Done { actions: rest },
    ];
    assert_eq!(store.append(&key("dev"), lease.fence(), number, &events, &[]).await.unwrap(), 5);
    let state = store.load(&key("dev")).await.unwrap().unwrap().recorded;
    let status: Vec<Status> = state.actions.values().map(|action| action.status).collect();
    assert_eq!(status[..2], [Status::Deleting, Status::Intended]);
    assert_eq!((status.len(), status[2..].iter().all(|status| *status == Status::Live)), (250, true));
    assert_eq!(store.events(&key("dev"), number, 0).await.unwrap().len(), 5);
}

#[tokio::test]
async fn an_environment_is_forgotten_once_nothing_of_it_exists() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let (gone, stays) = (key("dev"), key("test"));
    for environment in [&gone, &stays] {
        let lease = store.lock(environment).await.unwrap();
        let number = store.begin(environment, lease.fence(), deployment(), &started(Vec::new())).await.unwrap();
        let live = RecordedAction { identity: format!("/ConfigMap/{environment}/a"), ..action("a", Status::Live) };
        store.append(environment, lease.fence(), number, &[Event::Done { actions: vec![live] }], &[secret("x", 1, "c")]).await.unwrap();
    }
    let lease = store.lock(&gone).await.unwrap();
    assert!(!store.remove_environment(&gone, lease.fence()).await.unwrap(), "something exists");
    assert_eq!(store.load(&gone).await.unwrap().unwrap().recorded.actions.len(), 1);
    let number = store.begin(&gone, lease.fence(), deployment(), &started(Vec::new())).await.unwrap();
    let removed = Event::Removed { ids: vec![action("a", Status::Live).id], act: OnRemove::Delete };
    store.append(&gone, lease.fence(), number, &[removed], &[]).await.unwrap();
    assert!(store.remove_environment(&gone, lease.fence()).await.unwrap());
    assert!(store.load(&gone).await.unwrap().is_none());
    assert!(store.deployments(&gone).await.unwrap().is_empty() && store.secrets(&gone).await.unwrap().is_empty());
    // What the other one refers to is still there, and who comes late writes nothing.
    assert!(store.document(&Digest::of_bytes(b"{}")).await.unwrap().is_some());
    assert_eq!(store.load(&stays).await.unwrap().unwrap().recorded.actions.len(), 1);
    assert_eq!(store.secrets(&stays).await.unwrap().len(), 1);
    let late = store.append(&gone, lease.fence(), number, &[], &[]).await;
    assert!(matches!(late, Err(StoreError::StaleFence { .. })));
}

#[tokio::test]
async fn one_holder_and_no_late_writer() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let first = store.lock(&key("dev")).await.unwrap();
    assert!(matches!(store.lock(&key("dev")).await, Err(StoreError::Locked { holder: Some(_), .. })));
    let old = first.fence();
    let begun = started(Vec::new());
    let number = store.begin(&key("dev"), old, deployment(), &begun).await.unwrap();
    drop(first);
    // The holder is dead: taken over at once, with a higher number.
    let second = store.lock(&key("dev")).await.unwrap();
    assert!(second.fence() > old);
    let late = store.append(&key("dev"), old, number, &[Event::Done { actions: vec![action("late", Status::Live)] }], &[]).await;
    assert!(matches!(late, Err(StoreError::StaleFence { fence, .. }) if fence == old));
    assert!(store.load(&key("dev")).await.unwrap().unwrap().recorded.is_empty(), "nothing of the late writer stays");
    // Other environments are not held up.
    store.lock(&key("test")).await.unwrap();
    assert!(matches!(store.append(&key("dev"), Fence(99), number, &[], &[]).await, Err(StoreError::StaleFence { .. })));
}

#[tokio::test]
async fn one_owner_for_each_thing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let dev = store.lock(&key("dev")).await.unwrap();
    let begun = started(vec![action("shared", Status::Intended)]);
    store.begin(&key("dev"), dev.fence(), deployment(), &begun).await.unwrap();
    let test = store.lock(&key("test")).await.unwrap();
    assert!(store.begin(&key("test"), test.fence(), deployment(), &begun).await.is_err(), "the same object of the same cluster");
    assert!(store.load(&key("test")).await.unwrap().unwrap().last.is_none(), "nothing of the refused deployment stays");
    assert_eq!(store.claims().await.unwrap().into_values().collect::<Vec<_>>(), ["shop/dev"]);
}

#[tokio::test]
async fn what_is_recorded_under_another_id_moves() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let lease = store.lock(&key("dev")).await.unwrap();
    let before = vec![action("a", Status::Live), action("b", Status::Live)];
    let number = store.begin(&key("dev"), lease.fence(), deployment(), &started(before)).await.unwrap();
    let id = ActionId::new(&"workload/web".parse().unwrap(), "object/other");
    let moved = RecordedAction { id: id.clone(), ..action("a", Status::Live) };
    store.append(&key("dev"), lease.fence(), number, &[started(vec![moved.clone()])], &[]).await.unwrap();
    let recorded = store.load(&key("dev")).await.unwrap().unwrap().recorded.actions;
    assert_eq!(recorded.keys().collect::<Vec<_>>(), [&action("b", Status::Live).id, &id]);
    assert_eq!(recorded.get(&id), Some(&moved));
}

#[tokio::test]
async fn documents_and_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let document = Bytes::from_static(b"content");
    let digest = Digest::of_bytes(&document);
    assert_eq!(store.document(&digest).await.unwrap(), None);
    store.put_documents(BTreeMap::from([(digest, document.clone())])).await.unwrap();
    assert_eq!(store.document(&digest).await.unwrap(), Some(document.to_vec()));
    assert!(store.put_secret(&key("dev"), &secret("a", 1, "one")).await.unwrap());
    assert!(!store.put_secret(&key("dev"), &secret("a", 1, "other")).await.unwrap(), "a version is written once");
    assert!(store.put_secret(&key("dev"), &secret("a", 2, "two")).await.unwrap());
    assert_eq!(store.secret(&key("dev"), "a", None).await.unwrap(), Some((2, "two".into())));
    assert_eq!(store.secret(&key("dev"), "a", Some(1)).await.unwrap(), Some((1, "one".into())));
    assert_eq!(store.secret(&key("test"), "a", None).await.unwrap(), None);
    assert_eq!(store.secrets(&key("dev")).await.unwrap(), BTreeMap::from([("a".into(), 2)]));
    assert!(store.remove_secret(&key("dev"), "a").await.unwrap());
    assert!(!store.remove_secret(&key("dev"), "a").await.unwrap());
}

#[tokio::test]
async fn secrets_come_with_the_events_that_speak_of_them_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let lease = store.lock(&key("dev")).await.unwrap();
    let new = NewDeployment { secrets: vec![secret("a", 1, "one")], ..deployment() };
    let begun = started(vec![action("a", Status::Intended)]);
    let number = store.begin(&key("dev"), lease.fence(), new, &begun).await.unwrap();
    let done = |name| Event::Done { actions: vec![action(name, Status::Live)] };
    store.append(&key("dev"), lease.fence(), number, &[done("a")], &[secret("b", 1, "first")]).await.unwrap();
    let known = BTreeMap::from([("a".into(), 1), ("b".into(), 1)]);
    assert_eq!(store.secrets(&key("dev")).await.unwrap(), known);
    // A version that is taken says that what was made with this one would be something else.
    let taken = store.append(&key("dev"), lease.fence(), number, &[done("late")], &[secret("c", 1, "new"), secret("b", 1, "other")]).await;
    insta::assert_snapshot!(taken.unwrap_err(), @"the secret `b` was written by someone else meanwhile (version 1); nothing was written");
    assert_eq!(store.secrets(&key("dev")).await.unwrap(), known);
    assert_eq!(store.load(&key("dev")).await.unwrap().unwrap().recorded.actions.len(), 1, "nothing of it stays");
}

#[tokio::test]
async fn only_so_much_history_is_kept_and_what_it_refers_to() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let environment = key("dev");
    store
        .create_environment(&EnvironmentRecord { key: environment.clone(), environment_type: "development".parse().unwrap() })
        .await
        .unwrap();
    let lease = store.lock(&environment).await.unwrap();
    let shared = Bytes::from_static(b"shared");
    let documents: Vec<Bytes> = (0..5).map(|number| Bytes::from(format!("plan {number}"))).collect();
    for (index, own) in documents.iter().enumerate() {
        let plan = Digest::of_bytes(own);
        let both = BTreeMap::from([(plan, own.clone()), (Digest::of_bytes(&shared), shared.clone())]);
        let new = NewDeployment { plan, documents: both, ..deployment() };
        let number = store.begin(&environment, lease.fence(), new, &started(Vec::new())).await.unwrap();
        // The second succeeded, the later ones did not.
        let status = if index == 1 { DeploymentStatus::Succeeded } else { DeploymentStatus::Cancelled };
        store.append(&environment, lease.fence(), number, &[Event::Ended { status }], &[]).await.unwrap();
    }
    assert_eq!(store.forget(&environment, 2.try_into().unwrap()).await.unwrap(), 2);
    let kept: Vec<u64> = store.deployments(&environment).await.unwrap().iter().map(|deployment| deployment.number.0).collect();
    assert_eq!(kept, [5, 4, 2], "the newest two, and the last that succeeded");
    let mut there = Vec::new();
    for document in &documents {
        there.push(store.document(&Digest::of_bytes(document)).await.unwrap().is_some());
    }
    assert_eq!(there, [false, true, false, true, true]);
    assert!(store.document(&Digest::of_bytes(&shared)).await.unwrap().is_some(), "what others refer to stays");
    assert!(store.events(&environment, windlass_model::event::DeploymentNumber(1), 0).await.unwrap().is_empty());
    assert_eq!(store.forget(&environment, 2.try_into().unwrap()).await.unwrap(), 0);
}

/// Changes the database as somebody does who can write the data folder, but has no key.
async fn tamper(folder: &tempfile::TempDir, statement: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("state.db"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    assert!(sqlx::query(statement).execute(&pool).await.unwrap().rows_affected() > 0, "{statement}");
    pool.close().await;
}

/// A store in which `dev` and `test` have one deployment and one action each, and a platform is stored.
async fn deployed(folder: &tempfile::TempDir) -> SqliteStore {
    let store = store(folder).await;
    for environment in ["dev", "test"] {
        let lease = store.lock(&key(environment)).await.unwrap();
        let mut live = action("web", Status::Live);
        live.identity = format!("/ConfigMap/{environment}/web");
        store.begin(&key(environment), lease.fence(), deployment(), &started(vec![live])).await.unwrap();
    }
    store.put_platform(&Default::default(), &Default::default()).await.unwrap();
    store
}

fn is_unauthentic<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unauthentic(_)))
}

#[tokio::test]
async fn a_changed_row_is_refused_and_affects_no_other_environment() {
    for statement in [
        "UPDATE actions SET record = replace(record, 'cluster', 'evil') WHERE environment = 'dev'",
        "UPDATE actions SET claim = 'x' WHERE environment = 'dev'",
        "UPDATE actions SET code = NULL WHERE environment = 'dev'",
        "UPDATE environments SET environment_type = 'other' WHERE environment = 'dev'",
        "UPDATE deployments SET actor = '{\"subject\":\"user:other\"}' WHERE environment = 'dev'",
        "UPDATE deployments SET status = '\"succeeded\"' WHERE environment = 'dev'",
        "UPDATE deployments SET rollback_to = 1 WHERE environment = 'dev'",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = deployed(&folder).await;
        assert!(store.load(&key("dev")).await.is_ok());
        tamper(&folder, statement).await;
        assert!(is_unauthentic(&store.load(&key("dev")).await), "{statement}");
        assert!(store.load(&key("test")).await.is_ok(), "{statement}");
        assert_eq!(store.claims().await.unwrap().len(), 2, "{statement}");
    }
}

#[tokio::test]
async fn a_row_of_another_place_is_refused() {
    for statement in [
        "UPDATE actions SET (record, claim, code) = (SELECT record, claim || ' ', code FROM actions WHERE environment = 'test') WHERE environment = 'dev'",
        "UPDATE deployments SET number = 2 WHERE environment = 'dev'",
        "UPDATE actions SET environment = 'test', id = 'workload/other:object/web' WHERE environment = 'dev'",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = deployed(&folder).await;
        tamper(&folder, statement).await;
        let (dev, test) = (store.load(&key("dev")).await, store.load(&key("test")).await);
        assert!(is_unauthentic(&dev) || is_unauthentic(&test), "{statement}");
    }
}

#[tokio::test]
async fn events_platform_and_installation_are_authenticated() {
    let folder = tempfile::tempdir().unwrap();
    let store = deployed(&folder).await;
    let number = store.load(&key("dev")).await.unwrap().unwrap().last.unwrap().number;
    tamper(&folder, "UPDATE events SET event = replace(event, 'false', 'true') WHERE environment = 'dev'").await;
    assert!(is_unauthentic(&store.events(&key("dev"), number, 0).await));
    assert_eq!(store.events(&key("test"), number, 0).await.unwrap().len(), 1);
    tamper(&folder, "UPDATE platform SET document = '{\"connections\":{}}'").await;
    assert!(is_unauthentic(&store.platform().await));
    tamper(&folder, "UPDATE installation SET uuid = 'x'").await;
    let again = SqliteStore::open(&DataFolder::open(folder.path()).unwrap(), authenticator(7)).await;
    assert!(is_unauthentic(&again));
}

#[tokio::test]
async fn a_forged_record_is_not_given_a_code_by_the_next_event() {
    let folder = tempfile::tempdir().unwrap();
    let store = deployed(&folder).await;
    let state = store.load(&key("dev")).await.unwrap().unwrap();
    let (id, number) = (state.recorded.actions.keys().next().unwrap().clone(), state.last.unwrap().number);
    tamper(&folder, "UPDATE actions SET record = replace(record, 'cluster', 'evil') WHERE environment = 'dev'").await;
    let lease = store.lock(&key("dev")).await.unwrap();
    let removing = store.append(&key("dev"), lease.fence(), number, &[Event::Removing { ids: vec![id] }], &[]).await;
    assert!(is_unauthentic(&removing));
    tamper(&folder, "UPDATE deployments SET actor = '{\"subject\":\"x\"}' WHERE environment = 'dev'").await;
    let ended = Event::Ended { status: DeploymentStatus::Succeeded };
    assert!(is_unauthentic(&store.append(&key("dev"), lease.fence(), number, &[ended], &[]).await));
}

#[tokio::test]
async fn a_store_of_another_key_and_one_without_codes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(store(&folder).await);
    let data = DataFolder::open(folder.path()).unwrap();
    assert!(!data.is_new());
    assert!(is_unauthentic(&SqliteStore::open(&data, authenticator(8)).await));
    assert!(SqliteStore::open(&data, authenticator(7)).await.is_ok());
    tamper(&folder, "UPDATE installation SET code = NULL").await;
    assert!(is_unauthentic(&SqliteStore::open(&data, authenticator(7)).await));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_back_is_not_written() {
    let nested = |levels: usize| (0..levels).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let lease = store.lock(&key("dev")).await.unwrap();
    let number = store.begin(&key("dev"), lease.fence(), deployment(), &started(Vec::new())).await.unwrap();
    let done = |levels: usize| {
        let mut action = action("deep", Status::Live);
        action.outputs.insert("value".into(), nested(levels));
        Event::Done { actions: vec![action] }
    };
    let refused = store.append(&key("dev"), lease.fence(), number, &[done(200)], &[]).await;
    assert!(matches!(refused, Err(StoreError::Unreadable { .. })), "{refused:?}");
    assert!(store.load(&key("dev")).await.unwrap().unwrap().recorded.is_empty(), "nothing of it stays");
    store.append(&key("dev"), lease.fence(), number, &[done(60)], &[]).await.unwrap();
    assert_eq!(store.load(&key("dev")).await.unwrap().unwrap().recorded.actions.len(), 1);
}
