//! What was sent and never recorded, and what was recorded as unknown: finding it, and settling it
//! once HubSpot has been asked.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use super::OutboxError;
use super::database::{Reach, ask};
use super::lease::Lease;
use super::record::{Columns, Ending};
use super::rows::{DoubtedRow, EvidenceRow};
use crate::course::{CourseError, HubSpotId, Transition};
use crate::policy::attribution::Evidence;
use crate::policy::batch::RowId;
use crate::policy::interpret::RequestOutcome;
use crate::policy::reconcile::Doubted;

/// Turns what other leaders, or dead tasks of this one, left in flight into unconfirmed, to be
/// looked up after `settle`. A request of this leader counts as dead `grace` after it must have ended.
/// Returns how many courses it were.
///
/// Served by `course_sync_batch_unsettled` and the primary key of `course_outbox`.
pub async fn orphan(
    database: impl Into<Reach<'_>>,
    lease: Lease,
    settle: Duration,
    grace: Duration,
) -> Result<u64, OutboxError> {
    const ORPHAN: &str = "
        with lead as materialized (
            select from course_sync_leader
             where holder = $2 and term = $1 and expires_at > clock_timestamp() for key share
        ), orphaned as (
            update course_sync_batch
               set state = 'unknown'
             where state = 'open' and exists (select from lead)
               and ((term, holder) is distinct from ($1, $2) or send_by < now() - make_interval(secs => $4))
            returning batch_id, row_ids, unique_property, claimed_at
        ), doubted as (
            update course_outbox o
               set status = 'unconfirmed',
                   doubts = o.doubts + 1,
                   doubt = 'unknown',
                   doubt_property = coalesce(o.doubt_property, b.unique_property),
                   doubted_since = coalesce(o.doubted_since, b.claimed_at),
                   next_attempt_at = now() + make_interval(secs => $3),
                   error = jsonb_build_object(
                       'category', 'unknown_outcome',
                       'message', 'it is not known whether HubSpot created this course: the instance that sent it '
                                  'stopped before it could record an answer',
                       'at', now()),
                   updated_at = now()
              from orphaned b
             where o.id = any(b.row_ids) and o.batch_id = b.batch_id and o.status = 'in_flight'
            returning o.id, o.course_key, o.batch_id, o.error
        ), told as (
            insert into course_sync_history (course_id, course_key, batch_id, event, error)
            select id, course_key, batch_id, 'unconfirmed', error from doubted
        )
        select count(*) from doubted";
    let count: i64 = ask(database, async |session| {
        sqlx::query_scalar(ORPHAN)
            .bind(lease.term)
            .bind(lease.holder)
            .bind(settle.as_secs_f64())
            .bind(grace.as_secs_f64())
            .fetch_one(session)
            .await
    })
    .await
    .map_err(OutboxError::doing("find the courses that a stopped instance left in flight"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Unconfirmed courses that are due for a look, oldest first. Those that no look-up can prove anything about are left
/// out, unless `blindly`: then they alone are given. `unique_property` is what a lost commit is looked up by: such a
/// course may have been sent by anyone.
///
/// Served by `course_outbox_unconfirmed` and the primary key of `course_sync_batch`.
pub async fn due(
    database: impl Into<Reach<'_>>,
    unique_property: Option<&str>,
    blindly: bool,
    limit: u16,
) -> Result<Vec<Doubted>, OutboxError> {
    const DUE: &str = "
        select * from (
            select o.id, o.batch_id, o.course_key, o.doubt, o.attempts, o.faults, o.doubts, o.error, o.created_at,
                   coalesce(o.doubt_property, case when b.operation <> 'create' then $2 end) as property,
                   coalesce(o.doubted_since, o.created_at) as doubted_since,
                   coalesce(b.claimed_at, o.updated_at) as sent_at,
                   -- a note about lost commits is no request
                   case when b.operation = 'create' then cardinality(b.row_ids) else 0 end as company,
                   o.suspected_at is not null as is_suspect, o.next_attempt_at
              from course_outbox o left join course_sync_batch b using (batch_id)
             where o.status = 'unconfirmed' and o.next_attempt_at <= now()) o
         where (property is null) = $3
         order by next_attempt_at, id
         limit $1";
    let rows: Vec<DoubtedRow> = ask(database, async |session| {
        sqlx::query_as(DUE)
            .bind(i64::from(limit))
            .bind(unique_property)
            .bind(blindly)
            .fetch_all(session)
            .await
    })
    .await
    .map_err(OutboxError::doing("find unconfirmed courses"))?;
    rows.into_iter().map(Doubted::try_from).collect()
}

/// How the create requests with other courses fared that were claimed last before and first after each of these
/// `batches`, among the 500 on either side.
///
/// Served by the primary key of `course_sync_batch`, whose identifiers grow with time.
pub async fn evidence(
    database: impl Into<Reach<'_>>,
    batches: &[Uuid],
) -> Result<HashMap<Uuid, Evidence>, OutboxError> {
    const EVIDENCE: &str = "
        select b.batch_id, b.passed is true as is_judged, cardinality(b.row_ids)::bigint as company,
               before.passed as before, after.passed as after
          from course_sync_batch b
          left join lateral (
               select passed from (
                   select passed, row_ids, batch_id from course_sync_batch n
                    where n.batch_id < b.batch_id order by n.batch_id desc limit 500) near
                where passed is not null and not row_ids && b.row_ids order by batch_id desc limit 1) before on true
          left join lateral (
               select passed from (
                   select passed, row_ids, batch_id from course_sync_batch n
                    where n.batch_id > b.batch_id order by n.batch_id limit 500) near
                where passed is not null and not row_ids && b.row_ids order by batch_id limit 1) after on true
         where b.batch_id = any($1)";
    let rows: Vec<EvidenceRow> =
        ask(database, async |session| sqlx::query_as(EVIDENCE).bind(batches).fetch_all(session).await)
            .await
            .map_err(OutboxError::doing("find how other requests fared"))?;
    Ok(rows.into_iter().map(EvidenceRow::into_parts).collect())
}

/// The last requests of the suspects that are due first.
///
/// Served by `course_outbox_suspects`.
pub async fn requests_of_suspects(database: impl Into<Reach<'_>>) -> Result<Vec<Uuid>, OutboxError> {
    const REQUESTS: &str = "
        select distinct batch_id from (
            select batch_id from course_outbox
             where status = 'pending' and suspected_at is not null and next_attempt_at <= now()
             order by next_attempt_at, id limit 100) due
         where batch_id is not null";
    ask(database, async |session| sqlx::query_scalar(REQUESTS).fetch_all(session).await)
        .await
        .map_err(OutboxError::doing("find the suspects that are due"))
}

/// Whether another course than this one is that record of HubSpot's. Asked for a record that was created at
/// `created_at`: its request was claimed within `reach` before it.
///
/// Served by `course_sync_batch_claimed_at` and the primary key of `course_outbox`.
pub async fn is_record_of_another(
    database: impl Into<Reach<'_>>,
    record: &HubSpotId,
    created_at: Timestamp,
    reach: Duration,
    course: RowId,
) -> Result<bool, OutboxError> {
    const TAKEN: &str = "
        select exists (
            select from course_sync_batch b join course_outbox o on o.id = any(b.row_ids)
             where b.claimed_at between $2 - make_interval(secs => $3) and $2 + make_interval(secs => $3)
               and b.operation = 'create' and o.hubspot_id = $1 and o.id <> $4)";
    ask(database, async |session| {
        sqlx::query_scalar(TAKEN)
            .bind(record.as_str())
            .bind(created_at.to_sqlx())
            .bind(reach.as_secs_f64())
            .bind(course.0)
            .fetch_one(session)
            .await
    })
    .await
    .map_err(OutboxError::doing("find whose record it is"))
}

/// A doubted course's row, the batch it was sent in, and what becomes of it.
pub type Settled = (RowId, Uuid, Transition);

/// Settles doubts. Guarded by the lease, because it decides; and by batch and status, because the
/// answer itself may have arrived meanwhile. Returns how many rows were still in doubt.
///
/// Served by the primary key of `course_outbox`.
pub async fn settle(
    database: impl Into<Reach<'_>>,
    lease: Lease,
    settled: &[Settled],
) -> Result<u64, OutboxError> {
    const SETTLE: &str = "
        with lead as materialized (
            select from course_sync_leader
             where holder = $1 and term = $2 and expires_at > clock_timestamp() for key share
        ), finding as (
            select * from unnest($3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::jsonb[], $8::bool[],
                                 $9::float8[], $10::int[], $11::smallint[], $12::bool[], $13::text[], $14::text[])
                as f (id, batch_id, status, hubspot_id, error, keeps_error, wait, fault, batch_limit, is_suspect, doubt,
                      event)
        ), settled as (
            update course_outbox o
               set status = f.status,
                   hubspot_id = f.hubspot_id,
                   synced_at = case when f.status = 'synced' then now() end,
                   error = case when f.keeps_error then o.error else f.error end,
                   next_attempt_at = coalesce(now() + make_interval(secs => f.wait), o.next_attempt_at),
                   faults = o.faults + f.fault,
                   batch_limit = coalesce(f.batch_limit, o.batch_limit),
                   suspected_at = case when f.is_suspect then now() else o.suspected_at end,
                   doubt = f.doubt,
                   updated_at = now()
              from finding f
             where o.id = f.id and o.batch_id = f.batch_id and o.status = 'unconfirmed' and exists (select from lead)
            returning o.id, o.course_key, o.batch_id, o.error, f.event
        ), history as (
            insert into course_sync_history (course_id, course_key, batch_id, event, error)
            select id, course_key, batch_id, event, error from settled where event is not null
        )
        select count(*) from settled";
    let columns = Columns::of(&settled.iter().map(|(id, _, to)| (*id, to.clone())).collect::<Vec<_>>());
    let batches: Vec<Uuid> = settled.iter().map(|(_, batch, _)| *batch).collect();
    let count: i64 = ask(database, async |session| {
        sqlx::query_scalar(SETTLE)
            .bind(lease.holder)
            .bind(lease.term)
            .bind(&columns.ids)
            .bind(&batches)
            .bind(&columns.statuses)
            .bind(&columns.hubspot_ids)
            .bind(&columns.errors)
            .bind(&columns.keeps_error)
            .bind(&columns.waits)
            .bind(&columns.faults)
            .bind(&columns.batch_limits)
            .bind(&columns.suspects)
            .bind(&columns.doubts)
            .bind(&columns.events)
            .fetch_one(session)
            .await
    })
    .await
    .map_err(OutboxError::doing("settle unconfirmed courses"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// A doubt that remains: when to look again, and why it could not be settled, where that is to be shown.
#[derive(Debug, Clone)]
pub struct Remaining {
    /// The row.
    pub id: RowId,
    /// How long to wait.
    pub wait: Duration,
    /// What is shown in the row's error; `None` keeps it.
    pub error: Option<CourseError>,
}

/// Looks at these courses again later. A row that was settled meanwhile is no loss.
///
/// Served by the primary key of `course_outbox`.
pub async fn look_later(database: impl Into<Reach<'_>>, remaining: &[Remaining]) -> Result<(), OutboxError> {
    const LATER: &str = "
        update course_outbox o
           set next_attempt_at = now() + make_interval(secs => r.wait), error = coalesce(r.error, o.error),
               updated_at = now()
          from unnest($1::bigint[], $2::float8[], $3::jsonb[]) as r (id, wait, error)
         where o.id = r.id and o.status = 'unconfirmed'";
    let ids: Vec<i64> = remaining.iter().map(|it| it.id.0).collect();
    let waits: Vec<f64> = remaining.iter().map(|it| it.wait.as_secs_f64()).collect();
    let error = |it: &Remaining| it.error.as_ref().and_then(|error| serde_json::to_value(error).ok());
    let errors: Vec<Option<serde_json::Value>> = remaining.iter().map(error).collect();
    ask(database, async |session| {
        sqlx::query(LATER).bind(&ids).bind(&waits).bind(&errors).execute(session).await
    })
    .await
    .map_err(OutboxError::doing("put off unconfirmed courses"))?;
    Ok(())
}

/// Closes the journal of requests none of whose courses is in doubt any more.
///
/// Served by `course_sync_batch_unsettled` and the primary key of `course_outbox`.
pub async fn close(database: impl Into<Reach<'_>>) -> Result<(), OutboxError> {
    const CLOSE: &str = "
        update course_sync_batch b
           set state = 'closed'
         where b.state = 'unknown'
           and not exists (select from course_outbox o
                            where o.id = any(b.row_ids) and o.batch_id = b.batch_id
                              and o.status in ('in_flight', 'unconfirmed'))";
    ask(database, async |session| sqlx::query(CLOSE).execute(session).await)
        .await
        .map_err(OutboxError::doing("close settled requests"))?;
    Ok(())
}

/// What a request is for that creates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Looking doubts up.
    Read,
    /// Reading something about the account.
    Account,
}

/// Notes a request that creates nothing, so that the rate window remembers it. `send_window` is how
/// long it may take at most.
///
/// Served by the primary key of `course_sync_batch`.
pub async fn note_question(
    database: impl Into<Reach<'_>>,
    lease: Lease,
    request: Uuid,
    question: Question,
    rows: &[RowId],
    send_window: Duration,
) -> Result<(), OutboxError> {
    const NOTE: &str = "
        insert into course_sync_batch (batch_id, operation, term, holder, row_ids, state, send_by)
        values ($1, $6, $2, $3, $4, 'closed', now() + make_interval(secs => $5))";
    let operation = match question {
        Question::Read => "read",
        Question::Account => "schema",
    };
    ask(database, async |session| {
        sqlx::query(NOTE)
            .bind(request)
            .bind(lease.term)
            .bind(lease.holder)
            .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
            .bind(send_window.as_secs_f64())
            .bind(operation)
            .execute(session)
            .await
    })
    .await
    .map_err(OutboxError::doing("note a request"))?;
    Ok(())
}

/// Notes how such a request ended, so that a takeover counts it for no longer than a window after its end.
///
/// Served by the primary key of `course_sync_batch`.
pub async fn note_answer(
    database: impl Into<Reach<'_>>,
    request: Uuid,
    ending: &Ending,
) -> Result<(), OutboxError> {
    const ANSWER: &str = "
        update course_sync_batch
           set answered_at = now(), outcome = $2, http_status = $3, correlation_id = $4
         where batch_id = $1";
    ask(database, async |session| {
        sqlx::query(ANSWER)
            .bind(request)
            .bind(ending.outcome.map(RequestOutcome::as_str))
            .bind(ending.http_status.map(i32::from))
            .bind(ending.correlation_id.as_deref())
            .execute(session)
            .await
    })
    .await
    .map_err(OutboxError::doing("note how a request ended"))?;
    Ok(())
}

/// When the requests that others sent within the last `reach` give their permit back: from now until
/// each does, counting `window` from its end, or from the latest end it can have.
///
/// Served by `course_sync_batch_claimed_at`.
pub async fn recent_requests(
    database: impl Into<Reach<'_>>,
    me: Uuid,
    reach: Duration,
    window: Duration,
) -> Result<Vec<Duration>, OutboxError> {
    const RECENT: &str = "
        select extract(epoch from coalesce(answered_at, send_by) + make_interval(secs => $2) - clock_timestamp())::float8
          from course_sync_batch
         where claimed_at > now() - make_interval(secs => $1) and holder <> $3
           -- what ended without an outcome was never sent
           and (answered_at is null or outcome is not null)";
    let seconds: Vec<f64> = ask(database, async |session| {
        sqlx::query_scalar(RECENT)
            .bind(reach.as_secs_f64())
            .bind(window.as_secs_f64())
            .bind(me)
            .fetch_all(session)
            .await
    })
    .await
    .map_err(OutboxError::doing("read the requests of the last window"))?;
    Ok(seconds.into_iter().filter_map(|left| Duration::try_from_secs_f64(left).ok()).collect())
}
