//! Courses whose outcome is unknown: what to ask HubSpot, and what its answer proves.
//!
//! With a unique property HubSpot is asked by key, first among its live records, then in its recycle
//! bin. A record is proof of existence. Absence is proved only where HubSpot lists the key as not found; an answer
//! that leaves it out proves nothing. Proved absence makes a resend safe even if a late request still commits:
//! HubSpot's uniqueness turns the loser into a conflict, which is looked up and adopted. Without a unique property
//! nothing can prove anything, and the course is held for an operator, or sent again where duplicates are accepted.

mod refusal;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::answer::{BatchReply, BatchStatus, Body, Exchange, Meta, NoAnswer, NotSent, Record};
use super::attribution::{Evidence, narrowed};
use super::batch::RowId;
use super::interpret::{self, RequestOutcome, Signal};
use super::pause::{Reason, Trouble};
use super::retry::{RetryPolicy, whole, worn_out};
use crate::course::{
    Again, Category, CourseError, CourseKey, Doubt, HubSpotId, Provenance, Suspicion, Transition, clip,
    folded,
};

/// A course whose row says `unconfirmed`.
#[derive(Debug, Clone)]
pub struct Doubted {
    /// The row.
    pub id: RowId,
    /// The batch under which it was sent last.
    pub batch: Uuid,
    /// The catalogue's identifier.
    pub key: CourseKey,
    /// What is in doubt.
    pub doubt: Doubt,
    /// The HubSpot property that carried its key: what it is looked up by. `None`: no look-up can prove anything.
    pub property: Option<String>,
    /// When the first request was claimed whose outcome is unknown.
    pub doubted_since: Timestamp,
    /// When it was sent last.
    pub sent_at: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
    /// How many of its attempts failed by its own fault.
    pub faults: u32,
    /// How often its outcome was unknown.
    pub doubts: u32,
    /// How many courses the request carried in which it was sent last; 0: it was not sent.
    pub company: usize,
    /// It failed before without being named.
    pub is_suspect: bool,
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

/// What HubSpot shows about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A live record carries exactly this key.
    Held(HubSpotId),
    /// A live record carries a key that equals this one only after normalisation.
    Similar(Holder),
    /// Several records carry exactly this key, against all uniqueness.
    Several(Vec<HubSpotId>),
    /// A record in the recycle bin carries it, and no live one.
    InBin(Holder),
    /// HubSpot lists it as not found.
    Absent,
    /// The answer does not show.
    Unclear,
}

/// A record that may be a course's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its identifier.
    pub id: HubSpotId,
    /// When HubSpot created it, where it shows that.
    pub created_at: Option<Timestamp>,
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

/// What the end of a read by `unique_property` means for the keys asked about.
#[must_use]
pub fn interpret_read(
    keys: &[&CourseKey],
    unique_property: &str,
    place: Place,
    exchange: &Exchange,
) -> Reading {
    let (outcome, trouble) = match exchange {
        Exchange::Answered { meta, body: Body::Batch(reply) } if is_told(meta, reply) => {
            let findings = keys.iter().map(|key| find(key, unique_property, place, reply)).collect();
            return Reading { findings, signal: Signal::Passed, outcome: RequestOutcome::Ok };
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
    // What no key can cause stops everything; anything else may be due to one key.
    let signal = match trouble.reason {
        Reason::IntervalQuota | Reason::DailyQuota => Signal::Pause(trouble),
        _ => Signal::Failed(trouble),
    };
    Reading { findings: vec![Finding::Unclear; keys.len()], signal, outcome }
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
        (404 | 405 | 406 | 410 | 415 | 488 | 300..=399, _) => {
            (RequestOutcome::Rejected, Reason::ObjectType, Duration::ZERO)
        }
        (423, _) => (RequestOutcome::Unavailable, Reason::Unavailable, interpret::LOCK),
        (429, body) => {
            let (reason, at_least) = interpret::exceeded(body);
            (RequestOutcome::RateLimited, reason, at_least)
        }
        (477, _) => (RequestOutcome::Unavailable, Reason::Unavailable, interpret::MIGRATION),
        (400 | 409 | 422, Body::Error(_)) => (RequestOutcome::Rejected, Reason::Unavailable, Duration::ZERO),
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

/// The one record that carries the key. A key that the answer leaves out is not proved to be absent.
fn find(key: &CourseKey, unique_property: &str, place: Place, reply: &BatchReply) -> Finding {
    let holders = |same: &dyn Fn(&str) -> bool| -> Vec<&Record> {
        let carries = |record: &&Record| {
            record.properties.get(unique_property).and_then(Option::as_deref).is_some_and(same)
        };
        reply.results.iter().flatten().filter(carries).collect()
    };
    let exact = holders(&|carried| carried == key.as_str());
    let similar = holders(&|carried| folded(carried) == folded(key.as_str()));
    let ids: BTreeSet<HubSpotId> = exact.iter().filter_map(|record| record.consistent_id()).collect();
    match (only_holder(&exact), only_holder(&similar), place) {
        (Some(holder), _, Place::Archived) => Finding::InBin(holder),
        (Some(holder), _, Place::Live) => Finding::Held(holder.id),
        // What is similar to a key that is listed as missing was asked for by another course.
        _ if exact.is_empty() && is_listed_as_missing(key, reply) => Finding::Absent,
        (None, Some(holder), Place::Live) if exact.is_empty() => Finding::Similar(holder),
        (None, _, Place::Live) if ids.len() > 1 => Finding::Several(ids.into_iter().collect()),
        // A record that carries the key and whose identifier cannot be read, or several that are similar.
        _ => Finding::Unclear,
    }
}

/// The only record of these: `None` where there is none or more than one, or where its identifier cannot be read.
fn only_holder(records: &[&Record]) -> Option<Holder> {
    let ids: BTreeSet<Option<HubSpotId>> = records.iter().map(|record| record.consistent_id()).collect();
    let id = interpret::only(&ids)?.clone()?;
    let created_at = records.first().and_then(|record| record.created_at.as_deref()?.parse().ok());
    Some(Holder { id, created_at })
}

/// Whether an error of the kind "not found" lists the key.
fn is_listed_as_missing(key: &CourseKey, reply: &BatchReply) -> bool {
    let is_not_found = |category: &Option<String>| {
        category.as_deref().is_some_and(|category| category.ends_with("NOT_FOUND"))
    };
    let lists = |id: &String| id == key.as_str();
    reply
        .errors
        .iter()
        .flatten()
        .filter(|error| is_not_found(&error.category))
        .filter_map(|error| error.context.get("ids"))
        .flatten()
        .any(lists)
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

/// What becomes of a doubted course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// This.
    To(Transition),
    /// The doubt remains; HubSpot is asked again after so long.
    Remains(Duration),
}

/// What is known around a doubted course.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// How the requests around its last one fared.
    pub evidence: Evidence,
    /// Another course of the outbox is the record that was found.
    pub is_taken: bool,
    /// The unique property that a new request would carry its key in.
    pub unique_property: Option<&'a str>,
    /// How long a doubt rests before HubSpot is asked.
    pub settle: Duration,
    /// The time.
    pub now: Timestamp,
    /// Drawn from 0..1.
    pub jitter: f64,
}

/// The shortest time between two looks at a course that no answer settles.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often it is looked whether a key that several records carry has been fixed.
const SEVERAL: Duration = Duration::from_mins(5);

impl Doubted {
    /// How long to wait before the next look: half of the doubt's age, so that the waits grow, and no state has to be
    /// kept for it.
    #[must_use]
    pub fn look_again(&self, policy: &RetryPolicy, now: Timestamp) -> Duration {
        (since(self.doubted_since, now) / 2).clamp(LOOK_AGAIN, policy.max_interval.max(LOOK_AGAIN))
    }

    /// What becomes of it by what HubSpot showed.
    #[must_use]
    pub fn settle(&self, finding: &Finding, policy: &RetryPolicy, context: &Context<'_>) -> Settlement {
        match finding {
            Finding::Held(hubspot_id) => self.synced(hubspot_id),
            Finding::Similar(holder) if self.may_be(holder) && !context.is_taken => self.synced(&holder.id),
            Finding::Similar(holder) => self.collision(holder, context.now),
            Finding::Several(holders) => several(holders, context.now),
            Finding::InBin(holder) => self.in_bin(holder, policy, context),
            Finding::Absent => self.absent(policy, context),
            Finding::Unclear => Settlement::Remains(self.look_again(policy, context.now)),
        }
    }

    fn synced(&self, hubspot_id: &HubSpotId) -> Settlement {
        Settlement::To(Transition::Synced {
            hubspot_id: hubspot_id.clone(),
            provenance: self.provenance(),
            warning: None,
        })
    }

    /// A conflict at the first sending means that the record was made elsewhere; later ones may be with one's own
    /// earlier request.
    fn provenance(&self) -> Provenance {
        if self.doubt == Doubt::Conflict && self.attempts == 1 {
            Provenance::Adopted
        } else {
            Provenance::Confirmed
        }
    }

    /// Whether the record can be this course: it was not created before the first request in doubt.
    fn may_be(&self, holder: &Holder) -> bool {
        /// HubSpot's clock is not the database's.
        const SKEW: Duration = Duration::from_secs(5);
        holder.created_at.is_some_and(|created_at| created_at + SKEW >= self.doubted_since)
    }

    fn failed(&self, category: Category, message: &str, now: Timestamp) -> Settlement {
        let last = self.error.clone().unwrap_or_else(|| CourseError::new(category, message, now));
        let error = CourseError {
            http_status: last.http_status,
            correlation_id: last.correlation_id,
            ..CourseError::new(category, message, now)
        };
        Settlement::To(Transition::Failed { error })
    }

    fn collision(&self, holder: &Holder, now: Timestamp) -> Settlement {
        let message = format!(
            "HubSpot's record {} carries a key that equals {:?} after HubSpot's normalisation (case, white space, \
             Unicode form); it is another course's record and was not adopted. Give one of the two courses another key",
            holder.id.as_str(),
            self.key.as_str()
        );
        self.failed(Category::KeyCollision, &message, now)
    }

    /// A record in the recycle bin is never adopted. One that is older than the course blocks its key; a newer one is
    /// the course's own record, which was deleted.
    fn in_bin(&self, holder: &Holder, policy: &RetryPolicy, context: &Context<'_>) -> Settlement {
        let id = holder.id.as_str();
        if holder.created_at.is_some_and(|created_at| created_at >= self.created_at) {
            let message = format!(
                "HubSpot created this course as record {id}, and the record is in the recycle bin now. It is not created \
                 again: restore record {id} in HubSpot, then run `course-sync retry`"
            );
            return self.failed(Category::RecordGone, &message, context.now);
        }
        if self.doubt == Doubt::Conflict {
            let message = format!(
                "record {id} in HubSpot's recycle bin holds this course's key; it is older than the course and was not \
                 adopted. Restore record {id} or delete it permanently in HubSpot, then run `course-sync retry`"
            );
            return self.failed(Category::Conflict, &message, context.now);
        }
        // Not this course, and it does not show that the key is blocked.
        self.absent(policy, context)
    }

    /// HubSpot lists the key as not found, among the live records and in the recycle bin.
    fn absent(&self, policy: &RetryPolicy, context: &Context<'_>) -> Settlement {
        let remains = Settlement::Remains(self.look_again(policy, context.now));
        match self.doubt {
            Doubt::Refused => match &self.error {
                Some(error) => Settlement::To(Transition::Failed { error: error.clone() }),
                None => self.resend(policy, context),
            },
            // A contradiction: it exists, and is not found.
            Doubt::Created => remains,
            Doubt::Conflict => {
                match self.error.as_ref().and_then(|error| refusal::over_another_value(error, &self.key)) {
                    Some(error) => Settlement::To(Transition::Failed { error }),
                    // A contradiction: HubSpot calls the key taken, and does not find it. Reads may lag. It is sent again
                    // ever more seldom, and nothing is counted.
                    None if since(self.sent_at, context.now)
                        < self.look_again(policy, context.now).max(context.settle) =>
                    {
                        remains
                    }
                    None => Settlement::To(Transition::Pending(Again::Later {
                        error: None,
                        after: Duration::ZERO,
                        suspicion: Suspicion::Unchanged,
                    })),
                }
            }
            // Nothing would refuse a second record if a request under the former property commits late.
            Doubt::Unknown if self.property.as_deref() != context.unique_property => remains,
            Doubt::Unknown => self.resend(policy, context),
        }
    }

    /// What becomes of it where nothing can prove anything and duplicates are accepted; `None` where it was in doubt so
    /// often that an operator has to look, or where HubSpot is known to hold it.
    #[must_use]
    pub fn resend_blindly(&self, policy: &RetryPolicy, context: &Context<'_>) -> Option<Settlement> {
        let may_go = self.doubt == Doubt::Unknown && self.doubts < policy.max_attempts;
        may_go.then(|| self.resend(policy, context))
    }

    /// Once more, after a wait that grows with its own faults; at once where it has none; or not at all where it has
    /// too many.
    fn resend(&self, policy: &RetryPolicy, context: &Context<'_>) -> Settlement {
        let suspicion = match self.company {
            0 => Suspicion::Unchanged,
            1 if context.evidence.blames_courses() => Suspicion::Alone,
            company if self.is_suspect => Suspicion::Among { batch_limit: narrowed(company) },
            company => Suspicion::Among { batch_limit: whole(company) },
        };
        let faults = self.faults.saturating_add(u32::from(suspicion == Suspicion::Alone));
        if faults >= policy.max_attempts {
            // Reads may lag: it fails only if it is still not found some time after it was sent.
            if since(self.sent_at, context.now) < (context.settle * 2).max(LOOK_AGAIN) {
                return Settlement::Remains(self.look_again(policy, context.now));
            }
            let last =
                self.error.clone().unwrap_or_else(|| CourseError::new(Category::Refused, "", context.now));
            return Settlement::To(Transition::Failed { error: worn_out(&last, faults, context.now) });
        }
        let after = if faults == 0 { Duration::ZERO } else { policy.backoff(faults, context.jitter) };
        Settlement::To(Transition::Pending(Again::Later { error: None, after, suspicion }))
    }
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// The look-up found more than one record that carries the course's key.
fn several(holders: &[HubSpotId], now: Timestamp) -> Settlement {
    let holders: Vec<_> = holders.iter().map(HubSpotId::as_str).collect();
    let message = format!(
        "HubSpot holds several records with this course's key: {}. Merge or archive all but one; the course is \
         looked up again every few minutes",
        holders.join(", ")
    );
    let error = CourseError::new(Category::Conflict, &message, now);
    Settlement::To(Transition::Unconfirmed {
        error,
        doubt: Doubt::Conflict,
        batch_limit: None,
        look_after: SEVERAL,
    })
}

#[cfg(test)]
mod tests;
