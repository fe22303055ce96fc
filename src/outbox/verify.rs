//! After commits may have been lost: what claims to be pending may have been sent, so it is put in
//! doubt before anything is sent, and looked up like any other doubt.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx};
use uuid::Uuid;

use super::OutboxError;
use super::database::{Reach, ask};
use super::lease::Lease;

/// Rows that one statement puts in doubt at most.
pub const BITE: i64 = 1_000;

/// How far a pass over the pending courses has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position(Option<(Timestamp, i64)>);

/// What one statement of the pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bite {
    /// It put courses in doubt, as far as here.
    Taken(Position),
    /// None are left.
    NoneLeft,
    /// The lease is not ours any more.
    NotLed,
}

/// Puts the next pending courses in doubt, under the lease.
///
/// Served by `course_outbox_pending`.
pub async fn doubt_pending(
    database: impl Into<Reach<'_>>,
    lease: Lease,
    after: Position,
) -> Result<Bite, OutboxError> {
    const DOUBT: &str = "
        with lead as materialized (
            select from course_sync_leader
             where holder = $1 and term = $2 and expires_at > clock_timestamp() for key share
        ), bite as materialized (
            select id, next_attempt_at from course_outbox
             where status = 'pending' and (next_attempt_at, id) > (coalesce($3, '-infinity'::timestamptz), $4)
               and exists (select from lead)
             order by next_attempt_at, id
             limit $5
               for update
        ), doubted as (
            update course_outbox o
               set status = 'unconfirmed', batch_id = $6, doubts = o.doubts + 1, doubt = 'unknown',
                   doubted_since = coalesce(o.doubted_since, o.created_at), next_attempt_at = now(), updated_at = now(),
                   error = jsonb_build_object(
                       'category', 'unknown_outcome',
                       'message', 'it is not known whether HubSpot created this course before: the database may have '
                                  'lost what was recorded',
                       'at', now())
              from bite where o.id = bite.id
            returning o.id, o.course_key, o.error
        ), intent as (
            insert into course_sync_batch (batch_id, operation, term, holder, row_ids, state, send_by)
            select $6, 'read', $2, $1, array_agg(id order by id), 'unknown', now() from doubted having count(*) > 0
        ), told as (
            insert into course_sync_history (course_id, course_key, batch_id, event, error)
            select id, course_key, $6, 'unconfirmed', error from doubted
        )
        select next_attempt_at, id from lead
          left join (select * from bite order by next_attempt_at desc, id desc limit 1) last on true";
    let (time, id) = after.0.unzip();
    let query = sqlx::query_as(DOUBT)
        .bind(lease.holder)
        .bind(lease.term)
        .bind(time.map(ToSqlx::to_sqlx))
        .bind(id.unwrap_or_default())
        .bind(BITE)
        .bind(Uuid::now_v7());
    let led: Option<(Option<SqlTimestamp>, Option<i64>)> =
        ask(database, async |session| query.fetch_optional(session).await)
            .await
            .map_err(OutboxError::doing("put pending courses in doubt"))?;
    Ok(match led {
        Some((time, id)) => match time.zip(id) {
            Some((time, id)) => Bite::Taken(Position(Some((time.to_jiff(), id)))),
            None => Bite::NoneLeft,
        },
        None => Bite::NotLed,
    })
}

/// The pass is over: from now on what is pending is what it says. False where the lease is not ours any more.
///
/// Served by the table's only row.
pub async fn finish(database: impl Into<Reach<'_>>, lease: Lease) -> Result<bool, OutboxError> {
    const FINISH: &str = "
        update course_sync_leader set verifying = false
         where holder = $1 and term = $2 and expires_at > clock_timestamp()";
    let query = sqlx::query(FINISH).bind(lease.holder).bind(lease.term);
    let done = ask(database, async |session| query.execute(session).await)
        .await
        .map_err(OutboxError::doing("finish the pass over pending courses"))?;
    Ok(done.rows_affected() > 0)
}
