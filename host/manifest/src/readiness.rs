//! How far a live object is: the rules of kstatus, as pure functions of the object.
//!
//! Source: `kubernetes-sigs/cli-utils`, `pkg/kstatus/status`; Gateway API routes by all their parents.

use serde_json::Value;

use crate::{job, pod::pod_trouble};

/// How far an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is as its spec wants it.
    Current,
    /// It is on its way.
    InProgress(String),
    /// It will not get there by itself.
    Failed(String),
    /// A Deployment could not make pods. They may be those of an earlier template: its newest ReplicaSet tells, see [`pods_refused`].
    PodsRefused(String),
    /// It is going away.
    Terminating,
}

use Readiness::{Current, Failed, InProgress, PodsRefused, Terminating};

/// Says how far a live object is.
#[must_use]
pub fn readiness(object: &Value) -> Readiness {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Terminating;
    }
    if let Some(observed) = number(object, "/status/observedGeneration")
        && number(object, "/metadata/generation").is_some_and(|generation| generation != observed)
    {
        return InProgress("its controller has not seen the change yet".to_owned());
    }
    if let Some(why) = condition(object, "Reconciling").filter(|found| found.is("True")) {
        return InProgress(why.text());
    }
    if let Some(why) = condition(object, "Stalled").filter(|found| found.is("True")) {
        return Failed(why.text());
    }
    let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    match (group, object.get("kind").and_then(Value::as_str).unwrap_or_default()) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => replica_set(object),
        ("batch", "Job") => job::readiness(object),
        ("", "Pod") => pod(object),
        ("", "Service") => service(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "Namespace") => phase(object, "Active"),
        ("policy", "PodDisruptionBudget") | ("batch", "CronJob") => Current,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("gateway.networking.k8s.io", "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" | "UDPRoute") => route(object),
        ("gateway.networking.k8s.io", "Gateway") => all_true(object, &["Accepted", "Programmed"]),
        _ => by_condition(object),
    }
}

/// One entry of `status.conditions`.
pub(crate) struct Condition<'a> {
    status: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    since: &'a str,
}

impl Condition<'_> {
    pub(crate) fn is(&self, status: &str) -> bool {
        self.status == status
    }

    pub(crate) fn text(&self) -> String {
        match (self.reason, self.message) {
            ("", message) => message.to_owned(),
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }
}

fn condition_in<'a>(conditions: Option<&'a Value>, name: &str) -> Option<Condition<'a>> {
    let text = |entry: &'a Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    conditions?.as_array()?.iter().find(|entry| text(entry, "type") == name).map(|entry| Condition {
        status: text(entry, "status"),
        reason: text(entry, "reason"),
        message: text(entry, "message"),
        since: text(entry, "lastTransitionTime"),
    })
}

pub(crate) fn condition<'a>(object: &'a Value, name: &str) -> Option<Condition<'a>> {
    condition_in(object.pointer("/status/conditions"), name)
}

pub(crate) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

pub(crate) fn count(object: &Value, pointer: &str) -> i64 {
    number(object, pointer).unwrap_or(0)
}

fn waiting(done: i64, wanted: i64, what: &str) -> Readiness {
    InProgress(format!("{done} of {wanted} {what}"))
}

fn deployment(object: &Value) -> Readiness {
    let progressing = condition(object, "Progressing");
    if let Some(why) = progressing.as_ref().filter(|why| why.reason == "ProgressDeadlineExceeded") {
        return Failed(why.text());
    }
    // A quota or an admission rule refuses the pods: that is told at once, not after the deadline.
    if let Some(refused) = pods_refused(object) {
        return PodsRefused(refused.text);
    }
    if number(object, "/status/observedGeneration").is_none() {
        return InProgress("its controller has not seen it yet".to_owned());
    }
    if progressing.as_ref().is_some_and(|why| why.reason == "DeploymentPaused") {
        return InProgress("it is paused: nothing rolls out before `spec.paused` is false".to_owned());
    }
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let (all, updated) = (count(object, "/status/replicas"), count(object, "/status/updatedReplicas"));
    let (available, ready) = (count(object, "/status/availableReplicas"), count(object, "/status/readyReplicas"));
    match () {
        () if all < wanted => waiting(all, wanted, "pods made"),
        () if updated < wanted => waiting(updated, wanted, "pods updated"),
        () if all > wanted => InProgress(format!("{} old pods are still there", all - wanted)),
        () if available < updated => waiting(available, updated, "pods available"),
        () if ready < wanted => waiting(ready, wanted, "pods ready"),
        () if progressing.is_some_and(|why| !(why.is("True") && why.reason == "NewReplicaSetAvailable")) => {
            InProgress("its new pods are not announced yet".to_owned())
        }
        () if condition(object, "Available").is_some_and(|why| !why.is("True")) => InProgress("it is not available yet".to_owned()),
        () => Current,
    }
}

fn stateful_set(object: &Value) -> Readiness {
    if object.pointer("/spec/updateStrategy/type").and_then(Value::as_str) == Some("OnDelete") {
        return Current;
    }
    if number(object, "/status/observedGeneration").is_none() {
        return InProgress("its controller has not seen it yet".to_owned());
    }
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let (all, ready) = (count(object, "/status/replicas"), count(object, "/status/readyReplicas"));
    let (current, updated) = (count(object, "/status/currentReplicas"), count(object, "/status/updatedReplicas"));
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
    match () {
        () if all < wanted => waiting(all, wanted, "pods made"),
        () if ready < wanted => waiting(ready, wanted, "pods ready"),
        () if all > wanted => InProgress(format!("{} pods too many are still there", all - wanted)),
        () if partition > 0 && updated < wanted - partition => waiting(updated, wanted - partition, "pods updated"),
        () if partition > 0 => Current,
        () if current < wanted => waiting(current, wanted, "pods current"),
        () if object.pointer("/status/currentRevision") != object.pointer("/status/updateRevision") => {
            waiting(updated, wanted, "pods updated")
        }
        () => Current,
    }
}

fn daemon_set(object: &Value) -> Readiness {
    if number(object, "/status/observedGeneration").is_none() {
        return InProgress("its controller has not seen it yet".to_owned());
    }
    let Some(wanted) = number(object, "/status/desiredNumberScheduled") else {
        return InProgress("it is not known yet how many pods are wanted".to_owned());
    };
    for (field, what) in [
        ("currentNumberScheduled", "pods scheduled"),
        ("updatedNumberScheduled", "pods updated"),
        ("numberAvailable", "pods available"),
        ("numberReady", "pods ready"),
    ] {
        let done = count(object, &format!("/status/{field}"));
        if done < wanted {
            return waiting(done, wanted, what);
        }
    }
    Current
}

/// Why a controller could not make pods, and since when: RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub text: String,
    pub since: String,
}

/// Returns why a Deployment or a ReplicaSet could not make pods. A Deployment repeats what any of its ReplicaSets says, and goes on to
/// after its template was corrected.
#[must_use]
pub fn pods_refused(object: &Value) -> Option<Refusal> {
    let why = condition(object, "ReplicaFailure").filter(|why| why.is("True"))?;
    Some(Refusal { text: why.text(), since: why.since.to_owned() })
}

fn replica_set(object: &Value) -> Readiness {
    if let Some(refused) = pods_refused(object) {
        return Failed(refused.text);
    }
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    for (field, what) in
        [("fullyLabeledReplicas", "pods labelled"), ("availableReplicas", "pods available"), ("readyReplicas", "pods ready")]
    {
        let done = count(object, &format!("/status/{field}"));
        if done < wanted {
            return waiting(done, wanted, what);
        }
    }
    if count(object, "/status/replicas") > wanted { InProgress("pods too many are still there".to_owned()) } else { Current }
}

fn pod(object: &Value) -> Readiness {
    match object.pointer("/status/phase").and_then(Value::as_str) {
        Some("Succeeded") => Current,
        Some("Failed") => Failed(pod_trouble(object).map_or_else(|| "it failed".to_owned(), |trouble| trouble.text)),
        Some("Running") => match condition(object, "Ready") {
            Some(ready) if ready.is("True") => Current,
            _ => match pod_trouble(object) {
                Some(trouble) if trouble.is_final => Failed(trouble.text),
                Some(trouble) => InProgress(trouble.text),
                None => InProgress("its containers are not ready".to_owned()),
            },
        },
        _ => match pod_trouble(object) {
            Some(trouble) if trouble.is_final => Failed(trouble.text),
            Some(trouble) => InProgress(trouble.text),
            None => InProgress("it is pending".to_owned()),
        },
    }
}

fn service(object: &Value) -> Readiness {
    let is_balancer = object.pointer("/spec/type").and_then(Value::as_str) == Some("LoadBalancer");
    if is_balancer && object.pointer("/spec/clusterIP").and_then(Value::as_str).unwrap_or_default().is_empty() {
        return InProgress("it has no address yet".to_owned());
    }
    Current
}

/// A claim that waits for its first consumer never binds alone: the workload that mounts it waits for it.
fn claim(object: &Value) -> Readiness {
    match object.pointer("/status/phase").and_then(Value::as_str) {
        Some("Lost") => Failed("its volume is lost".to_owned()),
        _ => Current,
    }
}

fn phase(object: &Value, wanted: &str) -> Readiness {
    match object.pointer("/status/phase").and_then(Value::as_str) {
        Some(phase) if phase == wanted => Current,
        Some(phase) => InProgress(format!("its phase is {phase}")),
        None => Current,
    }
}

fn definition(object: &Value) -> Readiness {
    if let Some(why) = condition(object, "NamesAccepted").filter(|why| why.is("False")) {
        return Failed(why.text());
    }
    match condition(object, "Established") {
        Some(why) if why.is("True") => Current,
        Some(why) if why.reason != "Installing" => Failed(why.text()),
        _ => InProgress("it is not established yet".to_owned()),
    }
}

/// A route is ready when every parent has accepted it, in its newest form, with all references resolved.
fn route(object: &Value) -> Readiness {
    let wanted = object.pointer("/spec/parentRefs").and_then(Value::as_array).map_or(0, Vec::len);
    let generation = number(object, "/metadata/generation");
    let parents = object.pointer("/status/parents").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if parents.len() < wanted {
        return InProgress(format!("{} of {wanted} parents have answered", parents.len()));
    }
    for parent in parents {
        let name = parent.pointer("/parentRef/name").and_then(Value::as_str).unwrap_or("its parent");
        for kind in ["Accepted", "ResolvedRefs"] {
            let conditions = parent.get("conditions");
            let observed = conditions
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .find(|entry| entry.get("type").and_then(Value::as_str) == Some(kind))
                .and_then(|entry| number(entry, "/observedGeneration"));
            if observed.is_some() && observed < generation {
                return InProgress(format!("`{name}` has not seen the change yet"));
            }
            match condition_in(conditions, kind) {
                Some(found) if found.is("True") => {}
                Some(found) => return InProgress(format!("`{name}` says {kind} is {}: {}", found.status, found.text())),
                None => return InProgress(format!("`{name}` has not said {kind} yet")),
            }
        }
    }
    Current
}

fn all_true(object: &Value, kinds: &[&str]) -> Readiness {
    for kind in kinds {
        match condition(object, kind) {
            Some(found) if found.is("True") => {}
            Some(found) => return InProgress(format!("{kind} is {}: {}", found.status, found.text())),
            None => return InProgress(format!("{kind} is not known yet")),
        }
    }
    Current
}

fn by_condition(object: &Value) -> Readiness {
    match condition(object, "Ready") {
        Some(ready) if !ready.is("True") => InProgress(ready.text()),
        _ => Current,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment_with(status: Value) -> Readiness {
        readiness(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "generation": 2 }, "spec": { "replicas": 2 }, "status": status
        }))
    }

    #[test]
    fn deployments_by_their_counts_and_conditions() {
        let say = |status: Value| format!("{:?}", deployment_with(status));
        let all = |extra: Value| {
            let mut status =
                json!({ "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2 });
            status.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            status
        };
        insta::assert_snapshot!(
            [
                say(json!({})),
                say(json!({ "observedGeneration": 1 })),
                say(json!({ "observedGeneration": 2, "replicas": 1 })),
                say(all(json!({ "updatedReplicas": 1 }))),
                say(all(json!({ "replicas": 3 }))),
                say(all(json!({ "availableReplicas": 1 }))),
                say(all(json!({}))),
                say(json!({ "observedGeneration": 2, "conditions": [{ "type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused" }] })),
                say(all(json!({ "conditions": [{ "type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated" }] }))),
                say(all(json!({ "conditions": [{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too slow" }] }))),
                say(json!({ "observedGeneration": 2, "conditions": [{ "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota" }] })),
            ]
            .join("\n"),
            @r#"
        InProgress("its controller has not seen it yet")
        InProgress("its controller has not seen the change yet")
        InProgress("1 of 2 pods made")
        InProgress("1 of 2 pods updated")
        InProgress("1 old pods are still there")
        InProgress("1 of 2 pods available")
        Current
        InProgress("it is paused: nothing rolls out before `spec.paused` is false")
        InProgress("its new pods are not announced yet")
        Failed("ProgressDeadlineExceeded: too slow")
        PodsRefused("FailedCreate: exceeded quota")
        "#
        );
    }

    #[test]
    fn pods_say_which_container_and_why() {
        let pod = |status: Value| json!({ "apiVersion": "v1", "kind": "Pod", "metadata": {}, "status": status });
        let waiting = |reason: &str, restarts: u32| {
            pod(json!({ "phase": "Pending", "containerStatuses": [{
                "name": "main", "restartCount": restarts,
                "state": { "waiting": { "reason": reason, "message": "no such image" } },
                "lastState": { "terminated": { "exitCode": 3, "reason": "Error" } },
            }] }))
        };
        let say = |pod: &Value| format!("{:?}", readiness(pod));
        insta::assert_snapshot!(
            [
                say(&waiting("ImagePullBackOff", 0)),
                say(&waiting("ErrImagePull", 0)),
                say(&waiting("CrashLoopBackOff", 1)),
                say(&waiting("CrashLoopBackOff", 5)),
                say(&pod(json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes" }] }))),
                say(&pod(json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] }))),
            ]
            .join("\n"),
            @r#"
        Failed("container `main`: ImagePullBackOff: no such image, exit code 3")
        InProgress("container `main`: ErrImagePull: no such image, exit code 3")
        InProgress("container `main` keeps ending (CrashLoopBackOff, exit code 3, 1 restarts)")
        Failed("container `main` keeps ending (CrashLoopBackOff, exit code 3, 5 restarts)")
        InProgress("no node takes it: 0/3 nodes")
        Current
        "#
        );
    }

    #[test]
    fn routes_need_every_parent_in_their_newest_form() {
        let route = |parents: Value| {
            readiness(&json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "generation": 2 },
                "spec": { "parentRefs": [{ "name": "a" }, { "name": "b" }] }, "status": { "parents": parents }
            }))
        };
        let parent = |accepted: &str, generation: u32| {
            json!({ "parentRef": { "name": "a" }, "conditions": [
                { "type": "Accepted", "status": accepted, "reason": "R", "observedGeneration": generation },
                { "type": "ResolvedRefs", "status": "True", "observedGeneration": generation },
            ] })
        };
        assert_eq!(route(json!([parent("True", 2), parent("True", 2)])), Current);
        assert!(matches!(route(json!([parent("True", 2)])), InProgress(why) if why == "1 of 2 parents have answered"));
        assert!(matches!(route(json!([parent("True", 2), parent("True", 1)])), InProgress(_)));
        assert!(matches!(route(json!([parent("False", 2), parent("True", 2)])), InProgress(why) if why.contains("Accepted is False: R")));
    }

    #[test]
    fn what_is_not_known_goes_by_its_ready_condition() {
        let widget = |status: &str| json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {}, "status": { "conditions": [{ "type": "Ready", "status": status, "reason": "R" }] } });
        assert_eq!(readiness(&widget("True")), Current);
        assert_eq!(readiness(&widget("False")), InProgress("R".to_owned()));
        assert_eq!(readiness(&json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": {} })), Current);
        assert_eq!(readiness(&json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "deletionTimestamp": "x" } })), Terminating);
    }
}
