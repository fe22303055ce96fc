//! Pending courses read page by page, changing nothing.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;

use super::OutboxError;
use super::database::{Reach, ask};
use super::rows::ClaimedRow;
use crate::policy::batch::{Claimed, RowId};

/// How far the reading has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position(Option<(Timestamp, i64)>);

/// One page of pending courses.
#[derive(Debug, Default)]
pub struct Page {
    /// The courses, in the order in which they would be claimed.
    pub courses: Vec<Claimed>,
    /// Rows that cannot be read.
    pub unreadable: Vec<(RowId, OutboxError)>,
    /// Where the next page begins; `None`: this is the last one.
    pub next: Option<Position>,
}

/// The next `limit` pending courses, those that are not due yet included.
///
/// Served by `course_outbox_pending`.
pub async fn pending(
    database: impl Into<Reach<'_>>,
    after: Position,
    limit: u16,
) -> Result<Page, OutboxError> {
    const PENDING: &str = "
        select id, course_key, properties, associations, attempts, faults, doubts, doubt_property, false as is_blamed,
               created_at, next_attempt_at as due, 0::bigint as candidates
          from course_outbox
         where status = 'pending' and (next_attempt_at, id) > (coalesce($1, '-infinity'::timestamptz), $2)
         order by next_attempt_at, id
         limit $3";
    let (time, id) = after.0.unzip();
    let query = sqlx::query_as(PENDING)
        .bind(time.map(ToSqlx::to_sqlx))
        .bind(id.unwrap_or_default())
        .bind(i64::from(limit));
    let rows: Vec<ClaimedRow> = ask(database, async |session| query.fetch_all(session).await)
        .await
        .map_err(OutboxError::doing("read pending courses"))?;
    let is_full = rows.len() == usize::from(limit);
    let last = rows.last().filter(|_| is_full);
    let next = last.map(|row| Position(Some((row.due.to_jiff(), row.id))));
    let mut page = Page { next, ..Page::default() };
    for row in rows {
        let id = RowId(row.id);
        match Claimed::try_from(row) {
            Ok(course) => page.courses.push(course),
            Err(error) => page.unreadable.push((id, error)),
        }
    }
    Ok(page)
}
