//! The life of one course, read whole and bounded: its row, what happened to it, the requests that carried it.

use jiff_sqlx::Timestamp;
use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;

use super::OutboxError;
use super::database::{Reach, ask};
use crate::course::Status;
use crate::policy::explain::life::{Course, Event, Life, Request};

/// Events and requests that are told of one course at most, the latest.
const EVENTS: i64 = 100;
const REQUESTS: i64 = 100;
/// Of so many of its latest changes, the requests shortly before are searched for the course.
const MOMENTS: i64 = 10;
/// How long before a change the request may have begun that led to it, in seconds: a look at HubSpot takes
/// two requests of `hubspot.request_timeout`, and the quota bounds how many others lie in between.
const SHORTLY: f64 = 120.0;

#[derive(FromRow)]
struct Row {
    course_key: String,
    name: Option<String>,
    status: String,
    attempts: i32,
    faults: i32,
    doubts: i32,
    carried_key: bool,
    is_suspect: bool,
    batch_limit: i16,
    next_attempt_at: Timestamp,
    hubspot_id: Option<String>,
    error: Option<Json<Value>>,
    created_at: Timestamp,
    updated_at: Timestamp,
    synced_at: Option<Timestamp>,
    events: Json<Vec<Value>>,
    requests: Json<Vec<Value>>,
}

/// The life of the course with this key; `None`: there is none. The requests are those that its row or an
/// event names, and those shortly before a change that list it: reads are named by nobody. A request that
/// the account turned away (a used-up quota, an outage) is known only while nothing happened since.
///
/// Served by `course_outbox_course_key_unique`, `course_sync_history_course`, the primary key of
/// `course_sync_batch` and `course_sync_batch_claimed_at`.
pub async fn life(database: impl Into<Reach<'_>>, key: &str) -> Result<Option<Life>, OutboxError> {
    const LIFE: &str = "
        with course as materialized (
            select * from course_outbox where course_key = $1
        ), told as materialized (
            select id, at, batch_id, event, error from course_sync_history
             where course_key = $1 order by id desc limit $2
        ), moments as (
            select updated_at as at from course
            union
            select at from (select at from told order by id desc limit $4) latest
        ), shortly_before as (
            select b.batch_id
              from course c cross join moments m
             cross join lateral (
                   select batch_id, row_ids from course_sync_batch
                    where claimed_at between m.at - make_interval(secs => $5) and m.at
                   -- a fence: without it the planner looks into every request there ever was
                   offset 0) b
             where c.id = any(b.row_ids)
        ), requests as materialized (
            select b.* from course_sync_batch b
             where b.batch_id = any(array(select batch_id from course union select batch_id from told
                                          union select batch_id from shortly_before))
               -- what only notes a doubt was no request
               and b.send_by > b.claimed_at
               -- spent on the account's properties: no course was sent by it
               and b.operation <> 'schema'
             order by b.claimed_at desc limit $3
        )
        select course_key, properties ->> 'hs_course_name' as name, status, attempts, faults, doubts, batch_limit, next_attempt_at, hubspot_id, error, created_at,
               updated_at, synced_at,
               doubt_property is not null
               or exists (select from course_sync_batch b where b.batch_id = course.batch_id and b.operation <> 'create') as carried_key,
               suspected_at is not null as is_suspect,
               coalesce((select jsonb_agg(jsonb_build_object(
                   'at', at, 'event', event, 'request', batch_id, 'error', error) order by id) from told), '[]') as events,
               coalesce((select jsonb_agg(jsonb_build_object(
                   'id', batch_id, 'operation', operation, 'at', claimed_at, 'courses', cardinality(row_ids),
                   'answered_at', answered_at, 'http_status', http_status, 'correlation_id', correlation_id,
                   'outcome', outcome) order by claimed_at) from requests), '[]') as requests
          from course";
    let query = sqlx::query_as(LIFE).bind(key).bind(EVENTS).bind(REQUESTS).bind(MOMENTS).bind(SHORTLY);
    let row: Option<Row> = ask(database, async |session| query.fetch_optional(session).await)
        .await
        .map_err(OutboxError::doing("read the life of a course"))?;
    Ok(row.and_then(life_of))
}

/// The table's check knows no other status than [`Status`] does.
fn life_of(row: Row) -> Option<Life> {
    let (events, requests) = (row.events.0, row.requests.0);
    let is_full = |count: usize, limit: i64| i64::try_from(count).is_ok_and(|count| count >= limit);
    let is_cut = is_full(events.len(), EVENTS) || is_full(requests.len(), REQUESTS);
    let course = Course {
        key: row.course_key,
        name: row.name,
        status: Status::parse(&row.status)?,
        attempts: u32::try_from(row.attempts).unwrap_or_default(),
        faults: u32::try_from(row.faults).unwrap_or_default(),
        doubts: u32::try_from(row.doubts).unwrap_or_default(),
        carried_key: row.carried_key,
        is_suspect: row.is_suspect,
        batch_limit: u16::try_from(row.batch_limit).unwrap_or_default(),
        next_attempt_at: row.next_attempt_at.to_jiff(),
        hubspot_id: row.hubspot_id,
        error: row.error.and_then(|error| serde_json::from_value(error.0).ok()),
        created_at: row.created_at.to_jiff(),
        updated_at: row.updated_at.to_jiff(),
        synced_at: row.synced_at.map(Timestamp::to_jiff),
    };
    // One that cannot be read costs only itself.
    let events = events.into_iter().filter_map(|it| serde_json::from_value::<Event>(it).ok()).collect();
    let requests = requests.into_iter().filter_map(|it| serde_json::from_value::<Request>(it).ok()).collect();
    Some(Life { course, events, requests, is_cut })
}

/// The keys that stand next to `key` in order, three on each side: what a slip of the pen may have meant.
///
/// Served by `course_outbox_course_key_unique`.
pub async fn neighbours(database: impl Into<Reach<'_>>, key: &str) -> Result<Vec<String>, OutboxError> {
    const NEIGHBOURS: &str = "
        (select course_key from course_outbox where course_key < $1 order by course_key desc limit 3)
        union all
        (select course_key from course_outbox where course_key > $1 order by course_key limit 3)";
    ask(database, async |session| sqlx::query_scalar(NEIGHBOURS).bind(key).fetch_all(session).await)
        .await
        .map_err(OutboxError::doing("find keys like this one"))
}
