//! Opens the program that a connection names.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, Executor, OpenConnection, SecretStore, Session};
use windlass_model::platform::ConnectionSettings;

use crate::{confinement::Wrapper, program::absolute, session::TerraformSession};

/// Opens programs.
pub struct TerraformExecutor {
    data: PathBuf,
    secrets: Arc<dyn SecretStore>,
    wrapper: Option<Wrapper>,
}

impl TerraformExecutor {
    /// Takes the data folder, in which modules run, and the store that keeps states.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, secrets: Arc<dyn SecretStore>) -> Self {
        Self { data: absolute(&data.into()), secrets, wrapper: None }
    }

    /// Lets a command confine runs; without one they may do what this process may.
    #[must_use]
    pub fn confined_by(mut self, wrapper: Wrapper) -> Self {
        self.wrapper = Some(wrapper);
        self
    }
}

#[async_trait]
impl Executor for TerraformExecutor {
    fn interface(&self) -> &'static str {
        "windlass:terraform/modules"
    }

    fn connection_kind(&self) -> &'static str {
        "terraform"
    }

    async fn open(&self, connection: &OpenConnection) -> Result<Arc<dyn Session>, CapabilityError> {
        let ConnectionSettings::Terraform { terraform } = &connection.settings else {
            return Err(CapabilityError::new(Kind::Failed, format!("connection `{}` runs no modules", connection.name)));
        };
        let data = self.data.join("terraform");
        let (secrets, wrapper) = (Arc::clone(&self.secrets), self.wrapper.clone());
        Ok(Arc::new(TerraformSession::new(data, secrets, connection, terraform.clone(), wrapper)))
    }
}
