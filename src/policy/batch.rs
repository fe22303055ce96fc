//! What travels together: a claim becomes a batch, and courses that cannot be sent as they stand
//! are told apart before they cost a request.
//!
//! How many courses a claim takes, in number and bytes, is the claim statement's work (`outbox/claim.rs`), because it alone can leave the rest untouched.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::course::{Associations, Category, CourseError, CourseKey, Doubt, Properties, Transition};

/// The outbox's number of a course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub i64);

/// HubSpot's own limit of courses a request.
pub const MAX_COURSES: u16 = 100;

/// A course that was claimed: its row says `in_flight` under the batch's id.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The row.
    pub id: RowId,
    /// The catalogue's identifier.
    pub key: CourseKey,
    /// What to send.
    pub properties: Properties,
    /// What to link it to.
    pub associations: Associations,
    /// How often it was sent, this time included.
    pub attempts: u32,
    /// How many of its attempts failed by its own fault.
    pub faults: u32,
    /// How often its outcome was unknown. Above 0, HubSpot may hold it already.
    pub doubts: u32,
    /// The HubSpot property that carried its key when its outcome was unknown.
    pub doubt_property: Option<String>,
    /// Its last failure, alone in a request, is its own by the evidence of the other requests.
    pub is_blamed: bool,
    /// When the catalogue enqueued it.
    pub created_at: Timestamp,
}

/// A course that is not sent as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The row.
    pub id: RowId,
    /// The catalogue's identifier; `None` where the row cannot be read.
    pub key: Option<CourseKey>,
    /// Why.
    pub error: CourseError,
}

impl Unfit {
    /// This course is, for this reason.
    #[must_use]
    pub fn of(course: &Claimed, error: CourseError) -> Self {
        Self { id: course.id, key: Some(course.key.clone()), error }
    }

    /// The course, if a request under `unique_property` could create it a second time: an earlier request may still
    /// create it, with its key in another property, and HubSpot would not notice.
    #[must_use]
    pub fn if_unguarded(course: &Claimed, unique_property: Option<&str>, now: Timestamp) -> Option<Self> {
        let before = course.doubt_property.as_deref().filter(|_| course.doubts > 0)?;
        (unique_property != Some(before)).then(|| {
            let message = format!(
                "an earlier request may have created this course with its key in the HubSpot property {before:?}, and \
                 hubspot.unique_property names another one now, so HubSpot would not refuse a second record; the course \
                 is looked up by {before:?} and not sent"
            );
            Self::of(course, CourseError::new(Category::UnknownOutcome, &message, now))
        })
    }

    /// What becomes of it.
    #[must_use]
    pub fn transition(&self) -> Transition {
        let error = self.error.clone();
        match error.category {
            Category::UnknownOutcome => Transition::Unconfirmed {
                error,
                doubt: Doubt::Unknown,
                batch_limit: None,
                look_after: Duration::ZERO,
            },
            _ => Transition::Failed { error },
        }
    }
}

/// The courses of one request.
#[derive(Debug, Clone)]
pub struct Batch {
    id: Uuid,
    unique_property: Option<String>,
    courses: Vec<Claimed>,
}

impl Batch {
    /// Makes a batch of a claim. Second, the courses that cannot be sent as they stand, with the reason.
    ///
    /// `unique_property` is the HubSpot property that carries the course's key, if there is one.
    #[must_use]
    pub fn assemble(
        id: Uuid,
        claimed: Vec<Claimed>,
        unique_property: Option<&str>,
        now: Timestamp,
    ) -> (Self, Vec<Unfit>) {
        let mut courses = Vec::with_capacity(claimed.len());
        let mut unfit = Vec::new();
        for course in claimed {
            match unfit_reason(&course, unique_property) {
                None => courses.push(course),
                Some(reason) => {
                    unfit.push(Unfit::of(&course, CourseError::new(Category::InvalidRow, &reason, now)));
                }
            }
        }
        (Self { id, unique_property: unique_property.map(str::to_owned), courses }, unfit)
    }

    /// The batch's identifier, as its intent was written.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The property that carries the course's key.
    #[must_use]
    pub fn unique_property(&self) -> Option<&str> {
        self.unique_property.as_deref()
    }

    /// The courses, in the order in which they are sent.
    #[must_use]
    pub fn courses(&self) -> &[Claimed] {
        &self.courses
    }

    /// What HubSpot is to call the course at `position`: unique within the request, and what makes
    /// HubSpot answer for each input instead of refusing all for one.
    #[must_use]
    pub fn trace_id(&self, position: usize) -> String {
        format!("{}:{position}", self.id)
    }

    /// Every property that is sent for a course of this batch, the unique one included.
    pub fn sent<'a>(&'a self, course: &'a Claimed) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let unique = self.unique_property();
        let key = unique.map(|name| (name, Cow::Borrowed(course.key.as_str())));
        course.properties.sent().filter(move |(name, _)| Some(*name) != unique).chain(key)
    }
}

/// Why a course cannot be sent as it stands.
fn unfit_reason(course: &Claimed, unique_property: Option<&str>) -> Option<String> {
    let unique = unique_property?;
    if course.key.as_str().trim().is_empty() {
        return Some(format!(
            "the course key is blank, and HubSpot would take it for no value of property {unique:?} \
             (hubspot.unique_property); give the course another key"
        ));
    }
    let own = course.properties.get(unique)?;
    (own != course.key.as_str()).then(|| {
        format!(
            "property {unique:?} is reserved for the course key (hubspot.unique_property) but the course \
             brings {own:?}; leave it out of `properties`"
        )
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn claimed(id: i64, key: &str, properties: &str) -> Claimed {
        Claimed {
            id: RowId(id),
            key: CourseKey::parse(key).unwrap(),
            properties: Properties::parse(serde_json::from_str(properties).unwrap()).unwrap(),
            associations: Associations::default(),
            attempts: 1,
            faults: 0,
            doubts: 0,
            doubt_property: None,
            is_blamed: false,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_unique_property_carries_the_key() {
        let claims = vec![claimed(1, "A", r#"{"x":"1"}"#), claimed(2, "B", r#"{"key":"B"}"#)];
        let (batch, unfit) = Batch::assemble(Uuid::nil(), claims, Some("key"), Timestamp::UNIX_EPOCH);
        assert!(unfit.is_empty());
        let sent: Vec<Vec<_>> = batch.courses().iter().map(|course| batch.sent(course).collect()).collect();
        assert_eq!(sent[0], [("x", "1".into()), ("key", "A".into())]);
        assert_eq!(sent[1], [("key", "B".into())]);
    }

    #[test]
    fn a_course_that_contradicts_its_key_is_told_apart() {
        let claims = vec![claimed(1, "A", r#"{"key":"Z"}"#), claimed(2, "B", "{}")];
        let (batch, unfit) = Batch::assemble(Uuid::nil(), claims, Some("key"), Timestamp::UNIX_EPOCH);
        assert_eq!(batch.courses().len(), 1);
        assert_eq!((unfit[0].id, unfit[0].key.as_ref().map(CourseKey::as_str)), (RowId(1), Some("A")));
        assert!(unfit[0].error.message.contains("\"key\"") && unfit[0].error.message.contains("\"Z\""));
    }

    #[test]
    fn a_key_that_hubspot_would_take_for_none_is_told_apart() {
        for (unique, told_apart) in [(Some("key"), 1), (None, 0)] {
            let claims = vec![claimed(1, "\t", "{}"), claimed(2, " B\u{a0}", "{}")];
            let (_, unfit) = Batch::assemble(Uuid::nil(), claims, unique, Timestamp::UNIX_EPOCH);
            assert_eq!(unfit.len(), told_apart, "{unfit:?}");
        }
    }
}
