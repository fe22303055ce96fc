//! Unconfirmed courses: marks courses that were sent but never recorded, finds those that are due for a look-up, and
//! records what the look-up showed.

use std::time::Duration;

use crate::course::{BatchId, CourseError, RowId, Transition, UnconfirmedCourse};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::lease::Lease;
use crate::outbox::record::TransitionColumns;
use crate::outbox::rows::UnconfirmedRow;

/// Marks as unconfirmed what other leaders, or dead tasks of this one, left in flight. It is looked up after `settle`.
/// A request of this leader counts as dead `grace` after the latest time at which it can have ended. Returns the number
/// of courses.
///
/// Index: `course_sync_batch_unsettled` and the primary key of `course_outbox`.
pub async fn mark_orphans_unconfirmed(
    database: impl Into<DatabaseRef<'_>>,
    lease: Lease,
    settle: Duration,
    grace: Duration,
) -> Result<u64, OutboxError> {
    const ORPHAN: &str = "-- mark orphans unconfirmed
        with lead as materialized (
            -- Only the leader decides; the lock makes a takeover wait for this decision.
            select from course_sync_leader
             where holder = $2 and term = $1 and expires_at > clock_timestamp() for key share
        ), orphaned as (
            -- Open requests whose sender cannot record a result any more. The journal keeps them as unknown until
            -- each of their courses is settled. If their rows were deleted, nothing is left to settle.
            update course_sync_batch b
               set state = case when exists (select from course_outbox o
                                              where o.id = any(b.row_ids) and o.batch_id = b.batch_id
                                                and o.status in ('in_flight', 'unconfirmed'))
                                then 'unknown' else 'closed' end
             where state = 'open' and exists (select from lead)
               and ((term, holder) is distinct from ($1, $2) or send_by < now() - make_interval(secs => $4))
            returning batch_id, row_ids, unique_property, claimed_at
        ), doubted as (
            -- A course whose result was recorded after all is no longer in flight and stays as it is.
            update course_outbox o
               set status = 'unconfirmed',
                   doubts = o.doubts + 1,
                   doubt = 'unknown',
                   -- The first doubt counts: a HubSpot record that is older than it cannot be this course.
                   doubt_property = coalesce(o.doubt_property, b.unique_property),
                   doubted_since = coalesce(o.doubted_since, b.claimed_at),
                   next_attempt_at = now() + make_interval(secs => $3),
                   error = jsonb_build_object(
                       'category', 'unknown_outcome',
                       'message', 'it is not known whether HubSpot created this course: the instance that sent it '
                                  'stopped before it recorded the result',
                       'at', now()),
                   updated_at = now()
              from orphaned b
             where o.id = any(b.row_ids) and o.batch_id = b.batch_id and o.status = 'in_flight'
            returning o.id, o.course_key, o.batch_id, o.error
        ), history as (
            insert into course_sync_history (course_id, course_key, batch_id, event, error)
            select id, course_key, batch_id, 'unconfirmed', error from doubted
        )
        select count(*) from doubted";
    let count: i64 = run_statement(database, async |session| {
        sqlx::query_scalar(ORPHAN)
            .bind(lease.term)
            .bind(lease.holder)
            .bind(settle.as_secs_f64())
            .bind(grace.as_secs_f64())
            .fetch_one(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("find the courses that a stopped instance left in flight"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Unconfirmed courses that are due for a look-up, oldest first.
#[derive(Debug)]
pub struct DueLookups {
    /// The courses.
    pub courses: Vec<UnconfirmedCourse>,
    /// Rows that cannot be parsed. The caller postpones them, so that they do not take the places of others.
    pub unreadable: Vec<(RowId, OutboxError)>,
}

/// Unconfirmed courses that are due for a look-up, oldest first. Courses that cannot be looked up, because no unique
/// property carried their key, are left out; with `unprovable`, only they are returned. `unique_property` serves
/// courses that are unconfirmed because commits may be lost: there the property of their request is not known.
///
/// Index: `course_outbox_unconfirmed` and the primary key of `course_sync_batch`.
pub async fn due_lookups(
    database: impl Into<DatabaseRef<'_>>,
    unique_property: Option<&str>,
    unprovable: bool,
    limit: u16,
) -> Result<DueLookups, OutboxError> {
    const DUE: &str = "-- due look-ups
        select * from (
            select o.id, o.batch_id, o.course_key, o.doubt, o.attempts, o.faults, o.doubts, o.error, o.created_at,
                   coalesce(o.doubt_property, case when b.operation <> 'create' then $2 end) as property,
                   coalesce(o.doubted_since, o.created_at) as doubted_since,
                   coalesce(b.claimed_at, o.updated_at) as sent_at,
                   -- The entry that marks a verification after lost commits is no request.
                   case when b.operation = 'create' then cardinality(b.row_ids) else 0 end as batch_size,
                   o.suspected_at is not null as is_suspect, o.next_attempt_at
              from course_outbox o left join course_sync_batch b using (batch_id)
             where o.status = 'unconfirmed' and o.next_attempt_at <= now()) o
         where (property is null) = $3
         order by next_attempt_at, id
         limit $1";
    let rows: Vec<UnconfirmedRow> = run_statement(database, async |session| {
        sqlx::query_as(DUE)
            .bind(i64::from(limit))
            .bind(unique_property)
            .bind(unprovable)
            .fetch_all(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("find unconfirmed courses"))?;
    let mut due = DueLookups { courses: Vec::with_capacity(rows.len()), unreadable: Vec::new() };
    for row in rows {
        let id = row.id;
        match UnconfirmedCourse::try_from(row) {
            Ok(course) => due.courses.push(course),
            Err(error) => due.unreadable.push((id, error)),
        }
    }
    Ok(due)
}

/// The row of an unconfirmed course, the batch in which it was sent, and the transition that settles it.
pub type SettledCourse = (RowId, BatchId, Transition);

/// Records what look-ups showed about unconfirmed courses. Guarded by the lease, because it is a decision, and by batch
/// and status, because the response itself may have been recorded meanwhile. Returns the number of rows that were still
/// unconfirmed.
///
/// Index: the primary key of `course_outbox`.
pub async fn settle_unconfirmed(
    database: impl Into<DatabaseRef<'_>>,
    lease: Lease,
    settled: &[SettledCourse],
) -> Result<u64, OutboxError> {
    // Parameters: 1 holder, 2 term, 3 to 14 the columns of the transitions.
    const SETTLE: &str = "-- settle unconfirmed
        with lead as materialized (
            -- Only the leader decides; the lock makes a takeover wait for this decision.
            select from course_sync_leader
             where holder = $1 and term = $2 and expires_at > clock_timestamp() for key share
        ), finding as (
            select * from unnest($3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::jsonb[], $8::bool[],
                                 $9::float8[], $10::int[], $11::smallint[], $12::bool[], $13::text[], $14::text[])
                as f (id, batch_id, status, hubspot_id, error, keeps_error, wait, fault, batch_limit, is_suspect, doubt,
                      event)
        ), settled as (
            -- The course may have been sent again meanwhile, under another batch: then this result is stale.
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
    let columns = TransitionColumns::from_transitions(
        &settled.iter().map(|(id, _, to)| (*id, to.clone())).collect::<Vec<_>>(),
    );
    let batches: Vec<BatchId> = settled.iter().map(|(_, batch, _)| *batch).collect();
    let count: i64 = run_statement(database, async |session| {
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
    .map_err(OutboxError::failed_to("settle unconfirmed courses"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// A look-up that settled nothing: when to look up again, and why it settled nothing, if that is to be shown.
#[derive(Debug, Clone)]
pub struct PostponedLookup {
    /// The row.
    pub id: RowId,
    /// How long to wait until the next look-up.
    pub wait: Duration,
    /// The row's new error; `None` keeps the present one.
    pub error: Option<CourseError>,
}

/// Postpones the look-up of these courses. A row that was settled meanwhile stays as it is.
///
/// Index: the primary key of `course_outbox`.
pub async fn postpone_lookups(
    database: impl Into<DatabaseRef<'_>>,
    postponed: &[PostponedLookup],
) -> Result<(), OutboxError> {
    const POSTPONE: &str = "-- postpone look-ups
        update course_outbox o
           set next_attempt_at = now() + make_interval(secs => r.wait), error = coalesce(r.error, o.error),
               updated_at = now()
          from unnest($1::bigint[], $2::float8[], $3::jsonb[]) as r (id, wait, error)
         where o.id = r.id and o.status = 'unconfirmed'";
    let ids: Vec<RowId> = postponed.iter().map(|it| it.id).collect();
    let waits: Vec<f64> = postponed.iter().map(|it| it.wait.as_secs_f64()).collect();
    let errors: Vec<Option<serde_json::Value>> = postponed
        .iter()
        .map(|it| it.error.as_ref().and_then(|error| serde_json::to_value(error).ok()))
        .collect();
    run_statement(database, async |session| {
        sqlx::query(POSTPONE).bind(&ids).bind(&waits).bind(&errors).execute(session).await
    })
    .await
    .map_err(OutboxError::failed_to("postpone the look-up of unconfirmed courses"))?;
    Ok(())
}
