//! The HTTP client of all services and of all sources of credentials: answers are bounded, and TLS is left only where it may be.

use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::{
    http::{HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn},
    orchestrator::HttpRequest,
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;
use windlass_engine::{
    session::{CapabilityError, CapabilityErrorKind as Kind},
    transport::InsecureTransport,
};
use windlass_model::{limits, network::is_loopback};

/// Where AWS hands out the credentials of a machine, a task and a pod: in their own link, without TLS.
const METADATA_HOSTS: [&str; 5] = ["169.254.169.254", "169.254.170.2", "169.254.170.23", "[fd00:ec2::254]", "[fd00:ec2::23]"];

/// Makes the client.
pub(crate) fn client(allowed: InsecureTransport) -> SharedHttpClient {
    let inner = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(Bounded { inner: inner.http_connector(settings, components), allowed })
    })
}

/// A connector whose answers end at a bound.
#[derive(Debug)]
struct Bounded {
    inner: SharedHttpConnector,
    allowed: InsecureTransport,
}

impl HttpConnector for Bounded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if !is_permitted(request.uri(), self.allowed) {
            let why = format!("`{}` is not encrypted", request.uri().split('?').next().unwrap_or_default());
            return HttpConnectorFuture::ready(Err(ConnectorError::user(why.into())));
        }
        let sent = self.inner.call(request);
        HttpConnectorFuture::new(async {
            let bounded = |body| SdkBody::from_body_1_x(Limited::new(body, limits::AWS_ANSWER_BYTES_MAX));
            sent.await.map(|answer| answer.map(bounded))
        })
    }
}

/// Tells whether a request may be sent: with TLS, to this machine or its own link, or wherever the operator allows.
fn is_permitted(uri: &str, allowed: InsecureTransport) -> bool {
    let Ok(uri) = uri.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => allowed == InsecureTransport::Anywhere || is_loopback(host) || METADATA_HOSTS.contains(&host),
        _ => false,
    }
}

/// Refuses an endpoint of services that is not encrypted, unless that is asked for and allowed.
pub(crate) fn check_endpoint(endpoint: &str, insecure: bool, allowed: InsecureTransport) -> Result<(), CapabilityError> {
    let invalid = |why: String| CapabilityError::new(Kind::Invalid, format!("the endpoint `{endpoint}`: {why}"));
    let uri: http::Uri = endpoint.parse().map_err(|error: http::uri::InvalidUri| invalid(error.to_string()))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => Ok(()),
        (Some("http"), Some(host)) => allowed.permit("an endpoint of AWS without TLS, `http://`", host, insecure),
        _ => Err(invalid("it is no address with `https://`".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        net::TcpListener,
    };

    use aws_credential_types::Credentials;
    use aws_sdk_secretsmanager::{
        Client,
        config::{BehaviorVersion, Config, Region, retry::RetryConfig},
    };
    use windlass_model::diagnostic::chain;

    use super::*;

    /// A service that answers with so many bytes.
    fn service(bytes: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while reader.read_line(&mut head).unwrap_or(0) > 2 {}
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{");
                // A client that goes away is what is tested.
                let _ = stream.write_all(&vec![b' '; bytes - 2]).and_then(|()| stream.write_all(b"}"));
            }
        });
        address
    }

    async fn asked(endpoint: &str) -> Result<(), String> {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
            .retry_config(RetryConfig::disabled())
            .http_client(client(InsecureTransport::Loopback))
            .endpoint_url(endpoint)
            .build();
        let asked = Client::from_conf(config).list_secrets().send().await;
        asked.map(drop).map_err(|error| chain(&error))
    }

    #[tokio::test]
    async fn answers_are_bounded() {
        asked(&service(limits::AWS_ANSWER_BYTES_MAX)).await.unwrap();
        let said = asked(&service(limits::AWS_ANSWER_BYTES_MAX + 1)).await.unwrap_err();
        assert!(said.contains("length limit exceeded"), "{said}");
    }

    #[tokio::test]
    async fn nothing_is_sent_without_tls_to_another_machine() {
        let said = asked("http://aws.example.com").await.unwrap_err();
        assert!(said.contains("is not encrypted"), "{said}");
    }

    #[test]
    fn credentials_of_a_machine_come_without_tls_from_its_own_link_alone() {
        use InsecureTransport::{Anywhere, Loopback};
        for (uri, allowed, permitted) in [
            ("https://rds.eu-central-1.amazonaws.com/", Loopback, true),
            ("http://169.254.169.254/latest/api/token", Loopback, true),
            ("http://[fd00:ec2::254]/latest/api/token", Loopback, true),
            ("http://127.0.0.1:9000/credentials", Loopback, true),
            ("http://169.254.169.254.example.com/", Loopback, false),
            ("http://rds.eu-central-1.amazonaws.com/", Loopback, false),
            ("http://rds.eu-central-1.amazonaws.com/", Anywhere, true),
            ("ftp://127.0.0.1/", Anywhere, false),
        ] {
            assert_eq!(is_permitted(uri, allowed), permitted, "{uri} {allowed:?}");
        }
    }

    #[test]
    fn an_endpoint_without_tls_is_asked_for_and_allowed() {
        use InsecureTransport::{Anywhere, Loopback};
        for (endpoint, insecure, allowed, is_fine) in [
            ("https://vpce.example.com", false, Loopback, true),
            ("http://127.0.0.1:5000", true, Loopback, true),
            ("http://127.0.0.1:5000", false, Anywhere, false),
            ("http://moto.example.com", true, Loopback, false),
            ("http://moto.example.com", true, Anywhere, true),
            ("moto.example.com", true, Anywhere, false),
            ("file:///etc/passwd", true, Anywhere, false),
        ] {
            assert_eq!(check_endpoint(endpoint, insecure, allowed).is_ok(), is_fine, "{endpoint} {insecure} {allowed:?}");
        }
    }
}
