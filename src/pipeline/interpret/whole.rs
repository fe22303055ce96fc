//! A batch that was refused as a whole: none of its courses was created. Finds the courses that are at fault. Pure.

use super::changes;
use super::response::{CreateResponse, is_missing_property, lacks_unique_property, same_for_all};
use crate::course::{Batch, Category, ClaimedCourse, CourseError, NotTaken, Verdict, Write, fold_key};
use crate::hubspot::api::error::{ErrorReply, PropertyFault};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::status::StatusMeaning;
use crate::policy::gate::Reason;
use crate::policy::signal::{Interpretation, Signal};

/// The request is larger than HubSpot, or a proxy in front of it, accepts. A single course is refused; a batch is sent
/// again in smaller parts.
pub(super) fn interpret_too_large(batch: &Batch, response: &CreateResponse<'_>) -> Interpretation {
    let error = response.error(Category::TooLarge, &response.summary());
    let verdict = match batch.courses() {
        [_] => Verdict::Refused(error),
        _ => Verdict::NotTaken(NotTaken::Unnamed(error)),
    };
    Interpretation {
        may_be_size: true,
        ..same_for_all(batch, &verdict, RequestOutcome::Rejected, Signal::Judged)
    }
}

/// A refusal in HubSpot's own JSON, with a status for invalid content.
pub(super) fn interpret_refusal(
    batch: &Batch,
    response: &CreateResponse<'_>,
    error: &ErrorReply,
) -> Interpretation {
    let outcome = RequestOutcome::Rejected;
    let untouched = Verdict::NotTaken(NotTaken::Untouched);
    // Two causes in the account look like refused content. Neither is the fault of a course.
    if error.blames_object_type() {
        return response.turned_away(batch, outcome, response.incident(Reason::ObjectType));
    }
    if lacks_unique_property(batch, error) {
        return same_for_all(batch, &untouched, outcome, Signal::Pause(response.incident(Reason::Schema)));
    }
    if batch.write() != Write::Create {
        return changes::interpret_refusal(batch, response, error, |_, course| {
            certain_fault(batch, course, error).map(|fault| response.hubspot_error_about(error, &fault))
        });
    }
    let refusal = response.hubspot_error(error);
    if let Some(unique) = batch.unique_property()
        && (response.meta.meaning() == StatusMeaning::Conflict || error.is_conflict())
    {
        return interpret_conflict(batch, &refusal, unique, error);
    }
    if let [_] = batch.courses() {
        return same_for_all(batch, &Verdict::Refused(refusal), outcome, Signal::Judged);
    }
    // A course is at fault where the error names its trace id, or where the faulty value can only be its own.
    let fault_of = |position, course| {
        if is_named(batch, error, position) {
            return Some(response.hubspot_error(error));
        }
        certain_fault(batch, course, error).map(|fault| response.hubspot_error_about(error, &fault))
    };
    let mut verdicts: Vec<_> = (batch.courses().iter().enumerate())
        .map(|(position, course)| fault_of(position, course).map_or(untouched.clone(), Verdict::Refused))
        .collect();
    // No course can be identified: bisecting the batch will find it.
    if !verdicts.iter().any(|verdict| matches!(verdict, Verdict::Refused(_))) {
        verdicts.fill(Verdict::NotTaken(NotTaken::Unnamed(refusal)));
    }
    Interpretation { verdicts, signal: Signal::Judged, outcome, surplus: 0, may_be_size: false }
}

/// A unique value is taken already.
///
/// - The error names a course, or quotes a course's key: that course is looked up.
/// - The error is about the keys but names no course: all courses are looked up. One read costs less than bisecting.
/// - The error is about another unique property: bisecting finds the course at fault.
fn interpret_conflict(
    batch: &Batch,
    refusal: &CourseError,
    unique: &str,
    error: &ErrorReply,
) -> Interpretation {
    let batch_size = batch.courses().len();
    let taken = error.taken_value();
    let taken_key = taken.filter(|(property, _)| *property == unique).map(|(_, value)| fold_key(value));
    let named: Vec<bool> = (batch.courses().iter().enumerate())
        .map(|(position, course)| {
            let has_taken_key = taken_key.as_ref().is_some_and(|key| *key == fold_key(course.key.as_str()));
            is_named(batch, error, position) || has_taken_key
        })
        .collect();
    let is_about_keys = taken_key.is_some() || refusal.property.as_deref() == Some(unique);
    let verdicts = named.iter().map(|is_named| match batch_size {
        1 => exists(refusal, 1),
        _ if *is_named => exists(refusal, 1),
        _ if named.contains(&true) => Verdict::NotTaken(NotTaken::Untouched),
        _ if is_about_keys => exists(refusal, batch_size),
        _ => Verdict::NotTaken(NotTaken::Unnamed(refusal.clone())),
    });
    Interpretation {
        verdicts: verdicts.collect(),
        signal: Signal::Judged,
        outcome: RequestOutcome::Rejected,
        surplus: 0,
        may_be_size: false,
    }
}

fn exists(refusal: &CourseError, candidates: usize) -> Verdict {
    Verdict::Exists { error: refusal.clone(), candidates }
}

/// Whether the error names the trace id of the course at this position.
fn is_named(batch: &Batch, error: &ErrorReply, position: usize) -> bool {
    error.trace_ids().contains(&batch.trace_id(position))
}

/// The fault of a property in this error, if only courses with the same value as this one can have caused it.
pub(super) fn certain_fault(
    batch: &Batch,
    course: &ClaimedCourse,
    error: &ErrorReply,
) -> Option<PropertyFault> {
    error.property_faults().into_iter().find(|fault| is_certainly_at_fault(batch, course, error, fault))
}

fn is_certainly_at_fault(
    batch: &Batch,
    course: &ClaimedCourse,
    error: &ErrorReply,
    fault: &PropertyFault,
) -> bool {
    let Some(property) = fault.property.as_deref() else { return false };
    let sent = batch.sent_properties(course).find(|(name, _)| *name == property);
    // A required value is missing: every new course without it is at fault, and every change that clears it.
    if is_missing_value(error, fault) {
        return sent.map_or(batch.write() == Write::Create, |(_, value)| value.trim().is_empty());
    }
    let Some((_, value)) = sent else { return false };
    is_missing_property(fault) || quotes_value(fault, &value)
}

/// Whether the message begins with this value, as in `asd000 was not a valid long.`
fn quotes_value(fault: &PropertyFault, value: &str) -> bool {
    let message = fault.message.as_deref().unwrap_or_default();
    !value.is_empty() && message.strip_prefix(value).is_some_and(|rest| rest.starts_with(" was not "))
}

/// Whether HubSpot reports a missing required value, in its older or its newer form.
fn is_missing_value(error: &ErrorReply, fault: &PropertyFault) -> bool {
    let message = error.message.as_deref().unwrap_or_default();
    fault.code.as_deref() == Some("MISSING_REQUIRED_PROPERTY")
        || message.contains("required properties were not set")
}
