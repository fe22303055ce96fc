//! A course whose outcome is unknown, as the outbox stores it.

use jiff::Timestamp;

use super::{BatchId, CourseError, CourseKey, Doubt, RowId};

/// A course whose row is `unconfirmed`.
#[derive(Debug, Clone)]
pub struct UnconfirmedCourse {
    /// The row.
    pub id: RowId,
    /// The batch in which it was last sent.
    pub batch: BatchId,
    /// The catalogue's identifier.
    pub key: CourseKey,
    /// The catalogue has withdrawn it.
    pub is_archived: bool,
    /// What is not known about it.
    pub doubt: Doubt,
    /// The HubSpot property that carried its key, by which it is looked up. `None`: no look-up can prove anything.
    pub property: Option<String>,
    /// When the first request was claimed whose outcome is unknown.
    pub doubted_since: Timestamp,
    /// When it was last sent.
    pub sent_at: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
    /// How many of its attempts failed because of the course itself.
    pub faults: u32,
    /// How often its outcome was unknown.
    pub doubts: u32,
    /// How many courses the request carried in which it was sent last; 0: it was not sent.
    pub batch_size: usize,
    /// An earlier request with it failed without naming a course.
    pub is_suspect: bool,
    /// The error in its row.
    pub error: Option<CourseError>,
    /// When the catalogue enqueued it.
    pub created_at: Timestamp,
}
