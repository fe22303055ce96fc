//! Attributes a failed create request: to a course, to the account, or to an outage. Pure.
//!
//! A status code alone does not show the cause. A response that names no course may still be caused by the content of one:
//! a firewall's page for a description that looks like SQL, a 403 for one sensitive property, a 502 that depends on the
//! size. So a failure is compared with other requests:
//!
//! 1. The first failure after a success pauses nothing. Its courses go behind the others, and the next request contains
//!    *other* courses, starting with a single one. If it passes, the account was not the cause.
//! 2. If it fails too, the cause is the account or an outage: sending pauses, and no course is blamed. Each further probe
//!    contains other courses, from both ends of the outbox and from the suspects in turn. So a thousand bad courses at one
//!    end do not hide the healthy ones behind them.
//! 3. Courses that failed while others passed are *suspects*. They are sent separately from fresh courses, in smaller and
//!    smaller groups, with a bounded share of the requests. A failure counts against a course only if it was sent on its
//!    own and other courses passed before and after it.
//! 4. When several consecutive requests are refused with the same error and nothing passes, the cause may be the account
//!    again, so a sample of other courses is sent. If it is refused with the same error, sending pauses with reason
//!    `rejected`. If it passes, or an operator resumes, the courses themselves cause this error.
//!
//! State that must survive a restart is in the row (`suspected_at`, `batch_limit`, `faults`) and in the journal
//! (`course_sync_batch.passed`, from which [`Evidence`] is read). The state here only decides which courses are sent next.

use std::time::{Duration, Instant};

use crate::course::{CourseError, NotTaken, Verdict};
use crate::policy::batch_size::BatchSize;
use crate::policy::gate::{Incident, Reason};
use crate::policy::signal::{Interpretation, Signal};

/// Which courses a request contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Courses that are not suspects.
    Fresh,
    /// Courses of failed requests whose response named no course.
    Suspects,
}

/// A request with courses that has ended.
#[derive(Debug, Clone, Copy)]
pub struct SentRequest {
    /// The number of its courses.
    pub courses: usize,
    /// Whether they were fresh courses or suspects.
    pub lane: Lane,
    /// When it was sent.
    pub began: Instant,
}

/// How the end of a request affects the gate of creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateEffect {
    /// HubSpot created courses.
    Passed,
    /// HubSpot judged the courses and created none of them.
    Judged,
    /// None: the suspects caused the failure, the request was too large, or it was sent before the last failure was known.
    None,
    /// The next request must be a probe: a single course, with no other request open.
    Probe,
    /// Sending pauses because of this incident.
    Pause(Incident),
}

/// What follows from the end of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How it affects the gate.
    pub effect: GateEffect,
    /// The evidence for the journal: true if HubSpot judged the courses, false if the request failed with fresh courses.
    pub passed: Option<bool>,
    /// The results of other requests.
    pub others: OtherRequests,
    /// The new batch size, if it was reduced.
    pub reduced_batch_size: Option<u16>,
}

/// The results of other requests at the time of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherRequests {
    /// They passed, as far as is known.
    Pass,
    /// They failed as well: sending is paused or pauses now, and the backoff of the gate applies.
    Fail,
    /// All their courses were refused with the same error, so a refusal is not final.
    RefusedEqually,
}

/// The order in which a claim takes the courses that are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOrder {
    /// The oldest first.
    Oldest,
    /// The newest first, to send other courses than those that failed or were refused.
    Newest,
}

/// The courses of consecutive probes, while they fail.
const PROBES: [(Lane, ClaimOrder); 6] = [
    (Lane::Fresh, ClaimOrder::Oldest),
    (Lane::Fresh, ClaimOrder::Newest),
    (Lane::Suspects, ClaimOrder::Newest),
    (Lane::Fresh, ClaimOrder::Oldest),
    (Lane::Fresh, ClaimOrder::Newest),
    (Lane::Suspects, ClaimOrder::Oldest),
];

/// The courses of consecutive samples, while every course is refused with the same error.
const SAMPLES: [(Lane, ClaimOrder); 4] = [
    (Lane::Fresh, ClaimOrder::Newest),
    (Lane::Fresh, ClaimOrder::Oldest),
    (Lane::Suspects, ClaimOrder::Oldest),
    (Lane::Fresh, ClaimOrder::Oldest),
];

/// The results of the requests before and after a failed one, from the journal. They contained none of its courses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// HubSpot judged the courses of the request itself.
    pub is_judged: bool,
    /// The last request before it: true if it passed, false if it failed with fresh courses. `None`: there was none.
    pub before: Option<bool>,
    /// The same for the first request after it.
    pub after: Option<bool>,
    /// The number of courses of the request itself.
    pub batch_size: u32,
}

impl Evidence {
    /// Whether the courses of the request caused its failure: the requests before and after it passed. In an outage of at
    /// least two requests, each failed request is next to another one, so no course is blamed.
    #[must_use]
    pub fn blames_courses(self) -> bool {
        self.is_judged || (self.before == Some(true) && self.after == Some(true))
    }

    /// The largest batch in which the courses of the request may be sent again, to isolate the one that causes the failure.
    /// `None` if a request next to it failed: then an outage is likely, and smaller batches would only cost requests.
    #[must_use]
    pub fn isolation_limit(self) -> Option<u16> {
        let others_failed = self.before == Some(false) || self.after == Some(false);
        (self.is_judged || !others_failed).then(|| isolation_group_size(self.batch_size as usize))
    }
}

/// The size of the batches into which a failed batch is divided: a tenth, so two steps lead from a hundred courses to one.
/// Bisecting would take seven steps, and each step may take as long as `outbox.settle`.
#[must_use]
pub fn isolation_group_size(batch_size: usize) -> u16 {
    u16::try_from(batch_size.div_ceil(10)).unwrap_or(u16::MAX).max(1)
}

/// What the latest requests have shown.
#[derive(Debug, Clone)]
pub struct Attribution {
    size: BatchSize,
    /// A request passed since the term began or sending last paused.
    has_passed: bool,
    /// The end of the last failure, unless a request passed since.
    failed_at: Option<Instant>,
    /// Failed probes since enough courses passed. Selects the next of [`PROBES`].
    probes: usize,
    /// After a pause, the most courses in a request. It doubles with each request that passes, because most courses may
    /// still fail.
    ramp: Option<usize>,
    equal_refusals: EqualRefusals,
    /// The error with which every course was refused before a few courses passed. They may have been the last ones that
    /// fit, for example below a record limit. So one more refusal with this error is enough to send a sample again.
    recurring_error: Option<String>,
    /// An error that the courses themselves cause, and when that was found.
    course_error: Option<(String, Instant)>,
}

/// How long an error counts as caused by the courses themselves. After that, the account may have changed.
const COURSE_ERROR_MAX_AGE: Duration = Duration::from_mins(1);

/// Requests refused with the same error before a sample of other courses is sent.
const EQUAL_REFUSALS: u32 = 3;
/// The most courses in a request while every course is refused with the same error.
pub const CAUTIOUS_BATCH_SIZE: u16 = 10;

/// Consecutive requests whose courses were all refused with the same error.
#[derive(Debug, Clone, Default)]
struct EqualRefusals {
    /// That error; `None` before the first refusal, or after a restart.
    error: Option<String>,
    requests: u32,
    /// When the first sample of other courses was requested.
    sampled_since: Option<Instant>,
    /// Samples refused with the same error. Selects the next of [`SAMPLES`].
    samples: usize,
    /// Sending is paused because of it, so each further sample is a single course.
    is_rejected: bool,
    /// A sample of a single course was refused, so courses that pass later are not the last ones that fit.
    refused_one: bool,
}

impl Attribution {
    /// Starts without evidence. `max_size`: the most courses in a request.
    #[must_use]
    pub fn new(max_size: u16) -> Self {
        Self {
            size: BatchSize::new(max_size),
            has_passed: false,
            failed_at: None,
            probes: 0,
            ramp: None,
            equal_refusals: EqualRefusals::default(),
            recurring_error: None,
            course_error: None,
        }
    }

    /// Starts a term of the lease: drops all earlier evidence except the batch size.
    pub fn begin_term(&mut self) {
        *self = Self { size: self.size.clone(), ..Self::new(1) };
    }

    /// The batch size in use.
    #[must_use]
    pub fn batch_size(&self) -> u16 {
        self.size.current()
    }

    /// The most courses in the next request.
    #[must_use]
    pub fn limit(&self) -> u16 {
        let cautious = if self.equal_refusals.requests > 0 { CAUTIOUS_BATCH_SIZE } else { u16::MAX };
        let ramp = self.ramp.and_then(|courses| u16::try_from(courses).ok()).unwrap_or(u16::MAX);
        self.size.current().min(cautious).min(ramp)
    }

    /// Whether requests are sent one at a time, even if the gate permits more.
    #[must_use]
    pub fn is_cautious(&self) -> bool {
        self.ramp.is_some() || self.equal_refusals.requests > 0
    }

    /// The courses that the next probe should contain, if there are any.
    #[must_use]
    pub fn next_probe(&self) -> (Lane, ClaimOrder) {
        let (turns, turn): (&[_], _) = match self.equal_refusals.sampled_since {
            Some(_) => (&SAMPLES, self.equal_refusals.samples),
            None => (&PROBES, self.probes),
        };
        turns.iter().cycle().nth(turn % turns.len()).copied().unwrap_or((Lane::Fresh, ClaimOrder::Oldest))
    }

    /// Takes over the pause `rejected` of an earlier process.
    pub fn adopt_rejection(&mut self, now: Instant) {
        self.equal_refusals = EqualRefusals {
            requests: EQUAL_REFUSALS,
            sampled_since: Some(now),
            is_rejected: true,
            ..EqualRefusals::default()
        };
    }

    /// Ends the rejection, because an operator resumed: refusals with this error are final from now on.
    pub fn end_rejection(&mut self, now: Instant) {
        self.course_error = std::mem::take(&mut self.equal_refusals).error.map(|error| (error, now));
    }

    /// Evaluates the end of a request. `is_paused`: sending is paused for a reason that a course may have caused.
    pub fn on_response(
        &mut self,
        sent: SentRequest,
        interpretation: &Interpretation,
        is_paused: bool,
        now: Instant,
    ) -> Decision {
        let is_refused_equally = self.count_refusals(sent, interpretation, now);
        // Only fresh courses show that the size is the cause. Suspects may fail for another reason.
        let is_reduced = interpretation.may_be_size
            && sent.lane == Lane::Fresh
            && self.size.record_failure(sent.courses, matches!(interpretation.signal, Signal::Judged));
        let (effect, passed) = self.evaluate_signal(sent, interpretation, is_paused, now);
        let others = if is_refused_equally {
            OtherRequests::RefusedEqually
        } else if is_paused || self.failed_at.is_some() || matches!(effect, GateEffect::Pause(_)) {
            OtherRequests::Fail
        } else {
            OtherRequests::Pass
        };
        let reduced_batch_size = is_reduced.then(|| self.size.current());
        Decision { effect, passed, others, reduced_batch_size }
    }

    /// The effect of a request on the gate, and its evidence for the journal.
    fn evaluate_signal(
        &mut self,
        sent: SentRequest,
        interpretation: &Interpretation,
        is_paused: bool,
        now: Instant,
    ) -> (GateEffect, Option<bool>) {
        match &interpretation.signal {
            Signal::Passed => {
                self.record_success(sent);
                self.size.record_success(sent.courses);
                (GateEffect::Passed, Some(true))
            }
            // The request was too large, which proves nothing about smaller ones.
            Signal::Judged if interpretation.may_be_size => (GateEffect::None, None),
            Signal::Judged => {
                self.record_success(sent);
                match self.rejection(sent, interpretation) {
                    Some(incident) => {
                        self.equal_refusals.is_rejected = true;
                        (GateEffect::Pause(incident), Some(true))
                    }
                    None => (GateEffect::Judged, Some(true)),
                }
            }
            Signal::Pause(incident) => (GateEffect::Pause(incident.clone()), None),
            Signal::Failed(incident) => {
                let passed = (sent.lane == Lane::Fresh).then_some(false);
                (self.record_failure(sent, incident, is_paused, now), passed)
            }
        }
    }

    fn record_success(&mut self, sent: SentRequest) {
        // A request sent before the failure proves nothing about the time after it.
        if self.failed_at.is_some_and(|failed_at| sent.began < failed_at) {
            return;
        }
        self.failed_at = None;
        self.has_passed = true;
        self.ramp = self
            .ramp
            .map(|courses| courses * 2)
            .filter(|courses| *courses < usize::from(self.size.current()));
        if self.ramp.is_none() && sent.courses >= usize::from(CAUTIOUS_BATCH_SIZE) {
            self.probes = 0;
        }
    }

    fn record_failure(
        &mut self,
        sent: SentRequest,
        incident: &Incident,
        is_paused: bool,
        now: Instant,
    ) -> GateEffect {
        // The request was sent before the last failure was known, so it is not a second failure.
        if self.failed_at.is_some_and(|failed_at| sent.began < failed_at) {
            return GateEffect::None;
        }
        // Suspects that fail while others pass cause the failure themselves.
        let others_pass = self.has_passed && self.failed_at.is_none() && !is_paused;
        if sent.lane == Lane::Suspects && others_pass {
            return GateEffect::None;
        }
        self.probes += 1;
        let is_first = self.failed_at.is_none() && self.has_passed;
        self.failed_at = Some(now);
        self.ramp = self.ramp.map(|_| 1);
        if is_first && sent.lane == Lane::Fresh {
            return GateEffect::Probe;
        }
        self.ramp = Some(1);
        self.has_passed = false;
        GateEffect::Pause(incident.clone())
    }

    /// Counts requests that are refused with the same error. True if the refusals of this request are not final.
    fn count_refusals(&mut self, sent: SentRequest, interpretation: &Interpretation, now: Instant) -> bool {
        if interpretation.signal == Signal::Passed {
            self.end_equal_refusals(sent, now);
            return false;
        }
        let error = common_refusal(&interpretation.verdicts);
        if self.is_course_error(error.as_ref(), now) {
            return false;
        }
        // The error has occurred before: the next request is a sample again.
        if error.is_some() && self.recurring_error == error {
            self.equal_refusals = EqualRefusals {
                requests: EQUAL_REFUSALS,
                sampled_since: Some(now),
                ..EqualRefusals::default()
            };
            self.recurring_error = None;
        }
        let is_same =
            error.is_some() && (self.equal_refusals.error.is_none() || self.equal_refusals.error == error);
        // A sample was refused with the same error: the account is the likely cause.
        if self.equal_refusals.sampled_since.is_some() && is_same {
            self.equal_refusals.error = error;
            self.equal_refusals.samples += 1;
            self.equal_refusals.refused_one |= sent.courses == 1;
            return true;
        }
        let Some(error) = error else {
            // HubSpot judged the courses differently, so the refusals are not equal any more.
            if interpretation.signal == Signal::Judged {
                self.equal_refusals = EqualRefusals::default();
            }
            return false;
        };
        // Suspects are few and similar, so equal refusals of them prove nothing.
        if sent.lane == Lane::Fresh {
            let requests = if is_same { self.equal_refusals.requests + 1 } else { 1 };
            let sampled_since = (requests >= EQUAL_REFUSALS).then_some(now);
            self.equal_refusals =
                EqualRefusals { error: Some(error), requests, sampled_since, ..EqualRefusals::default() };
        }
        false
    }

    /// A request passed: ends the count of equal refusals, and draws a conclusion if samples were sent.
    fn end_equal_refusals(&mut self, sent: SentRequest, now: Instant) {
        let before = std::mem::take(&mut self.equal_refusals);
        let Some(sampled_since) = before.sampled_since else {
            if sent.courses >= usize::from(CAUTIOUS_BATCH_SIZE) {
                self.recurring_error = None;
            }
            return;
        };
        let is_sample = sent.lane == Lane::Fresh
            && sent.began >= sampled_since
            && (!before.is_rejected || sent.courses >= usize::from(CAUTIOUS_BATCH_SIZE));
        if before.refused_one || is_sample {
            // Other courses pass, so the refused ones caused the error.
            self.course_error = before.error.map(|error| (error, now));
        } else {
            // A small group that passes may contain the last courses that fit.
            self.recurring_error = before.error;
        }
    }

    /// Whether the courses themselves cause this error, as was found recently.
    fn is_course_error(&self, error: Option<&String>, now: Instant) -> bool {
        let Some((course_error, found_at)) = &self.course_error else { return false };
        error == Some(course_error) && now < *found_at + COURSE_ERROR_MAX_AGE
    }

    /// The incident, if a sample of other courses was refused with the same error as well.
    fn rejection(&self, sent: SentRequest, interpretation: &Interpretation) -> Option<Incident> {
        let since = self.equal_refusals.sampled_since?;
        let common = common_refusal(&interpretation.verdicts)?;
        let is_same = self.equal_refusals.error.as_ref() == Some(&common);
        let error = first_refusal(&interpretation.verdicts)?;
        (is_same && sent.began >= since).then(|| Incident {
            reason: Reason::Rejected,
            retry_after: None,
            message: format!("HubSpot refuses every course for the same reason: {}", error.message),
        })
    }
}

/// The error of a refused course.
fn refusal(verdict: &Verdict) -> Option<&CourseError> {
    match verdict {
        Verdict::Refused(error) | Verdict::NotTaken(NotTaken::Unnamed(error)) => Some(error),
        Verdict::Applied { .. }
        | Verdict::CreatedUnidentified(_)
        | Verdict::LookUp(_)
        | Verdict::Exists { .. }
        | Verdict::NotTaken(_)
        | Verdict::Unknown(_) => None,
    }
}

fn first_refusal(verdicts: &[Verdict]) -> Option<&CourseError> {
    verdicts.iter().find_map(refusal)
}

/// The common error, if all courses of a request were refused with the same one.
fn common_refusal(verdicts: &[Verdict]) -> Option<String> {
    let first = comparable_error(first_refusal(verdicts)?);
    verdicts
        .iter()
        .all(|verdict| refusal(verdict).is_some_and(|error| comparable_error(error) == first))
        .then_some(first)
}

/// The part of an error that is equal for equal causes: HubSpot's code and property. Without a code, it is the message
/// without the parts that may differ between courses (numbers and quotations).
fn comparable_error(error: &CourseError) -> String {
    if let Some(code) = &error.code {
        return format!("{code} {}", error.property.as_deref().unwrap_or_default());
    }
    // Every second part is inside quotation marks.
    let unquoted: Vec<&str> = error.message.split(['"', '`', '\u{201c}', '\u{201d}']).step_by(2).collect();
    let unquoted = unquoted.join(" ");
    let words = unquoted.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let without_numbers: Vec<&str> = words.filter(|word| !word.chars().any(|c| c.is_ascii_digit())).collect();
    without_numbers.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests;
