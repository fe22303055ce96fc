//! Reads pending courses page by page. Changes nothing.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use crate::course::{ClaimedCourse, HeldProperties, RowId, Write};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::lenient::Lenient;
use crate::outbox::rows::{ClaimedRow, MAX_ROW_BYTES, bounded_text};

/// The position after a page.
///
/// The time is text, because Postgres stores times that this program cannot represent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageCursor(Option<(String, RowId)>);

/// What a pending course is to become, and what is known about its record.
#[derive(Debug, Default)]
pub struct PendingState {
    /// The catalogue has withdrawn it.
    pub is_archived: bool,
    /// Its archive was released by an operator.
    pub is_released: bool,
    /// What its record is known to hold; `None`: nothing is known.
    pub held: Option<HeldProperties>,
}

impl PendingState {
    /// What a request would do with the course.
    #[must_use]
    pub fn write(&self, course: &ClaimedCourse) -> Write {
        match (self.is_archived, &course.record) {
            (true, _) => Write::Archive,
            (false, Some(_)) => Write::Update,
            (false, None) => Write::Create,
        }
    }
}

/// One page of pending courses.
#[derive(Debug, Default)]
pub struct Page {
    /// The courses, in the order of their next attempts.
    pub courses: Vec<ClaimedCourse>,
    /// The state of each of these courses.
    pub states: BTreeMap<RowId, PendingState>,
    /// Rows that cannot be parsed.
    pub unreadable: Vec<(RowId, OutboxError)>,
    /// Where the next page starts; `None`: this is the last one.
    pub next: Option<PageCursor>,
}

/// A pending row, and its time as text.
struct PendingRow {
    course: ClaimedRow,
    is_archived: bool,
    is_released: bool,
    held: Option<Lenient<Json<Value>>>,
    time: String,
}

impl FromRow<'_, PgRow> for PendingRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row as _;
        Ok(Self {
            course: ClaimedRow::from_row(row)?,
            is_archived: row.try_get("archived")?,
            is_released: row.try_get("is_released")?,
            held: row.try_get("hubspot_properties")?,
            time: row.try_get("time")?,
        })
    }
}

/// Reads the next `limit` pending courses, including those that are not due yet. Courses in flight are left out.
///
/// Index: `course_outbox_pending` and `course_sync_batch_open`.
pub async fn read_pending_page(
    database: impl Into<DatabaseRef<'_>>,
    after: PageCursor,
    limit: u16,
) -> Result<Page, OutboxError> {
    const PENDING: &str = concat!(
        "-- pending page
        select id, course_key, case when size <= $4 then text.properties end as properties,
               case when size <= $4 then text.associations end as associations, attempts, faults, doubts, doubt_property,
               false as is_blamed, coalesce(changed_at, created_at) as requested_at, false as is_doubt_recent, hubspot_id,
               case when size <= $4 then hubspot_properties end as hubspot_properties, archived,
               -- As in the claim of archives.
               archive_released as is_released,
               next_attempt_at as due, 0::bigint as candidates, gen_random_uuid() as batch,
               next_attempt_at::text as time
          from course_outbox
         cross join lateral (select ",
        bounded_text!("properties", "$4"),
        ", ",
        bounded_text!("associations", "$4"),
        ") text (properties, associations)
         cross join lateral (select octet_length(text.properties) + octet_length(text.associations)) s (size)
         where status = 'pending' and id not in (select id from course_sync_in_flight())
           and (next_attempt_at, id) > (coalesce($1::text::timestamptz, '-infinity'::timestamptz), $2)
         order by next_attempt_at, id
         limit $3"
    );
    let (time, id) = after.0.unzip();
    let query = sqlx::query_as(PENDING)
        .bind(time)
        .bind(id.map_or(0, |id| id.0))
        .bind(i64::from(limit))
        .bind(MAX_ROW_BYTES);
    let rows: Vec<PendingRow> = run_statement(database, async |session| query.fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("read pending courses"))?;
    let is_full = rows.len() == usize::from(limit);
    let last = rows.last().filter(|_| is_full);
    let next = last.map(|row| PageCursor(Some((row.time.clone(), row.course.id))));
    let mut page = Page { next, ..Page::default() };
    for row in rows {
        let id = row.course.id;
        match ClaimedCourse::try_from(row.course) {
            Ok(course) => {
                let held = row.held.and_then(Lenient::ok).map(|json| HeldProperties::parse(json.0));
                let (is_archived, is_released) = (row.is_archived, row.is_released);
                page.states.insert(id, PendingState { is_archived, is_released, held });
                page.courses.push(course);
            }
            Err(error) => page.unreadable.push((id, error)),
        }
    }
    Ok(page)
}
