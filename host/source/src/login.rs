//! What `docker login` keeps for a registry: found by exactly its host.

use std::{env, fmt, fs, io::ErrorKind, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use reqwest::header::HeaderValue;

use crate::registry::secret_header;

/// A user and a password.
pub(crate) struct Login {
    user: String,
    password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

impl Login {
    #[cfg(test)]
    pub(crate) fn new(user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned() }
    }

    /// Writes them as a header.
    pub(crate) fn basic(&self) -> Result<HeaderValue, String> {
        secret_header(&format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password))))
    }
}

/// Reads what `docker login` keeps for a registry.
pub(crate) fn find(registry: &str) -> Result<Option<Login>, String> {
    let Some(folder) = env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".docker"))) else {
        return Ok(None);
    };
    let path = folder.join("config.json");
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("docker's configuration {} can't be read: {error}", path.display())),
    };
    match docker_credential::get_credential_from_reader(file, registry) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Some(Login { user, password })),
        Ok(DockerCredential::IdentityToken(_)) => {
            Err(format!("docker keeps an identity token for `{registry}`: log in with a user and a password or an access token"))
        }
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        // What a helper writes may hold what it should keep.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => Err(format!("docker's credential helper `{helper}` failed")),
        Err(error) => Err(format!("docker's configuration {}: {error}", path.display())),
    }
}
