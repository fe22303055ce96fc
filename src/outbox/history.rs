//! Reads the history of one course: its row, its events, the requests that carried it. Bounded in size.

use serde_json::Value;
use sqlx::types::Json;

use crate::course::{CourseError, Status};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;
use crate::outbox::lenient::{ClampedTimestamp, Lenient, LossyText};
use crate::policy::explain::history::{CourseEvent, CourseHistory, CourseRequest, CourseRow};

/// The largest number of events and of requests that are read; the latest ones.
const MAX_EVENTS: i64 = 100;
const MAX_REQUESTS: i64 = 100;
/// The requests shortly before each of so many of the latest changes are searched for the course.
const SEARCHED_CHANGES: i64 = 10;
/// How long before a change its request may have begun, in seconds: a look-up in HubSpot takes up to two requests
/// of `hubspot.request_timeout`, and the quota limits how many other requests happen in between.
const SEARCHED_SECONDS: f64 = 120.0;

#[expect(clippy::struct_excessive_bools, reason = "each is a column of its own")]
struct HistoryRow {
    course_key: String,
    name: Option<LossyText>,
    revision: i64,
    synced_revision: Option<i64>,
    archived: bool,
    archive_released: bool,
    changed_at: Option<ClampedTimestamp>,
    is_change_unknown: bool,
    status: String,
    blocked: Option<String>,
    attempts: i32,
    faults: i32,
    doubts: i32,
    carried_key: bool,
    is_suspect: bool,
    batch_limit: i16,
    next_attempt_at: ClampedTimestamp,
    hubspot_id: Option<String>,
    error: Option<Lenient<Json<CourseError>>>,
    created_at: ClampedTimestamp,
    updated_at: ClampedTimestamp,
    synced_at: Option<ClampedTimestamp>,
    events: Json<Vec<Value>>,
    requests: Json<Vec<Value>>,
}

impl_from_row!(HistoryRow {
    course_key,
    name,
    revision,
    synced_revision,
    archived,
    archive_released,
    changed_at,
    is_change_unknown,
    status,
    blocked,
    attempts,
    faults,
    doubts,
    carried_key,
    is_suspect,
    batch_limit,
    next_attempt_at,
    hubspot_id,
    error,
    created_at,
    updated_at,
    synced_at,
    events,
    requests,
});

/// Reads the history of the course with this key; `None` if there is no such course.
///
/// The requests are those that its row or an event names. Look-ups are named by neither, so the requests shortly
/// before each change that list the course are added. A request that failed for the whole account (a used-up quota,
/// an outage) leaves no event, so it is found only until the next change.
///
/// Index: `course_outbox_course_key_unique`, `course_sync_history_course`, the primary key of
/// `course_sync_batch`, `course_sync_batch_claimed_at` and `course_sync_batch_open`.
pub async fn read_history(
    database: impl Into<DatabaseRef<'_>>,
    key: &str,
) -> Result<Option<CourseHistory>, OutboxError> {
    const HISTORY: &str = "-- course history
        with course as materialized (
            select *, (select batch_id from course_sync_in_flight() f where f.id = course_outbox.id) as open_request
              from course_outbox where course_key = $1
        ), recorded as materialized (
            -- the latest events
            select id, at, batch_id, event, error, hubspot_id from course_sync_history
             where course_key = $1 order by id desc limit $2
        ), moments as (
            -- the times at which the course changed
            select updated_at as at from course
            union
            select at from (select at from recorded order by id desc limit $4) latest
        ), shortly_before as (
            -- requests that began shortly before a change and list the course
            select b.batch_id
              from course c cross join moments m
             cross join lateral (
                   select batch_id, row_ids from course_sync_batch
                    where claimed_at between m.at - make_interval(secs => $5) and m.at
                   -- an optimisation fence: without it the planner scans every request in the journal
                   offset 0) b
             where c.id = any(b.row_ids)
        ), requests as materialized (
            select b.* from course_sync_batch b
             where b.batch_id = any(array(select batch_id from course union select open_request from course
                                          union select batch_id from recorded
                                          union select batch_id from shortly_before))
               -- a row that only marks courses as unconfirmed was not a request
               and b.send_by > b.claimed_at
               -- a request for the account's properties carried no course
               and b.operation <> 'schema'
             order by b.claimed_at desc limit $3
        )
        select course_key, left(properties ->> 'hs_course_name', 65536) as name, revision, synced_revision, archived,
               archive_released, changed_at, doubt is not distinct from 'change' as is_change_unknown,
               case when status = 'pending' and open_request is not null then 'in_flight' else status end as status,
               (select blocked from course_sync_batch b where b.batch_id = open_request) as blocked, attempts, faults, doubts, batch_limit,
               next_attempt_at, hubspot_id, error, created_at, updated_at, synced_at,
               -- the course was sent with its key, or it was looked up and not sent
               doubt_property is not null
               or exists (select from course_sync_batch b where b.batch_id = course.batch_id and b.operation = 'read') as carried_key,
               suspected_at is not null as is_suspect,
               coalesce((select jsonb_agg(jsonb_build_object(
                   'at', at, 'event', event, 'request', batch_id, 'error', error, 'hubspot_id', hubspot_id) order by id) from recorded), '[]') as events,
               coalesce((select jsonb_agg(jsonb_build_object(
                   'id', batch_id, 'operation', operation, 'at', claimed_at, 'courses', cardinality(row_ids),
                   'answered_at', answered_at, 'http_status', http_status, 'correlation_id', correlation_id,
                   'outcome', outcome) order by claimed_at) from requests), '[]') as requests
          from course";
    let query = sqlx::query_as(HISTORY)
        .bind(key)
        .bind(MAX_EVENTS)
        .bind(MAX_REQUESTS)
        .bind(SEARCHED_CHANGES)
        .bind(SEARCHED_SECONDS);
    let row: Option<HistoryRow> =
        run_statement(database, async |session| query.fetch_optional(session).await)
            .await
            .map_err(OutboxError::failed_to("read the history of a course"))?;
    Ok(row.and_then(history_of))
}

/// `None` for an unknown status, which the table's check rules out.
fn history_of(row: HistoryRow) -> Option<CourseHistory> {
    let (events, requests) = (row.events.0, row.requests.0);
    let is_full = |count: usize, limit: i64| i64::try_from(count).is_ok_and(|count| count >= limit);
    let is_truncated = is_full(events.len(), MAX_EVENTS) || is_full(requests.len(), MAX_REQUESTS);
    let course = CourseRow {
        key: row.course_key,
        name: row.name.map(|name| name.0),
        revision: row.revision,
        synced_revision: row.synced_revision,
        archived: row.archived,
        archive_released: row.archive_released,
        changed_at: row.changed_at.map(|time| time.0),
        is_change_unknown: row.is_change_unknown,
        status: Status::parse(&row.status)?,
        blocked: row.blocked,
        attempts: u32::try_from(row.attempts).unwrap_or_default(),
        faults: u32::try_from(row.faults).unwrap_or_default(),
        doubts: u32::try_from(row.doubts).unwrap_or_default(),
        carried_key: row.carried_key,
        is_suspect: row.is_suspect,
        batch_limit: u16::try_from(row.batch_limit).unwrap_or_default(),
        next_attempt_at: row.next_attempt_at.0,
        hubspot_id: row.hubspot_id,
        error: row.error.and_then(Lenient::ok).map(|error| error.0),
        created_at: row.created_at.0,
        updated_at: row.updated_at.0,
        synced_at: row.synced_at.map(|time| time.0),
    };
    // An event or request that cannot be read is left out; the others are still shown.
    let events = events.into_iter().filter_map(|it| serde_json::from_value::<CourseEvent>(it).ok()).collect();
    let requests =
        requests.into_iter().filter_map(|it| serde_json::from_value::<CourseRequest>(it).ok()).collect();
    Some(CourseHistory { course, events, requests, is_truncated })
}

/// Reads the keys next to `key` in order, three on each side, to suggest a key after a typing error.
///
/// Index: `course_outbox_course_key_unique`.
pub async fn read_adjacent_keys(
    database: impl Into<DatabaseRef<'_>>,
    key: &str,
) -> Result<Vec<String>, OutboxError> {
    const ADJACENT_KEYS: &str = "-- adjacent keys
        (select course_key from course_outbox where course_key < $1 order by course_key desc limit 3)
        union all
        (select course_key from course_outbox where course_key > $1 order by course_key limit 3)";
    let keys: Vec<LossyText> = run_statement(database, async |session| {
        sqlx::query_scalar(ADJACENT_KEYS).bind(key).fetch_all(session).await
    })
    .await
    .map_err(OutboxError::failed_to("find similar keys"))?;
    Ok(keys.into_iter().map(|key| key.0).collect())
}
