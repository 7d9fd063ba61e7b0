//! Opens the program that a connection names.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, Executor, OpenConnection, SecretStore, Session};
use windlass_model::platform::ConnectionSettings;

use crate::{program::absolute, session::TerraformSession};

/// Opens programs.
pub struct TerraformExecutor {
    data: PathBuf,
    secrets: Arc<dyn SecretStore>,
}

impl TerraformExecutor {
    /// Takes the data folder, in which modules run, and the store that keeps states.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, secrets: Arc<dyn SecretStore>) -> Self {
        Self { data: absolute(&data.into()), secrets }
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
            return Err(CapabilityError::new(Kind::Invalid, format!("connection `{}` runs no modules", connection.name)));
        };
        let data = self.data.join("terraform");
        Ok(Arc::new(TerraformSession::new(data, Arc::clone(&self.secrets), connection.environment.clone(), terraform.clone())))
    }
}
