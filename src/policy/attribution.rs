//! Whose fault is it that a create request failed: a course's, the account's, or the world's?
//!
//! A status code is a hypothesis. An answer that names no course may be caused by the content of one: a firewall's page
//! for a description that reads like SQL, a 403 for one sensitive property, a 502 that depends on the size. So a failure
//! is held against other requests:
//!
//! 1. The first failure after a success stops nothing. Its courses go behind the others, and the next request carries
//!    *different* courses, one first. If it passes, the failure was not the account's.
//! 2. If it fails too, the account or the world is at fault: sending pauses, no course is blamed, and further probes
//!    take different courses each time, from either end of the outbox and from the suspects in turn: a thousand poisoned
//!    courses at one end do not hide the healthy ones behind them.
//! 3. Courses that failed while others passed are *suspects*: they travel apart, in ever smaller groups, in a bounded
//!    share of the requests. What fails alone, while others pass before and after it, counts against the course
//!    itself.
//! 4. When several requests in a row are refused in the same words and nothing passes, it is the account again: a
//!    sample of other courses is tried, and if that is refused alike, sending pauses with reason `rejected`. If the
//!    sample passes, or an operator resumes, refusals in these words are the courses' own.
//!
//! What has to survive a restart stands in the row (`suspected_at`, `batch_limit`, `faults`) and in the journal
//! (`course_sync_batch.passed`, which [`Evidence`] is read from). What is kept here only decides who is tried next.
//! Pure: times are arguments.

use std::time::{Duration, Instant};

use super::batch_size::BatchSize;
use super::interpret::{Interpretation, NotTaken, Signal, Verdict};
use super::pause::{Reason, Trouble};
use crate::course::CourseError;

/// Which courses a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Courses that never failed without being named.
    Fresh,
    /// Courses that did.
    Suspects,
}

/// A create request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// How many courses it carried.
    pub courses: usize,
    /// Which.
    pub lane: Lane,
    /// When it began.
    pub began: Instant,
}

/// What the end of a request means for the gate of the creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// HubSpot creates.
    Passed,
    /// HubSpot judges courses, and created none of these.
    Judged,
    /// Nothing: the failure is the suspects' own, or the request had begun before the last failure was known.
    None,
    /// The next request has to be a single course that did not fail, before anything else is sent.
    Probe,
    /// Sending pauses.
    Pause(Trouble),
}

/// What was decided about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What it means for the gate.
    pub effect: Effect,
    /// What the journal notes as evidence: HubSpot judged the courses, or the request failed with courses that had not
    /// failed before.
    pub passed: Option<bool>,
    /// How other requests fare.
    pub others: Others,
    /// A smaller batch size is used from now on.
    pub shrank_to: Option<u16>,
}

/// How other requests fare while one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They pass, as far as is known.
    Pass,
    /// They fail as well, so sending is paused or about to be, and the gate's backoff holds.
    Fail,
    /// All their courses are refused for the same reason: a refusal is not final.
    RefusedAlike,
}

/// Which of the courses that are due a claim takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// The oldest.
    Oldest,
    /// The newest: what failed, or was refused alike, came from the other end.
    Newest,
}

/// Where probes take their courses from in turn, while they fail.
const PROBES: [(Lane, Sample); 6] = [
    (Lane::Fresh, Sample::Oldest),
    (Lane::Fresh, Sample::Newest),
    (Lane::Suspects, Sample::Newest),
    (Lane::Fresh, Sample::Oldest),
    (Lane::Fresh, Sample::Newest),
    (Lane::Suspects, Sample::Oldest),
];

/// Where samples take their courses from in turn, while every course is refused alike.
const SAMPLES: [(Lane, Sample); 4] = [
    (Lane::Fresh, Sample::Newest),
    (Lane::Fresh, Sample::Oldest),
    (Lane::Suspects, Sample::Oldest),
    (Lane::Fresh, Sample::Oldest),
];

/// How the requests beside one that failed fared: with none of its courses in them, and as the journal shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// HubSpot judged the courses of the request itself.
    pub is_judged: bool,
    /// Whether the last request before it passed, or failed with courses that had not failed before. `None`: there was
    /// none.
    pub before: Option<bool>,
    /// The same of the first request after it.
    pub after: Option<bool>,
    /// Courses of the request itself.
    pub company: u32,
}

impl Evidence {
    /// Whether the courses of the request are at fault: what came before it passed, and so did what came after it. The
    /// last failure of an outage has one failure beside it, and so has the first.
    #[must_use]
    pub fn blames_courses(self) -> bool {
        self.is_judged || (self.before == Some(true) && self.after == Some(true))
    }

    /// The largest group that the courses of the request may go in, where it is isolated which of them it failed for:
    /// they are at fault, or at least no request beside it failed. That costs some requests and decides nothing.
    #[must_use]
    pub fn narrows_to(self) -> Option<u16> {
        let others_failed = self.before == Some(false) || self.after == Some(false);
        (self.is_judged || !others_failed).then(|| narrowed(self.company as usize))
    }
}

/// A group that failed together goes again in groups of a tenth: two steps from a hundred to one, since
/// each step may cost the wait of `outbox.settle`.
#[must_use]
pub fn narrowed(company: usize) -> u16 {
    u16::try_from(company.div_ceil(10)).unwrap_or(u16::MAX).max(1)
}

/// What is known about the requests of late.
#[derive(Debug, Clone)]
pub struct Attribution {
    size: BatchSize,
    /// Something passed since the term began or sending last paused.
    has_passed: bool,
    /// When the last failure of fresh courses ended, unless something passed since.
    failed_at: Option<Instant>,
    /// Probes that failed since enough passed: which of [`PROBES`] comes next.
    probes: usize,
    /// After sending paused, courses that a request may carry: twice as many with each one that passes. What passes
    /// first may have few neighbours that do.
    trial: Option<usize>,
    alike: Alike,
    /// Words in which every course was refused before something passed that may be only what still fits: the next
    /// refusal in these words is enough to try a sample again.
    relapses: Option<String>,
    /// Words of refusals that are the courses' own, and since when that is known.
    own: Option<(String, Instant)>,
}

/// How long it is believed that refusals in the same words are the courses' own: the account may change.
const OWN_FOR: Duration = Duration::from_mins(1);

/// How many requests are refused alike before a sample of other courses is tried.
const ALIKE: u32 = 3;
/// Courses that a request carries at most while every course is refused alike.
pub const FEW: u16 = 10;

/// Refusals in the same words, with nothing passing in between.
#[derive(Debug, Clone, Default)]
struct Alike {
    /// What makes them the same; `None` before the first, or after a restart.
    words: Option<String>,
    requests: u32,
    /// Since when other courses are sampled.
    sampled_since: Option<Instant>,
    /// Samples that were refused alike: which of [`SAMPLES`] comes next.
    samples: usize,
    /// Sending paused for it, so that the next samples are a course each.
    is_rejected: bool,
    /// A sample of a single course was refused: not even one still fits, so what passes later is no such rest.
    refused_one: bool,
}

impl Attribution {
    /// Nothing is known yet. `max_size`: courses that a request may carry at most.
    #[must_use]
    pub fn new(max_size: u16) -> Self {
        Self {
            size: BatchSize::new(max_size),
            has_passed: false,
            failed_at: None,
            probes: 0,
            trial: None,
            alike: Alike::default(),
            relapses: None,
            own: None,
        }
    }

    /// A term of the lease begins: nothing of what was seen before is believed, but for the batch size.
    pub fn begin_term(&mut self) {
        *self = Self { size: self.size.clone(), ..Self::new(1) };
    }

    /// The batch size in use.
    #[must_use]
    pub fn batch_size(&self) -> u16 {
        self.size.current()
    }

    /// Courses that the next request may carry at most.
    #[must_use]
    pub fn limit(&self) -> u16 {
        let few = if self.alike.requests > 0 { FEW } else { u16::MAX };
        let trial = self.trial.and_then(|courses| u16::try_from(courses).ok()).unwrap_or(u16::MAX);
        self.size.current().min(few).min(trial)
    }

    /// Whether requests go one at a time, whatever the gate allows.
    #[must_use]
    pub fn is_cautious(&self) -> bool {
        self.trial.is_some() || self.alike.requests > 0
    }

    /// Which courses a probe should take, as far as there are any.
    #[must_use]
    pub fn probe(&self) -> (Lane, Sample) {
        let (turns, turn): (&[_], _) = match self.alike.sampled_since {
            Some(_) => (&SAMPLES, self.alike.samples),
            None => (&PROBES, self.probes),
        };
        turns.iter().cycle().nth(turn % turns.len()).copied().unwrap_or((Lane::Fresh, Sample::Oldest))
    }

    /// Sending is paused because every course was refused alike, as an earlier process noted.
    pub fn adopt_rejection(&mut self, now: Instant) {
        self.alike =
            Alike { requests: ALIKE, sampled_since: Some(now), is_rejected: true, ..Alike::default() };
    }

    /// An operator resumed: refusals in these words are final.
    pub fn forget_rejection(&mut self, now: Instant) {
        self.own = std::mem::take(&mut self.alike).words.map(|words| (words, now));
    }

    /// Takes in how a request ended. `is_paused`: sending was paused for a reason that a course may have caused.
    pub fn on_response(
        &mut self,
        sent: Sent,
        reading: &Interpretation,
        is_paused: bool,
        now: Instant,
    ) -> Decision {
        let keeps_refused = self.on_refusals(sent, reading, now);
        let shrank = reading.may_be_size
            && sent.lane == Lane::Fresh
            && self.size.failed(sent.courses, matches!(reading.signal, Signal::Judged));
        let (effect, passed) = match &reading.signal {
            Signal::Passed => {
                self.passed(sent);
                self.size.passed(sent.courses);
                (Effect::Passed, Some(true))
            }
            // Too large: that says nothing about what a smaller one would get.
            Signal::Judged if reading.may_be_size => (Effect::None, None),
            Signal::Judged => {
                self.passed(sent);
                match self.rejection(sent, reading) {
                    Some(trouble) => {
                        self.alike.is_rejected = true;
                        (Effect::Pause(trouble), Some(true))
                    }
                    None => (Effect::Judged, Some(true)),
                }
            }
            Signal::Pause(trouble) => (Effect::Pause(trouble.clone()), None),
            Signal::Failed(trouble) => {
                let passed = (sent.lane == Lane::Fresh).then_some(false);
                (self.failed(sent, trouble, is_paused, now), passed)
            }
        };
        let others = if keeps_refused {
            Others::RefusedAlike
        } else if is_paused || self.failed_at.is_some() || matches!(effect, Effect::Pause(_)) {
            Others::Fail
        } else {
            Others::Pass
        };
        Decision { effect, passed, others, shrank_to: shrank.then(|| self.size.current()) }
    }

    fn passed(&mut self, sent: Sent) {
        // What began before the failure says nothing of what came after it.
        if self.failed_at.is_none_or(|failed_at| sent.began >= failed_at) {
            self.failed_at = None;
            self.has_passed = true;
            self.trial = self
                .trial
                .map(|courses| courses * 2)
                .filter(|courses| *courses < usize::from(self.size.current()));
            if self.trial.is_none() && sent.courses >= usize::from(FEW) {
                self.probes = 0;
            }
        }
    }

    fn failed(&mut self, sent: Sent, trouble: &Trouble, is_paused: bool, now: Instant) -> Effect {
        if self.failed_at.is_some_and(|failed_at| sent.began < failed_at) {
            return Effect::None;
        }
        // Suspects that fail while others pass are at fault themselves.
        let others_pass = self.has_passed && self.failed_at.is_none() && !is_paused;
        if sent.lane == Lane::Suspects && others_pass {
            return Effect::None;
        }
        self.probes += 1;
        let is_first = self.failed_at.is_none() && self.has_passed;
        self.failed_at = Some(now);
        self.trial = self.trial.map(|_| 1);
        if is_first && sent.lane == Lane::Fresh {
            return Effect::Probe;
        }
        self.trial = Some(1);
        self.has_passed = false;
        Effect::Pause(trouble.clone())
    }

    /// Counts refusals in the same words. True where those of this request are not final.
    fn on_refusals(&mut self, sent: Sent, reading: &Interpretation, now: Instant) -> bool {
        if reading.signal == Signal::Passed {
            let before = std::mem::take(&mut self.alike);
            let is_sample = |since| {
                sent.lane == Lane::Fresh
                    && sent.began >= since
                    && (!before.is_rejected || sent.courses >= usize::from(FEW))
            };
            match before.sampled_since {
                Some(since) if before.refused_one || is_sample(since) => {
                    self.own = before.words.map(|words| (words, now));
                }
                // What passes in small groups may be what still fits.
                Some(_) => self.relapses = before.words,
                None if sent.courses >= usize::from(FEW) => self.relapses = None,
                None => {}
            }
            return false;
        }
        let words = refused_alike(&reading.verdicts);
        let is_own = |own: &(String, Instant)| words.as_ref() == Some(&own.0) && now < own.1 + OWN_FOR;
        if self.own.as_ref().is_some_and(is_own) {
            return false;
        }
        if words.is_some() && self.relapses == words {
            self.alike = Alike { requests: ALIKE, sampled_since: Some(now), ..Alike::default() };
            self.relapses = None;
        }
        let is_same = words.is_some() && (self.alike.words.is_none() || self.alike.words == words);
        if self.alike.sampled_since.is_some() && is_same {
            self.alike.words = words;
            self.alike.samples += 1;
            self.alike.refused_one |= sent.courses == 1;
            return true;
        }
        let Some(words) = words else {
            if reading.signal == Signal::Judged {
                self.alike = Alike::default();
            }
            return false;
        };
        // Suspects are few of a kind: that they are refused alike is no surprise.
        if sent.lane == Lane::Fresh {
            let requests = if is_same { self.alike.requests + 1 } else { 1 };
            let sampled_since = (requests >= ALIKE).then_some(now);
            self.alike = Alike { words: Some(words), requests, sampled_since, ..Alike::default() };
        }
        false
    }

    /// The pause that follows when a sample of other courses is refused alike as well.
    fn rejection(&self, sent: Sent, reading: &Interpretation) -> Option<Trouble> {
        let since = self.alike.sampled_since?;
        let words = refused_alike(&reading.verdicts)?;
        let is_alike = self.alike.words.as_deref() == Some(words.as_str());
        let error = first_refusal(&reading.verdicts)?;
        (is_alike && sent.began >= since).then(|| Trouble {
            reason: Reason::Rejected,
            retry_after: None,
            message: format!("HubSpot refuses every course for the same reason: {}", error.message),
        })
    }
}

fn refusal(verdict: &Verdict) -> Option<&CourseError> {
    match verdict {
        Verdict::Refused(error) | Verdict::NotTaken(NotTaken::Unnamed(error)) => Some(error),
        Verdict::Created { .. }
        | Verdict::CreatedUnidentified(_)
        | Verdict::Exists { .. }
        | Verdict::NotTaken(_)
        | Verdict::Unknown(_) => None,
    }
}

fn first_refusal(verdicts: &[Verdict]) -> Option<&CourseError> {
    verdicts.iter().find_map(refusal)
}

/// The words in which every course of a request was refused; `None` where one was not, or in other words.
fn refused_alike(verdicts: &[Verdict]) -> Option<String> {
    let first = words(first_refusal(verdicts)?);
    verdicts
        .iter()
        .all(|verdict| refusal(verdict).is_some_and(|error| words(error) == first))
        .then_some(first)
}

/// What makes two refusals the same: HubSpot's code and property; without a code, the message without what may be the
/// course's own: numbers and quotations.
fn words(error: &CourseError) -> String {
    if let Some(code) = &error.code {
        return format!("{code} {}", error.property.as_deref().unwrap_or_default());
    }
    // Every second part stands within quotation marks.
    let kept: Vec<&str> = error.message.split(['"', '`', '\u{201c}', '\u{201d}']).step_by(2).collect();
    let kept = kept.join(" ");
    let is_word = |word: &&str| !word.is_empty() && !word.chars().any(|c| c.is_ascii_digit());
    let words: Vec<&str> = kept.split(|c: char| !c.is_alphanumeric()).filter(is_word).collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests;
