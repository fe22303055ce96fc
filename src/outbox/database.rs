//! The database and how one statement is run on it: the only place that takes a connection.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool, Postgres};

use super::OutboxError;
use crate::config::SecretSource;

/// How long a connection is waited for before the database counts as unreachable.
pub(super) const ACQUIRE: Duration = Duration::from_secs(5);

/// How long the reason is looked for why no connection could be made.
const REASON: Duration = Duration::from_secs(2);

/// A connection that stood still for longer is tested before it is used: its server may be another by now. Each
/// test is a round trip, and a busy connection has just shown that it is well.
const FRESH: Duration = Duration::from_secs(1);

/// How long an answer is waited for. The server itself gives up earlier, so after it nobody is there.
const ANSWER: Duration = Duration::from_secs(40);

/// The longest that one statement may take at the server. The daemon's own are far below; a lock held
/// by a person, or a dead disk, must not hold it for ever.
const SESSION: &str = "set statement_timeout = '30s'; set lock_timeout = '15s'; \
                       set idle_in_transaction_session_timeout = '30s'";

/// The same for one transaction, because a pooler gives every transaction another session. Whatever a
/// statement was called in that session before, by us or another, its name is free again.
const TRANSACTION: &str = "begin; deallocate all; set local statement_timeout = '30s'; set local lock_timeout = '15s'; \
                           set local idle_in_transaction_session_timeout = '30s'";

/// Whether there may be a pooler that gives every transaction another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// A connection is a session: statements are prepared once and run alone.
    Kept,
    /// It is not: nothing is kept between transactions, and each statement brings its own, because a
    /// statement is prepared and run in two steps that must meet the same session.
    Pooled,
}

/// A pool of connections to the database.
#[derive(Debug, Clone)]
pub struct Database {
    pool: PgPool,
    sessions: Sessions,
    address: Option<Arc<Address>>,
}

/// Where the URL comes from, so that another password is noticed.
#[derive(Debug)]
struct Address {
    source: SecretSource,
    current: Mutex<SecretString>,
}

/// What a statement needs of a database. A plain pool is one without a pooler.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'a> {
    pool: &'a PgPool,
    sessions: Sessions,
    address: Option<&'a Address>,
}

impl<'a> From<&'a PgPool> for Reach<'a> {
    fn from(pool: &'a PgPool) -> Self {
        Self { pool, sessions: Sessions::Kept, address: None }
    }
}

impl<'a> From<&'a Database> for Reach<'a> {
    fn from(database: &'a Database) -> Self {
        let address = database.address.as_deref();
        Self { pool: &database.pool, sessions: database.sessions, address }
    }
}

impl Database {
    /// At most `max_connections`, made when they are needed.
    pub(super) fn new(options: PgConnectOptions, max_connections: u32, sessions: Sessions) -> Self {
        let options = sessions.adapt(options);
        let pool = pool_options(max_connections, sessions).connect_lazy_with(options);
        Self { pool, sessions, address: None }
    }

    /// Where no connection can be made, the URL is read again from where it comes from: a password changes
    /// while the daemon runs.
    #[must_use]
    pub fn following(self, source: SecretSource, current: SecretString) -> Self {
        let address = Address { source, current: Mutex::new(current) };
        Self { address: Some(Arc::new(address)), ..self }
    }

    /// Reads the URL again. True where it has changed: connections are made by the new one from now on.
    pub(super) fn follow(&self) -> bool {
        Reach::from(self).follow()
    }

    /// A pool of one connection more, to the same database.
    pub(super) fn alone(&self) -> PgPool {
        pool_options(1, self.sessions).connect_lazy_with(self.pool.connect_options().as_ref().clone())
    }

    /// Closes its connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Sessions {
    fn adapt(self, options: PgConnectOptions) -> PgConnectOptions {
        match self {
            Self::Kept => options,
            Self::Pooled => options.statement_cache_capacity(0),
        }
    }
}

impl Reach<'_> {
    /// A connection of the pool, or the reason why there is none.
    async fn connection(self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        match self.pool.acquire().await {
            Err(_) if self.follow() => self.pool.acquire().await,
            Err(sqlx::Error::PoolTimedOut) => Err(self.reason().await),
            connection => connection,
        }
    }

    fn follow(self) -> bool {
        let Some(address) = self.address else { return false };
        // A file that cannot be read or holds no URL changes nothing; the failure at hand is told.
        let Ok(url) = address.source.read() else { return false };
        let mut current = address.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.expose_secret() == url.expose_secret() {
            return false;
        }
        let Ok(options) = options(&url) else { return false };
        tracing::info!("database.url has changed: connecting by it");
        self.pool.set_connect_options(self.sessions.adapt(options));
        *current = url;
        true
    }

    /// The pool goes on trying where the server refuses for the moment, and then says only that time is up.
    async fn reason(self) -> sqlx::Error {
        if self.pool.size() >= self.pool.options().get_max_connections() {
            return sqlx::Error::PoolTimedOut;
        }
        let options = self.pool.connect_options();
        match tokio::time::timeout(REASON, PgConnection::connect_with(&options)).await {
            Ok(Err(error)) => error,
            // How it ends does not matter.
            Ok(Ok(connection)) => {
                connection.close().await.ok();
                sqlx::Error::PoolTimedOut
            }
            Err(_) => sqlx::Error::PoolTimedOut,
        }
    }
}

/// The URL's options. Their `Debug` would print the password: never format them.
pub(super) fn options(url: &SecretString) -> Result<PgConnectOptions, OutboxError> {
    let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| OutboxError::Url)?;
    // A pooler refuses a startup parameter that it does not know; no float here needs more digits.
    Ok(options.application_name("course-sync").extra_float_digits(None))
}

/// Runs one statement on a connection of the pool. Where no answer comes, not even the server's refusal,
/// the connection is closed rather than returned: a line that died silently would be waited on for
/// ever, and take whoever waits and its place in the pool with it.
pub(super) async fn ask<'a, T>(
    reach: impl Into<Reach<'a>>,
    statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let reach = reach.into();
    let mut connection = reach.connection().await?;
    let answer = async {
        match reach.sessions {
            Sessions::Kept => statement(&mut connection).await,
            Sessions::Pooled => in_transaction(&mut connection, statement).await,
        }
    };
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => answer,
        Err(_) => {
            connection.close_on_drop();
            let silence = std::io::Error::new(std::io::ErrorKind::TimedOut, "the server does not answer");
            Err(sqlx::Error::Io(silence))
        }
    }
}

/// A transaction around one statement. Should it be cancelled, its connection is closed by whoever does.
async fn in_transaction<T>(
    connection: &mut PgConnection,
    statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let mut transaction = connection.begin_with(TRANSACTION).await?;
    match statement(&mut transaction).await {
        Ok(answer) => transaction.commit().await.map(|()| answer),
        Err(error) => {
            // The statement's error is the one to tell.
            transaction.rollback().await.ok();
            Err(error)
        }
    }
}

fn pool_options(max_connections: u32, sessions: Sessions) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE)
        // Done here, for those that stood still only.
        .test_before_acquire(false)
        .before_acquire(|connection, connected| {
            Box::pin(async move {
                if connected.idle_for > FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if sessions == Sessions::Kept {
                    connection.execute(SESSION).await?;
                }
                Ok(())
            })
        })
}
