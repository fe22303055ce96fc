//! Reads the newest requests to HubSpot from the journal, for the console.

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;

use crate::course::BatchId;
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;

/// A request to HubSpot, as the journal shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRequest {
    /// Its id, which is also the id of its claim.
    pub batch: BatchId,
    /// `create`, `read` or `schema`.
    pub operation: String,
    /// The number of its courses.
    pub courses: i32,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// Whether it is in flight, or its sender stopped and no new leader has found it yet.
    pub is_open: bool,
    /// When it ended; `None`: it is open, or its end was not recorded.
    pub answered_at: Option<Timestamp>,
    /// Its outcome, named as in the metrics. If it ended without one, nothing was sent.
    pub outcome: Option<String>,
    /// The HTTP status of the response, if one came.
    pub http_status: Option<i32>,
    /// HubSpot's identifier of it.
    pub correlation_id: Option<String>,
}

struct RequestRow {
    batch_id: BatchId,
    operation: String,
    courses: i32,
    claimed_at: SqlTimestamp,
    is_open: bool,
    answered_at: Option<SqlTimestamp>,
    outcome: Option<String>,
    http_status: Option<i32>,
    correlation_id: Option<String>,
}

impl_from_row!(RequestRow {
    batch_id,
    operation,
    courses,
    claimed_at,
    is_open,
    answered_at,
    outcome,
    http_status,
    correlation_id,
});

impl From<RequestRow> for JournalRequest {
    fn from(row: RequestRow) -> Self {
        Self {
            batch: row.batch_id,
            operation: row.operation,
            courses: row.courses,
            claimed_at: row.claimed_at.to_jiff(),
            is_open: row.is_open,
            answered_at: row.answered_at.map(SqlTimestamp::to_jiff),
            outcome: row.outcome,
            http_status: row.http_status,
            correlation_id: row.correlation_id,
        }
    }
}

/// Reads the newest `limit` requests, newest first.
///
/// Index: the primary key, whose ids sort by time.
pub async fn newest_requests(
    database: impl Into<DatabaseRef<'_>>,
    limit: i64,
) -> Result<Vec<JournalRequest>, OutboxError> {
    const NEWEST: &str = "-- newest requests
        select batch_id, operation, cardinality(row_ids) as courses, claimed_at, state = 'open' as is_open, answered_at, outcome,
               http_status, correlation_id
          from course_sync_batch order by batch_id desc limit $1";
    let rows: Vec<RequestRow> =
        run_statement(database, async |session| sqlx::query_as(NEWEST).bind(limit).fetch_all(session).await)
            .await
            .map_err(OutboxError::failed_to("read the newest requests"))?;
    Ok(rows.into_iter().map(JournalRequest::from).collect())
}
