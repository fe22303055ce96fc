//! The backlog of pending courses: whether to claim, from where, and for how many requests. Pure.
//!
//! In a large backlog one claim takes courses for several requests: planning, the search in the index and the wait for
//! the database's disk are then shared.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::course::RowId;

/// The most requests for which one claim takes courses. More would delay the first of them.
const MAX_BATCHES: usize = 8;

/// The age at which the cursor is normally reset, so that the outbox is read from its beginning again.
const CURSOR_MIN_AGE: Duration = Duration::from_secs(5);
/// A read from the beginning may use at most this fraction (1/n) of the time; otherwise the cursor becomes older. While
/// another session keeps a snapshot open, the index entries of claimed courses cannot be removed, and reading past them is
/// slow.
const FULL_SCAN_DIVISOR: u32 = 20;
/// The age at which the cursor is always reset, because courses that were returned or committed late are before it.
const CURSOR_MAX_AGE: Duration = Duration::from_mins(1);

/// The wait after a claim that failed. It doubles with each further failure.
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Where a claim ended. The next claim continues there, which only saves reading the dead index entries of claimed courses.
/// A row before it may commit at any time, so it is reset often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor(Option<(Timestamp, RowId)>);

impl Cursor {
    /// The position after this course.
    #[must_use]
    pub fn after(due: Timestamp, id: RowId) -> Self {
        Self(Some((due, id)))
    }

    /// The due time and the row of that course.
    #[must_use]
    pub fn position(self) -> Option<(Timestamp, RowId)> {
        self.0
    }

    /// Whether the outbox is read from its beginning.
    #[must_use]
    pub fn is_beginning(self) -> bool {
        self.0.is_none()
    }
}

/// What may be left after a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// It took all courses that were due, except rows that another session had locked.
    Nothing,
    /// Some courses that were due did not fit.
    FromStart,
    /// It took as many courses as allowed. There may be more after this position.
    After(Cursor),
}

impl Remaining {
    /// Where the next claim starts.
    #[must_use]
    pub fn cursor(self) -> Cursor {
        match self {
            Self::Nothing | Self::FromStart => Cursor::default(),
            Self::After(cursor) => cursor,
        }
    }
}

/// The state of the backlog.
#[derive(Debug)]
pub struct Backlog {
    /// There may be courses to claim.
    may_have_courses: bool,
    cursor: Cursor,
    /// When the outbox was last read from its beginning.
    full_scan_at: Option<Instant>,
    /// How long that read took.
    full_scan_took: Duration,
    /// The number of failures since the last claim that succeeded.
    failures: u32,
    /// After a failure: when the next claim may start.
    retry_at: Option<Instant>,
    /// Nothing was left after the cursor, and the outbox has not been read from its beginning since.
    is_nearly_empty: bool,
    /// When it may be read from its beginning, if it is nearly empty.
    reread_at: Option<Instant>,
    /// Counts the resets of the cursor. A claim that started before the last reset has a stale result.
    generation: u64,
}

/// A claim that has started.
#[derive(Debug, Clone, Copy)]
pub struct BegunClaim {
    /// Where to read from.
    pub cursor: Cursor,
    generation: u64,
}

/// How a claim ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimEnd {
    /// The database executed it.
    Made {
        /// What may be left.
        remaining: Remaining,
        /// How long it took.
        took: Duration,
    },
    /// The database reported an error or did not respond. The next claim waits, whatever the reason for it.
    Failed,
    /// The task of the claim ended without a result. The next claim waits.
    Lost,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            may_have_courses: true,
            cursor: Cursor::default(),
            full_scan_at: None,
            full_scan_took: Duration::ZERO,
            failures: 0,
            retry_at: None,
            is_nearly_empty: false,
            reread_at: None,
            generation: 0,
        }
    }
}

impl Backlog {
    /// There may be courses to claim.
    pub fn expect_courses(&mut self) {
        self.may_have_courses = true;
    }

    /// Forgets the state of the outbox, but not that claims failed.
    pub fn reset(&mut self) {
        self.may_have_courses = true;
        self.full_scan_at = None;
        self.full_scan_took = Duration::ZERO;
        self.end_reread();
        self.forget_cursor();
    }

    /// Ends the wait after failed claims: another statement has just succeeded.
    pub fn forget_failures(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }

    /// When the next claim may start, if there is one to start and it waits.
    #[must_use]
    pub fn waits_until(&self) -> Option<Instant> {
        self.retry_at.max(self.reread_at).filter(|_| self.may_have_courses)
    }

    /// If the last claim took what was left after the cursor: the next one waits until then. It finds only the courses that
    /// were committed in between, which are few.
    pub fn postpone_reread(&mut self, until: Instant) {
        self.reread_at = self.is_nearly_empty.then_some(until);
    }

    fn end_reread(&mut self) {
        self.is_nearly_empty = false;
        self.reread_at = None;
    }

    fn forget_cursor(&mut self) {
        self.cursor = Cursor::default();
        self.generation += 1;
    }

    /// Whether to start a claim.
    #[must_use]
    pub fn should_claim(&self, now: Instant) -> bool {
        self.may_have_courses && self.waits_until().is_none_or(|at| now >= at)
    }

    /// For how many requests the next claim should take courses, at most. `has_waited`: short batches wait at present, so the
    /// courses of several requests may have been committed meanwhile.
    #[must_use]
    pub fn batches(&self, has_waited: bool) -> usize {
        if self.cursor.is_beginning() && !has_waited { 1 } else { MAX_BATCHES }
    }

    /// Starts a claim. The caller passes its end to [`Backlog::end_claim`].
    pub fn begin_claim(&mut self, now: Instant) -> BegunClaim {
        let max_age = (self.full_scan_took * FULL_SCAN_DIVISOR).clamp(CURSOR_MIN_AGE, CURSOR_MAX_AGE);
        if self.full_scan_at.is_none_or(|at| now.saturating_duration_since(at) > max_age) {
            self.cursor = Cursor::default();
        }
        if self.cursor.is_beginning() {
            self.full_scan_at = Some(now);
        }
        self.end_reread();
        BegunClaim { cursor: self.cursor, generation: self.generation }
    }

    /// Applies the end of a claim.
    pub fn end_claim(&mut self, begun: BegunClaim, end: ClaimEnd, now: Instant) {
        match end {
            ClaimEnd::Made { remaining, took } => {
                if begun.cursor.is_beginning() {
                    self.full_scan_took = took;
                }
                self.forget_failures();
                self.apply_remaining(begun, remaining);
            }
            // It is not known what is left.
            ClaimEnd::Failed | ClaimEnd::Lost => {
                self.may_have_courses = true;
                self.back_off(now);
            }
        }
    }

    fn back_off(&mut self, now: Instant) {
        let doublings = self.failures.min(5);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + (MIN_WAIT * 2_u32.pow(doublings)).min(MAX_WAIT));
    }

    fn apply_remaining(&mut self, begun: BegunClaim, remaining: Remaining) {
        let is_up_to_date = begun.generation == self.generation;
        match remaining {
            Remaining::FromStart => {
                self.may_have_courses = true;
                self.forget_cursor();
            }
            Remaining::Nothing | Remaining::After(_) if is_up_to_date => {
                // If nothing is left after the cursor, there may still be courses before it.
                self.is_nearly_empty = remaining == Remaining::Nothing && !begun.cursor.is_beginning();
                self.may_have_courses = remaining != Remaining::Nothing || self.is_nearly_empty;
                self.cursor = remaining.cursor();
            }
            Remaining::Nothing | Remaining::After(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(4);
    const NOTHING: ClaimEnd = ClaimEnd::Made { remaining: Remaining::Nothing, took: TOOK };
    const DID_NOT_FIT: ClaimEnd = ClaimEnd::Made { remaining: Remaining::FromStart, took: TOOK };

    fn more_after(id: i64, took: Duration) -> ClaimEnd {
        ClaimEnd::Made { remaining: Remaining::After(Cursor::after(Timestamp::UNIX_EPOCH, RowId(id))), took }
    }

    /// A backlog after one claim with this end.
    fn after_claim(end: ClaimEnd, now: Instant) -> Backlog {
        let mut backlog = Backlog::default();
        let first = backlog.begin_claim(now);
        backlog.end_claim(first, end, now);
        backlog
    }

    #[test]
    fn a_claim_takes_courses_for_several_requests_in_a_large_backlog_and_for_one_otherwise() {
        let now = Instant::now();
        assert_eq!(Backlog::default().batches(false), 1, "it is not yet known whether the backlog is large");
        let backlog = after_claim(more_after(1, TOOK), now);
        assert!(backlog.should_claim(now));
        assert_eq!(backlog.batches(false), MAX_BATCHES);
        assert_eq!(Backlog::default().batches(true), MAX_BATCHES, "courses were committed during the wait");

        for (end, should_claim) in
            [(NOTHING, false), (DID_NOT_FIT, true), (ClaimEnd::Failed, false), (ClaimEnd::Lost, false)]
        {
            let mut backlog = after_claim(end, now);
            assert_eq!(backlog.should_claim(now), should_claim, "after {end:?}");
            backlog.expect_courses();
            let later = now + MIN_WAIT;
            assert!(backlog.should_claim(later));
            assert_eq!(backlog.batches(false), 1, "after {end:?}");
            assert!(backlog.begin_claim(later).cursor.is_beginning());
        }
    }

    #[test]
    fn the_outbox_is_read_from_its_beginning_before_it_counts_as_empty() {
        let now = Instant::now();
        let mut backlog = after_claim(more_after(1, TOOK), now);
        let first = backlog.begin_claim(now);
        backlog.end_claim(first, NOTHING, now);
        assert!(backlog.should_claim(now));
        let last = backlog.begin_claim(now);
        assert!(last.cursor.is_beginning());
        backlog.end_claim(last, NOTHING, now);
        assert!(!backlog.should_claim(now));
    }

    #[test]
    fn the_read_that_finds_it_empty_can_be_postponed_and_no_other_claim() {
        let now = Instant::now();
        let later = now + Duration::from_millis(500);
        let mut backlog = after_claim(more_after(1, TOOK), now);
        backlog.postpone_reread(later);
        assert!(backlog.should_claim(now), "more courses wait after the cursor");
        let begun = backlog.begin_claim(now);
        backlog.end_claim(begun, NOTHING, now);
        backlog.postpone_reread(later);
        backlog.expect_courses();
        assert_eq!(backlog.waits_until(), Some(later));
        assert!(!backlog.should_claim(now) && backlog.should_claim(later));

        let last = backlog.begin_claim(later);
        assert!(last.cursor.is_beginning());
        backlog.end_claim(last, DID_NOT_FIT, later);
        backlog.postpone_reread(later + TOOK);
        assert!(backlog.should_claim(later), "courses are left");

        let mut backlog = after_claim(more_after(1, TOOK), now);
        let begun = backlog.begin_claim(now);
        backlog.end_claim(begun, NOTHING, now);
        backlog.postpone_reread(later);
        backlog.reset();
        assert!(backlog.should_claim(now), "a reset ends the wait");
    }

    #[test]
    fn a_claim_that_began_before_a_reset_changes_nothing() {
        let now = Instant::now();
        for end in [NOTHING, more_after(2, TOOK)] {
            let mut backlog = after_claim(more_after(1, TOOK), now);
            let begun = backlog.begin_claim(now);
            backlog.reset();
            backlog.end_claim(begun, end, now);
            assert!(backlog.should_claim(now));
            assert!(backlog.begin_claim(now).cursor.is_beginning());
        }
    }

    #[test]
    fn a_large_backlog_is_read_from_the_cursor_and_regularly_from_its_beginning() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        let mut from_beginning = |seconds: std::ops::RangeInclusive<u64>, took| {
            seconds
                .filter(|second| {
                    let now = start + Duration::from_secs(*second);
                    let begun = backlog.begin_claim(now);
                    backlog.end_claim(begun, more_after(7, took), now);
                    begun.cursor.is_beginning()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(from_beginning(0..=20, TOOK), [0, 6, 12, 18]);
        // The longer such a read takes, the less often it happens.
        assert_eq!(from_beginning(21..=100, Duration::from_secs(1)), [24, 45, 66, 87]);
        assert_eq!(from_beginning(101..=300, Duration::from_secs(20)), [108, 169, 230, 291]);
        backlog.reset();
        assert!(backlog.begin_claim(start).cursor.is_beginning());
    }

    #[test]
    fn claims_that_fail_wait_longer_each_time_whatever_else_happens() {
        let mut backlog = Backlog::default();
        let mut now = Instant::now();
        let mut fail = |backlog: &mut Backlog, end| {
            let begun = backlog.begin_claim(now);
            backlog.end_claim(begun, end, now);
            let until = backlog.waits_until().unwrap();
            // Neither new courses nor the end of a pause shorten the wait.
            backlog.expect_courses();
            backlog.reset();
            assert_eq!(backlog.waits_until(), Some(until));
            let waited = until.duration_since(now);
            assert!(!backlog.should_claim(now + waited.mul_f64(0.999)));
            assert!(backlog.should_claim(until));
            now = until;
            waited.as_secs()
        };
        let ends = [ClaimEnd::Failed, ClaimEnd::Lost].into_iter().cycle();
        let waits: Vec<_> = ends.take(8).map(|end| fail(&mut backlog, end)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        backlog.forget_failures();
        assert_eq!(fail(&mut backlog, ClaimEnd::Failed), 1);
        assert_eq!(fail(&mut backlog, ClaimEnd::Failed), 2);
        let begun = backlog.begin_claim(Instant::now());
        backlog.end_claim(begun, NOTHING, Instant::now());
        assert_eq!(backlog.waits_until(), None);
        assert_eq!(fail(&mut backlog, ClaimEnd::Failed), 1);
    }
}
