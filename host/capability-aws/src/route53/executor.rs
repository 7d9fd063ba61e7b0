//! Opens Route 53 of an account.

use std::sync::Arc;

use async_trait::async_trait;
use windlass_engine::session::{CapabilityError, Executor, OpenConnection, Session};
use windlass_model::platform::ConnectionSettings;

use super::session::Route53Session;
use crate::account::{Accounts, AwsOptions};

/// Opens Route 53.
#[derive(Clone)]
pub struct Route53Executor {
    accounts: Accounts,
    options: AwsOptions,
}

impl Route53Executor {
    /// Takes the accounts, and how patient to be.
    #[must_use]
    pub fn new(accounts: Accounts, options: AwsOptions) -> Self {
        Self { accounts, options }
    }
}

#[async_trait]
impl Executor for Route53Executor {
    fn interface(&self) -> &'static str {
        "windlass:aws/route53"
    }

    fn connection_kind(&self) -> &'static str {
        "aws"
    }

    async fn open(&self, connection: &OpenConnection) -> Result<Arc<dyn Session>, CapabilityError> {
        let config = self.accounts.open(connection).await?;
        let zones = if let ConnectionSettings::Aws { aws } = &connection.settings { aws.zones.clone() } else { None };
        Ok(Arc::new(Route53Session::new(aws_sdk_route53::Client::new(&config), self.options.pace, zones)))
    }
}
