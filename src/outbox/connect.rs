//! Connections, and the schema they find.

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};

use super::OutboxError;

/// The schema, as files.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// How long a connection is waited for before the database counts as unreachable.
const ACQUIRE: Duration = Duration::from_secs(5);

/// The longest that one statement may take at the server. The daemon's own are far below; a lock
/// held by a person, or a dead disk, must not hold it for ever.
///
/// Below an error the server has nothing to tell: the belt's ROLLBACK would be remarked every time.
const SESSION: &str = "set client_min_messages = 'error'; set statement_timeout = '30s'; set lock_timeout = '15s'; \
                       set idle_in_transaction_session_timeout = '30s'";

/// A pool of at most `max_connections`, made without connecting yet.
pub fn pool(url: &SecretString, max_connections: u32) -> Result<PgPool, OutboxError> {
    Ok(pool_options(max_connections).connect_lazy_with(options(url)?))
}

/// How long an answer is waited for. The server itself gives up earlier, so after it nobody is there.
const ANSWER: Duration = Duration::from_secs(40);

/// Runs one statement on a connection of the pool. Where no answer comes, not even the server's refusal,
/// the connection is closed rather than returned: a line that died silently would be waited on for
/// ever, and take whoever waits and its place in the pool with it.
pub(super) async fn ask<T>(
    pool: &PgPool,
    statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    match tokio::time::timeout(ANSWER, statement(&mut connection)).await {
        Ok(answer) => answer,
        Err(_) => {
            connection.close_on_drop();
            Err(sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "the server does not answer",
            )))
        }
    }
}

/// A pool of one connection, to the same database as `pool`.
pub(super) fn alone(pool: &PgPool) -> PgPool {
    pool_options(1).connect_lazy_with(pool.connect_options().as_ref().clone())
}

/// Makes one connection, so that a database which cannot be used shows now.
pub async fn reach(url: &SecretString) -> Result<(), OutboxError> {
    let options = options(url)?;
    let place = place(&options);
    let connected = tokio::time::timeout(ACQUIRE, PgConnection::connect_with(&options)).await;
    let connected = connected.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
    let connection = connected.map_err(|source| OutboxError::Connect { place, source })?;
    // It has done its work; how it ends does not matter.
    connection.close().await.ok();
    Ok(())
}

fn pool_options(max_connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute(SESSION).await?;
                Ok(())
            })
        })
        // A belt: should a transaction ever be left open, its connection must not carry the next
        // write into it.
        .after_release(|connection, _| {
            Box::pin(async move {
                connection.execute("rollback").await?;
                Ok(true)
            })
        })
}

/// The URL's options. Their `Debug` would print the password: never format them.
fn options(url: &SecretString) -> Result<PgConnectOptions, OutboxError> {
    let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| OutboxError::Url)?;
    // A pooler refuses a startup parameter that it does not know; no float here needs more digits.
    Ok(options.application_name("course-sync").extra_float_digits(None))
}

/// Where the database is, without user and password.
fn place(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or_else(
        || format!("{}:{}", options.get_host(), options.get_port()),
        |socket| socket.display().to_string(),
    );
    format!("{host}/{}", options.get_database().unwrap_or_default())
}

/// Brings the schema up to date. Returns how many migrations were applied. Two instances may do so
/// at once: the second waits for the first.
pub async fn migrate(url: &SecretString) -> Result<usize, OutboxError> {
    reach(url).await?;
    // A connection of its own: a migration may take longer than a statement may.
    let pool =
        PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE).connect_lazy_with(options(url)?);
    let before = applied(&pool).await?.len();
    MIGRATOR.run(&pool).await.map_err(told_apart)?;
    let after = applied(&pool).await?.len();
    pool.close().await;
    Ok(after.saturating_sub(before))
}

/// Makes sure that the schema is this program's, changing nothing.
pub async fn verify(pool: &PgPool) -> Result<(), OutboxError> {
    let applied = applied(pool).await?;
    if let Some(newer) =
        applied.iter().find(|version| MIGRATOR.iter().all(|known| known.version != **version))
    {
        return Err(OutboxError::Newer(*newer));
    }
    match MIGRATOR.iter().find(|known| !applied.contains(&known.version)) {
        Some(missing) => {
            Err(OutboxError::Outdated(format!("{} {} is missing", missing.version, missing.description)))
        }
        None => Ok(()),
    }
}

/// Whether the database is reachable now.
pub async fn ping(pool: &PgPool) -> Result<(), OutboxError> {
    const PING: &str = "select 1";
    ask(pool, async |session| sqlx::query(PING).execute(session).await)
        .await
        .map_err(OutboxError::doing("answer"))?;
    Ok(())
}

/// The migrations that were applied. A role that may only run need not own the schema, so nothing is
/// created here.
async fn applied(pool: &PgPool) -> Result<Vec<i64>, OutboxError> {
    const EXISTS: &str = "select to_regclass('_sqlx_migrations') is not null";
    const APPLIED: &str = "select version from _sqlx_migrations where success order by version";
    let doing = || OutboxError::doing("read which migrations were applied");
    let exists: bool = ask(pool, async |session| sqlx::query_scalar(EXISTS).fetch_one(session).await)
        .await
        .map_err(doing())?;
    if !exists {
        return Ok(Vec::new());
    }
    ask(pool, async |session| sqlx::query_scalar(APPLIED).fetch_all(session).await).await.map_err(doing())
}

fn told_apart(error: MigrateError) -> OutboxError {
    match error {
        MigrateError::VersionMissing(version) => OutboxError::Newer(version),
        other => OutboxError::Migrate(other),
    }
}
