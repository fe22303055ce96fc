//! What was sent and never recorded, and what was recorded as unknown: finding it, and settling it
//! once HubSpot has been asked.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::OutboxError;
use super::database::{Reach, ask};
use super::lease::Lease;
use super::record::Columns;
use super::rows::{DoubtedRow, NeighboursRow};
use crate::course::Transition;
use crate::policy::batch::RowId;
use crate::policy::reconcile::{Doubted, Neighbours};

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
            returning batch_id, row_ids
        ), doubted as (
            update course_outbox o
               set status = 'unconfirmed',
                   doubts = o.doubts + 1,
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

/// Unconfirmed courses that are due for a look, oldest first. `unique_property` is what they would be looked
/// up by.
///
/// Served by `course_outbox_unconfirmed` and the primary key of `course_sync_batch`.
pub async fn due(
    database: impl Into<Reach<'_>>,
    unique_property: Option<&str>,
    limit: u16,
) -> Result<Vec<Doubted>, OutboxError> {
    const DUE: &str = "
        select o.id, o.batch_id, o.course_key, o.attempts, o.faults, o.doubts, o.error, o.created_at,
               coalesce(cardinality(b.row_ids), 0) as company,
               -- what was not sent under this property before cannot be found by it
               coalesce(b.operation <> 'create' or b.unique_property = $2, false) as carried_key
          from course_outbox o left join course_sync_batch b using (batch_id)
         where o.status = 'unconfirmed' and o.next_attempt_at <= now()
         order by o.next_attempt_at, o.id
         limit $1";
    let rows: Vec<DoubtedRow> = ask(database, async |session| {
        sqlx::query_as(DUE).bind(i64::from(limit)).bind(unique_property).fetch_all(session).await
    })
    .await
    .map_err(OutboxError::doing("find unconfirmed courses"))?;
    rows.into_iter().map(Doubted::try_from).collect()
}

/// How the create requests fared that went just before and just after each of these `batches`, with other
/// courses, within the hour. What HubSpot only put off says nothing, nor does a failure of courses that are
/// suspected themselves.
///
/// Served by the primary keys of `course_sync_batch`, whose identifiers grow with time, and `course_outbox`.
pub async fn neighbours(
    database: impl Into<Reach<'_>>,
    batches: &[Uuid],
) -> Result<HashMap<Uuid, Neighbours>, OutboxError> {
    const NEIGHBOURS: &str = "
        with telling as not materialized (
            select batch_id, row_ids, claimed_at, outcome in ('ok', 'partial', 'rejected') as is_pass
              from course_sync_batch n
             where operation = 'create' and outcome not in ('rate_limited', 'unauthorized')
               -- as earlier versions noted what was not sent
               and (outcome <> 'rejected' or http_status is not null)
               and (outcome in ('ok', 'partial', 'rejected')
                    or not exists (select from course_outbox o where o.id = any(n.row_ids) and o.batch_limit < 100))
        )
        select b.batch_id, count(*) filter (where is_pass) as passed, count(*) filter (where not is_pass) as failed
          from course_sync_batch b
         cross join lateral (
               (select is_pass, claimed_at from telling t
                 where t.batch_id < b.batch_id and not t.row_ids && b.row_ids order by t.batch_id desc limit 5)
               union all
               (select is_pass, claimed_at from telling t
                 where t.batch_id > b.batch_id and not t.row_ids && b.row_ids order by t.batch_id limit 5)) n
         where b.batch_id = any($1) and n.claimed_at between b.claimed_at - interval '1 hour' and now()
         group by b.batch_id";
    let rows: Vec<NeighboursRow> =
        ask(database, async |session| sqlx::query_as(NEIGHBOURS).bind(batches).fetch_all(session).await)
            .await
            .map_err(OutboxError::doing("find how other requests fared"))?;
    Ok(rows.into_iter().map(NeighboursRow::into_parts).collect())
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
                                 $9::float8[], $10::int[], $11::smallint[], $12::text[])
                as f (id, batch_id, status, hubspot_id, error, keeps_error, wait, fault, batch_limit, event)
        ), settled as (
            update course_outbox o
               set status = f.status,
                   hubspot_id = f.hubspot_id,
                   synced_at = case when f.status = 'synced' then now() end,
                   error = case when f.keeps_error then o.error else f.error end,
                   next_attempt_at = coalesce(now() + make_interval(secs => f.wait), o.next_attempt_at),
                   faults = o.faults + f.fault,
                   batch_limit = coalesce(f.batch_limit, o.batch_limit),
                   updated_at = now()
              from finding f
             where o.id = f.id and o.batch_id = f.batch_id and o.status = 'unconfirmed' and exists (select from lead)
            returning o.id, o.course_key, o.batch_id, o.error, f.event
        ), told as (
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
            .bind(&columns.events)
            .fetch_one(session)
            .await
    })
    .await
    .map_err(OutboxError::doing("settle unconfirmed courses"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Looks at these courses again later. Returns nothing: a row that was settled meanwhile is no loss.
///
/// Served by the primary key of `course_outbox`.
pub async fn look_later(
    database: impl Into<Reach<'_>>,
    rows: &[RowId],
    wait: Duration,
) -> Result<(), OutboxError> {
    const LATER: &str = "
        update course_outbox
           set next_attempt_at = now() + make_interval(secs => $2), updated_at = now()
         where id = any($1) and status = 'unconfirmed'";
    ask(database, async |session| {
        sqlx::query(LATER)
            .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
            .bind(wait.as_secs_f64())
            .execute(session)
            .await
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

/// Notes a request that creates nothing, so that the rate window remembers it. `send_window` is how
/// long it may take at most.
///
/// Served by the primary key of `course_sync_batch`.
pub async fn note_read(
    database: impl Into<Reach<'_>>,
    lease: Lease,
    request: Uuid,
    rows: &[RowId],
    send_window: Duration,
) -> Result<(), OutboxError> {
    const NOTE: &str = "
        insert into course_sync_batch (batch_id, operation, term, holder, row_ids, state, send_by)
        values ($1, 'read', $2, $3, $4, 'closed', now() + make_interval(secs => $5))";
    ask(database, async |session| {
        sqlx::query(NOTE)
            .bind(request)
            .bind(lease.term)
            .bind(lease.holder)
            .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
            .bind(send_window.as_secs_f64())
            .execute(session)
            .await
    })
    .await
    .map_err(OutboxError::doing("note a read"))?;
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
