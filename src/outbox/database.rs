//! The connection pool, and how one statement runs on it: the only place that takes a connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool, Postgres};
use url::Url;

use crate::config::{SecretSource, parse_database_url};
use crate::outbox::OutboxError;
use crate::outbox::roots::system_roots;
use crate::telemetry::events;

/// How long to wait for a connection before the database counts as unreachable.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to look for the reason why no connection could be made.
const DIAGNOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that was idle for longer is tested before use: after a failover its server may be another one. The
/// test costs a round trip, so a connection that was just used is not tested.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(1);

/// A connection is replaced after this long, used or not: after a switchover its server may be another one than the one
/// that the address leads to now, and may still respond. A new connection costs a few milliseconds.
const MAX_LIFETIME: Duration = Duration::from_mins(10);

/// The SQLSTATE of a write to a server that is read-only.
const READ_ONLY: &str = "25006";

/// How long to wait for a statement's response. The server's own timeouts are shorter, so after this long the server
/// or the network is gone.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(40);

/// The longest that one statement may take at the server. The daemon's statements take far less; these limits end
/// the wait for a lock that an operator holds, or for a dead disk.
///
/// `synchronous_commit` is set because a database or role may have it off: a crash of the server could then lose the
/// acknowledged intent to send a course, and the course would be sent twice.
const SESSION_SETUP: &str = "set statement_timeout = '30s'; set lock_timeout = '15s'; \
                       set idle_in_transaction_session_timeout = '30s'; set synchronous_commit = on";

/// The same for one transaction, because a pooler gives each transaction another session. `deallocate all` frees the
/// names of statements that another client prepared in that session.
const BEGIN: &str = "begin; deallocate all; set local statement_timeout = '30s'; set local lock_timeout = '15s'; \
                           set local idle_in_transaction_session_timeout = '30s'; \
                           set local synchronous_commit = on";

/// Whether a connection is one session of the server, or a pooler may give each transaction another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionMode {
    /// A connection is a session: statements are prepared once and run without an explicit transaction.
    Dedicated,
    /// A pooler in transaction mode: each statement runs in a transaction of its own, because preparing and executing
    /// it are two steps that must reach the same session. Nothing is kept between transactions.
    Pooled,
}

/// A pool of connections to the database.
#[derive(Debug, Clone)]
pub struct Database {
    pool: PgPool,
    sessions: SessionMode,
    address: Option<Arc<Address>>,
    last_read_only: Arc<LastReadOnly>,
}

/// When a server last refused a write because it is read-only. Connections that are older lead to the old primary after
/// a switchover, so they are closed instead of being used again.
#[derive(Debug, Default)]
struct LastReadOnly(Mutex<Option<Instant>>);

impl LastReadOnly {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection of this age was opened before.
    fn is_before(&self, age: Duration) -> bool {
        let noted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.is_some_and(|noted| noted.elapsed() <= age)
    }
}

/// The source of the URL, so that a changed password is picked up.
#[derive(Debug)]
struct Address {
    source: SecretSource,
    current: Mutex<SecretString>,
}

/// A borrowed database: what a statement needs to run. A plain pool counts as one without a pooler.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseRef<'a> {
    pool: &'a PgPool,
    sessions: SessionMode,
    address: Option<&'a Address>,
    last_read_only: Option<&'a LastReadOnly>,
}

impl<'a> From<&'a PgPool> for DatabaseRef<'a> {
    fn from(pool: &'a PgPool) -> Self {
        Self { pool, sessions: SessionMode::Dedicated, address: None, last_read_only: None }
    }
}

impl<'a> From<&'a Database> for DatabaseRef<'a> {
    fn from(database: &'a Database) -> Self {
        let address = database.address.as_deref();
        let last_read_only = Some(database.last_read_only.as_ref());
        Self { pool: &database.pool, sessions: database.sessions, address, last_read_only }
    }
}

impl Database {
    /// A pool of at most `max_connections`, opened when they are needed.
    pub(super) fn new(options: PgConnectOptions, max_connections: u32, sessions: SessionMode) -> Self {
        let options = sessions.adapt(options);
        let last_read_only = Arc::<LastReadOnly>::default();
        let pool = pool_options(max_connections, sessions, &last_read_only).connect_lazy_with(options);
        Self { pool, sessions, address: None, last_read_only }
    }

    /// Reads the URL again from its source whenever no connection can be made: a password may change while the daemon
    /// runs.
    #[must_use]
    pub fn with_url_source(self, source: SecretSource, current: SecretString) -> Self {
        let address = Address { source, current: Mutex::new(current) };
        Self { address: Some(Arc::new(address)), ..self }
    }

    /// Reads the URL again. True if it changed: new connections use it from now on.
    pub(super) fn refresh_url(&self) -> bool {
        DatabaseRef::from(self).refresh_url()
    }

    /// A pool of one additional connection to the same database.
    pub(super) fn single_connection_pool(&self) -> PgPool {
        pool_options(1, self.sessions, &self.last_read_only)
            .connect_lazy_with(self.pool.connect_options().as_ref().clone())
    }

    /// Closes its connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl SessionMode {
    fn adapt(self, options: PgConnectOptions) -> PgConnectOptions {
        match self {
            Self::Dedicated => options,
            Self::Pooled => options.statement_cache_capacity(0),
        }
    }
}

impl DatabaseRef<'_> {
    /// A connection of the pool, or the reason why there is none.
    async fn acquire(self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        match self.pool.acquire().await {
            Err(_) if self.refresh_url() => self.pool.acquire().await,
            Err(sqlx::Error::PoolTimedOut) => Err(self.diagnose_timeout().await),
            connection => connection,
        }
    }

    fn refresh_url(self) -> bool {
        let Some(address) = self.address else { return false };
        // If the file cannot be read or holds no URL, nothing changes and the original error is reported.
        let Ok(url) = address.source.read() else { return false };
        let mut current = address.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.expose_secret() == url.expose_secret() {
            return false;
        }
        let Ok(options) = parse_url(&url) else { return false };
        tracing::info!(event = events::DATABASE_URL_CHANGED, "database url changed");
        self.pool.set_connect_options(self.sessions.adapt(options));
        *current = url;
        true
    }

    /// The pool retries while the server refuses connections, and then reports only a timeout. One direct attempt
    /// shows the server's own reason.
    async fn diagnose_timeout(self) -> sqlx::Error {
        if self.pool.size() >= self.pool.options().get_max_connections() {
            return sqlx::Error::PoolTimedOut;
        }
        let options = self.pool.connect_options();
        match tokio::time::timeout(DIAGNOSE_TIMEOUT, PgConnection::connect_with(&options)).await {
            Ok(Err(error)) => error,
            // An error on closing changes nothing: the connection is not used again.
            Ok(Ok(connection)) => {
                connection.close().await.ok();
                sqlx::Error::PoolTimedOut
            }
            Err(_) => sqlx::Error::PoolTimedOut,
        }
    }
}

/// The URL's options. Their `Debug` would print the password: never format them.
pub(super) fn parse_url(url: &SecretString) -> Result<PgConnectOptions, OutboxError> {
    // Checked first, because the driver logs parameters that it does not know with their values.
    let url = parse_database_url(url.expose_secret()).map_err(OutboxError::Url)?;
    let options = PgConnectOptions::from_url(&url)
        .map_err(|_| OutboxError::Url("is not a valid Postgres URL".to_owned()))?;
    let options = trust_system_roots(options, &url);
    // A pooler refuses startup parameters that it does not know, and no value here needs the extra digits.
    Ok(options.application_name("course-sync").extra_float_digits(None))
}

/// Trusts the authorities of the system besides the built-in ones, unless the URL or the environment names a file.
fn trust_system_roots(options: PgConnectOptions, url: &Url) -> PgConnectOptions {
    let verifies = matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
    let names_file =
        url.query_pairs().any(|(name, _)| matches!(&*name, "sslrootcert" | "ssl-root-cert" | "ssl-ca"))
            || std::env::var_os("PGSSLROOTCERT").is_some();
    if !verifies || names_file {
        return options;
    }
    match system_roots() {
        Some(roots) => options.ssl_root_cert_from_pem(roots.as_bytes().to_vec()),
        None => options,
    }
}

/// Runs one statement on a connection of the pool. If no response comes, the connection is closed instead of being
/// returned to the pool: on a connection that died silently, the caller would wait for ever and the pool would lose
/// a place.
pub(super) async fn run_statement<'a, T>(
    database: impl Into<DatabaseRef<'a>>,
    statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let database = database.into();
    let mut connection = database.acquire().await?;
    let response = async {
        match database.sessions {
            SessionMode::Dedicated => statement(&mut connection).await,
            SessionMode::Pooled => in_transaction(&mut connection, statement).await,
        }
    };
    match tokio::time::timeout(RESPONSE_TIMEOUT, response).await {
        Ok(response) => {
            if response.as_ref().is_err_and(is_read_only)
                && let Some(last_read_only) = database.last_read_only
            {
                last_read_only.note();
                connection.close_on_drop();
            }
            response
        }
        Err(_) => {
            connection.close_on_drop();
            let timeout = std::io::Error::new(std::io::ErrorKind::TimedOut, "the server does not respond");
            Err(sqlx::Error::Io(timeout))
        }
    }
}

/// A transaction around one statement. If the caller cancels it, the caller closes the connection.
async fn in_transaction<T>(
    connection: &mut PgConnection,
    statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    match statement(&mut transaction).await {
        Ok(result) => transaction.commit().await.map(|()| result),
        Err(error) => {
            // The statement's error is the one to report, not that of the rollback.
            transaction.rollback().await.ok();
            Err(error)
        }
    }
}

fn is_read_only(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(READ_ONLY))
}

fn pool_options(
    max_connections: u32,
    sessions: SessionMode,
    last_read_only: &Arc<LastReadOnly>,
) -> PgPoolOptions {
    let last_read_only = Arc::clone(last_read_only);
    PgPoolOptions::new()
        .max_connections(max_connections)
        .max_lifetime(MAX_LIFETIME)
        .acquire_timeout(CONNECT_TIMEOUT)
        // Tested below instead, and only after idling.
        .test_before_acquire(false)
        .before_acquire(move |connection, connected| {
            let is_usable = !last_read_only.is_before(connected.age);
            Box::pin(async move {
                if is_usable && connected.idle_for > TEST_AFTER_IDLE {
                    connection.ping().await?;
                }
                Ok(is_usable)
            })
        })
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if sessions == SessionMode::Dedicated {
                    connection.execute(SESSION_SETUP).await?;
                }
                Ok(())
            })
        })
}
