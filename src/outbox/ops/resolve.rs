//! Records an operator's decision about an unconfirmed course: it is a certain HubSpot record, or it was not created.
//!
//! The caller runs `journal::close_settled_batches` afterwards, as the reconciler does: this may have been the last
//! unsettled course of its request.

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;

use crate::course::HubSpotId;
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};

/// The result of an operator's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// It was recorded.
    Done,
    /// The course is not unconfirmed, or does not exist.
    NotUnconfirmed,
    /// Another course, named here, already holds this HubSpot record.
    TakenBy(String),
    /// Its request may still be in flight until this time.
    StillInFlight(Timestamp),
}

/// Resolves the course as this HubSpot record, unless another course already holds it.
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
            select course_key from course_outbox where status = 'synced' and hubspot_id = $2 limit 1
        ), resolved as (
            update course_outbox
               set status = 'synced', hubspot_id = $2, synced_at = now(), error = null, doubt = null, updated_at = now(),
                   synced_revision = coalesce(course_sync_sent_revision(batch_id, id), revision)
             where course_key = $1 and status = 'unconfirmed' and not exists (select from holder)
            returning id, course_key, batch_id
        ), history as (
            insert into course_sync_history (course_id, course_key, batch_id, event)
            select id, course_key, batch_id, 'resolved' from resolved
        )
        select exists (select from resolved), (select course_key from holder)";
    let query = sqlx::query_as(CREATED).bind(key).bind(hubspot_id.as_str());
    let (is_done, holder): (bool, Option<String>) =
        run_statement(database, async |session| query.fetch_one(session).await)
            .await
            .map_err(OutboxError::failed_to("resolve a course"))?;
    Ok(match holder {
        _ if is_done => Resolution::Done,
        Some(holder) => Resolution::TakenBy(holder),
        None => Resolution::NotUnconfirmed,
    })
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
             where o.course_key = $1 and o.status = 'unconfirmed' and b.answered_at is null and b.send_by > now()
        ), resolved as (
            update course_outbox
               set status = 'pending', doubt = null, doubts = 0, doubt_property = null, doubted_since = null,
                   next_attempt_at = now(), updated_at = now()
             where course_key = $1 and status = 'unconfirmed' and not exists (select from in_flight_request)
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
        _ if is_done => Resolution::Done,
        Some(ends) => Resolution::StillInFlight(ends.to_jiff()),
        None => Resolution::NotUnconfirmed,
    })
}
