//! A response to a request that writes courses, turned into errors of courses and incidents of the account. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::course::{Batch, Category, CourseError, NotTaken, Verdict, clip};
use crate::hubspot::api::address::wrong_address;
use crate::hubspot::api::error::{ErrorReply, PropertyFault};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::response::{Body, Meta, Unreadable};
use crate::policy::gate::{Incident, Reason};
use crate::policy::read_result::wait_or;
use crate::policy::signal::{Interpretation, Signal};

/// A response to a create request, with the time for the errors that are made from it.
#[derive(Clone, Copy)]
pub(super) struct CreateResponse<'a> {
    pub(super) meta: &'a Meta,
    pub(super) body: &'a Body,
    pub(super) now: Timestamp,
}

impl CreateResponse<'_> {
    /// The response as an incident. It lasts as long as `Retry-After`, if HubSpot sent one.
    pub(super) fn incident(&self, reason: Reason) -> Incident {
        Incident { reason, retry_after: self.meta.retry_after, message: self.summary() }
    }

    /// The response as an incident that lasts `default_wait` where HubSpot sent no `Retry-After`. Zero: unknown.
    pub(super) fn incident_lasting(&self, reason: Reason, default_wait: Duration) -> Incident {
        Incident { retry_after: wait_or(self.meta, default_wait), ..self.incident(reason) }
    }

    /// `hubspot.base_url` leads to the wrong region, or to something that redirects.
    pub(super) fn wrong_address(&self) -> Incident {
        let mut incident = self.incident(Reason::ObjectType);
        if let Some(wrong) = wrong_address(self.meta, self.body) {
            incident.message = clip(&wrong.to_string(), CourseError::MAX_MESSAGE_BYTES);
        }
        incident
    }

    pub(super) fn missing_scopes(&self, error: &ErrorReply) -> Incident {
        let mut incident = self.incident(Reason::Scopes);
        let scopes = error.required_scopes();
        if !scopes.is_empty() {
            let message = format!("{}; required scopes: {}", incident.message, scopes.join(", "));
            incident.message = clip(&message, CourseError::MAX_MESSAGE_BYTES);
        }
        incident
    }

    /// No course of the batch was created. Whether a course, the account or HubSpot is the cause, other requests show.
    pub(super) fn turned_away(
        &self,
        batch: &Batch,
        outcome: RequestOutcome,
        incident: Incident,
    ) -> Interpretation {
        let error = self.error(Category::Deferred, &incident.message);
        let verdict = Verdict::NotTaken(NotTaken::TurnedAway(error));
        same_for_all(batch, &verdict, outcome, Signal::Failed(incident))
    }

    /// It is not known which courses of the batch were created.
    pub(super) fn unknown_for_all(&self, batch: &Batch, outcome: RequestOutcome) -> Interpretation {
        let done = batch.write().past();
        let message = format!("it is not known whether HubSpot {done} this course: {}", self.summary());
        let verdict = Verdict::Unknown(self.error(Category::UnknownOutcome, &message));
        same_for_all(batch, &verdict, outcome, Signal::Failed(self.incident(Reason::Unavailable)))
    }

    /// The response in one line.
    pub(super) fn summary(&self) -> String {
        let status = self.meta.status;
        let content = match self.body {
            Body::Error(error) => {
                error.message.clone().unwrap_or_else(|| "an error without a message".into())
            }
            Body::Batch(_) => "the result of a batch".into(),
            Body::Unreadable(Unreadable::Empty) => "an empty body".into(),
            Body::Unreadable(Unreadable::TooLong) => "a body that is too long".into(),
            Body::Unreadable(Unreadable::Cut(why)) => format!("a body cut short ({why})"),
            Body::Unreadable(Unreadable::Foreign(start)) => format!("not HubSpot's JSON: {start}"),
        };
        let id = self.correlation_id().map(|id| format!(" (correlation id {id})")).unwrap_or_default();
        clip(&format!("HubSpot answered {status}: {content}{id}"), CourseError::MAX_MESSAGE_BYTES)
    }

    fn correlation_id(&self) -> Option<String> {
        let in_body = match self.body {
            Body::Error(error) => error.correlation_id.as_deref(),
            Body::Batch(_) | Body::Unreadable(_) => None,
        };
        self.meta.correlation_id.as_deref().or(in_body).map(str::to_owned)
    }

    /// An error of a course with a message of course-sync.
    pub(super) fn error(&self, category: Category, message: &str) -> CourseError {
        CourseError {
            http_status: Some(self.meta.status),
            correlation_id: self.correlation_id(),
            ..CourseError::new(category, message, self.now)
        }
    }

    /// An error of a course with HubSpot's message. Code and property come from the first faulty property.
    pub(super) fn hubspot_error(&self, error: &ErrorReply) -> CourseError {
        let fault = error.property_faults().into_iter().next().unwrap_or_default();
        self.hubspot_error_about(error, &fault)
    }

    /// The same with code and property of this fault.
    pub(super) fn hubspot_error_about(&self, error: &ErrorReply, fault: &PropertyFault) -> CourseError {
        let message = error.message.as_deref().or(fault.message.as_deref());
        let message = message.unwrap_or("HubSpot refused this course without giving a reason");
        let code = fault.code.as_deref().or(error.error_type.as_deref());
        CourseError {
            code: code.map(|code| clip(code, 100)),
            property: fault.property.as_deref().map(|name| clip(name, 255)),
            correlation_id: self.correlation_id().or_else(|| error.correlation_id.clone()),
            ..self.error(category(error), message)
        }
    }
}

/// HubSpot's category as one of the closed set of a course's error.
fn category(error: &ErrorReply) -> Category {
    match error.category.as_deref() {
        _ if error.is_conflict() => Category::Conflict,
        Some("VALIDATION_ERROR") => Category::Validation,
        _ if !error.property_faults().is_empty() => Category::Validation,
        _ => Category::Refused,
    }
}

/// Whether HubSpot reports that the property which carries the keys does not exist. The account is at fault then, not a
/// course.
pub(super) fn lacks_unique_property(batch: &Batch, error: &ErrorReply) -> bool {
    let Some(unique) = batch.unique_property() else { return false };
    let faults = error.property_faults();
    faults.iter().any(|fault| is_missing_property(fault) && fault.property.as_deref() == Some(unique))
}

/// Whether a property does not exist in the account.
pub(super) fn is_missing_property(fault: &PropertyFault) -> bool {
    fault.code.as_deref() == Some(CourseError::PROPERTY_MISSING)
}

/// The same verdict for every course.
pub(super) fn same_for_all(
    batch: &Batch,
    verdict: &Verdict,
    outcome: RequestOutcome,
    signal: Signal,
) -> Interpretation {
    let verdicts = batch.courses().iter().map(|_| verdict.clone()).collect();
    Interpretation { verdicts, signal, outcome, surplus: 0, may_be_size: false }
}
