//! What the end of a create request means: for each course of the batch, and for the account.
//!
//! **The conservation law.** Every course of the batch gets exactly one verdict:
//! inputs = created ⊎ refused ⊎ not taken ⊎ unknown. What an answer leaves out is unknown, whatever
//! its status says, and a record is only ever assigned to a course by what it says of itself,
//! never by its position.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::address::wrong_address;
use super::answer::{Body, ErrorReply, Exchange, Meta, NoAnswer, NotSent, PropertyFault, Unreadable};
use super::batch::Batch;
use super::pause::{Reason, Trouble};
use crate::course::{Category, CourseError, HubSpotId, clip};

mod items;
mod values;
mod whole;

/// What became of one course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// HubSpot created it.
    Created {
        /// The record's identifier.
        hubspot_id: HubSpotId,
        /// What HubSpot reported beside the record, such as an association that failed.
        warning: Option<CourseError>,
    },
    /// HubSpot created it, under an identifier that the answer does not show. It must not be sent again.
    CreatedUnidentified(CourseError),
    /// HubSpot reports that a record holds the key of one of `candidates` courses already, this one among
    /// them. Which record, only a look-up can show.
    Exists {
        /// What HubSpot answered.
        error: CourseError,
        /// How many courses it may be about.
        candidates: usize,
    },
    /// HubSpot refused it for good.
    Refused(CourseError),
    /// HubSpot certainly did not create it, and it may go again.
    NotTaken(NotTaken),
    /// It is not known whether HubSpot created it. The error is always an `unknown_outcome`, so that nothing can
    /// take it for a refusal.
    Unknown(CourseError),
}

/// Why HubSpot certainly did not create a course that may go again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// The request never reached HubSpot.
    NotSent,
    /// The account, the world or another course of the batch stood in the way; nothing is said against this one.
    Untouched,
    /// HubSpot refused what the batch holds and did not name the course: one of them is at fault.
    Unnamed(CourseError),
    /// The request was turned away. Whether for a course of it, the account or the world, only evidence can show.
    TurnedAway(CourseError),
    /// HubSpot named this course and asked to come later.
    Later(CourseError),
}

/// What an exchange shows about HubSpot, before it is held against other evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// HubSpot did what was asked: created a course, answered a look-up.
    Passed,
    /// HubSpot judged the courses, and created none.
    Judged,
    /// Sending has to stop, for a reason that no course can cause.
    Pause(Trouble),
    /// The request failed without naming a course: a course of it, the account or the world may be at fault.
    Failed(Trouble),
}

/// The request's outcome for the metrics: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum RequestOutcome {
    Ok,
    Partial,
    Rejected,
    RateLimited,
    Unauthorized,
    Unavailable,
    Timeout,
    Unreachable,
    Invalid,
}

impl RequestOutcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Partial,
        Self::Rejected,
        Self::RateLimited,
        Self::Unauthorized,
        Self::Unavailable,
        Self::Timeout,
        Self::Unreachable,
        Self::Invalid,
    ];

    /// The outcome's name in the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Rejected => "rejected",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Invalid => "invalid",
        }
    }
}

/// The meaning of one exchange.
#[derive(Debug, Clone)]
pub struct Interpretation {
    /// One verdict a course, in the batch's order.
    pub verdicts: Vec<Verdict>,
    /// What it says of the account.
    pub signal: Signal,
    /// Its outcome for the metrics.
    pub outcome: RequestOutcome,
    /// Records and errors in the answer that belong to no course of the batch, or to one that had
    /// its answer already. Anything but 0 is an alarm.
    pub surplus: usize,
    /// It may have failed because the request was too large.
    pub may_be_size: bool,
}

/// What the end of this create request means.
#[must_use]
pub fn interpret(batch: &Batch, exchange: &Exchange, now: Timestamp) -> Interpretation {
    match exchange {
        Exchange::NotSent(why) => not_sent(batch, why),
        Exchange::NoAnswer(why) => no_answer(batch, why, now),
        Exchange::Answered { meta, body } => answered(batch, &Answer { meta, body, now }),
    }
}

/// An answer, with what is needed to turn it into errors.
#[derive(Clone, Copy)]
struct Answer<'a> {
    meta: &'a Meta,
    body: &'a Body,
    now: Timestamp,
}

/// The decision table: status and body → meaning. Bodies decide where statuses cannot. A status that names no course
/// is a hypothesis: `policy::attribution` holds it against the evidence of other requests.
fn answered(batch: &Batch, answer: &Answer<'_>) -> Interpretation {
    use RequestOutcome::{Invalid, RateLimited, Rejected, Unauthorized, Unavailable};
    let stopped = |outcome, trouble| {
        all(batch, &Verdict::NotTaken(NotTaken::Untouched), outcome, Signal::Pause(trouble))
    };
    let turned_away = |outcome, trouble| answer.turned_away(batch, outcome, trouble);
    let unknown = |outcome| all(batch, &answer.unknown(), outcome, answer.failed(Reason::Unavailable));

    match (answer.meta.status, answer.body) {
        (200..=299, Body::Batch(reply)) => items::read(batch, answer, reply),
        (200..=299, _) => unknown(Invalid),
        // Records under a status that denies them: one of the two is wrong.
        (_, Body::Batch(reply)) if !reply.results.is_empty() => unknown(Invalid),
        // A redirect is not followed, so nothing was executed.
        (300..=399, _) => turned_away(Rejected, answer.wrong_address()),
        (401, _) => turned_away(Unauthorized, answer.trouble(Reason::Token)),
        (403, Body::Error(error)) => turned_away(Unauthorized, answer.lacking_scopes(error)),
        // 410 is how a version of the API that has ended would say so.
        (404 | 405 | 406 | 410 | 415, _) => turned_away(Rejected, answer.trouble(Reason::ObjectType)),
        (408 | 499, _) => unknown(Unavailable),
        (413 | 414, _) => whole::too_large(batch, answer),
        (423, _) => stopped(Unavailable, answer.trouble_for(Reason::Unavailable, LOCK)),
        (429, body) => {
            let (reason, at_least) = exceeded(body);
            stopped(RateLimited, answer.trouble_for(reason, at_least))
        }
        (477, _) => stopped(Unavailable, answer.trouble_for(Reason::Unavailable, MIGRATION)),
        (488, _) => turned_away(Rejected, answer.wrong_address()),
        (400 | 409 | 422, Body::Error(error)) => whole::refused(batch, answer, error),
        // Refused, yet not for what the courses hold (402 is a bill).
        (400..=499, Body::Error(_)) => turned_away(Rejected, answer.trouble(Reason::Unavailable)),
        // A page instead of an error: something in front of HubSpot turns us away, or cannot reach it.
        (403 | 521..=523 | 525 | 526 | 530, _) => {
            turned_away(Unavailable, answer.trouble(Reason::Unavailable))
        }
        (502 | 504 | 524, _) => Interpretation { may_be_size: true, ..unknown(Unavailable) },
        (500..=599, _) => unknown(Unavailable),
        _ => unknown(Invalid),
    }
}

/// How long HubSpot locks an account whose volume is large.
pub(super) const LOCK: Duration = Duration::from_secs(2);
/// The wait where HubSpot migrates the account and does not say for how long.
pub(super) const MIGRATION: Duration = Duration::from_mins(5);
/// The length of the window that HubSpot calls "secondly".
const SECONDLY: Duration = Duration::from_secs(1);

/// Which quota a 429 is about, in each of its three dialects; and its window, where that is known.
pub(super) fn exceeded(body: &Body) -> (Reason, Duration) {
    let Body::Error(error) = body else { return (Reason::IntervalQuota, Duration::ZERO) };
    let said = error.policy_name.as_deref().or(error.message.as_deref()).unwrap_or_default().to_lowercase();
    if said.contains("daily") {
        (Reason::DailyQuota, Duration::ZERO)
    } else if said.contains("secondly") && !said.contains("ten_secondly") {
        (Reason::IntervalQuota, SECONDLY)
    } else {
        (Reason::IntervalQuota, Duration::ZERO)
    }
}

impl Answer<'_> {
    fn trouble(&self, reason: Reason) -> Trouble {
        Trouble { reason, retry_after: self.meta.retry_after, message: self.summary() }
    }

    /// Trouble that lasts `at_least` this long where HubSpot does not say how long; zero: unknown.
    fn trouble_for(&self, reason: Reason, at_least: Duration) -> Trouble {
        let asked = self.meta.retry_after.filter(|asked| !asked.is_zero());
        let retry_after = asked.or((!at_least.is_zero()).then_some(at_least));
        Trouble { retry_after, ..self.trouble(reason) }
    }

    /// Every course of the batch was certainly not created; why, is for the evidence to show.
    fn turned_away(&self, batch: &Batch, outcome: RequestOutcome, trouble: Trouble) -> Interpretation {
        let error = self.own(Category::Deferred, &trouble.message);
        all(batch, &Verdict::NotTaken(NotTaken::TurnedAway(error)), outcome, Signal::Failed(trouble))
    }

    /// `hubspot.base_url` leads to the wrong region, or to something that redirects.
    fn wrong_address(&self) -> Trouble {
        let mut trouble = self.trouble(Reason::ObjectType);
        if let Some(wrong) = wrong_address(self.meta, self.body) {
            trouble.message = clip(&wrong.to_string(), CourseError::MAX_MESSAGE_BYTES);
        }
        trouble
    }

    fn lacking_scopes(&self, error: &ErrorReply) -> Trouble {
        let mut trouble = self.trouble(Reason::Scopes);
        let scopes = error.required_scopes();
        if !scopes.is_empty() {
            let message = format!("{}; scopes it asks for: {}", trouble.message, scopes.join(", "));
            trouble.message = clip(&message, CourseError::MAX_MESSAGE_BYTES);
        }
        trouble
    }

    fn pause(&self, reason: Reason) -> Signal {
        Signal::Pause(self.trouble(reason))
    }

    fn failed(&self, reason: Reason) -> Signal {
        Signal::Failed(self.trouble(reason))
    }

    /// The answer in one line.
    fn summary(&self) -> String {
        let status = self.meta.status;
        let said = match self.body {
            Body::Error(error) => {
                error.message.clone().unwrap_or_else(|| "an error without a message".into())
            }
            Body::Batch(_) => "the answer of a batch".into(),
            Body::Unreadable(Unreadable::Empty) => "an empty body".into(),
            Body::Unreadable(Unreadable::TooLong) => "a body too long to be an answer".into(),
            Body::Unreadable(Unreadable::Cut(why)) => format!("a body cut short ({why})"),
            Body::Unreadable(Unreadable::Foreign(start)) => format!("no JSON of HubSpot's: {start}"),
        };
        let id = self.correlation_id().map(|id| format!(" (correlation id {id})")).unwrap_or_default();
        clip(&format!("HubSpot answered {status}: {said}{id}"), CourseError::MAX_MESSAGE_BYTES)
    }

    fn correlation_id(&self) -> Option<String> {
        let in_body = match self.body {
            Body::Error(error) => error.correlation_id.as_deref(),
            Body::Batch(_) | Body::Unreadable(_) => None,
        };
        self.meta.correlation_id.as_deref().or(in_body).map(str::to_owned)
    }

    /// An error in course-sync's own words.
    fn own(&self, category: Category, message: &str) -> CourseError {
        CourseError {
            http_status: Some(self.meta.status),
            correlation_id: self.correlation_id(),
            ..CourseError::new(category, message, self.now)
        }
    }

    /// An error in HubSpot's words.
    fn said(&self, error: &ErrorReply) -> CourseError {
        let fault = error.property_faults().into_iter().next().unwrap_or_default();
        self.said_of(error, &fault)
    }

    fn said_of(&self, error: &ErrorReply, fault: &PropertyFault) -> CourseError {
        let message = error.message.as_deref().or(fault.message.as_deref());
        let code = fault.code.as_deref().or(error.error_type.as_deref());
        CourseError {
            code: code.map(|code| clip(code, 100)),
            property: fault.property.as_deref().map(|name| clip(name, 255)),
            correlation_id: self.correlation_id().or_else(|| error.correlation_id.clone()),
            ..self.own(category(error), message.unwrap_or("HubSpot refused this course without saying why"))
        }
    }

    fn unknown(&self) -> Verdict {
        let message = format!("it is not known whether HubSpot created this course: {}", self.summary());
        Verdict::Unknown(self.own(Category::UnknownOutcome, &message))
    }
}

/// HubSpot's category, as one of a closed set.
fn category(error: &ErrorReply) -> Category {
    match error.category.as_deref() {
        _ if is_conflict(error) => Category::Conflict,
        Some("VALIDATION_ERROR") => Category::Validation,
        _ if !error.property_faults().is_empty() => Category::Validation,
        _ => Category::Refused,
    }
}

/// Whether HubSpot reports that another record holds a unique value.
fn is_conflict(error: &ErrorReply) -> bool {
    error.is_conflict()
}

/// Whether HubSpot says that the property which carries the keys does not exist: the account's
/// fault, not a course's.
fn lacks_unique_property(batch: &Batch, error: &ErrorReply) -> bool {
    batch.unique_property().is_some_and(|unique| {
        error
            .property_faults()
            .iter()
            .any(|fault| does_not_exist(fault) && fault.property.as_deref() == Some(unique))
    })
}

fn does_not_exist(fault: &PropertyFault) -> bool {
    fault.code.as_deref() == Some(CourseError::PROPERTY_MISSING)
}

/// What a choice of one leaves.
pub(super) fn only<T: Ord>(choice: &BTreeSet<T>) -> Option<&T> {
    choice.first().filter(|_| choice.len() == 1)
}

/// The same verdict for every course.
fn all(batch: &Batch, verdict: &Verdict, outcome: RequestOutcome, signal: Signal) -> Interpretation {
    let verdicts = batch.courses().iter().map(|_| verdict.clone()).collect();
    Interpretation { verdicts, signal, outcome, surplus: 0, may_be_size: false }
}

fn not_sent(batch: &Batch, why: &NotSent) -> Interpretation {
    let (reason, message) = match why {
        NotSent::Unreachable(message) | NotSent::Unbuildable(message) => (Reason::Unavailable, message),
        NotSent::NoToken(message) => (Reason::Token, message),
    };
    let outcome = match why {
        NotSent::Unreachable(_) | NotSent::Unbuildable(_) => RequestOutcome::Unreachable,
        NotSent::NoToken(_) => RequestOutcome::Unauthorized,
    };
    let trouble = Trouble { reason, retry_after: None, message: message.clone() };
    all(batch, &Verdict::NotTaken(NotTaken::NotSent), outcome, Signal::Pause(trouble))
}

fn no_answer(batch: &Batch, why: &NoAnswer, now: Timestamp) -> Interpretation {
    let (outcome, what) = match why {
        NoAnswer::Timeout => (RequestOutcome::Timeout, "HubSpot did not answer in time".to_owned()),
        NoAnswer::Lost(how) => {
            (RequestOutcome::Unreachable, format!("the connection was lost before an answer: {how}"))
        }
        NoAnswer::Abandoned => {
            (RequestOutcome::Invalid, "the sending was abandoned before an answer".to_owned())
        }
    };
    let message = format!("it is not known whether HubSpot created this course: {what}");
    let error = CourseError::new(Category::UnknownOutcome, &message, now);
    let trouble = Trouble { reason: Reason::Unavailable, retry_after: None, message: what };
    let may_be_size = *why == NoAnswer::Timeout;
    Interpretation { may_be_size, ..all(batch, &Verdict::Unknown(error), outcome, Signal::Failed(trouble)) }
}
