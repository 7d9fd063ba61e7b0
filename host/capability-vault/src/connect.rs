//! Connections: one client for each, logged in by what the connection says.

use std::{io::Write as _, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use vaultrs::{
    auth,
    client::{Client as _, VaultClient, VaultClientSettingsBuilder},
    error::ClientError,
};
use windlass_engine::{
    credential,
    host_access::HostAccess,
    session::{CapabilityError, CapabilityErrorKind as Kind, Entries, Executor, OpenConnection, Secret, Session},
};
use windlass_model::{
    diagnostic::{chain, refuses_certificate},
    platform::{ConnectionSettings, Reference, VaultAuth, VaultSettings},
};

use crate::store::Vault;

/// Longest request.
const REQUEST_WITHIN: Duration = Duration::from_secs(20);
/// Where Kubernetes puts the token of a pod's account.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Opens servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct VaultExecutor;

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
        Ok(Arc::new(Entries::new(Vault::open(vault, &connection.access).await?)))
    }
}

/// Makes a client and logs it in.
pub(crate) async fn client(settings: &VaultSettings, access: &HostAccess) -> Result<VaultClient, CapabilityError> {
    // Whoever was first decided already, and it was one of us.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let invalid = |why: String| CapabilityError::new(Kind::Invalid, format!("{}: {why}", settings.address));
    url::Url::parse(&settings.address).map_err(|error| invalid(error.to_string()))?;
    let mut authorities = Vec::new();
    // It is read while the client is made; then it may go.
    let mut file = None;
    match &settings.ca_cert {
        Some(Reference::File(path)) => authorities.push(access.file(Path::new(path))?.display().to_string()),
        Some(reference @ Reference::Env(_)) => {
            let text = credential::read("the server's authority", reference, access)?;
            let mut written = tempfile::NamedTempFile::new().map_err(|error| invalid(error.to_string()))?;
            written.write_all(text.expose().as_bytes()).map_err(|error| invalid(error.to_string()))?;
            authorities.push(written.path().display().to_string());
            file = Some(written);
        }
        None => {}
    }
    let settings_of = |token: &str| {
        VaultClientSettingsBuilder::default()
            .address(&settings.address)
            .ca_certs(authorities.clone())
            .identity(None)
            .verify(true)
            .timeout(Some(REQUEST_WITHIN))
            .token(token)
            .namespace(settings.namespace.clone())
            .build()
            .map_err(|error| invalid(error.to_string()))
    };
    let made = |token: &str| VaultClient::new(settings_of(token)?).map_err(|error| invalid(error.to_string()));
    let client = match &settings.auth {
        VaultAuth::Token(token) => made(credential::read("the token of Vault", token, access)?.expose())?,
        auth => {
            let mut client = made("")?;
            let token = login(&client, auth, access).await?;
            client.set_token(&token);
            client
        }
    };
    drop(file);
    Ok(client)
}

async fn login(client: &VaultClient, auth: &VaultAuth, access: &HostAccess) -> Result<String, CapabilityError> {
    let mount = |mount: &Option<String>, default: &str| mount.clone().unwrap_or_else(|| default.to_owned());
    let answer = match auth {
        VaultAuth::AppRole { mount: at, role_id, secret_id } => {
            let secret = credential::read("the secret id of Vault", secret_id, access)?;
            auth::approle::login(client, &mount(at, "approle"), role_id, secret.expose()).await
        }
        VaultAuth::Kubernetes { mount: at, role, token } => {
            let token = match token {
                Some(token) => credential::read("the token of the service account", token, access)?,
                None => own_token(access)?,
            };
            auth::kubernetes::login(client, &mount(at, "kubernetes"), role, token.expose()).await
        }
        VaultAuth::Jwt { mount: at, role, token } => {
            let token = credential::read("the token for Vault", token, access)?;
            auth::oidc::login(client, &mount(at, "jwt"), token.expose(), Some(role.clone())).await
        }
        VaultAuth::Token(token) => return credential::read("the token of Vault", token, access).map(|token| token.expose().to_owned()),
    };
    answer.map(|info| info.client_token).map_err(|error| failed("logging in to Vault", &error))
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
                404 => (Kind::Invalid, None),
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
