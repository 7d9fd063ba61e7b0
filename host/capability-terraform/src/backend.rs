//! The HTTP state backend of a run: states in our store, encrypted and versioned; locks that die with the run.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, Secret, SecretStore};
use windlass_model::{ActionId, limits, state::EnvironmentKey};

use crate::state;

/// How long a client may take to say what it wants.
const SILENCE: Duration = Duration::from_secs(10);
/// The user that the program logs in as.
pub(crate) const USER: &str = "windlass";

/// Where the state of a module is kept.
#[derive(Clone)]
pub(crate) struct Place {
    pub secrets: Arc<dyn SecretStore>,
    pub environment: EnvironmentKey,
    pub name: String,
}

/// The name under which the state of an action is stored.
pub(crate) fn state_name(action: &ActionId) -> String {
    format!("{PREFIX}{action}")
}

/// What the names of all states begin with.
pub(crate) const PREFIX: &str = "terraform/";

impl Place {
    /// Reads the state.
    pub(crate) async fn read(&self) -> Result<Option<Value>, CapabilityError> {
        let Some((_, text)) = self.secrets.read(&self.environment, &self.name, None).await? else { return Ok(None) };
        let unread = |reason| CapabilityError::new(Kind::Failed, format!("the stored state can't be read: {reason}"));
        state::parse(text.expose()).map(Some).map_err(unread)
    }

    /// Keeps a state, if it goes on from what is kept.
    pub(crate) async fn write(&self, text: &str) -> Result<(), CapabilityError> {
        let state = state::parse(text).map_err(|reason| CapabilityError::new(Kind::Invalid, format!("the state is refused: {reason}")))?;
        if self.read().await?.is_some_and(|before| !state::goes_on(&before, &state)) {
            return Err(CapabilityError::new(Kind::Conflict, "the state does not go on from the one that is kept"));
        }
        self.secrets.write(&self.environment, &self.name, &Secret::new(text.to_owned())).await.map(drop)
    }

    /// Forgets the state.
    pub(crate) async fn remove(&self) -> Result<bool, CapabilityError> {
        self.secrets.remove(&self.environment, &self.name).await
    }
}

/// A server that stops with it.
pub(crate) struct Backend {
    pub address: String,
    pub token: String,
    task: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Server {
    place: Place,
    authorization: String,
    lock: Mutex<Option<Bytes>>,
    /// States that were handed over.
    writes: AtomicUsize,
}

impl Backend {
    /// Starts a server for one run.
    pub(crate) async fn start(place: Place) -> Result<Self, CapabilityError> {
        let fail = |what: &str, error: String| CapabilityError::new(Kind::Failed, format!("{what}: {error}"));
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| fail("no token can be made", error.to_string()))?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| fail("no port is free", error.to_string()))?;
        let port = listener.local_addr().map_err(|error| fail("no port is free", error.to_string()))?.port();
        let server = Arc::new(Server {
            place,
            authorization: format!("Basic {}", STANDARD.encode(format!("{USER}:{token}"))),
            lock: Mutex::new(None),
            writes: AtomicUsize::new(0),
        });
        let places = Arc::new(Semaphore::new(limits::TERRAFORM_BACKEND_CONNECTIONS_MAX));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = Arc::clone(&server);
                // Any process of this machine can connect.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                tokio::spawn(async move {
                    let _place = place;
                    let serve = hyper::service::service_fn(move |request| {
                        let server = Arc::clone(&server);
                        async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
                    });
                    // A client that goes away in the middle is the client's affair.
                    let mut http = hyper::server::conn::http1::Builder::new();
                    http.timer(TokioTimer::new()).header_read_timeout(SILENCE);
                    let _ = http.serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        Ok(Self { address: format!("http://127.0.0.1:{port}/state"), token, task })
    }
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let given = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if given != self.authorization {
            return answer(StatusCode::UNAUTHORIZED, "not this run");
        }
        let (parts, body) = request.into_parts();
        let is_state = parts.method == Method::POST;
        let bytes_max = if is_state { limits::TERRAFORM_STATE_BYTES_MAX } else { limits::TERRAFORM_LOCK_BYTES_MAX };
        let Ok(body) = Limited::new(body, bytes_max).collect().await else {
            return answer(StatusCode::PAYLOAD_TOO_LARGE, "the state is too large");
        };
        let body = body.to_bytes();
        if is_state && self.writes.fetch_add(1, Ordering::Relaxed) >= limits::TERRAFORM_STATE_WRITES_MAX {
            return answer(StatusCode::TOO_MANY_REQUESTS, "this run handed over too many states");
        }
        match (parts.method.clone(), parts.method.as_str()) {
            (Method::GET, _) => match self.place.read().await {
                Ok(Some(state)) => answer(StatusCode::OK, state.to_string()),
                Ok(None) => answer(StatusCode::NOT_FOUND, ""),
                Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, error.message),
            },
            (Method::POST, _) => match self.place.write(&String::from_utf8_lossy(&body)).await {
                Ok(()) => answer(StatusCode::OK, ""),
                Err(error) if error.kind == Kind::Conflict => answer(StatusCode::CONFLICT, error.message),
                Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, error.message),
            },
            (Method::DELETE, _) => match self.place.remove().await {
                Ok(_) => answer(StatusCode::OK, ""),
                Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, error.message),
            },
            (_, "LOCK") => {
                let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
                match lock.as_ref() {
                    Some(holder) => answer(StatusCode::LOCKED, holder.clone()),
                    None => {
                        *lock = Some(body);
                        answer(StatusCode::OK, "")
                    }
                }
            }
            (_, "UNLOCK") => {
                *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
                answer(StatusCode::OK, "")
            }
            _ => answer(StatusCode::METHOD_NOT_ALLOWED, ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use async_trait::async_trait;
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };
    use windlass_engine::store::NewSecret;

    use super::*;

    /// Keeps versions in clear.
    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    #[async_trait]
    impl SecretStore for Kept {
        async fn read(&self, _: &EnvironmentKey, _: &str, _: Option<u64>) -> Result<Option<(u64, Secret)>, CapabilityError> {
            let kept = self.0.lock().unwrap();
            Ok(kept.last().map(|text| (kept.len() as u64, Secret::new(text.clone()))))
        }

        async fn write(&self, _: &EnvironmentKey, _: &str, value: &Secret) -> Result<u64, CapabilityError> {
            let mut kept = self.0.lock().unwrap();
            kept.push(value.expose().to_owned());
            Ok(kept.len() as u64)
        }

        async fn write_first(&self, environment: &EnvironmentKey, name: &str, value: &Secret) -> Result<u64, CapabilityError> {
            self.write(environment, name, value).await
        }

        fn draft(&self, _: &EnvironmentKey, _: &str, _: u64, _: &Secret) -> Result<NewSecret, CapabilityError> {
            Err(CapabilityError::new(Kind::Invalid, "states are never drafted"))
        }

        async fn list(&self, _: &EnvironmentKey) -> Result<BTreeMap<String, u64>, CapabilityError> {
            Ok(BTreeMap::new())
        }

        async fn remove(&self, _: &EnvironmentKey, _: &str) -> Result<bool, CapabilityError> {
            Ok(self.0.lock().unwrap().drain(..).next().is_some())
        }

        fn mac(&self, _: &[u8]) -> String {
            String::new()
        }

        fn seal(&self, _: &str, _: &[u8]) -> Result<String, CapabilityError> {
            Err(CapabilityError::new(Kind::Invalid, "states are never sealed by hand"))
        }

        fn open(&self, _: &str, _: &str) -> Result<Vec<u8>, CapabilityError> {
            Err(CapabilityError::new(Kind::Invalid, "states are never opened by hand"))
        }

        fn derive(&self, _: &str, _: &str, _: &[Secret]) -> Result<Secret, CapabilityError> {
            Err(CapabilityError::new(Kind::Invalid, "nothing is derived from states"))
        }
    }

    async fn backend() -> Backend {
        let environment = EnvironmentKey { application: "shop".parse().unwrap(), environment: "dev".parse().unwrap() };
        Backend::start(Place { secrets: Arc::new(Kept::default()), environment, name: "terraform/m".into() }).await.unwrap()
    }

    fn state(lineage: &str, serial: u64, name: &str) -> String {
        json!({ "version": 4, "lineage": lineage, "serial": serial, "outputs": { "name": { "value": name } } }).to_string()
    }

    /// Speaks as the programs do, and returns the status and the body.
    async fn ask(backend: &Backend, token: &str, method: &str, body: &str) -> (u16, String) {
        let host = backend.address.trim_start_matches("http://").trim_end_matches("/state");
        let mut stream = TcpStream::connect(host).await.unwrap();
        let login = STANDARD.encode(format!("{USER}:{token}"));
        let request = format!(
            "{method} /state HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {login}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn nobody_but_the_run_reads_or_writes() {
        let backend = backend().await;
        for (method, token) in [("GET", "guessed"), ("POST", ""), ("DELETE", "guessed"), ("LOCK", "guessed"), ("UNLOCK", "guessed")] {
            assert_eq!(ask(&backend, token, method, &state("a", 1, "x")).await, (401, "not this run".to_owned()), "{method}");
        }
        assert_eq!(ask(&backend, &backend.token, "GET", "").await.0, 404);
        assert_eq!(ask(&backend, &backend.token, "PATCH", "").await.0, 405);
    }

    #[tokio::test]
    async fn a_state_goes_on_from_the_one_that_is_kept() {
        let backend = backend().await;
        let post = async |text: &str| ask(&backend, &backend.token, "POST", text).await;
        let kept = async || serde_json::from_str::<Value>(&ask(&backend, &backend.token, "GET", "").await.1).unwrap();
        assert_eq!(post(&state("a", 3, "first")).await.0, 200);
        assert_eq!(post(&state("a", 4, "second")).await.0, 200);
        assert_eq!(post(&state("a", 4, "second")).await.0, 200, "the answer was lost, it is handed over again");
        for (what, text) in [
            ("an older one", state("a", 3, "first")),
            ("another of the same number", state("a", 4, "third")),
            ("one of somebody else's", state("b", 9, "third")),
        ] {
            let (status, said) = post(&text).await;
            assert!(status == 409 && said.contains("does not go on from the one that is kept"), "{what}: {status} {said}");
        }
        assert_eq!(post("half a st").await.0, 500);
        assert_eq!(kept().await, serde_json::from_str::<Value>(&state("a", 4, "second")).unwrap());
        assert_eq!(ask(&backend, &backend.token, "DELETE", "").await.0, 200);
        assert_eq!(ask(&backend, &backend.token, "GET", "").await.0, 404);
    }

    #[tokio::test]
    async fn a_run_hands_over_only_so_much() {
        let backend = backend().await;
        let ask = async |method: &str, body: &str| ask(&backend, &backend.token, method, body).await.0;
        assert_eq!(ask("LOCK", &"x".repeat(limits::TERRAFORM_LOCK_BYTES_MAX)).await, 200);
        assert_eq!(ask("UNLOCK", &"x".repeat(limits::TERRAFORM_LOCK_BYTES_MAX + 1)).await, 413);
        for _ in 0..limits::TERRAFORM_STATE_WRITES_MAX {
            assert_eq!(ask("POST", "{}").await, 200);
        }
        assert_eq!(ask("POST", "{}").await, 429);
        // Connections that say nothing hold only their own places, and not for long.
        let host = backend.address.trim_start_matches("http://").trim_end_matches("/state").to_owned();
        let mut silent = Vec::new();
        for _ in 0..limits::TERRAFORM_BACKEND_CONNECTIONS_MAX {
            silent.push(TcpStream::connect(&host).await.unwrap());
        }
        assert!(tokio::time::timeout(Duration::from_millis(300), ask("GET", "")).await.is_err(), "each place is taken");
        drop(silent);
        assert_eq!(ask("GET", "").await, 200);
    }

    #[tokio::test]
    async fn a_lock_is_one_s_and_dies_with_the_run() {
        let first = backend().await;
        let ask = async |method: &str, body: &str| ask(&first, &first.token, method, body).await;
        assert_eq!(ask("LOCK", r#"{"ID":"1"}"#).await.0, 200);
        assert_eq!(ask("LOCK", r#"{"ID":"2"}"#).await, (423, r#"{"ID":"1"}"#.to_owned()), "the holder is told");
        assert_eq!(ask("UNLOCK", r#"{"ID":"1"}"#).await.0, 200);
        assert_eq!(ask("LOCK", r#"{"ID":"2"}"#).await.0, 200);
        drop(first);
        let next = backend().await;
        assert_eq!(super::tests::ask(&next, &next.token, "LOCK", r#"{"ID":"3"}"#).await.0, 200);
    }
}
