//! The share of the account's quota that this integration may use, where other integrations use the same account. Pure.
//!
//! HubSpot's headers may lower the number of requests per window below the configured one, and never raise it. HubSpot's
//! `Remaining` counts the requests of all integrations. Those that this integration did not send are from others.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::hubspot::api::response::QuotaHeaders;

/// How many requests a window may contain at present.
#[derive(Debug, Clone)]
pub struct QuotaShare {
    configured: u32,
    per: Duration,
    /// The requests that commands of course-sync have reserved.
    reserved: u32,
    /// The account's limit, from its headers.
    account: Option<AccountLimit>,
    /// The requests of other integrations, as the responses of the last window showed them: falling values, highest first.
    other_requests: VecDeque<(Instant, u32)>,
    /// The limit after refusals (429); `configured` if there were none.
    ceiling: u32,
    /// When the ceiling last changed.
    ceiling_changed_at: Option<Instant>,
    /// The account's limit in the last notice.
    reported_max: Option<u32>,
    /// The last notice reported that the quota is shared.
    reported_shared: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AccountLimit {
    max: u32,
    /// Whether its window is as long as the configured one, so that the counts can be compared.
    is_same_window: bool,
    /// The requests that it allows in the configured window.
    allowed: u32,
}

/// Our own requests in the window of one response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnRequests {
    /// The most that HubSpot may have counted when it answered.
    pub at_most: u32,
    /// Those of them that it may not have counted: they were in flight, or had just left the window.
    pub uncertain: u32,
}

/// A change of the share that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaNotice {
    /// The account allows fewer requests than are configured.
    Reduced {
        /// The requests that it allows in `interval`.
        max: u32,
        /// The account's own window.
        interval: Duration,
        /// The most requests that are sent in the configured window.
        allowed: u32,
    },
    /// Other integrations use so much of the quota that the limit is reduced.
    Shared {
        /// Requests of other integrations in a window.
        other_requests: u32,
    },
    /// Other integrations no longer use the quota.
    Unshared,
}

/// What a response showed about other integrations is forgotten after this many windows, even if later responses show
/// nothing about them.
const MAX_SAMPLE_WINDOWS: u32 = 6;

/// The least spacing between two requests, relative to an even spread over the window, if the quota is shared. Less than 1,
/// so that later requests can make up for a delay.
const SPACING_SHARED: f64 = 0.8;
/// The same if the quota is not shared.
const SPACING_UNSHARED: f64 = 0.5;

impl QuotaShare {
    /// The whole quota: `configured` requests in any window of length `per`.
    #[must_use]
    pub fn new(configured: u32, per: Duration) -> Self {
        let configured = configured.max(1);
        Self {
            configured,
            per,
            reserved: 0,
            account: None,
            other_requests: VecDeque::new(),
            ceiling: configured,
            ceiling_changed_at: None,
            reported_max: None,
            reported_shared: false,
        }
    }

    /// The number of requests allowed in a window: at least one, so that the next response can show more.
    #[must_use]
    pub fn limit(&self) -> u32 {
        // The requests of commands are among those of others, so the two reductions are not added.
        let (allowed, room) = match self.account {
            Some(account) => (account.allowed, account.allowed.saturating_sub(self.other_requests())),
            None => (self.configured, self.configured),
        };
        let unreserved = self.configured.min(allowed).saturating_sub(self.reserved);
        unreserved.min(room).min(self.ceiling).max(1)
    }

    /// Sets how many requests of each window are left to commands of course-sync, such as `audit`.
    pub fn set_reserved(&mut self, requests: u32) {
        self.reserved = requests;
    }

    /// The requests of each window that are left to commands.
    #[must_use]
    pub fn reserved(&self) -> u32 {
        self.reserved
    }

    /// Whether other integrations use the same quota, as far as is known.
    fn is_shared(&self) -> bool {
        self.other_requests() > 0 || self.ceiling < self.configured
    }

    /// The least time between two requests, while `in_use` slots of the window are in use. Half of the quota may be sent
    /// in a burst; the rest is spread over the window. If the quota is shared, all requests are spread: so responses keep
    /// showing how much is left, and few requests are in flight when it is used up.
    #[must_use]
    pub fn spacing(&self, in_use: u32) -> Duration {
        let factor = match (self.is_shared(), in_use > self.limit() / 2) {
            (true, _) => SPACING_SHARED,
            (false, true) => SPACING_UNSHARED,
            (false, false) => 0.0,
        };
        (self.per / self.limit()).mul_f64(factor)
    }

    /// The most requests of other integrations that the responses of the last window showed.
    fn other_requests(&self) -> u32 {
        self.other_requests.front().map_or(0, |(_, other_requests)| *other_requests)
    }

    /// Applies the headers of a response.
    pub fn observe_headers(
        &mut self,
        quota: &QuotaHeaders,
        own: OwnRequests,
        now: Instant,
    ) -> Option<QuotaNotice> {
        self.raise_ceiling(now);
        self.other_requests
            .retain(|(at, _)| now.saturating_duration_since(*at) < self.per * MAX_SAMPLE_WINDOWS);
        let max = quota.max.filter(|max| *max > 0)?;
        let interval = quota.interval_ms.map_or(self.per, Duration::from_millis);
        let account = AccountLimit {
            max,
            is_same_window: interval == self.per,
            allowed: self.allowed_in_window(max, interval),
        };
        self.account = Some(account);
        if let Some(remaining) =
            quota.remaining.filter(|remaining| account.is_same_window && *remaining <= max)
        {
            let other_requests = (max - remaining).saturating_sub(own.at_most);
            // If other integrations certainly sent requests, they may have sent more. Otherwise none are assumed.
            let other_requests =
                if other_requests == 0 { 0 } else { other_requests.saturating_add(own.uncertain).min(max) };
            self.add_sample(other_requests, now);
        }
        self.notice(account, interval)
    }

    /// The most requests in the configured window that never exceed the account's limit.
    fn allowed_in_window(&self, max: u32, interval: Duration) -> u32 {
        let windows = interval.as_millis().div_ceil(self.per.as_millis().max(1)).max(1);
        u32::try_from(u128::from(max) / windows).unwrap_or(max).max(1)
    }

    fn add_sample(&mut self, other_requests: u32, now: Instant) {
        // Without a response, the last state is assumed to continue.
        self.other_requests
            .retain(|(at, before)| now.saturating_duration_since(*at) < self.per && *before > other_requests);
        self.other_requests.push_back((now, other_requests));
    }

    /// Records that the request sent at `sent_at` was refused, because the window's quota was used up.
    pub fn observe_refusal(&mut self, sent_at: Instant, now: Instant) {
        // Refusals of requests that were in flight together count once.
        if self.ceiling_changed_at.is_none_or(|at| sent_at >= at) {
            self.ceiling = (u64::from(self.limit()) * 9 / 10).try_into().unwrap_or(self.ceiling).max(1);
            self.ceiling_changed_at = Some(now);
        }
    }

    /// After a window without refusals, undoes half of the reduction.
    fn raise_ceiling(&mut self, now: Instant) {
        let is_due = self.ceiling_changed_at.is_some_and(|at| now.saturating_duration_since(at) >= self.per);
        if self.ceiling < self.configured && is_due {
            self.ceiling += (self.configured - self.ceiling).div_ceil(2);
            self.ceiling_changed_at = Some(now);
        }
    }

    /// The change that must be logged, if any. Each is reported once.
    fn notice(&mut self, account: AccountLimit, interval: Duration) -> Option<QuotaNotice> {
        if account.allowed < self.configured && self.reported_max != Some(account.max) {
            self.reported_max = Some(account.max);
            return Some(QuotaNotice::Reduced { max: account.max, interval, allowed: account.allowed });
        }
        let (unshared, limit) = (self.configured.min(account.allowed), self.limit());
        let is_reduced = limit <= unshared - unshared / 10 && limit < unshared;
        if !self.reported_shared && self.other_requests() > 0 && is_reduced {
            self.reported_shared = true;
            return Some(QuotaNotice::Shared { other_requests: self.other_requests() });
        }
        if self.reported_shared && self.other_requests() == 0 {
            self.reported_shared = false;
            return Some(QuotaNotice::Unshared);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER: Duration = Duration::from_secs(10);

    fn headers(max: u32, remaining: u32, interval_ms: u64) -> QuotaHeaders {
        QuotaHeaders {
            max: Some(max),
            remaining: Some(remaining),
            interval_ms: Some(interval_ms),
            ..QuotaHeaders::default()
        }
    }

    fn own(at_most: u32) -> OwnRequests {
        OwnRequests { at_most, uncertain: 0 }
    }

    #[test]
    fn headers_lower_the_limit_and_never_raise_it() {
        for (name, configured, max, remaining, interval_ms, own_requests, limit) in [
            ("no others", 190, 190, 189, 10_000, 1, 190),
            ("no others, at the end of the window", 190, 190, 0, 10_000, 190, 190),
            ("a response that arrived before earlier ones", 190, 190, 180, 10_000, 50, 190),
            ("others use 114", 190, 190, 66, 10_000, 10, 76),
            ("others use all of it", 190, 190, 0, 10_000, 0, 1),
            ("the account allows more", 190, 250, 240, 10_000, 10, 190),
            ("others fit into the rest", 100, 190, 100, 10_000, 10, 100),
            ("others do not fit into the rest", 100, 190, 60, 10_000, 10, 70),
            ("the account allows fewer", 190, 100, 99, 10_000, 1, 100),
            ("fewer, and others", 190, 100, 39, 10_000, 1, 40),
            ("invalid: more is left than allowed", 190, 100, 4_000_000, 10_000, 1, 100),
            ("invalid: nothing is allowed", 190, 0, 0, 10_000, 1, 190),
            ("a longer window than the configured one", 190, 100, 99, 20_000, 1, 50),
            ("a window that is not a multiple", 190, 100, 99, 25_000, 1, 33),
            ("a shorter window", 190, 100, 99, 1_000, 1, 100),
            ("different windows show nothing about others", 190, 1_000, 0, 1_000, 1, 190),
        ] {
            let mut share = QuotaShare::new(configured, PER);
            share.observe_headers(&headers(max, remaining, interval_ms), own(own_requests), Instant::now());
            assert_eq!(share.limit(), limit, "{name}");
        }
    }

    #[test]
    fn responses_without_quota_headers_change_nothing_for_some_windows() {
        let (mut share, now) = (QuotaShare::new(190, PER), Instant::now());
        share.observe_headers(&headers(190, 66, 10_000), own(10), now);
        for (windows, limit) in [(3, 76), (5, 76), (6, 190)] {
            let later = now + PER * windows;
            assert_eq!(share.observe_headers(&QuotaHeaders::default(), own(10), later), None);
            assert_eq!(share.limit(), limit, "after {windows} windows");
        }
    }

    #[test]
    fn requests_that_hubspot_may_not_have_counted_reduce_the_limit() {
        let mut share = QuotaShare::new(190, PER);
        share.observe_headers(
            &headers(190, 66, 10_000),
            OwnRequests { at_most: 10, uncertain: 4 },
            Instant::now(),
        );
        assert_eq!(share.limit(), 72);
    }

    #[test]
    fn the_peak_of_other_requests_in_the_last_window_counts() {
        let (mut share, start) = (QuotaShare::new(190, PER), Instant::now());
        let mut limits = Vec::new();
        for (after, remaining) in [(0, 100), (1, 60), (5, 150), (10, 160), (11, 160), (15, 190)] {
            share.observe_headers(
                &headers(190, remaining, 10_000),
                own(0),
                start + Duration::from_secs(after),
            );
            limits.push(share.limit());
        }
        assert_eq!(limits, [100, 60, 60, 60, 150, 160]);
    }

    #[test]
    fn refusals_reduce_the_limit_and_clean_windows_raise_it() {
        let (mut share, before) = (QuotaShare::new(190, PER), Instant::now());
        let mut now = before + Duration::from_secs(1);
        share.observe_refusal(now, now);
        share.observe_refusal(before, now);
        assert_eq!(share.limit(), 171, "requests in flight together count once");
        assert!(share.is_shared());
        let mut limits = Vec::new();
        while share.limit() < 190 {
            now += PER;
            share.observe_headers(&headers(190, 190, 10_000), own(0), now);
            limits.push(share.limit());
        }
        assert_eq!(limits, [181, 186, 188, 189, 190]);
        assert!(!share.is_shared());
    }

    #[test]
    fn half_of_the_quota_may_be_sent_in_a_burst_unless_it_is_shared() {
        let mut share = QuotaShare::new(190, PER);
        let even = (PER / 190).mul_f64(SPACING_UNSHARED);
        let spacing = [0, 95, 96, 190].map(|in_use| share.spacing(in_use));
        assert_eq!(spacing, [Duration::ZERO, Duration::ZERO, even, even]);
        share.observe_headers(&headers(190, 66, 10_000), own(10), Instant::now());
        assert_eq!(share.spacing(0), (PER / 76).mul_f64(SPACING_SHARED));
    }

    #[test]
    fn reserved_requests_are_left_to_commands_and_counted_once() {
        let (mut share, now) = (QuotaShare::new(190, PER), Instant::now());
        share.set_reserved(19);
        assert_eq!(share.limit(), 171);
        // HubSpot counts the command's requests too.
        share.observe_headers(&headers(190, 161, 10_000), own(10), now);
        assert_eq!(share.limit(), 171);
        share.observe_headers(&headers(190, 130, 10_000), own(10), now);
        assert_eq!(share.limit(), 140, "and those of another integration");
        share.observe_headers(&headers(100, 90, 10_000), own(10), now + PER);
        assert_eq!(share.limit(), 81, "of what the account allows");
        share.set_reserved(0);
        assert_eq!(share.limit(), 100);
    }

    fn reduced(max: u32) -> QuotaNotice {
        QuotaNotice::Reduced { max, interval: PER, allowed: max }
    }

    #[test]
    fn each_change_is_reported_once() {
        let (mut share, start) = (QuotaShare::new(190, PER), Instant::now());
        let mut observe = |max, remaining, after| {
            share.observe_headers(
                &headers(max, remaining, 10_000),
                own(0),
                start + Duration::from_secs(after),
            )
        };
        assert_eq!(observe(100, 100, 0), Some(reduced(100)));
        assert_eq!(observe(100, 100, 1), None);
        assert_eq!(observe(100, 95, 2), None, "too few for a notice");
        assert_eq!(observe(100, 40, 3), Some(QuotaNotice::Shared { other_requests: 60 }));
        assert_eq!(observe(100, 30, 4), None);
        assert_eq!(observe(100, 100, 30), Some(QuotaNotice::Unshared));
        assert_eq!(observe(90, 90, 31), Some(reduced(90)));
    }
}
