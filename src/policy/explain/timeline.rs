//! The timeline of a course: what happened to it, in order, one sentence each. Pure.

use jiff::Timestamp;
use serde::Serialize;

use crate::course::{CourseError, Status};
use crate::policy::explain::history::{CourseEvent, CourseHistory, CourseRequest, EventKind, Purpose};

/// One entry of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineEntry {
    /// When it happened.
    pub at: Timestamp,
    /// What happened, in one sentence. May contain HubSpot's own text.
    pub what: String,
}

impl TimelineEntry {
    fn new(at: Timestamp, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }
}

/// The timeline, oldest entry first. At the same instant a request comes before its result.
pub(super) fn build_timeline(history: &CourseHistory) -> Vec<TimelineEntry> {
    let course = &history.course;
    let mut entries = vec![TimelineEntry::new(course.created_at, "enqueued")];
    if let Some(at) = course.changed_at {
        let what = if course.archived { "withdrawn by the catalogue" } else { "changed by the catalogue" };
        entries.push(TimelineEntry::new(at, format!("{what} (revision {})", course.revision)));
    }
    if history.is_truncated {
        entries.push(TimelineEntry::new(course.created_at, "(older entries are not shown)"));
    }
    let sent = history.requests.iter().filter(|request| was_sent(request, history));
    entries.extend(sent.map(|request| TimelineEntry::new(request.at, describe_request(request))));
    entries.extend(
        history.events.iter().map(|event| TimelineEntry::new(event.at, describe_event(event, history))),
    );
    if let (Some(at), Some(id)) = (course.synced_at, &course.hubspot_id) {
        // Otherwise the revision may be one that was archived.
        let revision =
            course.synced_revision.filter(|_| course.revision > 1 && course.status == Status::Synced);
        let revision = revision.map(|revision| format!(", revision {revision}")).unwrap_or_default();
        entries.push(TimelineEntry::new(at, format!("synced as HubSpot record {id}{revision}")));
    }
    // The sort is stable, so entries with the same time keep the order of insertion.
    entries.sort_by_key(|entry| entry.at);
    entries
}

/// Whether the request carried the course to HubSpot. A course whose row is invalid is removed from its batch before
/// the request, and some batches are never sent.
fn was_sent(request: &CourseRequest, history: &CourseHistory) -> bool {
    let was_removed = history
        .events
        .iter()
        .filter(|event| event.request == Some(request.id))
        .any(|event| event.error.as_ref().is_some_and(|error| !error.was_sent()));
    let was_dropped = request.answered_at.is_some() && request.outcome.is_none();
    !was_removed && !was_dropped
}

fn describe_request(request: &CourseRequest) -> String {
    let batch = match request.courses {
        0 | 1 => "as a single course".to_owned(),
        2 => "with 1 other course".to_owned(),
        courses => format!("with {} other courses", courses - 1),
    };
    let correlation = request.correlation_id.as_deref().map(|id| format!(", correlation id {id}"));
    let result = match (request.http_status, request.outcome.as_deref()) {
        (Some(status), Some(outcome)) => {
            format!(": HubSpot answered {status} ({outcome}{})", correlation.unwrap_or_default())
        }
        (None, Some(outcome)) => format!(": no response ({outcome})"),
        (_, None) if !matches!(request.operation, Purpose::Read | Purpose::Schema) => {
            ": no response is recorded".to_owned()
        }
        (_, None) => String::new(),
    };
    match request.operation {
        Purpose::Create => format!("sent {batch}{result}"),
        Purpose::Update => format!("update sent {batch}{result}"),
        Purpose::Archive => format!("archive sent {batch}{result}"),
        Purpose::Read | Purpose::Schema => format!("looked up in HubSpot {batch}{result}"),
    }
}

fn describe_event(event: &CourseEvent, history: &CourseHistory) -> String {
    let reason = event.error.as_ref().map(|error| format!(": {}", describe_error(error))).unwrap_or_default();
    match event.event {
        EventKind::Adopted if event.hubspot_id.is_some() => {
            let id = event.hubspot_id.as_deref().unwrap_or_default();
            format!("adopted by an operator (`course-sync adopt`): the course is HubSpot record {id}")
        }
        EventKind::Adopted => {
            "adopted: HubSpot already had a record with this key before the course was sent".to_owned()
        }
        EventKind::Confirmed => "found in HubSpot, as it was sent".to_owned(),
        EventKind::Failed => format!("failed{reason}"),
        EventKind::Deferred => format!("not taken by HubSpot, will be sent again{reason}"),
        EventKind::Unconfirmed => format!("outcome unknown{reason}"),
        EventKind::Updated => format!("updated in HubSpot, with a remark{reason}"),
        EventKind::Archived => match &event.hubspot_id {
            Some(id) => format!("HubSpot record {id} archived{reason}"),
            None => "archived without a request: HubSpot has no record of the course".to_owned(),
        },
        EventKind::Repaired if event.hubspot_id.is_some() => {
            "HubSpot's record was changed; the course is sent again (`course-sync audit --repair`)".to_owned()
        }
        EventKind::Repaired => {
            "an earlier request changed the record late; the course is sent again".to_owned()
        }
        EventKind::Retried if event.request.is_some() => {
            format!("set back to pending, because the account's properties had changed{reason}")
        }
        EventKind::Retried => "set back to pending by an operator (`course-sync retry`)".to_owned(),
        EventKind::Resolved if history.was_resolved_as_created(event) => {
            "settled by an operator (`course-sync resolve`): the course is this record".to_owned()
        }
        EventKind::Resolved => {
            format!("settled by an operator (`course-sync resolve`): {}", describe_resolution(event))
        }
    }
}

/// What an operator decided about a course that was not resolved as created. A decision about a lost record has no request; that
/// to create a new one keeps the error of the old one.
fn describe_resolution(event: &CourseEvent) -> String {
    match (&event.request, &event.error, &event.hubspot_id) {
        (None, Some(_), Some(lost)) => format!("a new record is created in place of HubSpot record {lost}"),
        (None, Some(_), None) => "a new record is created".to_owned(),
        (None, None, Some(id)) => {
            format!("the course is HubSpot record {id}, which is updated to match the row")
        }
        _ => "the course was not created".to_owned(),
    }
}

/// An error on one line: its category, code, property and message.
fn describe_error(error: &CourseError) -> String {
    let category = error.category.as_str();
    let code = error.code.as_deref().map(|code| format!(" {code}")).unwrap_or_default();
    let property = error.property.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{category}{code}{property}: {}", error.message)
}
