//! Connections to servers: one for managing, and one into each database that is furnished.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use sqlx::{
    ConnectOptions as _, Row as _,
    postgres::{PgConnectOptions, PgSslMode},
};
use windlass_engine::{
    credential,
    host_access::HostAccess,
    session::{CapabilityError, CapabilityErrorKind as Kind, Executor, OpenConnection, Session},
    transport::InsecureTransport,
};
use windlass_model::{
    limits,
    platform::{ConnectionSettings, PostgresSettings, SslMode},
};

use crate::{error, link::Link, session::PostgresSession, sql, transport};

/// The port of PostgreSQL.
const PORT: u16 = 5432;
/// The database that is connected to for managing.
const DATABASE: &str = "postgres";
/// How long a server that just starts is waited for.
const RETRIES: usize = 6;

/// Settings of every session, in its startup packet: those of the packet count more than those that an owner sets on a database
/// (`ALTER DATABASE … SET`), or a role on itself. Each of these can be set without being a superuser.
const SETTINGS: [(&str, &str); 17] = [
    ("search_path", "pg_catalog"),
    ("role", "none"),
    ("local_preload_libraries", ""),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("quote_all_identifiers", "off"),
    ("transform_null_equals", "off"),
    ("check_function_bodies", "on"),
    ("row_security", "on"),
    ("client_min_messages", "warning"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("default_tablespace", ""),
    ("default_table_access_method", "heap"),
    ("temp_tablespaces", ""),
    ("idle_in_transaction_session_timeout", "0"),
];

/// Shows whether the startup packet's settings arrived: some poolers drop them.
pub(crate) const SEARCH_PATH: &str = "SHOW search_path";

/// Opens servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct PostgresExecutor {
    allowed: InsecureTransport,
}

impl PostgresExecutor {
    /// Takes what the operator allows of connections without TLS, or without its checks.
    #[must_use]
    pub fn new(allowed: InsecureTransport) -> Self {
        Self { allowed }
    }
}

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
        transport::check(postgres, self.allowed)?;
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
            .options(SETTINGS)
            .options([
                ("statement_timeout", limits::POSTGRES_STATEMENT_TIME_MAX.as_millis()),
                ("lock_timeout", limits::POSTGRES_LOCK_TIME_MAX.as_millis()),
            ])
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
    pub(crate) async fn manage(&self) -> Result<Link, CapabilityError> {
        self.connect(&self.options).await
    }

    /// Connects into a database, with the connection's rights: only for what its owner may not do.
    pub(crate) async fn inside(&self, database: &str) -> Result<Link, CapabilityError> {
        self.connect(&self.options.clone().database(database)).await
    }

    /// Connects into a database and works in it as its owner. Code of the owner could leave that role again, so none may run: see
    /// `look::admit_event_triggers`.
    pub(crate) async fn inside_as(&self, database: &str, owner: &str) -> Result<Link, CapabilityError> {
        let mut link = self.inside(database).await?;
        become_owner(&mut link, database, owner).await?;
        Ok(link)
    }

    async fn connect(&self, options: &PgConnectOptions) -> Result<Link, CapabilityError> {
        let what = format!("{}:{}", self.host, self.port);
        let attempt = || async {
            let connected = tokio::time::timeout(limits::POSTGRES_CONNECT_TIME_MAX, options.connect()).await;
            let connected = connected.map_err(|_| {
                let within = limits::POSTGRES_CONNECT_TIME_MAX.as_secs();
                CapabilityError::new(Kind::Failed, format!("{what}: no session within {within} s"))
                    .hint("check that the address is that of a PostgreSQL server, and its load")
            })?;
            connected.map(Link::new).map_err(|error| error::of(&what, &error))
        };
        let mut link = attempt
            .retry(ExponentialBuilder::new().with_jitter().with_min_delay(Duration::from_millis(100)).with_max_times(RETRIES))
            .when(|error| error.kind == Kind::Unavailable)
            .await
            .map_err(|error| {
                if error.kind == Kind::Unavailable { error.hint("is the server running, and can it be reached from here?") } else { error }
            })?;
        let shown = link.rows(&what, sqlx::query(SEARCH_PATH)).await?;
        if shown.first().and_then(|row| row.try_get::<String, _>(0).ok()).as_deref() != Some("pg_catalog") {
            return Err(CapabilityError::new(
                Kind::Denied,
                format!("{what}: the session does not have the settings of its startup packet"),
            )
            .hint("connect to the server itself, not through a pooler that drops startup options"));
        }
        Ok(link)
    }
}

/// Acts as the owner of a database from here on.
pub(crate) async fn become_owner(link: &mut Link, database: &str, owner: &str) -> Result<(), CapabilityError> {
    link.run(&format!("working as the owner `{owner}` of the database `{database}`"), &[format!("SET ROLE {}", sql::name(owner))]).await
}
