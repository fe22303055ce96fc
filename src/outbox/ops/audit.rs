//! Reads every course with its outcome, to verify a finished run of bounded size (`demo`).

use serde_json::Value;
use sqlx::types::Json;

use crate::course::{CourseError, Status};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;

/// A course and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedCourse {
    /// The catalogue's identifier.
    pub key: String,
    /// Its status.
    pub status: Status,
    /// Its record in HubSpot.
    pub hubspot_id: Option<String>,
    /// Its last error.
    pub error: Option<CourseError>,
}

struct AuditRow {
    course_key: String,
    status: String,
    hubspot_id: Option<String>,
    error: Option<Json<Value>>,
}

impl_from_row!(AuditRow { course_key, status, hubspot_id, error });

/// Reads all courses in order of arrival into memory.
///
/// Index: none; it scans the whole table.
pub async fn read_all_courses(
    database: impl Into<DatabaseRef<'_>>,
) -> Result<Vec<AuditedCourse>, OutboxError> {
    const ALL: &str = "select course_key, status, hubspot_id, error from course_outbox order by id";
    let rows: Vec<AuditRow> =
        run_statement(database, async |session| sqlx::query_as(ALL).fetch_all(session).await)
            .await
            .map_err(OutboxError::failed_to("read all courses"))?;
    Ok(rows.into_iter().filter_map(outcome).collect())
}

/// `None` for a status that the table's check does not allow.
fn outcome(row: AuditRow) -> Option<AuditedCourse> {
    Some(AuditedCourse {
        key: row.course_key,
        status: Status::parse(&row.status)?,
        hubspot_id: row.hubspot_id,
        error: row.error.and_then(|error| serde_json::from_value(error.0).ok()),
    })
}
