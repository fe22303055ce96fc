//! For a database that may have lost commits: courses that it shows as pending may have been sent. They are marked
//! unconfirmed before anything is sent, and looked up like any other unconfirmed course.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx};
use uuid::Uuid;

use crate::course::{BatchId, RowId};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::lease::Lease;
use crate::outbox::lenient::Lenient;

/// The largest number of rows that one statement marks.
pub const CHUNK_ROWS: i64 = 1_000;

/// How far a pass over the pending courses has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyCursor(Option<(Timestamp, RowId)>);

/// The result of one statement of the pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyStep {
    /// It marked courses, up to this position.
    Progress(VerifyCursor),
    /// No pending courses are left.
    Complete,
    /// This instance does not hold the lease any more.
    LeaseLost,
}

/// Marks the next pending courses unconfirmed, under the lease.
///
/// Index: `course_outbox_pending`.
pub async fn mark_pending_unconfirmed(
    database: impl Into<DatabaseRef<'_>>,
    lease: Lease,
    after: VerifyCursor,
) -> Result<VerifyStep, OutboxError> {
    // Parameters: 1 holder, 2 term, 3 and 4 cursor, 5 rows, 6 id of the journal entry.
    const MARK: &str = "-- mark pending unconfirmed
        with lead as materialized (
            -- Only the leader decides; the lock makes a takeover wait for this decision.
            select from course_sync_leader
             where holder = $1 and term = $2 and expires_at > clock_timestamp() for key share
        ), chunk as materialized (
            -- Only new courses: a change of a known record can be sent again without harm. A bounded number of rows per
            -- statement, so that no lock is held for long. Rows that another session holds are waited for: none may be
            -- left out.
            select id, next_attempt_at from course_outbox
             where status = 'pending' and hubspot_id is null and (next_attempt_at, id) > (coalesce($3, '-infinity'::timestamptz), $4)
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
                                  'lost a recorded result',
                       'at', now())
              from chunk where o.id = chunk.id
            returning o.id, o.course_key, o.error
        ), intent as (
            -- One journal entry for the chunk: it stays unknown until each of its courses is settled.
            insert into course_sync_batch (batch_id, operation, term, holder, row_ids, state, send_by)
            select $6, 'read', $2, $1, array_agg(id order by id), 'unknown', now() from doubted having count(*) > 0
        ), history as (
            insert into course_sync_history (course_id, course_key, batch_id, event, error)
            select id, course_key, $6, 'unconfirmed', error from doubted
        )
        -- No row: this instance does not lead. A row of nulls: no pending courses are left.
        select next_attempt_at, id from lead
          left join (select * from chunk order by next_attempt_at desc, id desc limit 1) last on true";
    let (time, id) = after.0.unzip();
    let query = sqlx::query_as(MARK)
        .bind(lease.holder)
        .bind(lease.term)
        .bind(time.map(ToSqlx::to_sqlx))
        .bind(id.map_or(0, |id| id.0))
        .bind(CHUNK_ROWS)
        .bind(BatchId(Uuid::now_v7()));
    let led: Option<(Option<Lenient<SqlTimestamp>>, Option<RowId>)> =
        run_statement(database, async |session| query.fetch_optional(session).await)
            .await
            .map_err(OutboxError::failed_to("mark pending courses unconfirmed"))?;
    Ok(match led {
        Some((time, id)) => match time.zip(id) {
            // The marked rows are not pending any more, so a time that cannot be represented is not needed.
            Some((Lenient(time), id)) => {
                VerifyStep::Progress(time.map_or(after, |time| VerifyCursor(Some((time.to_jiff(), id)))))
            }
            None => VerifyStep::Complete,
        },
        None => VerifyStep::LeaseLost,
    })
}

/// Ends the pass: from now on pending courses may be claimed. False if this instance does not hold the lease any more.
///
/// Index: none; the table has one row.
pub async fn finish_verification(
    database: impl Into<DatabaseRef<'_>>,
    lease: Lease,
) -> Result<bool, OutboxError> {
    const FINISH: &str = "-- finish verification
        update course_sync_leader
           set verifying = false, alarm = null,
               -- Keeps the evidence as it is, also where the row's trigger is missing.
               written_by = case when written_by::xid = xmin then pg_current_xact_id() else written_by end
         where holder = $1 and term = $2 and expires_at > clock_timestamp()";
    let query = sqlx::query(FINISH).bind(lease.holder).bind(lease.term);
    let done = run_statement(database, async |session| query.execute(session).await)
        .await
        .map_err(OutboxError::failed_to("finish the verification of pending courses"))?;
    Ok(done.rows_affected() > 0)
}
