//! How far a Job is: a deployment waits until it completes or fails, unless the Job says that its start is enough.

use serde_json::Value;

use crate::readiness::{Readiness, condition, count, number};

/// The annotation of a Job that says what a deployment waits for: `completion`, which is the default, or `started`.
pub const WAIT_FOR: &str = "windlass.dev/wait-for";
/// What [`WAIT_FOR`] takes.
pub(crate) const WAIT_FOR_VALUES: [&str; 2] = ["completion", STARTED];

const STARTED: &str = "started";

/// Returns whether a Job or a pod has completed: what it was made for is done, and the cluster may delete the object.
#[must_use]
pub fn is_completed(object: &Value) -> bool {
    match object.get("kind").and_then(Value::as_str) {
        Some("Job") => condition(object, "Complete").is_some_and(|found| found.is("True")),
        Some("Pod") => object.pointer("/status/phase").and_then(Value::as_str) == Some("Succeeded"),
        _ => false,
    }
}

/// Returns whether a deployment goes on as soon as a Job has started.
fn waits_for_start(object: &Value) -> bool {
    object.pointer("/metadata/annotations").and_then(|all| all.get(WAIT_FOR)).and_then(Value::as_str) == Some(STARTED)
}

/// Returns whether the controller counts how often containers of a Job's pods are started again, and gives up at its `backoffLimit`.
pub(crate) fn counts_restarts(job: &Value) -> bool {
    job.pointer("/spec/template/spec/restartPolicy").and_then(Value::as_str) == Some("OnFailure")
}

pub(crate) fn readiness(object: &Value) -> Readiness {
    if is_completed(object) {
        return Readiness::Current;
    }
    // `FailureTarget` stands there as soon as the controller has decided, `Failed` when the last pod has ended.
    if let Some(why) = condition(object, "Failed").filter(|found| found.is("True")) {
        return Readiness::Failed(why.text());
    }
    let is_suspended = object.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true);
    let has_started = number_of_pods(object) > 0 || object.pointer("/status/startTime").is_some();
    if waits_for_start(object) && (is_suspended || has_started) {
        return Readiness::Current;
    }
    if is_suspended {
        let mend = "set `spec.suspend` to false, or annotate it with `windlass.dev/wait-for: started`";
        return Readiness::InProgress(format!("it is suspended and never completes: {mend}"));
    }
    if !has_started {
        return Readiness::InProgress("it has not started".to_owned());
    }
    let failed = count(object, "/status/failed");
    let failures = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    Readiness::InProgress(match number(object, "/spec/completions") {
        Some(wanted) => format!("{} of {wanted} pods completed{failures}", count(object, "/status/succeeded")),
        None => format!("its pods have not completed yet{failures}"),
    })
}

fn number_of_pods(object: &Value) -> i64 {
    ["active", "succeeded", "failed"].iter().map(|field| count(object, &format!("/status/{field}"))).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(annotations: Value, suspend: bool, status: Value) -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": { "annotations": annotations },
            "spec": { "completions": 1, "suspend": suspend }, "status": status,
        })
    }

    #[test]
    fn jobs_are_ready_when_they_complete() {
        let say = |status: Value| format!("{:?}", crate::readiness(&job(json!({}), false, status)));
        let ended =
            |kind: &str| json!({ "startTime": "x", "conditions": [{ "type": kind, "status": "True", "reason": "R", "message": "m" }] });
        insta::assert_snapshot!(
            [
                say(json!({})),
                say(json!({ "startTime": "x", "active": 1 })),
                say(json!({ "startTime": "x", "active": 1, "failed": 2 })),
                say(ended("FailureTarget")),
                say(ended("SuccessCriteriaMet")),
                say(ended("Failed")),
                say(ended("Complete")),
            ]
            .join("\n"),
            @r#"
        InProgress("it has not started")
        InProgress("0 of 1 pods completed")
        InProgress("0 of 1 pods completed, 2 failed")
        InProgress("0 of 1 pods completed")
        InProgress("0 of 1 pods completed")
        Failed("R: m")
        Current
        "#
        );
    }

    #[test]
    fn a_job_may_let_the_deployment_go_on_when_it_has_started() {
        let started = json!({ "windlass.dev/wait-for": "started" });
        let is_ready = |annotations: &Value, suspend: bool, status: Value| {
            crate::readiness(&job(annotations.clone(), suspend, status)) == Readiness::Current
        };
        assert!(is_ready(&started, false, json!({ "startTime": "x" })));
        assert!(!is_ready(&started, false, json!({})));
        assert!(!is_ready(&json!({ "windlass.dev/wait-for": "completion" }), false, json!({ "startTime": "x" })));
        assert!(is_ready(&started, true, json!({})), "a suspended Job is as it is wanted");
        assert!(!is_ready(&json!({}), true, json!({ "conditions": [{ "type": "Suspended", "status": "True" }] })));
        assert!(matches!(crate::readiness(&job(json!({}), true, json!({}))), Readiness::InProgress(why) if why.contains("suspended")));
        let failed = json!({ "startTime": "x", "conditions": [{ "type": "Failed", "status": "True", "reason": "R" }] });
        assert!(!is_ready(&started, false, failed));
    }
}
