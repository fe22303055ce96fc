//! The connection pool, and how one statement runs on it: the only place that takes a connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool, Postgres};
use url::Url;

use crate::config::{SecretSource, parse_database_url};
use crate::outbox::OutboxError;
use crate::outbox::pooler;
use crate::outbox::roots::system_roots;
use crate::outbox::server::Server;
use crate::outbox::session::{CONNECT_TIMEOUT, Session, SessionMode};
use crate::outbox::session_state::SessionState;
use crate::telemetry::events;

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

/// A pool of connections to the database.
#[derive(Debug, Clone)]
pub struct Database {
    pool: PgPool,
    state: Arc<SessionState>,
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
    state: Option<&'a SessionState>,
    address: Option<&'a Address>,
}

impl<'a> From<&'a PgPool> for DatabaseRef<'a> {
    fn from(pool: &'a PgPool) -> Self {
        Self { pool, state: None, address: None }
    }
}

impl<'a> From<&'a Database> for DatabaseRef<'a> {
    fn from(database: &'a Database) -> Self {
        Self { pool: &database.pool, state: Some(&database.state), address: database.address.as_deref() }
    }
}

impl Database {
    /// A pool of at most `max_connections`, opened when they are needed.
    pub(super) fn new(options: PgConnectOptions, max_connections: u32, sessions: SessionMode) -> Self {
        let state = Arc::new(SessionState::new(sessions));
        let pool = pool_options(max_connections, &state).connect_lazy_with(options);
        Self { pool, state, address: None }
    }

    /// Reads the URL again from its source whenever no connection can be made: a password may change while the daemon
    /// runs.
    #[must_use]
    pub fn with_url_source(self, source: SecretSource, current: SecretString) -> Self {
        let address = Address { source, current: Mutex::new(current) };
        Self { address: Some(Arc::new(address)), ..self }
    }

    /// Reads the URL and the password file again. True if new connections use something new from now on.
    pub(super) fn refresh_address(&self, error: &sqlx::Error) -> bool {
        DatabaseRef::from(self).refresh_address(error)
    }

    /// A pool of one additional connection to the same database.
    pub(super) fn single_connection_pool(&self) -> PgPool {
        pool_options(1, &self.state).connect_lazy_with(self.pool.connect_options().as_ref().clone())
    }

    pub(super) fn options(&self) -> Arc<PgConnectOptions> {
        self.pool.connect_options()
    }

    pub(super) fn state(&self) -> &SessionState {
        &self.state
    }

    /// Whether a pooler in transaction mode is assumed: notifications do not arrive, and nothing is kept in a session.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.state.mode() == SessionMode::Pooled
    }

    /// The schema that holds the outbox, as it is written in SQL, once it has been found.
    #[must_use]
    pub fn schema(&self) -> Option<String> {
        self.state.schema_name()
    }

    /// The server, as far as this process knows it.
    #[must_use]
    pub fn server(&self) -> &Server {
        self.state.server()
    }

    /// Closes its connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl DatabaseRef<'_> {
    /// A connection of the pool, or the reason why there is none.
    async fn acquire(self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        match self.pool.acquire().await {
            Err(error) if self.refresh_address(&error) => self.pool.acquire().await,
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
        self.pool.set_connect_options(options);
        *current = url;
        true
    }

    fn refresh_address(self, error: &sqlx::Error) -> bool {
        self.refresh_url() || (is_refused_login(error) && self.refresh_password())
    }

    /// Reads the password file again, unless the URL has a password. The driver reads it with the URL only.
    fn refresh_password(self) -> bool {
        let Some(address) = self.address else { return false };
        let current = address.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(url) = parse_database_url(current.expose_secret()) else { return false };
        if url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password") {
            return false;
        }
        let Ok(options) = parse_url(&current) else { return false };
        self.pool.set_connect_options(options);
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
    statement: impl AsyncFnOnce(&mut Session<'_>) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let database = database.into();
    let mut connection = database.acquire().await?;
    let mode = database.state.map_or(SessionMode::Dedicated, SessionState::mode);
    let response = async {
        match (mode, database.state) {
            (SessionMode::Pooled, Some(state)) => {
                in_transaction(&mut connection, state.begin(), statement).await
            }
            _ => statement(&mut Session::new(&mut connection, mode)).await,
        }
    };
    match tokio::time::timeout(RESPONSE_TIMEOUT, response).await {
        Ok(response) => {
            if let (Err(error), Some(state)) = (&response, database.state)
                && is_wrong_server(error, mode, state)
            {
                connection.close_on_drop();
            }
            response
        }
        Err(_) => {
            connection.close_on_drop();
            Err(timed_out())
        }
    }
}

pub(super) fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the server does not respond"))
}

/// Whether the connection must not be used again, because it leads to another server or session than the one that is
/// needed. If so, the other connections are closed as well.
fn is_wrong_server(error: &sqlx::Error, mode: SessionMode, state: &SessionState) -> bool {
    if is_read_only(error) {
        // After a switchover, older connections lead to the old primary.
        state.replace_connections();
        return true;
    }
    let is_foreign = mode == SessionMode::Dedicated && pooler::is_foreign_session(error);
    if is_foreign {
        assume_pooler(state);
    }
    is_foreign
}

/// Goes on as behind a pooler in transaction mode. Logs that once.
pub(super) fn assume_pooler(state: &SessionState) {
    if state.assume_pooler() {
        tracing::warn!(event = events::POOLER_DETECTED, "pooler detected");
    }
}

/// A transaction around one statement. If the caller cancels it, the caller closes the connection.
async fn in_transaction<T>(
    connection: &mut PgConnection,
    begin: AssertSqlSafe<String>,
    statement: impl AsyncFnOnce(&mut Session<'_>) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let mut transaction = connection.begin_with(begin).await?;
    match statement(&mut Session::new(&mut transaction, SessionMode::Pooled)).await {
        Ok(result) => transaction.commit().await.map(|()| result),
        Err(error) => {
            // The statement's error is the one to report, not that of the rollback.
            transaction.rollback().await.ok();
            Err(error)
        }
    }
}

/// Whether the server refused the role or its password.
fn is_refused_login(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("28"))
}

fn is_read_only(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(READ_ONLY))
}

fn pool_options(max_connections: u32, state: &Arc<SessionState>) -> PgPoolOptions {
    let (state, state_of_new) = (Arc::clone(state), Arc::clone(state));
    PgPoolOptions::new()
        .max_connections(max_connections)
        .max_lifetime(MAX_LIFETIME)
        .acquire_timeout(CONNECT_TIMEOUT)
        // Tested below instead, and only after idling.
        .test_before_acquire(false)
        .before_acquire(move |connection, connected| {
            let is_usable = !state.is_replaced(connected.age);
            Box::pin(async move {
                if is_usable && connected.idle_for > TEST_AFTER_IDLE {
                    connection.ping().await?;
                }
                Ok(is_usable)
            })
        })
        .after_connect(move |connection, _| {
            let state = Arc::clone(&state_of_new);
            Box::pin(async move {
                if state.mode() == SessionMode::Dedicated {
                    connection.execute(sqlx::raw_sql(state.setup())).await?;
                    set_known_run(connection, state.server()).await?;
                }
                Ok(())
            })
        })
}

/// Sets in a new session which run of the server this process knows.
async fn set_known_run(session: &mut PgConnection, server: &Server) -> Result<(), sqlx::Error> {
    let mut set = None;
    loop {
        let known = server.set_known_run();
        // It may change meanwhile.
        if known == set {
            break;
        }
        if let Some(known) = &known {
            session.execute(AssertSqlSafe(format!("set {known}"))).await?;
        }
        set = known;
    }
    if set.is_some() {
        server.note_connection();
    }
    Ok(())
}
