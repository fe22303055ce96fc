//! Records an operator's decision. About an unconfirmed course: it is a certain HubSpot record, or it was not created. About a
//! failed course that had a record: it gets a new record, or it is another record.
//!
//! The caller runs `journal::close_settled_batches` afterwards, as the reconciler does: this may have been the last
//! unsettled course of its request.

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;

use crate::course::{HubSpotId, Status};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};

/// The result of an operator's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// It was recorded, and the course is synced.
    Synced,
    /// It was recorded, and the course is to be sent.
    Pending,
    /// The course is in no state that the decision is about, or does not exist.
    NotApplicable,
    /// Another course, named here, already holds this HubSpot record.
    TakenBy(String),
    /// Its request may still be in flight until this time.
    StillInFlight(Timestamp),
}

/// The state of a course that could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnresolvedCourse {
    /// Its status.
    pub status: Status,
    /// Whether its row names a record.
    pub has_record: bool,
    /// Unconfirmed: it is not known whether its record has the last change.
    pub is_change_unknown: bool,
}

/// Reads the state of a course; `None` if there is no such course.
///
/// Index: `course_outbox_course_key_unique` and `course_sync_batch_open`.
pub async fn read_unresolved(
    database: impl Into<DatabaseRef<'_>>,
    key: &str,
) -> Result<Option<UnresolvedCourse>, OutboxError> {
    const STATE: &str = "-- state of an unresolved course
        select case when status = 'pending' and id in (select id from course_sync_in_flight()) then 'in_flight'
                    else status end,
               hubspot_id is not null, doubt is not distinct from 'change'
          from course_outbox where course_key = $1";
    let query = sqlx::query_as(STATE).bind(key);
    let row: Option<(String, bool, bool)> =
        run_statement(database, async |session| query.fetch_optional(session).await)
            .await
            .map_err(OutboxError::failed_to("read the state of a course"))?;
    Ok(row.and_then(|(status, has_record, is_change_unknown)| {
        Some(UnresolvedCourse { status: Status::parse(&status)?, has_record, is_change_unknown })
    }))
}

/// Resolves the unconfirmed course as this HubSpot record, unless another course already holds it. If the row has changed since
/// it was sent, it is pending then.
///
/// Index: `course_outbox_course_key_unique`. The search for another holder scans the table: an operator's command may
/// do so once.
pub async fn resolve_as_created(
    database: impl Into<DatabaseRef<'_>>,
    key: &str,
    hubspot_id: &HubSpotId,
) -> Result<Resolution, OutboxError> {
    const CREATED: &str = "-- resolve as created
        with holder as materialized (
            select course_key from course_outbox
             where status in ('synced', 'pending', 'unconfirmed', 'failed') and hubspot_id = $2
               and (course_key <> $1 or status = 'synced')
             limit 1
        ), resolved as (
            update course_outbox
               set status = 'synced', hubspot_id = $2, synced_at = now(), error = null, doubt = null, updated_at = now(),
                   -- As after a look-up.
                   synced_revision = case when hubspot_properties is not null then 0
                                          else coalesce(course_sync_sent_revision(batch_id, id), revision) end
             where course_key = $1 and status = 'unconfirmed' and doubt is distinct from 'change'
               and not exists (select from holder)
            -- A trigger makes a course pending whose revision is newer than the one that was sent.
            returning id, course_key, batch_id, status
        ), history as (
            insert into course_sync_history (course_id, course_key, batch_id, event)
            select id, course_key, batch_id, 'resolved' from resolved
        )
        select (select status from resolved), (select course_key from holder), pg_notify('course_outbox', '')::text";
    settle(database, sqlx::query_as(CREATED).bind(key).bind(hubspot_id.as_str())).await
}

/// Gives a failed course that had a record this record instead, unless another course already holds it. It is not known what the
/// record holds, so the course is pending, and its update sends every property.
///
/// Index: `course_outbox_course_key_unique`. The search for another holder scans the table: an operator's command may
/// do so once.
pub async fn replace_record(
    database: impl Into<DatabaseRef<'_>>,
    key: &str,
    hubspot_id: &HubSpotId,
    unique_property: Option<&str>,
) -> Result<Resolution, OutboxError> {
    const REPLACE: &str = "-- resolve by another record
        with holder as materialized (
            select course_key from course_outbox
             where status in ('synced', 'pending', 'unconfirmed', 'failed') and hubspot_id = $2 and course_key <> $1
             limit 1
        ), resolved as (
            update course_outbox
               set status = 'pending', hubspot_id = $2, synced_revision = null, synced_at = null,
                   -- null as a value: it is not known what HubSpot holds.
                   hubspot_properties = coalesce(
                       (select jsonb_object_agg(name, null) from jsonb_object_keys(jsonb_strip_nulls(properties)) as name), '{}')
                       -- The record may not have the key yet.
                       || case when $3::text is null then '{}' else jsonb_build_object($3, null) end,
                   doubt = null, doubts = 0, doubt_property = null, doubted_since = null, late_values = null,
                   recheck_at = null, error = null, faults = 0, batch_limit = 100, suspected_at = null,
                   next_attempt_at = now(), updated_at = now()
             where course_key = $1 and status = 'failed'
               and (hubspot_id is not null or error ->> 'category' in ('record_gone', 'record_merged'))
               and not exists (select from holder)
            returning id, course_key, status
        ), history as (
            insert into course_sync_history (course_id, course_key, event, hubspot_id)
            select id, course_key, 'resolved', $2 from resolved
        )
        select (select status from resolved), (select course_key from holder), pg_notify('course_outbox', '')::text";
    let query = sqlx::query_as(REPLACE).bind(key).bind(hubspot_id.as_str()).bind(unique_property);
    settle(database, query).await
}

/// The new status of the course, the course that holds the record, and a notification.
type ResolvedRow = (Option<String>, Option<String>, Option<String>);

/// Runs a statement that gives the course a record.
async fn settle(
    database: impl Into<DatabaseRef<'_>>,
    query: QueryAs<'_, Postgres, ResolvedRow, PgArguments>,
) -> Result<Resolution, OutboxError> {
    let (status, holder, _woken) = run_statement(database, async |session| query.fetch_one(session).await)
        .await
        .map_err(OutboxError::failed_to("resolve a course"))?;
    Ok(match (status.as_deref(), holder) {
        (Some("synced"), _) => Resolution::Synced,
        (Some(_), _) => Resolution::Pending,
        (None, Some(holder)) => Resolution::TakenBy(holder),
        (None, None) => Resolution::NotApplicable,
    })
}

/// Forgets the record of a failed course: the course is pending, and a new record is created. The history keeps the record's id
/// and the error.
///
/// Index: `course_outbox_course_key_unique`.
pub async fn recreate(database: impl Into<DatabaseRef<'_>>, key: &str) -> Result<Resolution, OutboxError> {
    const RECREATE: &str = "-- resolve by a new record
        with failed as materialized (
            select id, course_key, hubspot_id, error from course_outbox
             where course_key = $1 and status = 'failed'
               and (hubspot_id is not null or error ->> 'category' in ('record_gone', 'record_merged'))
               for update
        ), resolved as (
            update course_outbox o
               set status = 'pending', hubspot_id = null, hubspot_properties = null, synced_revision = null, synced_at = null,
                   doubt = null, doubts = 0, doubt_property = null, doubted_since = null, late_values = null,
                   recheck_at = null, error = null, faults = 0, batch_limit = 100, suspected_at = null,
                   -- A record in the recycle bin that is older than this decision is not the new one.
                   offered_at = now(), next_attempt_at = now(), updated_at = now()
              from failed f where o.id = f.id
            returning f.id, f.course_key, f.hubspot_id, f.error
        ), history as (
            insert into course_sync_history (course_id, course_key, event, hubspot_id, error)
            select id, course_key, 'resolved', hubspot_id, error from resolved
        )
        select exists (select from resolved), pg_notify('course_outbox', '')::text";
    let query = sqlx::query_as(RECREATE).bind(key);
    let (is_done, _woken): (bool, Option<String>) =
        run_statement(database, async |session| query.fetch_one(session).await)
            .await
            .map_err(OutboxError::failed_to("resolve a course"))?;
    Ok(if is_done { Resolution::Pending } else { Resolution::NotApplicable })
}

/// Resolves the course as not created: it is sent again. Refused while its request may still be in flight, because that
/// request may still create it. The row keeps its error until the next result; the count of doubts is reset.
///
/// Index: `course_outbox_course_key_unique` and the primary key of `course_sync_batch`.
pub async fn resolve_as_not_created(
    database: impl Into<DatabaseRef<'_>>,
    key: &str,
) -> Result<Resolution, OutboxError> {
    const NOT_CREATED: &str = "-- resolve as not created
        with in_flight_request as materialized (
            select b.send_by from course_outbox o join course_sync_batch b using (batch_id)
             where o.course_key = $1 and o.status = 'unconfirmed' and o.doubt is distinct from 'change'
               and b.answered_at is null and b.send_by > now()
        ), resolved as (
            update course_outbox
               set status = 'pending', doubt = null, doubts = 0, doubt_property = null, doubted_since = null,
                   next_attempt_at = now(), updated_at = now()
             where course_key = $1 and status = 'unconfirmed' and doubt is distinct from 'change'
               and not exists (select from in_flight_request)
            returning id, course_key, batch_id
        ), history as (
            insert into course_sync_history (course_id, course_key, batch_id, event)
            select id, course_key, batch_id, 'resolved' from resolved
        )
        select exists (select from resolved), (select send_by from in_flight_request), pg_notify('course_outbox', '')::text";
    let query = sqlx::query_as(NOT_CREATED).bind(key);
    let (is_done, ends, _woken): (bool, Option<SqlTimestamp>, Option<String>) =
        run_statement(database, async |session| query.fetch_one(session).await)
            .await
            .map_err(OutboxError::failed_to("resolve a course"))?;
    Ok(match ends {
        _ if is_done => Resolution::Pending,
        Some(ends) => Resolution::StillInFlight(ends.to_jiff()),
        None => Resolution::NotApplicable,
    })
}
