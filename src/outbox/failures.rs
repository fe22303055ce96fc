//! Failed courses, unconfirmed courses, and synced courses with a warning: grouped by error, and listed. Bounded in
//! size, however many there are.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::types::Json;

use crate::course::{Category, CourseError, Status};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;
use crate::outbox::lenient::{ClampedTimestamp, Lenient, LossyText};
use crate::policy::explain::remedy::remedy;

/// The largest number of groups of failed courses.
pub const MAX_GROUPS: i64 = 50;
/// The largest number of courses that is counted in a group.
pub const MAX_COUNTED: i64 = 1_000;
/// The largest number of unconfirmed courses that are read: those that are due first.
pub const MAX_UNCONFIRMED: i64 = 10_000;

/// Courses with the same status and the same kind of error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorGroup {
    /// Failed or unconfirmed; synced with a warning.
    pub status: Status,
    /// The category of the error; `None` if the row's error cannot be read.
    pub category: Option<Category>,
    /// HubSpot's error code.
    pub code: Option<String>,
    /// The property that HubSpot named.
    pub property: Option<String>,
    /// The number of courses, counted up to a limit.
    pub courses: i64,
    /// Whether `courses` is the exact number.
    pub is_exact: bool,
    /// The key of one of the courses, the latest arrival.
    pub example: String,
    /// When one of the courses last changed.
    pub latest: Timestamp,
    /// What an operator can do.
    pub fix: String,
}

struct GroupRow {
    status: String,
    category: String,
    code: String,
    property: String,
    courses: i64,
    example: LossyText,
    latest: ClampedTimestamp,
}

impl_from_row!(GroupRow { status, category, code, property, courses, example, latest });

/// Groups the courses, largest group first: of the failed courses up to [`MAX_GROUPS`], each counted up to
/// [`MAX_COUNTED`]; of the unconfirmed ones those of the [`MAX_UNCONFIRMED`] that are due first; of the synced ones
/// with a warning the latest. `category`: of this one only.
///
/// Index: `course_outbox_failures`, from group to group, `course_outbox_unconfirmed` and `course_outbox_warnings`.
pub async fn group_failures(
    database: impl Into<DatabaseRef<'_>>,
    category: Option<Category>,
) -> Result<Vec<ErrorGroup>, OutboxError> {
    const GROUPED: &str = "-- failure groups
        with recursive named (category, code, property) as (
            -- the distinct groups of failed courses: jumps from one to the next in the index, so that the cost depends
            -- on the number of groups and not on the number of courses
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
            -- stops the recursion after $2 groups
            select * from named where $1::text is null or category = $1 limit $2
        ), unconfirmed as materialized (
            -- a sample of bounded size, because these have no index by error
            select coalesce(error ->> 'category', '') as category, coalesce(error ->> 'code', '') as code,
                   coalesce(error ->> 'property', '') as property, course_key, updated_at
              from course_outbox where status = 'unconfirmed' order by next_attempt_at, id limit $4
        ), warned as materialized (
            -- the latest synced courses with a warning
            select coalesce(error ->> 'category', '') as category, coalesce(error ->> 'code', '') as code,
                   coalesce(error ->> 'property', '') as property, course_key, updated_at
              from course_outbox where status = 'synced' and error is not null order by id desc limit $4
        )
        select 'failed' as status, f.*, c.courses, e.example, c.latest
          from failed f
         cross join lateral (
               -- counted up to $3
               select count(*) as courses, max(updated_at) as latest from (
                   select updated_at from course_outbox
                    where status = 'failed' and coalesce(error ->> 'category', '') = f.category
                      and coalesce(error ->> 'code', '') = f.code and coalesce(error ->> 'property', '') = f.property
                    order by id desc limit $3) counted) c
         cross join lateral (
               -- the latest arrival of the group
               select course_key as example from course_outbox
                where status = 'failed' and coalesce(error ->> 'category', '') = f.category
                  and coalesce(error ->> 'code', '') = f.code and coalesce(error ->> 'property', '') = f.property
                order by id desc limit 1) e
        union all
        select 'unconfirmed', category, code, property, count(*), max(course_key), max(updated_at)
          from unconfirmed where $1::text is null or category = $1 group by category, code, property
        union all
        select 'synced', category, code, property, count(*), max(course_key), max(updated_at)
          from warned where $1::text is null or category = $1 group by category, code, property
         order by courses desc, status, category, code, property";
    let query = sqlx::query_as(GROUPED)
        .bind(category.map(Category::as_str))
        .bind(MAX_GROUPS)
        .bind(MAX_COUNTED)
        .bind(MAX_UNCONFIRMED);
    let rows: Vec<GroupRow> = run_statement(database, async |session| query.fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("group the failed courses"))?;
    let of =
        |status: &str| -> i64 { rows.iter().filter(|row| row.status == status).map(|row| row.courses).sum() };
    let is_whole = of("unconfirmed").max(of("synced")) < MAX_UNCONFIRMED;
    Ok(rows.into_iter().filter_map(|row| error_group(row, is_whole)).collect())
}

/// `is_whole`: no unconfirmed course and none with a warning was left out.
fn error_group(row: GroupRow, is_whole: bool) -> Option<ErrorGroup> {
    let status = Status::parse(&row.status)?;
    let non_empty = |text: String| (!text.is_empty()).then_some(text);
    let (category, code, property) =
        (Category::parse(&row.category), non_empty(row.code), non_empty(row.property));
    let fix = match status {
        // Whether it is looked up or held depends on the configuration, which `explain` shows.
        Status::Unconfirmed => {
            "see `course-sync explain KEY`: either looked up automatically, or held for an operator"
                .to_owned()
        }
        // Created, and HubSpot reported an error beside the record.
        Status::Synced => {
            "nothing to send: HubSpot created the record and reported this as a warning".to_owned()
        }
        Status::Pending | Status::InFlight | Status::Failed | Status::Archived => {
            remedy(category, code.as_deref(), property.as_deref())
        }
    };
    Some(ErrorGroup {
        status,
        category,
        code,
        property,
        courses: row.courses,
        is_exact: if status == Status::Failed { row.courses < MAX_COUNTED } else { is_whole },
        example: row.example.0,
        latest: row.latest.0,
        fix,
    })
}

/// A failed or unconfirmed course, or a synced one with a warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The catalogue's identifier.
    pub key: String,
    /// Failed or unconfirmed; synced with a warning.
    pub status: Status,
    /// How often it was sent.
    pub attempts: i32,
    /// Its error.
    pub error: Option<CourseError>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

struct FailureRow {
    course_key: LossyText,
    status: String,
    attempts: i32,
    error: Option<Lenient<Json<CourseError>>>,
    updated_at: ClampedTimestamp,
}

impl_from_row!(FailureRow { course_key, status, attempts, error, updated_at });

/// Lists up to `limit` failed courses, the latest arrival first; then up to `limit` unconfirmed ones, those that are
/// due first; then up to `limit` synced ones with a warning. `groups` limits the list to these groups, as
/// [`group_failures`] found them.
///
/// Index: `course_outbox_failures`, or `course_outbox_failed` where nothing narrows, and
/// `course_outbox_unconfirmed`; `course_outbox_warnings`.
pub async fn list_failures(
    database: impl Into<DatabaseRef<'_>>,
    groups: Option<&[ErrorGroup]>,
    limit: u32,
) -> Result<Vec<Failure>, OutboxError> {
    const LATEST: &str = "-- latest failures
        (select course_key, status, attempts, error, updated_at from course_outbox
          where status = 'failed' order by id desc limit $1)
        union all
        (select course_key, status, attempts, error, updated_at from course_outbox
          where status = 'unconfirmed' order by next_attempt_at, id limit $1)
        union all
        (select course_key, status, attempts, error, updated_at from course_outbox
          where status = 'synced' and error is not null order by id desc limit $1)";
    const OF_GROUPS: &str = "-- failures of groups
        -- up to $1 failed courses of the given groups
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
    let rows: Vec<FailureRow> = run_statement(database, async |session| match groups {
        None => sqlx::query_as(LATEST).bind(limit).fetch_all(session).await,
        Some(groups) => {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let category = |group: &ErrorGroup| group.category.map(Category::as_str).unwrap_or_default();
            sqlx::query_as(OF_GROUPS)
                .bind(limit)
                .bind(groups.iter().map(category).collect::<Vec<_>>())
                .bind(groups.iter().map(|group| text(&group.code)).collect::<Vec<_>>())
                .bind(groups.iter().map(|group| text(&group.property)).collect::<Vec<_>>())
                .bind(MAX_UNCONFIRMED)
                .fetch_all(session)
                .await
        }
    })
    .await
    .map_err(OutboxError::failed_to("list the failed courses"))?;
    Ok(rows.into_iter().filter_map(failure_of).collect())
}

fn failure_of(row: FailureRow) -> Option<Failure> {
    Some(Failure {
        key: row.course_key.0,
        status: Status::parse(&row.status)?,
        attempts: row.attempts,
        error: row.error.and_then(Lenient::ok).map(|error| error.0),
        updated_at: row.updated_at.0,
    })
}
