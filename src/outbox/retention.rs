//! Deleting what is old enough, in small bites.

use std::time::Duration;

use sqlx::PgPool;

use super::{OutboxError, connect};

/// Rows that one statement deletes at most: a lock held for milliseconds, a bite for vacuum.
pub const BITE: i64 = 2_000;

/// Deletes synced courses older than `age`, walking the table by its primary key from `after` on.
/// `None`: the end is reached; else where the next bite begins.
///
/// Served by the primary key.
pub async fn delete_synced(pool: &PgPool, after: i64, age: Duration) -> Result<Option<i64>, OutboxError> {
    const DELETE: &str = "
        with bite as materialized (
            select id, status = 'synced' and synced_at < now() - make_interval(secs => $2) as is_old
              from course_outbox where id > $1 order by id limit $3
        ), locked as materialized (
            select o.id from course_outbox o join bite b on b.id = o.id
             where b.is_old and o.status = 'synced' for update of o skip locked
        ), deleted as (
            delete from course_outbox o using locked l where o.id = l.id
        )
        select max(id) from bite having count(*) = $3";
    connect::ask(pool, async |session| {
        sqlx::query_scalar(DELETE)
            .bind(after)
            .bind(age.as_secs_f64())
            .bind(BITE)
            .fetch_optional(session)
            .await
    })
    .await
    .map_err(OutboxError::doing("delete courses that were synced long ago"))
}

/// Deletes closed requests older than `age`. True where there may be more.
///
/// Served by `course_sync_batch_claimed_at`.
pub async fn delete_requests(pool: &PgPool, age: Duration) -> Result<bool, OutboxError> {
    const DELETE: &str = "
        delete from course_sync_batch
         where batch_id = any(array(select batch_id from course_sync_batch
                                     where state = 'closed' and claimed_at < now() - make_interval(secs => $1)
                                     limit $2 for update skip locked))";
    bite(pool, DELETE, age, "delete old requests").await
}

/// Deletes history older than `age`. True where there may be more.
///
/// Served by `course_sync_history_at`.
pub async fn delete_history(pool: &PgPool, age: Duration) -> Result<bool, OutboxError> {
    const DELETE: &str = "
        delete from course_sync_history
         where id = any(array(select id from course_sync_history
                               where at < now() - make_interval(secs => $1) limit $2 for update skip locked))";
    bite(pool, DELETE, age, "delete old history").await
}

async fn bite(
    pool: &PgPool,
    statement: &'static str,
    age: Duration,
    doing: &'static str,
) -> Result<bool, OutboxError> {
    let done = connect::ask(pool, async |session| {
        sqlx::query(statement).bind(age.as_secs_f64()).bind(BITE).execute(session).await
    })
    .await;
    let deleted = done.map_err(OutboxError::doing(doing))?.rows_affected();
    Ok(i64::try_from(deleted).is_ok_and(|deleted| deleted == BITE))
}
