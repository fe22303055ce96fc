//! The account's quota: the only place that waits for a permit.
//!
//! **Why it never overruns.** There are as many slots as requests may be made in a window. A request
//! holds one from before it is sent until a window's length after its answer began to come. Whatever HubSpot
//! received within any window up to now was answered within that window or is still open, so it holds a slot
//! now; and there are no more slots than that. It holds for rolling and fixed windows, for any delay of
//! the network and any clock, and costs a round trip a window.
//!
//! **Why it is not wasted.** Nothing else comes between the moment in which a slot is free and the request: a
//! slot is reserved a little ahead of it, so that the claim is made by then.
//!
//! **Where others share the account**, `policy::share` says by HubSpot's headers how many slots are ours, and
//! how far requests are kept apart.
//!
//! governor shapes the burst in front of it: a window's worth of requests would take a tenth of the window at
//! least, so that neither HubSpot nor the database meets much of it in one instant.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, MonotonicClock};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use self::slots::{Slot, Slots, Standing};
use crate::policy::answer::Exchange;
use crate::policy::interpret::Signal;
use crate::policy::pause::Reason;
use crate::policy::share::{News, Ours, Share};

mod slots;

/// Hands out permits to send one request each.
#[derive(Debug)]
pub struct Pace {
    slots: Slots,
    open: Arc<Semaphore>,
    max_open: usize,
    closed: Arc<Notify>,
    shape: RateLimiter<NotKeyed, InMemoryState, MonotonicClock>,
    share: Mutex<Share>,
    /// When the next request may be sent, where they are kept apart.
    next: Mutex<Instant>,
    per: Duration,
}

/// A permit to come.
#[derive(Debug)]
pub struct Reserved {
    permit: Permit,
    usable_at: Instant,
}

/// The right to send one request. Unless it is given back unused, its slot stays taken for a window
/// after its answer, or where none is known after it is dropped.
#[derive(Debug)]
pub struct Permit {
    slot: Option<Slot>,
    _open: Open,
    per: Duration,
    answered_at: Option<Instant>,
    /// When it was given, and what was taken then.
    given_at: Instant,
    then: Standing,
    open_then: usize,
    /// How long it was waited for.
    waited: Duration,
}

/// One of the requests that may be open at once.
#[derive(Debug)]
struct Open {
    permit: Option<OwnedSemaphorePermit>,
    closed: Arc<Notify>,
}

/// The share of a window over which its requests are spread at least: one in this many.
const SHAPE: u32 = 10;
/// How long before a permit can be used it may be reserved: more than a claim usually takes.
const AHEAD: Duration = Duration::from_millis(20);

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
            slots: Slots::new(requests as usize),
            open: Arc::new(Semaphore::new(max_open)),
            max_open,
            closed: Arc::new(Notify::new()),
            shape: RateLimiter::direct_with_clock(quota, MonotonicClock),
            share: Mutex::new(Share::new(requests, per)),
            next: Mutex::new(Instant::now()),
            per,
        }
    }

    /// Waits for the right to send one request. May be cancelled; nothing is lost then.
    pub async fn permit(&self) -> Permit {
        self.reserve().await.permit().await
    }

    /// Waits until a permit is about to come. May be cancelled; nothing is lost then.
    pub async fn reserve(&self) -> Reserved {
        let began = Instant::now();
        // The semaphore is never closed.
        let open = Arc::clone(&self.open).acquire_owned().await.ok();
        let (slot, then) = self.slots.take(AHEAD).await;
        let usable_at = self.apart(then.held, slot.usable_at());
        sleep(usable_at.saturating_duration_since(Instant::now()).saturating_sub(AHEAD)).await;
        while let Err(early) = self.shape.check() {
            tokio::time::sleep(early.wait_time_from(MonotonicClock.now())).await;
        }
        let open = Open { permit: open, closed: Arc::clone(&self.closed) };
        let permit = Permit {
            slot: Some(slot),
            _open: open,
            per: self.per,
            answered_at: None,
            given_at: Instant::now(),
            then,
            open_then: self.open(),
            waited: began.elapsed(),
        };
        Reserved { permit, usable_at }
    }

    /// When a request that could be sent at `from` is far enough from the one before, while so many slots are
    /// taken.
    fn apart(&self, held: usize, from: Instant) -> Instant {
        let apart = self.share().apart(u32::try_from(held).unwrap_or(u32::MAX));
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = if apart.is_zero() { from } else { (*next).max(from) };
        *next = at + apart;
        at
    }

    fn share(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that a window may hold at present.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.share().limit()
    }

    /// Takes the permit of a request back by how that ended, which `signal` says of the account.
    pub fn ended(&self, mut permit: Permit, exchange: &Exchange, signal: &Signal) {
        match exchange {
            Exchange::NotSent(_) => return permit.unused(),
            Exchange::NoAnswer(_) => {}
            Exchange::Answered { meta, .. } => {
                permit.answered_at = meta.answered_at;
                let (now, mut share) = (Instant::now(), self.share());
                let news = share.heard(&meta.quota, self.ours(&permit), now);
                if matches!(signal, Signal::Pause(trouble) if trouble.reason == Reason::IntervalQuota) {
                    share.refused(permit.given_at, now);
                }
                self.slots.allow(share.limit() as usize);
                drop(share);
                if let Some(news) = news {
                    tell(news);
                }
            }
        }
        drop(permit);
    }

    /// Our requests in the window of this one's answer: no more than held a slot at any time since its permit
    /// was given. About twice what was under way may have been missing there: it had not arrived yet, or its
    /// slot outlasts HubSpot's count by as much.
    fn ours(&self, permit: &Permit) -> Ours {
        let since = self.slots.standing().given - permit.then.given;
        let number = |requests: u64| u32::try_from(requests).unwrap_or(u32::MAX);
        Ours {
            at_most: number(permit.then.held as u64 + since),
            uncertain: number(2 * (since + permit.open_then as u64)),
        }
    }

    /// Requests that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.max_open.saturating_sub(self.open.available_permits())
    }

    /// Requests that count against the window now, the open ones included.
    #[must_use]
    pub fn used(&self) -> usize {
        self.slots.standing().held
    }

    /// Waits until an open request ends. One that ended since the last call counts.
    pub async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Counts requests that somebody else sent, each for so long.
    pub fn remember(&self, requests: Vec<Duration>) {
        let now = Instant::now();
        for left in requests {
            self.slots.count(now + left);
        }
    }
}

/// What the account's headers tell, once.
fn tell(news: News) {
    match news {
        News::Fewer { max, interval, allowed } => tracing::warn!(
            max,
            ?interval,
            allowed,
            "the account allows fewer requests than rate_limit.requests says; obeying it. Set rate_limit.requests and \
             rate_limit.per to what the account allows"
        ),
        News::Shared { others } => tracing::info!(
            others,
            "others use the same quota; sending fewer requests, so that they and we stay within it"
        ),
        News::Alone => tracing::info!("others no longer use the same quota"),
    }
}

impl Reserved {
    /// Waits until it can be used.
    pub async fn permit(self) -> Permit {
        punctually(self.usable_at).await;
        self.permit
    }

    /// How long it was waited for.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.permit.waited
    }

    /// Gives it back: nothing was sent.
    pub fn unused(self) {
        self.permit.unused();
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
            slot.used(self.answered_at.unwrap_or_else(Instant::now) + self.per);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.closed.notify_one();
    }
}

/// How late tokio's timer may be: it counts whole milliseconds, and so does what it waits with.
const LATE: Duration = Duration::from_millis(2);

/// Waits so long. Tokio's own makes up to a millisecond of no time at all.
async fn sleep(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Waits until then: never less, and hardly more.
pub async fn punctually(at: Instant) {
    let left = || at.saturating_duration_since(Instant::now());
    sleep(left().saturating_sub(LATE)).await;
    while !left().is_zero() {
        let left = left();
        #[expect(
            clippy::disallowed_methods,
            reason = "on a thread that may be blocked: it wakes up more exactly"
        )]
        let nap = tokio::task::spawn_blocking(move || std::thread::sleep(left));
        // While the runtime ends there is no such thread.
        if nap.await.is_err() {
            tokio::time::sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::answer::{Body, Meta, Unreadable};

    const PER: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_permit_that_was_used_is_missing_for_a_window() {
        let pace = Pace::new(2, PER, 8);
        drop(pace.permit().await);
        pace.permit().await.unused();
        drop(pace.permit().await);
        assert_eq!(pace.used(), 2);
        assert_eq!(pace.open(), 0);
        assert!(pace.slots.try_take(AHEAD).is_err());
    }

    #[tokio::test]
    async fn what_others_sent_counts() {
        let pace = Pace::new(3, PER, 8);
        pace.remember(vec![PER; 5]);
        assert_eq!(pace.used(), 3);
        assert!(pace.slots.try_take(AHEAD).is_err());
    }

    #[tokio::test]
    async fn the_window_begins_when_the_answer_comes_rather_than_when_it_is_read() {
        let pace = Pace::new(1, PER, 8);
        let permit = pace.permit().await;
        let nearly_a_window = PER.checked_sub(AHEAD).unwrap();
        let answered_at = Instant::now().checked_sub(nearly_a_window).unwrap();
        let meta = Meta { status: 201, answered_at: Some(answered_at), ..Meta::default() };
        let exchange = Exchange::Answered { meta, body: Body::Unreadable(Unreadable::Empty) };
        pace.ended(permit, &exchange, &Signal::Passed);
        let next = pace.reserve().await;
        assert!(next.usable_at >= answered_at + PER);
        drop(next.permit().await);
        assert!(Instant::now() >= answered_at + PER);
    }
}
