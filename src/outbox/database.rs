//! The database and how one statement is run on it: the only place that takes a connection.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, Postgres};
use sqlx::{Connection, Executor, PgConnection, PgPool};

/// How long a connection is waited for before the database counts as unreachable.
pub(super) const ACQUIRE: Duration = Duration::from_secs(5);

/// How long an answer is waited for. The server itself gives up earlier, so after it nobody is there.
const ANSWER: Duration = Duration::from_secs(40);

/// For so long after its last use a connection is taken to live.
const FRESH: Duration = Duration::from_secs(1);

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
}

/// What a statement needs of a database. A plain pool is one without a pooler.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'a> {
    pool: &'a PgPool,
    sessions: Sessions,
}

impl<'a> From<&'a PgPool> for Reach<'a> {
    fn from(pool: &'a PgPool) -> Self {
        Self { pool, sessions: Sessions::Kept }
    }
}

impl<'a> From<&'a Database> for Reach<'a> {
    fn from(database: &'a Database) -> Self {
        Self { pool: &database.pool, sessions: database.sessions }
    }
}

impl Database {
    /// At most `max_connections`, made when they are needed.
    pub(super) fn new(options: PgConnectOptions, max_connections: u32, sessions: Sessions) -> Self {
        let options = match sessions {
            Sessions::Kept => options,
            Sessions::Pooled => options.statement_cache_capacity(0),
        };
        Self { pool: pool_options(max_connections, sessions).connect_lazy_with(options), sessions }
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

/// A connection in use. One that is dropped before its statement ended is closed rather than returned:
/// nobody knows what it still has to say, or what it left open.
struct Unfinished(Option<PoolConnection<Postgres>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

/// Runs one statement on a connection of the pool. Where no answer comes, not even the server's refusal,
/// the connection is closed rather than returned: a line that died silently would be waited on for
/// ever, and take whoever waits and its place in the pool with it.
pub(super) async fn ask<'a, T>(
    reach: impl Into<Reach<'a>>,
    statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let reach = reach.into();
    let mut unfinished = Unfinished(None);
    let connection = unfinished.0.insert(reach.pool.acquire().await?);
    let answer = async {
        match reach.sessions {
            Sessions::Kept => statement(connection).await,
            Sessions::Pooled => in_transaction(connection, statement).await,
        }
    };
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => {
            drop(unfinished.0.take());
            answer
        }
        Err(_) => {
            let silence = std::io::Error::new(std::io::ErrorKind::TimedOut, "the server does not answer");
            Err(sqlx::Error::Io(silence))
        }
    }
}

/// A transaction around one statement. Should it be cancelled, its connection is closed.
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
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if sessions == Sessions::Kept {
                    connection.execute(SESSION).await?;
                }
                Ok(())
            })
        })
        // Every use of a connection would cost a round trip more. One that was in use a moment ago is
        // taken to live; an older one may have died since.
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for > FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}
