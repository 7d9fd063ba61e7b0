//! What keeps a pod from running.

use serde_json::Value;

use crate::{job, readiness::condition};

/// What keeps a pod from running, in words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTrouble {
    /// The container, where it is one's.
    pub container: Option<String>,
    /// The reason as Kubernetes names it.
    pub reason: String,
    /// The whole sentence.
    pub text: String,
    /// Waiting longer won't mend it: somebody has to change something.
    pub is_final: bool,
    /// The container has run and ended: its log may tell why.
    pub has_log: bool,
}

/// Reasons that nothing but a change mends. `ErrImagePull` alone may be the registry's bad minute: it becomes a back-off.
const FINAL: [&str; 6] =
    ["ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError", "RunContainerError", CRASHES];
/// The reason of a container that ends again and again.
const CRASHES: &str = "CrashLoopBackOff";
/// A container that ended so often in one deployment is not coming up: the first restarts may be waiting for others.
const RESTARTS_MAX: i64 = 3;

/// Finds what keeps a pod from running.
#[must_use]
pub fn pod_trouble(pod: &Value) -> Option<PodTrouble> {
    for list in ["initContainerStatuses", "containerStatuses"] {
        for status in pod.pointer(&format!("/status/{list}")).and_then(Value::as_array).into_iter().flatten() {
            if let Some(trouble) = container_trouble(status) {
                return Some(trouble);
            }
        }
    }
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
    if let (Some("Failed"), Some(reason)) = (text("/status/phase"), text("/status/reason")) {
        let message = text("/status/message").map(|message| format!(": {message}")).unwrap_or_default();
        return Some(of_whole_pod(reason, format!("it failed: {reason}{message}")));
    }
    let scheduled = condition(pod, "PodScheduled").filter(|found| found.is("False") && found.reason == "Unschedulable")?;
    Some(of_whole_pod(scheduled.reason, format!("no node takes it: {}", scheduled.message)))
}

/// Finds what keeps a pod of a Job from running. Where containers are started again, the Job's controller counts that and gives up.
#[must_use]
pub fn job_pod_trouble(job: &Value, pod: &Value) -> Option<PodTrouble> {
    let trouble = pod_trouble(pod)?;
    let is_counted = trouble.reason == CRASHES && job::counts_restarts(job);
    Some(PodTrouble { is_final: trouble.is_final && !is_counted, ..trouble })
}

/// Makes what no single container is the reason for.
fn of_whole_pod(reason: &str, text: String) -> PodTrouble {
    PodTrouble { container: None, reason: reason.to_owned(), text, is_final: false, has_log: false }
}

fn container_trouble(status: &Value) -> Option<PodTrouble> {
    let text = |pointer: &str| status.pointer(pointer).and_then(Value::as_str);
    let name = text("/name").unwrap_or_default();
    let restarts = status.get("restartCount").and_then(Value::as_i64).unwrap_or(0);
    let ended = ["/state/terminated", "/lastState/terminated"]
        .iter()
        .find_map(|at| status.pointer(at))
        .filter(|ended| ended.get("exitCode").and_then(Value::as_i64) != Some(0));
    let exit = ended
        .map(|ended| {
            let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or(-1);
            match ended.get("reason").and_then(Value::as_str) {
                Some("Error" | "Completed") | None => format!(", exit code {code}"),
                Some(reason) => format!(", {reason}, exit code {code}"),
            }
        })
        .unwrap_or_default();
    if let Some(reason) = text("/state/waiting/reason").filter(|reason| !matches!(*reason, "ContainerCreating" | "PodInitializing")) {
        let message = text("/state/waiting/message").map(|message| format!(": {message}")).unwrap_or_default();
        let crashes = reason == CRASHES;
        return Some(PodTrouble {
            container: Some(name.to_owned()),
            reason: reason.to_owned(),
            text: if crashes {
                format!("container `{name}` keeps ending ({reason}{exit}, {restarts} restarts)")
            } else {
                format!("container `{name}`: {reason}{message}{exit}")
            },
            is_final: FINAL.contains(&reason) && (!crashes || restarts >= RESTARTS_MAX),
            has_log: ended.is_some(),
        });
    }
    ended.filter(|_| status.pointer("/state/terminated").is_some()).map(|_| PodTrouble {
        container: Some(name.to_owned()),
        reason: "Terminated".to_owned(),
        text: format!("container `{name}` ended{exit}"),
        is_final: false,
        has_log: true,
    })
}
