//! Connections, and the schema they find.

use std::sync::LazyLock;

use secrecy::SecretString;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::OutboxError;
use super::database::{ACQUIRE, Database, Reach, Sessions, ask, options};

/// Where it is kept which migrations were applied.
const APPLIED_TABLE: &str = "course_sync_migrations";

/// The schema, as files.
pub static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("./migrations");
    // Its lock is a session's, which a pooler may give to somebody else; `migrate` takes its own.
    migrator.set_locking(false);
    // The catalogue lives in the same database, and may keep its own in sqlx's usual table.
    migrator.dangerous_set_table_name(APPLIED_TABLE);
    migrator
});

/// At most `max_connections` to the database, made when they are needed.
pub fn database(
    url: &SecretString,
    max_connections: u32,
    sessions: Sessions,
) -> Result<Database, OutboxError> {
    Ok(Database::new(options(url)?, max_connections, sessions))
}

/// Makes one connection, so that a database which cannot be used shows now. Returns where it is, without user and
/// password.
pub async fn reach(url: &SecretString) -> Result<String, OutboxError> {
    let options = options(url)?;
    let place = place(&options);
    let connected = tokio::time::timeout(ACQUIRE, PgConnection::connect_with(&options)).await;
    let connected = connected.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
    let connection = connected.map_err(|source| OutboxError::Connect { place: place.clone(), source })?;
    // It has done its work; how it ends does not matter.
    connection.close().await.ok();
    Ok(place)
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
    // One transaction: all or nothing, and the same session throughout, whatever lies between.
    const FRESH: &str = "begin; deallocate all; set local client_min_messages = 'warning'";
    const ONE_AT_A_TIME: &str = "select pg_advisory_xact_lock(7245010002)";
    let options = options(url)?.statement_cache_capacity(0);
    let place = place(&options);
    let connected = tokio::time::timeout(ACQUIRE, PgConnection::connect_with(&options)).await;
    let connected = connected.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
    let mut connection = connected.map_err(|source| OutboxError::Connect { place, source })?;
    let doing = || OutboxError::doing("bring the schema up to date");
    let mut transaction = connection.begin_with(FRESH).await.map_err(doing())?;
    sqlx::query(ONE_AT_A_TIME).execute(&mut *transaction).await.map_err(doing())?;
    adopt(&mut transaction).await.map_err(|error| OutboxError::Migrate(MigrateError::Execute(error)))?;
    let before = applied(&mut transaction).await.map_err(doing())?.len();
    MIGRATOR.run_direct(None, &mut *transaction, false).await.map_err(told_apart)?;
    let after = applied(&mut transaction).await.map_err(doing())?.len();
    transaction.commit().await.map_err(doing())?;
    // It has done its work; how it ends does not matter.
    connection.close().await.ok();
    Ok(after.saturating_sub(before))
}

/// Makes sure that the schema is this program's, changing nothing.
pub async fn verify(database: impl Into<Reach<'_>>) -> Result<(), OutboxError> {
    let applied =
        ask(database, applied).await.map_err(OutboxError::doing("read which migrations were applied"))?;
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

/// The migrations that were applied. A role that may only run need not own the schema, so nothing is
/// created here.
async fn applied(session: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    const APPLIED: &str = "select version from course_sync_migrations where success order by version";
    if !exists(session, APPLIED_TABLE).await? {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(APPLIED).fetch_all(session).await
}

/// Takes over what earlier versions of this program kept in sqlx's usual table, and nothing else from it. Where all of it
/// is ours, the table itself, with whatever rights there are on it.
async fn adopt(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    const USUAL_TABLE: &str = "_sqlx_migrations";
    const IS_SHARED: &str = "
        select exists (select from _sqlx_migrations
                        where (version, checksum) not in (select * from unnest($1::bigint[], $2::bytea[])))";
    const RENAME: &str = "alter table _sqlx_migrations rename to course_sync_migrations";
    const TABLE: &str = "create table course_sync_migrations (like _sqlx_migrations including all)";
    const OURS: &str = "
        with ours as (
            delete from _sqlx_migrations
             where (version, checksum) in (select * from unnest($1::bigint[], $2::bytea[]))
            returning *
        )
        insert into course_sync_migrations select * from ours";
    if exists(session, APPLIED_TABLE).await?
        || !exists(session, USUAL_TABLE).await?
        || !exists(session, "course_outbox").await?
    {
        return Ok(());
    }
    let (versions, checksums): (Vec<_>, Vec<_>) =
        MIGRATOR.iter().map(|known| (known.version, known.checksum.as_ref())).unzip();
    let shared = sqlx::query_scalar(IS_SHARED).bind(&versions).bind(&checksums);
    if shared.fetch_one(&mut *session).await? {
        sqlx::query(TABLE).execute(&mut *session).await?;
        sqlx::query(OURS).bind(versions).bind(checksums).execute(session).await?;
    } else {
        sqlx::query(RENAME).execute(session).await?;
    }
    Ok(())
}

async fn exists(session: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select to_regclass($1) is not null").bind(table).fetch_one(session).await
}

fn told_apart(error: MigrateError) -> OutboxError {
    match error {
        MigrateError::VersionMissing(version) => OutboxError::Newer(version),
        other => OutboxError::Migrate(other),
    }
}
