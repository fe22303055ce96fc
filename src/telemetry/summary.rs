//! What the log says of work that goes well, and how often it speaks of what does not. Pure.

use super::metrics::{CourseOutcome, Operation};
use super::trend::Delays;
use crate::policy::interpret::RequestOutcome;

/// What was counted up to some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Courses, in the order of [`CourseOutcome::ALL`].
    pub courses: [u64; CourseOutcome::ALL.len()],
    /// Requests, in the order of [`Operation::ALL`] and [`RequestOutcome::ALL`].
    pub requests: [[u64; RequestOutcome::ALL.len()]; Operation::ALL.len()],
    /// How long the synced courses took.
    pub delays: Delays,
}

/// What happened between two counts.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Summary {
    pub synced: u64,
    pub adopted: u64,
    pub failed: u64,
    pub deferred: u64,
    pub unconfirmed: u64,
    /// Requests to HubSpot.
    pub requests: u64,
    /// The same by operation and outcome: `create ok 12, read ok 1`.
    pub outcomes: String,
    /// Half of the courses were synced within so many seconds of their insert. Absent where none was.
    pub delay_p50_seconds: Option<f64>,
    /// 95 % of them were.
    pub delay_p95_seconds: Option<f64>,
}

impl Summary {
    /// What happened from `before` to `now`; `None` where nothing did.
    #[must_use]
    pub fn between(before: &Counted, now: &Counted) -> Option<Self> {
        if before == now {
            return None;
        }
        let [synced, adopted, failed, deferred, unconfirmed] = differences(&before.courses, &now.courses);
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
            requests,
            outcomes: outcomes.join(", "),
            delay_p50_seconds: within(&before.delays, &now.delays, 0.5),
            delay_p95_seconds: within(&before.delays, &now.delays, 0.95),
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

/// The delay that this share of the courses did not exceed since then, in seconds, to a thousandth.
fn within(before: &Delays, now: &Delays, share: f64) -> Option<f64> {
    now.quantile_since(before, share).map(|seconds| (seconds * 1_000.0).round() / 1_000.0)
}

/// How many lines of a kind may still be written in this minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    most: u64,
    wanted: u64,
}

impl Allowance {
    /// `most` lines a minute.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self { most, wanted: 0 }
    }

    /// Whether one more may be written.
    pub fn take(&mut self) -> bool {
        self.wanted = self.wanted.saturating_add(1);
        self.wanted <= self.most
    }

    /// A new minute; how many lines were held back in the last one.
    pub fn renew(&mut self) -> u64 {
        std::mem::take(&mut self.wanted).saturating_sub(self.most)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::trend::DelayCounter;

    #[test]
    fn a_minute_in_which_nothing_happened_is_not_told() {
        let counted = Counted { courses: [7; 5], ..Counted::default() };
        assert_eq!(Summary::between(&counted, &counted.clone()), None);
        assert_eq!(Summary::between(&Counted::default(), &Counted::default()), None);
    }

    #[test]
    fn a_summary_tells_what_was_new() {
        let before = Counted { courses: [100, 1, 1, 1, 1], ..Counted::default() };
        let mut now = before.clone();
        now.courses = [250, 3, 4, 5, 6];
        now.requests[0] = [12, 3, 0, 0, 0, 0, 1, 0, 0];
        now.requests[1][0] = 2;
        let delays = DelayCounter::default();
        (0..150).for_each(|course| delays.observe(Duration::from_secs(if course < 130 { 1 } else { 3 })));
        now.delays = delays.so_far();
        let mut summary = Summary::between(&before, &now).unwrap();
        let delays = (summary.delay_p50_seconds.take().unwrap(), summary.delay_p95_seconds.take().unwrap());
        assert!((0.7..=1.4).contains(&delays.0) && (2.1..=4.2).contains(&delays.1), "{delays:?}");
        let expected = Summary {
            synced: 150,
            adopted: 2,
            failed: 3,
            deferred: 4,
            unconfirmed: 5,
            requests: 18,
            outcomes: "create ok 12, create partial 3, create timeout 1, read ok 2".to_owned(),
            delay_p50_seconds: None,
            delay_p95_seconds: None,
        };
        assert_eq!(summary, expected);
    }

    #[test]
    fn so_many_lines_a_minute_and_the_rest_is_counted() {
        let mut allowance = Allowance::new(2);
        assert_eq!([(); 4].map(|()| allowance.take()), [true, true, false, false]);
        assert_eq!(allowance.renew(), 2);
        assert!(allowance.take());
        assert_eq!(allowance.renew(), 0);
    }
}
