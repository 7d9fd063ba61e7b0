//! How an account is reached: one client configuration for each connection and environment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig, retry::RetryConfig,
    sts::AssumeRoleProvider, timeout::TimeoutConfig,
};
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError, future};
use windlass_engine::{
    credential,
    host_access::HostAccess,
    session::{CapabilityError, CapabilityErrorKind as Kind, OpenConnection},
    transport::InsecureTransport,
};
use windlass_model::{
    diagnostic::chain,
    platform::{AwsSettings, ConnectionSettings, of_environment},
    state::EnvironmentKey,
};

use crate::http;

/// How often a call is tried; the SDK waits between, with jitter, and as long as a throttled service asks.
const ATTEMPTS: u32 = 8;
/// Longest call, retries included.
const CALL_WITHIN: Duration = Duration::from_secs(60);
/// How often the state of something that takes minutes is asked for.
const POLL: Duration = Duration::from_secs(20);
/// Five requests a second to Route 53 are an account's; other clients want some of them.
const PACE: Duration = Duration::from_millis(250);

/// What the operator of this process decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwsOptions {
    /// How often the state of something that takes minutes is asked for, for all of an account and region.
    pub poll: Duration,
    /// How far requests to Route 53 are apart: it counts those of a whole account.
    pub pace: Duration,
}

impl Default for AwsOptions {
    fn default() -> Self {
        Self { poll: POLL, pace: PACE }
    }
}

/// Configurations by connection and environment; credentials are asked for when they are used.
#[derive(Clone, Default)]
pub struct Accounts {
    allowed: InsecureTransport,
    known: Arc<Mutex<HashMap<String, SdkConfig>>>,
}

impl Accounts {
    /// Takes what the operator allows of endpoints without TLS.
    #[must_use]
    pub fn new(allowed: InsecureTransport) -> Self {
        Self { allowed, known: Arc::default() }
    }

    /// Returns the configuration of a connection.
    pub async fn open(&self, connection: &OpenConnection) -> Result<SdkConfig, CapabilityError> {
        let ConnectionSettings::Aws { aws } = &connection.settings else {
            return Err(CapabilityError::new(Kind::Invalid, format!("connection `{}` is no AWS account", connection.name)));
        };
        self.config(aws, connection).await
    }

    /// Returns the configuration of settings.
    pub(crate) async fn config(&self, aws: &AwsSettings, connection: &OpenConnection) -> Result<SdkConfig, CapabilityError> {
        let OpenConnection { environment, access, .. } = connection;
        lent(aws, access)?;
        let key = format!("{} {environment}", serde_json::to_string(aws).unwrap_or_default());
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(known.clone());
        }
        let config = load(aws, environment, access, self.allowed).await?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, config.clone());
        Ok(config)
    }
}

/// Checks that the host lends the credentials that settings name.
fn lent(aws: &AwsSettings, access: &HostAccess) -> Result<(), CapabilityError> {
    match &aws.profile {
        // A profile names programs (`credential_process`) and files of tokens in turn.
        Some(profile) => access.anything(&format!("AWS profile {profile}")),
        None => access.identity("default credentials of AWS"),
    }
}

async fn load(
    aws: &AwsSettings,
    environment: &EnvironmentKey,
    access: &HostAccess,
    allowed: InsecureTransport,
) -> Result<SdkConfig, CapabilityError> {
    let http = http::client(allowed);
    let region = Region::new(aws.region.clone());
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region.clone())
        .http_client(http.clone())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(TimeoutConfig::builder().operation_timeout(CALL_WITHIN).build());
    if let Some(profile) = &aws.profile {
        // Variables would go before a profile that is only named: somebody else's account.
        let provider = ProviderConfig::default().with_region(Some(region)).with_http_client(http);
        let credentials = ProfileFileCredentialsProvider::builder().configure(&provider).profile_name(profile).build();
        loader = loader.profile_name(profile).credentials_provider(OfProfile { name: profile.clone(), credentials });
    }
    if let Some(endpoint) = &aws.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let config = loader.load().await;
    // It may come from a variable or a profile, too.
    if let Some(endpoint) = config.endpoint_url() {
        http::check_endpoint(endpoint, aws.insecure, allowed)?;
    }
    let Some(role) = &aws.assume_role else { return Ok(config) };
    let mut provider = AssumeRoleProvider::builder(of_environment(&role.role_arn, environment))
        .configure(&config)
        .session_name(session_name(environment))
        // Policies of the role can tell applications and environments apart.
        .tags([("windlass:application", environment.application.as_str()), ("windlass:environment", environment.environment.as_str())]);
    if let Some(external_id) = &role.external_id {
        provider = provider.external_id(credential::read("the role's external id", external_id, access)?.expose());
    }
    let provider = provider.build().await;
    Ok(config.into_builder().credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(provider)).build())
}

/// The credentials of a profile, which is named when it has none.
#[derive(Debug)]
struct OfProfile {
    name: String,
    credentials: ProfileFileCredentialsProvider,
}

impl ProvideCredentials for OfProfile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let given = self.credentials.provide_credentials().await;
            given.map_err(|error| CredentialsError::not_loaded(format!("the profile `{}`: {}", self.name, chain(&error))))
        })
    }
}

/// What CloudTrail shows: 2 to 64 characters of a small alphabet.
fn session_name(environment: &EnvironmentKey) -> String {
    let mut name = format!("windlass-{}-{}", environment.application, environment.environment);
    name.truncate(64);
    name
}
