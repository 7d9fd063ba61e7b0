//! Connections to servers: one for managing, and one into each database that is furnished.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use sqlx::{
    ConnectOptions as _, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use windlass_engine::{
    credential,
    host_access::HostAccess,
    session::{CapabilityError, CapabilityErrorKind as Kind, Executor, OpenConnection, Session},
};
use windlass_model::platform::{ConnectionSettings, PostgresSettings, SslMode};

use crate::{error, session::PostgresSession};

/// The port of PostgreSQL.
const PORT: u16 = 5432;
/// The database that is connected to for managing.
const DATABASE: &str = "postgres";
/// How long a server that just starts is waited for.
const RETRIES: usize = 6;

/// Opens servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct PostgresExecutor;

#[async_trait]
impl Executor for PostgresExecutor {
    fn interface(&self) -> &'static str {
        "windlass:postgres/databases"
    }

    fn connection_kind(&self) -> &'static str {
        "postgres"
    }

    async fn open(&self, connection: &OpenConnection) -> Result<Arc<dyn Session>, CapabilityError> {
        let ConnectionSettings::Postgres { postgres } = &connection.settings else {
            return Err(CapabilityError::new(Kind::Invalid, format!("connection `{}` is no PostgreSQL server", connection.name)));
        };
        let server = Server::new(postgres, &connection.access)?;
        // A wrong address or password is found here, before anything is done.
        drop(server.manage().await?);
        Ok(Arc::new(PostgresSession::new(server)))
    }
}

/// A server that can be connected to.
#[derive(Clone)]
pub(crate) struct Server {
    options: PgConnectOptions,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The role that manages.
    pub user: String,
}

impl Server {
    fn new(settings: &PostgresSettings, access: &HostAccess) -> Result<Self, CapabilityError> {
        let port = settings.port.unwrap_or(PORT);
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&settings.host)
            .port(port)
            .username(&settings.user)
            .database(settings.database.as_deref().unwrap_or(DATABASE))
            .application_name("windlass")
            .ssl_mode(match settings.ssl_mode.unwrap_or(SslMode::VerifyFull) {
                SslMode::Disable => PgSslMode::Disable,
                SslMode::Allow => PgSslMode::Allow,
                SslMode::Prefer => PgSslMode::Prefer,
                SslMode::Require => PgSslMode::Require,
                SslMode::VerifyCa => PgSslMode::VerifyCa,
                SslMode::VerifyFull => PgSslMode::VerifyFull,
            })
            .disable_statement_logging();
        if let Some(password) = &settings.password {
            options = options.password(credential::read("the password", password, access)?.expose());
        }
        if let Some(authority) = &settings.ssl_root_cert {
            let authority = credential::read("the server's authority", authority, access)?;
            options = options.ssl_root_cert_from_pem(authority.expose().as_bytes().to_vec());
        }
        Ok(Self { options, host: settings.host.clone(), port, user: settings.user.clone() })
    }

    /// Connects for managing.
    pub(crate) async fn manage(&self) -> Result<PgConnection, CapabilityError> {
        self.connect(&self.options).await
    }

    /// Connects into a database.
    pub(crate) async fn inside(&self, database: &str) -> Result<PgConnection, CapabilityError> {
        self.connect(&self.options.clone().database(database)).await
    }

    async fn connect(&self, options: &PgConnectOptions) -> Result<PgConnection, CapabilityError> {
        let what = format!("{}:{}", self.host, self.port);
        (|| async { options.connect().await.map_err(|error| error::of(&what, &error)) })
            .retry(ExponentialBuilder::new().with_jitter().with_min_delay(Duration::from_millis(100)).with_max_times(RETRIES))
            .when(|error| error.kind == Kind::Unavailable)
            .await
            .map_err(|error| {
                if error.kind == Kind::Unavailable { error.hint("is the server running, and can it be reached from here?") } else { error }
            })
    }
}
