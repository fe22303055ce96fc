//! The end of the account's day, as far as HubSpot reports it, and how a durable pause in memory is kept consistent
//! with its row. Pure: the time is an argument.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The account's day, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct AccountDay {
    resets_at: Option<Timestamp>,
}

/// No day is longer: 25 hours at the end of summer time, and a margin for clocks that differ.
const LONGEST_DAY: Duration = Duration::from_hours(26);
/// The safety margin after the end of a day, because HubSpot's clock may differ from ours.
const CLOCK_MARGIN: Duration = Duration::from_secs(5);
/// Probes of several instances are spread over this time.
const PROBE_SPREAD: Duration = Duration::from_secs(55);

impl AccountDay {
    /// Sets when the quota is reset, as HubSpot reported it. False if the time is not plausible: the example in HubSpot's
    /// documentation is in the past.
    pub fn set_reset(&mut self, resets_at: Timestamp, now: Timestamp) -> bool {
        let ahead = Duration::try_from(resets_at.duration_since(now));
        let is_plausible = ahead.is_ok_and(|ahead| !ahead.is_zero() && ahead <= LONGEST_DAY);
        if is_plausible {
            self.resets_at = Some(resets_at);
        }
        is_plausible
    }

    /// When the quota is reset, if known.
    #[must_use]
    pub fn end(&self, now: Timestamp) -> Option<Timestamp> {
        self.resets_at.filter(|at| *at > now)
    }

    /// The time until the day is over and a probe may be sent. `jitter` is drawn from 0..1.
    #[must_use]
    pub fn remaining(&self, now: Timestamp, jitter: f64) -> Option<Duration> {
        let left = Duration::try_from(self.end(now)?.duration_since(now)).ok()?;
        Some(left + CLOCK_MARGIN + PROBE_SPREAD.mul_f64(jitter.clamp(0.0, 1.0)))
    }
}

/// A pause as it is in memory, or as its row was last written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPause {
    /// When it ends, if known.
    pub ends: Option<Instant>,
}

/// The change that makes a pause in memory and its row equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseSync {
    /// Nothing: they are equal.
    InSync,
    /// Write the pause in memory to the row.
    Write,
    /// The pause is over: delete the row.
    Delete,
    /// An earlier process paused: take over the pause of the row.
    Adopt,
    /// The row was deleted, because an operator resumed or it expired: end the pause in memory.
    Lift,
}

/// Compares the pause in memory, its row as this process last wrote or read it, and whether the row exists now.
#[must_use]
pub fn compare_pause(
    in_memory: Option<StoredPause>,
    stored: Option<StoredPause>,
    row_exists: bool,
) -> PauseSync {
    match (in_memory, stored, row_exists) {
        (Some(in_memory), Some(stored), true) if in_memory == stored => PauseSync::InSync,
        (Some(in_memory), Some(stored), false) if in_memory == stored => PauseSync::Lift,
        (Some(_), _, _) => PauseSync::Write,
        (None, Some(_), true) => PauseSync::Delete,
        (None, None, true) => PauseSync::Adopt,
        (None, _, false) => PauseSync::InSync,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_reset_time_is_accepted_only_if_it_is_plausible() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        for (shown, is_plausible) in [
            ("2026-11-25T05:00:00Z", true),
            ("2026-11-24T12:00:01Z", true),
            ("2026-11-24T12:00:00Z", false),
            ("2020-04-10T04:00:00Z", false),
            ("2026-11-25T14:00:01Z", false),
            ("9999-01-01T00:00:00Z", false),
        ] {
            let mut day = AccountDay::default();
            assert_eq!(day.set_reset(at(shown), now), is_plausible, "{shown}");
            assert_eq!(day.end(now), is_plausible.then_some(at(shown)), "{shown}");
        }
        let mut day = AccountDay::default();
        day.set_reset(at("2026-11-24T13:00:00Z"), now);
        assert_eq!(day.end(now), Some(at("2026-11-24T13:00:00Z")));
        assert_eq!(day.end(at("2026-11-24T13:00:00Z")), None, "the next day is not known");
    }

    #[test]
    fn probes_come_after_the_end_of_the_day_and_are_spread() {
        let now: Timestamp = "2026-11-24T23:00:00Z".parse().unwrap();
        let mut day = AccountDay::default();
        assert_eq!(day.remaining(now, 0.5), None);
        day.set_reset("2026-11-25T00:00:00Z".parse().unwrap(), now);
        let hour = Duration::from_hours(1);
        assert_eq!(day.remaining(now, 0.0), Some(hour + CLOCK_MARGIN));
        assert_eq!(day.remaining(now, 1.0), Some(hour + CLOCK_MARGIN + PROBE_SPREAD));
    }

    #[test]
    fn a_durable_pause_and_its_row_are_kept_equal() {
        let now = Instant::now();
        let (today, tomorrow, unknown_end) = (
            Some(StoredPause { ends: Some(now) }),
            Some(StoredPause { ends: Some(now + LONGEST_DAY) }),
            Some(StoredPause { ends: None }),
        );
        for (name, in_memory, stored, row_exists, expected) in [
            ("no pause", None, None, false, PauseSync::InSync),
            ("a pause began", today, None, false, PauseSync::Write),
            ("a pause began, and another instance left a row", today, None, true, PauseSync::Write),
            ("unchanged", today, today, true, PauseSync::InSync),
            ("its end became known", today, unknown_end, true, PauseSync::Write),
            ("an operator resumed", today, today, false, PauseSync::Lift),
            ("an operator resumed, and the end is unknown", unknown_end, unknown_end, false, PauseSync::Lift),
            ("the quota of the next day is used up as well", tomorrow, today, false, PauseSync::Write),
            ("the pause ended", None, today, true, PauseSync::Delete),
            ("the pause ended, and the row expired", None, today, false, PauseSync::InSync),
            ("after a restart", None, None, true, PauseSync::Adopt),
        ] {
            assert_eq!(compare_pause(in_memory, stored, row_exists), expected, "{name}");
        }
    }
}
