//! The memory that long answers may take, all together.
//!
//! Each answer has its usual share for nothing. What a body grows beyond that is taken from one budget, as it arrives,
//! and comes back when the body is dropped: a stalled answer holds no more than what came of it, and delays none that
//! fits. When the budget is used up, one body at a time may go on beyond it, so that many long ones cannot wait for
//! each other for ever.

use tokio::sync::{Semaphore, SemaphorePermit};

/// What each answer may hold in any case; more than HubSpot sends for a hundred usual courses.
pub(super) const USUAL_BODY_BYTES: usize = 512 * 1024;
/// What all answers together may hold beyond that.
const SHARED_BYTES: usize = 8 * 1024 * 1024;
/// The budget is counted in pieces of this size.
const PIECE_BYTES: usize = 1024;

/// The bytes that bodies share.
#[derive(Debug)]
pub(super) struct BodyBudget {
    pieces: Semaphore,
    /// Held by the one body that goes on without pieces.
    overdraft: Semaphore,
}

impl BodyBudget {
    pub(super) fn new() -> Self {
        Self::of(SHARED_BYTES / PIECE_BYTES)
    }

    fn of(pieces: usize) -> Self {
        Self { pieces: Semaphore::new(pieces), overdraft: Semaphore::new(1) }
    }

    /// The share of a body that is still empty.
    pub(super) fn share(&self) -> Share<'_> {
        Share { budget: self, pieces: None, overdraft: None }
    }
}

/// What one body holds of the budget; given back on drop.
#[derive(Debug)]
pub(super) struct Share<'b> {
    budget: &'b BodyBudget,
    pieces: Option<SemaphorePermit<'b>>,
    overdraft: Option<SemaphorePermit<'b>>,
}

impl Share<'_> {
    /// Waits until the body may be so long.
    pub(super) async fn grow_to(&mut self, bytes: usize) {
        let pieces = bytes.saturating_sub(USUAL_BODY_BYTES).div_ceil(PIECE_BYTES);
        let held = self.pieces.as_ref().map_or(0, SemaphorePermit::num_permits);
        // More than can be counted is more than is ever read.
        let missing = u32::try_from(pieces.saturating_sub(held)).unwrap_or(u32::MAX);
        if missing == 0 || self.overdraft.is_some() {
            return;
        }
        let budget = self.budget;
        tokio::select! {
            biased;
            // Neither is ever closed.
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
        let mut shares: Vec<_> = (0..100).map(|_| budget.share()).collect();
        assert!(shares.iter_mut().all(|share| is_ready(share.grow_to(USUAL_BODY_BYTES))));
        assert!(shares.iter().all(|share| share.overdraft.is_none()));
    }

    #[test]
    fn bytes_are_taken_as_a_body_grows_and_come_back_with_it() {
        let budget = BodyBudget::of(10);
        let mut share = budget.share();
        for pieces in [1, 1, 4, 10] {
            assert!(is_ready(share.grow_to(length(pieces))));
            assert_eq!(budget.pieces.available_permits(), 10 - pieces);
        }
        assert!(is_ready(share.grow_to(length(2))), "a body never shrinks");
        drop(share);
        assert_eq!(budget.pieces.available_permits(), 10);
        let mut share = budget.share();
        assert!(is_ready(share.grow_to(length(1) - PIECE_BYTES + 1)));
        assert_eq!(budget.pieces.available_permits(), 9, "a piece that is begun is taken");
    }

    #[test]
    fn a_stalled_body_delays_none_that_fits() {
        let budget = BodyBudget::of(10);
        let mut stalled = budget.share();
        assert!(is_ready(stalled.grow_to(length(4))));
        for _ in 0..5 {
            let mut whole = budget.share();
            assert!(is_ready(whole.grow_to(length(6))));
            assert!(whole.overdraft.is_none());
        }
    }

    #[test]
    fn one_body_at_a_time_goes_on_beyond_the_budget() {
        let budget = BodyBudget::of(10);
        let (mut first, mut second, mut third) = (budget.share(), budget.share(), budget.share());
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
        let (mut beyond, mut full, mut waits) = (budget.share(), budget.share(), budget.share());
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
        let (mut beyond, mut full) = (budget.share(), budget.share());
        assert!(is_ready(full.grow_to(length(2))) && is_ready(beyond.grow_to(length(1))));
        assert!(!is_ready(budget.share().grow_to(length(2))));
        drop((beyond, full));
        assert_eq!((budget.pieces.available_permits(), budget.overdraft.available_permits()), (2, 1));
    }
}
