//! The wait before the next attempt, and the number of attempts. Pure.
//!
//! The `backoff` crate computes the exponential growth. The jitter is an argument, so that every decision is reproducible.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

/// When to try again, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The upper bound of the first wait.
    pub initial_interval: Duration,
    /// The upper bound of every wait.
    pub max_interval: Duration,
    /// The factor by which the bound grows each time; at least 1.
    pub multiplier: f64,
    /// The number of its own faults after which a course fails.
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
    /// The wait after this many failures, with full jitter: between zero and the bound, which spreads simultaneous
    /// retries best. `jitter`: a random number from 0 to 1.
    #[must_use]
    pub fn backoff(&self, failures: u32, jitter: f64) -> Duration {
        self.bound(failures).mul_f64(jitter.clamp(0.0, 1.0))
    }

    /// The wait after this many failures, with equal jitter: between half of the bound and the bound, and at most `max`.
    /// For retries that must not start at once.
    #[must_use]
    pub fn equal_jitter(&self, failures: u32, jitter: f64, max: Duration) -> Duration {
        let bound = self.bound(failures).min(max);
        bound / 2 + (bound / 2).mul_f64(jitter.clamp(0.0, 1.0))
    }

    fn bound(&self, failures: u32) -> Duration {
        // Without randomisation and time limit, the crate returns the sequence of bounds.
        let mut sequence = ExponentialBackoff {
            current_interval: self.initial_interval,
            initial_interval: self.initial_interval,
            randomization_factor: 0.0,
            multiplier: self.multiplier,
            max_interval: self.max_interval,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        // The maximum is reached long before 64 steps.
        let steps = failures.clamp(1, 64);
        (0..steps)
            .filter_map(|_| sequence.next_backoff())
            .last()
            .unwrap_or(self.max_interval)
            .min(self.max_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy::default()
    }

    #[test]
    fn bounds_double_up_to_the_maximum() {
        let seconds: Vec<_> = (1..=12).map(|failures| policy().bound(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(policy().bound(0), policy().bound(1));
        assert_eq!(policy().bound(u32::MAX), policy().max_interval);
    }

    #[test]
    fn jitter_stays_within_its_range() {
        for failures in 1..20 {
            let bound = policy().bound(failures);
            assert_eq!(policy().backoff(failures, 0.0), Duration::ZERO);
            assert_eq!(policy().backoff(failures, 1.0), bound);
            assert_eq!(policy().equal_jitter(failures, 0.0, Duration::MAX), bound / 2);
            assert!(policy().equal_jitter(failures, 1.0, Duration::from_mins(1)) <= Duration::from_mins(1));
        }
    }
}
