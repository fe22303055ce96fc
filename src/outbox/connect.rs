//! Connects to the database, migrates its schema, and verifies that the schema fits this program.

use std::time::Duration;

use secrecy::SecretString;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use crate::outbox::OutboxError;
use crate::outbox::database::{
    CONNECT_TIMEOUT, Database, DatabaseRef, SessionMode, parse_url, run_statement,
};
use crate::outbox::migrations::{APPLIED_TABLE, MIGRATOR};

/// The wait after the first attempt to migrate that did not get its locks. It doubles with each attempt.
const FIRST_MIGRATION_WAIT: Duration = Duration::from_secs(2);
const LONGEST_MIGRATION_WAIT: Duration = Duration::from_secs(30);

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
    let place = address_of(&options);
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
    let connected = connected.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
    let connection = connected.map_err(|source| OutboxError::Connect { place: place.clone(), source })?;
    // An error on closing changes nothing: the connection is not used again.
    connection.close().await.ok();
    Ok(place)
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
    const BEGIN: &str = "begin; deallocate all; set local client_min_messages = 'warning'; \
                         set local synchronous_commit = on; set local lock_timeout = '3s'";
    const ONE_AT_A_TIME: &str = "select pg_advisory_xact_lock(7245010002)";
    let options = parse_url(url)?.statement_cache_capacity(0);
    let place = address_of(&options);
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
    let connected = connected.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
    let mut connection = connected.map_err(|source| OutboxError::Connect { place, source })?;
    let failed = || OutboxError::failed_to("migrate the database schema");
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failed())?;
    sqlx::query(ONE_AT_A_TIME).execute(&mut *transaction).await.map_err(failed())?;
    adopt_legacy_records(&mut transaction)
        .await
        .map_err(|error| OutboxError::Migrate(MigrateError::Execute(error)))?;
    let before = applied_versions(&mut transaction).await.map_err(failed())?.len();
    MIGRATOR.run_direct(None, &mut *transaction, false).await.map_err(migration_error)?;
    let after = applied_versions(&mut transaction).await.map_err(failed())?.len();
    transaction.commit().await.map_err(failed())?;
    // An error on closing changes nothing: the connection is not used again.
    connection.close().await.ok();
    Ok(after.saturating_sub(before))
}

/// Verifies that the schema fits this program. Changes nothing.
pub async fn verify_schema(database: impl Into<DatabaseRef<'_>>) -> Result<(), OutboxError> {
    let applied = run_statement(database, applied_versions)
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

/// The versions of the applied migrations. The daemon's role need not own the schema, so nothing is created here.
async fn applied_versions(session: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    const APPLIED: &str = "select version from course_sync_migrations where success order by version";
    if !table_exists(session, APPLIED_TABLE).await? {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(APPLIED).fetch_all(session).await
}

/// Takes over the records that earlier versions of this program kept in sqlx's default table. If other migrations are
/// recorded there too, only ours are moved; else the table is renamed, which keeps its privileges.
async fn adopt_legacy_records(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    const DEFAULT_TABLE: &str = "_sqlx_migrations";
    const IS_SHARED: &str = "
        select exists (select from _sqlx_migrations
                        where (version, checksum) not in (select * from unnest($1::bigint[], $2::bytea[])))";
    const RENAME: &str = "alter table _sqlx_migrations rename to course_sync_migrations";
    const CREATE_TABLE: &str = "create table course_sync_migrations (like _sqlx_migrations including all)";
    const MOVE_OURS: &str = "
        with ours as (
            delete from _sqlx_migrations
             where (version, checksum) in (select * from unnest($1::bigint[], $2::bytea[]))
            returning *
        )
        insert into course_sync_migrations select * from ours";
    if table_exists(session, APPLIED_TABLE).await?
        || !table_exists(session, DEFAULT_TABLE).await?
        || !table_exists(session, "course_outbox").await?
    {
        return Ok(());
    }
    let (versions, checksums): (Vec<_>, Vec<_>) =
        MIGRATOR.iter().map(|known| (known.version, known.checksum.as_ref())).unzip();
    let shared = sqlx::query_scalar(IS_SHARED).bind(&versions).bind(&checksums);
    if shared.fetch_one(&mut *session).await? {
        sqlx::query(CREATE_TABLE).execute(&mut *session).await?;
        sqlx::query(MOVE_OURS).bind(versions).bind(checksums).execute(session).await?;
    } else {
        sqlx::query(RENAME).execute(session).await?;
    }
    Ok(())
}

async fn table_exists(session: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select to_regclass($1) is not null").bind(table).fetch_one(session).await
}

fn migration_error(error: MigrateError) -> OutboxError {
    match error {
        MigrateError::VersionMissing(version) => OutboxError::Newer(version),
        other => OutboxError::Migrate(other),
    }
}
