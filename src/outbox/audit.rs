//! Every course with its outcome, read whole: for whoever judges a finished run of bounded size.

use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;

use super::OutboxError;
use super::database::{Reach, ask};
use crate::course::{CourseError, Status};

/// A course and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// The catalogue's identifier.
    pub key: String,
    /// Its status.
    pub status: Status,
    /// Its record in HubSpot.
    pub hubspot_id: Option<String>,
    /// Its last error.
    pub error: Option<CourseError>,
}

#[derive(FromRow)]
struct Row {
    course_key: String,
    status: String,
    hubspot_id: Option<String>,
    error: Option<Json<Value>>,
}

/// All courses in order of arrival. Holds them all in memory.
///
/// Served by a scan of the whole table.
pub async fn all(database: impl Into<Reach<'_>>) -> Result<Vec<Audited>, OutboxError> {
    const ALL: &str = "select course_key, status, hubspot_id, error from course_outbox order by id";
    let rows: Vec<Row> = ask(database, async |session| sqlx::query_as(ALL).fetch_all(session).await)
        .await
        .map_err(OutboxError::doing("read all courses"))?;
    Ok(rows.into_iter().filter_map(audited).collect())
}

/// The table's check knows no other status than [`Status`] does.
fn audited(row: Row) -> Option<Audited> {
    Some(Audited {
        key: row.course_key,
        status: Status::parse(&row.status)?,
        hubspot_id: row.hubspot_id,
        error: row.error.and_then(|error| serde_json::from_value(error.0).ok()),
    })
}
