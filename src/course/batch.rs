//! A claimed course, and the batch of courses in one request. Plain types: no I/O, no clock.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{Associations, BatchId, CourseKey, Properties, RowId};

/// The largest number of courses that HubSpot accepts in one request.
pub const MAX_COURSES: u16 = 100;

/// A claimed course: an open request in the journal lists its row.
#[derive(Debug, Clone)]
pub struct ClaimedCourse {
    /// The row.
    pub id: RowId,
    /// The catalogue's identifier.
    pub key: CourseKey,
    /// The properties to send.
    pub properties: Properties,
    /// The associations to send.
    pub associations: Associations,
    /// How often it was sent, including this time.
    pub attempts: u32,
    /// How many of its attempts failed because of the course itself. Only these count towards `retry.max_attempts`.
    pub faults: u32,
    /// How often its outcome was unknown. If above 0, HubSpot may already hold it.
    pub doubts: u32,
    /// The HubSpot property that carried its key when its outcome was unknown for the first time.
    pub doubt_property: Option<String>,
    /// It failed in a request of its own, and the evidence of other requests shows that the course caused it.
    pub is_blamed: bool,
    /// When the catalogue enqueued it.
    pub created_at: Timestamp,
}

/// The courses of one request.
#[derive(Debug, Clone)]
pub struct Batch {
    id: BatchId,
    unique_property: Option<String>,
    courses: Vec<ClaimedCourse>,
}

impl Batch {
    /// A batch of these courses. `unique_property` is the HubSpot property that carries the course's key, if one is
    /// configured.
    #[must_use]
    pub fn new(id: BatchId, courses: Vec<ClaimedCourse>, unique_property: Option<&str>) -> Self {
        Self { id, unique_property: unique_property.map(str::to_owned), courses }
    }

    /// The id under which the intent was written.
    #[must_use]
    pub fn id(&self) -> BatchId {
        self.id
    }

    /// The property that carries the course's key.
    #[must_use]
    pub fn unique_property(&self) -> Option<&str> {
        self.unique_property.as_deref()
    }

    /// The courses, in the order in which they are sent.
    #[must_use]
    pub fn courses(&self) -> &[ClaimedCourse] {
        &self.courses
    }

    /// The trace id of the course at `position`, unique within the request. Only with trace ids does HubSpot report
    /// each input's own result instead of refusing the whole batch.
    #[must_use]
    pub fn trace_id(&self, position: usize) -> String {
        format!("{}:{position}", self.id)
    }

    /// The properties that are sent for a course of this batch, including the unique one.
    pub fn sent_properties<'a>(
        &'a self,
        course: &'a ClaimedCourse,
    ) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let unique = self.unique_property();
        let key = unique.map(|name| (name, Cow::Borrowed(course.key.as_str())));
        course.properties.sent_values().filter(move |(name, _)| Some(*name) != unique).chain(key)
    }
}
