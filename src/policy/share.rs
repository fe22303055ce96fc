//! How much of the account's window is ours, where others share it.
//!
//! HubSpot's headers are advice: they may lower the number of requests in a window below the configured one,
//! and never raise it above. `Remaining` counts everybody's requests; what is not ours is others'. Imports
//! `answer` only.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::answer::QuotaHeaders;

/// How many requests a window may hold at present.
#[derive(Debug, Clone)]
pub struct Share {
    configured: u32,
    per: Duration,
    /// What the account allows in a window of `per`, and its own number of it, as its headers say.
    account: Option<Account>,
    /// What others used of the window, by the answers of the last one: falling values, the highest first.
    others: VecDeque<(Instant, u32)>,
    /// What refusals have taught; `configured` where there were none.
    ceiling: u32,
    /// When the ceiling last moved.
    moved_at: Option<Instant>,
    said_fewer: Option<u32>,
    said_shared: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Account {
    max: u32,
    /// Whether its window is as long as ours, so that the two can be compared.
    same_window: bool,
    allowed: u32,
}

/// Our own requests in the window of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ours {
    /// So many of ours HubSpot may have counted when it answered.
    pub at_most: u32,
    /// So many of these it may not have counted: they were under way, or had just left the window.
    pub uncertain: u32,
}

/// What is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The account allows fewer requests than are configured.
    Fewer {
        /// Requests that it allows in `interval`.
        max: u32,
        /// The account's own window.
        interval: Duration,
        /// Requests that are sent in a window of ours at most.
        allowed: u32,
    },
    /// Others use so much of the window that we send fewer requests.
    Shared {
        /// Requests of others in a window.
        others: u32,
    },
    /// Others no longer do.
    Alone,
}

/// The part of an even distance that is kept between two requests: less than all of it, so that a delay can be
/// made good; and less still where nobody else is known.
const APART: f64 = 0.8;
const APART_ALONE: f64 = 0.5;

impl Share {
    /// All of it: `configured` requests in any window of length `per`.
    #[must_use]
    pub fn new(configured: u32, per: Duration) -> Self {
        let configured = configured.max(1);
        Self {
            configured,
            per,
            account: None,
            others: VecDeque::new(),
            ceiling: configured,
            moved_at: None,
            said_fewer: None,
            said_shared: false,
        }
    }

    /// Requests that a window may hold: at least one, so that the next answer can say more.
    #[must_use]
    pub fn limit(&self) -> u32 {
        let room = match self.account {
            Some(account) => account.allowed.saturating_sub(self.others()),
            None => self.configured,
        };
        self.configured.min(room).min(self.ceiling).max(1)
    }

    /// Whether others use the same window, as far as can be told.
    fn is_shared(&self) -> bool {
        self.others() > 0 || self.ceiling < self.configured
    }

    /// How far to keep the next request from the one before it, while `held` of the window's are taken. Half a
    /// window may go at once; the rest is spread over all of it, and everything is where others share it. So
    /// answers keep telling how the window stands, and little is under way whenever it turns out to be full.
    #[must_use]
    pub fn apart(&self, held: u32) -> Duration {
        let part = match (self.is_shared(), held > self.limit() / 2) {
            (true, _) => APART,
            (false, true) => APART_ALONE,
            (false, false) => 0.0,
        };
        (self.per / self.limit()).mul_f64(part)
    }

    /// The most that others used within the last window.
    fn others(&self) -> u32 {
        self.others.front().map_or(0, |(_, others)| *others)
    }

    /// Takes in the headers of an answer.
    pub fn heard(&mut self, quota: &QuotaHeaders, ours: Ours, now: Instant) -> Option<News> {
        self.rise(now);
        let max = quota.max.filter(|max| *max > 0)?;
        let interval = quota.interval_ms.map_or(self.per, Duration::from_millis);
        let account =
            Account { max, same_window: interval == self.per, allowed: self.allowed(max, interval) };
        self.account = Some(account);
        if let Some(remaining) = quota.remaining.filter(|remaining| account.same_window && *remaining <= max)
        {
            let others = (max - remaining).saturating_sub(ours.at_most);
            // Certainly somebody: then perhaps more than that. Certainly nobody: not to be invented.
            let others = if others == 0 { 0 } else { others.saturating_add(ours.uncertain).min(max) };
            self.note(others, now);
        }
        self.news(account, interval)
    }

    /// Requests in a window of ours that exceed no window of the account's.
    fn allowed(&self, max: u32, interval: Duration) -> u32 {
        let ours_in_one = interval.as_millis().div_ceil(self.per.as_millis().max(1)).max(1);
        u32::try_from(u128::from(max) / ours_in_one).unwrap_or(max).max(1)
    }

    fn note(&mut self, others: u32, now: Instant) {
        // Knowledge ends with newer knowledge, never by silence.
        self.others.retain(|(at, before)| now.saturating_duration_since(*at) < self.per && *before > others);
        self.others.push_back((now, others));
    }

    /// The request that began at `sent_at` was refused for the window's quota.
    pub fn refused(&mut self, sent_at: Instant, now: Instant) {
        // Several that were under way together are one refusal.
        if self.moved_at.is_none_or(|moved| sent_at >= moved) {
            self.ceiling = (u64::from(self.limit()) * 9 / 10).try_into().unwrap_or(self.ceiling).max(1);
            self.moved_at = Some(now);
        }
    }

    /// A window without refusal gives back half of what refusals took.
    fn rise(&mut self, now: Instant) {
        let is_due = self.moved_at.is_some_and(|moved| now.saturating_duration_since(moved) >= self.per);
        if self.ceiling < self.configured && is_due {
            self.ceiling += (self.configured - self.ceiling).div_ceil(2);
            self.moved_at = Some(now);
        }
    }

    fn news(&mut self, account: Account, interval: Duration) -> Option<News> {
        if account.allowed < self.configured && self.said_fewer != Some(account.max) {
            self.said_fewer = Some(account.max);
            return Some(News::Fewer { max: account.max, interval, allowed: account.allowed });
        }
        let (alone, limit) = (self.configured.min(account.allowed), self.limit());
        if !self.said_shared && self.others() > 0 && limit <= alone - alone / 10 && limit < alone {
            self.said_shared = true;
            return Some(News::Shared { others: self.others() });
        }
        if self.said_shared && self.others() == 0 {
            self.said_shared = false;
            return Some(News::Alone);
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

    fn ours(at_most: u32) -> Ours {
        Ours { at_most, uncertain: 0 }
    }

    #[test]
    fn headers_lower_the_limit_and_never_raise_it() {
        for (what, configured, max, remaining, interval_ms, ours_in_it, limit) in [
            ("alone", 190, 190, 189, 10_000, 1, 190),
            ("alone, and at the end of the window", 190, 190, 0, 10_000, 190, 190),
            ("an answer that overtook others", 190, 190, 180, 10_000, 50, 190),
            ("others use 114", 190, 190, 66, 10_000, 10, 76),
            ("others use it all", 190, 190, 0, 10_000, 0, 1),
            ("the account allows more", 190, 250, 240, 10_000, 10, 190),
            ("others fit into what is left to them", 100, 190, 100, 10_000, 10, 100),
            ("others do not quite", 100, 190, 60, 10_000, 10, 70),
            ("the account allows fewer", 190, 100, 99, 10_000, 1, 100),
            ("fewer, and others", 190, 100, 39, 10_000, 1, 40),
            ("rubbish: more is left than there is", 190, 100, 4_000_000, 10_000, 1, 100),
            ("rubbish: nothing is allowed", 190, 0, 0, 10_000, 1, 190),
            ("a longer window than ours", 190, 100, 99, 20_000, 1, 50),
            ("one that is not a multiple", 190, 100, 99, 25_000, 1, 33),
            ("a shorter one", 190, 100, 99, 1_000, 1, 100),
            ("windows that differ say nothing of others", 190, 1_000, 0, 1_000, 1, 190),
        ] {
            let mut share = Share::new(configured, PER);
            share.heard(&headers(max, remaining, interval_ms), ours(ours_in_it), Instant::now());
            assert_eq!(share.limit(), limit, "{what}");
        }
    }

    #[test]
    fn an_answer_without_these_headers_changes_nothing() {
        let (mut share, now) = (Share::new(190, PER), Instant::now());
        share.heard(&headers(190, 66, 10_000), ours(10), now);
        assert_eq!(share.heard(&QuotaHeaders::default(), ours(10), now + PER * 3), None);
        assert_eq!(share.limit(), 76);
    }

    #[test]
    fn what_may_not_have_been_counted_is_left_to_others() {
        let mut share = Share::new(190, PER);
        share.heard(&headers(190, 66, 10_000), Ours { at_most: 10, uncertain: 4 }, Instant::now());
        assert_eq!(share.limit(), 72);
    }

    #[test]
    fn the_busiest_moment_of_the_last_window_counts() {
        let (mut share, start) = (Share::new(190, PER), Instant::now());
        let mut limits = Vec::new();
        for (after, remaining) in [(0, 100), (1, 60), (5, 150), (10, 160), (11, 160), (15, 190)] {
            share.heard(&headers(190, remaining, 10_000), ours(0), start + Duration::from_secs(after));
            limits.push(share.limit());
        }
        assert_eq!(limits, [100, 60, 60, 60, 150, 160]);
    }

    #[test]
    fn refusals_narrow_and_clean_windows_widen_again() {
        let (mut share, before) = (Share::new(190, PER), Instant::now());
        let mut now = before + Duration::from_secs(1);
        share.refused(now, now);
        share.refused(before, now);
        assert_eq!(share.limit(), 171, "those that were under way together are one");
        assert!(share.is_shared());
        let mut limits = Vec::new();
        while share.limit() < 190 {
            now += PER;
            share.heard(&headers(190, 190, 10_000), ours(0), now);
            limits.push(share.limit());
        }
        assert_eq!(limits, [181, 186, 188, 189, 190]);
        assert!(!share.is_shared());
    }

    #[test]
    fn half_a_window_may_go_at_once_unless_others_share_it() {
        let mut share = Share::new(190, PER);
        let even = (PER / 190).mul_f64(APART_ALONE);
        let apart = [0, 95, 96, 190].map(|held| share.apart(held));
        assert_eq!(apart, [Duration::ZERO, Duration::ZERO, even, even]);
        share.heard(&headers(190, 66, 10_000), ours(10), Instant::now());
        assert_eq!(share.apart(0), (PER / 76).mul_f64(APART));
    }

    #[test]
    fn each_piece_of_news_is_told_once() {
        let (mut share, start) = (Share::new(190, PER), Instant::now());
        let mut hear = |max, remaining, after| {
            share.heard(&headers(max, remaining, 10_000), ours(0), start + Duration::from_secs(after))
        };
        let fewer = |max| Some(News::Fewer { max, interval: PER, allowed: max });
        assert_eq!(hear(100, 100, 0), fewer(100));
        assert_eq!(hear(100, 100, 1), None);
        assert_eq!(hear(100, 95, 2), None, "too few to be told of");
        assert_eq!(hear(100, 40, 3), Some(News::Shared { others: 60 }));
        assert_eq!(hear(100, 30, 4), None);
        assert_eq!(hear(100, 100, 30), Some(News::Alone));
        assert_eq!(hear(90, 90, 31), fewer(90));
    }
}
