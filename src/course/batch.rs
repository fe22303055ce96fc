//! A claimed course, and the batch of courses in one request. Plain types: no I/O, no clock.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{Associations, BatchId, CourseKey, HubSpotId, Patch, Properties, RowId, Write};

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
    /// When the catalogue enqueued it or changed it last.
    pub requested_at: Timestamp,
    /// A request with an unknown outcome is so recent that HubSpot may still execute it.
    pub is_doubt_recent: bool,
    /// Its record; `None` while none is known.
    pub record: Option<HeldRecord>,
}

impl ClaimedCourse {
    /// For a withdrawn course: an earlier request may still create a record of it. A look-up by its key shows whether it did.
    #[must_use]
    pub fn may_be_created_late(&self) -> bool {
        self.doubts > 0 && self.doubt_property.is_some() && self.is_doubt_recent
    }
}

/// The record of a course, and what it needs to match its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRecord {
    /// Its id.
    pub id: HubSpotId,
    /// What an update sends.
    pub patch: Patch,
}

/// The courses of one request.
#[derive(Debug, Clone)]
pub struct Batch {
    id: BatchId,
    write: Write,
    unique_property: Option<String>,
    courses: Vec<ClaimedCourse>,
    unsent: Vec<ClaimedCourse>,
}

impl Batch {
    /// A batch that creates these courses. `unique_property` is the HubSpot property that carries the course's key, if one
    /// is configured.
    #[must_use]
    pub fn new(id: BatchId, courses: Vec<ClaimedCourse>, unique_property: Option<&str>) -> Self {
        Self::of(Write::Create, id, courses, unique_property)
    }

    /// A batch that does this with its courses.
    #[must_use]
    pub fn of(write: Write, id: BatchId, courses: Vec<ClaimedCourse>, unique_property: Option<&str>) -> Self {
        Self { id, write, unique_property: unique_property.map(str::to_owned), courses, unsent: Vec::new() }
    }

    /// What the request does.
    #[must_use]
    pub fn write(&self) -> Write {
        self.write
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

    /// The same batch with these courses of its claim that need no request.
    #[must_use]
    pub fn with_unsent(self, unsent: Vec<ClaimedCourse>) -> Self {
        Self { unsent, ..self }
    }

    /// The claimed course of this row, whether it is sent or needs no request.
    #[must_use]
    pub fn course(&self, id: RowId) -> Option<&ClaimedCourse> {
        self.courses.iter().chain(&self.unsent).find(|course| course.id == id)
    }

    /// The trace id of the course at `position`, unique within the request. Only with trace ids does HubSpot report
    /// each input's own result instead of refusing the whole batch.
    #[must_use]
    pub fn trace_id(&self, position: usize) -> String {
        format!("{}:{position}", self.id)
    }

    /// The properties that are sent for a course of this batch: those of a new record, including the unique one, or what
    /// its record needs.
    pub fn sent_properties<'a>(
        &'a self,
        course: &'a ClaimedCourse,
    ) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let is_new = self.write == Write::Create;
        let unique = self.unique_property();
        let key = unique.filter(|_| is_new).map(|name| (name, Cow::Borrowed(course.key.as_str())));
        let new = is_new.then_some(&course.properties).into_iter().flat_map(Properties::sent_values);
        let record = course.record.as_ref().filter(|_| self.write == Write::Update);
        let changed = record.into_iter().flat_map(|record| &record.patch);
        let changed = changed.map(|(name, value)| (name.as_str(), Cow::Borrowed(value.as_str())));
        new.filter(move |(name, _)| Some(*name) != unique).chain(key).chain(changed)
    }
}
