//! Unconfirmed courses: marks courses that were sent but never recorded, finds those that are due for a look-up, and
//! records what the look-up showed.

use std::time::Duration;

use crate::course::{BatchId, CourseError, RowId, Transition, UnconfirmedCourse};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;
use crate::outbox::lease::Lease;
use crate::outbox::record::TransitionColumns;
use crate::outbox::rows::UnconfirmedRow;

/// The statement of [`mark_orphans_unconfirmed`]. Parameters: 1 term, 2 holder, 3 settle and 4 grace in seconds, 5 only these
/// courses.
const ORPHAN: &str = "-- mark orphans unconfirmed
    with lead as materialized (
        -- Only the leader decides; the lock makes a takeover wait for this decision.
        select from course_sync_leader
         where holder = $2 and term = $1 and expires_at > clock_timestamp() for key share
    ), orphaned as materialized (
        -- Open requests whose sender cannot record a result any more. Locked, so that a result which is recorded at
        -- this moment is either seen here or finds the request closed.
        select batch_id, operation, row_ids, revisions, recorded, unique_property, claimed_at from course_sync_batch
         where state = 'open' and exists (select from lead)
           and ((term, holder) is distinct from ($1, $2) or send_by < now() - make_interval(secs => $4))
           for no key update
    ), in_flight as materialized (
        -- Their courses without an outcome. In requests of an earlier version, the row says whether it has one.
        select b.batch_id, b.operation, b.unique_property, b.claimed_at, c.id,
               case when b.revisions is null then 'in_flight' else 'pending' end as status
          from orphaned b cross join lateral unnest(b.row_ids, b.revisions) as c (id, revision)
         where c.id <> all (b.recorded)
    ), free as materialized (
        -- A row that another session holds stays in flight until the next pass.
        select o.id from course_outbox o join in_flight f using (id)
         where o.status = f.status and (f.status = 'pending' or o.batch_id = f.batch_id)
           -- The archive of a course without a record needs no request.
           and (f.operation = 'create' or o.hubspot_id is not null)
           and ($5::bigint[] is null or o.id = any($5))
           for no key update of o skip locked
    ), doubted as (
        update course_outbox o
           set status = 'unconfirmed',
               -- A row of an earlier version has counted the attempt already.
               attempts = o.attempts + (o.status = 'pending')::int,
               batch_id = f.batch_id,
               doubts = o.doubts + (f.operation = 'create')::int,
               doubt = case f.operation when 'create' then 'unknown' else 'change' end,
               -- The first doubt counts: a HubSpot record that is older than it cannot be this course.
               doubt_property = case f.operation when 'create' then coalesce(o.doubt_property, f.unique_property)
                                                 else o.doubt_property end,
               doubted_since = case f.operation when 'create' then coalesce(o.doubted_since, f.claimed_at)
                                                else o.doubted_since end,
               next_attempt_at = now() + make_interval(secs => $3),
               error = jsonb_build_object(
                   'category', 'unknown_outcome',
                   'message', 'it is not known whether HubSpot ' || f.operation || 'd this course: the instance that sent it '
                              'stopped before it recorded the result',
                   'at', now()),
               updated_at = now()
          from in_flight f
         where o.id = f.id and o.id in (select id from free)
        returning o.id, o.course_key, o.batch_id, o.error
    ), waiting as materialized (
        -- Courses that could not be marked.
        select batch_id, id from in_flight f
         where id not in (select id from doubted)
           and (select o.status = f.status and (f.status = 'pending' or o.batch_id = f.batch_id)
                       and (f.operation = 'create' or o.hubspot_id is not null)
                  from course_outbox o where o.id = f.id)
    ), journal as (
        -- A request stays unknown until each of its courses is settled. If their rows were deleted, nothing is left.
        update course_sync_batch b
           set state = case when exists (select from waiting w where w.batch_id = b.batch_id) then 'open'
                            when exists (select from doubted d where d.batch_id = b.batch_id) or b.recorded <> '{}'
                                 -- An expression: see `settle_unconfirmed`.
                                 or exists (select from course_outbox o where o.id = any(b.row_ids) and o.batch_id = b.batch_id
                                               and case o.status when 'unconfirmed' then true else false end) then 'unknown'
                            else 'closed' end,
               recorded = case when exists (select from waiting w where w.batch_id = b.batch_id)
                               then array(select unnest(b.row_ids) except
                                          select w.id from waiting w where w.batch_id = b.batch_id order by 1)
                               else '{}' end
          from orphaned where b.batch_id = orphaned.batch_id
    ), history as (
        insert into course_sync_history (course_id, course_key, batch_id, event, error)
        select id, course_key, batch_id, 'unconfirmed', error from doubted on conflict do nothing
    )
    select count(*) from doubted";

/// Marks as unconfirmed what other leaders, or dead tasks of this one, left in flight. It is looked up after `settle`.
/// A request of this leader counts as dead `grace` after the latest time at which it can have ended. Returns the number
/// of courses. A row that another session holds stays in flight until the next call. `only`: only these courses.
///
/// Index: `course_sync_batch_unsettled` and the primary key of `course_outbox`.
pub async fn mark_orphans_unconfirmed(
    database: impl Into<DatabaseRef<'_>>,
    lease: Lease,
    settle: Duration,
    grace: Duration,
    only: Option<&[RowId]>,
) -> Result<u64, OutboxError> {
    let count: i64 = run_statement(database, async |session| {
        sqlx::query_scalar(ORPHAN)
            .bind(lease.term)
            .bind(lease.holder)
            .bind(settle.as_secs_f64())
            .bind(grace.as_secs_f64())
            .bind(only)
            .fetch_one(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("mark the courses that a stopped instance left in flight"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// A course that a stopped instance left in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanedCourse {
    /// The row.
    pub id: RowId,
    /// The catalogue's identifier.
    pub key: String,
}

impl_from_row!(OrphanedCourse { id, key });

/// The courses that [`mark_orphans_unconfirmed`] would mark.
///
/// Index: `course_sync_batch_unsettled` and the primary key of `course_outbox`.
pub async fn orphaned_courses(
    database: impl Into<DatabaseRef<'_>>,
    lease: Lease,
    grace: Duration,
) -> Result<Vec<OrphanedCourse>, OutboxError> {
    const ORPHANED: &str = "-- orphaned courses
        select o.id, o.course_key as key
          from course_sync_batch b join course_sync_in_flight() f using (batch_id) join course_outbox o on o.id = f.id
         where b.state = 'open'
           and ((b.term, b.holder) is distinct from ($1, $2) or b.send_by < now() - make_interval(secs => $3))
         order by o.id";
    let query = sqlx::query_as(ORPHANED).bind(lease.term).bind(lease.holder).bind(grace.as_secs_f64());
    run_statement(database, async |session| query.fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("find the courses that a stopped instance left in flight"))
}

/// Unconfirmed courses that are due for a look-up, oldest first.
#[derive(Debug)]
pub struct DueLookups {
    /// The courses.
    pub courses: Vec<UnconfirmedCourse>,
    /// Rows that cannot be parsed. The caller postpones them, so that they do not take the places of others.
    pub unreadable: Vec<(RowId, OutboxError)>,
}

/// Unconfirmed courses that are due for a look-up, oldest first, except rows that another session holds. Courses that cannot
/// be looked up, because no unique property carried their key, are left out; with `unprovable`, only they are returned. `unique_property` serves
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
        select o.id, o.batch_id, o.course_key, o.archived as is_archived, o.doubt, o.attempts, o.faults, o.doubts, o.error,
               coalesce(o.offered_at, o.created_at) as created_at,
               coalesce(o.doubt_property, case when b.operation <> 'create' then $2 end) as property,
               coalesce(o.doubted_since, o.offered_at, o.created_at) as doubted_since,
               coalesce(b.claimed_at, o.updated_at) as sent_at,
               -- The entry that marks a verification after lost commits is no request.
               case when b.operation = 'create' then cardinality(b.row_ids) else 0 end as batch_size,
               o.suspected_at is not null as is_suspect
          from course_outbox o left join course_sync_batch b using (batch_id)
         where o.status = 'unconfirmed' and o.next_attempt_at <= now() and o.doubt is distinct from 'change'
           and (coalesce(o.doubt_property, case when b.operation <> 'create' then $2 end) is null) = $3
         order by o.next_attempt_at, o.id
         limit $1
           -- A row that another session holds could not be settled, and would be looked up again and again.
           for no key update of o skip locked";
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
/// and status, because the response itself may have been recorded meanwhile. A row that another session holds is left out.
/// Returns the number of rows that were settled.
///
/// Index: the primary keys of `course_outbox` and `course_sync_batch`.
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
            select f.*, b.operation,
                   -- The look-up before an archive: it came when no earlier request could be executed any more.
                   b.operation is not distinct from 'archive' and f.status <> 'unconfirmed' as ends_doubts
              from unnest($3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::jsonb[], $8::bool[],
                          $9::float8[], $10::int[], $11::smallint[], $12::bool[], $13::text[], $14::text[])
                as f (id, batch_id, status, hubspot_id, error, keeps_error, wait, fault, batch_limit, is_suspect, doubt,
                      event)
              left join course_sync_batch b using (batch_id)
        ), free as materialized (
            -- Rows that another session holds are left out.
            select id from course_outbox where id = any($3) for no key update skip locked
        ), settled as (
            -- The course may have been sent again meanwhile, under another batch: then this result is stale.
            update course_outbox o
               set status = f.status,
                   hubspot_id = coalesce(f.hubspot_id, o.hubspot_id),
                   synced_at = case when f.status = 'synced' then now() else o.synced_at end,
                   -- If the course has changed since it was enqueued, or HubSpot had the record before the last request, it is
                   -- not known which revision the record holds: it is updated.
                   synced_revision = case when f.status = 'archived' and o.archived then o.revision
                                          when f.status = 'archived' then least(coalesce(o.synced_revision, 0), o.revision - 1)
                                          when f.status <> 'synced' then o.synced_revision
                                          when o.hubspot_properties is not null or o.doubt = 'conflict' or o.archived
                                            or f.operation = 'read' then 0
                                          else coalesce(course_sync_sent_revision(f.batch_id, f.id), o.revision) end,
                   error = case when f.keeps_error then o.error else f.error end,
                   next_attempt_at = coalesce(now() + make_interval(secs => f.wait), o.next_attempt_at),
                   faults = o.faults + f.fault,
                   batch_limit = coalesce(f.batch_limit, o.batch_limit),
                   suspected_at = case when f.is_suspect then now() else o.suspected_at end,
                   doubt = f.doubt,
                   doubts = case when f.ends_doubts then 0 else o.doubts end,
                   doubt_property = case when not f.ends_doubts then o.doubt_property end,
                   doubted_since = case when not f.ends_doubts then o.doubted_since end,
                   updated_at = now()
              from finding f join free using (id)
             where o.id = f.id and o.batch_id = f.batch_id and exists (select from lead)
               -- As an expression: otherwise Postgres may read all unconfirmed rows for each finding, instead of one row by
               -- its primary key, because the statistics show few of them.
               and case o.status when 'unconfirmed' then true else false end
            returning o.id, o.course_key, o.batch_id, o.error, f.event
        ), history as (
            insert into course_sync_history (course_id, course_key, batch_id, event, error)
            select id, course_key, batch_id, event, error from settled where event is not null
                -- As in `record`: whatever the sequence of ids is.
                on conflict do nothing
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

/// Postpones the look-up of these courses. A row that was settled meanwhile, or that another session holds, stays as it is.
///
/// Index: the primary key of `course_outbox`.
pub async fn postpone_lookups(
    database: impl Into<DatabaseRef<'_>>,
    postponed: &[PostponedLookup],
) -> Result<(), OutboxError> {
    const POSTPONE: &str = "-- postpone look-ups
        with free as materialized (
            select id from course_outbox where id = any($1) for no key update skip locked
        )
        update course_outbox o
           set next_attempt_at = now() + make_interval(secs => r.wait), error = coalesce(r.error, o.error),
               recheck_at = case when o.recheck_at <= now() then now() + make_interval(secs => r.wait) else o.recheck_at end,
               updated_at = now()
          from unnest($1::bigint[], $2::float8[], $3::jsonb[]) as r (id, wait, error) join free using (id)
         where o.id = r.id
           -- As an expression, so that rows are read by their primary keys: see `settle_unconfirmed`.
           and case o.status when 'unconfirmed' then true else o.recheck_at is not null end";
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
