//! Whether a course goes again, and when. The sole owner of retrying.
//!
//! The exponential growth is the `backoff` crate's; the jitter is an argument, so that every
//! decision can be repeated.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use super::interpret::{NotTaken, Verdict};
use crate::course::{Again, CourseError, Provenance, Transition};

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

/// How a course was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sending {
    /// The courses of its request.
    pub company: usize,
    /// HubSpot may hold it from an earlier sending, and can be asked.
    pub may_be_held: bool,
    /// How long a doubt rests before HubSpot is asked.
    pub settle: Duration,
}

/// What becomes of a course after this verdict.
#[must_use]
pub fn transition(verdict: Verdict, sending: Sending) -> Transition {
    let Sending { company, may_be_held, settle } = sending;
    match verdict {
        Verdict::Created(hubspot_id) => Transition::Synced { hubspot_id, provenance: Provenance::Created },
        // No doubt that has to settle: a read tells who holds the key. If it finds nobody, the conflict
        // is over another value of one of them, which isolation brings to light.
        Verdict::Exists { error, suspects } => doubted(error, Some(suspects), Duration::ZERO),
        // No refusal undoes what an earlier sending may have done.
        Verdict::Refused(error) if may_be_held => doubted(error, None, Duration::ZERO),
        Verdict::Refused(error) => Transition::Failed { error },
        Verdict::NotTaken(NotTaken::NotSent) => Transition::Pending(Again::NotSent),
        Verdict::NotTaken(NotTaken::Untouched) => Transition::Pending(Again::Held),
        Verdict::NotTaken(NotTaken::Unnamed(error)) => {
            Transition::Pending(Again::Isolate { batch_limit: half(company), error })
        }
        Verdict::Unknown { error, suspects } => doubted(error, suspects, settle),
    }
}

fn doubted(error: CourseError, suspects: Option<usize>, look_after: Duration) -> Transition {
    // In company it may be innocent: only what happens to it alone counts.
    let own_fault = suspects == Some(1);
    Transition::Unconfirmed { error, own_fault, batch_limit: suspects.map(half), look_after }
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

    #[test]
    fn a_refusal_is_final_unless_an_earlier_sending_is_in_doubt() {
        let error =
            || CourseError::new(crate::course::Category::Validation, "no", jiff::Timestamp::UNIX_EPOCH);
        let sending = Sending { company: 1, may_be_held: false, settle: Duration::from_secs(30) };
        assert_eq!(transition(Verdict::Refused(error()), sending), Transition::Failed { error: error() });
        let looked_up_at_once = Transition::Unconfirmed {
            error: error(),
            own_fault: false,
            batch_limit: None,
            look_after: Duration::ZERO,
        };
        let sending = Sending { may_be_held: true, ..sending };
        assert_eq!(transition(Verdict::Refused(error()), sending), looked_up_at_once);
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
