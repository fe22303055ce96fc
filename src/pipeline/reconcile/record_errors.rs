//! The errors of courses whose record in HubSpot was deleted or merged. Pure.

use jiff::Timestamp;

use crate::course::{Category, CourseError, HubSpotId};

/// The error of a course whose record was deleted.
pub(crate) fn record_gone(id: &str, now: Timestamp) -> CourseError {
    let message = format!(
        "HubSpot's record {id} of this course was deleted. course-sync does not create a new record automatically. For a new \
         record, run `course-sync resolve KEY --recreate`; if the course has another record, run `course-sync resolve KEY \
         --hubspot-id ID`"
    );
    CourseError::new(Category::RecordGone, &message, now)
}

/// The remark on a withdrawn course whose record was deleted before.
pub(super) fn already_deleted(id: &str, now: Timestamp) -> CourseError {
    let message = format!(
        "HubSpot's record {id} of this course was already deleted permanently, so it is not in the recycle bin. Nothing has \
         to be done"
    );
    CourseError::new(Category::RecordGone, &message, now)
}

/// The error of a course whose record was merged into another one.
pub(crate) fn record_merged(id: &str, survivor: &HubSpotId, now: Timestamp) -> CourseError {
    let message = format!(
        "HubSpot's record {id} of this course was merged into record {}. Run `course-sync resolve` with --hubspot-id {} to \
         keep that one for this course, or with --recreate for a new record",
        survivor.as_str(),
        survivor.as_str()
    );
    CourseError::new(Category::RecordMerged, &message, now)
}
