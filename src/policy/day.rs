//! When the account's daily quota starts afresh, as far as HubSpot shows it; and what has to be done so that a pause
//! in memory and the row by which it outlives a restart agree. Pure: the time is an argument.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// What is known of the account's day.
#[derive(Debug, Clone, Default)]
pub struct Day {
    resets_at: Option<Timestamp>,
}

/// No day is longer: 25 hours, where the clocks are put back, and some for clocks that differ.
const LONGEST: Duration = Duration::from_hours(26);
/// The end of a day is believed so long after it: HubSpot's clock is not ours.
const AFTER: Duration = Duration::from_secs(5);
/// Probes come within so long after that, not all at once.
const SPREAD: Duration = Duration::from_secs(55);

impl Day {
    /// HubSpot shows when the quota starts afresh. False where that cannot be: its own example lies in the past.
    pub fn learn_reset(&mut self, resets_at: Timestamp, now: Timestamp) -> bool {
        let ahead = Duration::try_from(resets_at.duration_since(now));
        let is_credible = ahead.is_ok_and(|ahead| !ahead.is_zero() && ahead <= LONGEST);
        if is_credible {
            self.resets_at = Some(resets_at);
        }
        is_credible
    }

    /// When the quota starts afresh; `None` where that is not known.
    #[must_use]
    pub fn end(&self, now: Timestamp) -> Option<Timestamp> {
        self.resets_at.filter(|at| *at > now)
    }

    /// How long until the day is over and a probe may be sent. `jitter` is drawn from 0..1.
    #[must_use]
    pub fn left(&self, now: Timestamp, jitter: f64) -> Option<Duration> {
        let left = Duration::try_from(self.end(now)?.duration_since(now)).ok()?;
        Some(left + AFTER + SPREAD.mul_f64(jitter.clamp(0.0, 1.0)))
    }
}

/// A pause as this process knows it, or as it last wrote it down: until when, if that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// When it is over.
    pub ends: Option<Instant>,
}

/// What is to be done so that memory and row agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agree {
    /// They do.
    Already,
    /// The row is to say what memory knows.
    Write,
    /// The pause is over: the row is to go.
    Erase,
    /// An earlier process has paused: memory is to know.
    Adopt,
    /// The row has gone, since an operator resumed or its time is over: memory is to forget.
    Lift,
}

/// What is to be done about the row of a pause, given what this process knows, what it wrote down or
/// read last, and whether the row is there.
#[must_use]
pub fn agree(known: Option<Noted>, noted: Option<Noted>, row_is_there: bool) -> Agree {
    match (known, noted, row_is_there) {
        (Some(known), Some(noted), true) if known == noted => Agree::Already,
        (Some(known), Some(noted), false) if known == noted => Agree::Lift,
        (Some(_), _, _) => Agree::Write,
        (None, Some(_), true) => Agree::Erase,
        (None, None, true) => Agree::Adopt,
        (None, _, false) => Agree::Already,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubspots_own_word_comes_first_while_it_can_be_true() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        for (told, is_credible) in [
            ("2026-11-25T05:00:00Z", true),
            ("2026-11-24T12:00:01Z", true),
            ("2026-11-24T12:00:00Z", false),
            ("2020-04-10T04:00:00Z", false),
            ("2026-11-25T14:00:01Z", false),
            ("9999-01-01T00:00:00Z", false),
        ] {
            let mut day = Day::default();
            assert_eq!(day.learn_reset(at(told), now), is_credible, "{told}");
            assert_eq!(day.end(now), is_credible.then_some(at(told)), "{told}");
        }
        let mut day = Day::default();
        day.learn_reset(at("2026-11-24T13:00:00Z"), now);
        assert_eq!(day.end(now), Some(at("2026-11-24T13:00:00Z")));
        assert_eq!(day.end(at("2026-11-24T13:00:00Z")), None, "the next day is not known");
    }

    #[test]
    fn nobody_comes_back_before_the_day_is_over_and_not_all_at_once() {
        let now: Timestamp = "2026-11-24T23:00:00Z".parse().unwrap();
        let mut day = Day::default();
        assert_eq!(day.left(now, 0.5), None);
        day.learn_reset("2026-11-25T00:00:00Z".parse().unwrap(), now);
        let hour = Duration::from_hours(1);
        assert_eq!(day.left(now, 0.0), Some(hour + AFTER));
        assert_eq!(day.left(now, 1.0), Some(hour + AFTER + SPREAD));
    }

    #[test]
    fn memory_and_row_are_brought_to_agree() {
        let now = Instant::now();
        let (today, tomorrow, some_day) = (
            Some(Noted { ends: Some(now) }),
            Some(Noted { ends: Some(now + LONGEST) }),
            Some(Noted { ends: None }),
        );
        for (what, known, noted, row_is_there, expected) in [
            ("nothing is used up", None, None, false, Agree::Already),
            ("it is news", today, None, false, Agree::Write),
            ("it is news, over a row of somebody else's", today, None, true, Agree::Write),
            ("it stands as it was written", today, today, true, Agree::Already),
            ("its end has been learnt", today, some_day, true, Agree::Write),
            ("a person resumed", today, today, false, Agree::Lift),
            ("a person resumed, and nobody knew the end", some_day, some_day, false, Agree::Lift),
            ("the next day is used up, too", tomorrow, today, false, Agree::Write),
            ("there is quota again", None, today, true, Agree::Erase),
            ("there is quota again, and the row has ended", None, today, false, Agree::Already),
            ("a restart", None, None, true, Agree::Adopt),
        ] {
            assert_eq!(agree(known, noted, row_is_there), expected, "{what}");
        }
    }
}
