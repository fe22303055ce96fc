//! Whether a course goes again, and when. The sole owner of retrying.
//!
//! The exponential growth is the `backoff` crate's; the jitter is an argument, so that every
//! decision can be repeated.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use jiff::Timestamp;

use super::attribution::{Lane, Others, narrowed};
use super::batch::MAX_COURSES;
use super::interpret::{NotTaken, Verdict};
use crate::course::{Again, Category, CourseError, Doubt, Provenance, Suspicion, Transition, clip};

/// When to try again, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The bound of the first wait.
    pub initial_interval: Duration,
    /// The bound of every wait.
    pub max_interval: Duration,
    /// What the bound grows by each time; at least 1.
    pub multiplier: f64,
    /// How many faults of its own a course may have before it fails.
    pub max_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_mins(10),
            multiplier: 2.0,
            max_attempts: 8,
        }
    }
}

impl RetryPolicy {
    /// The wait after the `failures`-th failure: full jitter, evenly between nothing and the bound,
    /// which spreads a herd best. `jitter` is drawn from 0..1.
    #[must_use]
    pub fn backoff(&self, failures: u32, jitter: f64) -> Duration {
        self.bound(failures).mul_f64(jitter.clamp(0.0, 1.0))
    }

    /// The wait after the `failures`-th failure: evenly between half of the bound and the bound,
    /// and never above `max`. For what must not come back at once.
    #[must_use]
    pub fn equal_jitter(&self, failures: u32, jitter: f64, max: Duration) -> Duration {
        let bound = self.bound(failures).min(max);
        bound / 2 + (bound / 2).mul_f64(jitter.clamp(0.0, 1.0))
    }

    fn bound(&self, failures: u32) -> Duration {
        // Without randomisation and end the crate's policy is a pure sequence of bounds.
        let mut sequence = ExponentialBackoff {
            current_interval: self.initial_interval,
            initial_interval: self.initial_interval,
            randomization_factor: 0.0,
            multiplier: self.multiplier,
            max_interval: self.max_interval,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        // The bound is reached long before: 2^64 of anything.
        let steps = failures.clamp(1, 64);
        (0..steps)
            .filter_map(|_| sequence.next_backoff())
            .last()
            .unwrap_or(self.max_interval)
            .min(self.max_interval)
    }
}

/// How a course was sent, and what its row says of earlier requests.
#[derive(Debug, Clone, Copy)]
pub struct Sending {
    /// The courses of its request.
    pub company: usize,
    /// How often it was sent, this time included.
    pub attempts: u32,
    /// How many of its failures count against it.
    pub faults: u32,
    /// Its last failure, alone in a request, is its own by the evidence.
    pub is_blamed: bool,
    /// HubSpot may hold it from an earlier request, and can be asked.
    pub may_be_held: bool,
    /// With which courses it travelled.
    pub lane: Lane,
    /// How other requests fare.
    pub others: Others,
    /// How long a doubt rests before HubSpot is asked.
    pub settle: Duration,
    /// Drawn from 0..1.
    pub jitter: f64,
    /// The time.
    pub now: Timestamp,
}

impl RetryPolicy {
    /// What becomes of a course after this verdict.
    #[must_use]
    pub fn transition(&self, verdict: Verdict, sending: &Sending) -> Transition {
        match verdict {
            Verdict::Created { hubspot_id, warning } => {
                Transition::Synced { hubspot_id, provenance: Provenance::Created, warning }
            }
            Verdict::CreatedUnidentified(error) => doubted(error, Doubt::Created, None, sending.settle),
            // A look-up shows who holds the key. Nothing has to settle first.
            Verdict::Exists { error, candidates: 1 } => doubted(error, Doubt::Conflict, None, Duration::ZERO),
            // If the look-up finds no holder, the conflict is over another course of the batch.
            Verdict::Exists { error, candidates } => {
                let error = CourseError { category: Category::UnknownOutcome, ..error };
                doubted(error, Doubt::Unknown, Some(half(candidates)), Duration::ZERO)
            }
            Verdict::Refused(error) | Verdict::NotTaken(NotTaken::Unnamed(error))
                if sending.others == Others::RefusedAlike =>
            {
                self.later(error, Suspicion::Unchanged, sending)
            }
            // No refusal undoes what an earlier request may have done.
            Verdict::Refused(error) if sending.may_be_held => {
                doubted(error, Doubt::Refused, None, Duration::ZERO)
            }
            Verdict::Refused(error) => Transition::Failed { error },
            Verdict::NotTaken(NotTaken::NotSent) => Transition::Pending(Again::NotSent),
            Verdict::NotTaken(NotTaken::Untouched) => Transition::Pending(Again::Held),
            // One course of the batch is at fault for certain, so the halves go at once.
            Verdict::NotTaken(NotTaken::Unnamed(error)) => Transition::Pending(Again::Later {
                error: Some(error),
                after: Duration::ZERO,
                suspicion: Suspicion::Among { batch_limit: half(sending.company) },
            }),
            // A group that failed once may have met an outage; one that fails again is isolated, whatever the evidence.
            Verdict::NotTaken(NotTaken::TurnedAway(error))
                if sending.lane == Lane::Suspects && sending.others == Others::Pass =>
            {
                self.set_aside(error, narrowed(sending.company), sending)
            }
            Verdict::NotTaken(NotTaken::TurnedAway(error)) => {
                self.set_aside(error, whole(sending.company), sending)
            }
            Verdict::NotTaken(NotTaken::Later(error)) => {
                self.set_aside(error, narrowed(sending.company), sending)
            }
            Verdict::Unknown(error) => doubted(error, Doubt::Unknown, None, sending.settle),
        }
    }

    /// Behind the others. Only what fails alone, again, after others passed counts against the course.
    fn set_aside(&self, error: CourseError, batch_limit: u16, sending: &Sending) -> Transition {
        if sending.company > 1 || !sending.is_blamed {
            return self.later(error, Suspicion::Among { batch_limit }, sending);
        }
        let faults = sending.faults.saturating_add(1);
        if faults >= self.max_attempts {
            return Transition::Failed { error: worn_out(&error, faults, sending.now) };
        }
        self.later(error, Suspicion::Alone, sending)
    }

    fn later(&self, error: CourseError, suspicion: Suspicion, sending: &Sending) -> Transition {
        let after = match sending.others {
            Others::Pass => self.equal_jitter(sending.attempts, sending.jitter, self.max_interval),
            // It only goes behind the others.
            Others::Fail | Others::RefusedAlike => Duration::ZERO,
        };
        Transition::Pending(Again::Later { error: Some(error), after, suspicion })
    }
}

fn doubted(error: CourseError, doubt: Doubt, batch_limit: Option<u16>, look_after: Duration) -> Transition {
    Transition::Unconfirmed { error, doubt, batch_limit, look_after }
}

/// The error of a course whose own failures reached `retry.max_attempts`.
pub(super) fn worn_out(last: &CourseError, faults: u32, now: Timestamp) -> CourseError {
    let times = if faults == 1 { "once".to_owned() } else { format!("{faults} times") };
    let message = format!(
        "HubSpot failed at this course {times} when it was sent alone, while it let others pass; it does not hold it. \
         Last: {}",
        last.message
    );
    CourseError {
        category: Category::Refused,
        message: clip(&message, CourseError::MAX_MESSAGE_BYTES),
        at: now,
        ..last.clone()
    }
}

pub(super) fn whole(company: usize) -> u16 {
    u16::try_from(company).unwrap_or(MAX_COURSES).clamp(1, MAX_COURSES)
}

/// Half of a company that holds a guilty course, rounded up so that two halves hold it all.
pub(super) fn half(company: usize) -> u16 {
    u16::try_from(company.div_ceil(2)).unwrap_or(u16::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy::default()
    }

    #[test]
    fn the_bounds_double_up_to_the_maximum() {
        let seconds: Vec<_> = (1..=12).map(|failures| policy().bound(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(policy().bound(0), policy().bound(1));
        assert_eq!(policy().bound(u32::MAX), policy().max_interval);
    }

    #[test]
    fn jitter_covers_the_range_and_nothing_else() {
        for failures in 1..20 {
            let bound = policy().bound(failures);
            assert_eq!(policy().backoff(failures, 0.0), Duration::ZERO);
            assert_eq!(policy().backoff(failures, 1.0), bound);
            assert_eq!(policy().equal_jitter(failures, 0.0, Duration::MAX), bound / 2);
            assert!(policy().equal_jitter(failures, 1.0, Duration::from_mins(1)) <= Duration::from_mins(1));
        }
    }

    fn sending() -> Sending {
        Sending {
            company: 1,
            attempts: 1,
            faults: 0,
            is_blamed: false,
            may_be_held: false,
            lane: Lane::Fresh,
            others: Others::Pass,
            settle: Duration::from_secs(30),
            jitter: 1.0,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn error(category: Category) -> CourseError {
        CourseError::new(category, "no", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_refusal_is_final_unless_an_earlier_request_is_in_doubt_or_every_course_is_refused_alike() {
        let refused = || Verdict::Refused(error(Category::Validation));
        let failed = Transition::Failed { error: error(Category::Validation) };
        assert_eq!(policy().transition(refused(), &sending()), failed);
        let looked_up_at_once = doubted(error(Category::Validation), Doubt::Refused, None, Duration::ZERO);
        let may_be_held = Sending { may_be_held: true, ..sending() };
        assert_eq!(policy().transition(refused(), &may_be_held), looked_up_at_once);
        let kept = policy().transition(refused(), &Sending { others: Others::RefusedAlike, ..sending() });
        assert!(matches!(
            kept,
            Transition::Pending(Again::Later { error: Some(_), suspicion: Suspicion::Unchanged, .. })
        ));
    }

    #[test]
    fn only_what_fails_alone_and_by_evidence_counts_against_a_course() {
        let turned_away = || Verdict::NotTaken(NotTaken::TurnedAway(error(Category::Deferred)));
        let suspicion = |sending: &Sending| match policy().transition(turned_away(), sending) {
            Transition::Pending(Again::Later { suspicion, .. }) => suspicion,
            other => panic!("{other:?}"),
        };
        assert_eq!(suspicion(&sending()), Suspicion::Among { batch_limit: 1 });
        let blamed = Sending { is_blamed: true, ..sending() };
        assert_eq!(suspicion(&blamed), Suspicion::Alone);
        assert_eq!(suspicion(&Sending { company: 40, ..blamed }), Suspicion::Among { batch_limit: 40 });
        let again = Sending { company: 40, lane: Lane::Suspects, ..sending() };
        assert_eq!(suspicion(&again), Suspicion::Among { batch_limit: 4 });
        let in_an_outage = Sending { others: Others::Fail, ..again };
        assert_eq!(suspicion(&in_an_outage), Suspicion::Among { batch_limit: 40 });
        let last = Sending { faults: policy().max_attempts - 1, ..blamed };
        assert!(matches!(
            policy().transition(turned_away(), &last),
            Transition::Failed { error: CourseError { category: Category::Refused, .. } }
        ));
    }

    #[test]
    fn a_course_set_aside_waits_ever_longer_unless_sending_is_paused_anyway() {
        let after = |attempts, others| {
            let verdict = Verdict::NotTaken(NotTaken::TurnedAway(error(Category::Deferred)));
            match policy().transition(verdict, &Sending { attempts, others, ..sending() }) {
                Transition::Pending(Again::Later { after, .. }) => after.as_secs(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([1, 2, 3, 10, 1_000].map(|attempts| after(attempts, Others::Pass)), [1, 2, 4, 512, 600]);
        assert_eq!([1, 10, 1_000].map(|attempts| after(attempts, Others::Fail)), [0, 0, 0]);
    }

    #[test]
    fn a_company_is_halved_down_to_one() {
        let mut company = 100;
        let mut sizes = Vec::new();
        while company > 1 {
            company = usize::from(half(company));
            sizes.push(company);
        }
        assert_eq!(sizes, [50, 25, 13, 7, 4, 2, 1]);
    }
}
