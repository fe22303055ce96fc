//! What happened to a course, in order and in words. Pure.

use jiff::Timestamp;
use serde::Serialize;

use super::life::{Event, Happening, Life, Purpose, Request};
use crate::course::CourseError;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// What, in a sentence. May hold HubSpot's own text.
    pub what: String,
}

/// The life in order of time; at the same instant, a request stands before what came of it.
pub(super) fn tell(life: &Life) -> Vec<Step> {
    let course = &life.course;
    let mut steps = vec![Step { at: course.created_at, what: "enqueued".to_owned() }];
    if life.is_cut {
        steps.push(Step { at: course.created_at, what: "(older steps are left out)".to_owned() });
    }
    // What failed unasked was taken out of the batch that it was claimed for, and some batches were never sent.
    let is_unasked = |request: &Request| {
        let is_own = |event: &&Event| event.request == Some(request.id);
        let is_taken_out = life
            .events
            .iter()
            .filter(is_own)
            .any(|event| event.error.as_ref().is_some_and(|it| !it.was_asked()));
        is_taken_out || request.answered_at.is_some() && request.outcome.is_none()
    };
    let requests = life.requests.iter().filter(|request| !is_unasked(request));
    steps.extend(requests.map(|request| Step { at: request.at, what: sent(request) }));
    steps.extend(life.events.iter().map(|event| Step { at: event.at, what: happened(event, life) }));
    if let (Some(at), Some(id)) = (course.synced_at, &course.hubspot_id) {
        steps.push(Step { at, what: format!("synced as HubSpot's record {id}") });
    }
    // Stable: what was pushed first stays first.
    steps.sort_by_key(|step| step.at);
    steps
}

fn sent(request: &Request) -> String {
    let company = match request.courses {
        0 | 1 => "alone".to_owned(),
        2 => "with 1 other".to_owned(),
        courses => format!("with {} others", courses - 1),
    };
    let correlation = request.correlation_id.as_deref().map(|id| format!(", correlation id {id}"));
    let end = match (request.http_status, request.outcome.as_deref()) {
        (Some(status), Some(outcome)) => {
            format!(": HubSpot answered {status} ({outcome}{})", correlation.unwrap_or_default())
        }
        (None, Some(outcome)) => format!(": no answer ({outcome})"),
        (_, None) if request.operation == Purpose::Create => ": no answer is recorded".to_owned(),
        (_, None) => String::new(),
    };
    match request.operation {
        Purpose::Create => format!("sent {company}{end}"),
        Purpose::Read | Purpose::Schema => format!("looked up in HubSpot {company}{end}"),
    }
}

fn happened(event: &Event, life: &Life) -> String {
    let said = event.error.as_ref().map(in_words);
    let because = said.map(|said| format!(": {said}")).unwrap_or_default();
    match event.event {
        Happening::Adopted => {
            "HubSpot held a record with its key before it was sent: taken for this course".to_owned()
        }
        Happening::Confirmed => "found in HubSpot: it had been created".to_owned(),
        Happening::Failed => format!("failed{because}"),
        Happening::Deferred => format!("not taken by HubSpot, to be sent again{because}"),
        Happening::Unconfirmed => format!("in doubt{because}"),
        Happening::Retried if event.request.is_some() => {
            format!("put back, since the account's properties had changed{because}")
        }
        Happening::Retried => "put back by a person (`course-sync retry`)".to_owned(),
        Happening::Resolved if life.is_settled_by(event) => {
            "settled by a person (`course-sync resolve`): it is this record".to_owned()
        }
        Happening::Resolved => "settled by a person (`course-sync resolve`): it was not created".to_owned(),
    }
}

/// An error as one line: its class, what it names, and its message.
fn in_words(error: &CourseError) -> String {
    let category = error.category.as_str();
    let code = error.code.as_deref().map(|code| format!(" {code}")).unwrap_or_default();
    let property = error.property.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{category}{code}{property}: {}", error.message)
}
