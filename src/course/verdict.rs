//! What the response to a request shows about one course.

use super::{CourseError, HubSpotId};

/// The result for one course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// HubSpot did what was requested: created, updated or archived it.
    Applied {
        /// The id of the record.
        hubspot_id: HubSpotId,
        /// What HubSpot reported beside the record, such as an association that failed.
        warning: Option<CourseError>,
    },
    /// HubSpot created it, but the response does not show the id of the record. It must not be sent again.
    CreatedUnidentified(CourseError),
    /// HubSpot reports that a record already holds the key of one of `candidates` courses, including this one. Only a
    /// look-up can show which record it is.
    Exists {
        /// What HubSpot reported.
        error: CourseError,
        /// The number of courses that the report may be about.
        candidates: usize,
    },
    /// A change: HubSpot's response does not show that the record is as requested. A look-up shows how it is.
    LookUp(CourseError),
    /// HubSpot refused it permanently.
    Refused(CourseError),
    /// HubSpot certainly did not execute the request, and it may be sent again.
    NotTaken(NotTaken),
    /// It is not known whether HubSpot executed the request. The error is always an `unknown_outcome`, so that no later step can
    /// treat it as a refusal.
    Unknown(CourseError),
}

/// Why HubSpot certainly did not create a course that may be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// The request never reached HubSpot.
    NotSent,
    /// The account, an outage or another course of the batch prevented it; this course is not suspected.
    Untouched,
    /// HubSpot refused the contents of the batch without naming a course: one of them caused it.
    Unnamed(CourseError),
    /// HubSpot refused the request. Only the evidence of other requests shows whether a course, the account or an
    /// outage caused it.
    TurnedAway(CourseError),
    /// HubSpot named this course and asked to retry later.
    Later(CourseError),
}
