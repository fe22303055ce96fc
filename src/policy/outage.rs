//! An outage, and when it is logged: at its beginning, at its end, and once a minute while it lasts. Pure: `now` is an
//! argument.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// An outage lasts from the first task that fails until every failed task has succeeded again.
#[derive(Debug, Clone)]
pub struct Outage<T> {
    failing: BTreeSet<T>,
    since: Option<Instant>,
    reported_at: Option<Instant>,
    /// The beginning of this outage was reported, so its end is reported too.
    is_reported: bool,
}

/// What to report about an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageEvent {
    /// It began.
    Began,
    /// It has lasted this long so far.
    Ongoing(Duration),
    /// It ended after this long.
    Ended(Duration),
}

/// The shortest time between two reports of a failure. An outage that comes and goes faster is reported once in this
/// time.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

impl<T> Default for Outage<T> {
    fn default() -> Self {
        Self { failing: BTreeSet::new(), since: None, reported_at: None, is_reported: false }
    }
}

impl<T: Copy + Ord> Outage<T> {
    /// Records that a task failed. Returns what to report.
    pub fn record_failure(&mut self, task: T, now: Instant) -> Option<OutageEvent> {
        let since = *self.since.get_or_insert(now);
        self.failing.insert(task);
        if self.reported_at.is_some_and(|at| now.saturating_duration_since(at) < REPORT_INTERVAL) {
            return None;
        }
        self.reported_at = Some(now);
        let was_reported = std::mem::replace(&mut self.is_reported, true);
        Some(if was_reported {
            OutageEvent::Ongoing(now.saturating_duration_since(since))
        } else {
            OutageEvent::Began
        })
    }

    /// Records that a task succeeded, or is not needed any more. Returns what to report.
    pub fn record_success(&mut self, task: T, now: Instant) -> Option<OutageEvent> {
        if !self.failing.remove(&task) || !self.failing.is_empty() {
            return None;
        }
        let since = self.since.take()?;
        // If the beginning was not reported, the end is not reported either.
        let was_reported = std::mem::take(&mut self.is_reported);
        was_reported.then(|| OutageEvent::Ended(now.saturating_duration_since(since)))
    }

    /// The tasks that fail at present.
    pub fn failing(&self) -> impl Iterator<Item = T> + '_ {
        self.failing.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays events (second, task, whether it fails), and returns what was reported at which second.
    fn reports(events: &[(u64, char, bool)]) -> Vec<(u64, OutageEvent)> {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let mut reports = Vec::new();
        for &(second, task, is_failure) in events {
            let now = start + Duration::from_secs(second);
            let event =
                if is_failure { outage.record_failure(task, now) } else { outage.record_success(task, now) };
            reports.extend(event.map(|event| (second, event)));
        }
        reports
    }

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn an_outage_is_reported_at_its_beginning_each_minute_and_at_its_end() {
        let mut events: Vec<_> = (0..150).map(|second| (second, 'c', true)).collect();
        events.push((150, 'c', false));
        let expected = [
            (0, OutageEvent::Began),
            (60, OutageEvent::Ongoing(seconds(60))),
            (120, OutageEvent::Ongoing(seconds(120))),
            (150, OutageEvent::Ended(seconds(150))),
        ];
        assert_eq!(reports(&events), expected);
    }

    #[test]
    fn an_outage_ends_when_every_failed_task_has_succeeded() {
        let events = [
            (0, 'a', true),
            (1, 'b', true),
            (2, 'a', false),
            (3, 'a', false),
            (4, 'c', false),
            (5, 'b', false),
        ];
        assert_eq!(reports(&events), [(0, OutageEvent::Began), (5, OutageEvent::Ended(seconds(5)))]);
    }

    #[test]
    fn an_intermittent_outage_is_reported_once_a_minute() {
        let events: Vec<_> = (0..100).map(|second| (second, 'a', second % 2 == 0)).collect();
        let expected = [
            (0, OutageEvent::Began),
            (1, OutageEvent::Ended(seconds(1))),
            (60, OutageEvent::Began),
            (61, OutageEvent::Ended(seconds(1))),
        ];
        assert_eq!(reports(&events), expected);
    }
}
