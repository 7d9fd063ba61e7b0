//! Clusters that a cloud account knows by name: every request carries a token that was signed lately.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, header::AUTHORIZATION};
use kube::{
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::sync::Mutex;
use tower::{BoxError, buffer::BufferLayer, filter::AsyncFilterLayer};
use windlass_engine::{
    session::{CapabilityError, OpenConnection, TokenSource},
    transport::InsecureTransport,
};
use windlass_model::platform::{EksSettings, KubernetesSettings};

use crate::{
    connect::{act_as, check_transport, invalid},
    transport::{Clients, Sender},
};

/// A token is good for a quarter of an hour; it is signed anew before.
const SIGNED_EVERY: Duration = Duration::from_secs(600);
/// Requests that may wait for the connection.
const QUEUE: usize = 256;

/// Signs requests.
struct Signer {
    tokens: Arc<dyn TokenSource>,
    eks: EksSettings,
    connection: OpenConnection,
    last: Mutex<Option<(Instant, HeaderValue)>>,
}

impl Signer {
    async fn sign(&self, mut request: Request<Body>) -> Result<Request<Body>, BoxError> {
        let mut last = self.last.lock().await;
        let header = match last.as_ref() {
            Some((at, header)) if at.elapsed() < SIGNED_EVERY => header.clone(),
            _ => {
                let token = self.tokens.token(&self.eks, &self.connection).await?;
                let mut header = HeaderValue::from_str(&format!("Bearer {}", token.expose()))?;
                header.set_sensitive(true);
                *last = Some((Instant::now(), header.clone()));
                header
            }
        };
        request.headers_mut().insert(AUTHORIZATION, header);
        Ok(request)
    }
}

/// Makes the clients of a cluster that is found by its name.
pub(crate) async fn clients(
    settings: &KubernetesSettings,
    eks: &EksSettings,
    connection: &OpenConnection,
    tokens: Arc<dyn TokenSource>,
    allowed: InsecureTransport,
) -> Result<Clients, CapabilityError> {
    let wrong = |error: &dyn std::fmt::Display| invalid(format!("the EKS cluster `{}` can't be reached: {error}", eks.cluster));
    let cluster = tokens.cluster(eks, connection).await?;
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "eks",
        "contexts": [{ "name": "eks", "context": { "cluster": "eks", "user": "eks" } }],
        "clusters": [{ "name": "eks", "cluster": { "server": cluster.server, "certificate-authority-data": cluster.authority } }],
        "users": [{ "name": "eks", "user": {} }],
    });
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).map_err(|error| wrong(&error))?;
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(|error| wrong(&error))?;
    check_transport(&config, settings, allowed)?;
    act_as(&mut config, settings);
    let signer = Arc::new(Signer { tokens, eks: eks.clone(), connection: connection.clone(), last: Mutex::new(None) });
    // A token that can't be signed is found here, before anything is done.
    signer.tokens.token(eks, connection).await?;
    let sign = move |request: Request<Body>| {
        let signer = Arc::clone(&signer);
        async move { signer.sign(request).await }
    };
    let signing = |builder: ClientBuilder<Sender>| {
        builder.with_layer(&BufferLayer::new(QUEUE)).with_layer(&AsyncFilterLayer::new(sign.clone())).build()
    };
    Clients::new(&config, signing).map_err(|error| wrong(&error))
}
