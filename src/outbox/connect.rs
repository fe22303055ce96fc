//! Connects to the database, migrates its schema, and verifies that the schema fits this program.

use std::time::Duration;

use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use crate::outbox::database::{Database, DatabaseRef, assume_pooler, parse_url, run_statement, timed_out};
use crate::outbox::migrations::MIGRATOR;
use crate::outbox::pooler::has_changing_sessions;
use crate::outbox::schema::{find_schema, use_schema};
use crate::outbox::session::{CONNECT_TIMEOUT, SessionMode};
use crate::outbox::{OutboxError, apply};

/// The wait after the first attempt to migrate that did not get its locks. It doubles with each attempt.
const FIRST_MIGRATION_WAIT: Duration = Duration::from_secs(2);
const LONGEST_MIGRATION_WAIT: Duration = Duration::from_secs(30);

/// How long the inspection of the sessions may take.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Opens a pool of at most `max_connections`; the connections are made when they are needed.
pub fn open_pool(
    url: &SecretString,
    max_connections: u32,
    sessions: SessionMode,
) -> Result<Database, OutboxError> {
    Ok(Database::new(parse_url(url)?, max_connections, sessions))
}

/// Opens and closes one connection, so that an unusable database is reported now. Returns its address, without user
/// and password.
pub async fn test_connection(url: &SecretString) -> Result<String, OutboxError> {
    let options = parse_url(url)?;
    let connection = open_connection(&options).await?;
    // An error on closing changes nothing: the connection is not used again.
    connection.close().await.ok();
    Ok(address_of(&options))
}

/// The address of the database, without user and password.
fn address_of(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or_else(
        || match options.get_host() {
            address if address.contains(':') => format!("[{address}]:{}", options.get_port()),
            name => format!("{name}:{}", options.get_port()),
        },
        |socket| socket.display().to_string(),
    );
    format!("{host}/{}", options.get_database().unwrap_or_default())
}

/// As [`migrate_reporting`], without reporting.
pub async fn migrate(url: &SecretString) -> Result<usize, OutboxError> {
    migrate_reporting(url, |_| ()).await
}

/// Migrates the schema. Returns the number of migrations that were applied. Two instances may migrate at once: the
/// second waits for the first.
///
/// The catalogue's inserts queue behind a migration that waits for a lock, such as that of a `pg_dump`. So each attempt
/// waits only a few seconds for a lock; then everything is rolled back, and the next attempt follows after a growing
/// wait. `on_waiting` is called with the reason after each failed attempt.
pub async fn migrate_reporting(
    url: &SecretString,
    on_waiting: impl Fn(&OutboxError),
) -> Result<usize, OutboxError> {
    let mut wait = FIRST_MIGRATION_WAIT;
    loop {
        match try_migrate(url).await {
            Err(error) if error.is_lock_timeout() => on_waiting(&error),
            ended => return ended,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_MIGRATION_WAIT);
    }
}

/// One attempt to migrate the schema.
async fn try_migrate(url: &SecretString) -> Result<usize, OutboxError> {
    // One transaction: all or nothing, and one session throughout, even behind a pooler.
    const BEGIN: &str = "begin; set local client_min_messages = 'warning'; set local synchronous_commit = on; \
                         set local lock_timeout = '3s'";
    const ONE_AT_A_TIME: &str = "select pg_advisory_xact_lock(7245010002)";
    let mut connection = open_connection(&parse_url(url)?).await?;
    let failed = || OutboxError::failed_to("migrate the database schema");
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failed())?;
    sqlx::raw_sql(ONE_AT_A_TIME).execute(&mut *transaction).await.map_err(failed())?;
    if let Some(schema) = find_schema(&mut transaction).await? {
        use_schema(&mut transaction, &schema).await.map_err(failed())?;
    }
    let applied = apply::apply_missing(&mut transaction).await?;
    transaction.commit().await.map_err(failed())?;
    // An error on closing changes nothing: the connection is not used again.
    connection.close().await.ok();
    Ok(applied)
}

async fn open_connection(options: &PgConnectOptions) -> Result<PgConnection, OutboxError> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await;
    let connected = connected.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
    connected.map_err(|source| OutboxError::Connect { place: address_of(options), source })
}

/// Finds out what the sessions of this database are like, and which schema holds the outbox. Changes nothing.
pub async fn inspect(database: &Database) -> Result<(), OutboxError> {
    let failed = OutboxError::failed_to("inspect the sessions of the database");
    match tokio::time::timeout(INSPECT_TIMEOUT, inspect_sessions(database)).await {
        Ok(inspected) => inspected,
        Err(_) => Err(failed(timed_out())),
    }
}

async fn inspect_sessions(database: &Database) -> Result<(), OutboxError> {
    let (options, state) = (database.options(), database.state());
    let mut connection = open_connection(&options).await?;
    if !database.is_pooled() {
        let is_pooled = has_changing_sessions(&mut connection, &options).await;
        if is_pooled.map_err(OutboxError::failed_to("inspect the sessions of the database"))? {
            assume_pooler(state);
        }
    }
    if let Some(schema) = find_schema(&mut connection).await? {
        state.set_schema(schema);
    }
    // An error on closing changes nothing: the connection is not used again.
    connection.close().await.ok();
    Ok(())
}

/// The encoding of the database, such as `UTF8`.
pub async fn read_encoding(database: &Database) -> Result<String, OutboxError> {
    const ENCODING: &str = "select getdatabaseencoding()::text";
    run_statement(database, async |session| sqlx::query_scalar(ENCODING).fetch_one(session).await)
        .await
        .map_err(OutboxError::failed_to("read the encoding of the database"))
}

/// Verifies that the schema fits this program. Changes nothing.
pub async fn verify_schema(database: impl Into<DatabaseRef<'_>>) -> Result<(), OutboxError> {
    let applied = run_statement(database, apply::applied_versions)
        .await
        .map_err(OutboxError::failed_to("read the applied migrations"))?;
    if let Some(newer) =
        applied.iter().find(|version| MIGRATOR.iter().all(|known| known.version != **version))
    {
        return Err(OutboxError::Newer(*newer));
    }
    let missing: Vec<_> = MIGRATOR
        .iter()
        .filter(|known| !applied.contains(&known.version))
        .map(|known| known.version.to_string())
        .collect();
    match missing.as_slice() {
        [] => Ok(()),
        missing => Err(OutboxError::Outdated(missing.join(", "))),
    }
}
