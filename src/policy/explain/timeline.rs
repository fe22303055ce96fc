//! The timeline of a course: what happened to it, in order, one sentence each. Pure.

use jiff::Timestamp;
use serde::Serialize;

use crate::course::CourseError;
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
    if history.is_truncated {
        entries.push(TimelineEntry::new(course.created_at, "(older entries are not shown)"));
    }
    let sent = history.requests.iter().filter(|request| was_sent(request, history));
    entries.extend(sent.map(|request| TimelineEntry::new(request.at, describe_request(request))));
    entries.extend(
        history.events.iter().map(|event| TimelineEntry::new(event.at, describe_event(event, history))),
    );
    if let (Some(at), Some(id)) = (course.synced_at, &course.hubspot_id) {
        entries.push(TimelineEntry::new(at, format!("synced as HubSpot record {id}")));
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
        (_, None) if request.operation == Purpose::Create => ": no response is recorded".to_owned(),
        (_, None) => String::new(),
    };
    match request.operation {
        Purpose::Create => format!("sent {batch}{result}"),
        Purpose::Read | Purpose::Schema => format!("looked up in HubSpot {batch}{result}"),
    }
}

fn describe_event(event: &CourseEvent, history: &CourseHistory) -> String {
    let reason = event.error.as_ref().map(|error| format!(": {}", describe_error(error))).unwrap_or_default();
    match event.event {
        EventKind::Adopted => {
            "adopted: HubSpot already had a record with this key before the course was sent".to_owned()
        }
        EventKind::Confirmed => "found in HubSpot: the course had been created".to_owned(),
        EventKind::Failed => format!("failed{reason}"),
        EventKind::Deferred => format!("not created by HubSpot, will be sent again{reason}"),
        EventKind::Unconfirmed => format!("outcome unknown{reason}"),
        EventKind::Retried if event.request.is_some() => {
            format!("set back to pending, because the account's properties had changed{reason}")
        }
        EventKind::Retried => "set back to pending by an operator (`course-sync retry`)".to_owned(),
        EventKind::Resolved if history.was_resolved_as_created(event) => {
            "settled by an operator (`course-sync resolve`): the course is this record".to_owned()
        }
        EventKind::Resolved => {
            "settled by an operator (`course-sync resolve`): the course was not created".to_owned()
        }
    }
}

/// An error on one line: its category, code, property and message.
fn describe_error(error: &CourseError) -> String {
    let category = error.category.as_str();
    let code = error.code.as_deref().map(|code| format!(" {code}")).unwrap_or_default();
    let property = error.property.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{category}{code}{property}: {}", error.message)
}
