//! One watch per kind and namespace: the live objects that something waits for.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::{sync::Notify, task::JoinHandle};
use windlass_model::limits;

use crate::{
    answer::{self, Size},
    api::Api,
    resource::{JSON, Resource},
};

/// The server ends a watch after this long; another one follows.
const WATCH_SECONDS: u64 = 290;
/// How long a list of what exists is asked for before the watch is begun without one.
const LIST_TIME_MAX: Duration = Duration::from_secs(60);
/// A server that says nothing for so long, not even that the watch is over, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(WATCH_SECONDS + 30);
/// Pause before a watch that broke off is begun again.
const PAUSE: Duration = Duration::from_millis(500);

/// Live objects, by name, as the server tells of them.
pub(crate) struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    objects: HashMap<String, Arc<Value>>,
    deleted: HashSet<String>,
    /// About how many bytes each told object takes, and all that was told.
    weights: HashMap<String, usize>,
    weight: usize,
    /// Why nothing more is heard.
    trouble: Option<String>,
}

impl Seen {
    /// Tells whether nothing was told yet.
    fn is_untold(&self) -> bool {
        self.objects.is_empty() && self.deleted.is_empty()
    }

    /// Counts what was told of an object; nothing if that is more than a watch may keep.
    fn weigh(&mut self, name: &str, weight: usize) -> Option<()> {
        let weight = weight + name.len();
        let before = self.weights.insert(name.to_owned(), weight).unwrap_or_default();
        self.weight = self.weight.saturating_sub(before) + weight;
        if self.weights.len() > limits::CLUSTER_LIST_OBJECTS_MAX {
            self.trouble = Some(format!("it tells of more than {} objects", limits::CLUSTER_LIST_OBJECTS_MAX));
        } else if self.weight > limits::CLUSTER_WATCH_BYTES_MAX {
            self.trouble = Some(format!("it tells more than {} bytes", limits::CLUSTER_WATCH_BYTES_MAX));
        }
        self.trouble.is_none().then_some(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Begins to watch what a query selects: what exists is told first, then every change. `news` is rung at each.
    pub(crate) fn start(api: Arc<Api>, resource: &Resource, namespace: &str, selector: &str, news: Arc<Notify>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let watched = Watched { path: format!("{}?{selector}", resource.path(namespace)), resource: resource.clone() };
        let task = tokio::spawn(follow(api, watched, Arc::clone(&seen), news));
        Self { seen, task }
    }

    /// Returns the newest state of an object, as far as it was told.
    pub(crate) fn object(&self, name: &str) -> Option<Arc<Value>> {
        lock(&self.seen).objects.get(name).cloned()
    }

    /// Tells whether an object was seen to go.
    pub(crate) fn is_deleted(&self, name: &str) -> bool {
        lock(&self.seen).deleted.contains(name)
    }

    /// Says why the watch came to an end for good.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.seen).trouble.clone()
    }

    /// Returns all objects.
    pub(crate) fn objects(&self) -> Vec<Arc<Value>> {
        lock(&self.seen).objects.values().cloned().collect()
    }
}

/// What is watched.
struct Watched {
    /// With a query that selects.
    path: String,
    resource: Resource,
}

/// Follows a watch for ever; one that breaks off or is too old is begun again with a list of what exists.
async fn follow(api: Arc<Api>, watched: Watched, seen: Arc<Mutex<Seen>>, news: Arc<Notify>) {
    let mut version = String::new();
    loop {
        let from = format!(
            "{}&watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}{}{version}",
            watched.path,
            if version.is_empty() { "" } else { "&resourceVersion=" },
            version = answer::encode(&version),
        );
        let began = Instant::now();
        let is_over = once(&api, &from, &seen, &news, &mut version).await.is_some();
        if lock(&seen).trouble.is_some() {
            news.notify_waiters();
            return;
        }
        if began.elapsed() < PAUSE {
            // A server that ends each watch at once is asked no faster.
            tokio::time::sleep(PAUSE).await;
        }
        if !is_over {
            version.clear();
            // A watch from nowhere tells what exists, and not what went away while nobody listened.
            if !lock(&seen).is_untold()
                && let Ok(list) = api.list(&watched.path, JSON, Instant::now() + LIST_TIME_MAX).await
            {
                version = renew(list, &watched.resource, &seen);
                news.notify_waiters();
            }
        }
    }
}

/// Puts a list in the place of what was seen; returns the version from which a watch goes on.
fn renew(mut list: Value, resource: &Resource, seen: &Mutex<Seen>) -> String {
    let mut objects = HashMap::new();
    for item in list.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(name) = item.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned) else { continue };
        // The items of a list leave out what is the same for all.
        item["apiVersion"] = resource.api_version.as_str().into();
        item["kind"] = resource.kind.as_str().into();
        objects.insert(name, Arc::new(item.take()));
    }
    let mut seen = lock(seen);
    let gone: Vec<String> = seen.objects.keys().filter(|name| !objects.contains_key(*name)).cloned().collect();
    seen.deleted.extend(gone);
    seen.deleted.retain(|name| !objects.contains_key(name));
    seen.objects = objects;
    // What is listed is bounded by its answer.
    (seen.weights, seen.weight) = (HashMap::new(), 0);
    list.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Follows one watch to its end; nothing if the version is of no use any more.
async fn once(api: &Api, path: &str, seen: &Mutex<Seen>, news: &Notify, version: &mut String) -> Option<()> {
    let mut body = api.stream(path).await?.into_body();
    let mut line: Vec<u8> = Vec::new();
    while let Some(frame) = tokio::time::timeout(SILENCE_MAX, body.frame()).await.ok()? {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if line.len() > limits::CLUSTER_OBJECT_BYTES_MAX {
                return None;
            }
            if piece.ends_with(b"\n") {
                let text = Bytes::from(std::mem::take(&mut line));
                tell(answer::parse(&text, Size::Object).ok()?, answer::weight(&text), seen, version)?;
                news.notify_waiters();
            }
        }
    }
    Some(())
}

/// Takes an event in; nothing if the watch has to begin anew, or can't go on.
fn tell(mut event: Value, weight: usize, seen: &Mutex<Seen>, version: &mut String) -> Option<()> {
    let object = event.get_mut("object").map(Value::take)?;
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let told = event.get("type").and_then(Value::as_str)?;
    if told == "ERROR" {
        return None;
    }
    *version = text("/metadata/resourceVersion")?;
    let Some(name) = text("/metadata/name").filter(|_| told != "BOOKMARK") else { return Some(()) };
    let mut seen = lock(seen);
    seen.weigh(&name, if told == "DELETED" { 0 } else { weight })?;
    if told == "DELETED" {
        seen.objects.remove(&name);
        seen.deleted.insert(name);
    } else {
        seen.deleted.remove(&name);
        seen.objects.insert(name, Arc::new(object));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_told_is_kept_and_an_old_version_begins_anew() {
        let seen = Mutex::new(Seen::default());
        let mut version = String::new();
        let mut hear =
            |told: &str, object: Value| tell(json!({ "type": told, "object": object }), 10, &seen, &mut version).map(|()| version.clone());
        let object = |version: &str| json!({ "metadata": { "name": "web", "resourceVersion": version } });
        assert_eq!(hear("ADDED", object("1")).as_deref(), Some("1"));
        assert_eq!(hear("MODIFIED", object("2")).as_deref(), Some("2"));
        assert_eq!(hear("BOOKMARK", json!({ "metadata": { "resourceVersion": "7" } })).as_deref(), Some("7"));
        assert_eq!(lock(&seen).objects["web"]["metadata"]["resourceVersion"], "2");
        assert_eq!(hear("DELETED", object("8")).as_deref(), Some("8"));
        assert!(lock(&seen).objects.is_empty() && lock(&seen).deleted.contains("web"));
        assert_eq!(hear("ADDED", object("9")).as_deref(), Some("9"));
        assert!(!lock(&seen).deleted.contains("web"), "it was made again");
        // 410 Gone comes as an event of its own kind.
        assert_eq!(hear("ERROR", json!({ "kind": "Status", "code": 410 })), None);
    }

    #[test]
    fn what_went_away_while_nobody_listened_is_gone() {
        let seen = Mutex::new(Seen::default());
        let mut version = String::new();
        for name in ["web", "old"] {
            let object = json!({ "metadata": { "name": name, "resourceVersion": "1" } });
            tell(json!({ "type": "ADDED", "object": object }), 10, &seen, &mut version).unwrap();
        }
        let list = json!({ "metadata": { "resourceVersion": "9" }, "items": [{ "metadata": { "name": "web" } }, { "metadata": { "name": "new" } }] });
        assert_eq!(renew(list, &Resource::core("Pod", "pods", true), &seen), "9");
        let seen = lock(&seen);
        assert_eq!(seen.objects["web"]["kind"], "Pod", "lists leave the kind out");
        assert!(seen.objects.contains_key("new") && !seen.objects.contains_key("old"));
        assert!(seen.deleted.contains("old") && !seen.deleted.contains("web"));
    }
    #[test]
    fn what_a_watch_tells_is_bounded() {
        let told = |count: usize, kind: &str, weight: usize| {
            let (seen, mut version) = (Mutex::new(Seen::default()), String::new());
            let mut hear = |index: usize| {
                let object = json!({ "metadata": { "name": format!("{index:08}"), "resourceVersion": "1" } });
                tell(json!({ "type": kind, "object": object }), weight, &seen, &mut version)
            };
            let heard = (0..count).try_for_each(&mut hear);
            (heard.is_some(), lock(&seen).trouble.clone().unwrap_or_default())
        };
        let most = limits::CLUSTER_LIST_OBJECTS_MAX;
        for kind in ["ADDED", "DELETED"] {
            assert!(told(most, kind, 1).0, "{kind}");
            let (heard, why) = told(most + 1, kind, 1);
            assert!(!heard && why.contains("objects"), "{kind}: {why}");
        }
        // Each name has eight bytes.
        let half = limits::CLUSTER_WATCH_BYTES_MAX / 2 - 8;
        assert!(told(2, "MODIFIED", half).0);
        assert!(told(2, "MODIFIED", half + 1).1.contains("bytes"));
    }

    #[test]
    fn an_object_that_is_told_again_counts_once() {
        let (seen, mut version) = (Mutex::new(Seen::default()), String::new());
        for _ in 0..10 {
            let object = json!({ "metadata": { "name": "web", "resourceVersion": "1" } });
            tell(json!({ "type": "MODIFIED", "object": object }), limits::CLUSTER_WATCH_BYTES_MAX - 3, &seen, &mut version).unwrap();
        }
    }
}
