//! Failed courses go back to pending, because a person says so: in bites, so that no long transaction holds the
//! table, and never anything but what is failed.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx};
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;

use super::OutboxError;
use super::database::{Reach, ask};
use super::failures::Group;
use crate::course::{Category, CourseError, Status};

/// Failed courses that one statement looks at, at most.
pub const BITE: i64 = 2_000;

/// Which failed courses are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// With an error of this category.
    pub category: Option<Category>,
    /// With this code of HubSpot's.
    pub code: Option<String>,
}

/// The database's time: what fails after it is not meant by who asked before.
///
/// Reads no table.
pub async fn now(database: impl Into<Reach<'_>>) -> Result<Timestamp, OutboxError> {
    const NOW: &str = "select now()";
    let now: SqlTimestamp = ask(database, async |session| sqlx::query_scalar(NOW).fetch_one(session).await)
        .await
        .map_err(OutboxError::doing("read the database's time"))?;
    Ok(now.to_jiff())
}

/// How many failed courses are meant.
///
/// Served by `course_outbox_failures`; all of them by `course_outbox_failed`.
pub async fn count(
    database: impl Into<Reach<'_>>,
    choice: &Choice,
    since: Timestamp,
) -> Result<i64, OutboxError> {
    const COUNT: &str = "
        select count(*) from course_outbox
         where status = 'failed' and updated_at <= $3
           and ($1::text is null or coalesce(error ->> 'category', '') = $1)
           and ($2::text is null or coalesce(error ->> 'code', '') = $2)";
    let query = sqlx::query_scalar(COUNT)
        .bind(choice.category.map(Category::as_str))
        .bind(choice.code.as_deref())
        .bind(since.to_sqlx());
    ask(database, async |session| query.fetch_one(session).await)
        .await
        .map_err(OutboxError::doing("count the failed courses"))
}

/// How far a pass over the failed courses has come, and what it did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// Courses put back.
    pub retried: i64,
    /// Where the next bite begins; `None`: the end is reached.
    pub after: Option<i64>,
}

/// Puts back those of the next [`BITE`] failed courses after `after` that are meant and failed before `since`.
/// What else holds the course back is forgotten: its faults, the small company it had to travel in. How often
/// it was sent stays, and so does its error, until the next answer.
///
/// Served by `course_outbox_failed` and the primary key.
pub async fn some(
    database: impl Into<Reach<'_>>,
    choice: &Choice,
    since: Timestamp,
    after: i64,
) -> Result<Pass, OutboxError> {
    const SOME: &str = "
        with bite as materialized (
            select id from course_outbox where status = 'failed' and id > $4 order by id limit $5
        ), chosen as materialized (
            select id from course_outbox
             where id = any(array(select id from bite)) and status = 'failed' and updated_at <= $3
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
        ), told as (
            insert into course_sync_history (course_id, course_key, event) select id, course_key, 'retried' from retried
        )
        select (select count(*) from retried) as retried,
               (select max(id) from bite having count(*) = $5) as after,
               pg_notify('course_outbox', '')::text as woken";
    let query = sqlx::query_as(SOME)
        .bind(choice.category.map(Category::as_str))
        .bind(choice.code.as_deref())
        .bind(since.to_sqlx())
        .bind(after)
        .bind(BITE);
    let (retried, after, _woken): (i64, Option<i64>, Option<String>) =
        ask(database, async |session| query.fetch_one(session).await)
            .await
            .map_err(OutboxError::doing("put failed courses back"))?;
    Ok(Pass { retried, after })
}

/// Puts back those of these courses that are failed, as [`some`] does. Returns how many.
///
/// Served by `course_outbox_course_key_unique`.
pub async fn these(database: impl Into<Reach<'_>>, keys: &[String]) -> Result<i64, OutboxError> {
    const THESE: &str = "
        with chosen as materialized (
            select id from course_outbox where course_key = any($1) and status = 'failed' order by id for update
        ), retried as (
            update course_outbox o
               set status = 'pending', faults = 0, doubts = 0, doubt_property = null, doubted_since = null,
                   suspected_at = null, batch_limit = 100, next_attempt_at = now(), updated_at = now()
              from chosen c where o.id = c.id
            returning o.id, o.course_key
        ), told as (
            insert into course_sync_history (course_id, course_key, event) select id, course_key, 'retried' from retried
        )
        select (select count(*) from retried) as retried, pg_notify('course_outbox', '')::text as woken";
    let (retried, _woken): (i64, Option<String>) =
        ask(database, async |session| sqlx::query_as(THESE).bind(keys).fetch_one(session).await)
            .await
            .map_err(OutboxError::doing("put failed courses back"))?;
    Ok(retried)
}

/// A few courses of these groups, of each group one before a second of any.
///
/// Served by `course_outbox_failures`.
pub async fn few(
    database: impl Into<Reach<'_>>,
    groups: &[Group],
    count: u32,
) -> Result<Vec<String>, OutboxError> {
    const FEW: &str = "
        select f.course_key
          from unnest($1::text[], $2::text[], $3::text[]) as g (category, code, property)
         cross join lateral (
               select course_key, row_number() over (order by id) as place from course_outbox
                where status = 'failed' and coalesce(error ->> 'category', '') = g.category
                  and coalesce(error ->> 'code', '') = g.code and coalesce(error ->> 'property', '') = g.property
                order by id limit $4) f
         order by f.place, g.category, g.code, g.property limit $4";
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let failed: Vec<&Group> = groups.iter().filter(|group| group.status == Status::Failed).collect();
    let category = |group: &&Group| group.category.map(Category::as_str).unwrap_or_default();
    let query = sqlx::query_scalar(FEW)
        .bind(failed.iter().map(category).collect::<Vec<_>>())
        .bind(failed.iter().map(|group| text(&group.code)).collect::<Vec<_>>())
        .bind(failed.iter().map(|group| text(&group.property)).collect::<Vec<_>>())
        .bind(i64::from(count));
    ask(database, async |session| query.fetch_all(session).await)
        .await
        .map_err(OutboxError::doing("choose a few failed courses"))
}

/// Where a course stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The catalogue's identifier.
    pub key: String,
    /// Its status.
    pub status: Status,
    /// Its last error.
    pub error: Option<CourseError>,
}

#[derive(FromRow)]
struct StandingRow {
    course_key: String,
    status: String,
    error: Option<Json<Value>>,
}

/// Where these courses stand; a key that is not there is left out.
///
/// Served by `course_outbox_course_key_unique`.
pub async fn standing(database: impl Into<Reach<'_>>, keys: &[String]) -> Result<Vec<Standing>, OutboxError> {
    const STANDING: &str =
        "select course_key, status, error from course_outbox where course_key = any($1) order by id";
    let rows: Vec<StandingRow> =
        ask(database, async |session| sqlx::query_as(STANDING).bind(keys).fetch_all(session).await)
            .await
            .map_err(OutboxError::doing("read where courses stand"))?;
    let standing = |row: StandingRow| {
        Some(Standing {
            key: row.course_key,
            status: Status::parse(&row.status)?,
            error: row.error.and_then(|error| serde_json::from_value(error.0).ok()),
        })
    };
    Ok(rows.into_iter().filter_map(standing).collect())
}
