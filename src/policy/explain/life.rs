//! The life of one course as plain values: its row, what happened to it, the requests that carried it.
//! Values only; `outbox/history.rs` reads them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::course::{CourseError, Status};

/// Everything that is known of one course.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Life {
    /// Its row.
    pub course: Course,
    /// What did not go smoothly, oldest first.
    pub events: Vec<Event>,
    /// The requests that are known to have carried it, oldest first.
    pub requests: Vec<Request>,
    /// There were more than these; the latest are kept.
    pub is_cut: bool,
}

impl Life {
    /// Whether this was a person's word that it is HubSpot's record so-and-so: the row was written with it.
    pub(super) fn is_settled_by(&self, event: &Event) -> bool {
        event.event == Happening::Resolved && self.course.synced_at == Some(event.at)
    }
}

/// The row of a course.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Course {
    /// The catalogue's identifier.
    pub key: String,
    /// Its `hs_course_name`, where it has one.
    pub name: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// How often it was sent.
    pub attempts: u32,
    /// How many of its attempts failed by its own fault.
    pub faults: u32,
    /// How often its outcome was unknown.
    pub doubts: u32,
    /// A look-up by its key can prove what became of it.
    pub carried_key: bool,
    /// It failed in a request that named no course.
    pub is_suspect: bool,
    /// The largest batch it may travel in.
    pub batch_limit: u16,
    /// Pending: not sent before. Unconfirmed: HubSpot is not asked before.
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

/// What can happen to a course, as `course_sync_history` keeps it: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// HubSpot held a record under its key before it was ever sent.
    Adopted,
    /// It was in doubt, and HubSpot holds it.
    Confirmed,
    /// HubSpot refused it for good, or its attempts ran out.
    Failed,
    /// HubSpot did not take it; it goes again.
    Deferred,
    /// Sent, outcome unknown.
    Unconfirmed,
    /// A person put it back; or, in a request, the account's properties had changed.
    Retried,
    /// A person said what became of it: which record it is, or that there is none.
    Resolved,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: Happening,
    /// The request it happened in.
    pub request: Option<Uuid>,
    /// The error at that time.
    pub error: Option<CourseError>,
}

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To create courses.
    Create,
    /// To look doubts up.
    Read,
    /// To read the account's schema.
    Schema,
}

/// One request of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its identifier here.
    pub id: Uuid,
    /// What for.
    pub operation: Purpose,
    /// When it was about to be sent.
    pub at: Timestamp,
    /// How many courses it carried.
    pub courses: u32,
    /// When it ended; of reads it is not kept.
    pub answered_at: Option<Timestamp>,
    /// The status of the answer, if one came.
    pub http_status: Option<u16>,
    /// HubSpot's identifier of it, for its support.
    pub correlation_id: Option<String>,
    /// How it ended, in the words of the metric `requests_total`; of one that ended without, nothing was sent.
    pub outcome: Option<String>,
}
