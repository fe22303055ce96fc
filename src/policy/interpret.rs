//! What the end of a create request means: for each course of the batch, and for the account.
//!
//! **The conservation law.** Every course of the batch gets exactly one verdict:
//! inputs = created ⊎ refused ⊎ not taken ⊎ unknown. What an answer leaves out is unknown, whatever
//! its status says, and a record is only ever assigned to a course by what it says of itself,
//! never by its position.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::answer::{Body, ErrorReply, Exchange, Meta, NoAnswer, NotSent, PropertyFault, Unreadable};
use super::batch::Batch;
use super::pause::{Reason, Trouble};
use super::reconcile::POISONED;
use crate::course::{Category, CourseError, HubSpotId, clip};

mod items;
mod values;
mod whole;

/// What became of one course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// HubSpot created it.
    Created(HubSpotId),
    /// HubSpot says that somebody holds the key of one of `suspects` courses already, this one among
    /// them. Who, only a read can tell.
    Exists {
        /// What HubSpot said.
        error: CourseError,
        /// How many courses it may be about.
        suspects: usize,
    },
    /// HubSpot refused it for good.
    Refused(CourseError),
    /// HubSpot certainly did not create it, and it may go again.
    NotTaken(NotTaken),
    /// Nobody knows.
    Unknown {
        /// What happened.
        error: CourseError,
        /// How many courses the trouble is narrowed down to, this one among them; `None` where it is
        /// not about courses.
        suspects: Option<usize>,
    },
}

/// Why HubSpot certainly did not create a course that may go again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// The request never reached HubSpot.
    NotSent,
    /// The account, the world or another course of the batch stood in the way.
    Untouched,
    /// HubSpot refused the batch and did not name whose fault it was.
    Unnamed(CourseError),
}

/// What an exchange says of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// Nothing against it.
    Proceed,
    /// HubSpot answers, which says nothing yet of creating.
    Reachable,
    /// HubSpot answers, if only with a refusal: the way is open, and no more is known.
    Answering,
    /// It must stand still for a while.
    Pause(Trouble),
    /// Nothing either way: HubSpot failed at a course that it is known to fail at.
    Silence,
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

/// The decision table: status and body → meaning. Bodies decide where statuses cannot.
fn answered(batch: &Batch, answer: &Answer<'_>) -> Interpretation {
    use RequestOutcome::{Invalid, RateLimited, Rejected, Unauthorized, Unavailable};
    let untouched = |outcome, trouble| {
        all(batch, &Verdict::NotTaken(NotTaken::Untouched), outcome, Signal::Pause(trouble))
    };
    let unknown = |outcome| all(batch, &answer.unknown(), outcome, answer.pause(Reason::Unavailable));

    match (answer.meta.status, answer.body) {
        (200..=299, Body::Batch(reply)) => items::read(batch, answer, reply),
        (200..=299, _) => unknown(Invalid),
        // Records under a status that denies them: one of the two is wrong.
        (_, Body::Batch(reply)) if !reply.results.is_empty() => unknown(Invalid),
        (401, _) => untouched(Unauthorized, answer.trouble(Reason::Token)),
        (403, Body::Error(error)) => untouched(Unauthorized, answer.lacking_scopes(error)),
        // 410 is how a version of the API that has ended would say so.
        (404 | 405 | 406 | 410 | 415, _) => untouched(Rejected, answer.trouble(Reason::ObjectType)),
        (408 | 499, _) => unknown(Unavailable),
        (413 | 414, _) => whole::too_large(batch, answer),
        (423, _) => untouched(Unavailable, answer.trouble_for(Reason::Unavailable, LOCK)),
        (429, body) => {
            let (reason, at_least) = exceeded(body);
            untouched(RateLimited, answer.trouble_for(reason, at_least))
        }
        (477, _) => untouched(Unavailable, answer.trouble_for(Reason::Unavailable, MIGRATION)),
        (400 | 409 | 422, Body::Error(error)) => whole::refused(batch, answer, error),
        // Refused, yet not for what the courses say (402 is a bill): the outbox must not burn for it.
        (400..=499, Body::Error(_)) => untouched(Rejected, answer.trouble(Reason::Unavailable)),
        // A page instead of an error: something before HubSpot turns us away, or cannot reach it.
        (403 | 521..=523 | 525 | 526 | 530, _) => untouched(Unavailable, answer.trouble(Reason::Unavailable)),
        (POISONED, _) if is_suspect(batch) => all(batch, &answer.unknown(), Unavailable, Signal::Silence),
        (500..=599, _) => unknown(Unavailable),
        _ => unknown(Invalid),
    }
}

/// Whether the batch is a single course at which HubSpot failed before while it let others pass.
fn is_suspect(batch: &Batch) -> bool {
    matches!(batch.courses(), [course] if course.faults > 0)
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
        Verdict::Unknown { error: self.own(Category::UnknownOutcome, &message), suspects: None }
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

/// Whether HubSpot says that somebody else holds a unique value. Its forms differ between its APIs
/// and are not documented, so this only ever leads to a read, never to an identifier.
fn is_conflict(error: &ErrorReply) -> bool {
    const CODES: [&str; 4] =
        ["CONFLICT", "OBJECT_ALREADY_EXISTS", "UNIQUE_VALUE_CONFLICT", "CONFLICTING_UNIQUE_VALUE"];
    let codes = error.errors.iter().flatten().filter_map(|detail| detail.code.as_deref());
    let named = [error.category.as_deref(), error.error_type.as_deref()].into_iter().flatten().chain(codes);
    let message = error.message.as_deref().unwrap_or_default();
    named.into_iter().any(|code| CODES.contains(&code))
        || error.context.contains_key("existingId")
        || message.contains("already has that value")
        || message.contains("already exists")
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
    Interpretation { verdicts, signal, outcome, surplus: 0 }
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
    all(batch, &Verdict::Unknown { error, suspects: None }, outcome, Signal::Pause(trouble))
}
