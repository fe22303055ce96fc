//! The slots of one window: how many requests are open, and until when each finished request counts. Uses memory only.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// As many slots as requests may be sent in a window.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    state: Arc<Mutex<SlotState>>,
    /// Notified when a slot is returned or the limit changes.
    changed: Arc<Notify>,
    /// Held by the first waiter, so that slots are granted in the order in which they were requested.
    queue: Arc<tokio::sync::Mutex<()>>,
}

/// One slot, for one request. If it is dropped, it is returned and its request does not count.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    usable_at: Instant,
}

/// How many slots are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotUsage {
    /// Slots of open requests, and of ended requests that still count.
    pub in_use: usize,
    /// Slots granted since the start of the process.
    pub granted: u64,
}

#[derive(Debug)]
struct SlotState {
    total: usize,
    /// The number of slots that may be in use at present.
    limit: usize,
    /// Requests that have a slot and have not ended.
    open: usize,
    /// Until when ended requests count, the earliest first.
    counted_until: VecDeque<Instant>,
    granted: u64,
    /// Requests that were sent with a slot and have ended, since the start of the process.
    ended: u64,
}

impl Slots {
    pub(crate) fn new(total: usize) -> Self {
        let counted_until = VecDeque::new();
        let state = SlotState { total, limit: total, open: 0, counted_until, granted: 0, ended: 0 };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::default(), queue: Arc::default() }
    }

    /// Waits for a slot that can be used within `ahead`. Also returns the usage, with this slot included. Cancel-safe.
    pub(crate) async fn take(&self, ahead: Duration) -> (Slot, SlotUsage) {
        let _first_in_queue = self.queue.lock().await;
        loop {
            let free_at = match self.try_take(ahead) {
                Ok(taken) => return taken,
                Err(free_at) => free_at,
            };
            // `None`: too many requests are open. Then only a returned slot ends the wait.
            let left = free_at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = tokio::time::sleep(left.saturating_sub(ahead)) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Takes a slot if one can be used now, and no other request waits for one.
    pub(crate) fn take_if_free(&self) -> Option<(Slot, SlotUsage)> {
        let _first_in_queue = self.queue.try_lock().ok()?;
        self.try_take(Duration::ZERO).ok()
    }

    /// Takes a slot. On error: when a slot will be free, if that is known.
    pub(crate) fn try_take(&self, ahead: Duration) -> Result<(Slot, SlotUsage), Option<Instant>> {
        let (now, mut state) = (Instant::now(), self.state());
        let usable_at = state.free_at(now).ok_or(None)?;
        if usable_at > now + ahead {
            return Err(Some(usable_at));
        }
        state.open += 1;
        state.granted += 1;
        Ok((Slot { slots: self.clone(), usable_at }, state.usage(now)))
    }

    pub(crate) fn usage(&self) -> SlotUsage {
        self.state().usage(Instant::now())
    }

    /// The number of requests that were sent with a slot and have ended, since the start of the process.
    pub(crate) fn ended(&self) -> u64 {
        self.state().ended
    }

    /// Sets how many slots may be in use. Slots beyond that stay in use until they are returned.
    pub(crate) fn set_limit(&self, slots: usize) {
        let mut state = self.state();
        state.limit = slots.min(state.total);
        self.changed.notify_one();
    }

    /// Counts a request until this time. It has no slot: it has ended, or another instance sent it.
    pub(crate) fn count_request(&self, until: Instant) {
        self.state().count_request(until);
    }

    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// When its request may be sent.
    pub(crate) fn usable_at(&self) -> Instant {
        self.usable_at
    }

    /// Returns the slot of a request that has ended. The request counts until this time.
    pub(crate) fn end_request(self, counts_until: Instant) {
        let mut state = self.slots.state();
        state.ended += 1;
        state.count_request(counts_until);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        state.open = state.open.saturating_sub(1);
        self.slots.changed.notify_one();
    }
}

impl SlotState {
    /// When one more request may be sent; `None` while too many requests are open.
    fn free_at(&mut self, now: Instant) -> Option<Instant> {
        self.remove_expired(now);
        let room = self.limit.checked_sub(self.open).filter(|room| *room > 0)?;
        // The new request fits as soon as fewer than `room` ended requests count. So the last one that must expire is
        // the one at this position; if there is none, the request fits now.
        let last_to_expire = self.counted_until.len().checked_sub(room);
        Some(last_to_expire.and_then(|at| self.counted_until.get(at).copied()).unwrap_or(now))
    }

    fn remove_expired(&mut self, now: Instant) {
        let expired = self.counted_until.partition_point(|until| *until <= now);
        self.counted_until.drain(..expired);
    }

    fn count_request(&mut self, until: Instant) {
        // Nearly always at the end.
        let at = self.counted_until.partition_point(|other| *other <= until);
        self.counted_until.insert(at, until);
    }

    fn usage(&mut self, now: Instant) -> SlotUsage {
        self.remove_expired(now);
        // A slot may be granted shortly before it is usable. Until then the ended request before it counts as well, so
        // the sum may exceed the number of slots.
        let in_use = (self.open + self.counted_until.len()).min(self.total);
        SlotUsage { in_use, granted: self.granted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn take(slots: &Slots) -> Vec<Slot> {
        std::iter::from_fn(|| slots.try_take(Duration::ZERO).ok()).map(|(slot, _)| slot).collect()
    }

    #[test]
    fn the_limit_can_be_lowered_and_raised() {
        let slots = Slots::new(5);
        slots.set_limit(3);
        let mut taken = take(&slots);
        assert_eq!(taken.len(), 3);
        slots.set_limit(1);
        taken.pop();
        assert!(slots.try_take(Duration::ZERO).is_err(), "two slots are in use and the limit is one");
        slots.set_limit(4);
        taken.extend(take(&slots));
        assert_eq!(taken.len(), 4);
        slots.set_limit(0);
        slots.set_limit(5);
        taken.extend(take(&slots));
        assert_eq!(taken.len(), 5);
        taken.clear();
        assert_eq!(slots.usage(), SlotUsage { in_use: 0, granted: 6 });
        assert_eq!(take(&slots).len(), 5, "no slot is lost");
    }

    #[test]
    fn a_limit_that_is_raised_again_before_a_slot_is_returned_loses_no_slot() {
        let slots = Slots::new(2);
        let mut taken = take(&slots);
        slots.set_limit(1);
        slots.set_limit(2);
        taken.clear();
        assert_eq!(take(&slots).len(), 2);
    }

    #[test]
    fn an_ended_request_counts_for_a_window() {
        let slots = Slots::new(2);
        let now = Instant::now();
        for (slot, after) in take(&slots).into_iter().zip([1, 2]) {
            slot.end_request(now + WINDOW * after);
        }
        assert_eq!(slots.usage(), SlotUsage { in_use: 2, granted: 2 });
        assert_eq!(slots.try_take(Duration::ZERO).err(), Some(Some(now + WINDOW)));
    }

    #[test]
    fn a_request_may_be_sent_as_soon_as_enough_ended_requests_have_expired() {
        let now = Instant::now();
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        for (total, limit, open, counted_until, free_at) in [
            (3, 3, 0, vec![], Some(0)),
            (3, 3, 2, vec![], Some(0)),
            (3, 3, 3, vec![], None),
            (3, 3, 0, vec![4, 5], Some(0)),
            (3, 3, 0, vec![4, 5, 6], Some(4)),
            // One slot was granted early and waits for the first ended request to expire.
            (3, 3, 1, vec![4, 5, 6], Some(5)),
            (3, 3, 2, vec![4, 5, 6], Some(6)),
            (3, 3, 3, vec![4, 5, 6], None),
            (3, 3, 1, vec![4, 5], Some(4)),
            // The limit is below the number of requests that count.
            (5, 3, 0, vec![4, 5, 6, 7, 8], Some(6)),
            (5, 3, 1, vec![5, 6, 7, 8], Some(7)),
            (5, 1, 0, vec![4, 5, 6, 7, 8], Some(8)),
            (5, 1, 1, vec![4], None),
            (5, 0, 0, vec![], None),
            // Requests of other instances may outnumber the slots.
            (2, 2, 0, vec![4, 5, 6, 7], Some(6)),
            (2, 2, 1, vec![4, 5, 6, 7], Some(7)),
        ] {
            let case = format!("{limit} of {total}, {open} open, {counted_until:?}");
            let counted_until = counted_until.into_iter().map(at).collect();
            let mut state = SlotState { total, limit, open, counted_until, granted: 0, ended: 0 };
            assert_eq!(state.free_at(now), free_at.map(at), "{case}");
        }
    }

    #[tokio::test]
    async fn a_slot_is_granted_shortly_before_it_is_usable() {
        let slots = Slots::new(1);
        let free_at = Instant::now() + Duration::from_millis(40);
        slots.count_request(free_at);
        let ahead = Duration::from_millis(20);
        let (slot, usage) = slots.take(ahead).await;
        assert_eq!(slot.usable_at(), free_at);
        assert_eq!(usage, SlotUsage { in_use: 1, granted: 1 }, "together with the ended request before it");
        let next = slots.take(ahead);
        tokio::pin!(next);
        tokio::select! {
            biased;
            _ = &mut next => panic!("there is only one slot"),
            () = tokio::task::yield_now() => {}
        }
        drop(slot);
        assert!(next.await.0.usable_at() <= free_at.max(Instant::now()));
    }
}
