//! The slots of a window: how many requests are open, and until when the ended ones still count. Touches
//! nothing but memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// As many slots as requests may be made in a window.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    books: Arc<Mutex<Books>>,
    /// Told when a slot is given back, or more or fewer are allowed.
    changed: Arc<Notify>,
    /// Held by whoever is next, so that slots are given in the order in which they were asked for.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// One slot, for one request. Dropped, it is given back as if it had never been taken.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    usable_at: Instant,
}

/// How the slots stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Slots that are taken.
    pub held: usize,
    /// Slots ever given.
    pub given: u64,
}

#[derive(Debug)]
struct Books {
    total: usize,
    /// Slots that may be taken at present.
    allowed: usize,
    /// Requests that have a slot and have not ended.
    open: usize,
    /// Until when those that have ended still count, the earliest first.
    counted_until: VecDeque<Instant>,
    given: u64,
}

impl Slots {
    pub(super) fn new(total: usize) -> Self {
        let books = Books { total, allowed: total, open: 0, counted_until: VecDeque::new(), given: 0 };
        Self { books: Arc::new(Mutex::new(books)), changed: Arc::default(), turn: Arc::default() }
    }

    /// Waits for a slot that may be used within `ahead`; says how they stand, itself included. May be
    /// cancelled; nothing is lost then.
    pub(super) async fn take(&self, ahead: Duration) -> (Slot, Standing) {
        let _turn = self.turn.lock().await;
        loop {
            let free_at = match self.try_take(ahead) {
                Ok(taken) => return taken,
                Err(free_at) => free_at,
            };
            // Where as many are open as may be, the end of one is told.
            let left = free_at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = tokio::time::sleep(left.saturating_sub(ahead)) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// A slot, or when one would be free.
    pub(super) fn try_take(&self, ahead: Duration) -> Result<(Slot, Standing), Option<Instant>> {
        let (now, mut books) = (Instant::now(), self.books());
        let usable_at = books.free_at(now).ok_or(None)?;
        if usable_at > now + ahead {
            return Err(Some(usable_at));
        }
        books.open += 1;
        books.given += 1;
        Ok((Slot { slots: self.clone(), usable_at }, books.standing(now)))
    }

    pub(super) fn standing(&self) -> Standing {
        self.books().standing(Instant::now())
    }

    /// Gives no more than so many from now on. What is taken beyond that stays so until it is given back.
    pub(super) fn allow(&self, slots: usize) {
        let mut books = self.books();
        books.allowed = slots.min(books.total);
        self.changed.notify_one();
    }

    /// Counts the request of somebody else.
    pub(super) fn count(&self, until: Instant) {
        self.books().count(until);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// When its request may be sent.
    pub(super) fn usable_at(&self) -> Instant {
        self.usable_at
    }

    /// Gives it back: its request has ended and counts until then.
    pub(super) fn used(self, until: Instant) {
        self.slots.count(until);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut books = self.slots.books();
        books.open = books.open.saturating_sub(1);
        self.slots.changed.notify_one();
    }
}

impl Books {
    /// When one more request may be sent; `None` where as many are open as may be.
    fn free_at(&mut self, now: Instant) -> Option<Instant> {
        self.forget(now);
        let room = self.allowed.checked_sub(self.open).filter(|room| *room > 0)?;
        // So many of the ended ones may still count then, and one fewer than there is room for.
        let last_in_the_way = self.counted_until.len().checked_sub(room);
        Some(last_in_the_way.and_then(|at| self.counted_until.get(at).copied()).unwrap_or(now))
    }

    fn forget(&mut self, now: Instant) {
        let past = self.counted_until.partition_point(|until| *until <= now);
        self.counted_until.drain(..past);
    }

    fn count(&mut self, until: Instant) {
        // Nearly always the last.
        let at = self.counted_until.partition_point(|other| *other <= until);
        self.counted_until.insert(at, until);
    }

    fn standing(&mut self, now: Instant) -> Standing {
        self.forget(now);
        // One that was given ahead of its time waits for one that still counts: together they are one.
        let held = (self.open + self.counted_until.len()).min(self.total);
        Standing { held, given: self.given }
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
    fn fewer_and_more_may_be_given() {
        let slots = Slots::new(5);
        slots.allow(3);
        let mut taken = take(&slots);
        assert_eq!(taken.len(), 3);
        slots.allow(1);
        taken.pop();
        assert!(slots.try_take(Duration::ZERO).is_err(), "two are taken where one is allowed");
        slots.allow(4);
        taken.extend(take(&slots));
        assert_eq!(taken.len(), 4);
        slots.allow(0);
        slots.allow(5);
        taken.extend(take(&slots));
        assert_eq!(taken.len(), 5);
        taken.clear();
        assert_eq!(slots.standing(), Standing { held: 0, given: 6 });
        assert_eq!(take(&slots).len(), 5, "none is lost");
    }

    #[test]
    fn a_slot_that_is_wanted_again_before_it_was_given_back_is_kept() {
        let slots = Slots::new(2);
        let mut taken = take(&slots);
        slots.allow(1);
        slots.allow(2);
        taken.clear();
        assert_eq!(take(&slots).len(), 2);
    }

    #[test]
    fn what_has_ended_counts_for_a_window() {
        let slots = Slots::new(2);
        let now = Instant::now();
        for (slot, after) in take(&slots).into_iter().zip([1, 2]) {
            slot.used(now + WINDOW * after);
        }
        assert_eq!(slots.standing(), Standing { held: 2, given: 2 });
        assert_eq!(slots.try_take(Duration::ZERO).err(), Some(Some(now + WINDOW)));
    }

    #[test]
    fn a_request_may_be_sent_when_so_few_count_that_there_is_room() {
        let now = Instant::now();
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        for (total, allowed, open, counted_until, free_at) in [
            (3, 3, 0, vec![], Some(0)),
            (3, 3, 2, vec![], Some(0)),
            (3, 3, 3, vec![], None),
            (3, 3, 0, vec![4, 5], Some(0)),
            (3, 3, 0, vec![4, 5, 6], Some(4)),
            // One was given ahead of its time and waits for the first.
            (3, 3, 1, vec![4, 5, 6], Some(5)),
            (3, 3, 2, vec![4, 5, 6], Some(6)),
            (3, 3, 3, vec![4, 5, 6], None),
            (3, 3, 1, vec![4, 5], Some(4)),
            // Fewer are allowed than count.
            (5, 3, 0, vec![4, 5, 6, 7, 8], Some(6)),
            (5, 3, 1, vec![5, 6, 7, 8], Some(7)),
            (5, 1, 0, vec![4, 5, 6, 7, 8], Some(8)),
            (5, 1, 1, vec![4], None),
            (5, 0, 0, vec![], None),
            // Others' requests may be more than slots.
            (2, 2, 0, vec![4, 5, 6, 7], Some(6)),
            (2, 2, 1, vec![4, 5, 6, 7], Some(7)),
        ] {
            let case = format!("{allowed} of {total}, {open} open, {counted_until:?}");
            let counted_until = counted_until.into_iter().map(at).collect();
            let mut books = Books { total, allowed, open, counted_until, given: 0 };
            assert_eq!(books.free_at(now), free_at.map(at), "{case}");
        }
    }

    #[tokio::test]
    async fn a_slot_is_waited_for_and_given_ahead_of_its_time() {
        let slots = Slots::new(1);
        let free_at = Instant::now() + Duration::from_millis(40);
        slots.count(free_at);
        let ahead = Duration::from_millis(20);
        let (slot, standing) = slots.take(ahead).await;
        assert_eq!(slot.usable_at(), free_at);
        assert_eq!(standing, Standing { held: 1, given: 1 }, "with the one that it waits for");
        let next = slots.take(ahead);
        tokio::pin!(next);
        tokio::select! {
            biased;
            _ = &mut next => panic!("there is one slot"),
            () = tokio::task::yield_now() => {}
        }
        drop(slot);
        assert!(next.await.0.usable_at() <= free_at.max(Instant::now()));
    }
}
