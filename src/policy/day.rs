//! When the account's day ends, on which its daily quota is counted; and what that means for the row by which
//! a pause until then outlives a restart. Pure: the time zone and the time are arguments.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// What is known of the account's day.
#[derive(Debug, Clone, Default)]
pub struct Day {
    /// When HubSpot says that the quota starts afresh.
    resets_at: Option<Timestamp>,
    /// The account's time zone, at whose midnight it does.
    zone: Option<TimeZone>,
}

/// No day is longer: 25 hours, where the clocks are put back, and some for clocks that differ.
const LONGEST: Duration = Duration::from_hours(26);
/// The end of a day is believed so long after it: HubSpot's clock is not ours.
const AFTER: Duration = Duration::from_secs(5);
/// And somebody who waits for it comes back within so long after that, not all at once.
const SPREAD: Duration = Duration::from_secs(55);

impl Day {
    /// HubSpot says when the quota starts afresh. False where that cannot be: its own example lies in the past.
    pub fn learn_reset(&mut self, resets_at: Timestamp, now: Timestamp) -> bool {
        let ahead = Duration::try_from(resets_at.duration_since(now));
        let is_credible = ahead.is_ok_and(|ahead| !ahead.is_zero() && ahead <= LONGEST);
        if is_credible {
            self.resets_at = Some(resets_at);
        }
        is_credible
    }

    /// The account's time zone.
    pub fn learn_zone(&mut self, zone: TimeZone) {
        self.zone = Some(zone);
    }

    /// When the day that `now` belongs to ends; `None` where nobody has told yet.
    #[must_use]
    pub fn end(&self, now: Timestamp) -> Option<Timestamp> {
        let told = self.resets_at.filter(|at| *at > now);
        told.or_else(|| next_midnight(&now.to_zoned(self.zone.clone()?)))
    }

    /// How long until the day is over and somebody may come back. `jitter` is drawn from 0..1.
    #[must_use]
    pub fn left(&self, now: Timestamp, jitter: f64) -> Option<Duration> {
        let left = Duration::try_from(self.end(now)?.duration_since(now)).ok()?;
        Some(left + AFTER + SPREAD.mul_f64(jitter.clamp(0.0, 1.0)))
    }
}

/// The first instant of the next day: midnight, or what comes first where clocks are put forward at midnight.
fn next_midnight(now: &Zoned) -> Option<Timestamp> {
    Some(now.tomorrow().ok()?.start_of_day().ok()?.timestamp())
}

/// A used-up day as this process knows it, or as it last wrote it down: until when, if that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedUp {
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
    /// The day's quota is there again: the row is to go.
    Erase,
    /// An earlier process has paused: memory is to know.
    Adopt,
    /// The row has gone, by a person's word or because its time is over: memory is to forget.
    Lift,
}

/// What is to be done about the row of a used-up day, given what this process knows, what it wrote down or
/// read last, and whether the row is there.
#[must_use]
pub fn agree(known: Option<UsedUp>, noted: Option<UsedUp>, row_is_there: bool) -> Agree {
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
    fn days_of_23_24_and_25_hours() {
        for (zone, now, end) in [
            ("US/Eastern", "2026-11-24T20:00:00-05:00", "2026-11-25T00:00:00-05:00"),
            ("US/Eastern", "2026-11-24T23:59:59.999-05:00", "2026-11-25T00:00:00-05:00"),
            ("US/Eastern", "2026-11-25T00:00:00-05:00", "2026-11-26T00:00:00-05:00"),
            // Clocks are put forward: 23 hours.
            ("US/Eastern", "2026-03-08T00:00:00-05:00", "2026-03-09T00:00:00-04:00"),
            // And back: 25 hours.
            ("US/Eastern", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"),
            ("Europe/Berlin", "2026-03-29T00:30:00+01:00", "2026-03-30T00:00:00+02:00"),
            ("Europe/Berlin", "2026-10-25T02:30:00+01:00", "2026-10-26T00:00:00+01:00"),
            // The hour after midnight comes twice, or not at all.
            ("America/Havana", "2026-10-31T12:00:00-04:00", "2026-11-01T00:00:00-04:00"),
            ("America/Havana", "2026-11-01T00:30:00-05:00", "2026-11-02T00:00:00-05:00"),
            ("America/Santiago", "2026-09-05T12:00:00-04:00", "2026-09-06T01:00:00-03:00"),
            // Half an hour, and quarters.
            ("Australia/Lord_Howe", "2026-04-05T00:00:00+11:00", "2026-04-06T00:00:00+10:30"),
            ("Asia/Kathmandu", "2026-06-01T23:59:00+05:45", "2026-06-02T00:00:00+05:45"),
            ("Pacific/Kiritimati", "2026-12-31T23:59:00+14:00", "2027-01-01T00:00:00+14:00"),
            ("UTC", "2024-02-28T10:00:00Z", "2024-02-29T00:00:00Z"),
        ] {
            let mut day = Day::default();
            day.learn_zone(TimeZone::get(zone).unwrap());
            let (now, end): (Timestamp, Timestamp) = (now.parse().unwrap(), end.parse().unwrap());
            assert_eq!(day.end(now), Some(end), "{zone} at {now}");
        }
    }

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
        day.learn_zone(TimeZone::UTC);
        assert_eq!(day.end(now), Some(at("2026-11-24T13:00:00Z")));
        assert_eq!(day.end(at("2026-11-24T13:00:00Z")), Some(at("2026-11-25T00:00:00Z")));
    }

    #[test]
    fn nobody_comes_back_before_the_day_is_over_and_not_all_at_once() {
        let now: Timestamp = "2026-11-24T23:00:00Z".parse().unwrap();
        let mut day = Day::default();
        assert_eq!(day.left(now, 0.5), None);
        day.learn_zone(TimeZone::UTC);
        let hour = Duration::from_hours(1);
        assert_eq!(day.left(now, 0.0), Some(hour + AFTER));
        assert_eq!(day.left(now, 1.0), Some(hour + AFTER + SPREAD));
    }

    #[test]
    fn memory_and_row_are_brought_to_agree() {
        let now = Instant::now();
        let (today, tomorrow, some_day) = (
            Some(UsedUp { ends: Some(now) }),
            Some(UsedUp { ends: Some(now + LONGEST) }),
            Some(UsedUp { ends: None }),
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
