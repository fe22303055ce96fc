//! The connection pool, and how one statement runs on it: the only place that takes a connection.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool, Postgres};

use crate::config::SecretSource;
use crate::outbox::OutboxError;
use crate::telemetry::events;

/// How long to wait for a connection before the database counts as unreachable.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to look for the reason why no connection could be made.
const DIAGNOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that was idle for longer is tested before use: after a failover its server may be another one. The
/// test costs a round trip, so a connection that was just used is not tested.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(1);

/// How long to wait for a statement's response. The server's own timeouts are shorter, so after this long the server
/// or the network is gone.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(40);

/// The longest that one statement may take at the server. The daemon's statements take far less; these limits end
/// the wait for a lock that an operator holds, or for a dead disk.
const SESSION_SETUP: &str = "set statement_timeout = '30s'; set lock_timeout = '15s'; \
                       set idle_in_transaction_session_timeout = '30s'";

/// The same limits for one transaction, because a pooler gives each transaction another session. `deallocate all`
/// frees the names of statements that another client prepared in that session.
const BEGIN: &str = "begin; deallocate all; set local statement_timeout = '30s'; set local lock_timeout = '15s'; \
                           set local idle_in_transaction_session_timeout = '30s'";

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
}

impl<'a> From<&'a PgPool> for DatabaseRef<'a> {
    fn from(pool: &'a PgPool) -> Self {
        Self { pool, sessions: SessionMode::Dedicated, address: None }
    }
}

impl<'a> From<&'a Database> for DatabaseRef<'a> {
    fn from(database: &'a Database) -> Self {
        let address = database.address.as_deref();
        Self { pool: &database.pool, sessions: database.sessions, address }
    }
}

impl Database {
    /// A pool of at most `max_connections`, opened when they are needed.
    pub(super) fn new(options: PgConnectOptions, max_connections: u32, sessions: SessionMode) -> Self {
        let options = sessions.adapt(options);
        let pool = pool_options(max_connections, sessions).connect_lazy_with(options);
        Self { pool, sessions, address: None }
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
        pool_options(1, self.sessions).connect_lazy_with(self.pool.connect_options().as_ref().clone())
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
    let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| OutboxError::Url)?;
    // A pooler refuses startup parameters that it does not know, and no value here needs the extra digits.
    Ok(options.application_name("course-sync").extra_float_digits(None))
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
        Ok(response) => response,
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

fn pool_options(max_connections: u32, sessions: SessionMode) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        // Tested below instead, and only after idling.
        .test_before_acquire(false)
        .before_acquire(|connection, connected| {
            Box::pin(async move {
                if connected.idle_for > TEST_AFTER_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
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
