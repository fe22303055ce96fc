//! Courses whose outcome is unknown: what a look-up in HubSpot proves, and what happens to the course then. Pure.
//!
//! With a unique property, courses are looked up by key, first among HubSpot's live records, then in its recycle bin.
//! A record proves that the course exists. Absence is proved only where HubSpot lists the key as not found; a response
//! that leaves the key out proves nothing. After proved absence it is safe to send the course again, even if an earlier
//! request commits late: HubSpot's uniqueness turns the second create into a conflict, which is looked up and adopted.
//! Without a unique property nothing can be proved: the course waits for an operator, or is sent again where duplicates
//! are accepted.

mod refusal;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::record_errors::record_gone;
use crate::course::{
    Category, CourseError, CourseKey, Doubt, HubSpotId, Provenance, Requeue, Suspicion, Transition,
    UnconfirmedCourse, fold_key,
};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::record_state::RecordState;
use crate::hubspot::api::response::{
    BatchReply, BatchStatus, Body, CourseRecord, Exchange, Meta, NoAnswer, NotSent,
};
use crate::pipeline::transition::{clamp_batch_limit, exhausted_error};
use crate::policy::attribution::{Evidence, isolation_group_size};
use crate::policy::backoff::RetryPolicy;
use crate::policy::gate::{Incident, Reason};
use crate::policy::read_result::interpret_failed_read;
use crate::policy::signal::Signal;

/// What a look-up shows about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupFinding {
    /// A live record has exactly this key.
    Found(HubSpotId),
    /// A live record has a key that equals this one only after HubSpot's normalisation.
    SimilarKey(FoundRecord),
    /// Several live records have exactly this key, although it should be unique.
    Duplicates(Vec<HubSpotId>),
    /// A record in the recycle bin has the key, and no live record does.
    Archived(FoundRecord),
    /// HubSpot lists the key as not found.
    Absent,
    /// The response shows nothing about the key.
    Inconclusive,
    /// The look-up was interrupted before its end: the lease has ended, or look-ups are paused.
    Interrupted,
}

/// A record that may be the course's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRecord {
    /// The record's id.
    pub id: HubSpotId,
    /// When HubSpot created it, where the response shows it.
    pub created_at: Option<Timestamp>,
}

/// The meaning of one read.
#[derive(Debug, Clone)]
pub struct ReadMeaning<F> {
    /// One finding per key or record, in the order of the request.
    pub findings: Vec<F>,
    /// What the response shows about the account.
    pub signal: Signal,
    /// The outcome for the metrics.
    pub outcome: RequestOutcome,
}

/// Interprets the end of a read of these keys by `unique_property`.
#[must_use]
pub fn interpret_read(
    keys: &[&CourseKey],
    unique_property: &str,
    state: RecordState,
    exchange: &Exchange,
) -> ReadMeaning<LookupFinding> {
    match conclusive_reply(exchange) {
        Ok(reply) => {
            let findings = keys.iter().map(|key| finding_of(key, unique_property, state, reply)).collect();
            ReadMeaning { findings, signal: Signal::Passed, outcome: RequestOutcome::Ok }
        }
        Err((outcome, signal)) => {
            ReadMeaning { findings: vec![LookupFinding::Inconclusive; keys.len()], signal, outcome }
        }
    }
}

/// The response to a read of records, if it can prove anything. Else its outcome, and what it shows about the account.
pub(super) fn conclusive_reply(exchange: &Exchange) -> Result<&BatchReply, (RequestOutcome, Signal)> {
    let (outcome, incident) = match exchange {
        Exchange::Answered { meta, body: Body::Batch(reply) } if is_conclusive(meta, reply) => {
            return Ok(reply);
        }
        Exchange::Answered { meta, body } => interpret_failed_read(meta, body),
        Exchange::NotSent(NotSent::NoToken(why)) => {
            (RequestOutcome::Unauthorized, incident(Reason::Token, why))
        }
        Exchange::NotSent(NotSent::Unreachable(why) | NotSent::Unbuildable(why)) => {
            (RequestOutcome::Unreachable, incident(Reason::Unavailable, why))
        }
        Exchange::NoAnswer(NoAnswer::Timeout) => {
            (RequestOutcome::Timeout, incident(Reason::Unavailable, "HubSpot did not answer a read in time"))
        }
        Exchange::NoAnswer(NoAnswer::Lost(_) | NoAnswer::Abandoned) => (
            RequestOutcome::Unreachable,
            incident(Reason::Unavailable, "the connection was lost during a read"),
        ),
    };
    // No key can use up a quota. Any other failure may be caused by one of the keys.
    let signal = match incident.reason {
        Reason::IntervalQuota | Reason::DailyQuota => Signal::Pause(incident),
        _ => Signal::Failed(incident),
    };
    Err((outcome, signal))
}

fn incident(reason: Reason, message: &str) -> Incident {
    Incident { reason, retry_after: None, message: message.to_owned() }
}

/// Whether the response of a read can prove anything: it is final, and it lists records or errors or is marked as
/// complete.
fn is_conclusive(meta: &Meta, reply: &BatchReply) -> bool {
    let has_content =
        !reply.results.is_empty() || !reply.errors.is_empty() || reply.status == BatchStatus::Complete;
    meta.is_success() && reply.status.is_final() && has_content
}

/// What the response shows about this key. A key that the response leaves out is not proved to be absent.
fn finding_of(
    key: &CourseKey,
    unique_property: &str,
    state: RecordState,
    reply: &BatchReply,
) -> LookupFinding {
    let exact = records_with(unique_property, reply, |stored| stored == key.as_str());
    let similar = records_with(unique_property, reply, |stored| fold_key(stored) == fold_key(key.as_str()));
    let ids: BTreeSet<HubSpotId> = exact.iter().filter_map(|record| record.consistent_id()).collect();
    match (only_record(&exact), only_record(&similar), state) {
        (Some(record), _, RecordState::Archived) => LookupFinding::Archived(record),
        (Some(record), _, RecordState::Live) => LookupFinding::Found(record.id),
        // The key is listed as missing, so a record with a similar key was requested for another course.
        _ if exact.is_empty() && is_listed_as_missing(key.as_str(), reply) => LookupFinding::Absent,
        (None, Some(record), RecordState::Live) if exact.is_empty() => LookupFinding::SimilarKey(record),
        (None, _, RecordState::Live) if ids.len() > 1 => LookupFinding::Duplicates(ids.into_iter().collect()),
        // A record with this key but without a readable id, or several records with similar keys.
        _ => LookupFinding::Inconclusive,
    }
}

/// The records whose unique property has a value that matches.
fn records_with<'r>(
    unique_property: &str,
    reply: &'r BatchReply,
    matches: impl Fn(&str) -> bool,
) -> Vec<&'r CourseRecord> {
    let records = reply.results.iter().flatten();
    records.filter(|record| key_of(record, unique_property).is_some_and(&matches)).collect()
}

fn key_of<'r>(record: &'r CourseRecord, unique_property: &str) -> Option<&'r str> {
    record.properties.get(unique_property).and_then(Option::as_deref)
}

/// The only record of these; `None` where there is none or more than one, or where its id cannot be read.
fn only_record(records: &[&CourseRecord]) -> Option<FoundRecord> {
    let mut ids: BTreeSet<Option<HubSpotId>> = records.iter().map(|record| record.consistent_id()).collect();
    let id = ids.pop_first()??;
    let created_at = records.first().and_then(|record| record.created_at.as_deref()?.parse().ok());
    ids.is_empty().then_some(FoundRecord { id, created_at })
}

/// Whether an error of the kind "not found" lists the key, or the id.
pub(super) fn is_listed_as_missing(key: &str, reply: &BatchReply) -> bool {
    reply
        .errors
        .iter()
        .flatten()
        .filter(|error| error.category.as_deref().is_some_and(|category| category.ends_with("NOT_FOUND")))
        .filter_map(|error| error.context.get("ids"))
        .flatten()
        .any(|id| id == key)
}

/// Combines the findings among the live records and in the recycle bin. Absence needs both.
#[must_use]
pub fn combine(live: LookupFinding, archived: Option<LookupFinding>) -> LookupFinding {
    match (live, archived) {
        (LookupFinding::Absent, Some(archived)) => archived,
        // The recycle bin was not read.
        (LookupFinding::Absent, None) => LookupFinding::Inconclusive,
        (found, _) => found,
    }
}

/// What happens to an unconfirmed course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// It changes its status.
    Apply(Transition),
    /// It stays unconfirmed and is looked up again after this time.
    StillUnconfirmed(Duration),
    /// It stays unconfirmed and is still due.
    Unchanged,
}

/// What the decision depends on, besides the course and the finding.
#[derive(Debug, Clone, Copy)]
pub struct SettlementFacts<'a> {
    /// How the requests around the course's last one ended.
    pub evidence: Evidence,
    /// The record that was found belongs to another course of the outbox.
    pub is_taken: bool,
    /// The unique property that a new request would use.
    pub unique_property: Option<&'a str>,
    /// How long an unconfirmed course waits before its first look-up.
    pub settle: Duration,
    /// The time.
    pub now: Timestamp,
    /// A random number from 0 to 1.
    pub jitter: f64,
}

/// The shortest time between two look-ups of a course.
const MIN_LOOKUP_INTERVAL: Duration = Duration::from_secs(2);
/// The time between two look-ups of a key that several records have, until an operator has removed the duplicates.
const DUPLICATES_INTERVAL: Duration = Duration::from_mins(5);
/// How far HubSpot's clock may differ from the database's.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// The time until the next look-up: half of the time that the course has been unconfirmed. So the waits grow without a
/// counter.
#[must_use]
pub fn next_lookup_after(course: &UnconfirmedCourse, policy: &RetryPolicy, now: Timestamp) -> Duration {
    let longest = policy.max_interval.max(MIN_LOOKUP_INTERVAL);
    (since(course.doubted_since, now) / 2).clamp(MIN_LOOKUP_INTERVAL, longest)
}

/// Decides what happens to a course by what the look-up showed.
#[must_use]
pub fn settle(
    course: &UnconfirmedCourse,
    finding: &LookupFinding,
    policy: &RetryPolicy,
    facts: &SettlementFacts<'_>,
) -> Settlement {
    match finding {
        LookupFinding::Found(hubspot_id) => synced(course, hubspot_id),
        LookupFinding::SimilarKey(record) if may_be_of(course, record) && !facts.is_taken => {
            synced(course, &record.id)
        }
        LookupFinding::SimilarKey(record) => key_collision(course, record, facts.now),
        LookupFinding::Duplicates(ids) => duplicates(ids, facts.now),
        LookupFinding::Archived(record) if course.is_archived => {
            Settlement::Apply(Transition::Archived { hubspot_id: Some(record.id.clone()), remark: None })
        }
        LookupFinding::Archived(record) => archived(course, record, policy, facts),
        LookupFinding::Absent => absent(course, policy, facts),
        LookupFinding::Interrupted => Settlement::Unchanged,
        LookupFinding::Inconclusive => {
            Settlement::StillUnconfirmed(next_lookup_after(course, policy, facts.now))
        }
    }
}

fn synced(course: &UnconfirmedCourse, hubspot_id: &HubSpotId) -> Settlement {
    Settlement::Apply(Transition::Synced {
        hubspot_id: hubspot_id.clone(),
        provenance: provenance(course),
        warning: None,
    })
}

/// A conflict on the first attempt means that the record was created elsewhere. On a later attempt it may be the record
/// of an earlier request.
fn provenance(course: &UnconfirmedCourse) -> Provenance {
    if course.doubt == Doubt::Conflict && course.attempts == 1 {
        Provenance::Adopted
    } else {
        Provenance::Confirmed
    }
}

/// Whether the record can be the course's: it was not created before the first request whose outcome is unknown.
fn may_be_of(course: &UnconfirmedCourse, record: &FoundRecord) -> bool {
    record.created_at.is_some_and(|created_at| created_at + CLOCK_SKEW >= course.doubted_since)
}

/// The course fails with this message. Status and correlation id of its last response are kept.
fn failed(course: &UnconfirmedCourse, category: Category, message: &str, now: Timestamp) -> Settlement {
    let error = with_last_response(course, CourseError::new(category, message, now));
    Settlement::Apply(Transition::Failed { error })
}

/// The error, with status and correlation id of the course's last response.
fn with_last_response(course: &UnconfirmedCourse, error: CourseError) -> CourseError {
    let last = course.error.as_ref();
    CourseError {
        http_status: last.and_then(|last| last.http_status),
        correlation_id: last.and_then(|last| last.correlation_id.clone()),
        ..error
    }
}

fn key_collision(course: &UnconfirmedCourse, record: &FoundRecord, now: Timestamp) -> Settlement {
    let message = format!(
        "HubSpot's record {} has a key that equals {:?} after HubSpot's normalisation (case, white space, Unicode form). \
         It belongs to another course and was not adopted. Give one of the two courses another key",
        record.id.as_str(),
        course.key.as_str()
    );
    failed(course, Category::KeyCollision, &message, now)
}

/// A record in the recycle bin is never adopted. A record that is older than the course blocks its key. A newer one is
/// the course's own record, which was deleted.
fn archived(
    course: &UnconfirmedCourse,
    record: &FoundRecord,
    policy: &RetryPolicy,
    facts: &SettlementFacts<'_>,
) -> Settlement {
    let id = record.id.as_str();
    if record.created_at.is_some_and(|created_at| created_at >= course.created_at) {
        let error = with_last_response(course, record_gone(id, facts.now));
        return Settlement::Apply(Transition::Gone { hubspot_id: record.id.clone(), error });
    }
    if course.doubt == Doubt::Conflict {
        let message = format!(
            "record {id} in HubSpot's recycle bin has this course's key. It is older than the course and was not \
             adopted. Restore record {id} or delete it permanently in HubSpot, then run `course-sync retry`"
        );
        return failed(course, Category::Conflict, &message, facts.now);
    }
    // It is not this course's record, and nothing shows that it blocks the key.
    absent(course, policy, facts)
}

/// HubSpot lists the key as not found, among the live records and in the recycle bin.
fn absent(course: &UnconfirmedCourse, policy: &RetryPolicy, facts: &SettlementFacts<'_>) -> Settlement {
    let unconfirmed = Settlement::StillUnconfirmed(next_lookup_after(course, policy, facts.now));
    match course.doubt {
        Doubt::Refused => match &course.error {
            Some(error) => Settlement::Apply(Transition::Failed { error: error.clone() }),
            None => resend(course, policy, facts),
        },
        // HubSpot reported a record that it does not find now. Reads may lag, so the course is not sent again.
        Doubt::Created => unconfirmed,
        Doubt::Conflict => absent_after_conflict(course, policy, facts),
        // It concerns a record that is known, so it is not looked up by its key.
        Doubt::Change => unconfirmed,
        // The earlier request used another unique property. If it commits late, HubSpot would not refuse a second record.
        Doubt::Unknown if course.property.as_deref() != facts.unique_property => unconfirmed,
        Doubt::Unknown => resend(course, policy, facts),
    }
}

/// HubSpot reported that a unique value is taken, but no record has the key.
fn absent_after_conflict(
    course: &UnconfirmedCourse,
    policy: &RetryPolicy,
    facts: &SettlementFacts<'_>,
) -> Settlement {
    let conflict = course.error.as_ref();
    if let Some(error) =
        conflict.and_then(|error| refusal::over_another_value(error, course.property.as_deref(), &course.key))
    {
        return Settlement::Apply(Transition::Failed { error });
    }
    // The two responses contradict each other, probably because reads lag. The course is sent again at growing
    // intervals, and the attempts do not count as its faults.
    let wait = next_lookup_after(course, policy, facts.now);
    if since(course.sent_at, facts.now) < wait.max(facts.settle) {
        return Settlement::StillUnconfirmed(wait);
    }
    Settlement::Apply(Transition::Pending(Requeue::Later {
        error: None,
        after: Duration::ZERO,
        suspicion: Suspicion::Unchanged,
    }))
}

/// Decides about a course where nothing can be proved and duplicates are accepted. `None` where an operator has to
/// decide: its outcome was unknown too often, or HubSpot reported that the record exists.
#[must_use]
pub fn resend_without_proof(
    course: &UnconfirmedCourse,
    policy: &RetryPolicy,
    facts: &SettlementFacts<'_>,
) -> Option<Settlement> {
    let may_resend = course.doubt == Doubt::Unknown && course.doubts < policy.max_attempts;
    may_resend.then(|| resend(course, policy, facts))
}

/// Sends the course again: at once, or after a backoff that grows with its faults. With too many faults it fails.
fn resend(course: &UnconfirmedCourse, policy: &RetryPolicy, facts: &SettlementFacts<'_>) -> Settlement {
    // Smaller and smaller batches isolate a course that makes its request fail.
    let suspicion = match course.batch_size {
        0 => Suspicion::Unchanged,
        1 if facts.evidence.blames_courses() => Suspicion::Single,
        batch_size if course.is_suspect => {
            Suspicion::InBatch { batch_limit: isolation_group_size(batch_size) }
        }
        batch_size => Suspicion::InBatch { batch_limit: clamp_batch_limit(batch_size) },
    };
    let faults = course.faults.saturating_add(u32::from(suspicion == Suspicion::Single));
    if faults >= policy.max_attempts {
        // Reads may lag: it fails only if it is still not found some time after it was sent.
        if since(course.sent_at, facts.now) < (facts.settle * 2).max(MIN_LOOKUP_INTERVAL) {
            return Settlement::StillUnconfirmed(next_lookup_after(course, policy, facts.now));
        }
        let last = course.error.clone().unwrap_or_else(|| CourseError::new(Category::Refused, "", facts.now));
        return Settlement::Apply(Transition::Failed { error: exhausted_error(&last, faults, facts.now) });
    }
    let after = if faults == 0 { Duration::ZERO } else { policy.backoff(faults, facts.jitter) };
    Settlement::Apply(Transition::Pending(Requeue::Later { error: None, after, suspicion }))
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// Several live records have the course's key. The course stays unconfirmed until an operator has removed the others.
fn duplicates(ids: &[HubSpotId], now: Timestamp) -> Settlement {
    let ids: Vec<_> = ids.iter().map(HubSpotId::as_str).collect();
    let message = format!(
        "HubSpot has several records with this course's key: {}. Merge or archive all but one. The course is looked up \
         again every few minutes",
        ids.join(", ")
    );
    let error = CourseError::new(Category::Conflict, &message, now);
    Settlement::Apply(Transition::Unconfirmed {
        error,
        doubt: Doubt::Conflict,
        batch_limit: None,
        look_after: DUPLICATES_INTERVAL,
    })
}

#[cfg(test)]
mod tests;
