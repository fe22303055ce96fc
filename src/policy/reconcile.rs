//! Courses whose outcome is unknown: what to ask HubSpot, and what its answer proves.
//!
//! With a unique property HubSpot is asked by key, first among its live records, then in its recycle
//! bin. Absence proves little by itself (a late request may still commit), yet makes a resend safe:
//! HubSpot's uniqueness turns the loser into a conflict, which is read back and adopted. Without a
//! unique property nothing can prove anything, and the course is held for a person, or sent again
//! where the operator has accepted duplicates.

mod refusal;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::answer::{BatchReply, BatchStatus, Body, Exchange, Meta, NoAnswer, NotSent, Record};
use super::batch::RowId;
use super::interpret::{self, RequestOutcome, Signal};
use super::pause::{Reason, Trouble};
use super::retry::{RetryPolicy, half};
use crate::course::{
    Again, Category, CourseError, CourseKey, HubSpotId, Provenance, Suspicion, Transition, clip, folded,
};

/// A course whose row says `unconfirmed`.
#[derive(Debug, Clone)]
pub struct Doubted {
    /// The row.
    pub id: RowId,
    /// The batch under which it was sent.
    pub batch: Uuid,
    /// The catalogue's identifier.
    pub key: CourseKey,
    /// How often it was sent.
    pub attempts: u32,
    /// How many of its attempts failed by its own fault.
    pub faults: u32,
    /// How often its outcome was unknown.
    pub doubts: u32,
    /// How many courses the request carried in which it was sent last; 0: unknown.
    pub company: usize,
    /// It was sent with its key in the property that it is looked up by; else no absence proves anything.
    pub carried_key: bool,
    /// What its row says.
    pub error: Option<CourseError>,
    /// When the catalogue enqueued it.
    pub created_at: Timestamp,
}

/// Which of HubSpot's records a read looks among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The live ones.
    Live,
    /// The recycle bin.
    Archived,
}

/// How the requests fared that went just before and just after a request that HubSpot failed at, without
/// any of its courses in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// HubSpot answered them as it should.
    pub passed: u32,
    /// It failed at them, too.
    pub failed: u32,
}

/// What HubSpot says of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A record carries exactly this key.
    Held(HubSpotId),
    /// A record carries a key that equals this one only after normalisation.
    Collision(HubSpotId),
    /// Several records carry exactly this key, against all uniqueness.
    Several(Vec<HubSpotId>),
    /// No record carries it.
    Absent,
    /// The answer does not say.
    Unclear,
}

/// The meaning of one read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// One finding a course, in the order asked.
    pub findings: Vec<Finding>,
    /// What it says of the account.
    pub signal: Signal,
    /// Its outcome for the metrics.
    pub outcome: RequestOutcome,
}

/// What the end of a read by `unique_property` means for the courses asked about.
#[must_use]
pub fn interpret_read(asked: &[Doubted], unique_property: &str, exchange: &Exchange) -> Reading {
    let (outcome, trouble) = match exchange {
        Exchange::Answered { meta, body: Body::Batch(reply) } if is_told(meta, reply) => {
            let findings = asked.iter().map(|course| find(&course.key, unique_property, reply)).collect();
            return Reading { findings, signal: Signal::Reachable, outcome: RequestOutcome::Ok };
        }
        Exchange::Answered { meta, body } => refused_read(meta, body),
        Exchange::NotSent(NotSent::NoToken(why)) => (RequestOutcome::Unauthorized, plain(Reason::Token, why)),
        Exchange::NotSent(NotSent::Unreachable(why) | NotSent::Unbuildable(why)) => {
            (RequestOutcome::Unreachable, plain(Reason::Unavailable, why))
        }
        Exchange::NoAnswer(NoAnswer::Timeout) => {
            (RequestOutcome::Timeout, plain(Reason::Unavailable, "HubSpot did not answer a read in time"))
        }
        Exchange::NoAnswer(NoAnswer::Lost(_) | NoAnswer::Abandoned) => {
            (RequestOutcome::Unreachable, plain(Reason::Unavailable, "the connection was lost during a read"))
        }
    };
    Reading { findings: vec![Finding::Unclear; asked.len()], signal: Signal::Pause(trouble), outcome }
}

fn plain(reason: Reason, message: &str) -> Trouble {
    Trouble { reason, retry_after: None, message: message.to_owned() }
}

/// Whether the answer of a read tells anything: it is over, and it speaks of records or misses, or
/// says itself that there is nothing more to say.
fn is_told(meta: &Meta, reply: &BatchReply) -> bool {
    let speaks =
        !reply.results.is_empty() || !reply.errors.is_empty() || reply.status == BatchStatus::Complete;
    (200..300).contains(&meta.status) && reply.status.is_final() && speaks
}

/// A read that was not answered as it should be: the same causes as of a create, save that what is
/// left is about the property that is read by.
pub(super) fn refused_read(meta: &Meta, body: &Body) -> (RequestOutcome, Trouble) {
    let (outcome, reason, at_least) = match (meta.status, body) {
        (401, _) => (RequestOutcome::Unauthorized, Reason::Token, Duration::ZERO),
        (403, Body::Error(_)) => (RequestOutcome::Unauthorized, Reason::Scopes, Duration::ZERO),
        (404 | 405 | 406 | 410 | 415, _) => (RequestOutcome::Rejected, Reason::ObjectType, Duration::ZERO),
        (423, _) => (RequestOutcome::Unavailable, Reason::Unavailable, interpret::LOCK),
        (429, body) => {
            let (reason, at_least) = interpret::exceeded(body);
            (RequestOutcome::RateLimited, reason, at_least)
        }
        (477, _) => (RequestOutcome::Unavailable, Reason::Unavailable, interpret::MIGRATION),
        // HubSpot refuses a read by a property that is not there, or not unique.
        (400 | 409 | 422, Body::Error(_)) => (RequestOutcome::Rejected, Reason::Schema, Duration::ZERO),
        (200..=299, _) => (RequestOutcome::Invalid, Reason::Unavailable, Duration::ZERO),
        _ => (RequestOutcome::Unavailable, Reason::Unavailable, Duration::ZERO),
    };
    let said = match body {
        Body::Error(error) => error.message.as_deref().unwrap_or("no message"),
        Body::Batch(_) | Body::Unreadable(_) => "no readable answer",
    };
    let message = clip(
        &format!("HubSpot answered a read with {}: {said}", meta.status),
        CourseError::MAX_MESSAGE_BYTES,
    );
    let asked = meta.retry_after.filter(|asked| !asked.is_zero());
    let retry_after = asked.or((!at_least.is_zero()).then_some(at_least));
    (outcome, Trouble { reason, retry_after, message })
}

/// The one record that carries the key; what another carries up to case is not this course's. A key
/// that a final answer leaves out is absent: should that be wrong, HubSpot's uniqueness refuses the
/// resend.
fn find(key: &CourseKey, unique_property: &str, reply: &BatchReply) -> Finding {
    let holders = |same: &dyn Fn(&str) -> bool| -> BTreeSet<Option<HubSpotId>> {
        let carries = |record: &&Record| {
            record.properties.get(unique_property).and_then(Option::as_deref).is_some_and(same)
        };
        reply.results.iter().flatten().filter(carries).map(Record::consistent_id).collect()
    };
    let exact = holders(&|carried| carried == key.as_str());
    let near = holders(&|carried| folded(carried) == folded(key.as_str()));
    match (interpret::only(&exact), interpret::only(&near)) {
        (Some(Some(id)), _) => Finding::Held(id.clone()),
        (None, _) if exact.len() > 1 => Finding::Several(exact.into_iter().flatten().collect()),
        (None, Some(Some(id))) if exact.is_empty() => Finding::Collision(id.clone()),
        (None, None) if near.is_empty() && !reply.results.iter().any(Option::is_none) => Finding::Absent,
        // One that contradicts itself, or cannot be read.
        _ => Finding::Unclear,
    }
}

/// One finding of two: among the live records and in the recycle bin.
#[must_use]
pub fn combined(live: Finding, archived: Option<Finding>) -> Finding {
    match (live, archived) {
        (Finding::Absent, Some(archived)) => archived,
        // The recycle bin was not asked.
        (Finding::Absent, None) => Finding::Unclear,
        (found, _) => found,
    }
}

/// How often it is looked whether a person has mended a key that several records carry.
const SEVERAL: Duration = Duration::from_mins(5);

/// What becomes of a doubted course, or `None` where the doubt remains.
#[must_use]
pub fn settle(
    course: &Doubted,
    finding: &Finding,
    neighbours: Neighbours,
    policy: &RetryPolicy,
    now: Timestamp,
    jitter: f64,
) -> Option<Transition> {
    match finding {
        Finding::Held(hubspot_id) => {
            Some(Transition::Synced { hubspot_id: hubspot_id.clone(), provenance: provenance(course) })
        }
        Finding::Collision(holder) => {
            let message = format!(
                "HubSpot's record {} carries a key that equals {:?} up to case and surrounding spaces; it is another \
                 course's record and was not adopted. Give one of the two courses another key",
                holder.as_str(),
                course.key.as_str()
            );
            Some(Transition::Failed { error: CourseError::new(Category::KeyCollision, &message, now) })
        }
        Finding::Several(holders) => {
            let holders: Vec<_> = holders.iter().map(HubSpotId::as_str).collect();
            let message = format!(
                "HubSpot holds several records with this course's key: {}. Merge or archive all but one; the course is \
                 looked up again every few minutes",
                holders.join(", ")
            );
            let error = CourseError::new(Category::Conflict, &message, now);
            Some(Transition::Unconfirmed { error, own_fault: false, batch_limit: None, look_after: SEVERAL })
        }
        Finding::Absent if !course.carried_key => None,
        Finding::Absent => Some(match refusal::of(course) {
            Some(error) => Transition::Failed { error },
            None => resend(course, neighbours, policy, now, jitter),
        }),
        Finding::Unclear => None,
    }
}

/// A conflict at the first sending means that somebody else made the record; later ones may be with
/// one's own earlier self.
fn provenance(course: &Doubted) -> Provenance {
    let is_conflict = course.error.as_ref().is_some_and(|error| error.category == Category::Conflict);
    if is_conflict && course.attempts == 1 { Provenance::Adopted } else { Provenance::Confirmed }
}

/// What becomes of a doubted course where nothing can prove anything and duplicates are accepted; `None`
/// where it was in doubt so often that a person had better look.
#[must_use]
pub fn resend_blindly(
    course: &Doubted,
    neighbours: Neighbours,
    policy: &RetryPolicy,
    now: Timestamp,
    jitter: f64,
) -> Option<Transition> {
    (course.doubts < policy.max_attempts).then(|| resend(course, neighbours, policy, now, jitter))
}

/// Once more, after a wait that grows with its own faults; at once where it has none; or not at all where
/// it has too many.
fn resend(
    course: &Doubted,
    neighbours: Neighbours,
    policy: &RetryPolicy,
    now: Timestamp,
    jitter: f64,
) -> Transition {
    let suspicion = suspicion(course, neighbours);
    let faults = course.faults.saturating_add(u32::from(suspicion == Some(Suspicion::Alone)));
    if faults >= policy.max_attempts {
        return Transition::Failed { error: worn_out(course, faults, now) };
    }
    let after = if faults == 0 { Duration::ZERO } else { policy.backoff(faults, jitter) };
    Transition::Pending(Again::Resend { after, suspicion })
}

/// Whether this course may be what HubSpot fails at. Only 500 is ever about what was sent; every other
/// 5xx is about what stands in between.
#[must_use]
pub fn may_be_poison(course: &Doubted) -> bool {
    let is_500 = |error: &CourseError| {
        error.category == Category::UnknownOutcome && error.http_status == Some(POISONED)
    };
    course.error.as_ref().is_some_and(is_500)
}

/// The status by which HubSpot fails at one course.
pub(super) const POISONED: u16 = 500;

/// An outage fails at the neighbours, too.
fn suspicion(course: &Doubted, neighbours: Neighbours) -> Option<Suspicion> {
    (may_be_poison(course) && neighbours.passed > neighbours.failed).then(|| match course.company {
        1 => Suspicion::Alone,
        company => Suspicion::InCompany { batch_limit: half(company) },
    })
}

fn worn_out(course: &Doubted, faults: u32, now: Timestamp) -> CourseError {
    let said = course.error.clone().unwrap_or_else(|| CourseError::new(Category::Refused, "", now));
    if said.category != Category::UnknownOutcome {
        return said;
    }
    let times = if faults == 1 { "once".to_owned() } else { format!("{faults} times") };
    let message = format!(
        "HubSpot failed at this course {times} when it was sent alone, while it let others pass; it does not hold it. \
         Last: {}",
        said.message
    );
    CourseError {
        category: Category::Refused,
        message: clip(&message, CourseError::MAX_MESSAGE_BYTES),
        at: now,
        ..said
    }
}

#[cfg(test)]
mod tests;
