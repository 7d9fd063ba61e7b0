//! Reads what others keep, and writes what is ours: with `cas`, so that nobody's write is lost.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use vaultrs::{
    api::kv2::{
        requests::{
            DeleteSecretMetadataRequest, ReadSecretMetadataRequest, ReadSecretRequest, SetSecretMetadataRequest, SetSecretRequest,
            SetSecretRequestOptions,
        },
        responses::ReadSecretMetadataResponse,
    },
    error::ClientError,
};
use windlass_engine::{
    host_access::HostAccess,
    session::{CapabilityError, CapabilityErrorKind as Kind, EntryStore, Fields, Owner, Ownership},
    transport::InsecureTransport,
};
use windlass_model::platform::VaultSettings;

use crate::{
    connect::{client, failed, unbuilt},
    spec::split,
    transport::VaultClient,
};

/// The key of the custom metadata that says whose a value is.
const MARK: &str = "windlass.dev/mark";
/// What a younger token is denied it may not do; an older one may have run out, for instance while a database was made.
const TOKEN_RUNS_OUT_AFTER: Duration = Duration::from_secs(5);
/// How often a busy server is asked again.
const RETRIES: usize = 6;
/// How long it waits before the first time.
const PAUSE: Duration = Duration::from_millis(100);

/// What to look at where nothing is found.
pub(crate) const MOUNT_HINT: &str =
    "check the mount and the path; it must be a KV engine of version 2, and stand in `mounts` of the connection if its name has a slash";

/// An open server.
pub(crate) struct Vault {
    settings: VaultSettings,
    access: HostAccess,
    allowed: InsecureTransport,
    login: Mutex<Login>,
}

/// A client that is logged in.
#[derive(Clone)]
struct Login {
    client: Arc<VaultClient>,
    at: Instant,
}

impl Login {
    async fn new(settings: &VaultSettings, access: &HostAccess, allowed: InsecureTransport) -> Result<Self, CapabilityError> {
        Ok(Self { client: Arc::new(client(settings, access, allowed).await?), at: Instant::now() })
    }
}

impl Vault {
    /// Logs in.
    pub(crate) async fn open(settings: &VaultSettings, access: &HostAccess, allowed: InsecureTransport) -> Result<Self, CapabilityError> {
        let login = Mutex::new(Login::new(settings, access, allowed).await?);
        Ok(Self { settings: settings.clone(), access: access.clone(), allowed, login })
    }

    /// Calls the server: again while it is busy, and with another token where the one that we have ran out.
    async fn call<Q, U, T, R>(
        &self,
        what: String,
        request: impl Fn() -> Result<Q, U>,
        send: impl Fn(Arc<VaultClient>, Q) -> R,
    ) -> Result<T, CapabilityError>
    where
        U: std::fmt::Display,
        R: Future<Output = Result<T, ClientError>>,
    {
        let attempt = || async {
            let login = self.login.lock().await.clone();
            match send(login.client.clone(), request().map_err(unbuilt)?).await {
                Err(error) if is_denied(&error) && login.at.elapsed() > TOKEN_RUNS_OUT_AFTER => {
                    let client = self.log_in_again(&login).await.map_err(|again| {
                        let error = failed(&what, &error);
                        CapabilityError { message: format!("{}; another token was not given: {again}", error.message), ..error }
                    })?;
                    send(client, request().map_err(unbuilt)?).await
                }
                answer => answer,
            }
            .map_err(|error| failed(&what, &error))
        };
        let patience = ExponentialBuilder::new().with_jitter().with_min_delay(PAUSE).with_max_times(RETRIES);
        attempt.retry(patience).when(|error: &CapabilityError| error.kind == Kind::Unavailable).await
    }

    /// Replaces a login, unless somebody did so already.
    async fn log_in_again(&self, used: &Login) -> Result<Arc<VaultClient>, CapabilityError> {
        let mut login = self.login.lock().await;
        if login.at == used.at {
            *login = Login::new(&self.settings, &self.access, self.allowed).await?;
        }
        Ok(login.client.clone())
    }

    /// Splits a path into mount and rest: the longest mount that the connection names, else the first part.
    fn parts<'p>(&self, path: &'p str) -> Result<(&'p str, &'p str), CapabilityError> {
        let first = split(path).ok_or_else(|| CapabilityError::new(Kind::Invalid, format!("`{path}` is no path of a secret")))?;
        let named = self.settings.mounts.iter().map(|mount| mount.trim_matches('/'));
        let below = named.filter_map(|mount| Some((path.get(..mount.len())?, path.strip_prefix(mount)?.strip_prefix('/')?)));
        Ok(below.max_by_key(|(mount, _)| mount.len()).unwrap_or(first))
    }

    /// Replaces the custom metadata of a path.
    async fn set_custom(&self, what: String, path: &str, custom: &HashMap<String, String>) -> Result<(), CapabilityError> {
        let (mount, rest) = self.parts(path)?;
        let request = || SetSecretMetadataRequest::builder().mount(mount).path(rest).custom_metadata(custom.clone()).build();
        self.call(what, request, |client, request| async move { client.effect(request).await }).await
    }

    async fn put(&self, path: &str, data: &BTreeMap<String, String>, over: u64) -> Result<Value, CapabilityError> {
        let (mount, rest) = self.parts(path)?;
        let cas = u32::try_from(over)
            .map_err(|_| CapabilityError::new(Kind::Invalid, format!("`{path}` has more versions than can be written over")))?;
        let options = || SetSecretRequestOptions { cas };
        let request = || SetSecretRequest::builder().mount(mount).path(rest).data(json!(data)).options(options()).build();
        let written = self.call(format!("writing `{path}`"), request, |client, request| async move { client.data(request).await });
        Ok(json!(written.await?.version))
    }
}

#[async_trait]
impl EntryStore for Vault {
    type Known = ReadSecretMetadataResponse;

    const NAME: &'static str = "Vault";
    const HINT: &'static str = MOUNT_HINT;

    async fn look(&self, path: &str) -> Result<Option<ReadSecretMetadataResponse>, CapabilityError> {
        let (mount, rest) = self.parts(path)?;
        let request = || ReadSecretMetadataRequest::builder().mount(mount).path(rest).build();
        self.call(format!("looking at `{path}`"), request, |client, request| async move { found(client.data(request).await) }).await
    }

    fn whose(&self, known: &ReadSecretMetadataResponse, owner: &Owner) -> Ownership {
        owner.judge(known.custom_metadata.as_ref().and_then(|custom| custom.get(MARK)).map(String::as_str))
    }

    fn version(&self, known: &ReadSecretMetadataResponse) -> Option<Value> {
        let version = known.versions.get(&known.current_version.to_string())?;
        (version.deletion_time.is_empty() && !version.destroyed).then(|| json!(known.current_version))
    }

    async fn fields(&self, path: &str) -> Result<Option<Fields>, CapabilityError> {
        let (mount, rest) = self.parts(path)?;
        let request = || ReadSecretRequest::builder().mount(mount).path(rest).build();
        let read = self.call(format!("reading `{path}`"), request, |client, request| async move { found(client.data(request).await) });
        let Some(read) = read.await? else { return Ok(None) };
        let fields: BTreeMap<String, Value> = serde_json::from_value(read.data)
            .map_err(|_| CapabilityError::new(Kind::Invalid, format!("reading `{path}`: its data is no object")))?;
        Ok(Some(Fields::new(fields)))
    }

    async fn create(&self, owner: &Owner, path: &str, data: &BTreeMap<String, String>) -> Result<Value, CapabilityError> {
        // The mark comes first: what is cut off here is ours already.
        self.set_custom(format!("marking `{path}`"), path, &HashMap::from([(MARK.to_owned(), owner.to_string())])).await?;
        self.put(path, data, 0).await
    }

    async fn mark(&self, owner: &Owner, path: &str, known: &ReadSecretMetadataResponse) -> Result<(), CapabilityError> {
        // It is replaced as a whole: what others noted there stays.
        let mut custom = known.custom_metadata.clone().unwrap_or_default();
        custom.insert(MARK.to_owned(), owner.to_string());
        self.set_custom(format!("marking `{path}`"), path, &custom).await
    }

    async fn write(
        &self,
        path: &str,
        known: &ReadSecretMetadataResponse,
        data: &BTreeMap<String, String>,
    ) -> Result<Value, CapabilityError> {
        self.put(path, data, known.current_version).await
    }

    async fn unmark(&self, path: &str, known: &ReadSecretMetadataResponse) -> Result<(), CapabilityError> {
        let mut custom = known.custom_metadata.clone().unwrap_or_default();
        custom.remove(MARK);
        self.set_custom(format!("letting go of `{path}`"), path, &custom).await
    }

    async fn delete(&self, path: &str, _: &ReadSecretMetadataResponse) -> Result<bool, CapabilityError> {
        let (mount, rest) = self.parts(path)?;
        let request = || DeleteSecretMetadataRequest::builder().mount(mount).path(rest).build();
        let deleted = self.call(format!("deleting `{path}`"), request, |client, request| async move { client.effect(request).await });
        deleted.await.map(|()| true)
    }
}

fn is_denied(error: &ClientError) -> bool {
    matches!(error, ClientError::APIError { code: 403, .. })
}

/// Tells what is not there from what went wrong: a 404 with a reason speaks of the path, such as a mount that is gone, not of the entry.
fn found<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(ClientError::APIError { code: 404, errors }) if errors.is_empty() => Ok(None),
        Err(error) => Err(error),
    }
}
