//! Courses that failed, are in doubt, or are synced with a warning: grouped by what was said of them, and one by one. Bounded, however
//! many there are.

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;

use super::OutboxError;
use super::database::{Reach, ask};
use crate::course::{Category, CourseError, Status};
use crate::policy::explain::mend;

/// Groups that are told at most.
pub const GROUPS: i64 = 50;
/// Courses of a group that are counted at most.
pub const COUNTED: i64 = 1_000;
/// Courses in doubt that are looked at, at most: those that are due first.
pub const DOUBTED: i64 = 10_000;

/// Courses that failed, or are in doubt, for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Failed or unconfirmed; synced with a warning.
    pub status: Status,
    /// What kind of error; `None` where the row's cannot be read.
    pub category: Option<Category>,
    /// HubSpot's code.
    pub code: Option<String>,
    /// The property that HubSpot named.
    pub property: Option<String>,
    /// How many courses, counted up to a bound.
    pub courses: i64,
    /// Whether that is all of them.
    pub is_exact: bool,
    /// The key of one of them, the latest to arrive.
    pub example: String,
    /// When one of them last changed.
    pub latest: Timestamp,
    /// What a person can do.
    pub mend: String,
}

#[derive(FromRow)]
struct GroupRow {
    status: String,
    category: String,
    code: String,
    property: String,
    courses: i64,
    example: String,
    latest: SqlTimestamp,
}

/// The groups, largest first: of the failed courses up to [`GROUPS`], each counted up to [`COUNTED`]; of the
/// unconfirmed ones those of the [`DOUBTED`] that are due first; of the synced ones with a warning the latest. `category`: of this one only.
///
/// Served by `course_outbox_failures`, from group to group, `course_outbox_unconfirmed` and `course_outbox_warnings`.
pub async fn groups(
    database: impl Into<Reach<'_>>,
    category: Option<Category>,
) -> Result<Vec<Group>, OutboxError> {
    const GROUPED: &str = "
        with recursive named (category, code, property) as (
            (select coalesce(error ->> 'category', ''), coalesce(error ->> 'code', ''), coalesce(error ->> 'property', '')
               from course_outbox
              where status = 'failed' and coalesce(error ->> 'category', '') >= coalesce($1, '')
              order by 1, 2, 3 limit 1)
            union all
            select n.* from named g cross join lateral (
                select coalesce(error ->> 'category', ''), coalesce(error ->> 'code', ''), coalesce(error ->> 'property', '')
                  from course_outbox
                 where status = 'failed'
                   and (coalesce(error ->> 'category', ''), coalesce(error ->> 'code', ''), coalesce(error ->> 'property', ''))
                       > (g.category, g.code, g.property)
                 order by 1, 2, 3 limit 1) n
             where $1::text is null or g.category = $1
        ), failed as (
            select * from named where $1::text is null or category = $1 limit $2
        ), doubted as materialized (
            select coalesce(error ->> 'category', '') as category, coalesce(error ->> 'code', '') as code,
                   coalesce(error ->> 'property', '') as property, course_key, updated_at
              from course_outbox where status = 'unconfirmed' order by next_attempt_at, id limit $4
        ), warned as materialized (
            select coalesce(error ->> 'category', '') as category, coalesce(error ->> 'code', '') as code,
                   coalesce(error ->> 'property', '') as property, course_key, updated_at
              from course_outbox where status = 'synced' and error is not null order by id desc limit $4
        )
        select 'failed' as status, f.*, c.courses, e.example, c.latest
          from failed f
         cross join lateral (
               select count(*) as courses, max(updated_at) as latest from (
                   select updated_at from course_outbox
                    where status = 'failed' and coalesce(error ->> 'category', '') = f.category
                      and coalesce(error ->> 'code', '') = f.code and coalesce(error ->> 'property', '') = f.property
                    order by id desc limit $3) counted) c
         cross join lateral (
               select course_key as example from course_outbox
                where status = 'failed' and coalesce(error ->> 'category', '') = f.category
                  and coalesce(error ->> 'code', '') = f.code and coalesce(error ->> 'property', '') = f.property
                order by id desc limit 1) e
        union all
        select 'unconfirmed', category, code, property, count(*), max(course_key), max(updated_at)
          from doubted where $1::text is null or category = $1 group by category, code, property
        union all
        select 'synced', category, code, property, count(*), max(course_key), max(updated_at)
          from warned where $1::text is null or category = $1 group by category, code, property
         order by courses desc, status, category, code, property";
    let query =
        sqlx::query_as(GROUPED).bind(category.map(Category::as_str)).bind(GROUPS).bind(COUNTED).bind(DOUBTED);
    let rows: Vec<GroupRow> = ask(database, async |session| query.fetch_all(session).await)
        .await
        .map_err(OutboxError::doing("group the failed courses"))?;
    let of =
        |status: &str| -> i64 { rows.iter().filter(|row| row.status == status).map(|row| row.courses).sum() };
    let is_whole = of("unconfirmed").max(of("synced")) < DOUBTED;
    Ok(rows.into_iter().filter_map(|row| group(row, is_whole)).collect())
}

/// `is_whole`: no course in doubt and none with a warning was left out.
fn group(row: GroupRow, is_whole: bool) -> Option<Group> {
    let status = Status::parse(&row.status)?;
    let said = |text: String| (!text.is_empty()).then_some(text);
    let (category, code, property) = (Category::parse(&row.category), said(row.code), said(row.property));
    let mend = match status {
        // Whether it is looked up or held depends on the configuration; its own explanation tells.
        Status::Unconfirmed => {
            "see `course-sync explain KEY`: looked up by itself, or held for a person".to_owned()
        }
        // Created, and HubSpot reported an error beside the record.
        Status::Synced => {
            "nothing has to be sent: HubSpot created the record and reported this beside it".to_owned()
        }
        Status::Pending | Status::InFlight | Status::Failed => {
            mend(category, code.as_deref(), property.as_deref())
        }
    };
    Some(Group {
        status,
        category,
        code,
        property,
        courses: row.courses,
        is_exact: if status == Status::Failed { row.courses < COUNTED } else { is_whole },
        example: row.example,
        latest: row.latest.to_jiff(),
        mend,
    })
}

/// A course that failed or is in doubt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The catalogue's identifier.
    pub key: String,
    /// Failed or unconfirmed; synced with a warning.
    pub status: Status,
    /// How often it was sent.
    pub attempts: i32,
    /// What was said of it.
    pub error: Option<CourseError>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

#[derive(FromRow)]
struct FailureRow {
    course_key: String,
    status: String,
    attempts: i32,
    error: Option<Json<Value>>,
    updated_at: SqlTimestamp,
}

/// Up to `limit` failed courses, the latest to arrive first, then as many unconfirmed ones, those that are due
/// first, then as many synced ones with a warning. `groups` narrows them down to what these say, as [`groups()`] found it.
///
/// Served by `course_outbox_failures`, or `course_outbox_failed` where nothing narrows, and
/// `course_outbox_unconfirmed`; `course_outbox_warnings`.
pub async fn list(
    database: impl Into<Reach<'_>>,
    groups: Option<&[Group]>,
    limit: u32,
) -> Result<Vec<Failure>, OutboxError> {
    const LATEST: &str = "
        (select course_key, status, attempts, error, updated_at from course_outbox
          where status = 'failed' order by id desc limit $1)
        union all
        (select course_key, status, attempts, error, updated_at from course_outbox
          where status = 'unconfirmed' order by next_attempt_at, id limit $1)
        union all
        (select course_key, status, attempts, error, updated_at from course_outbox
          where status = 'synced' and error is not null order by id desc limit $1)";
    const OF_GROUPS: &str = "
        (select f.course_key, f.status, f.attempts, f.error, f.updated_at
           from unnest($2::text[], $3::text[], $4::text[]) as g (category, code, property)
          cross join lateral (
                select * from course_outbox
                 where status = 'failed' and coalesce(error ->> 'category', '') = g.category
                   and coalesce(error ->> 'code', '') = g.code and coalesce(error ->> 'property', '') = g.property
                 order by id desc limit $1) f
          order by f.id desc limit $1)
        union all
        (select course_key, status, attempts, error, updated_at from (
             select * from course_outbox where status = 'unconfirmed' order by next_attempt_at, id limit $5) d
          where coalesce(error ->> 'category', '') = any($2) order by next_attempt_at, id limit $1)
        union all
        (select course_key, status, attempts, error, updated_at from (
             select * from course_outbox where status = 'synced' and error is not null order by id desc limit $5) w
          where coalesce(error ->> 'category', '') = any($2) order by id desc limit $1)";
    let limit = i64::from(limit);
    let rows: Vec<FailureRow> = ask(database, async |session| match groups {
        None => sqlx::query_as(LATEST).bind(limit).fetch_all(session).await,
        Some(groups) => {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let category = |group: &Group| group.category.map(Category::as_str).unwrap_or_default();
            sqlx::query_as(OF_GROUPS)
                .bind(limit)
                .bind(groups.iter().map(category).collect::<Vec<_>>())
                .bind(groups.iter().map(|group| text(&group.code)).collect::<Vec<_>>())
                .bind(groups.iter().map(|group| text(&group.property)).collect::<Vec<_>>())
                .bind(DOUBTED)
                .fetch_all(session)
                .await
        }
    })
    .await
    .map_err(OutboxError::doing("list the failed courses"))?;
    Ok(rows.into_iter().filter_map(failure).collect())
}

fn failure(row: FailureRow) -> Option<Failure> {
    Some(Failure {
        key: row.course_key,
        status: Status::parse(&row.status)?,
        attempts: row.attempts,
        error: row.error.and_then(|error| serde_json::from_value(error.0).ok()),
        updated_at: row.updated_at.to_jiff(),
    })
}
