//! Deletes old rows, a bounded number per statement.

use std::time::Duration;

use crate::course::RowId;
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::lenient::LossyText;

/// The largest number of rows that one statement deletes: locks last milliseconds, and vacuum keeps up.
pub const CHUNK_ROWS: i64 = 2_000;

/// Deletes synced courses older than `age` among the next `rows` rows after `after`, except `kept`. Returns where the
/// next call starts; `None` at the end of the table. If the database refuses to delete one of them, none is deleted.
///
/// Index: the primary key. The table needs no index on `synced_at`, which each course would have to maintain.
pub async fn delete_synced(
    database: impl Into<DatabaseRef<'_>>,
    after: RowId,
    rows: i64,
    age: Duration,
    kept: &[RowId],
) -> Result<Option<RowId>, OutboxError> {
    const DELETE: &str = "-- delete synced courses
        with chunk as materialized (
            select id, status = 'synced' and synced_at < now() - make_interval(secs => $2) as is_old
              from course_outbox where id > $1 order by id limit $3
        ), locked as materialized (
            -- A row that another session holds is left for the next pass.
            select o.id from course_outbox o join chunk b on b.id = o.id
             where b.is_old and o.status = 'synced' and o.id <> all($4) for update of o skip locked
        ), deleted as (
            delete from course_outbox o using locked l where o.id = l.id
        )
        select max(id) from chunk having count(*) = $3";
    let query = sqlx::query_scalar(DELETE).bind(after).bind(age.as_secs_f64()).bind(rows).bind(kept);
    run_statement(database, async |session| query.fetch_optional(session).await)
        .await
        .map_err(OutboxError::failed_to("delete old synced courses"))
}

/// The first row after `after`, and its key.
///
/// Index: the primary key.
pub async fn first_row_after(
    database: impl Into<DatabaseRef<'_>>,
    after: RowId,
) -> Result<Option<(RowId, String)>, OutboxError> {
    const FIRST: &str = "-- first row after
        select id, course_key from course_outbox where id > $1 order by id limit 1";
    let query = sqlx::query_as(FIRST).bind(after);
    let row: Option<(RowId, LossyText)> =
        run_statement(database, async |session| query.fetch_optional(session).await)
            .await
            .map_err(OutboxError::failed_to("name a course that cannot be deleted"))?;
    Ok(row.map(|(row, key)| (row, key.0)))
}

/// Deletes closed requests older than `age`, except the last claim: its number must not be given again. True if there may be
/// more.
///
/// Index: `course_sync_batch_claimed_at` and `course_sync_batch_claim`.
pub async fn delete_requests(
    database: impl Into<DatabaseRef<'_>>,
    age: Duration,
) -> Result<bool, OutboxError> {
    const DELETE: &str = "-- delete requests
        delete from course_sync_batch
         where batch_id = any(array(select batch_id from course_sync_batch
                                     where state = 'closed' and claimed_at < now() - make_interval(secs => $1)
                                       and (claim_number is null
                                            or claim_number < (select max(claim_number) from course_sync_batch))
                                     limit $2 for update skip locked))";
    delete_chunk(database, DELETE, age, "delete old requests").await
}

/// Deletes history older than `age`. True if there may be more.
///
/// Index: `course_sync_history_at`.
pub async fn delete_history(
    database: impl Into<DatabaseRef<'_>>,
    age: Duration,
) -> Result<bool, OutboxError> {
    const DELETE: &str = "-- delete history
        delete from course_sync_history
         where id = any(array(select id from course_sync_history
                               where at < now() - make_interval(secs => $1) limit $2 for update skip locked))";
    delete_chunk(database, DELETE, age, "delete old history").await
}

/// Runs a statement that deletes a chunk. True if it deleted a full one.
async fn delete_chunk(
    database: impl Into<DatabaseRef<'_>>,
    statement: &'static str,
    age: Duration,
    action: &'static str,
) -> Result<bool, OutboxError> {
    let query = sqlx::query(statement).bind(age.as_secs_f64()).bind(CHUNK_ROWS);
    let done = run_statement(database, async |session| query.execute(session).await).await;
    let deleted = done.map_err(OutboxError::failed_to(action))?.rows_affected();
    Ok(i64::try_from(deleted).is_ok_and(|deleted| deleted == CHUNK_ROWS))
}
