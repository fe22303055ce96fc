//! Reads which properties the courses use that HubSpot has still to accept, and what their values look like. For `check`.

use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;
use crate::policy::properties::plan::PropertyUse;

/// The most courses of each status that are read: the pending ones that are due first, and the newest failed ones.
const COURSES: i64 = 10_000;
/// The most values of one property that are read, and the most characters of a value that may be an option.
const VALUES: i64 = 200;
const VALUE_LENGTH: i32 = 200;

impl_from_row!(PropertyUse { name, courses, are_booleans, are_numbers, are_dates, are_times, longest });

/// The courses whose properties are read, as `course`. Failed ones too: a missing property may be the reason.
macro_rules! courses {
    () => {
        "with course as materialized (
            (select properties from course_outbox where status = 'pending' order by next_attempt_at, id limit $1)
            union all
            (select properties from course_outbox where status = 'failed' order by id desc limit $1)
        ), value as (
            select name, jsonb_typeof(value) as kind, value #>> '{}' as text
              from course cross join lateral jsonb_each(properties) as p (name, value)
             where jsonb_typeof(value) <> 'null' and value #>> '{}' <> ''
        )"
    };
}

/// The properties that courses use, by name.
///
/// Index: `course_outbox_pending` and `course_outbox_failed`.
pub async fn read_property_uses(
    database: impl Into<DatabaseRef<'_>>,
) -> Result<Vec<PropertyUse>, OutboxError> {
    const USES: &str = concat!(
        "-- property uses
        ",
        courses!(),
        r"
        select name, count(*) as courses,
               bool_and(kind = 'boolean' or lower(text) in ('true', 'false')) as are_booleans,
               -- A leading zero is part of a code, not of a number.
               bool_and(kind = 'number' or text ~ '^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?$') as are_numbers,
               bool_and(text ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$') as are_dates,
               bool_and(text ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}') as are_times,
               max(length(text)) as longest
          from value group by name order by name"
    );
    run_statement(database, async |session| sqlx::query_as(USES).bind(COURSES).fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("read the properties that courses use"))
}

/// The values that courses have for these properties, as name and value. Long values are left out: they are no options.
///
/// Index: `course_outbox_pending` and `course_outbox_failed`.
pub async fn read_property_values(
    database: impl Into<DatabaseRef<'_>>,
    names: &[&str],
) -> Result<Vec<(String, String)>, OutboxError> {
    const TEXTS: &str = concat!(
        "-- property values
        ",
        courses!(),
        "
        select name, text
          from (select name, text, row_number() over (partition by name order by count(*) desc, text) as place
                  from value where name = any($2) and length(text) <= $4 group by name, text) counted
         where place <= $3 order by name, text"
    );
    run_statement(database, async |session| {
        sqlx::query_as(TEXTS)
            .bind(COURSES)
            .bind(names)
            .bind(VALUES)
            .bind(VALUE_LENGTH)
            .fetch_all(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("read the values of properties"))
}
