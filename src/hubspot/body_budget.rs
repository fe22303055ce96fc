//! Bounds the memory of all response bodies together.
//!
//! Each body may use its usual size without the budget. Anything beyond that is taken from one shared budget as it
//! arrives, and returned when the body is dropped: a stalled response holds only what was received, and does not delay
//! responses that fit. When the budget is used up, one body at a time may exceed it. Otherwise many long bodies would
//! wait for each other forever.

use tokio::sync::{Semaphore, SemaphorePermit};

/// What each body may take freely: more than HubSpot sends for a hundred usual courses.
pub(super) const USUAL_BODY_BYTES: usize = 512 * 1024;
/// What all bodies together may take beyond that.
const SHARED_BYTES: usize = 4 * 1024 * 1024;
/// The unit of the budget.
const PIECE_BYTES: usize = 1024;

/// The memory that all bodies share.
#[derive(Debug)]
pub(super) struct BodyBudget {
    pieces: Semaphore,
    /// Held by the one body that exceeds the budget.
    overdraft: Semaphore,
}

impl BodyBudget {
    pub(super) fn new() -> Self {
        Self::of(SHARED_BYTES / PIECE_BYTES)
    }

    fn of(pieces: usize) -> Self {
        Self { pieces: Semaphore::new(pieces), overdraft: Semaphore::new(1) }
    }

    /// The allowance of a body that is still empty.
    pub(super) fn allowance(&self) -> BodyAllowance<'_> {
        BodyAllowance { budget: self, pieces: None, overdraft: None }
    }
}

/// What one body holds of the budget; returned on drop.
#[derive(Debug)]
pub(super) struct BodyAllowance<'b> {
    budget: &'b BodyBudget,
    pieces: Option<SemaphorePermit<'b>>,
    overdraft: Option<SemaphorePermit<'b>>,
}

impl BodyAllowance<'_> {
    /// Waits until the body may have this length.
    pub(super) async fn grow_to(&mut self, bytes: usize) {
        let pieces = bytes.saturating_sub(USUAL_BODY_BYTES).div_ceil(PIECE_BYTES);
        let held = self.pieces.as_ref().map_or(0, SemaphorePermit::num_permits);
        // Bodies are never long enough for this to saturate.
        let missing = u32::try_from(pieces.saturating_sub(held)).unwrap_or(u32::MAX);
        if missing == 0 || self.overdraft.is_some() {
            return;
        }
        let budget = self.budget;
        tokio::select! {
            biased;
            // Neither semaphore is ever closed.
            Ok(more) = budget.pieces.acquire_many(missing) => match &mut self.pieces {
                Some(held) => held.merge(more),
                None => self.pieces = Some(more),
            },
            Ok(overdraft) = budget.overdraft.acquire() => self.overdraft = Some(overdraft),
            else => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Whether it is ready without waiting.
    fn is_ready(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// A length that takes so many pieces.
    fn length(pieces: usize) -> usize {
        USUAL_BODY_BYTES + pieces * PIECE_BYTES
    }

    #[test]
    fn a_usual_body_takes_nothing() {
        let budget = BodyBudget::of(0);
        let mut allowances: Vec<_> = (0..100).map(|_| budget.allowance()).collect();
        assert!(allowances.iter_mut().all(|allowance| is_ready(allowance.grow_to(USUAL_BODY_BYTES))));
        assert!(allowances.iter().all(|allowance| allowance.overdraft.is_none()));
    }

    #[test]
    fn bytes_are_taken_as_a_body_grows_and_come_back_with_it() {
        let budget = BodyBudget::of(10);
        let mut allowance = budget.allowance();
        for pieces in [1, 1, 4, 10] {
            assert!(is_ready(allowance.grow_to(length(pieces))));
            assert_eq!(budget.pieces.available_permits(), 10 - pieces);
        }
        assert!(is_ready(allowance.grow_to(length(2))), "a body never shrinks");
        drop(allowance);
        assert_eq!(budget.pieces.available_permits(), 10);
        let mut allowance = budget.allowance();
        assert!(is_ready(allowance.grow_to(length(1) - PIECE_BYTES + 1)));
        assert_eq!(budget.pieces.available_permits(), 9, "a piece that is begun is taken");
    }

    #[test]
    fn a_stalled_body_delays_none_that_fits() {
        let budget = BodyBudget::of(10);
        let mut stalled = budget.allowance();
        assert!(is_ready(stalled.grow_to(length(4))));
        for _ in 0..5 {
            let mut whole = budget.allowance();
            assert!(is_ready(whole.grow_to(length(6))));
            assert!(whole.overdraft.is_none());
        }
    }

    #[test]
    fn one_body_at_a_time_goes_on_beyond_the_budget() {
        let budget = BodyBudget::of(10);
        let (mut first, mut second, mut third) = (budget.allowance(), budget.allowance(), budget.allowance());
        assert!(is_ready(first.grow_to(length(5))) && is_ready(second.grow_to(length(5))));
        assert!(is_ready(first.grow_to(length(6))), "the first that waits goes on");
        assert!(is_ready(first.grow_to(length(1000))), "to its end");
        assert!(!is_ready(second.grow_to(length(6))));
        assert!(!is_ready(third.grow_to(length(1))));
        assert_eq!(budget.pieces.available_permits(), 0);
        drop(first);
        assert!(is_ready(second.grow_to(length(10))), "bytes came back");
        assert!(second.overdraft.is_none());
        assert!(is_ready(third.grow_to(length(1))), "and the turn beyond it is free again");
        drop((second, third));
        assert_eq!((budget.pieces.available_permits(), budget.overdraft.available_permits()), (10, 1));
    }

    #[test]
    fn a_body_that_waits_goes_on_when_bytes_come_back() {
        let budget = BodyBudget::of(10);
        let (mut beyond, mut full, mut waits) = (budget.allowance(), budget.allowance(), budget.allowance());
        assert!(is_ready(full.grow_to(length(10))));
        assert!(is_ready(beyond.grow_to(length(1))));
        {
            let mut growing = pin!(waits.grow_to(length(3)));
            let mut context = Context::from_waker(Waker::noop());
            assert_eq!(growing.as_mut().poll(&mut context), Poll::Pending);
            drop(full);
            assert_eq!(growing.as_mut().poll(&mut context), Poll::Ready(()));
        }
        assert!(waits.overdraft.is_none());
        drop(waits);
        assert_eq!(budget.pieces.available_permits(), 10);
    }

    #[test]
    fn a_wait_that_is_given_up_holds_nothing() {
        let budget = BodyBudget::of(2);
        let (mut beyond, mut full) = (budget.allowance(), budget.allowance());
        assert!(is_ready(full.grow_to(length(2))) && is_ready(beyond.grow_to(length(1))));
        assert!(!is_ready(budget.allowance().grow_to(length(2))));
        drop((beyond, full));
        assert_eq!((budget.pieces.available_permits(), budget.overdraft.available_permits()), (2, 1));
    }
}
