//! A person's word on a course in doubt: it is HubSpot's record so-and-so, or it was not created.
//!
//! Whoever says so calls `recover::close` afterwards, as the reconciler does: the request whose last doubt
//! this was is settled.

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;

use super::OutboxError;
use super::database::{Reach, ask};
use crate::course::HubSpotId;

/// What became of a person's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// It is written.
    Done,
    /// The course is not in doubt, or there is none.
    NotInDoubt,
    /// Another course is this record of HubSpot's.
    TakenBy(String),
    /// Its request may not have ended before then.
    UnderWay(Timestamp),
}

/// The course is in HubSpot as this record, unless another course is.
///
/// Served by `course_outbox_course_key_unique`. Nothing serves the question whose record it is: a person's
/// command may read the table once.
pub async fn created(
    database: impl Into<Reach<'_>>,
    key: &str,
    hubspot_id: &HubSpotId,
) -> Result<Resolved, OutboxError> {
    const CREATED: &str = "
        with holder as materialized (
            select course_key from course_outbox where status = 'synced' and hubspot_id = $2 limit 1
        ), resolved as (
            update course_outbox
               set status = 'synced', hubspot_id = $2, synced_at = now(), error = null, doubt = null, updated_at = now()
             where course_key = $1 and status = 'unconfirmed' and not exists (select from holder)
            returning id, course_key, batch_id
        ), told as (
            insert into course_sync_history (course_id, course_key, batch_id, event)
            select id, course_key, batch_id, 'resolved' from resolved
        )
        select exists (select from resolved), (select course_key from holder)";
    let query = sqlx::query_as(CREATED).bind(key).bind(hubspot_id.as_str());
    let (is_done, holder): (bool, Option<String>) =
        ask(database, async |session| query.fetch_one(session).await)
            .await
            .map_err(OutboxError::doing("write a person's word on a course"))?;
    Ok(match holder {
        _ if is_done => Resolved::Done,
        Some(holder) => Resolved::TakenBy(holder),
        None => Resolved::NotInDoubt,
    })
}

/// The course was not created: it goes again. Not before its request must have ended, since it might still
/// be created. What was said of it stays, until the next answer; how often it was in doubt is forgotten.
///
/// Served by `course_outbox_course_key_unique` and the primary key of `course_sync_batch`.
pub async fn not_created(database: impl Into<Reach<'_>>, key: &str) -> Result<Resolved, OutboxError> {
    const NOT_CREATED: &str = "
        with under_way as materialized (
            select b.send_by from course_outbox o join course_sync_batch b using (batch_id)
             where o.course_key = $1 and o.status = 'unconfirmed' and b.answered_at is null and b.send_by > now()
        ), resolved as (
            update course_outbox
               set status = 'pending', doubt = null, doubts = 0, doubt_property = null, doubted_since = null,
                   next_attempt_at = now(), updated_at = now()
             where course_key = $1 and status = 'unconfirmed' and not exists (select from under_way)
            returning id, course_key, batch_id
        ), told as (
            insert into course_sync_history (course_id, course_key, batch_id, event)
            select id, course_key, batch_id, 'resolved' from resolved
        )
        select exists (select from resolved), (select send_by from under_way), pg_notify('course_outbox', '')::text";
    let query = sqlx::query_as(NOT_CREATED).bind(key);
    let (is_done, ends, _woken): (bool, Option<SqlTimestamp>, Option<String>) =
        ask(database, async |session| query.fetch_one(session).await)
            .await
            .map_err(OutboxError::doing("write a person's word on a course"))?;
    Ok(match ends {
        _ if is_done => Resolved::Done,
        Some(ends) => Resolved::UnderWay(ends.to_jiff()),
        None => Resolved::NotInDoubt,
    })
}
