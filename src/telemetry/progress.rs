//! The content of progress reports, and a limit for log lines about failures. Pure.

use super::metrics::{CounterSnapshot, Operation};
use super::trend::DelayCounts;
use crate::hubspot::api::outcome::RequestOutcome;

/// The work between two snapshots of the counters.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Progress {
    pub synced: u64,
    pub adopted: u64,
    pub failed: u64,
    pub deferred: u64,
    pub unconfirmed: u64,
    pub updated: u64,
    pub archived: u64,
    /// Requests to HubSpot.
    pub requests: u64,
    /// The same by operation and outcome: `create ok 12, read ok 1`.
    pub outcomes: String,
    /// Median time from insert to sync. Absent if no course was synced.
    pub delay_p50_seconds: Option<f64>,
    /// The 95th percentile.
    pub delay_p95_seconds: Option<f64>,
}

impl Progress {
    /// The difference of two snapshots; `None` if they are equal.
    #[must_use]
    pub fn between(before: &CounterSnapshot, now: &CounterSnapshot) -> Option<Self> {
        if before == now {
            return None;
        }
        let [synced, adopted, failed, deferred, unconfirmed, updated, archived] =
            differences(&before.courses, &now.courses);
        let (mut requests, mut outcomes) = (0, Vec::new());
        for (operation, (before, now)) in Operation::ALL.iter().zip(before.requests.iter().zip(&now.requests))
        {
            for (outcome, count) in RequestOutcome::ALL.iter().zip(differences(before, now)) {
                requests += count;
                if count > 0 {
                    outcomes.push(format!("{} {} {count}", operation.as_str(), outcome.as_str()));
                }
            }
        }
        Some(Self {
            synced,
            adopted,
            failed,
            deferred,
            unconfirmed,
            updated,
            archived,
            requests,
            outcomes: outcomes.join(", "),
            delay_p50_seconds: delay_quantile(&before.delays, &now.delays, 0.5),
            delay_p95_seconds: delay_quantile(&before.delays, &now.delays, 0.95),
        })
    }
}

fn differences<const N: usize>(before: &[u64; N], now: &[u64; N]) -> [u64; N] {
    let mut differences = *now;
    for (difference, before) in differences.iter_mut().zip(before) {
        *difference = difference.saturating_sub(*before);
    }
    differences
}

/// The quantile of the delays since `before`, in seconds, rounded to milliseconds.
fn delay_quantile(before: &DelayCounts, now: &DelayCounts, quantile: f64) -> Option<f64> {
    now.quantile_since(before, quantile).map(|seconds| (seconds * 1_000.0).round() / 1_000.0)
}

/// Limits log lines of one kind per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineBudget {
    per_minute: u64,
    requested: u64,
}

impl LineBudget {
    /// A budget of so many lines per minute.
    #[must_use]
    pub fn new(per_minute: u64) -> Self {
        Self { per_minute, requested: 0 }
    }

    /// Whether one more line may be written in this minute.
    pub fn take(&mut self) -> bool {
        self.requested = self.requested.saturating_add(1);
        self.requested <= self.per_minute
    }

    /// Starts a new minute. Returns the number of lines that were suppressed in the last one.
    pub fn renew(&mut self) -> u64 {
        std::mem::take(&mut self.requested).saturating_sub(self.per_minute)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::trend::DelayRecorder;

    #[test]
    fn equal_snapshots_give_no_progress() {
        let snapshot = CounterSnapshot { courses: [7; 7], ..CounterSnapshot::default() };
        assert_eq!(Progress::between(&snapshot, &snapshot.clone()), None);
        assert_eq!(Progress::between(&CounterSnapshot::default(), &CounterSnapshot::default()), None);
    }

    #[test]
    fn progress_is_the_difference_of_two_snapshots() {
        let before = CounterSnapshot { courses: [100, 1, 1, 1, 1, 0, 0], ..CounterSnapshot::default() };
        let mut now = before.clone();
        now.courses = [250, 3, 4, 5, 6, 7, 8];
        now.requests[0] = [12, 3, 0, 0, 0, 0, 1, 0, 0];
        now.requests[3][0] = 2;
        let delays = DelayRecorder::default();
        (0..150).for_each(|course| delays.observe(Duration::from_secs(if course < 130 { 1 } else { 3 })));
        now.delays = delays.counts();
        let mut progress = Progress::between(&before, &now).unwrap();
        let delays = (progress.delay_p50_seconds.take().unwrap(), progress.delay_p95_seconds.take().unwrap());
        assert!((0.7..=1.4).contains(&delays.0) && (2.1..=4.2).contains(&delays.1), "{delays:?}");
        let expected = Progress {
            synced: 150,
            adopted: 2,
            failed: 3,
            deferred: 4,
            unconfirmed: 5,
            updated: 7,
            archived: 8,
            requests: 18,
            outcomes: "create ok 12, create partial 3, create timeout 1, read ok 2".to_owned(),
            delay_p50_seconds: None,
            delay_p95_seconds: None,
        };
        assert_eq!(progress, expected);
    }

    #[test]
    fn lines_over_budget_are_counted() {
        let mut budget = LineBudget::new(2);
        assert_eq!([(); 4].map(|()| budget.take()), [true, true, false, false]);
        assert_eq!(budget.renew(), 2);
        assert!(budget.take());
        assert_eq!(budget.renew(), 0);
    }
}
