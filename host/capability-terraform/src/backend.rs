//! The HTTP state backend of a run: states in our store, encrypted and versioned; locks that die with the run.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, Secret, SecretStore};
use windlass_model::{ActionId, state::EnvironmentKey};

/// Largest state: those of thousands of resources have some MiB.
const STATE_BYTES_MAX: usize = 64 * 1024 * 1024;
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
        serde_json::from_str(text.expose())
            .map(Some)
            .map_err(|error| CapabilityError::new(Kind::Failed, format!("the stored state can't be read: {error}")))
    }

    /// Keeps a state, if it goes on from what is kept.
    pub(crate) async fn write(&self, text: &str) -> Result<(), CapabilityError> {
        let state: Value =
            serde_json::from_str(text).map_err(|error| CapabilityError::new(Kind::Invalid, format!("the state is no JSON: {error}")))?;
        if let Some(before) = self.read().await? {
            let same = before.get("lineage") == state.get("lineage");
            let newer = serial(&state) >= serial(&before);
            if !(same && newer) {
                return Err(CapabilityError::new(Kind::Conflict, "the state does not go on from the one that is kept"));
            }
        }
        self.secrets.write(&self.environment, &self.name, &Secret::new(text.to_owned())).await.map(drop)
    }

    /// Forgets the state.
    pub(crate) async fn remove(&self) -> Result<bool, CapabilityError> {
        self.secrets.remove(&self.environment, &self.name).await
    }
}

/// Reads the serial number of a state.
pub(crate) fn serial(state: &Value) -> u64 {
    state.get("serial").and_then(Value::as_u64).unwrap_or_default()
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
        });
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    let serve = hyper::service::service_fn(move |request| {
                        let server = Arc::clone(&server);
                        async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
                    });
                    // A client that goes away in the middle is the client's affair.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
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
        let Ok(body) = Limited::new(body, STATE_BYTES_MAX).collect().await else {
            return answer(StatusCode::PAYLOAD_TOO_LARGE, "the state is too large");
        };
        let body = body.to_bytes();
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
