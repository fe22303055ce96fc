//! Reads pending courses page by page. Changes nothing.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;

use crate::course::{ClaimedCourse, RowId};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::rows::ClaimedRow;

/// The position after a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageCursor(Option<(Timestamp, RowId)>);

/// One page of pending courses.
#[derive(Debug, Default)]
pub struct Page {
    /// The courses, in the order in which they would be claimed.
    pub courses: Vec<ClaimedCourse>,
    /// Rows that cannot be parsed.
    pub unreadable: Vec<(RowId, OutboxError)>,
    /// Where the next page starts; `None`: this is the last one.
    pub next: Option<PageCursor>,
}

/// Reads the next `limit` pending courses, including those that are not due yet.
///
/// Index: `course_outbox_pending`.
pub async fn read_pending_page(
    database: impl Into<DatabaseRef<'_>>,
    after: PageCursor,
    limit: u16,
) -> Result<Page, OutboxError> {
    const PENDING: &str = "-- pending page
        select id, course_key, properties, associations, attempts, faults, doubts, doubt_property, false as is_blamed,
               created_at, next_attempt_at as due, 0::bigint as candidates
          from course_outbox
         where status = 'pending' and (next_attempt_at, id) > (coalesce($1, '-infinity'::timestamptz), $2)
         order by next_attempt_at, id
         limit $3";
    let (time, id) = after.0.unzip();
    let query = sqlx::query_as(PENDING)
        .bind(time.map(ToSqlx::to_sqlx))
        .bind(id.map_or(0, |id| id.0))
        .bind(i64::from(limit));
    let rows: Vec<ClaimedRow> = run_statement(database, async |session| query.fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("read pending courses"))?;
    let is_full = rows.len() == usize::from(limit);
    let last = rows.last().filter(|_| is_full);
    let next = last.map(|row| PageCursor(Some((row.due.to_jiff(), row.id))));
    let mut page = Page { next, ..Page::default() };
    for row in rows {
        let id = row.id;
        match ClaimedCourse::try_from(row) {
            Ok(course) => page.courses.push(course),
            Err(error) => page.unreadable.push((id, error)),
        }
    }
    Ok(page)
}
