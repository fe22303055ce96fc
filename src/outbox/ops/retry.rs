//! Retries failed courses on behalf of an operator: they return to pending. A bounded number per statement, so that no
//! transaction is long. Courses in another state are never touched.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;

use crate::course::{Category, CourseError, RowId, Status};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::failures::ErrorGroup;
use crate::outbox::from_row::impl_from_row;

/// The largest number of failed courses that one statement reads.
pub const CHUNK_ROWS: i64 = 2_000;

/// Selects failed courses; all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailureFilter {
    /// With an error of this category.
    pub category: Option<Category>,
    /// With this HubSpot error code.
    pub code: Option<String>,
}

/// The database's time. Courses that fail after the command started are not retried by it.
///
/// Index: none; it reads no table.
pub async fn database_time(database: impl Into<DatabaseRef<'_>>) -> Result<Timestamp, OutboxError> {
    const NOW: &str = "-- database time
        select now()";
    let now: SqlTimestamp =
        run_statement(database, async |session| sqlx::query_scalar(NOW).fetch_one(session).await)
            .await
            .map_err(OutboxError::failed_to("read the database's time"))?;
    Ok(now.to_jiff())
}

/// Counts the selected courses that failed before `since`.
///
/// Index: `course_outbox_failures`; without a filter `course_outbox_failed`.
pub async fn count_failed(
    database: impl Into<DatabaseRef<'_>>,
    filter: &FailureFilter,
    since: Timestamp,
) -> Result<i64, OutboxError> {
    const COUNT: &str = "-- count failed
        select count(*) from course_outbox
         where status = 'failed' and updated_at <= $3
           and ($1::text is null or coalesce(error ->> 'category', '') = $1)
           and ($2::text is null or coalesce(error ->> 'code', '') = $2)";
    let query = sqlx::query_scalar(COUNT)
        .bind(filter.category.map(Category::as_str))
        .bind(filter.code.as_deref())
        .bind(since.to_sqlx());
    run_statement(database, async |session| query.fetch_one(session).await)
        .await
        .map_err(OutboxError::failed_to("count the failed courses"))
}

/// The result of one statement of a pass over the failed courses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetryPass {
    /// The number of courses that returned to pending.
    pub retried: i64,
    /// Where the next statement starts; `None`: the pass is complete.
    pub after: Option<RowId>,
}

/// Retries those of the next [`CHUNK_ROWS`] failed courses after `after` that the filter selects and that failed before
/// `since`. Their failure and doubt counts and their batch limit start again. The number of attempts stays, and so does
/// the error, until the next result.
///
/// Index: `course_outbox_failed` and the primary key.
pub async fn retry_next(
    database: impl Into<DatabaseRef<'_>>,
    filter: &FailureFilter,
    since: Timestamp,
    after: Option<RowId>,
) -> Result<RetryPass, OutboxError> {
    const RETRY_NEXT: &str = "-- retry next
        with chunk as materialized (
            select id from course_outbox where status = 'failed' and id > $4 order by id limit $5
        ), chosen as materialized (
            -- Locked in the order of ids, so that two commands cannot deadlock.
            select id from course_outbox
             where id = any(array(select id from chunk)) and status = 'failed' and updated_at <= $3
               and ($1::text is null or coalesce(error ->> 'category', '') = $1)
               and ($2::text is null or coalesce(error ->> 'code', '') = $2)
             order by id
               for update
        ), retried as (
            update course_outbox o
               set status = 'pending', faults = 0, doubts = 0, doubt_property = null, doubted_since = null,
                   suspected_at = null, batch_limit = 100, next_attempt_at = now(), updated_at = now()
              from chosen c where o.id = c.id
            returning o.id, o.course_key
        ), history as (
            insert into course_sync_history (course_id, course_key, event) select id, course_key, 'retried' from retried
        )
        -- The chunk is read before the filter: a pass moves on even where the filter selects nothing.
        select (select count(*) from retried) as retried,
               (select max(id) from chunk having count(*) = $5) as after,
               pg_notify('course_outbox', '')::text as woken";
    let query = sqlx::query_as(RETRY_NEXT)
        .bind(filter.category.map(Category::as_str))
        .bind(filter.code.as_deref())
        .bind(since.to_sqlx())
        .bind(after.map_or(i64::MIN, |id| id.0))
        .bind(CHUNK_ROWS);
    let (retried, after, _woken): (i64, Option<RowId>, Option<String>) =
        run_statement(database, async |session| query.fetch_one(session).await)
            .await
            .map_err(OutboxError::failed_to("retry failed courses"))?;
    Ok(RetryPass { retried, after })
}

/// Retries those of these courses that are failed, as [`retry_next`] does. Returns their number.
///
/// Index: `course_outbox_course_key_unique`.
pub async fn retry_keys(database: impl Into<DatabaseRef<'_>>, keys: &[String]) -> Result<i64, OutboxError> {
    const RETRY_KEYS: &str = "-- retry keys
        with chosen as materialized (
            select id from course_outbox where course_key = any($1) and status = 'failed' order by id for update
        ), retried as (
            update course_outbox o
               set status = 'pending', faults = 0, doubts = 0, doubt_property = null, doubted_since = null,
                   suspected_at = null, batch_limit = 100, next_attempt_at = now(), updated_at = now()
              from chosen c where o.id = c.id
            returning o.id, o.course_key
        ), history as (
            insert into course_sync_history (course_id, course_key, event) select id, course_key, 'retried' from retried
        )
        select (select count(*) from retried) as retried, pg_notify('course_outbox', '')::text as woken";
    let (retried, _woken): (i64, Option<String>) = run_statement(database, async |session| {
        sqlx::query_as(RETRY_KEYS).bind(keys).fetch_one(session).await
    })
    .await
    .map_err(OutboxError::failed_to("retry failed courses"))?;
    Ok(retried)
}

/// Samples failed courses of these groups: one of each group before a second of any.
///
/// Index: `course_outbox_failures`.
pub async fn sample_failed_keys(
    database: impl Into<DatabaseRef<'_>>,
    groups: &[ErrorGroup],
    count: u32,
) -> Result<Vec<String>, OutboxError> {
    const SAMPLE: &str = "-- sample failed keys
        select f.course_key
          from unnest($1::text[], $2::text[], $3::text[]) as g (category, code, property)
         cross join lateral (
               select course_key, row_number() over (order by id) as place from course_outbox
                where status = 'failed' and coalesce(error ->> 'category', '') = g.category
                  and coalesce(error ->> 'code', '') = g.code and coalesce(error ->> 'property', '') = g.property
                order by id limit $4) f
         order by f.place, g.category, g.code, g.property limit $4";
    // As in the index, an absent value is an empty text.
    let (mut categories, mut codes, mut properties) = (Vec::new(), Vec::new(), Vec::new());
    for group in groups.iter().filter(|group| group.status == Status::Failed) {
        categories.push(group.category.map(Category::as_str).unwrap_or_default());
        codes.push(group.code.as_deref().unwrap_or_default());
        properties.push(group.property.as_deref().unwrap_or_default());
    }
    let query =
        sqlx::query_scalar(SAMPLE).bind(categories).bind(codes).bind(properties).bind(i64::from(count));
    run_statement(database, async |session| query.fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("sample failed courses"))
}

/// The present state of a course.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CourseState {
    /// The catalogue's identifier.
    pub key: String,
    /// Its status.
    pub status: Status,
    /// Its last error.
    pub error: Option<CourseError>,
}

struct CourseStateRow {
    course_key: String,
    status: String,
    error: Option<Json<Value>>,
}

impl_from_row!(CourseStateRow { course_key, status, error });

impl CourseStateRow {
    /// `None` for a status that the table's check does not allow.
    fn into_state(self) -> Option<CourseState> {
        Some(CourseState {
            key: self.course_key,
            status: Status::parse(&self.status)?,
            error: self.error.and_then(|error| serde_json::from_value(error.0).ok()),
        })
    }
}

/// The present states of these courses. A key that is not in the outbox is left out.
///
/// Index: `course_outbox_course_key_unique` and `course_sync_batch_open`.
pub async fn course_states(
    database: impl Into<DatabaseRef<'_>>,
    keys: &[String],
) -> Result<Vec<CourseState>, OutboxError> {
    const STATES: &str = "-- course states
        select course_key, error,
               case when status = 'pending' and id in (select id from course_sync_in_flight()) then 'in_flight'
                    else status end as status
          from course_outbox where course_key = any($1) order by id";
    let rows: Vec<CourseStateRow> =
        run_statement(database, async |session| sqlx::query_as(STATES).bind(keys).fetch_all(session).await)
            .await
            .map_err(OutboxError::failed_to("read the states of courses"))?;
    Ok(rows.into_iter().filter_map(CourseStateRow::into_state).collect())
}
