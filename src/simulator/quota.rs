//! The account's quotas, as HubSpot keeps them: a rolling interval, a day from midnight to midnight, and
//! the search's own second. Pure; times are arguments.

use std::collections::VecDeque;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::behaviour::{Limits, Neighbour};
use super::wire::ErrorBody;

/// Which limit a refused request ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    Interval,
    Daily,
    Search,
}

/// What has been used.
#[derive(Debug, Default)]
pub(super) struct Quota {
    /// Arrivals that still count in the rolling interval, in microseconds since the start.
    interval: VecDeque<u64>,
    searches: VecDeque<u64>,
    day: Option<Date>,
    used_today: u64,
    /// When the neighbour's next requests arrive, in microseconds since the start.
    neighbour_due: Option<u64>,
}

/// What stands in the rate headers of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) limits: Limits,
    pub(super) remaining: u64,
    pub(super) daily_remaining: u64,
}

/// One arrival, as the quota sees it.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) at_us: u64,
    pub(super) now: Timestamp,
    pub(super) zone: &'a TimeZone,
    pub(super) limits: Limits,
    pub(super) neighbour: Neighbour,
    /// Whether refused requests count as well.
    pub(super) refused_count: bool,
}

impl Quota {
    /// Takes one request off the interval and the day.
    ///
    /// # Errors
    /// The limit that it exceeds.
    pub(super) fn take(&mut self, arrival: Arrival<'_>) -> Result<(), Exceeded> {
        self.catch_up(arrival);
        self.take_one(arrival)
    }

    /// Everything that the neighbour has asked since, at the times when it did.
    fn catch_up(&mut self, arrival: Arrival<'_>) {
        let Neighbour { requests, burst } = arrival.neighbour;
        let burst = burst.max(1);
        let period = arrival.limits.per_ms.saturating_mul(1_000).saturating_mul(burst).checked_div(requests);
        let Some(period) = period else {
            self.neighbour_due = None;
            return;
        };
        let mut due = self.neighbour_due.unwrap_or(arrival.at_us);
        while due <= arrival.at_us {
            for _ in 0..burst {
                // It does not care.
                let _refused = self.take_one(Arrival { at_us: due, ..arrival });
            }
            due = due.saturating_add(period.max(1));
        }
        self.neighbour_due = Some(due);
    }

    fn take_one(&mut self, arrival: Arrival<'_>) -> Result<(), Exceeded> {
        self.turn(arrival);
        let verdict = if self.used_today >= arrival.limits.daily {
            Err(Exceeded::Daily)
        } else if count(&self.interval) >= arrival.limits.requests {
            Err(Exceeded::Interval)
        } else {
            Ok(())
        };
        if verdict.is_ok() || arrival.refused_count {
            self.interval.push_back(arrival.at_us);
            self.used_today += 1;
        }
        verdict
    }

    /// Takes one search off its own second and the day; the interval is exempt.
    ///
    /// # Errors
    /// The limit that it exceeds.
    pub(super) fn take_search(&mut self, arrival: Arrival<'_>) -> Result<(), Exceeded> {
        self.turn(arrival);
        let verdict = if self.used_today >= arrival.limits.daily {
            Err(Exceeded::Daily)
        } else if count(&self.searches) >= arrival.limits.searches_per_second {
            Err(Exceeded::Search)
        } else {
            Ok(())
        };
        if verdict.is_ok() || arrival.refused_count {
            self.searches.push_back(arrival.at_us);
            self.used_today += 1;
        }
        verdict
    }

    /// Lets time pass: drops what has left the windows and, after midnight, the day's count.
    fn turn(&mut self, arrival: Arrival<'_>) {
        let per_us = arrival.limits.per_ms.saturating_mul(1_000);
        expire(&mut self.interval, arrival.at_us, per_us);
        expire(&mut self.searches, arrival.at_us, 1_000_000);
        let today = arrival.now.to_zoned(arrival.zone.clone()).date();
        if self.day != Some(today) {
            self.day = Some(today);
            self.used_today = 0;
        }
    }

    /// What is left after the last request.
    pub(super) fn standing(&self, limits: Limits) -> Standing {
        Standing {
            limits,
            remaining: limits.requests.saturating_sub(count(&self.interval)),
            daily_remaining: limits.daily.saturating_sub(self.used_today),
        }
    }

    /// Requests counted since the account's midnight.
    pub(super) fn used_today(&self) -> u64 {
        self.used_today
    }

    /// Starts a new day without waiting for midnight.
    pub(super) fn midnight(&mut self) {
        self.used_today = 0;
    }
}

impl Standing {
    /// The rate headers. Under OAuth the daily ones are absent; a search carries the daily ones at most.
    pub(super) fn headers(&self, oauth: bool, search: bool) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if !oauth {
            headers.push(("X-HubSpot-RateLimit-Daily", self.limits.daily.to_string()));
            headers.push(("X-HubSpot-RateLimit-Daily-Remaining", self.daily_remaining.to_string()));
        }
        if !search {
            headers.push(("X-HubSpot-RateLimit-Interval-Milliseconds", self.limits.per_ms.to_string()));
            headers.push(("X-HubSpot-RateLimit-Max", self.limits.requests.to_string()));
            headers.push(("X-HubSpot-RateLimit-Remaining", self.remaining.to_string()));
            headers.push(("X-HubSpot-RateLimit-Secondly", (self.limits.requests / 10).to_string()));
            headers.push(("X-HubSpot-RateLimit-Secondly-Remaining", (self.remaining / 10).to_string()));
        }
        headers
    }
}

impl Exceeded {
    /// The body of the 429, in the dialect that belongs to the limit.
    pub(super) fn error(self, portal: u64, app: u64, request_id: String) -> ErrorBody {
        match self {
            Self::Daily => ErrorBody {
                error_type: Some("RATE_LIMIT"),
                policy_name: Some("DAILY"),
                request_id: Some(request_id),
                ..ErrorBody::new("You have reached your daily limit.")
            },
            Self::Interval => ErrorBody {
                error_type: Some("RATE_LIMIT"),
                policy_name: Some("TEN_SECONDLY_ROLLING"),
                group_name: Some(format!("publicapi:private_app-api-calls-ten-secondly:{portal}:{app}")),
                ..ErrorBody::new("You have reached your ten_secondly_rolling limit.")
            },
            Self::Search => ErrorBody::new("You have reached your secondly limit.").category("RATE_LIMITS"),
        }
    }
}

/// The account's next midnight, when the daily quota starts afresh.
pub(super) fn next_midnight(now: Timestamp, zone: &TimeZone) -> Timestamp {
    now.to_zoned(zone.clone())
        .checked_add(1.day())
        .and_then(|tomorrow| tomorrow.start_of_day())
        .map_or(now, |midnight| midnight.timestamp())
}

/// The most arrivals that any rolling window of `per_us` saw; the window is half open, so two arrivals
/// exactly `per_us` apart never share one. `arrivals` must ascend.
pub(super) fn worst_window(arrivals: impl Iterator<Item = u64>, per_us: u64) -> usize {
    let mut open = VecDeque::new();
    let mut worst = 0;
    for at in arrivals {
        open.push_back(at);
        expire(&mut open, at, per_us);
        worst = worst.max(open.len());
    }
    worst
}

fn expire(window: &mut VecDeque<u64>, now_us: u64, length_us: u64) {
    while window.front().is_some_and(|at| now_us.saturating_sub(*at) >= length_us) {
        window.pop_front();
    }
}

fn count(window: &VecDeque<u64>) -> u64 {
    u64::try_from(window.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    static UTC: TimeZone = TimeZone::UTC;

    fn arrival(at_us: u64, limits: Limits, refused_count: bool) -> Arrival<'static> {
        let now = Timestamp::UNIX_EPOCH;
        Arrival { at_us, now, zone: &UTC, limits, neighbour: Neighbour::default(), refused_count }
    }

    #[test]
    fn the_window_rolls() {
        let limits = Limits { requests: 2, per_ms: 10, ..Limits::default() };
        let mut quota = Quota::default();
        assert_eq!(quota.take(arrival(0, limits, false)), Ok(()));
        assert_eq!(quota.take(arrival(6_000, limits, false)), Ok(()));
        assert_eq!(quota.take(arrival(9_999, limits, false)), Err(Exceeded::Interval));
        assert_eq!(quota.take(arrival(10_000, limits, false)), Ok(()), "the first has left");
        assert_eq!(quota.take(arrival(15_999, limits, false)), Err(Exceeded::Interval));
        assert_eq!(quota.standing(limits).remaining, 0);
    }

    #[test]
    fn refused_requests_may_count_too() {
        let limits = Limits { requests: 1, per_ms: 10, ..Limits::default() };
        let mut quota = Quota::default();
        assert_eq!(quota.take(arrival(0, limits, true)), Ok(()));
        assert_eq!(quota.take(arrival(9_000, limits, true)), Err(Exceeded::Interval));
        assert_eq!(
            quota.take(arrival(12_000, limits, true)),
            Err(Exceeded::Interval),
            "the refused one counts"
        );
        assert_eq!(quota.used_today(), 3);
    }

    #[test]
    fn a_search_costs_the_day_but_not_the_interval() {
        let limits = Limits { searches_per_second: 1, daily: 2, ..Limits::default() };
        let mut quota = Quota::default();
        assert_eq!(quota.take_search(arrival(0, limits, true)), Ok(()));
        assert_eq!(quota.take_search(arrival(1, limits, true)), Err(Exceeded::Search));
        assert_eq!(quota.standing(limits).remaining, limits.requests);
        assert_eq!(quota.take(arrival(2, limits, true)), Err(Exceeded::Daily));
        quota.midnight();
        assert_eq!(quota.take(arrival(3, limits, true)), Ok(()));
    }

    #[test]
    fn a_neighbour_uses_the_quota_evenly_or_in_bursts() {
        let limits = Limits { requests: 10, per_ms: 10, ..Limits::default() };
        for (burst, left) in [(1, [9, 6, 3, 4]), (3, [7, 7, 4, 4]), (6, [4, 4, 4, 4])] {
            let mut quota = Quota::default();
            let neighbour = Neighbour { requests: 6, burst };
            let left_at = [0, 4_999, 9_999, 15_000].map(|at_us| {
                quota.catch_up(Arrival { neighbour, ..arrival(at_us, limits, true) });
                quota.turn(arrival(at_us, limits, true));
                quota.standing(limits).remaining
            });
            assert_eq!(left_at, left, "in bursts of {burst}");
        }
    }

    #[test]
    fn the_worst_window_is_half_open() {
        assert_eq!(worst_window([].into_iter(), 10), 0);
        assert_eq!(worst_window([0, 10, 20].into_iter(), 10), 1);
        assert_eq!(worst_window([0, 9, 10, 11, 30].into_iter(), 10), 3);
    }

    #[test]
    fn the_day_ends_at_the_accounts_midnight() {
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        let now: Timestamp = "2026-03-01T02:00:00Z".parse().unwrap();
        assert_eq!(next_midnight(now, &zone).to_string(), "2026-03-01T05:00:00Z");
    }
}
