//! Clusters of EKS: found by name, entered with tokens that are signed here. No program is run for them.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, CloudCluster, OpenConnection, Secret, TokenSource};
use windlass_model::platform::{AwsSettings, EksSettings};

use crate::{account::Accounts, error};

/// What the API server's authenticator expects a token to begin with.
const PREFIX: &str = "k8s-aws-v1.";
/// The header that ties a token to one cluster.
const CLUSTER_HEADER: &str = "x-k8s-aws-id";
/// How long the signed request says it is good for; the authenticator adds its own quarter of an hour.
const SIGNED_FOR: Duration = Duration::from_secs(60);

/// Finds clusters and signs tokens.
#[derive(Clone)]
pub struct EksTokens {
    accounts: Accounts,
}

impl EksTokens {
    /// Takes the accounts.
    #[must_use]
    pub fn new(accounts: Accounts) -> Self {
        Self { accounts }
    }
}

/// Returns how AWS is reached for a cluster.
fn settings(eks: &EksSettings) -> AwsSettings {
    let default =
        AwsSettings { region: eks.region.clone(), profile: None, assume_role: None, endpoint: None, zones: None, insecure: false };
    AwsSettings { region: eks.region.clone(), ..eks.aws.clone().unwrap_or(default) }
}

#[async_trait]
impl TokenSource for EksTokens {
    async fn cluster(&self, eks: &EksSettings, connection: &OpenConnection) -> Result<CloudCluster, CapabilityError> {
        let config = self.accounts.config(&settings(eks), connection).await?;
        let what = format!("describing the EKS cluster `{}`", eks.cluster);
        let found = aws_sdk_eks::Client::new(&config).describe_cluster().name(&eks.cluster).send().await;
        let found = found.map_err(|error| error::of(&what, &error))?;
        let cluster = found.cluster();
        let server = cluster.and_then(|cluster| cluster.endpoint());
        let authority = cluster.and_then(|cluster| cluster.certificate_authority()).and_then(|authority| authority.data());
        match (server, authority) {
            (Some(server), Some(authority)) => Ok(CloudCluster { server: server.to_owned(), authority: authority.to_owned() }),
            _ => Err(CapabilityError::new(Kind::Unavailable, format!("the EKS cluster `{}` has no endpoint yet", eks.cluster))),
        }
    }

    async fn token(&self, eks: &EksSettings, connection: &OpenConnection) -> Result<Secret, CapabilityError> {
        let denied = |why: String| CapabilityError::new(Kind::Denied, format!("no token for the EKS cluster `{}`: {why}", eks.cluster));
        let config = self.accounts.config(&settings(eks), connection).await?;
        let provider = config.credentials_provider().ok_or_else(|| denied("no AWS credentials were found".to_owned()))?;
        let credentials = provider.provide_credentials().await.map_err(|error| denied(error.to_string()))?;
        sign_token(eks, credentials, SystemTime::now()).map(Secret::new).map_err(denied)
    }
}

/// Signs the question "who am I" for one cluster: its address is the token.
fn sign_token(eks: &EksSettings, identity: aws_credential_types::Credentials, time: SystemTime) -> Result<String, String> {
    let host = format!("sts.{}.amazonaws.com", eks.region);
    let url = format!("https://{host}/?Action=GetCallerIdentity&Version=2011-06-15");
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(SIGNED_FOR);
    let identity = identity.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&eks.region)
        .name("sts")
        .time(time)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?;
    let headers = [("host", host.as_str()), (CLUSTER_HEADER, eks.cluster.as_str())];
    let request = SignableRequest::new("GET", &url, headers.into_iter(), SignableBody::Bytes(&[])).map_err(|error| error.to_string())?;
    let (instructions, _) = sign(request, &params.into()).map_err(|error| error.to_string())?.into_parts();
    let query: Vec<String> = instructions.params().iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(format!("{url}&{}", query.join("&")))))
}

/// Percent-encodes a value of a query (RFC 3986).
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What aws-iam-authenticator's verifier checks before it asks STS.
    #[test]
    fn tokens_are_what_the_authenticator_parses() {
        let eks = EksSettings { cluster: "development".into(), region: "eu-central-1".into(), connection: None, aws: None };
        let identity = aws_credential_types::Credentials::new("AKID", "SECRET", Some("SESSION/+=".into()), None, "test");
        let token = sign_token(&eks, identity, SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)).unwrap();
        let inner = token.strip_prefix(PREFIX).unwrap();
        assert!(!inner.contains('='), "no padding");
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(inner).unwrap()).unwrap();
        let (place, query) = url.split_once('?').unwrap();
        assert_eq!(place, "https://sts.eu-central-1.amazonaws.com/");
        let pairs: std::collections::BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        assert_eq!(pairs["Action"], "GetCallerIdentity");
        assert_eq!(pairs["Version"], "2011-06-15");
        assert_eq!(pairs["X-Amz-Algorithm"], "AWS4-HMAC-SHA256");
        assert_eq!(pairs["X-Amz-Expires"], "60");
        assert_eq!(pairs["X-Amz-SignedHeaders"], "host%3Bx-k8s-aws-id");
        assert_eq!(pairs["X-Amz-Security-Token"], "SESSION%2F%2B%3D");
        assert!(
            pairs["X-Amz-Credential"].starts_with("AKID%2F20260921%2Feu-central-1%2Fsts%2Faws4_request"),
            "{}",
            pairs["X-Amz-Credential"]
        );
        assert_eq!(pairs["X-Amz-Signature"].len(), 64);
        // Nothing else is in it: the verifier refuses what it does not know.
        let known = [
            "Action",
            "Version",
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Date",
            "X-Amz-Expires",
            "X-Amz-Security-Token",
            "X-Amz-SignedHeaders",
            "X-Amz-Signature",
        ];
        assert!(pairs.keys().all(|name| known.contains(name)), "{pairs:?}");
    }
}
