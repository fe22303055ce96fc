//! Connections, and the schema they find.

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};

use super::OutboxError;

/// The schema, as files.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// How long a connection is waited for before the database counts as unreachable.
const ACQUIRE: Duration = Duration::from_secs(5);

/// The longest that one statement may take at the server. The daemon's own are far below; a lock
/// held by a person, or a dead disk, must not hold it for ever.
const SESSION: &str = "set statement_timeout = '30s'; set lock_timeout = '15s'; \
                       set idle_in_transaction_session_timeout = '30s'";

/// Opens a pool of at most `max_connections`. One connection is made, so that a wrong URL shows now.
pub async fn connect(url: &SecretString, max_connections: u32) -> Result<PgPool, OutboxError> {
    let options = options(url)?;
    let place = place(&options);
    pool_options(max_connections)
        .connect_with(options)
        .await
        .map_err(|source| OutboxError::Connect { place, source })
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
    Ok(options.application_name("course-sync"))
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
    let options = options(url)?;
    let place = place(&options);
    // A connection of its own: a migration may take longer than a statement may.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE)
        .connect_with(options)
        .await
        .map_err(|source| OutboxError::Connect { place, source })?;
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

async fn applied(pool: &PgPool) -> Result<Vec<i64>, OutboxError> {
    // Looks only: who may run the daemon need not be who may create tables.
    const KNOWN: &str = "select to_regclass('_sqlx_migrations') is not null";
    let mut connection = pool.acquire().await.map_err(OutboxError::doing("open a connection"))?;
    let known: bool = sqlx::query_scalar(KNOWN)
        .fetch_one(&mut *connection)
        .await
        .map_err(OutboxError::doing("look for the record of migrations"))?;
    if !known {
        return Ok(Vec::new());
    }
    let applied =
        connection.list_applied_migrations("_sqlx_migrations").await.map_err(OutboxError::Migrate)?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}

fn told_apart(error: MigrateError) -> OutboxError {
    match error {
        MigrateError::VersionMissing(version) => OutboxError::Newer(version),
        other => OutboxError::Migrate(other),
    }
}
