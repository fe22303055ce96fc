//! The slots of a window: counted, and fewer or more of them as the account allows. Touches nothing but memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// As many slots as requests may be made in a window.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    books: Arc<Mutex<Books>>,
}

/// One slot, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    books: Arc<Mutex<Books>>,
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
    standing: Standing,
    total: usize,
    /// Slots that are not to be given at present.
    unwanted: usize,
    /// Those of them that are out of the semaphore already; the rest follow when they are given back.
    withheld: usize,
}

impl Slots {
    pub(super) fn new(total: usize) -> Self {
        let books = Books { standing: Standing { held: 0, given: 0 }, total, unwanted: 0, withheld: 0 };
        Self { free: Arc::new(Semaphore::new(total)), books: Arc::new(Mutex::new(books)) }
    }

    /// Waits for a slot; says how they stand, itself included. May be cancelled; nothing is lost then.
    pub(super) async fn take(&self) -> (Slot, Standing) {
        // The semaphore is never closed.
        self.taken(Arc::clone(&self.free).acquire_owned().await.ok())
    }

    /// A slot, if one is free.
    pub(super) fn try_take(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.taken(Some(permit)).0)
    }

    fn taken(&self, permit: Option<OwnedSemaphorePermit>) -> (Slot, Standing) {
        let mut books = lock(&self.books);
        books.standing.held += 1;
        books.standing.given += 1;
        (Slot { permit, books: Arc::clone(&self.books) }, books.standing)
    }

    pub(super) fn standing(&self) -> Standing {
        lock(&self.books).standing
    }

    /// Gives no more than so many from now on. What is taken beyond that stays so until it is given back.
    pub(super) fn allow(&self, slots: usize) {
        let mut books = lock(&self.books);
        books.unwanted = books.total.saturating_sub(slots);
        if books.withheld > books.unwanted {
            self.free.add_permits(books.withheld - books.unwanted);
            books.withheld = books.unwanted;
        } else {
            books.withheld += self.free.forget_permits(books.unwanted - books.withheld);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut books = lock(&self.books);
        books.standing.held = books.standing.held.saturating_sub(1);
        if let Some(permit) = self.permit.take()
            && books.withheld < books.unwanted
        {
            books.withheld += 1;
            permit.forget();
        }
    }
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(slots: &Slots) -> Vec<Slot> {
        std::iter::from_fn(|| slots.try_take()).collect()
    }

    #[test]
    fn fewer_and_more_may_be_given() {
        let slots = Slots::new(5);
        slots.allow(3);
        let mut taken = take(&slots);
        assert_eq!(taken.len(), 3);
        slots.allow(1);
        taken.pop();
        assert!(slots.try_take().is_none(), "two are taken where one is allowed");
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
}
