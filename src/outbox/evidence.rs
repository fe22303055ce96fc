//! Reads from the journal how other requests ended: the evidence that shows what caused a failure.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;

use crate::course::{BatchId, HubSpotId, RowId};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::rows::EvidenceRow;
use crate::policy::attribution::Evidence;

/// The evidence about each of these `batches`: whether the nearest requests of the same operation with other courses passed,
/// one claimed before and one claimed after it, among the 500 on either side. Other operations show nothing: HubSpot may refuse all
/// updates and still create courses.
///
/// Index: the primary key of `course_sync_batch`, whose ids sort by time.
pub async fn load_evidence(
    database: impl Into<DatabaseRef<'_>>,
    batches: &[BatchId],
) -> Result<HashMap<BatchId, Evidence>, OutboxError> {
    // `limit 500` bounds the scan in a long outage, where many requests in a row share courses or show nothing.
    const EVIDENCE: &str = "-- evidence
        select b.batch_id, b.passed is true as is_judged, cardinality(b.row_ids)::bigint as batch_size,
               before.passed as before, after.passed as after
          from course_sync_batch b
          left join lateral (
               -- Requests with a course of this one are no evidence: the same course may have failed them.
               select passed from (
                   select passed, operation, row_ids, batch_id from course_sync_batch n
                    where n.batch_id < b.batch_id order by n.batch_id desc limit 500) near
                where passed is not null and operation = b.operation and not row_ids && b.row_ids
                order by batch_id desc limit 1) before on true
          left join lateral (
               select passed from (
                   select passed, operation, row_ids, batch_id from course_sync_batch n
                    where n.batch_id > b.batch_id order by n.batch_id limit 500) near
                where passed is not null and operation = b.operation and not row_ids && b.row_ids
                order by batch_id limit 1) after on true
         where b.batch_id = any($1)";
    let rows: Vec<EvidenceRow> = run_statement(database, async |session| {
        sqlx::query_as(EVIDENCE).bind(batches).fetch_all(session).await
    })
    .await
    .map_err(OutboxError::failed_to("read the results of other requests"))?;
    Ok(rows.into_iter().map(EvidenceRow::into_entry).collect())
}

/// The last requests of the suspects that are due first.
///
/// Index: `course_outbox_suspects` and `course_sync_batch_open`.
pub async fn requests_of_due_suspects(
    database: impl Into<DatabaseRef<'_>>,
) -> Result<Vec<BatchId>, OutboxError> {
    const REQUESTS: &str = "-- requests of due suspects
        select distinct batch_id from (
            select batch_id from course_outbox
             where status = 'pending' and suspected_at is not null and next_attempt_at <= now()
               and id not in (select id from course_sync_in_flight())
             order by next_attempt_at, id limit 100) due
         where batch_id is not null";
    run_statement(database, async |session| sqlx::query_scalar(REQUESTS).fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("find the suspects that are due"))
}

/// Whether the outbox assigns this HubSpot record to another course. For a record that HubSpot created at `created_at`:
/// the request that created it was claimed within `reach` of that time.
///
/// Index: `course_sync_batch_claimed_at` and the primary key of `course_outbox`.
pub async fn is_record_of_another_course(
    database: impl Into<DatabaseRef<'_>>,
    record: &HubSpotId,
    created_at: Timestamp,
    reach: Duration,
    course: RowId,
) -> Result<bool, OutboxError> {
    const IS_TAKEN: &str = "-- is record of another course
        select exists (
            select from course_sync_batch b join course_outbox o on o.id = any(b.row_ids)
             where b.claimed_at between $2 - make_interval(secs => $3) and $2 + make_interval(secs => $3)
               and b.operation = 'create' and o.hubspot_id = $1 and o.id <> $4)";
    run_statement(database, async |session| {
        sqlx::query_scalar(IS_TAKEN)
            .bind(record.as_str())
            .bind(created_at.to_sqlx())
            .bind(reach.as_secs_f64())
            .bind(course)
            .fetch_one(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("find the course that holds a record"))
}
