//! Courses without an intent: rows that are in flight or unconfirmed, and whose request is not in the journal, because
//! it was truncated or restored in part. They get a new intent, and are looked up or held.

use std::time::Duration;

use crate::course::RowId;
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::lease::Lease;

/// The number of rows that one statement reads.
pub const CHUNK_ROWS: i64 = 10_000;

/// The result for one chunk of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrandedChunk {
    /// Where the next chunk starts; `None` at the end of the table.
    pub next: Option<RowId>,
    /// The number of courses without an intent.
    pub courses: i64,
}

/// Writes a new intent for each course without one among the next [`CHUNK_ROWS`] rows after `after`, under the lease.
/// Courses in flight become unconfirmed and are looked up after `settle`. Courses that were claimed
/// within `grace` are left: their sender may still record a result.
///
/// Index: the primary keys of `course_outbox` and `course_sync_batch`. No index covers the courses in flight.
pub async fn mark_stranded_unconfirmed(
    database: impl Into<DatabaseRef<'_>>,
    lease: Lease,
    after: RowId,
    settle: Duration,
    grace: Duration,
) -> Result<StrandedChunk, OutboxError> {
    // Parameters: 1 holder, 2 term, 3 position, 4 rows, 5 grace and 6 settle in seconds.
    const MARK: &str = "-- mark stranded unconfirmed
        with lead as materialized (
            -- Only the leader decides; the lock makes a takeover wait for this decision.
            select from course_sync_leader
             where holder = $1 and term = $2 and expires_at > clock_timestamp() for key share
        ), chunk as materialized (
            select id, status in ('in_flight', 'unconfirmed') as is_waiting
              from course_outbox where id > $3 order by id limit $4
        ), stranded as materialized (
            -- A row that another session holds is left for the next pass.
            select o.id, o.batch_id, o.status, o.doubt, coalesce(o.doubted_since, o.updated_at) as since
              from chunk c join course_outbox o on o.id = c.id
             where c.is_waiting and o.status in ('in_flight', 'unconfirmed')
               and (o.status = 'unconfirmed' or o.updated_at < now() - make_interval(secs => $5))
               and not exists (select from course_sync_batch b
                                where b.batch_id = o.batch_id and b.state <> 'closed' and o.id = any(b.row_ids))
               and exists (select from lead)
               for update of o skip locked
        ), intent as (
            -- One entry per lost request; it stays unknown until each of its courses is settled. It ended without an
            -- outcome, so the quota does not count it. A 'read' permits a look-up by the configured property. It is not
            -- written for courses that are known to be unconfirmed: these may have been sent without a unique property.
            insert into course_sync_batch
                   (batch_id, operation, term, holder, row_ids, state, claimed_at, send_by, answered_at)
            select batch_id, case when bool_and(status = 'in_flight') then 'read'
                                  when bool_and(doubt is not distinct from 'change') then 'update' else 'create' end, $2, $1,
                   array_agg(id order by id), 'unknown', min(since), min(since), now()
              from stranded group by batch_id
                on conflict (batch_id) do update
               set state = 'unknown',
                   row_ids = array(select unnest(course_sync_batch.row_ids) union select unnest(excluded.row_ids) order by 1)
        ), doubted as (
            update course_outbox o
               set status = 'unconfirmed', doubts = o.doubts + 1, doubt = 'unknown',
                   -- An entry that is still there shows the property.
                   doubt_property = coalesce(o.doubt_property, (select b.unique_property from course_sync_batch b
                                                                 where b.batch_id = o.batch_id)),
                   doubted_since = s.since, next_attempt_at = now() + make_interval(secs => $6), updated_at = now(),
                   error = jsonb_build_object(
                       'category', 'unknown_outcome',
                       'message', 'it is not known whether HubSpot created this course: its request is missing in '
                                  'course_sync_batch',
                       'at', now())
              from stranded s where o.id = s.id and s.status = 'in_flight'
            returning o.id, o.course_key, o.batch_id, o.error
        ), history as (
            insert into course_sync_history (course_id, course_key, batch_id, event, error)
            select id, course_key, batch_id, 'unconfirmed', error from doubted
        )
        select (select max(id) from chunk having count(*) = $4), (select count(*) from stranded)";
    let query = sqlx::query_as(MARK)
        .bind(lease.holder)
        .bind(lease.term)
        .bind(after)
        .bind(CHUNK_ROWS)
        .bind(grace.as_secs_f64())
        .bind(settle.as_secs_f64());
    let (next, courses): (Option<RowId>, i64) =
        run_statement(database, async |session| query.fetch_one(session).await)
            .await
            .map_err(OutboxError::failed_to("find courses without a request in the journal"))?;
    Ok(StrandedChunk { next, courses })
}
