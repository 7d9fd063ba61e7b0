//! Connections: one client for each, logged in by what the connection says.

use std::sync::Arc;

use async_trait::async_trait;
use vaultrs::{
    api::auth::{
        approle::requests::LoginWithApproleRequest, kubernetes::requests::LoginWithKubernetesRequest, oidc::requests::JWTLoginRequest,
    },
    error::ClientError,
};
use windlass_engine::{
    credential,
    host_access::HostAccess,
    session::{CapabilityError, CapabilityErrorKind as Kind, Entries, Executor, OpenConnection, Secret, Session},
    transport::InsecureTransport,
};
use windlass_model::{
    diagnostic::{chain, refuses_certificate},
    platform::{ConnectionSettings, Reference, VaultAuth, VaultSettings},
};

use crate::{
    store::{MOUNT_HINT, Vault},
    transport::VaultClient,
};

/// Where Kubernetes puts the token of a pod's account.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Opens servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct VaultExecutor {
    allowed: InsecureTransport,
}

impl VaultExecutor {
    /// Takes what the operator allows of connections without TLS.
    #[must_use]
    pub fn new(allowed: InsecureTransport) -> Self {
        Self { allowed }
    }
}

#[async_trait]
impl Executor for VaultExecutor {
    fn interface(&self) -> &'static str {
        "windlass:secrets/external"
    }

    fn connection_kind(&self) -> &'static str {
        "vault"
    }

    async fn open(&self, connection: &OpenConnection) -> Result<Arc<dyn Session>, CapabilityError> {
        let ConnectionSettings::Vault { vault } = &connection.settings else {
            return Err(CapabilityError::new(Kind::Invalid, format!("connection `{}` is no Vault", connection.name)));
        };
        Ok(Arc::new(Entries::new(Vault::open(vault, &connection.access, self.allowed).await?)))
    }
}

/// Makes a client and logs it in.
pub(crate) async fn client(
    settings: &VaultSettings,
    access: &HostAccess,
    allowed: InsecureTransport,
) -> Result<VaultClient, CapabilityError> {
    // Whoever was first decided already, and it was one of us.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let invalid = |why: String| CapabilityError::new(Kind::Invalid, format!("{}: {why}", settings.address));
    let address = url::Url::parse(&settings.address).map_err(|error| invalid(error.to_string()))?;
    match address.scheme() {
        "https" => {}
        "http" => allowed.permit("Vault without TLS, `http://`", address.host_str().unwrap_or_default(), settings.insecure)?,
        other => return Err(invalid(format!("`{other}` is spoken by no Vault; `https` is"))),
    }
    let authorities = match &settings.ca_cert {
        Some(reference) => {
            let text = credential::read("the server's authority", reference, access)?;
            reqwest::Certificate::from_pem_bundle(text.expose().as_bytes()).map_err(|error| invalid(chain(&error)))?
        }
        None => Vec::new(),
    };
    let client = VaultClient::new(&settings.address, authorities, settings.namespace.clone()).map_err(|error| invalid(chain(&error)))?;
    let token = login(&client, &settings.auth, access).await?;
    // The client would fail with it in its own way.
    if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid("the token holds characters that no header may have".to_owned()));
    }
    Ok(client.with_token(token.expose()))
}

/// Exchanges what the connection refers to for a token.
async fn login(client: &VaultClient, auth: &VaultAuth, access: &HostAccess) -> Result<Secret, CapabilityError> {
    let mount = |mount: &Option<String>, default: &str| mount.clone().unwrap_or_else(|| default.to_owned());
    let answer = match auth {
        VaultAuth::Token(token) => return credential::read("the token of Vault", token, access),
        VaultAuth::AppRole { mount: at, role_id, secret_id } => {
            let secret = credential::read("the secret id of Vault", secret_id, access)?;
            let mut request = LoginWithApproleRequest::builder();
            let request = request.mount(mount(at, "approle")).role_id(role_id).secret_id(secret.expose()).build();
            client.login(request.map_err(unbuilt)?).await
        }
        VaultAuth::Kubernetes { mount: at, role, token } => {
            let token = match token {
                Some(token) => credential::read("the token of the service account", token, access)?,
                None => own_token(access)?,
            };
            let mut request = LoginWithKubernetesRequest::builder();
            let request = request.mount(mount(at, "kubernetes")).role(role).jwt(token.expose()).build();
            client.login(request.map_err(unbuilt)?).await
        }
        VaultAuth::Jwt { mount: at, role, token } => {
            let token = credential::read("the token for Vault", token, access)?;
            let mut request = JWTLoginRequest::builder();
            let request = request.mount(mount(at, "jwt")).role(role).jwt(token.expose()).build();
            client.login(request.map_err(unbuilt)?).await
        }
    };
    answer.map(|info| Secret::new(info.client_token)).map_err(|error| failed("logging in to Vault", &error))
}

/// Says that a request lacks a field: its path would name nothing.
pub(crate) fn unbuilt(error: impl std::fmt::Display) -> CapabilityError {
    CapabilityError::new(Kind::Invalid, format!("the request for Vault: {error}"))
}

/// Reads the token of the pod that this process runs in: the identity of the host, not a file that a document names.
fn own_token(access: &HostAccess) -> Result<Secret, CapabilityError> {
    access.identity("the service account of this pod")?;
    credential::read("the token of the service account", &Reference::File(SERVICE_ACCOUNT_TOKEN.to_owned()), &HostAccess::open())
}

/// Turns an error of the client into one of the ports.
pub(crate) fn failed(what: &str, error: &ClientError) -> CapabilityError {
    match error {
        ClientError::APIError { code, errors } => {
            let said = errors.join("; ");
            let said = if said.is_empty() { format!("status {code}") } else { format!("{said} (status {code})") };
            let (kind, hint) = match code {
                400 if said.contains("check-and-set") => (Kind::Conflict, Some("somebody wrote it at the same time: deploy again")),
                403 => (
                    Kind::Denied,
                    Some(
                        "the token must be valid and its policy allow it: `examples/cloud/permissions/vault-policy.hcl` lists what Windlass needs",
                    ),
                ),
                404 => (Kind::Invalid, Some(MOUNT_HINT)),
                300..=399 => (
                    Kind::Denied,
                    Some(
                        "the server redirects, and its token is sent nowhere else: the connection's `address` must be that of the active node",
                    ),
                ),
                429 | 412 | 472 | 473 | 500..=599 => (Kind::Unavailable, None),
                _ => (Kind::Invalid, None),
            };
            let error = CapabilityError::new(kind, format!("{what}: {said}"));
            hint.map_or(error.clone(), |hint| error.hint(hint))
        }
        other => {
            let told = chain(other);
            if refuses_certificate(&told) {
                return CapabilityError::new(Kind::Denied, format!("{what}: the server is not trusted: {told}"))
                    .hint("`caCert` of the connection is the authority that its certificate is from");
            }
            CapabilityError::new(Kind::Unavailable, format!("{what}: {told}")).hint("is the server running, and is its address right?")
        }
    }
}
