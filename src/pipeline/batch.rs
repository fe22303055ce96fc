//! Turns a claim into a batch, and rejects the courses that cannot be sent before they cost a request. Pure.
//!
//! The claim statement (`outbox/claim.rs`) limits the number and the size of the courses, because only it can leave the
//! others unclaimed.

use std::time::Duration;

use jiff::Timestamp;

use crate::course::{
    Batch, BatchId, Category, ClaimedCourse, CourseError, CourseKey, Doubt, Properties, RowId, Transition,
    Write,
};

/// A course that is not sent, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsendableCourse {
    /// The row.
    pub id: RowId,
    /// The catalogue's identifier; `None` where the row cannot be read.
    pub key: Option<CourseKey>,
    /// The reason.
    pub error: CourseError,
}

impl UnsendableCourse {
    /// A course with the reason why it is not sent.
    #[must_use]
    pub fn new(course: &ClaimedCourse, error: CourseError) -> Self {
        Self { id: course.id, key: Some(course.key.clone()), error }
    }

    /// The course, if a request with `unique_property` could create a duplicate: an earlier request, with the key in
    /// another property, may still commit, and HubSpot would not refuse the second record.
    #[must_use]
    pub fn if_possible_duplicate(
        course: &ClaimedCourse,
        unique_property: Option<&str>,
        now: Timestamp,
    ) -> Option<Self> {
        let before = course.doubt_property.as_deref().filter(|_| course.doubts > 0)?;
        (unique_property != Some(before)).then(|| {
            let message = format!(
                "an earlier request may have created this course with its key in the HubSpot property {before:?}. \
                 hubspot.unique_property has changed since, so HubSpot would not refuse a second record. The course is \
                 not sent; it is looked up by {before:?}"
            );
            Self::new(course, CourseError::new(Category::UnknownOutcome, &message, now))
        })
    }

    /// The transition that records the reason.
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

/// Turns the claimed courses into a batch. Second, the courses that cannot be sent, with the reasons.
///
/// `unique_property` is the HubSpot property that carries the course's key, if there is one.
#[must_use]
pub fn assemble(
    write: Write,
    id: BatchId,
    claimed: Vec<ClaimedCourse>,
    unique_property: Option<&str>,
    now: Timestamp,
) -> (Batch, Vec<UnsendableCourse>) {
    let mut courses = Vec::with_capacity(claimed.len());
    let mut unsendable = Vec::new();
    for course in claimed {
        match reason_not_to_send(&course.key, &course.properties, unique_property) {
            None => courses.push(course),
            Some(reason) => {
                unsendable.push(UnsendableCourse::new(
                    &course,
                    CourseError::new(Category::InvalidRow, &reason, now),
                ));
            }
        }
    }
    (Batch::of(write, id, courses, unique_property), unsendable)
}

/// Why a course cannot be sent; `None` where it can.
pub(crate) fn reason_not_to_send(
    key: &CourseKey,
    properties: &Properties,
    unique_property: Option<&str>,
) -> Option<String> {
    let unique = unique_property?;
    if key.as_str().trim().is_empty() {
        return Some(format!(
            "the course key is blank, and HubSpot would treat it as no value of property {unique:?} \
             (hubspot.unique_property); give the course another key"
        ));
    }
    let value = properties.get(unique)?;
    (value != key.as_str()).then(|| {
        format!(
            "property {unique:?} is reserved for the course key (hubspot.unique_property), but the course has the value \
             {value:?}; remove it from `properties`"
        )
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::course::Associations;

    pub(crate) fn claimed(id: i64, key: &str, properties: &str) -> ClaimedCourse {
        ClaimedCourse {
            id: RowId(id),
            key: CourseKey::parse(key).unwrap(),
            properties: Properties::parse(serde_json::from_str(properties).unwrap()).unwrap(),
            associations: Associations::default(),
            attempts: 1,
            faults: 0,
            doubts: 0,
            doubt_property: None,
            is_blamed: false,
            requested_at: Timestamp::UNIX_EPOCH,
            is_doubt_recent: false,
            record: None,
        }
    }

    #[test]
    fn the_unique_property_carries_the_key() {
        let claims = vec![claimed(1, "A", r#"{"x":"1"}"#), claimed(2, "B", r#"{"key":"B"}"#)];
        let (batch, unsendable) =
            assemble(Write::Create, BatchId(uuid::Uuid::nil()), claims, Some("key"), Timestamp::UNIX_EPOCH);
        assert!(unsendable.is_empty());
        let sent: Vec<Vec<_>> =
            batch.courses().iter().map(|course| batch.sent_properties(course).collect()).collect();
        assert_eq!(sent[0], [("x", "1".into()), ("key", "A".into())]);
        assert_eq!(sent[1], [("key", "B".into())]);
    }

    #[test]
    fn a_course_whose_unique_property_differs_from_its_key_is_not_sent() {
        let claims = vec![claimed(1, "A", r#"{"key":"Z"}"#), claimed(2, "B", "{}")];
        let (batch, unsendable) =
            assemble(Write::Create, BatchId(uuid::Uuid::nil()), claims, Some("key"), Timestamp::UNIX_EPOCH);
        assert_eq!(batch.courses().len(), 1);
        assert_eq!(
            (unsendable[0].id, unsendable[0].key.as_ref().map(CourseKey::as_str)),
            (RowId(1), Some("A"))
        );
        assert!(
            unsendable[0].error.message.contains("\"key\"") && unsendable[0].error.message.contains("\"Z\"")
        );
    }

    #[test]
    fn a_blank_key_is_not_sent_with_a_unique_property() {
        for (unique, expected) in [(Some("key"), 1), (None, 0)] {
            let claims = vec![claimed(1, "\t", "{}"), claimed(2, " B\u{a0}", "{}")];
            let (_, unsendable) =
                assemble(Write::Create, BatchId(uuid::Uuid::nil()), claims, unique, Timestamp::UNIX_EPOCH);
            assert_eq!(unsendable.len(), expected, "{unsendable:?}");
        }
    }
}
