//! The account's quotas: requests per rolling interval, per day from midnight to midnight, and searches per second.
//! Pure; times are arguments.

use std::collections::VecDeque;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::behaviour::{Limits, OtherIntegration};
use super::wire::ErrorBody;

/// The limit that a rejected request exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    Interval,
    Daily,
    Search,
}

/// The used quota.
#[derive(Debug, Default)]
pub(super) struct Quota {
    /// Arrivals that still count in the rolling interval, in microseconds since the start.
    interval: VecDeque<u64>,
    searches: VecDeque<u64>,
    day: Option<Date>,
    used_today: u64,
    /// When the next requests of the other integration arrive, in microseconds since the start.
    neighbour_due: Option<u64>,
}

/// The values of the rate limit headers of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RemainingQuota {
    pub(super) limits: Limits,
    pub(super) remaining: u64,
    pub(super) daily_remaining: u64,
}

/// A request, with what the quota needs to know.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) at_us: u64,
    pub(super) now: Timestamp,
    pub(super) zone: &'a TimeZone,
    pub(super) limits: Limits,
    pub(super) neighbour: OtherIntegration,
    /// Whether rejected requests count too.
    pub(super) refused_count: bool,
}

impl Quota {
    /// Counts one request towards the interval and the day.
    ///
    /// # Errors
    /// The limit that it exceeds.
    pub(super) fn take(&mut self, arrival: Arrival<'_>) -> Result<(), Exceeded> {
        self.count_other_integration(arrival);
        self.take_one(arrival)
    }

    /// Counts the requests that the other integration has made since the last call.
    fn count_other_integration(&mut self, arrival: Arrival<'_>) {
        let OtherIntegration { requests, burst } = arrival.neighbour;
        let burst = burst.max(1);
        let period = arrival.limits.per_ms.saturating_mul(1_000).saturating_mul(burst).checked_div(requests);
        let Some(period) = period else {
            self.neighbour_due = None;
            return;
        };
        let mut due = self.neighbour_due.unwrap_or(arrival.at_us);
        while due <= arrival.at_us {
            for _ in 0..burst {
                // The other integration ignores a 429.
                let _refused = self.take_one(Arrival { at_us: due, ..arrival });
            }
            due = due.saturating_add(period.max(1));
        }
        self.neighbour_due = Some(due);
    }

    fn take_one(&mut self, arrival: Arrival<'_>) -> Result<(), Exceeded> {
        self.advance(arrival);
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

    /// Counts one search towards the second and the day; searches do not count towards the interval.
    ///
    /// # Errors
    /// The limit that it exceeds.
    pub(super) fn take_search(&mut self, arrival: Arrival<'_>) -> Result<(), Exceeded> {
        self.advance(arrival);
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

    /// Removes requests that have left the windows; resets the day after midnight.
    fn advance(&mut self, arrival: Arrival<'_>) {
        let per_us = arrival.limits.per_ms.saturating_mul(1_000);
        expire(&mut self.interval, arrival.at_us, per_us);
        expire(&mut self.searches, arrival.at_us, 1_000_000);
        let today = arrival.now.to_zoned(arrival.zone.clone()).date();
        if self.day != Some(today) {
            self.day = Some(today);
            self.used_today = 0;
        }
    }

    /// The quota that is left after the last request.
    pub(super) fn remaining(&self, limits: Limits) -> RemainingQuota {
        RemainingQuota {
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
    pub(super) fn reset_day(&mut self) {
        self.used_today = 0;
    }
}

impl RemainingQuota {
    /// The rate limit headers. With OAuth there are no daily ones; a search has only the daily ones.
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
    /// The body of the 429 for this limit.
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

/// The account's next midnight, when the daily quota is reset.
pub(super) fn next_midnight(now: Timestamp, zone: &TimeZone) -> Timestamp {
    now.to_zoned(zone.clone())
        .checked_add(1.day())
        .and_then(|tomorrow| tomorrow.start_of_day())
        .map_or(now, |midnight| midnight.timestamp())
}

/// The highest number of arrivals in any rolling window of `per_us`. The window is half open: it never contains two
/// arrivals exactly `per_us` apart. `arrivals` must be in ascending order.
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
        Arrival { at_us, now, zone: &UTC, limits, neighbour: OtherIntegration::default(), refused_count }
    }

    #[test]
    fn requests_leave_the_rolling_window() {
        let limits = Limits { requests: 2, per_ms: 10, ..Limits::default() };
        let mut quota = Quota::default();
        assert_eq!(quota.take(arrival(0, limits, false)), Ok(()));
        assert_eq!(quota.take(arrival(6_000, limits, false)), Ok(()));
        assert_eq!(quota.take(arrival(9_999, limits, false)), Err(Exceeded::Interval));
        assert_eq!(quota.take(arrival(10_000, limits, false)), Ok(()), "the first has left");
        assert_eq!(quota.take(arrival(15_999, limits, false)), Err(Exceeded::Interval));
        assert_eq!(quota.remaining(limits).remaining, 0);
    }

    #[test]
    fn rejected_requests_count_if_enabled() {
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
    fn search_counts_towards_the_day_but_not_the_interval() {
        let limits = Limits { searches_per_second: 1, daily: 2, ..Limits::default() };
        let mut quota = Quota::default();
        assert_eq!(quota.take_search(arrival(0, limits, true)), Ok(()));
        assert_eq!(quota.take_search(arrival(1, limits, true)), Err(Exceeded::Search));
        assert_eq!(quota.remaining(limits).remaining, limits.requests);
        assert_eq!(quota.take(arrival(2, limits, true)), Err(Exceeded::Daily));
        quota.reset_day();
        assert_eq!(quota.take(arrival(3, limits, true)), Ok(()));
    }

    #[test]
    fn other_integration_uses_the_quota_evenly_or_in_bursts() {
        let limits = Limits { requests: 10, per_ms: 10, ..Limits::default() };
        for (burst, left) in [(1, [9, 6, 3, 4]), (3, [7, 7, 4, 4]), (6, [4, 4, 4, 4])] {
            let mut quota = Quota::default();
            let neighbour = OtherIntegration { requests: 6, burst };
            let left_at = [0, 4_999, 9_999, 15_000].map(|at_us| {
                quota.count_other_integration(Arrival { neighbour, ..arrival(at_us, limits, true) });
                quota.advance(arrival(at_us, limits, true));
                quota.remaining(limits).remaining
            });
            assert_eq!(left_at, left, "in bursts of {burst}");
        }
    }

    #[test]
    fn worst_window_is_half_open() {
        assert_eq!(worst_window([].into_iter(), 10), 0);
        assert_eq!(worst_window([0, 10, 20].into_iter(), 10), 1);
        assert_eq!(worst_window([0, 9, 10, 11, 30].into_iter(), 10), 3);
    }

    #[test]
    fn day_ends_at_the_accounts_midnight() {
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        let now: Timestamp = "2026-03-01T02:00:00Z".parse().unwrap();
        assert_eq!(next_midnight(now, &zone).to_string(), "2026-03-01T05:00:00Z");
    }
}
