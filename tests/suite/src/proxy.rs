//! A proxy in front of an API server that does to answers what networks and servers do to them.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use kube::client::Body;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{cluster::kube_client, tls};

/// How long a watch lasts where watches break off.
const WATCH_TIME: Duration = Duration::from_millis(700);

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has its effect, and the answer never comes.
    AnswerLost,
    /// It is refused without an effect.
    Status(u16),
    /// It has its effect, and the answer is half of itself.
    Cut,
    /// It has its effect, and the answer is nonsense.
    Garbage,
    /// It takes so many milliseconds.
    Slow(u64),
    /// Watches break off soon, and the version from which the next would go on is too old for the server.
    WatchExpired,
}

/// What the proxy speaks to whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// Many requests on one connection: a fault ends one of them.
    Http2,
    /// A request after the other on a connection: a fault ends that.
    Http1,
}

/// A proxy that stops with it.
pub struct FaultProxy {
    port: u16,
    /// The certificate's authority, PEM.
    authority: String,
    hit: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultProxy").field("port", &self.port).finish_non_exhaustive()
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

struct Proxy {
    client: kube::Client,
    fault: Fault,
    every: usize,
    seen: AtomicUsize,
    hit: Arc<AtomicUsize>,
}

impl FaultProxy {
    /// Starts a proxy before the server of a kubeconfig; every so many requests meet the fault: watches that of
    /// watches, and all others the other ones.
    ///
    /// # Panics
    ///
    /// If it can't be started.
    #[must_use]
    pub fn start(kubeconfig: &std::path::Path, spoken: Spoken, fault: Fault, every: usize) -> Self {
        let fail = |error: &dyn std::fmt::Display| -> ! { unreachable!("the proxy can't be started: {error}") };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| fail(&error));
        let protocols: &[&str] = match spoken {
            Spoken::Http2 => &["h2", "http/1.1"],
            Spoken::Http1 => &["http/1.1"],
        };
        let (tls, authority) = tls::acceptor("127.0.0.1", protocols);
        let (hit, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let opened = Arc::clone(&connections);
        let (client, listener) = runtime.block_on(async {
            let client = kube_client(kubeconfig).await;
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap_or_else(|error| fail(&error));
            (client, listener)
        });
        let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
        let proxy = Arc::new(Proxy { client, fault, every, seen: AtomicUsize::new(0), hit: Arc::clone(&hit) });
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                let (proxy, tls) = (Arc::clone(&proxy), tls.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let serve = hyper::service::service_fn(move |request| {
                        let proxy = Arc::clone(&proxy);
                        async move { proxy.answer(request).await }
                    });
                    // A dropped answer ends the connection, or the stream of it: that is the point.
                    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        Self { port, authority, hit, connections, runtime: Some(runtime) }
    }

    /// Returns a kubeconfig that leads through the proxy.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: p\ncontexts: [{{ name: p, context: {{ cluster: p, user: p }} }}]\nclusters: [{{ name: p, cluster: {{ server: \"https://127.0.0.1:{}\", certificate-authority-data: {} }} }}]\nusers: [{{ name: p, user: {{}} }}]\n",
            self.port,
            STANDARD.encode(&self.authority)
        )
    }

    /// Counts the connections that were opened.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Counts the requests that met the fault.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.hit.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn whole(status: StatusCode, body: Bytes, retry_after: Option<u32>) -> Answer {
    let mut answer = Response::new(Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
    }
    answer
}

impl Proxy {
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, std::io::Error> {
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=1"));
        let meets =
            is_watch == (self.fault == Fault::WatchExpired) && (self.seen.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(self.every);
        if meets {
            self.hit.fetch_add(1, Ordering::SeqCst);
        }
        if let (true, Fault::Status(code)) = (meets, self.fault) {
            let status = StatusCode::from_u16(code).map_err(std::io::Error::other)?;
            let text = format!(r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"made by the proxy","code":{code}}}"#);
            return Ok(whole(status, text.into(), (code == 429).then_some(1)));
        }
        if let (true, Fault::WatchExpired) = (meets, self.fault) {
            let text = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","message":"too old resource version","code":410}}"#;
            return Ok(whole(StatusCode::OK, format!("{text}\n").into(), None));
        }
        if let (true, Fault::Slow(ms)) = (meets, self.fault) {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        let (head, body) = request.into_parts();
        let method: Method = head.method;
        let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let mut forward = Request::builder().method(method).uri(path);
        for name in [http::header::ACCEPT, http::header::CONTENT_TYPE] {
            if let Some(value) = head.headers.get(&name) {
                forward = forward.header(name, value);
            }
        }
        let forward = forward.body(Body::from(bytes.to_vec())).map_err(std::io::Error::other)?;
        let (head, body) = self.client.send(forward).await.map_err(std::io::Error::other)?.into_parts();
        if is_watch {
            let told = body.map_err(std::io::Error::other);
            let told = if self.fault == Fault::WatchExpired {
                let end = Box::pin(tokio::time::sleep(WATCH_TIME));
                StreamBody::new(told.into_data_stream().take_until(end).map_ok(Frame::data)).boxed_unsync()
            } else {
                told.boxed_unsync()
            };
            let mut answer = Response::new(told);
            *answer.status_mut() = head.status;
            return Ok(answer);
        }
        let bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        match self.fault {
            // An error instead of an answer: hyper closes the connection, or resets the stream.
            Fault::AnswerLost if meets => Err(std::io::Error::other("lost")),
            Fault::Garbage if meets => Ok(whole(head.status, Bytes::from_static(b"<html>what?</html>"), None)),
            Fault::Cut if meets => {
                let half = bytes.slice(..bytes.len() / 2);
                let frames = [Ok(Frame::data(half)), Err(std::io::Error::other("cut"))];
                let mut answer = Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync());
                *answer.status_mut() = head.status;
                Ok(answer)
            }
            _ => Ok(whole(head.status, bytes, None)),
        }
    }
}
