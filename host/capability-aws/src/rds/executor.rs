//! Opens RDS of an account and region.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use windlass_engine::session::{CapabilityError, Executor, OpenConnection, Session};

use super::session::{Instances, RdsSession};
use crate::account::{Accounts, AwsOptions};

/// Opens RDS; all waits of an account and region share one question.
#[derive(Clone)]
pub struct RdsExecutor {
    accounts: Accounts,
    options: AwsOptions,
    shared: Arc<Mutex<HashMap<String, Arc<Instances>>>>,
}

impl RdsExecutor {
    /// Takes the accounts.
    #[must_use]
    pub fn new(accounts: Accounts, options: AwsOptions) -> Self {
        Self { accounts, options, shared: Arc::default() }
    }
}

#[async_trait]
impl Executor for RdsExecutor {
    fn interface(&self) -> &'static str {
        "windlass:aws/rds"
    }

    fn connection_kind(&self) -> &'static str {
        "aws"
    }

    async fn open(&self, connection: &OpenConnection) -> Result<Arc<dyn Session>, CapabilityError> {
        let config = self.accounts.open(connection).await?;
        let key = serde_json::to_string(&connection.settings).unwrap_or_default();
        let client = aws_sdk_rds::Client::new(&config);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let instances = shared.entry(key).or_insert_with(|| Arc::new(Instances::new(self.options.poll)));
        Ok(Arc::new(RdsSession::new(client, Arc::clone(instances))))
    }
}
