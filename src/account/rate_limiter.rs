//! Keeps requests within the account's quota. The only place that waits for a permit.
//!
//! **Why the quota is never exceeded.** There is one slot per request that a window may contain. A request takes a slot
//! before it is sent and returns it one window after its response began to arrive. Take any window that ends now: each
//! request that HubSpot received in it either got its response within the window or is still open. So each of them has
//! a slot now, and there are only as many slots as the quota allows. This holds for rolling and for fixed windows, for
//! any network delay and for any clock. It costs one round trip per window.
//!
//! **Why the quota is used fully.** A slot is reserved shortly before it is usable. The claim is made in that time, so
//! the request is sent as soon as the slot is usable.
//!
//! **Where other integrations use the same account**, `policy::quota_share` derives from HubSpot's headers how many slots
//! this instance may use, and the time between two requests.
//!
//! The `governor` crate limits bursts: the requests of a full window are sent over at least a tenth of the window, which
//! spares HubSpot and the database.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use governor::Quota;
use governor::clock::{Clock, MonotonicClock};
use governor::state::{InMemoryState, NotKeyed};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::slots::{Slot, SlotUsage, Slots};
use crate::config::RateLimit;
use crate::hubspot::api::response::Exchange;
use crate::policy::gate::Reason;
use crate::policy::quota_share::{OwnRequests, QuotaNotice, QuotaShare};
use crate::policy::signal::Signal;
use crate::telemetry::events;

mod slots;

/// Grants permits to send one request each.
#[derive(Debug)]
pub struct RateLimiter {
    slots: Slots,
    /// Limits the number of open requests.
    open_requests: Arc<Semaphore>,
    max_open: usize,
    burst_limiter: governor::RateLimiter<NotKeyed, InMemoryState, MonotonicClock>,
    quota_share: Mutex<QuotaShare>,
    /// The earliest time of the next request, where requests are spread over the window.
    next_send_at: Mutex<Instant>,
    per: Duration,
}

/// A permit that becomes usable shortly.
#[derive(Debug)]
pub struct ReservedPermit {
    permit: Permit,
    usable_at: Instant,
}

/// Permission to send one request. After use, its slot stays in use for one window: from the response, or from the drop
/// of the permit if there was no response.
#[derive(Debug)]
pub struct Permit {
    slot: Option<Slot>,
    /// One of the limited number of open requests.
    _open_request: Option<OwnedSemaphorePermit>,
    per: Duration,
    answered_at: Option<Instant>,
    granted_at: Instant,
    /// The slots in use when it was granted.
    usage_at_grant: SlotUsage,
    /// The open requests when it was granted.
    open_at_grant: usize,
    /// How long the request waited for it.
    waited: Duration,
}

/// The requests of a full window are sent over at least this fraction (1/n) of the window.
const BURST_DIVISOR: u32 = 10;
/// How long before its use a permit may be reserved: longer than a claim usually takes.
const RESERVE_AHEAD: Duration = Duration::from_millis(20);

impl RateLimiter {
    /// Permits `rate_limit.requests` in any window of `rate_limit.per`, and at most `max_open` at once.
    #[must_use]
    pub fn new(rate_limit: RateLimit, max_open: usize) -> Self {
        let RateLimit { requests, per, .. } = rate_limit;
        let requests = requests.max(1);
        let period = (per / requests / BURST_DIVISOR).max(Duration::from_nanos(1));
        let burst = NonZeroU32::new(requests / BURST_DIVISOR).unwrap_or(NonZeroU32::MIN);
        // `with_period` fails only for a period of zero.
        let quota = Quota::with_period(period).unwrap_or(Quota::per_second(burst)).allow_burst(burst);
        Self {
            slots: Slots::new(requests as usize),
            open_requests: Arc::new(Semaphore::new(max_open)),
            max_open,
            burst_limiter: governor::RateLimiter::direct_with_clock(quota, MonotonicClock),
            quota_share: Mutex::new(QuotaShare::new(requests, per)),
            next_send_at: Mutex::new(Instant::now()),
            per,
        }
    }

    /// Waits for permission to send one request. Cancel-safe.
    pub async fn acquire(&self) -> Permit {
        self.reserve().await.wait_until_usable().await
    }

    /// Waits for a permit that becomes usable shortly. Cancel-safe.
    pub async fn reserve(&self) -> ReservedPermit {
        let began = Instant::now();
        // `ok`: acquiring fails only for a closed semaphore, and this one is never closed.
        let open_request = Arc::clone(&self.open_requests).acquire_owned().await.ok();
        let (slot, usage) = self.slots.take(RESERVE_AHEAD).await;
        let usable_at = self.spread(usage.in_use, slot.usable_at());
        sleep(usable_at.saturating_duration_since(Instant::now()).saturating_sub(RESERVE_AHEAD)).await;
        while let Err(early) = self.burst_limiter.check() {
            tokio::time::sleep(early.wait_time_from(MonotonicClock.now())).await;
        }
        ReservedPermit { permit: self.permit(slot, usage, open_request, began.elapsed()), usable_at }
    }

    /// A permit that can be used now, if there is one. Where the quota is shared, requests are spread over the window, so
    /// there is none.
    pub fn reserve_if_free(&self) -> Option<ReservedPermit> {
        let open_request = Arc::clone(&self.open_requests).try_acquire_owned().ok()?;
        let (slot, usage) = self.slots.take_if_free()?;
        let in_use = u32::try_from(usage.in_use).unwrap_or(u32::MAX);
        if !self.quota_share().spacing(in_use).is_zero() || self.burst_limiter.check().is_err() {
            return None;
        }
        let usable_at = slot.usable_at();
        let permit = self.permit(slot, usage, Some(open_request), Duration::ZERO);
        Some(ReservedPermit { permit, usable_at })
    }

    fn permit(
        &self,
        slot: Slot,
        usage: SlotUsage,
        open_request: Option<OwnedSemaphorePermit>,
        waited: Duration,
    ) -> Permit {
        Permit {
            slot: Some(slot),
            _open_request: open_request,
            per: self.per,
            answered_at: None,
            granted_at: Instant::now(),
            usage_at_grant: usage,
            open_at_grant: self.open_requests(),
            waited,
        }
    }

    /// The time of a request that could be sent at `earliest` while `in_use` slots are in use: late enough after the
    /// request before it.
    fn spread(&self, in_use: usize, earliest: Instant) -> Instant {
        let spacing = self.quota_share().spacing(u32::try_from(in_use).unwrap_or(u32::MAX));
        let mut next_send_at = self.next_send_at.lock().unwrap_or_else(PoisonError::into_inner);
        let at = if spacing.is_zero() { earliest } else { (*next_send_at).max(earliest) };
        *next_send_at = at + spacing;
        at
    }

    fn quota_share(&self) -> MutexGuard<'_, QuotaShare> {
        self.quota_share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of requests allowed in a window at present.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.quota_share().limit()
    }

    /// Leaves so many requests of each window to commands of course-sync, such as `audit`. True if the number is new.
    pub fn set_reserved(&self, requests: u32) -> bool {
        let mut share = self.quota_share();
        if share.reserved() == requests {
            return false;
        }
        share.set_reserved(requests);
        self.slots.set_limit(share.limit() as usize);
        true
    }

    /// The requests of each window that are left to commands.
    #[must_use]
    pub fn reserved(&self) -> u32 {
        self.quota_share().reserved()
    }

    /// Applies the quota headers of a request that has ended, and takes back its permit. `signal`: what its end shows
    /// about the account.
    pub fn record_end(&self, mut permit: Permit, exchange: &Exchange, signal: &Signal) {
        match exchange {
            Exchange::NotSent(_) => return permit.release_unused(),
            Exchange::NoAnswer(_) => {}
            Exchange::Answered { meta, .. } => {
                permit.answered_at = meta.answered_at;
                let (now, mut share) = (Instant::now(), self.quota_share());
                let notice = share.observe_headers(&meta.quota, self.own_requests(&permit), now);
                if matches!(signal, Signal::Pause(incident) if incident.reason == Reason::IntervalQuota) {
                    share.observe_refusal(permit.granted_at, now);
                }
                self.slots.set_limit(share.limit() as usize);
                drop(share);
                if let Some(notice) = notice {
                    log_notice(notice);
                }
            }
        }
        drop(permit);
    }

    /// Our own requests in the window of this response: at most those that had a slot when its permit was granted, and
    /// those granted since. HubSpot may not have counted up to twice the requests in flight: some have not arrived yet, and
    /// some have a slot for longer than HubSpot counts them.
    fn own_requests(&self, permit: &Permit) -> OwnRequests {
        let since = self.slots.usage().granted - permit.usage_at_grant.granted;
        OwnRequests {
            at_most: saturate(permit.usage_at_grant.in_use as u64 + since),
            uncertain: saturate(2 * (since + permit.open_at_grant as u64)),
        }
    }

    /// The largest number of open requests.
    #[must_use]
    pub fn max_open_requests(&self) -> usize {
        self.max_open
    }

    /// The number of open requests.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.max_open.saturating_sub(self.open_requests.available_permits())
    }

    /// The number of requests that were sent so far, if none is open now; else `None`. As long as it is the same, nothing
    /// was sent in between.
    #[must_use]
    pub fn sent_while_idle(&self) -> Option<u64> {
        let ended = self.slots.ended();
        // Read in this order: a request that begins or ends in between is seen.
        (self.open_requests() == 0 && self.slots.ended() == ended).then_some(ended)
    }

    /// The number of requests that count in the current window, open ones included.
    #[must_use]
    pub fn requests_in_window(&self) -> usize {
        self.slots.usage().in_use
    }

    /// The number of requests that count in the current window, and how many it may contain at present.
    #[must_use]
    pub fn usage(&self) -> (u32, u32) {
        (saturate(self.requests_in_window() as u64), self.limit())
    }

    /// Counts requests that other instances sent, each for the given time.
    pub fn count_requests(&self, requests: Vec<Duration>) {
        let now = Instant::now();
        for left in requests {
            self.slots.count_request(now + left);
        }
    }
}

fn saturate(requests: u64) -> u32 {
    u32::try_from(requests).unwrap_or(u32::MAX)
}

/// Logs a change of the quota share.
fn log_notice(notice: QuotaNotice) {
    match notice {
        QuotaNotice::Reduced { max, interval, allowed } => tracing::warn!(
            event = events::RATE_LIMIT_REDUCED,
            max,
            ?interval,
            allowed,
            hint = "set rate_limit.requests and rate_limit.per to what the account allows",
            "rate limit reduced"
        ),
        QuotaNotice::Shared { other_requests: others } => {
            tracing::info!(event = events::QUOTA_SHARE_REDUCED, others, "quota share reduced");
        }
        QuotaNotice::Unshared => tracing::info!(event = events::QUOTA_SHARE_RESTORED, "quota share restored"),
    }
}

impl ReservedPermit {
    /// Waits until the request may be sent.
    pub async fn wait_until_usable(self) -> Permit {
        sleep_until_precisely(self.usable_at).await;
        self.permit
    }

    /// How long the request waited for it.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.permit.waited
    }

    /// Returns the permit. No request was sent, so nothing counts.
    pub fn release_unused(self) {
        self.permit.release_unused();
    }
}

impl Permit {
    /// Returns the permit. No request was sent, so nothing counts.
    pub fn release_unused(mut self) {
        self.slot = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.end_request(self.answered_at.unwrap_or_else(Instant::now) + self.per);
        }
    }
}

/// How late a tokio timer may fire: its clock and its wait each have a resolution of a millisecond.
const TIMER_ERROR: Duration = Duration::from_millis(2);

/// Sleeps. Unlike tokio's sleep, it does not turn zero into a millisecond.
async fn sleep(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Waits until this time: never less, and at most a fraction of a millisecond longer.
pub async fn sleep_until_precisely(at: Instant) {
    sleep(at.saturating_duration_since(Instant::now()).saturating_sub(TIMER_ERROR)).await;
    loop {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "on a blocking thread, where the system's sleep is more precise than tokio's timer"
        )]
        let slept = tokio::task::spawn_blocking(move || std::thread::sleep(left));
        // While the runtime shuts down, no blocking thread starts.
        if slept.await.is_err() {
            tokio::time::sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Percent;
    use crate::hubspot::api::response::{Body, Meta, Unreadable};

    const PER: Duration = Duration::from_secs(10);

    fn limiter(requests: u32) -> RateLimiter {
        RateLimiter::new(RateLimit { requests, per: PER, daily_reserve: Percent::ZERO }, 8)
    }

    #[tokio::test]
    async fn a_used_permit_counts_for_a_window_and_an_unused_one_does_not() {
        let limiter = limiter(2);
        drop(limiter.acquire().await);
        limiter.acquire().await.release_unused();
        drop(limiter.acquire().await);
        assert_eq!(limiter.requests_in_window(), 2);
        assert_eq!(limiter.open_requests(), 0);
        assert!(limiter.slots.try_take(RESERVE_AHEAD).is_err());
    }

    #[tokio::test]
    async fn requests_of_other_instances_count() {
        let limiter = limiter(3);
        limiter.count_requests(vec![PER; 5]);
        assert_eq!(limiter.requests_in_window(), 3);
        assert!(limiter.slots.try_take(RESERVE_AHEAD).is_err());
    }

    #[tokio::test]
    async fn a_slot_is_free_one_window_after_the_response_arrived() {
        let limiter = limiter(1);
        let permit = limiter.acquire().await;
        let nearly_a_window = PER.checked_sub(RESERVE_AHEAD).unwrap();
        let answered_at = Instant::now().checked_sub(nearly_a_window).unwrap();
        let meta = Meta { status: 201, answered_at: Some(answered_at), ..Meta::default() };
        let exchange = Exchange::Answered { meta, body: Body::Unreadable(Unreadable::Empty) };
        limiter.record_end(permit, &exchange, &Signal::Passed);
        let next = limiter.reserve().await;
        assert!(next.usable_at >= answered_at + PER);
        drop(next.wait_until_usable().await);
        assert!(Instant::now() >= answered_at + PER);
    }
}
