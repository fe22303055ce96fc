//! The account's properties and the outbox: the journal of their reading, and the failed courses that may go
//! again when they change.

use std::time::Duration;

use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::OutboxError;
use super::database::{Reach, ask};
use super::lease::Lease;
use crate::course::{CourseError, Properties};

/// Writes down that the account's properties are about to be read, so that the request takes its slot in the
/// window after a takeover, too.
///
/// Served by the primary key of `course_sync_batch`.
pub async fn note(
    database: impl Into<Reach<'_>>,
    lease: Lease,
    request: Uuid,
    send_window: Duration,
) -> Result<(), OutboxError> {
    const NOTE: &str = "
        insert into course_sync_batch (batch_id, operation, term, holder, row_ids, state, send_by)
        values ($1, 'schema', $2, $3, '{}', 'closed', now() + make_interval(secs => $4))";
    let query =
        sqlx::query(NOTE).bind(request).bind(lease.term).bind(lease.holder).bind(send_window.as_secs_f64());
    ask(database, async |session| query.execute(session).await)
        .await
        .map_err(OutboxError::doing("note a reading of the account's properties"))?;
    Ok(())
}

/// Writes down that the permit of this batch is spent on reading the account's properties: its courses are not
/// sent by it. False where the batch is not ours any more.
///
/// Served by the primary key of `course_sync_batch`.
pub async fn note_instead(database: impl Into<Reach<'_>>, batch: Uuid) -> Result<bool, OutboxError> {
    const INSTEAD: &str = "
        update course_sync_batch set operation = 'schema' where batch_id = $1 and state = 'open'";
    let done = ask(database, async |session| sqlx::query(INSTEAD).bind(batch).execute(session).await)
        .await
        .map_err(OutboxError::doing("note a reading of the account's properties"))?;
    Ok(done.rows_affected() > 0)
}

/// A course that failed over the account's properties: without HubSpot being asked, or because HubSpot missed
/// a property.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The row.
    pub id: i64,
    /// What it would send.
    pub properties: Properties,
    /// Why it failed.
    pub error: CourseError,
    /// The error's time as the row spells it: whoever failed since does not go again.
    at: String,
}

#[derive(FromRow)]
struct Row {
    id: i64,
    properties: Json<Value>,
    error: Json<Value>,
}

/// Such courses that one statement reads at most.
pub const PAGE: i64 = 500;

/// The next such courses after the row `after`; and the last row looked at, `None` at the end.
///
/// Served by `course_outbox_refused_by_schema`.
pub async fn refused(
    database: impl Into<Reach<'_>>,
    after: i64,
) -> Result<(Vec<Refused>, Option<i64>), OutboxError> {
    const REFUSED: &str = "
        select id, properties, error from course_outbox
         where status = 'failed' and error ->> 'category' = 'VALIDATION_ERROR'
           and (error -> 'http_status' is null or error ->> 'code' = 'PROPERTY_DOESNT_EXIST')
           and id > $1
         order by id limit $2";
    let query = sqlx::query_as(REFUSED).bind(after).bind(PAGE);
    let rows: Vec<Row> = ask(database, async |session| query.fetch_all(session).await)
        .await
        .map_err(OutboxError::doing("find courses that failed over the account's properties"))?;
    let last = rows.last().map(|row| row.id);
    Ok((rows.into_iter().filter_map(readable).collect(), last))
}

/// Rows that cannot be read stay as they are.
fn readable(row: Row) -> Option<Refused> {
    let at = row.error.0.get("at")?.as_str()?.to_owned();
    Some(Refused {
        id: row.id,
        properties: Properties::parse(row.properties.0).ok()?,
        error: serde_json::from_value(row.error.0).ok()?,
        at,
    })
}

/// Puts these courses back to pending, under the lease, unless something happened to them since. Returns how
/// many.
///
/// Served by the primary key of `course_outbox`.
pub async fn go_again(
    database: impl Into<Reach<'_>>,
    lease: Lease,
    courses: &[Refused],
) -> Result<u64, OutboxError> {
    const AGAIN: &str = "
        with lead as materialized (
            select from course_sync_leader
             where holder = $1 and term = $2 and expires_at > clock_timestamp() for key share
        ), mended as (
            select o.id, o.error from unnest($3::bigint[], $4::text[]) as m (id, at)
              join course_outbox o on o.id = m.id and o.error ->> 'at' = m.at
             where o.status = 'failed' and exists (select from lead)
               for update of o
        ), again as (
            update course_outbox o
               set status = 'pending', error = null, next_attempt_at = now(), updated_at = now()
              from mended m where o.id = m.id and o.status = 'failed'
            returning o.id, o.course_key, o.batch_id, m.error
        ), told as (
            insert into course_sync_history (course_id, course_key, batch_id, event, error)
            select id, course_key, batch_id, 'retried', error from again
        )
        select count(*) from again";
    let ids: Vec<i64> = courses.iter().map(|course| course.id).collect();
    let times: Vec<&str> = courses.iter().map(|course| course.at.as_str()).collect();
    let query = sqlx::query_scalar(AGAIN).bind(lease.holder).bind(lease.term).bind(&ids).bind(&times);
    let count: i64 = ask(database, async |session| query.fetch_one(session).await)
        .await
        .map_err(OutboxError::doing("put courses back after the account's properties have changed"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}
