//! A batch that was refused as a whole: nothing of it was created. Who is to blame?

use super::{Answer, Batch, Interpretation, NotTaken, RequestOutcome, Signal, Verdict};
use super::{all, does_not_exist, is_conflict, lacks_unique_property};
use crate::course::{Category, CourseError, folded};
use crate::policy::answer::{ErrorReply, PropertyFault};
use crate::policy::batch::Claimed;
use crate::policy::pause::Reason;

/// The request is larger than HubSpot, or something in front of it, takes.
pub(super) fn too_large(batch: &Batch, answer: &Answer<'_>) -> Interpretation {
    let error = answer.own(Category::TooLarge, &answer.summary());
    let verdict = match batch.courses() {
        [_] => Verdict::Refused(error),
        _ => Verdict::NotTaken(NotTaken::Unnamed(error)),
    };
    Interpretation { may_be_size: true, ..all(batch, &verdict, RequestOutcome::Rejected, Signal::Judged) }
}

/// A refusal in HubSpot's own JSON.
pub(super) fn refused(batch: &Batch, answer: &Answer<'_>, error: &ErrorReply) -> Interpretation {
    let outcome = RequestOutcome::Rejected;
    let untouched = Verdict::NotTaken(NotTaken::Untouched);
    if error.blames_object_type() {
        return answer.turned_away(batch, outcome, answer.trouble(Reason::ObjectType));
    }
    if lacks_unique_property(batch, error) {
        return all(batch, &untouched, outcome, answer.pause(Reason::Schema));
    }
    let said = answer.said(error);
    if let Some(unique) = batch.unique_property()
        && (answer.meta.status == 409 || is_conflict(error))
    {
        return conflict(batch, &said, unique, error);
    }
    if let [_] = batch.courses() {
        return all(batch, &Verdict::Refused(said), outcome, Signal::Judged);
    }
    let blamed = |position, course| {
        named(batch, error, position)
            .then(|| answer.said(error))
            .or_else(|| blames(batch, course, error).map(|fault| answer.said_of(error, &fault)))
    };
    let mut verdicts: Vec<_> = (batch.courses().iter().enumerate())
        .map(|(position, course)| blamed(position, course).map_or(untouched.clone(), Verdict::Refused))
        .collect();
    if !verdicts.iter().any(|verdict| matches!(verdict, Verdict::Refused(_))) {
        verdicts.fill(Verdict::NotTaken(NotTaken::Unnamed(said)));
    }
    Interpretation { verdicts, signal: Signal::Judged, outcome, surplus: 0, may_be_size: false }
}

/// Somebody holds a unique value already. Whose key it is, the message tells by the value, which is
/// enough to know whom to look up; where it does not, one read for all costs less than halving. Where
/// it is not about the keys, halving is what isolates the guilty.
fn conflict(batch: &Batch, said: &CourseError, unique: &str, error: &ErrorReply) -> Interpretation {
    let company = batch.courses().len();
    let taken = error.taken_value();
    let is_meant = |(position, course): (usize, &Claimed)| {
        let is_key = |(property, value): (&str, &str)| {
            property == unique && folded(value) == folded(course.key.as_str())
        };
        named(batch, error, position) || taken.is_some_and(is_key)
    };
    let named: Vec<bool> = batch.courses().iter().enumerate().map(is_meant).collect();
    let is_about_keys =
        taken.is_some_and(|(property, _)| property == unique) || said.property.as_deref() == Some(unique);
    let exists = |candidates| Verdict::Exists { error: said.clone(), candidates };
    let verdict = |is_named: &bool| match company {
        1 => exists(1),
        _ if *is_named => exists(1),
        _ if named.contains(&true) => Verdict::NotTaken(NotTaken::Untouched),
        _ if is_about_keys => exists(company),
        _ => Verdict::NotTaken(NotTaken::Unnamed(said.clone())),
    };
    let verdicts = named.iter().map(verdict).collect();
    Interpretation {
        verdicts,
        signal: Signal::Judged,
        outcome: RequestOutcome::Rejected,
        surplus: 0,
        may_be_size: false,
    }
}

fn named(batch: &Batch, error: &ErrorReply, position: usize) -> bool {
    error.trace_ids().contains(&batch.trace_id(position))
}

/// The fault of a property, if the error holds one that can be nobody's but the courses' like this one.
pub(super) fn blames(batch: &Batch, course: &Claimed, error: &ErrorReply) -> Option<PropertyFault> {
    error.property_faults().into_iter().find(|fault| certainly_blames(batch, course, error, fault))
}

/// Whether this fault of a property can be nobody's but the courses' that send just this, or leave it out.
fn certainly_blames(batch: &Batch, course: &Claimed, error: &ErrorReply, fault: &PropertyFault) -> bool {
    let Some(property) = fault.property.as_deref() else { return false };
    let sent = batch.sent(course).find(|(name, _)| *name == property);
    if wants_a_value(error, fault) {
        return sent.is_none_or(|(_, value)| value.trim().is_empty());
    }
    let Some((_, value)) = sent else { return false };
    // HubSpot begins such a message with the value itself: `asd000 was not a valid long.`
    let begins_with_value = || {
        let message = fault.message.as_deref().unwrap_or_default();
        !value.is_empty() && message.strip_prefix(&*value).is_some_and(|rest| rest.starts_with(" was not "))
    };
    does_not_exist(fault) || begins_with_value()
}

/// Whether HubSpot misses a value, in its older form or in that of its newer versions.
fn wants_a_value(error: &ErrorReply, fault: &PropertyFault) -> bool {
    let message = error.message.as_deref().unwrap_or_default();
    fault.code.as_deref() == Some("MISSING_REQUIRED_PROPERTY")
        || message.contains("required properties were not set")
}
