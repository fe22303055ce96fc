//! The account's quota: the only place that waits for a permit.
//!
//! **Why it never overruns.** There are as many slots as requests may be made in a window. A request
//! holds one from before it is sent until a window's length after its answer. Whatever HubSpot received
//! within any window up to now was answered within that window or is still open, so it holds a slot
//! now; and there are no more slots than that. It holds for rolling and fixed windows, for any delay of
//! the network and any clock, and costs a round trip a window.
//!
//! governor shapes the burst in front of it: a window's worth of requests is spread over a tenth of
//! the window at least, so that neither HubSpot nor the database meets it in one instant.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::{Clock, MonotonicClock};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Hands out permits to send one request each.
#[derive(Debug)]
pub struct Pace {
    slots: Arc<Semaphore>,
    requests: usize,
    open: Arc<Semaphore>,
    max_open: usize,
    closed: Arc<Notify>,
    shape: RateLimiter<NotKeyed, InMemoryState, MonotonicClock>,
    per: Duration,
}

/// The right to send one request. Unless it is given back unused, its slot stays taken for a window
/// after it is dropped.
#[derive(Debug)]
pub struct Permit {
    slot: Option<OwnedSemaphorePermit>,
    _open: Open,
    per: Duration,
    /// How long it was waited for.
    pub waited: Duration,
}

/// One of the requests that may be open at once.
#[derive(Debug)]
struct Open {
    permit: Option<OwnedSemaphorePermit>,
    closed: Arc<Notify>,
}

/// The share of a window over which its requests are spread at least: one in this many.
const SHAPE: u32 = 10;

impl Pace {
    /// At most `requests` in any window of length `per`, and at most `max_open` at once.
    #[must_use]
    pub fn new(requests: u32, per: Duration, max_open: usize) -> Self {
        let requests = requests.max(1);
        let period = (per / requests / SHAPE).max(Duration::from_nanos(1));
        let burst = NonZeroU32::new(requests / SHAPE).unwrap_or(NonZeroU32::MIN);
        // A period of at least a nanosecond always makes a quota.
        let quota = Quota::with_period(period).unwrap_or(Quota::per_second(burst)).allow_burst(burst);
        Self {
            slots: Arc::new(Semaphore::new(requests as usize)),
            requests: requests as usize,
            open: Arc::new(Semaphore::new(max_open)),
            max_open,
            closed: Arc::new(Notify::new()),
            shape: RateLimiter::direct_with_clock(quota, MonotonicClock),
            per,
        }
    }

    /// Waits for the right to send one request. May be cancelled; nothing is lost then.
    pub async fn permit(&self) -> Permit {
        let began = Instant::now();
        // Neither semaphore is ever closed.
        let open = Arc::clone(&self.open).acquire_owned().await.ok();
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        while let Err(early) = self.shape.check() {
            tokio::time::sleep(early.wait_time_from(MonotonicClock.now())).await;
        }
        let open = Open { permit: open, closed: Arc::clone(&self.closed) };
        Permit { slot, _open: open, per: self.per, waited: began.elapsed() }
    }

    /// Requests that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.max_open.saturating_sub(self.open.available_permits())
    }

    /// Requests that count against the window now, the open ones included.
    #[must_use]
    pub fn used(&self) -> usize {
        self.requests.saturating_sub(self.slots.available_permits())
    }

    /// Waits until an open request ends. One that ended since the last call counts.
    pub async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Takes a slot for each request that somebody else sent, until it is given back.
    pub fn remember(&self, requests: Vec<Duration>) {
        for left in requests {
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                tokio::spawn(hold(slot, left));
            }
        }
    }
}

impl Permit {
    /// Gives it back: nothing was sent.
    pub fn unused(mut self) {
        self.slot = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            tokio::spawn(hold(slot, self.per));
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.closed.notify_one();
    }
}

async fn hold(slot: OwnedSemaphorePermit, left: Duration) {
    tokio::time::sleep(left).await;
    drop(slot);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_permit_that_was_used_is_missing_for_a_window() {
        let pace = Pace::new(2, Duration::from_secs(10), 8);
        drop(pace.permit().await);
        pace.permit().await.unused();
        drop(pace.permit().await);
        assert_eq!(pace.slots.available_permits(), 0);
        assert_eq!(pace.open(), 0);
    }

    #[tokio::test]
    async fn what_others_sent_counts() {
        let pace = Pace::new(3, Duration::from_secs(10), 8);
        pace.remember(vec![Duration::from_secs(10); 5]);
        assert_eq!(pace.slots.available_permits(), 0);
    }
}
