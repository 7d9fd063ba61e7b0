//! Connections to an API server: one for all requests where it speaks HTTP/2, and one for each watch.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Config,
    client::{Body, ClientBuilder, ConfigExt as _, DynBody, middleware::AuthLayer},
};
use rustls::ClientConfig;
use tower::{BoxError, ServiceBuilder, ServiceExt as _, util::BoxService};

/// A server that is silent for so long is asked for a sign of life: all requests would be sent into a dead connection, again and again.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(10);
/// How long it may take for one.
const SIGN_OF_LIFE_WITHIN: Duration = Duration::from_secs(10);

/// Sends requests to one API server.
pub(crate) type Sender = BoxService<Request<Body>, Response<Box<DynBody>>, BoxError>;

/// The clients of one API server.
pub(crate) struct Clients {
    /// All requests share a connection where the server speaks HTTP/2: handshakes cost it as much as requests do.
    pub requests: kube::Client,
    /// Each watch has a connection of its own: what streams for minutes takes no request's place.
    pub watches: kube::Client,
}

impl Clients {
    /// Makes both of the same settings.
    pub(crate) fn new(config: &Config, finish: impl Fn(ClientBuilder<Sender>) -> kube::Client) -> Result<Self, BoxError> {
        if config.proxy_url.is_some() {
            // kube's own transport knows proxies, or says that this build does not.
            let own = || Ok::<_, BoxError>(finish(ClientBuilder::try_from(config.clone())?));
            return Ok(Self { requests: own()?, watches: own()? });
        }
        // Once for both: either may run a program for credentials.
        let (tls, auth) = (config.rustls_client_config()?, config.auth_layer()?);
        let sender = |is_shared: bool| sender(config, tls.clone(), auth.as_ref(), is_shared);
        Ok(Self { requests: finish(sender(true)?), watches: finish(sender(false)?) })
    }
}

/// Makes what sends requests.
fn sender(config: &Config, tls: ClientConfig, auth: Option<&AuthLayer>, is_shared: bool) -> Result<ClientBuilder<Sender>, BoxError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(config.connect_timeout);
    let mut tls = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.tls_server_name {
        tls = tls.with_server_name_resolver(FixedServerNameResolver::new(name.clone().try_into()?));
    }
    let tls = tls.enable_http1();
    let tls = if is_shared { tls.enable_http2().wrap_connector(http) } else { tls.wrap_connector(http) };
    let client = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(SIGN_OF_LIFE_EVERY)
        .http2_keep_alive_timeout(SIGN_OF_LIFE_WITHIN)
        .build(tls);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(auth)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client)
        .map_response(|answer: Response<_>| answer.map(|body| Box::new(body.map_err(BoxError::from)) as Box<DynBody>))
        .boxed();
    Ok(ClientBuilder::new(service, config.default_namespace.clone()))
}
