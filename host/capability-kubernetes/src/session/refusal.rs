//! Deployments that could not make pods: whether those of their newest template are meant.

use std::sync::Arc;

use serde_json::Value;
use windlass_engine::session::EffectCx;
use windlass_manifest::{Refusal, pods_refused};

use super::{ClusterSession, items, text, wait::Look};
use crate::{answer, resource::JSON};

/// How long a refusal that was there before is waited for, in milliseconds: its reason may be mended, and the controller tries again.
const MENDED_WITHIN_MS: u128 = 10_000;
/// Names the template of a Deployment, and that of a ReplicaSet.
const REVISION: &str = "deployment.kubernetes.io/revision";

impl ClusterSession {
    /// Looks at a Deployment that says that pods were refused: whether those of its newest template are. `before` is since when pods had
    /// been refused before this deployment, if they were.
    pub(super) async fn refused(&self, cx: &EffectCx<'_>, live: Arc<Value>, why: String, before: Option<&str>, age_ms: u128) -> Look {
        let sets = self.replica_sets(cx, &live).await;
        match decide(&live, sets.as_ref(), why, before.filter(|_| age_ms < MENDED_WITHIN_MS), age_ms) {
            Decision::Wait(note) => Look::Waiting(note),
            Decision::Fail(why) => Look::Failed(Some(live), why),
        }
    }

    /// Lists the ReplicaSets of a Deployment, if the account may.
    async fn replica_sets(&self, cx: &EffectCx<'_>, live: &Value) -> Option<Value> {
        let labels = live.pointer("/spec/selector/matchLabels").and_then(Value::as_object)?;
        let labels: Vec<String> = labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
        let (namespace, labels) = (text(live, "/metadata/namespace"), answer::encode(&labels.join(",")));
        let path = format!("/apis/apps/v1/namespaces/{namespace}/replicasets?labelSelector={labels}");
        self.api.list(&path, JSON, cx.deadline).await.ok()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Wait(String),
    Fail(String),
}

/// Decides by the ReplicaSets of a Deployment. It goes on to say that pods were refused until its controller has taken the ReplicaSet of
/// an earlier template away; a refusal `before` this deployment may be over when the controller tries again.
fn decide(live: &Value, sets: Option<&Value>, why: String, before: Option<&str>, age_ms: u128) -> Decision {
    let Some(sets) = sets else {
        // Without the right to look, what stays is meant.
        return if age_ms < MENDED_WITHIN_MS { Decision::Wait(why) } else { Decision::Fail(why) };
    };
    let is_newest = |set: &&Value| revision(set).is_some() && revision(set) == revision(live);
    match items(sets).find(is_newest).map(pods_refused) {
        Some(Some(Refusal { since, .. })) if before == Some(since.as_str()) => Decision::Wait(why),
        Some(Some(Refusal { text, .. })) => Decision::Fail(text),
        Some(None) => Decision::Wait("pods of its earlier template were refused".to_owned()),
        None => Decision::Wait("its new ReplicaSet is not there yet".to_owned()),
    }
}

fn revision(object: &Value) -> Option<&str> {
    object.pointer("/metadata/annotations").and_then(|annotations| annotations.get(REVISION)?.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(revision: &str, refused: Option<(&str, &str)>) -> Value {
        let condition =
            |(message, since)| json!({ "type": "ReplicaFailure", "status": "True", "message": message, "lastTransitionTime": since });
        json!({
            "metadata": { "annotations": { REVISION: revision } },
            "status": { "conditions": refused.map(condition).into_iter().collect::<Vec<_>>() },
        })
    }

    #[test]
    fn only_what_refuses_the_newest_pods_fails() {
        let old = object("1", Some(("too large", "10:00")));
        let live = object("2", Some(("too large", "10:00")));
        let decided = |sets: &[&Value], before, age_ms| decide(&live, Some(&json!({ "items": sets })), "why".to_owned(), before, age_ms);
        let fail = |text: &str| Decision::Fail(text.to_owned());
        assert!(matches!(decided(&[&old], None, 0), Decision::Wait(_)), "the new one is not there yet");
        assert!(
            matches!(decided(&[&old, &object("2", None)], None, 60_000), Decision::Wait(_)),
            "the controller still carries the old one"
        );
        let refused = object("2", Some(("still too large", "10:05")));
        assert_eq!(decided(&[&old, &refused], None, 0), fail("still too large"));
        assert_eq!(decided(&[&old, &refused], Some("10:00"), 0), fail("still too large"));
        assert!(matches!(decided(&[&old, &refused], Some("10:05"), 0), Decision::Wait(_)), "it may be over");
        // An account that may not look.
        assert!(matches!(decide(&live, None, "why".to_owned(), None, 0), Decision::Wait(_)));
        assert_eq!(decide(&live, None, "why".to_owned(), None, MENDED_WITHIN_MS), fail("why"));
    }
}
