//! Applies missing migrations, and reads which were applied. Touches the database.
//!
//! sqlx would do the same, but it prepares named statements, which a pooler may give to other clients, and it sends
//! the files as they are: they contain characters that some encodings of a server lack.

use sqlx::migrate::{MigrateError, Migration};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::outbox::OutboxError;
use crate::outbox::migrations::{APPLIED_TABLE, MIGRATOR};
use crate::outbox::session::{Session, SessionMode};

/// Applies the missing migrations in the current transaction. Returns their number.
pub(super) async fn apply_missing(transaction: &mut PgConnection) -> Result<usize, OutboxError> {
    let mut session = Session::new(transaction, SessionMode::Pooled);
    let failed = |error| OutboxError::Migrate(MigrateError::Execute(error));
    adopt_legacy_records(&mut session).await.map_err(failed)?;
    let applied = applied_migrations(&mut session).await.map_err(failed)?;
    if applied.is_empty() && table_exists(&mut session, "course_outbox").await.map_err(failed)? {
        return Err(OutboxError::Unrecorded);
    }
    for (version, checksum) in &applied {
        match MIGRATOR.iter().find(|known| known.version == *version) {
            None => return Err(OutboxError::Newer(*version)),
            Some(known) if known.checksum != *checksum => {
                return Err(OutboxError::Migrate(MigrateError::VersionMismatch(*version)));
            }
            Some(_) => {}
        }
    }
    let is_missing = |known: &&Migration| applied.iter().all(|(version, _)| known.version != *version);
    let missing: Vec<_> = MIGRATOR.iter().filter(is_missing).collect();
    if !missing.is_empty() {
        let has_unicode = stores_every_character(&mut session).await.map_err(failed)?;
        create_record_table(&mut session).await.map_err(failed)?;
        for migration in &missing {
            apply(&mut session, migration, has_unicode).await.map_err(|error| {
                OutboxError::Migrate(MigrateError::ExecuteMigration(error, migration.version))
            })?;
        }
    }
    Ok(missing.len())
}

/// Runs a migration and records it.
async fn apply(
    session: &mut Session<'_>,
    migration: &Migration,
    has_unicode: bool,
) -> Result<(), sqlx::Error> {
    const RECORD: &str = "
        insert into course_sync_migrations (version, description, success, checksum, execution_time)
        values ($1, $2, true, $3, $4)";
    let started = std::time::Instant::now();
    let text = migration.sql.as_str();
    let text = if has_unicode { text.to_owned() } else { in_ascii(text) };
    // Safe: the text is built in.
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *session).await?;
    let record = sqlx::query(RECORD)
        .bind(migration.version)
        .bind(&*migration.description)
        .bind(&*migration.checksum)
        .bind(i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX));
    record.execute(session).await.map(drop)
}

/// Whether the server can store the characters of a migration. One without an encoding stores any bytes.
async fn stores_every_character(session: &mut Session<'_>) -> Result<bool, sqlx::Error> {
    const STORES: &str = "select getdatabaseencoding() in ('UTF8', 'SQL_ASCII')";
    sqlx::query_scalar(STORES).fetch_one(session).await
}

/// The text with other characters replaced. They occur only in comments, descriptions and hints.
fn in_ascii(text: &str) -> String {
    text.replace('→', "->").replace('…', "...").replace(|c: char| !c.is_ascii(), "?")
}

/// The table in which sqlx, too, keeps what it applied: the records can be moved between the two.
async fn create_record_table(session: &mut Session<'_>) -> Result<(), sqlx::Error> {
    const CREATE: &str = "
        create table if not exists course_sync_migrations (
            version        bigint      primary key,
            description    text        not null,
            installed_on   timestamptz not null default now(),
            success        boolean     not null,
            checksum       bytea       not null,
            execution_time bigint      not null
        )";
    sqlx::query(CREATE).execute(session).await.map(drop)
}

/// The versions of the applied migrations. The daemon's role need not own the schema, so nothing is created here.
pub(super) async fn applied_versions(session: &mut Session<'_>) -> Result<Vec<i64>, sqlx::Error> {
    const APPLIED: &str = "select version from course_sync_migrations where success order by version";
    if !table_exists(session, APPLIED_TABLE).await? {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(APPLIED).fetch_all(session).await
}

/// The versions and checksums of the applied migrations.
async fn applied_migrations(session: &mut Session<'_>) -> Result<Vec<(i64, Vec<u8>)>, sqlx::Error> {
    const APPLIED: &str = "select version, checksum from course_sync_migrations order by version";
    if !table_exists(session, APPLIED_TABLE).await? {
        return Ok(Vec::new());
    }
    sqlx::query_as(APPLIED).fetch_all(session).await
}

/// Takes over the records that earlier versions of this program kept in sqlx's default table. If other migrations are
/// recorded there too, only ours are moved; else the table is renamed, which keeps its privileges.
async fn adopt_legacy_records(session: &mut Session<'_>) -> Result<(), sqlx::Error> {
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

async fn table_exists(session: &mut Session<'_>, table: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select to_regclass($1) is not null").bind(table).fetch_one(session).await
}
