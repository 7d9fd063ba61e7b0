//! A read-only client of OCI registries: answers are bounded, content is checked by its digest, and credentials go to their own
//! registry alone.

use std::sync::Arc;

use oci_spec::distribution::Reference;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE},
    redirect::Policy,
};
use serde::Deserialize;
use windlass_model::{Digest, diagnostic::chain, limits, network::is_loopback};

use crate::{
    login::Login,
    manifest::{Descriptor, MEDIA_TYPES, Manifest},
};

/// Registries whose tokens come from a host of another name: Docker Hub and the registry of GitLab.
const TOKEN_HOSTS: [(&str, &str); 3] =
    [("registry-1.docker.io", "auth.docker.io"), ("index.docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// Where the credentials of a registry come from; asked only when the registry wants some.
pub(crate) type FindLogin = Arc<dyn Fn() -> Result<Option<Login>, String> + Send + Sync>;

/// One repository of a registry.
pub(crate) struct Repository {
    http: Client,
    /// `https://HOST`; `http://` on this machine alone.
    base: Url,
    reference: Reference,
    find_login: FindLogin,
    /// What the registry was told last, for it alone.
    authorization: Option<HeaderValue>,
}

impl Repository {
    /// Makes a client; nothing is sent yet.
    pub(crate) fn new(reference: &Reference, find_login: FindLogin) -> Result<Self, String> {
        // Another part of the process may have chosen already, the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(limits::REGISTRY_SILENCE_MAX)
            .read_timeout(limits::REGISTRY_SILENCE_MAX)
            .timeout(limits::REGISTRY_FETCH_TIME_MAX)
            .build()
            .map_err(|error| chain(&error))?;
        let host = reference.resolve_registry();
        let scheme = if is_on_this_machine(host) { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{host}")).map_err(|error| format!("`{host}` is no registry: {error}"))?;
        Ok(Self { http, base, reference: reference.clone(), find_login, authorization: None })
    }

    /// Reads the manifest of the reference, with its digest.
    pub(crate) async fn manifest(&mut self) -> Result<(Manifest, Digest), String> {
        let named = self.reference.digest().or(self.reference.tag()).unwrap_or_default().to_owned();
        let answer = self.get(&format!("manifests/{named}"), Some(&MEDIA_TYPES.join(", "))).await?;
        let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.and_then(|value| value.split(';').next()).map(|value| value.trim().to_owned());
        let body = body("the manifest", answer, limits::REGISTRY_MANIFEST_BYTES_MAX).await?;
        let digest = Digest::of_bytes(&body);
        if self.reference.digest().is_some_and(|wanted| wanted != digest.to_string()) {
            return Err(format!("the registry sent another manifest, with the digest {digest}"));
        }
        Ok((Manifest::parse(&body, media_type.as_deref())?, digest))
    }

    /// Reads a blob of exactly the size and the digest that a manifest declares.
    pub(crate) async fn blob(&mut self, blob: &Descriptor) -> Result<Vec<u8>, String> {
        let wanted: Digest = blob.digest.parse().map_err(|_| format!("its archive is named `{}`; SHA-256 is read", blob.digest))?;
        let answer = self.get(&format!("blobs/{wanted}"), None).await?;
        let body = body("the archive", answer, blob.size).await?;
        if body.len() as u64 != blob.size {
            return Err(format!("the archive has {} bytes; the manifest declares {}", body.len(), blob.size));
        }
        let found = Digest::of_bytes(&body);
        if found != wanted { Err(format!("the archive has the digest {found}; the manifest declares {wanted}")) } else { Ok(body) }
    }

    /// Asks for something in the repository; once more, with credentials, where the registry wants them.
    async fn get(&mut self, what: &str, accept: Option<&str>) -> Result<Response, String> {
        let url = format!("{}v2/{}/{what}", self.base, self.reference.repository());
        let url = Url::parse(&url).map_err(|error| format!("`{url}` is no address: {error}"))?;
        let mut answer = self.send(url.clone(), accept).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.authorization = Some(self.authorize(answer.headers()).await?);
            answer = self.send(url, accept).await?;
        }
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.denied()),
            StatusCode::NOT_FOUND => Err("the registry does not have it".to_owned()),
            status => Err(format!("the registry answers {status}")),
        }
    }

    /// Sends one request and follows its redirects; another host never sees what this registry is told.
    async fn send(&self, mut url: Url, accept: Option<&str>) -> Result<Response, String> {
        for _ in 0..=limits::REGISTRY_REDIRECTS_MAX {
            let mut request = self.http.get(url.clone());
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            if let Some(authorization) = self.authorization.as_ref().filter(|_| is_same_origin(&url, &self.base)) {
                request = request.header(AUTHORIZATION, authorization);
            }
            let answer = request.send().await.map_err(|error| chain(&error))?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            url = redirected(&url, answer.headers())?;
        }
        Err(format!("the registry redirects more than {} times", limits::REGISTRY_REDIRECTS_MAX))
    }

    /// Answers a challenge: with user and password, or with a token that they are exchanged for.
    async fn authorize(&self, headers: &HeaderMap) -> Result<HeaderValue, String> {
        let find_login = Arc::clone(&self.find_login);
        // A helper of Docker is a program that may take its time.
        let login = tokio::task::spawn_blocking(move || find_login()).await.map_err(|error| error.to_string())??;
        match Challenge::read(headers) {
            Some(Challenge::Bearer(realm, service)) => self.token(&realm, service.as_deref(), login.as_ref()).await,
            Some(Challenge::Basic) => login.ok_or_else(|| self.denied())?.basic(),
            None => Err(self.denied()),
        }
    }

    /// Asks a token endpoint for a token to read the repository.
    async fn token(&self, realm: &str, service: Option<&str>, login: Option<&Login>) -> Result<HeaderValue, String> {
        #[derive(Deserialize)]
        struct Granted {
            token: Option<String>,
            access_token: Option<String>,
        }
        let mut url = realm_of(realm, &self.base)?;
        if login.is_some() && !is_realm_of(&url, &self.base) {
            return Err(format!(
                "the registry sends its credentials to another host, `{}`: log out of it (`docker logout {}`) if it can be read without",
                url.host_str().unwrap_or_default(),
                self.reference.registry()
            ));
        }
        url.query_pairs_mut().append_pair("scope", &format!("repository:{}:pull", self.reference.repository()));
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let mut request = self.http.get(url);
        if let Some(login) = login {
            request = request.header(AUTHORIZATION, login.basic()?);
        }
        let answer = request.send().await.map_err(|error| chain(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(self.denied());
        }
        let body = body("the token", answer, limits::REGISTRY_TOKEN_BYTES_MAX).await?;
        // The text of an error would hold what it failed on.
        let granted: Granted = serde_json::from_slice(&body).map_err(|_| "the registry's token can't be read".to_owned())?;
        let token = granted.token.or(granted.access_token).ok_or("the registry's token endpoint gives no token")?;
        secret_header(&format!("Bearer {token}"))
    }

    fn denied(&self) -> String {
        let registry = self.reference.resolve_registry();
        format!("`{registry}` does not let you read it: `docker login {registry}` keeps the credentials that are used")
    }
}

/// How a registry wants to be asked.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    /// With a token of a realm, for a service.
    Bearer(String, Option<String>),
    /// With user and password.
    Basic,
}

impl Challenge {
    /// Chooses the best of the challenges of an answer.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<_> = values.filter_map(|value| http_auth::parse_challenges(value).ok()).flatten().collect();
        let bearer = challenges.iter().filter(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer")).find_map(|challenge| {
            let parameter = |wanted: &str| {
                let found = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                found.map(|(_, value)| value.to_unescaped())
            };
            Some(Self::Bearer(parameter("realm")?, parameter("service")))
        });
        let is_basic = || challenges.iter().any(|challenge| challenge.scheme.eq_ignore_ascii_case("basic"));
        bearer.or_else(|| is_basic().then_some(Self::Basic))
    }
}

/// Reads a body to its end; one byte more than the bound is an error, and is not read.
async fn body(what: &str, mut answer: Response, bytes_max: u64) -> Result<Vec<u8>, String> {
    let too_large = || format!("{what} has more than {bytes_max} bytes, which are declared or allowed");
    if answer.content_length().is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| chain(&error))? {
        if (body.len() + piece.len()) as u64 > bytes_max {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Makes a header that no log shows.
pub(crate) fn secret_header(text: &str) -> Result<HeaderValue, String> {
    let mut header = HeaderValue::from_str(text).map_err(|_| "the credentials hold characters that no header may have".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

/// Returns where a redirect leads: to TLS, or from this machine to itself.
fn redirected(from: &Url, headers: &HeaderMap) -> Result<Url, String> {
    let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| from.join(to).ok());
    let to = to.ok_or("the registry redirects to nowhere")?;
    let is_fine = to.scheme() == "https" || (to.scheme() == "http" && from.scheme() == "http" && is_local(&to));
    if is_fine { Ok(to) } else { Err(format!("the registry redirects to `{}`, which is not encrypted", origin(&to))) }
}

/// Reads the address of a token endpoint: with TLS, or on this machine where the registry is.
fn realm_of(realm: &str, registry: &Url) -> Result<Url, String> {
    let url = Url::parse(realm).map_err(|error| format!("the registry's token endpoint `{realm}` is no address: {error}"))?;
    let is_fine = url.scheme() == "https" || (url.scheme() == "http" && is_realm_of(&url, registry));
    if is_fine { Ok(url) } else { Err(format!("the registry's token endpoint `{}` is not encrypted", origin(&url))) }
}

/// Tells whether a token endpoint may see the credentials of a registry.
fn is_realm_of(realm: &Url, registry: &Url) -> bool {
    if is_local(realm) || is_local(registry) {
        // Each port of this machine may be somebody else.
        return is_same_origin(realm, registry);
    }
    let (Some(realm), Some(registry)) = (realm.host_str(), registry.host_str()) else { return false };
    realm == registry || TOKEN_HOSTS.contains(&(registry, realm))
}

fn is_same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

fn is_local(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback)
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Tells whether a registry, `HOST[:PORT]`, is reached without TLS: none but those at the usual names of this machine are.
fn is_on_this_machine(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests;
