//! The journal of requests, `course_sync_batch`, except for what is written together with the courses' rows. This file
//! covers requests that create nothing, the end of a request whose courses are all settled, and the requests that a
//! takeover must count.

use std::time::Duration;

use crate::course::{BatchId, InstanceId, RowId};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::lease::Lease;
use crate::outbox::record::RequestEnd;

/// Closes the requests in the journal whose courses are all settled.
///
/// Index: `course_sync_batch_unsettled` and the primary key of `course_outbox`.
pub async fn close_settled_batches(database: impl Into<DatabaseRef<'_>>) -> Result<(), OutboxError> {
    const CLOSE: &str = "-- close settled batches
        update course_sync_batch b
           set state = 'closed'
         where b.state = 'unknown'
           -- A course that was claimed again since is part of another request.
           and not exists (select from course_outbox o
                            where o.id = any(b.row_ids) and o.batch_id = b.batch_id
                              and o.status in ('in_flight', 'unconfirmed'))";
    run_statement(database, async |session| sqlx::query(CLOSE).execute(session).await)
        .await
        .map_err(OutboxError::failed_to("close settled requests"))?;
    Ok(())
}

/// The purpose of a request that creates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadPurpose {
    /// Look up unconfirmed courses.
    Lookup,
    /// Read something about the account.
    Account,
}

/// Records a request that creates nothing before it is sent, so that the quota counts it after a restart.
/// `send_window` is the longest time that it may take.
///
/// Index: the primary key of `course_sync_batch`.
pub async fn record_read_start(
    database: impl Into<DatabaseRef<'_>>,
    lease: Lease,
    request: BatchId,
    purpose: ReadPurpose,
    rows: &[RowId],
    send_window: Duration,
) -> Result<(), OutboxError> {
    const RECORD_START: &str = "-- record read start
        insert into course_sync_batch (batch_id, operation, term, holder, row_ids, state, send_by)
        values ($1, $6, $2, $3, $4, 'closed', now() + make_interval(secs => $5))";
    let operation = match purpose {
        ReadPurpose::Lookup => "read",
        ReadPurpose::Account => "schema",
    };
    run_statement(database, async |session| {
        sqlx::query(RECORD_START)
            .bind(request)
            .bind(lease.term)
            .bind(lease.holder)
            .bind(rows)
            .bind(send_window.as_secs_f64())
            .bind(operation)
            .execute(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("record a read request"))?;
    Ok(())
}

/// Records how such a request ended, so that a new leader counts it for no longer than a window after its end.
///
/// Index: the primary key of `course_sync_batch`.
pub async fn record_read_end(
    database: impl Into<DatabaseRef<'_>>,
    request: BatchId,
    end: &RequestEnd,
) -> Result<(), OutboxError> {
    const RECORD_END: &str = "-- record read end
        update course_sync_batch
           set answered_at = now(), outcome = $2, http_status = $3, correlation_id = $4
         where batch_id = $1";
    run_statement(database, async |session| {
        sqlx::query(RECORD_END)
            .bind(request)
            .bind(end.outcome.map(RequestOutcome::as_str))
            .bind(end.http_status.map(i32::from))
            .bind(end.correlation_id.as_deref())
            .execute(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("record the end of a read request"))?;
    Ok(())
}

/// For each request that other instances sent within the last `reach`: how long it still counts towards the quota. It
/// counts until `window` after its end, or after the latest end that it can have, but never for longer than `reach`: if
/// the database's clock was set back, these times are in the future.
///
/// Index: `course_sync_batch_claimed_at`.
pub async fn recent_requests(
    database: impl Into<DatabaseRef<'_>>,
    instance: InstanceId,
    reach: Duration,
    window: Duration,
) -> Result<Vec<Duration>, OutboxError> {
    const RECENT: &str = "-- recent requests
        select extract(epoch from coalesce(answered_at, send_by) + make_interval(secs => $2) - clock_timestamp())::float8
          from course_sync_batch
         where claimed_at > now() - make_interval(secs => $1) and holder <> $3
           -- A request that ended without an outcome was never sent.
           and (answered_at is null or outcome is not null)";
    let seconds: Vec<f64> = run_statement(database, async |session| {
        sqlx::query_scalar(RECENT)
            .bind(reach.as_secs_f64())
            .bind(window.as_secs_f64())
            .bind(instance)
            .fetch_all(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("read the requests of the last window"))?;
    let left = seconds.into_iter().filter_map(|left| Duration::try_from_secs_f64(left).ok());
    Ok(left.map(|left| left.min(reach)).collect())
}
