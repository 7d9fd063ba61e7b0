//! Requests to an API server: bounded, timed, repeated where that is safe, and answered with what it said.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde_json::Value;
use tokio::sync::Semaphore;
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind};
use windlass_model::{
    diagnostic::{chain, refuses_certificate},
    limits,
};

use crate::{
    answer::{self, Size, Unfit},
    resource::JSON,
    transport::Clients,
};

/// The name under which fields are ours.
pub(crate) const MANAGER: &str = "windlass";
/// One request; a server that takes longer is asked again.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// How long an unreachable server is asked again and again.
const OUTAGE_TIME_MAX: Duration = Duration::from_secs(60);
/// How long one that never answered is: it is called otherwise, or down.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A server may ask for patience, but not for more than this at a time.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Answers 500 are often final (a broken webhook): they are tried so often.
const INTERNAL_TRIES_MAX: u32 = 5;
/// Causes of a refusal that are told.
const CAUSES_MAX: usize = 20;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A client of one API server.
pub(crate) struct Api {
    clients: Clients,
    in_flight: Semaphore,
    /// Lists are larger than anything else.
    lists: Semaphore,
    jitter: AtomicU64,
    /// The server answered, if only with a refusal.
    is_reached: AtomicBool,
}

/// What the server refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// The machine's word: `Conflict`, `Forbidden`, …
    pub reason: String,
    /// What it said.
    pub message: String,
    /// Fields and their messages.
    pub causes: Vec<(String, String)>,
    /// The plural and the name of the object that it is about.
    pub about: (String, String),
}

/// Why there is no answer of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server refused.
    Refused(Refusal),
    /// No answer came, or none that can be read: it may have happened.
    Lost(String),
    /// The answer passes a bound.
    TooLarge(String),
    /// The run has no more time to wait for it: it may have happened.
    OutOfTime,
    /// The server never answered anything: nothing can have happened.
    Unreached(String),
}

impl Failure {
    pub(crate) fn is_code(&self, code: u16) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == code)
    }

    /// Tells whether the server refuses to change a field that it never changes.
    pub(crate) fn is_immutable(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == 422 && refusal.message.contains("field is immutable"))
    }

    /// Tells whether the server says that an object does not exist. Any other 404 says that the path is not served, and nothing of
    /// what is stored there.
    pub(crate) fn is_absence_of(&self, plural: &str, name: &str) -> bool {
        let is_about = |refusal: &Refusal| refusal.about.0 == plural && refusal.about.1 == name;
        matches!(self, Self::Refused(refusal) if refusal.code == 404 && refusal.reason == "NotFound" && is_about(refusal))
    }
}

impl Api {
    pub(crate) fn new(clients: Clients) -> Self {
        let mut seed = [0; 8];
        // Without randomness back-offs are only less spread.
        let _ = getrandom::fill(&mut seed);
        Self {
            clients,
            in_flight: Semaphore::new(limits::CLUSTER_REQUESTS_MAX),
            lists: Semaphore::new(limits::CLUSTER_LISTS_AT_ONCE_MAX),
            jitter: AtomicU64::new(u64::from_le_bytes(seed) | 1),
            is_reached: AtomicBool::new(false),
        }
    }

    /// Reads an object.
    pub(crate) async fn get(&self, path: &str, until: Instant) -> Result<Value, Failure> {
        self.call(Method::GET, path, &[(header::ACCEPT, JSON)], Bytes::new(), Size::Object, until).await
    }

    /// Reads a list.
    pub(crate) async fn list(&self, path: &str, accept: &'static str, until: Instant) -> Result<Value, Failure> {
        // Before anything is sent: an answer that nobody reads would hold up all others on the same connection.
        let turn = tokio::time::timeout_at(until.into(), self.lists.acquire()).await;
        let _turn = turn.map_err(|_| Failure::OutOfTime)?.map_err(|error| Failure::Lost(error.to_string()))?;
        self.call(Method::GET, path, &[(header::ACCEPT, accept)], Bytes::new(), Size::List, until).await
    }

    /// Reads text, for people: the log of a container. One try.
    pub(crate) async fn text(&self, path: &str, until: Instant) -> Option<String> {
        let request = Request::builder().method(Method::GET).uri(path).body(Body::empty()).ok()?;
        let asked = async {
            let answer = self.clients.requests.send(request).await.ok().filter(|answer| answer.status().is_success())?;
            let bytes = Limited::new(answer.into_body(), limits::CLUSTER_LOG_BYTES_MAX).collect().await.ok()?.to_bytes();
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        tokio::time::timeout(until.saturating_duration_since(Instant::now()).min(REQUEST_TIME_MAX), asked).await.ok()?
    }

    /// Applies on the server; the same again is no change.
    pub(crate) async fn apply(&self, path: &str, body: &Value, options: ApplyOptions, until: Instant) -> Result<Value, Failure> {
        let ApplyOptions { force, dry_run } = options;
        let dry = if dry_run { "&dryRun=All" } else { "" };
        let path = format!("{path}?fieldManager={MANAGER}&fieldValidation=Strict&force={force}{dry}");
        let bytes = serde_json::to_vec(body).map_err(|error| Failure::Lost(error.to_string()))?;
        self.call(Method::PATCH, &path, &[(header::CONTENT_TYPE, "application/apply-patch+yaml")], bytes.into(), Size::Object, until).await
    }

    /// Merges fields into the object; `null` takes one away.
    pub(crate) async fn merge(&self, path: &str, body: &Value, until: Instant) -> Result<Value, Failure> {
        let path = format!("{path}?fieldManager={MANAGER}");
        let bytes = serde_json::to_vec(body).map_err(|error| Failure::Lost(error.to_string()))?;
        self.call(Method::PATCH, &path, &[(header::CONTENT_TYPE, "application/merge-patch+json")], bytes.into(), Size::Object, until).await
    }

    /// Deletes exactly the object with this uid.
    pub(crate) async fn delete(&self, path: &str, uid: &str, until: Instant) -> Result<Value, Failure> {
        let body = serde_json::json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": { "uid": uid }
        });
        let bytes = serde_json::to_vec(&body).map_err(|error| Failure::Lost(error.to_string()))?;
        self.call(Method::DELETE, path, &[(header::CONTENT_TYPE, "application/json")], bytes.into(), Size::Object, until).await
    }

    /// Begins a stream that lasts.
    pub(crate) async fn stream(&self, path: &str) -> Option<Response<Body>> {
        let request = Request::builder().method(Method::GET).uri(path).body(Body::empty()).ok()?;
        let answer = tokio::time::timeout(REQUEST_TIME_MAX, self.clients.watches.send(request)).await.ok()?.ok()?;
        answer.status().is_success().then_some(answer)
    }

    /// Sends one request until there is an answer: everything that is sent here may be sent twice.
    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, &'static str)],
        body: Bytes,
        size: Size,
        until: Instant,
    ) -> Result<Value, Failure> {
        let turn = tokio::time::timeout_at(until.into(), self.in_flight.acquire()).await;
        let _turn = turn.map_err(|_| Failure::OutOfTime)?.map_err(|error| Failure::Lost(error.to_string()))?;
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let mut request = Request::builder().method(method.clone()).uri(path);
            for (name, value) in headers {
                request = request.header(name, *value);
            }
            let request = request.body(Body::from(body.clone())).map_err(|error| Failure::Lost(error.to_string()))?;
            let (failure, wait) = match self.once(request, size, until).await {
                Ok(value) => return Ok(value),
                Err((failure, wait)) => (failure, wait),
            };
            tries += 1;
            let again = match &failure {
                Failure::Lost(why) | Failure::Unreached(why) => !refuses_certificate(why),
                Failure::TooLarge(_) | Failure::OutOfTime => false,
                Failure::Refused(refusal) => match refusal.code {
                    429 | 502 | 503 | 504 => true,
                    500 => tries < INTERNAL_TRIES_MAX,
                    404 => !refusal.is_of_api_server() && tries < INTERNAL_TRIES_MAX,
                    _ => false,
                },
            };
            let pause = wait.unwrap_or_else(|| self.backoff(tries));
            let is_reached = self.is_reached.load(Ordering::Relaxed);
            let patience = if is_reached { OUTAGE_TIME_MAX } else { FIRST_ANSWER_WITHIN };
            if !again || Instant::now() + pause >= until.min(began + patience) {
                return Err(match failure {
                    Failure::Lost(why) if !is_reached => Failure::Unreached(why),
                    failure => failure,
                });
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One try; a refusal may say when to ask again.
    async fn once(&self, request: Request<Body>, size: Size, until: Instant) -> Result<Value, (Failure, Option<Duration>)> {
        let lost = |why: String| (Failure::Lost(why), None);
        let unfit = |unfit: Unfit| (unfit.into(), None);
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err((Failure::OutOfTime, None));
        }
        let asked = async {
            let answer = self.clients.requests.send(request).await.map_err(|error| lost(chain(&error)))?;
            self.is_reached.store(true, Ordering::Relaxed);
            let (head, body) = answer.into_parts();
            let bytes = read(body, size.bytes_max()).await.map_err(unfit)?;
            Ok((head, bytes))
        };
        let time_max = REQUEST_TIME_MAX.min(left);
        let (head, bytes) = tokio::time::timeout(time_max, asked).await.map_err(|_| {
            if time_max < REQUEST_TIME_MAX {
                (Failure::OutOfTime, None)
            } else {
                lost(format!("no answer within {} s", time_max.as_secs()))
            }
        })??;
        if head.status.is_success() {
            return answer::parse(&bytes, size).map_err(unfit);
        }
        let wait = head
            .headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|seconds| seconds.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        Err((Failure::Refused(refusal(head.status.as_u16(), &bytes)), wait))
    }

    /// Doubles from try to try, spread so that many clients don't come back together.
    fn backoff(&self, tries: u32) -> Duration {
        // A xorshift is random enough to spread.
        let mut state = self.jitter.load(Ordering::Relaxed);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.jitter.store(state, Ordering::Relaxed);
        let full = BACKOFF_MIN.saturating_mul(1 << tries.min(10)).min(BACKOFF_MAX);
        full / 2 + (full / 2).mul_f64((state % 1_000) as f64 / 1_000.0)
    }
}

/// How something is applied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ApplyOptions {
    /// Fields that others own become ours.
    pub force: bool,
    /// Nothing is kept.
    pub dry_run: bool,
}

impl Refusal {
    /// Tells whether an API server says so: with a reason, or in its words for a path that it does not serve. Anything else comes from
    /// something on the way.
    fn is_of_api_server(&self) -> bool {
        !self.reason.is_empty() || self.message.trim() == "404 page not found"
    }
}

/// Reads a body to its end.
async fn read(mut body: Body, bytes_max: usize) -> Result<Bytes, Unfit> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Unfit::Broken(format!("the answer broke off: {}", chain(&error))))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(Unfit::TooLarge(format!("it has more than {bytes_max} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

fn refusal(code: u16, bytes: &Bytes) -> Refusal {
    let status: Value = answer::parse(bytes, Size::Object).unwrap_or_default();
    let text = |value: &Value, field: &str| {
        let text = value.get(field).and_then(Value::as_str).unwrap_or_default();
        text.chars().take(limits::SERVER_TEXT_CHARS_MAX).collect::<String>()
    };
    let causes = status
        .pointer("/details/causes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .take(CAUSES_MAX)
        .map(|cause| (text(cause, "field"), text(cause, "message")))
        .collect();
    let said = text(&status, "message");
    let message = if said.is_empty() { String::from_utf8_lossy(bytes).chars().take(200).collect() } else { said };
    // An object that does not have the shape of its kind is answered with 500, and stays wrong.
    let code = if code == 500 && message.starts_with("failed to create typed patch object") { 422 } else { code };
    let details = status.get("details").unwrap_or(&Value::Null);
    let about = (text(details, "kind"), text(details, "name"));
    Refusal { code, reason: text(&status, "reason"), message, causes, about }
}

impl From<Unfit> for Failure {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::TooLarge(why) => Self::TooLarge(why),
            Unfit::Broken(why) => Self::Lost(why),
        }
    }
}

impl From<Failure> for CapabilityError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(why) | Failure::Unreached(why) if refuses_certificate(&why) => {
                Self::new(Kind::Denied, format!("the API server is not trusted: {why}")).hint(
                    "its certificate is from another authority than `certificate-authority-data` of the kubeconfig, or for another name",
                )
            }
            Failure::Unreached(why) => Self::new(Kind::Unavailable, format!("the API server can't be reached: {why}"))
                .hint("is it running, and is its address right?"),
            Failure::Lost(why) => {
                Self::new(Kind::Uncertain, format!("the API server did not answer: {why}")).hint("deploy again: it is looked at first")
            }
            Failure::TooLarge(why) => Self::new(Kind::Failed, format!("the answer of the API server can't be read: {why}"))
                .hint("is the address of the connection that of an API server?"),
            Failure::OutOfTime => Self::new(Kind::Uncertain, "the API server did not answer: there is no more time".to_owned())
                .hint("deploy again: it is looked at first"),
            Failure::Refused(refusal) => refused(&refusal),
        }
    }
}

/// Says in a person's words what the server refused.
fn refused(refusal: &Refusal) -> CapabilityError {
    let Refusal { code, reason, message, causes, about: _ } = refusal;
    let is_quota = message.contains("exceeded quota");
    match code {
        401 => CapabilityError::new(Kind::Denied, "the API server does not know these credentials").hint("renew the kubeconfig"),
        403 if is_quota => CapabilityError::new(Kind::Quota, message.clone()).hint("raise the ResourceQuota, or ask for less"),
        403 if message.contains("is being terminated") => {
            CapabilityError::new(Kind::Unavailable, message.clone()).hint("the namespace is going away; deploy again when it is gone")
        }
        403 => {
            CapabilityError::new(Kind::Denied, message.clone()).hint("give the service account this permission, or use another connection")
        }
        404 if reason == "NotFound" => CapabilityError::new(Kind::Invalid, message.clone()),
        404 => CapabilityError::new(Kind::Unavailable, format!("the API server does not serve this path: {}", message.trim()))
            .hint("is the address of the connection that of an API server, and does it serve this version of the kind?"),
        409 if causes.iter().any(|(_, message)| message.starts_with("conflict with")) => {
            let fields: Vec<String> = causes.iter().map(|(field, message)| format!("`{field}` ({message})")).collect();
            CapabilityError::new(Kind::Conflict, format!("somebody else owns fields of it: {}", fields.join(", ")))
                .hint("leave these fields to them, or take them over with `--take-ownership OBJECT`")
        }
        409 => CapabilityError::new(Kind::Conflict, message.clone()),
        400 | 422 if message.contains("denied the request") => {
            CapabilityError::new(Kind::Denied, message.clone()).hint("an admission rule of the cluster refuses it")
        }
        400 | 422 => CapabilityError::new(Kind::Invalid, message.clone()),
        429 | 500..=599 => CapabilityError::new(Kind::Unavailable, format!("the API server answers {code}: {message}")),
        _ => CapabilityError::new(Kind::Failed, format!("the API server answers {code} {reason}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_in_a_persons_words() {
        let say = |code: u16, body: Value| {
            let error = CapabilityError::from(Failure::Refused(refusal(code, &body.to_string().into())));
            format!("{:?}: {} [{}]", error.kind, error.message, error.hint.unwrap_or_default())
        };
        insta::assert_snapshot!(
            [
                say(409, serde_json::json!({ "reason": "Conflict", "message": "Apply failed", "details": { "causes": [
                    { "reason": "FieldManagerConflict", "field": ".spec.replicas", "message": "conflict with \"kubectl\" using apps/v1" } ] } })),
                say(403, serde_json::json!({ "reason": "Forbidden", "message": "pods is forbidden: exceeded quota: q, requested: pods=1" })),
                say(403, serde_json::json!({ "reason": "Forbidden", "message": "user x cannot patch resource y" })),
                say(422, serde_json::json!({ "reason": "Invalid", "message": "spec.ports: Required value" })),
                say(400, serde_json::json!({ "reason": "BadRequest", "message": "admission webhook \"p\" denied the request: no" })),
                say(500, serde_json::json!({ "message": "failed to create typed patch object (a/b; apps/v1, Kind=StatefulSet): .spec.replicas: expected numeric" })),
                say(500, serde_json::json!({ "message": "Internal error occurred: failed calling webhook" })),
                say(503, serde_json::json!("oops")),
            ]
            .join("\n"),
            @r#"
        Conflict: somebody else owns fields of it: `.spec.replicas` (conflict with "kubectl" using apps/v1) [leave these fields to them, or take them over with `--take-ownership OBJECT`]
        Quota: pods is forbidden: exceeded quota: q, requested: pods=1 [raise the ResourceQuota, or ask for less]
        Denied: user x cannot patch resource y [give the service account this permission, or use another connection]
        Invalid: spec.ports: Required value []
        Denied: admission webhook "p" denied the request: no [an admission rule of the cluster refuses it]
        Invalid: failed to create typed patch object (a/b; apps/v1, Kind=StatefulSet): .spec.replicas: expected numeric []
        Unavailable: the API server answers 500: Internal error occurred: failed calling webhook []
        Unavailable: the API server answers 503: "oops" []
        "#
        );
    }
}
