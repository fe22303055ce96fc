//! What is known of the backlog: whether to claim, from where, and how many claims at once.
//!
//! In a backlog the next claim begins while the one before is still under way: each waits for the database and
//! its disk, and neither meets the other's courses. Elsewhere there is one at a time, for a second one would
//! find nothing, or would read twice what is dear to read.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Claims that may be under way together.
const AT_ONCE: usize = 2;

/// The outbox is read from its beginning so often,
const CURSOR_MAX_AGE: Duration = Duration::from_secs(5);
/// unless that took more than one part in so many of the time: while somebody holds a snapshot open, what
/// was claimed since lies there dead, and cannot be removed.
const BEGINNING_SHARE: u32 = 20;
/// So often it is in any case: what went back, or was committed late, waits before the bookmark.
const CURSOR_AGE_LIMIT: Duration = Duration::from_mins(1);

/// Where a claim ended. An accelerator past the dead index entries of what was claimed
/// before, never a truth: a row may always commit behind it, so it is forgotten often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor(Option<(Timestamp, i64)>);

impl Cursor {
    /// After this course.
    #[must_use]
    pub fn after(due: Timestamp, id: i64) -> Self {
        Self(Some((due, id)))
    }

    /// The time and the number of that course.
    #[must_use]
    pub fn place(self) -> Option<(Timestamp, i64)> {
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
pub enum Rest {
    /// It took all that were due, as far as nobody else held them.
    Nothing,
    /// Some that were due did not fit, and have to wait for the next one.
    Behind,
    /// It took as many as it was allowed to; there may be more after these.
    Beyond(Cursor),
}

impl Rest {
    /// Where the next claim may begin.
    #[must_use]
    pub fn cursor(self) -> Cursor {
        match self {
            Self::Nothing | Self::Behind => Cursor::default(),
            Self::Beyond(cursor) => cursor,
        }
    }
}

/// What is known of the backlog.
#[derive(Debug)]
pub struct Backlog {
    /// There may be something to claim.
    is_hungry: bool,
    cursor: Cursor,
    /// When the outbox was last read from its beginning.
    since: Option<Instant>,
    /// How long that took.
    cost: Duration,
    /// How often what was known was given up. What a claim that began before says of the rest is out of date.
    edition: u64,
}

/// A claim that has begun.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    /// Where to read from.
    pub cursor: Cursor,
    edition: u64,
}

/// How a claim ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was made.
    Made {
        /// What may be left.
        rest: Rest,
        /// How long it took.
        took: Duration,
    },
    /// The database refused it, or did not answer: nothing is claimed until there is a new reason to.
    Failed,
    /// Nothing is known of it.
    Lost,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { is_hungry: true, cursor: Cursor::default(), since: None, cost: Duration::ZERO, edition: 0 }
    }
}

impl Backlog {
    /// There is a reason to look.
    pub fn stir(&mut self) {
        self.is_hungry = true;
    }

    /// Forgets what was learnt of the outbox.
    pub fn look_anew(&mut self) {
        self.is_hungry = true;
        self.since = None;
        self.cost = Duration::ZERO;
        self.give_up();
    }

    fn give_up(&mut self) {
        self.cursor = Cursor::default();
        self.edition += 1;
    }

    /// Whether to claim, while so many claims are under way.
    #[must_use]
    pub fn wants_claim(&self, under_way: usize) -> bool {
        let is_deep = !self.cursor.is_beginning();
        self.is_hungry && (under_way == 0 || is_deep && under_way < AT_ONCE)
    }

    /// Begins a claim; its end is to be told.
    pub fn begin(&mut self, now: Instant) -> Begun {
        let max_age = (self.cost * BEGINNING_SHARE).clamp(CURSOR_MAX_AGE, CURSOR_AGE_LIMIT);
        if self.since.is_none_or(|since| now.saturating_duration_since(since) > max_age) {
            self.cursor = Cursor::default();
        }
        if self.cursor.is_beginning() {
            self.since = Some(now);
        }
        Begun { cursor: self.cursor, edition: self.edition }
    }

    /// Takes in how a claim ended.
    pub fn ended(&mut self, begun: Begun, ended: Ended) {
        match ended {
            Ended::Made { rest, took } => {
                if begun.cursor.is_beginning() {
                    self.cost = took;
                }
                self.learn(begun, rest);
            }
            Ended::Failed => self.is_hungry = false,
            Ended::Lost => {}
        }
    }

    fn learn(&mut self, begun: Begun, rest: Rest) {
        let is_up_to_date = begun.edition == self.edition;
        match rest {
            Rest::Behind => {
                self.is_hungry = true;
                self.give_up();
            }
            Rest::Nothing | Rest::Beyond(_) if is_up_to_date => {
                // That nothing is left behind the bookmark says nothing of what lies before it.
                self.is_hungry = rest != Rest::Nothing || !begun.cursor.is_beginning();
                self.cursor = rest.cursor();
            }
            Rest::Nothing | Rest::Beyond(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(4);
    const NOTHING: Ended = Ended::Made { rest: Rest::Nothing, took: TOOK };
    const BEHIND: Ended = Ended::Made { rest: Rest::Behind, took: TOOK };

    fn beyond(id: i64, took: Duration) -> Ended {
        Ended::Made { rest: Rest::Beyond(Cursor::after(Timestamp::UNIX_EPOCH, id)), took }
    }

    /// One claim has ended so.
    fn after(ended: Ended, now: Instant) -> Backlog {
        let mut backlog = Backlog::default();
        let first = backlog.begin(now);
        backlog.ended(first, ended);
        backlog
    }

    #[test]
    fn two_claims_at_once_in_a_backlog_and_one_elsewhere() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        let first = backlog.begin(now);
        assert!(!backlog.wants_claim(1), "it is not known yet whether there is a backlog");
        backlog.ended(first, beyond(1, TOOK));
        for under_way in 0..AT_ONCE {
            assert!(backlog.wants_claim(under_way));
            assert_eq!(backlog.begin(now).cursor, Cursor::after(Timestamp::UNIX_EPOCH, 1));
        }
        assert!(!backlog.wants_claim(AT_ONCE));

        for (ended, wants) in [(NOTHING, false), (BEHIND, true), (Ended::Failed, false), (Ended::Lost, true)]
        {
            let mut backlog = after(ended, now);
            assert_eq!(backlog.wants_claim(0), wants, "after {ended:?}");
            backlog.stir();
            assert!(backlog.wants_claim(0));
            assert!(backlog.begin(now).cursor.is_beginning());
            assert!(!backlog.wants_claim(1), "two at once after {ended:?}");
        }
    }

    #[test]
    fn what_lies_before_the_bookmark_is_looked_for_before_the_outbox_counts_as_empty() {
        let now = Instant::now();
        let mut backlog = after(beyond(1, TOOK), now);
        let (first, second) = (backlog.begin(now), backlog.begin(now));
        backlog.ended(first, NOTHING);
        assert!(backlog.wants_claim(0));
        backlog.ended(second, NOTHING);
        assert!(backlog.wants_claim(0));
        let last = backlog.begin(now);
        assert!(last.cursor.is_beginning());
        backlog.ended(last, NOTHING);
        assert!(!backlog.wants_claim(0));
    }

    #[test]
    fn what_one_claim_left_behind_is_not_forgotten_over_what_another_says() {
        let now = Instant::now();
        for other in [NOTHING, beyond(2, TOOK)] {
            for is_first in [true, false] {
                let mut backlog = after(beyond(1, TOOK), now);
                let (first, second) = (backlog.begin(now), backlog.begin(now));
                let (begun, ended) = if is_first {
                    ([first, second], [BEHIND, other])
                } else {
                    ([first, second], [other, BEHIND])
                };
                for (begun, ended) in begun.into_iter().zip(ended) {
                    backlog.ended(begun, ended);
                }
                assert!(backlog.wants_claim(0));
                assert!(backlog.begin(now).cursor.is_beginning(), "{other:?}, {is_first}");
            }
        }
    }

    #[test]
    fn what_was_learnt_of_another_lease_is_not_believed() {
        let now = Instant::now();
        for ended in [NOTHING, beyond(2, TOOK)] {
            let mut backlog = after(beyond(1, TOOK), now);
            let begun = backlog.begin(now);
            backlog.look_anew();
            backlog.ended(begun, ended);
            assert!(backlog.wants_claim(0));
            assert!(backlog.begin(now).cursor.is_beginning());
        }
    }

    #[test]
    fn a_backlog_is_read_on_from_the_bookmark_and_now_and_then_from_the_beginning() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        let mut from_beginning = |seconds: std::ops::RangeInclusive<u64>, took| {
            seconds
                .filter(|second| {
                    let begun = backlog.begin(start + Duration::from_secs(*second));
                    backlog.ended(begun, beyond(7, took));
                    begun.cursor.is_beginning()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(from_beginning(0..=20, TOOK), [0, 6, 12, 18]);
        // The dearer, the rarer.
        assert_eq!(from_beginning(21..=100, Duration::from_secs(1)), [24, 45, 66, 87]);
        assert_eq!(from_beginning(101..=300, Duration::from_secs(20)), [108, 169, 230, 291]);
        backlog.look_anew();
        assert!(backlog.begin(start).cursor.is_beginning());
    }
}
