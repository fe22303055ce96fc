//! Enqueues the rows that an attached table has, page by page. Touches the database.
//!
//! Each page is one statement and one transaction. It locks its rows, so a row that the catalogue changes or deletes at the
//! same time cannot be enqueued as it was before. It writes only courses that differ, so it can be run again.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Row};

use super::plan::{Attachment, TableShape};
use super::sql::page::{count_without_key_sql, page_sql};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};

/// The rows of a page.
const PAGE_ROWS: i64 = 1000;
/// The wait after a page whose rows were locked by another transaction, and the longest one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a backfill has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct BackfillReport {
    /// Rows that were read.
    pub rows: u64,
    /// Rows that meet the condition.
    pub courses: u64,
    /// Courses that were added or changed; the others were in the outbox as they are.
    pub written: u64,
    /// Courses that the outbox cannot hold.
    pub refused: u64,
    /// Rows that meet the condition and have no key.
    pub without_key: u64,
}

struct BackfillPage {
    seen: i64,
    last_key: Option<Vec<String>>,
}

/// Enqueues every row. `on_page` is called after each page.
///
/// # Errors
/// [`OutboxError::Statement`]; what was enqueued before stays.
pub async fn backfill(
    database: impl Into<DatabaseRef<'_>>,
    attachment: &Attachment,
    shape: &TableShape,
    on_page: impl Fn(&BackfillReport),
) -> Result<BackfillReport, OutboxError> {
    let database = database.into();
    let mut report = BackfillReport::default();
    let (mut after, mut wait, mut rows) = (None, FIRST_WAIT, PAGE_ROWS);
    loop {
        match enqueue_page(database, attachment, shape, after.as_deref(), rows, &mut report).await {
            Ok(BackfillPage { seen, last_key }) => {
                on_page(&report);
                if seen < rows || last_key.is_none() {
                    break;
                }
                (after, wait, rows) = (last_key, FIRST_WAIT, PAGE_ROWS);
            }
            // Another transaction holds a row. A smaller page is less likely to meet one.
            Err(error) if error.is_lock_timeout() || error.is_deadlock() => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
                rows = (rows / 10).max(1);
            }
            Err(error) => return Err(error),
        }
    }
    let is_nullable = |name: &String| shape.column(name).is_none_or(|column| !column.is_not_null);
    if attachment.key.iter().any(is_nullable) {
        report.without_key = count_without_key(database, attachment, shape).await?;
    }
    Ok(report)
}

/// Index: one on the columns of the key.
async fn enqueue_page(
    database: DatabaseRef<'_>,
    attachment: &Attachment,
    shape: &TableShape,
    after: Option<&[String]>,
    rows: i64,
    report: &mut BackfillReport,
) -> Result<BackfillPage, OutboxError> {
    // Safe: names and values are quoted in `quote.rs`; the condition is the operator's own SQL.
    let query = sqlx::query(AssertSqlSafe(page_sql(attachment, shape, after.is_none()))).bind(rows);
    let query = match after {
        Some(key) => query.bind(key.to_vec()),
        None => query,
    };
    let row = run_statement(database, async |session| query.fetch_one(session).await)
        .await
        .map_err(OutboxError::failed_to("enqueue the rows of the table"))?;
    let read = || -> Result<(BackfillPage, [i64; 3]), sqlx::Error> {
        let page = BackfillPage { seen: row.try_get("seen")?, last_key: row.try_get("last_key")? };
        Ok((page, [row.try_get("courses")?, row.try_get("written")?, row.try_get("refused")?]))
    };
    let (page, [courses, written, refused]) =
        read().map_err(OutboxError::failed_to("enqueue the rows of the table"))?;
    let count = |value: i64| u64::try_from(value).unwrap_or_default();
    report.rows += count(page.seen);
    report.courses += count(courses);
    report.written += count(written);
    report.refused += count(refused);
    Ok(page)
}

async fn count_without_key(
    database: DatabaseRef<'_>,
    attachment: &Attachment,
    shape: &TableShape,
) -> Result<u64, OutboxError> {
    // Safe: as above.
    let query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(count_without_key_sql(attachment, shape)));
    let count = run_statement(database, async |session| query.fetch_one(session).await)
        .await
        .map_err(OutboxError::failed_to("count the rows that have no key"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}
