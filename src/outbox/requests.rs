//! The requests to HubSpot, as the journal of intents keeps them, for a person's eyes.

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::OutboxError;
use super::database::{Reach, ask};

/// A request to HubSpot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its id, and the claim's.
    pub batch: Uuid,
    /// `create`, `read` or `schema`.
    pub operation: String,
    /// How many courses it concerns.
    pub courses: i32,
    /// When its intent was written.
    pub claimed_at: Timestamp,
    /// Whether it is under way, as far as its sender is there.
    pub is_open: bool,
    /// When it ended; `None`: it is open, its sender is gone, or it was a read, whose end is not kept.
    pub answered_at: Option<Timestamp>,
    /// How it ended, in the words of the metrics. Where it ended without, nothing was sent.
    pub outcome: Option<String>,
    /// The status of the answer, if one came.
    pub http_status: Option<i32>,
    /// HubSpot's identifier of it.
    pub correlation_id: Option<String>,
}

#[derive(FromRow)]
struct RequestRow {
    batch_id: Uuid,
    operation: String,
    courses: i32,
    claimed_at: SqlTimestamp,
    is_open: bool,
    answered_at: Option<SqlTimestamp>,
    outcome: Option<String>,
    http_status: Option<i32>,
    correlation_id: Option<String>,
}

/// The newest `limit` requests, newest first.
///
/// Served by the primary key: an id begins with the time at which it was made.
pub async fn newest(database: impl Into<Reach<'_>>, limit: i64) -> Result<Vec<Request>, OutboxError> {
    const NEWEST: &str = "
        select batch_id, operation, cardinality(row_ids) as courses, claimed_at, state = 'open' as is_open, answered_at, outcome,
               http_status, correlation_id
          from course_sync_batch order by batch_id desc limit $1";
    let rows: Vec<RequestRow> =
        ask(database, async |session| sqlx::query_as(NEWEST).bind(limit).fetch_all(session).await)
            .await
            .map_err(OutboxError::doing("read the newest requests"))?;
    let request = |row: RequestRow| Request {
        batch: row.batch_id,
        operation: row.operation,
        courses: row.courses,
        claimed_at: row.claimed_at.to_jiff(),
        is_open: row.is_open,
        answered_at: row.answered_at.map(SqlTimestamp::to_jiff),
        outcome: row.outcome,
        http_status: row.http_status,
        correlation_id: row.correlation_id,
    };
    Ok(rows.into_iter().map(request).collect())
}
