//! How requests reach a server: answers are bounded, and no redirect is followed, because each request carries a token.

use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use rustify::{Endpoint, client::Client, endpoint::EndpointResult as Answered, errors::ClientError as RestError};
use serde::de::DeserializeOwned;
use vaultrs::{
    api::{AuthInfo, EndpointError, EndpointMiddleware, EndpointResult},
    error::ClientError,
};
use windlass_model::limits;

/// Longest request, its answer included.
const REQUEST_WITHIN: Duration = Duration::from_secs(20);

/// Sends requests with a token.
pub(crate) struct VaultClient {
    http: Bounded,
    middleware: EndpointMiddleware,
}

impl VaultClient {
    /// Makes a client that trusts these authorities, or the usual ones if there are none.
    pub(crate) fn new(address: &str, authorities: Vec<reqwest::Certificate>, namespace: Option<String>) -> Result<Self, reqwest::Error> {
        let builder = reqwest::Client::builder().tls_backend_rustls().redirect(reqwest::redirect::Policy::none()).timeout(REQUEST_WITHIN);
        // Without TLS no authority is needed, and reading the system's takes time.
        let builder =
            if address.starts_with("http://") { builder.tls_certs_only(Vec::new()) } else { builder.tls_certs_merge(authorities) };
        let middleware = EndpointMiddleware { token: String::new(), version: "v1".to_owned(), wrap: None, namespace };
        Ok(Self { http: Bounded { http: builder.build()?, base: address.to_owned() }, middleware })
    }

    /// Returns a client that says who it is.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.middleware.token);
        self
    }

    /// Calls for data.
    pub(crate) async fn data<E: Endpoint>(&self, endpoint: E) -> Result<E::Response, ClientError>
    where
        E::Response: DeserializeOwned + Send + Sync,
    {
        let answer: EndpointResult<E::Response> = self.send(endpoint).await?.wrap().map_err(unreadable)?;
        answer.data.ok_or(ClientError::ResponseDataEmptyError)
    }

    /// Calls for nothing but the effect.
    pub(crate) async fn effect<E: Endpoint>(&self, endpoint: E) -> Result<(), ClientError> {
        self.send(endpoint).await.map(drop)
    }

    /// Logs in.
    pub(crate) async fn login<E: Endpoint<Response = ()>>(&self, endpoint: E) -> Result<AuthInfo, ClientError> {
        let answer: EndpointResult<()> = self.send(endpoint).await?.wrap().map_err(unreadable)?;
        answer.auth.ok_or(ClientError::ResponseEmptyError)
    }

    async fn send<E: Endpoint>(&self, endpoint: E) -> Result<Answered<E::Response>, ClientError> {
        endpoint.with_middleware(&self.middleware).exec(&self.http).await.map_err(refusal)
    }
}

/// Reads what a server refuses.
fn refusal(error: RestError) -> ClientError {
    let RestError::ServerResponseError { code, content } = &error else { return error.into() };
    let said = content.as_deref().and_then(|text| serde_json::from_str::<EndpointError>(text).ok());
    let cut = |text: String| text.chars().take(limits::SERVER_TEXT_CHARS_MAX).collect();
    let errors = said.map(|said| said.errors.into_iter().take(ERRORS_MAX).map(cut).collect()).unwrap_or_default();
    ClientError::APIError { code: *code, errors }
}

/// Errors of one answer that are told.
const ERRORS_MAX: usize = 10;

/// Forgets the content of an answer that can't be read: it may be a secret.
fn unreadable(error: RestError) -> ClientError {
    let reason = match error {
        RestError::ResponseParseError { source, .. } => source,
        RestError::ResponseConversionError { source, .. } => source,
        other => return other.into(),
    };
    RestError::ResponseParseError { source: reason, content: None }.into()
}

/// reqwest with a bound on what it reads.
struct Bounded {
    http: reqwest::Client,
    base: String,
}

#[async_trait]
impl Client for Bounded {
    fn base(&self) -> &str {
        &self.base
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, RestError> {
        let (url, method) = (request.uri().to_string(), request.method().to_string());
        let request = reqwest::Request::try_from(request).map_err(|source| RestError::ReqwestBuildError { source })?;
        let sent = self.http.execute(request).await;
        let mut answer = sent.map_err(|error| RestError::RequestError { source: error.into(), url, method })?;
        let broken = |source| RestError::ResponseError { source };
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| broken(error.into()))? {
            if body.len() + piece.len() > limits::VAULT_ANSWER_BYTES_MAX {
                let why = format!("it has more than {} bytes", limits::VAULT_ANSWER_BYTES_MAX);
                return Err(broken(std::io::Error::other(why).into()));
            }
            body.extend_from_slice(&piece);
        }
        Response::builder().status(answer.status()).body(body).map_err(|error| broken(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        net::{TcpListener, TcpStream},
        sync::{Arc, Mutex},
    };

    use vaultrs::api::kv2::requests::ReadSecretMetadataRequest;
    use windlass_model::diagnostic::chain;

    use super::*;

    /// A server that answers each request in one way, and notes the heads of what it is asked.
    fn server(answer: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heads);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while reader.read_line(&mut head).unwrap_or(0) > 2 {}
                noted.lock().unwrap().push(head);
                // A client that goes away is what is tested.
                let _ = answer(&mut stream);
            }
        });
        (address, heads)
    }

    async fn asked(address: &str) -> Result<(), ClientError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = VaultClient::new(address, Vec::new(), None).unwrap().with_token("canary");
        let endpoint = ReadSecretMetadataRequest::builder().mount("secret").path("a").build().unwrap();
        client.effect(endpoint).await
    }

    #[tokio::test]
    async fn answers_are_bounded() {
        let of = |bytes: usize| {
            server(move |stream| {
                write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                stream.write_all(&vec![b' '; bytes])
            })
            .0
        };
        asked(&of(limits::VAULT_ANSWER_BYTES_MAX)).await.unwrap();
        let error = asked(&of(limits::VAULT_ANSWER_BYTES_MAX + 1)).await.unwrap_err();
        assert!(chain(&error).contains("more than"), "{}", chain(&error));
    }

    #[tokio::test]
    async fn a_redirect_is_refused_and_the_token_goes_nowhere() {
        let (thief, stolen) = server(|stream| write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{{}}"));
        let (address, heads) = server(move |stream| {
            write!(stream, "HTTP/1.1 307 Temporary Redirect\r\nLocation: {thief}/v1/secret/metadata/a\r\nContent-Length: 0\r\n\r\n")
        });
        let error = asked(&address).await.unwrap_err();
        assert!(matches!(error, ClientError::APIError { code: 307, .. }), "{error:?}");
        assert!(heads.lock().unwrap()[0].to_lowercase().contains("x-vault-token: canary"));
        assert!(stolen.lock().unwrap().is_empty());
    }
}
