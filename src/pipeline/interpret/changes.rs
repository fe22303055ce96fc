//! The result of a batch that changes records: each record belongs to the course that holds its id. Pure.
//!
//! A record counts as changed if it has the values that were sent, in HubSpot's notation. HubSpot may answer a success and drop
//! an input, or change the record into which the input's was merged. So a course that the response does not show as requested
//! is looked up.

use std::collections::{HashMap, HashSet};

use super::response::{CreateResponse, same_for_all};
use super::values::is_same_value;
use crate::course::{Batch, Category, ClaimedCourse, CourseError, HubSpotId, NotTaken, Verdict, clip};
use crate::hubspot::api::error::ErrorReply;
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::response::{BatchReply, CourseRecord};
use crate::policy::gate::Reason;
use crate::policy::signal::{Interpretation, Signal};

/// Interprets the result of an update, which has the same form at 200, 201 and 207.
pub(super) fn interpret_update(
    batch: &Batch,
    response: &CreateResponse<'_>,
    reply: &BatchReply,
) -> Interpretation {
    if !reply.status.is_final() {
        return response.unknown_for_all(batch, RequestOutcome::Invalid);
    }
    let mut records: HashMap<HubSpotId, Vec<&CourseRecord>> = HashMap::new();
    for record in reply.results.iter().flatten() {
        if let Some(id) = record.consistent_id() {
            records.entry(id).or_default().push(record);
        }
    }
    let errors = errors_by_course(batch, response, reply);
    let verdicts: Vec<Verdict> = (batch.courses().iter().zip(errors))
        .map(|(course, error)| verdict(response, reply, course, &records, error))
        .collect();
    let is_applied = |verdict: &Verdict| matches!(verdict, Verdict::Applied { .. });
    let is_judged = |verdict: &Verdict| matches!(verdict, Verdict::Refused(_) | Verdict::LookUp(_));
    let signal = if verdicts.iter().any(is_applied) {
        Signal::Passed
    } else if verdicts.iter().any(is_judged) {
        Signal::Judged
    } else {
        Signal::Failed(response.incident(Reason::Unavailable))
    };
    let outcome = match verdicts.iter().filter(|verdict| is_applied(verdict)).count() {
        applied if applied == verdicts.len() => RequestOutcome::Ok,
        0 => RequestOutcome::Rejected,
        _ => RequestOutcome::Partial,
    };
    Interpretation { verdicts, signal, outcome, surplus: 0, may_be_size: false }
}

/// HubSpot took the request to archive. Whether the records are in the recycle bin, only a read shows.
pub(super) fn interpret_archive(batch: &Batch) -> Interpretation {
    let applied = |course: &ClaimedCourse| match &course.record {
        Some(record) => Verdict::Applied { hubspot_id: record.id.clone(), warning: None },
        None => Verdict::NotTaken(NotTaken::NotSent),
    };
    let verdicts = batch.courses().iter().map(applied).collect();
    Interpretation {
        verdicts,
        signal: Signal::Passed,
        outcome: RequestOutcome::Ok,
        surplus: 0,
        may_be_size: false,
    }
}

/// A refusal of the whole batch in HubSpot's own JSON.
pub(super) fn interpret_refusal(
    batch: &Batch,
    response: &CreateResponse<'_>,
    error: &ErrorReply,
    fault_of: impl Fn(usize, &ClaimedCourse) -> Option<CourseError>,
) -> Interpretation {
    let refusal = response.hubspot_error(error);
    let named = positions_named_by(batch, error);
    let verdict_of = |(position, course)| {
        if batch.courses().len() == 1 || named.contains(&position) {
            // With such a status, HubSpot has not executed the request, whatever the error is.
            return Some(match item_verdict(response, error) {
                Verdict::Unknown(_) => Verdict::Refused(refusal.clone()),
                verdict => verdict,
            });
        }
        fault_of(position, course).map(Verdict::Refused)
    };
    let found: Vec<Option<Verdict>> = batch.courses().iter().enumerate().map(verdict_of).collect();
    if found.iter().all(Option::is_none) {
        // No course can be identified: bisecting the batch will find it.
        let verdict = Verdict::NotTaken(NotTaken::Unnamed(refusal));
        return same_for_all(batch, &verdict, RequestOutcome::Rejected, Signal::Judged);
    }
    let untouched = Verdict::NotTaken(NotTaken::Untouched);
    Interpretation {
        verdicts: found.into_iter().map(|verdict| verdict.unwrap_or_else(|| untouched.clone())).collect(),
        signal: Signal::Judged,
        outcome: RequestOutcome::Rejected,
        surplus: 0,
        may_be_size: false,
    }
}

/// The error that names each course, in the order of the batch.
fn errors_by_course<'r>(
    batch: &Batch,
    response: &CreateResponse<'_>,
    reply: &'r BatchReply,
) -> Vec<Option<(Verdict, &'r ErrorReply)>> {
    let mut errors: Vec<Option<(Verdict, &ErrorReply)>> = vec![None; batch.courses().len()];
    for error in reply.errors.iter().flatten() {
        let mut named = positions_named_by(batch, error);
        // With a single course and no record, the error can only be about this course.
        if batch.courses().len() == 1 && reply.results.is_empty() {
            named.insert(0);
        }
        for position in named {
            // Of several errors, the one that leads to a look-up is the safest to act on.
            if let Some(slot) = errors.get_mut(position)
                && slot.as_ref().is_none_or(|(verdict, _)| !matches!(verdict, Verdict::LookUp(_)))
            {
                *slot = Some((item_verdict(response, error), error));
            }
        }
    }
    errors
}

/// The courses that an error names, by their trace ids or by the ids of their records.
fn positions_named_by(batch: &Batch, error: &ErrorReply) -> HashSet<usize> {
    let ids = ["ids", "id"].iter().filter_map(|name| error.context.get(*name)).flatten();
    let ids: HashSet<&str> = ids.map(String::as_str).collect();
    let is_named = |(position, course): (usize, &ClaimedCourse)| {
        let by_id = course.record.as_ref().is_some_and(|record| ids.contains(record.id.as_str()));
        (by_id || error.trace_ids().contains(&batch.trace_id(position))).then_some(position)
    };
    batch.courses().iter().enumerate().filter_map(is_named).collect()
}

/// The verdict of an error on the courses that it names.
fn item_verdict(response: &CreateResponse<'_>, error: &ErrorReply) -> Verdict {
    let refusal = response.hubspot_error(error);
    match error.category.as_deref().or(error.error_type.as_deref()) {
        // Archived, deleted or merged: a look-up shows which.
        Some(category) if category.ends_with("NOT_FOUND") => Verdict::LookUp(refusal),
        Some("RATE_LIMIT" | "RATE_LIMITS") => {
            Verdict::NotTaken(NotTaken::Later(CourseError { category: Category::Deferred, ..refusal }))
        }
        Some("MISSING_SCOPES") => {
            Verdict::Refused(CourseError { message: response.missing_scopes(error).message, ..refusal })
        }
        Some("VALIDATION_ERROR") => Verdict::Refused(refusal),
        _ if error.is_conflict() || !error.property_faults().is_empty() => Verdict::Refused(refusal),
        // A server error of a single input, or an undocumented kind of error, proves nothing.
        _ => {
            let message = format!(
                "it is not known whether HubSpot updated this course: HubSpot answered for it: {}",
                refusal.message
            );
            Verdict::Unknown(response.error(Category::UnknownOutcome, &message))
        }
    }
}

fn verdict(
    response: &CreateResponse<'_>,
    reply: &BatchReply,
    course: &ClaimedCourse,
    records: &HashMap<HubSpotId, Vec<&CourseRecord>>,
    error: Option<(Verdict, &ErrorReply)>,
) -> Verdict {
    let Some(record) = &course.record else { return Verdict::NotTaken(NotTaken::NotSent) };
    let shown = records.get(&record.id).map(Vec::as_slice).unwrap_or_default();
    if shown.is_empty() {
        return error.map_or_else(|| omitted(response, reply), |(verdict, _)| verdict);
    }
    let differing = (record.patch.iter())
        .filter(|(name, value)| shown.iter().any(|shown| !holds(shown, name, value)))
        .map(|(name, _)| name.as_str());
    let differing: Vec<&str> = differing.collect();
    if differing.is_empty() {
        let warning = error.map(|(_, error)| response.hubspot_error(error));
        return Verdict::Applied { hubspot_id: record.id.clone(), warning };
    }
    let message = format!(
        "HubSpot answered the update, but its record holds other values than those that were sent, in: {}",
        differing.join(", ")
    );
    let property = differing.first().map(|name| clip(name, 255));
    Verdict::LookUp(CourseError { property, ..response.error(Category::Refused, &message) })
}

/// HubSpot answered and did not mention the course.
fn omitted(response: &CreateResponse<'_>, reply: &BatchReply) -> Verdict {
    let unnamed = reply.errors.iter().flatten().find_map(|error| error.message.as_deref());
    let message = match unnamed {
        Some(error) => {
            format!("HubSpot's response does not mention this course and contains an error: {error}")
        }
        None => "HubSpot's response does not mention this course".to_owned(),
    };
    Verdict::LookUp(response.error(Category::Refused, &message))
}

/// Whether a record has this value, or HubSpot reports that it normalised it.
fn holds(record: &CourseRecord, name: &str, value: &str) -> bool {
    let stored = record.properties.get(name).and_then(Option::as_deref).unwrap_or_default();
    let is_normalised = || {
        let about = |warning: &crate::hubspot::api::response::RecordWarning| {
            warning.category.as_deref().is_some_and(|category| category.contains("NORMALIZED"))
                && warning.context.values().any(|about| about == name)
        };
        record.warnings.iter().flatten().any(about)
    };
    is_same_value(stored, value) || is_normalised()
}

#[cfg(test)]
mod tests;
