//! The history of one course as plain values: its row, its events, the requests that carried it.
//! Values only; `outbox/history.rs` reads them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::course::{BatchId, CourseError, Status};

/// Everything that the database holds about one course.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CourseHistory {
    /// Its row.
    pub course: CourseRow,
    /// Events other than a plain success, oldest first.
    pub events: Vec<CourseEvent>,
    /// The requests that are known to have carried it, oldest first.
    pub requests: Vec<CourseRequest>,
    /// Older events or requests were left out.
    #[serde(rename = "is_cut")]
    pub is_truncated: bool,
}

impl CourseHistory {
    /// Whether an operator resolved the course as created: then its row became synced in the same statement.
    pub(super) fn was_resolved_as_created(&self, event: &CourseEvent) -> bool {
        event.event == EventKind::Resolved && self.course.synced_at == Some(event.at)
    }
}

/// The row of a course in the outbox.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct CourseRow {
    /// The catalogue's identifier.
    pub key: String,
    /// Its `hs_course_name`, if it has one.
    pub name: Option<String>,
    /// Its revision: it grows with each change by the catalogue.
    pub revision: i64,
    /// The revision that HubSpot is known to hold.
    pub synced_revision: Option<i64>,
    /// The catalogue has withdrawn it.
    pub archived: bool,
    /// An operator has released this withdrawal: it is not held.
    pub archive_released: bool,
    /// When the catalogue last changed it.
    pub changed_at: Option<Timestamp>,
    /// Unconfirmed: it is not known whether its record has the last change.
    pub is_change_unknown: bool,
    /// Its status.
    pub status: Status,
    /// In flight: why the outcome is known and cannot be written to the row.
    pub blocked: Option<String>,
    /// How often it was sent.
    pub attempts: u32,
    /// How many of its attempts failed because of the course itself.
    pub faults: u32,
    /// How often its outcome was unknown.
    pub doubts: u32,
    /// The course was sent with its key, so that a look-up by the key can show whether it was created.
    pub carried_key: bool,
    /// It was in a request that failed without naming a course.
    pub is_suspect: bool,
    /// The largest batch it may be sent in.
    pub batch_limit: u16,
    /// Pending: not sent before this time. Unconfirmed: not looked up before this time.
    pub next_attempt_at: Timestamp,
    /// Its record in HubSpot.
    pub hubspot_id: Option<String>,
    /// Its last error.
    pub error: Option<CourseError>,
    /// When the catalogue enqueued it.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it became synced.
    pub synced_at: Option<Timestamp>,
}

/// The kinds of events that `course_sync_history` stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// HubSpot had a record with its key before the course was sent.
    Adopted,
    /// Its outcome was unknown, and it was found in HubSpot.
    Confirmed,
    /// HubSpot refused it for good, or its attempts are used up.
    Failed,
    /// HubSpot did not take it; it is sent again.
    Deferred,
    /// It was sent, and the outcome is unknown.
    Unconfirmed,
    /// An operator retried it; or, with a request, it was retried because the account's properties had changed.
    Retried,
    /// An operator settled it: which record it is, or that it was not created.
    Resolved,
    /// HubSpot updated its record, with a remark.
    Updated,
    /// Its record was archived.
    Archived,
    /// A request whose outcome was unknown changed the record late. The row's revision is sent again.
    Repaired,
}

/// One event of a course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CourseEvent {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub event: EventKind,
    /// The request that caused it.
    pub request: Option<BatchId>,
    /// The error at that time.
    pub error: Option<CourseError>,
    /// The record that the event is about, if it is not the row's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hubspot_id: Option<String>,
}

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To create courses.
    Create,
    /// To update their records.
    Update,
    /// To archive their records.
    Archive,
    /// To look courses up.
    Read,
    /// To read the account's properties.
    Schema,
}

/// One request of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CourseRequest {
    /// Its identifier in the journal.
    pub id: BatchId,
    /// What it was for.
    pub operation: Purpose,
    /// When it was claimed, just before it was sent.
    pub at: Timestamp,
    /// How many courses it carried.
    pub courses: u32,
    /// When it ended; not stored for reads.
    pub answered_at: Option<Timestamp>,
    /// The HTTP status of the response, if there was one.
    pub http_status: Option<u16>,
    /// HubSpot's identifier of the request, for its support.
    pub correlation_id: Option<String>,
    /// How it ended, as the label `outcome` of the metric `requests_total`. A request that ended without an outcome
    /// was never sent.
    pub outcome: Option<String>,
}
